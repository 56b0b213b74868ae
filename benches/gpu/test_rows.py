"""`python -m unittest discover benches/gpu`: what h200.py makes of numbers, without a device."""

import unittest

import rows
from h200 import Clock, tasks


class Rows(unittest.TestCase):
    results = {
        "ceilings": {"copy": 4e12, "matmul": 8e14},
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
        self.assertIn("| SD1.5 step, 512 | 20.00 | 25.00 | not measured | 0.80 |", lines)
        self.assertIn("| SDXL decode, 1024 | not measured | 100 | – | – |", lines)

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
    def test_what_takes_minutes_to_compile_comes_last(self):
        order = tasks(["sd15", "sdxl"], ["ours", "eager", "channels_last", "compile"], False)
        self.assertEqual(order[0], ("sd15", "unet", "ours"))
        first = next(i for i, (_, _, program) in enumerate(order) if program == "compile")
        self.assertTrue(all(program == "compile" for _, _, program in order[first:]))

    def test_a_part_gets_no_more_than_is_left(self):
        clock = Clock(100.0)
        self.assertEqual(clock.grant(30.0, 10.0), 30.0)
        self.assertAlmostEqual(clock.grant(500.0, 10.0), 100.0, delta=1.0)
        self.assertIsNone(Clock(5.0).grant(30.0, 10.0))


if __name__ == "__main__":
    unittest.main()
