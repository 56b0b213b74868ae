"""Peak memory and time of loading a checkpoint: ours, torch's and `cat`'s, from a cold page cache.

    cargo build --release --workspace --examples
    PYTHON benches/load.py [FOLDER]

PYTHON has torch and safetensors; FOLDER has 7 GB to spare (default /tmp). As root, the page cache
is dropped before each row; without, the rows say "warm". Prints the table of docs/performance.md.

What is measured: `load_file` of safetensors.torch into a dictionary (no network, no cast) and the
same cast to f32; our `load`, which fills all networks of the file in the type asked for; `cat`.
Peak is the largest resident set, pages of mapped files included. Each row is a process of its own,
the best of three rounds of all rows.

A virtual machine may hand free memory back to its host, and to take it again cost more than all
else where this was written: 1 to 4 s a gigabyte, whichever program came to it. So before each row,
that of `cat` too, as much memory as the largest row needs is taken and freed, if there is so much.
"""

import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOAD = ROOT / "target/release/examples/load"
ROUNDS = 3

TORCH = """
import json, sys, time
start = time.time()
import torch
from safetensors.torch import load_file
imported = time.time() - start
start = time.time()
held = load_file(sys.argv[1])
if sys.argv[2] == "f32":
    for key in list(held):
        held[key] = held[key].float()
# Pages of a map are read when they are touched: touch all.
total = sum(tensor.view(-1)[:: 2048 // tensor.element_size()].sum(dtype=torch.float32).item()
            for tensor in held.values())
seconds = time.time() - start
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
size = sum(tensor.numel() * tensor.element_size() for tensor in held.values())
print(json.dumps({"seconds": seconds, "bytes": size, "peak": int(peak.split()[1]) * 1024}))
"""


def cold():
    """Whether the page cache could be dropped."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def at_hand(size):
    """Takes as many bytes of memory, but 2 GB that are left to others, and frees them."""
    lines = dict(line.split(":") for line in open("/proc/meminfo"))
    free = int(lines["MemAvailable"].split()[0]) * 1024 - 2 * 10**9
    pages = max(min(size, free) // mmap.PAGESIZE, 1)
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        memory[:: mmap.PAGESIZE] = b"1" * pages


def run(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cat(path):
    start = time.time()
    subprocess.run(["cat", path], check=True, stdout=subprocess.DEVNULL)
    return {"seconds": time.time() - start}


def table(name, path):
    size = path.stat().st_size
    torch = [sys.executable, "-c", TORCH, str(path)]
    ours = [str(LOAD), "read", str(path)]
    rows = {"`cat` to nowhere": lambda: cat(path)}
    for dtype in ("f16", "f32"):
        rows[f"`ldm-graph`, to {dtype}"] = lambda dtype=dtype: run([*ours, dtype])
        rows[f"torch `load_file`, to {dtype}"] = lambda dtype=dtype: run([*torch, dtype])
    measured = {what: [] for what in rows}
    for _ in range(ROUNDS):
        for what, measure in rows.items():
            cache = "cold" if cold() else "warm"
            at_hand(3 * size)  # The file, and its numbers in f32.
            measured[what].append({**measure(), "cache": cache})
    best = {what: min(runs, key=lambda run: run["seconds"]) for what, runs in measured.items()}
    plain = best["`cat` to nowhere"]["seconds"]
    for what, row in best.items():
        peak = f"{row['peak'] / 1e9:.2f} GB" if "peak" in row else ""
        over = f"{100 * (row['peak'] / row['bytes'] - 1):+.1f} %" if "peak" in row else ""
        print(
            f"| {name}, {size / 1e9:.2f} GB | {what} | {row['cache']} | {row['seconds']:.2f} s "
            f"| {row['seconds'] / plain:.2f} | {peak} | {over} |",
            flush=True,
        )


def main(folder):
    print("| file | what | cache | time | times `cat` | peak memory | over the weights |")
    print("|---|---|---|---|---|---|---|")
    for name, kind in (("Stable Diffusion 1.5", "sd1"), ("Stable Diffusion XL", "xl")):
        with tempfile.TemporaryDirectory(dir=folder) as inside:
            path = Path(inside) / "model.safetensors"
            subprocess.run([LOAD, "make", kind, path], check=True)
            table(name, path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "/tmp")
