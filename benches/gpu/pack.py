"""What h200.py takes along: `python3 benches/gpu/pack.py [FOLDER]`, by default target/gpu.

FOLDER gets programs.tar.xz (ldm-graph and examples/peer, built with `--features cuda`, without
symbols), commit.txt (of which sources) and wheels of what a machine with torch and transformers may
lack: diffusers, importlib_metadata and zipp, which it wants, and open_clip_torch, for CLIP's
vocabulary alone. With the files of the tree that must be less than 64 MiB.
"""

import argparse
import contextlib
import lzma
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHEELS = ("diffusers==0.42.1", "importlib_metadata==10.2.0", "zipp", "open_clip_torch==3.3.0")
PROGRAMS = {"ldm-graph": "ldm-graph", "examples/peer": "examples/peer"}
MOST = 64 * 2**20
# The dictionary spans both programs, so that what they share is packed once; the first filter
# makes calls of one function alike wherever they stand.
FILTERS = [
    {"id": lzma.FILTER_X86},
    {"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 256 * 2**20},
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "target" / "gpu")
    parser.add_argument("--bin", type=Path, default=ROOT / "target" / "release")
    parser.add_argument("--any", action="store_true", help="also programs without CUDA, to try it")
    options = parser.parse_args()
    programs = {name: options.bin / inside for name, inside in PROGRAMS.items()}
    for path in programs.values():
        if not options.any and b"nvrtc" not in path.read_bytes():
            sys.exit(f"{path} was built without CUDA: cargo build --release --features cuda …")
    options.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as ends:
        bare = Path(ends.enter_context(tempfile.TemporaryDirectory())) / "bare"
        packed = lzma.open(options.folder / "programs.tar.xz", "wb", filters=FILTERS)
        all_of = tarfile.open(fileobj=ends.enter_context(packed), mode="w")
        ends.enter_context(all_of)
        for name, path in programs.items():
            subprocess.run(["strip", "-o", str(bare), str(path)], check=True)
            all_of.add(bare, name)
    commit = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(commit, check=True, capture_output=True, text=True).stdout
    (options.folder / "commit.txt").write_text(commit)
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    words += ["-d", str(options.folder), *WHEELS]
    subprocess.run(words, check=True)
    check(options.folder)


def check(folder):
    files = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"],
        check=True, capture_output=True,
    ).stdout.decode().split("\0")
    tree = sum((ROOT / name).stat().st_size for name in files if name and (ROOT / name).is_file())
    bundle = 0
    for path in sorted(folder.iterdir()):
        bundle += path.stat().st_size
        print(f"{path.stat().st_size / 2**20:6.1f} MiB  {path.name}")
    print(f"{bundle / 2**20:6.1f} MiB of {(MOST - tree) / 2**20:.1f} that the tree leaves")
    if bundle + tree > MOST:
        sys.exit("that is too much")


if __name__ == "__main__":
    main()
