"""What a device can do at most, measured: `python ceilings.py DEVICE` prints one JSON object.

`copy` is bytes a second from device memory to device memory, read and written both counted;
`matmul` is multiplications and additions a second of a product of bf16 matrices of random numbers
(of f32 on a CPU). Medians of ten after three that are not counted.
"""

import json
import statistics
import sys
import time

import torch


def measure(work, wait):
    times = []
    for turn in range(13):
        start = time.perf_counter()
        work()
        wait()
        if turn >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(device):
    gpu = device != "cpu"
    wait = torch.cuda.synchronize if gpu else lambda: None
    n = 2**32 if gpu else 2**28
    source = torch.empty(n, dtype=torch.uint8, device=device).random_(0, 255)
    target = torch.empty_like(source)
    told = {"copy": 2 * n / measure(lambda: target.copy_(source), wait)}
    del source, target
    side, dtype = (8192, torch.bfloat16) if gpu else (1024, torch.float32)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    told["matmul"] = 2 * side**3 / measure(lambda: a @ b, wait)
    told["torch"] = torch.__version__
    if gpu:
        told["name"] = torch.cuda.get_device_name()
        told["multiprocessors"] = torch.cuda.get_device_properties(0).multi_processor_count
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
