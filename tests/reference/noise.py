"""noise.safetensors: what PyTorch's CPU generator draws.

Layout, all f32:
- `s<seed>.n<count>`: `torch.randn(count)` from a fresh generator with that seed.
- `s<seed>.b<shape joined by x>`: `torch.randn(shape)`, a batch in one call.
- `s<seed>.calls<i>.n<count>`: call number i of several in a row on one generator, which
  shows the value kept between calls of fewer than 16 and the fresh tail of a ragged block.

Run: python noise.py OUT_DIR
"""

import sys

import torch
from common import save

SEEDS = [0, 42, 2**31 + 5, 123456789012]
SIZES = [1, 5, 15, 16, 17, 20, 31, 37, 64]
LONG = {42: 16384 + 3, 123456789012: 16384 + 3}
BATCHES = {0: (1, 4, 8, 8), 42: (4, 4, 8, 8), 2**31 + 5: (2, 3, 5, 7), 2**64 - 1: (2, 4, 4, 4)}
CALLS = {42: [5, 5, 20, 3, 16, 1, 37], 123456789012: [1, 64, 1, 2]}


def generator(seed):
    return torch.Generator("cpu").manual_seed(seed)


def main(out):
    tensors = {}
    for seed in SEEDS:
        for n in SIZES:
            tensors[f"s{seed}.n{n}"] = torch.randn(n, generator=generator(seed))
    for seed, n in LONG.items():
        tensors[f"s{seed}.n{n}"] = torch.randn(n, generator=generator(seed))
    for seed, shape in BATCHES.items():
        name = f"s{seed}.b{'x'.join(map(str, shape))}"
        tensors[name] = torch.randn(shape, generator=generator(seed))
    for seed, counts in CALLS.items():
        one = generator(seed)
        for i, n in enumerate(counts):
            tensors[f"s{seed}.calls{i}.n{n}"] = torch.randn(n, generator=one)
    save(out, "noise", tensors, {"about": __doc__.splitlines()[0]})


if __name__ == "__main__":
    main(*sys.argv[1:])
