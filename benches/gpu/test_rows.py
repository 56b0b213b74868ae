"""`python -m unittest discover benches/gpu`: what h200.py makes of numbers, without a device."""

import unittest
from types import SimpleNamespace

import rows
from h200 import MODELS, NETWORKS, Clock, dtype_of, pictures_of, tasks


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
        pictures, starts = len(MODELS) * (len(rows.PROGRAMS) - 1), len(MODELS)
        self.assertEqual(len(order), networks + pictures + starts)
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
        self.assertEqual(self.order(quick=True, models=["sdxl"]), [])

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


if __name__ == "__main__":
    unittest.main()
