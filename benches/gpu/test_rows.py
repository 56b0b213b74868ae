"""`python -m unittest discover benches/gpu`: what h200.py makes of numbers, without a device."""

import tarfile
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import rows
from h200 import (
    MODELS, NETWORKS, Clock, absolute, dtype_of, pack_kernels, pictures_of, tasks, works,
)


class Rows(unittest.TestCase):
    results = {
        "ceilings": {"copy": 4e12, "matmul": 8e14, "name": "NVIDIA H200"},
        "dtype": "f16", "device": "cuda",
        "sd15_unet": {
            "operations": 1.6e12, "bytes": 2e9,
            "ours": {"seconds": 0.02, "largest": 0.01, "mean": 0.001, "peak": 3e9},
            "eager": {"seconds": 0.03}, "channels_last": {"seconds": 0.025},
            "compile": {"missing": "no time was left"},
        },
        "sdxl_vae": {"ours": {"missing": "failed"}, "eager": {"seconds": 0.1}},
    }

    def test_numbers_stand_only_where_something_was_measured(self):
        lines = rows.of(self.results)
        self.assertIn("| H200: work | ours ms | eager ms | compile ms | ratio |", lines)
        self.assertIn("| SD1.5 step, 512 | 20.00 | 25.00 | not measured | 0.80 |", lines)
        self.assertIn("| SDXL decode, 1024 | not measured | 100 | – | – |", lines)
        self.assertIn(
            "| SD1.5 step, 512 | 20.00 | – | 30.00 (0.67) | 25.00 (0.80) | not measured |", lines
        )

    def test_what_is_wrong_stands_in_place_of_its_time_and_has_no_ratio(self):
        for mean, said in ((float("nan"), "NaN"), (float("inf"), "NaN"), (0.5, "off by 0.50")):
            off = {"seconds": 0.02, "largest": mean, "mean": mean}
            row = self.results["sd15_unet"] | {"ours": off}
            lines = rows.of(self.results | {"sd15_unet": row})
            self.assertIn(f"| SD1.5 step, 512 | {said} | 25.00 | not measured | – |", lines)
            row = self.results["sd15_unet"] | {"channels_last": off}
            lines = rows.of(self.results | {"sd15_unet": row})
            self.assertIn("| SD1.5 step, 512 | 20.00 | 30.00 | not measured | 0.67 |", lines)

    def test_a_picture_that_is_far_off_keeps_its_time_beside_how_far(self):
        told = {"seconds": 0.5, "largest": 3.0, "mean": 0.25, "equal": 0.4}
        row = {"ours": told, "eager": told | {"mean": 0.01, "seconds": 1.0}}
        lines = rows.of(self.results | {"sd15_picture": row})
        self.assertIn("| SD1.5 picture, 512 | 500 ‡ off by 0.25 | 1000 | – | 0.50 |", lines)
        self.assertTrue(any(line.startswith("‡ The picture") for line in lines))
        lines = rows.of(self.results | {"sd15_picture": {"ours": row["eager"]}})
        self.assertFalse(any("‡" in line for line in lines))

    def test_a_call_is_not_shown_as_a_captured_one(self):
        for captured, said in ((False, "not captured"), (True, "10.00 (2.00)")):
            graphs = {"seconds": 0.01, "captured": captured}
            row = self.results["sd15_unet"] | {"ours_graphs": graphs}
            lines = rows.of(self.results | {"sd15_unet": row})
            begun = f"| SD1.5 step, 512 | 20.00 | {said} | 30.00"
            self.assertTrue(any(line.startswith(begun) for line in lines), said)

    def test_the_last_latent_is_held_to_what_it_may_be_off(self):
        told = {"seconds": 2.0, "exact_seconds": 40.0, "most": 0.5, "finite": True}
        for more, said in (
            ({"error": 0.004}, "4.0e-03 | 5.0e-01 | yes | 2.0 | 40.0"),
            ({"error": 0.02}, "2.0e-02 | 5.0e-01 | no | 2.0 | 40.0"),
            ({"error": float("nan"), "finite": False}, "NaN | NaN | no | 2.0 | 40.0"),
        ):
            lines = rows.of(self.results | {"sd15_latent": {"ours": told | more}})
            self.assertIn(f"| SD1.5, 512 | {said} |", lines)
        lines = rows.of(self.results | {"sd15_latent": {"ours": {"missing": "failed"}}})
        self.assertIn("| SD1.5, 512 | not measured | – | – | – | – |", lines)

    def test_small_networks_and_other_devices_are_not_taken_for_the_real_ones(self):
        title = lambda **told: rows.title(self.results | told)  # noqa: E731
        self.assertEqual(title(), "H200: work")
        self.assertEqual(title(small=True), "small networks, H200: work")
        self.assertEqual(title(name="NVIDIA L4"), "L4: work")
        self.assertEqual(title(ceilings={}), "a GPU: work")
        self.assertEqual(title(device="cpu"), "dry run on the CPU: work")

    def test_the_floor_is_the_slower_of_operations_and_weights(self):
        row = self.results["sd15_unet"]
        self.assertEqual(rows.floor(row, self.results["ceilings"]), 2e-3)
        self.assertEqual(rows.floor(row | {"bytes": 4e10}, self.results["ceilings"]), 1e-2)
        self.assertIsNone(rows.floor({}, self.results["ceilings"]))

    def test_kernels_are_told_apart_by_name(self):
        kinds = {
            "sm90_xmma_fprop_implicit_gemm_f16f16_f16f32_nhwc": "convolution",
            "nvjet_hsh_128x256_64x4_2x1_v_bz_coopA_TNT": "product",
            "pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits>": "attention",
            "cubek_matmul::launch::matmul_entry": "product",
            "void at::native::vectorized_elementwise_kernel<4>": "elementwise",
        }
        for kernel, kind in kinds.items():
            self.assertEqual(rows.kind(kernel), kind, kernel)

    def test_a_profile_sums_to_all_of_it(self):
        told = [{"kernel": "conv", "launches": 3, "seconds": 0.003}]
        told.append({"kernel": "gemm", "launches": 1, "seconds": 0.001})
        lines = rows.profile(told)
        self.assertEqual(lines[0], "4.00 ms, 4 launches")
        self.assertIn(" 75.0 %      3  convolution", lines[1])
        self.assertEqual(rows.profile([]), ["no kernel was told"])


class Order(unittest.TestCase):
    def order(self, quick=False, **named):
        every = {"models": list(MODELS), "networks": NETWORKS, "programs": rows.PROGRAMS}
        return tasks(SimpleNamespace(quick=quick, **every | named))

    def test_everything_comes_once_and_what_takes_minutes_to_compile_after_all_that_is_wanted(self):
        order = self.order()
        self.assertEqual(len(order), len(set(order)))
        networks = len(MODELS) * 2 * (len(rows.PROGRAMS) - 1)
        networks += len(MODELS)  # U-Nets by captures
        pictures, of_ours = len(MODELS) * (len(rows.PROGRAMS) - 1), len(MODELS)
        self.assertEqual(len(order), networks + pictures + 2 * of_ours)
        self.assertEqual(order[0], ("sd15", "unet", "ours"))
        first = next(i for i, (_, _, program) in enumerate(order) if program == "compile")
        for model in MODELS:
            for network in ("unet", "vae", "picture"):
                for program in ("ours", "eager"):
                    self.assertIn((model, network, program), order[:first])

    def test_a_quick_run_asks_whether_it_works_at_all(self):
        order = self.order(quick=True)
        self.assertEqual({model for model, _, _ in order}, {"sd15"})
        self.assertEqual({program for _, _, program in order}, {"ours", "eager"})
        self.assertIn(("sd15", "start", "ours"), order)
        self.assertEqual({network for _, network, _ in order}, {"unet", "vae", "start"})
        self.assertEqual(self.order(quick=True, models=["sdxl"]), [])

    def test_the_rest_is_worth_its_time_where_a_call_of_ours_is_right(self):
        self.assertTrue(works(Rows.results))
        self.assertFalse(works({}))
        self.assertFalse(works({"sd15_unet": {"ours": {"seconds": 1.0, "mean": float("nan")}}}))
        self.assertFalse(works({"sd15_unet": {"eager": {"seconds": 1.0}}}))

    def test_a_part_gets_no_more_than_is_left(self):
        clock = Clock(100.0)
        self.assertEqual(clock.grant(30.0, 10.0), 30.0)
        self.assertAlmostEqual(clock.grant(500.0, 10.0), 100.0, delta=1.0)
        self.assertIsNone(Clock(5.0).grant(30.0, 10.0))

    def test_only_the_autoencoder_that_overflows_f16_has_another_type(self):
        self.assertEqual(dtype_of("sdxl", "vae", "f16"), "bf16")
        self.assertEqual(dtype_of("sdxl", "unet", "f16"), "f16")
        self.assertEqual(dtype_of("sdxl", "vae", "f32"), "f32")
        self.assertEqual(dtype_of("sd15", "vae", "f16"), "f16")


class Pictures(unittest.TestCase):
    def test_seconds_of_nodes_are_summed_by_picture(self):
        ran = lambda node, seconds: {  # noqa: E731
            "event": "node", "state": "ran", "node": node, "seconds": seconds,
        }
        told = [ran("latent1", 9.0), ran("latent2", 0.5), ran("save2", 0.25)]
        told += [ran("latent3", 0.25), ran("save3", 0.75), ran("model", 7.0)]
        row = pictures_of(told)
        self.assertEqual((row["seconds"], row["first"]), (0.875, 9.0))
        self.assertEqual(row["parts"], {"latent": 0.375, "save": 0.5})


class Files(unittest.TestCase):
    def test_an_absolute_error_is_not_over_a_deviation_and_nan_is_told(self):
        import numpy as np
        from safetensors.numpy import save_file

        with tempfile.TemporaryDirectory() as room:
            one, other = Path(room, "one"), Path(room, "other")
            save_file({"latent": np.array([[5.0, -7.0]], "float32")}, one)
            save_file({"latent": np.array([[5.0, -4.0]], "float32")}, other)
            self.assertEqual(absolute(one, other), {"error": 1.5, "most": 3.0, "finite": True})
            save_file({"latent": np.array([[5.0, np.nan]], "float32")}, one)
            self.assertFalse(absolute(one, other)["finite"])

    def test_kernels_are_packed_where_there_are_some_and_whole(self):
        with tempfile.TemporaryDirectory() as room:
            cache, out = Path(room, "cache"), Path(room)
            (cache / "kernels").mkdir(parents=True)
            pack_kernels(cache, out)
            self.assertFalse((out / "kernels.tar.xz").exists())
            for name in ("one", "two"):
                (cache / "kernels" / name).write_text(name)
                pack_kernels(cache, out)
                with tarfile.open(out / "kernels.tar.xz") as packed:
                    self.assertIn(f"kernels/{name}", packed.getnames())
            self.assertFalse((out / "kernels.part").exists())


if __name__ == "__main__":
    unittest.main()
