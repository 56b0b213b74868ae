"""Peak memory and time of loading a checkpoint: ours, torch's and `cat`'s, from a cold page cache.

    cargo build --release --workspace --examples
    PYTHON benches/load.py [FOLDER]

PYTHON has torch and safetensors; FOLDER has 7 GB to spare (default /tmp). As root, the page cache
is dropped before each row; without, the rows say "warm". Prints the table of docs/performance.md.

What is measured: `load_file` of safetensors.torch into a dictionary (no network, no cast) and the
same cast to f32; our `load`, which fills all networks of the file in the type asked for; `cat`.
Peak is the largest resident set, pages of mapped files included. Each row is a process of its own,
the best of three.
"""

import json
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


def run(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cat(path):
    start = time.time()
    subprocess.run(["cat", path], check=True, stdout=subprocess.DEVNULL)
    return {"seconds": time.time() - start}


def best(measure):
    rows = []
    for _ in range(ROUNDS):
        was_cold = cold()
        rows.append(measure())
    return {**min(rows, key=lambda row: row["seconds"]), "cold": was_cold}


def table(name, path):
    size = path.stat().st_size
    torch = [sys.executable, "-c", TORCH, str(path)]
    ours = [str(LOAD), "read", str(path)]
    rows = [("`cat` to nowhere", best(lambda: cat(path)))]
    for dtype in ("f16", "f32"):
        rows.append((f"`ldm-graph`, to {dtype}", best(lambda: run([*ours, dtype]))))
        rows.append((f"torch `load_file`, to {dtype}", best(lambda: run([*torch, dtype]))))
    plain = rows[0][1]["seconds"]
    for what, row in rows:
        peak = f"{row['peak'] / 1e9:.2f} GB" if "peak" in row else ""
        over = f"{100 * (row['peak'] / row['bytes'] - 1):+.1f} %" if "peak" in row else ""
        cache = "cold" if row["cold"] else "warm"
        print(
            f"| {name}, {size / 1e9:.2f} GB | {what} | {cache} | {row['seconds']:.2f} s "
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
