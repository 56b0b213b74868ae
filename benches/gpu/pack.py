"""What h200.py takes along: `python3 benches/gpu/pack.py [FOLDER]`, by default target/gpu.

FOLDER gets programs.tar.xz (ldm-graph and examples/peer, built with `--features cuda`, without
symbols), commit.txt (of which sources) and wheels of what a machine with torch and transformers may
lack: diffusers, importlib_metadata and zipp, which it wants, and open_clip_torch, for CLIP's
vocabulary alone. With `--tests` it is another, target/gpu-tests, and gets tests.tar.xz alone: the
newest program of the kernels' tests. All of FOLDER, with what else lies there, and the files of the
tree must be less than 64 MiB: that is counted in the end, with `--sizes` alone.
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
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--bin", type=Path, default=ROOT / "target" / "release")
    parser.add_argument("--any", action="store_true", help="also programs without CUDA, to try it")
    parser.add_argument("--tests", action="store_true", help="the kernels' tests instead")
    parser.add_argument("--sizes", action="store_true", help="pack nothing, only count")
    options = parser.parse_args()
    folder = options.folder or ROOT / "target" / ("gpu-tests" if options.tests else "gpu")
    if not options.sizes:
        folder.mkdir(parents=True, exist_ok=True)
        (tests if options.tests else all_of)(folder, options)
    check(folder)


def all_of(folder, options):
    programs = {name: options.bin / inside for name, inside in PROGRAMS.items()}
    pack(programs, folder / "programs.tar.xz", options)
    commit = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(commit, check=True, capture_output=True, text=True).stdout
    (folder / "commit.txt").write_text(commit)
    words = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    words += ["-d", str(folder), *WHEELS]
    subprocess.run(words, check=True)


def tests(folder, options):
    built = [path for path in options.bin.glob("deps/agreement-*") if not path.suffix]
    if not built:
        sys.exit(f"no tests in {options.bin}: cargo build --release … --test agreement")
    newest = max(built, key=lambda path: path.stat().st_mtime)
    pack({"agreement": newest}, folder / "tests.tar.xz", options)


def pack(programs, target, options):
    for path in programs.values():
        if not options.any and b"nvrtc" not in path.read_bytes():
            sys.exit(f"{path} was built without CUDA: cargo build --release --features cuda …")
    with contextlib.ExitStack() as ends:
        bare = Path(ends.enter_context(tempfile.TemporaryDirectory())) / "bare"
        packed = ends.enter_context(lzma.open(target, "wb", filters=FILTERS))
        archive = ends.enter_context(tarfile.open(fileobj=packed, mode="w"))
        for name, path in programs.items():
            subprocess.run(["strip", "-o", str(bare), str(path)], check=True)
            archive.add(bare, name)


def check(folder):
    files = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"],
        check=True, capture_output=True,
    ).stdout.decode().split("\0")
    tree = sum((ROOT / name).stat().st_size for name in files if name and (ROOT / name).is_file())
    bundle = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        bundle += path.stat().st_size
        print(f"{path.stat().st_size / 2**20:6.1f} MiB  {path.relative_to(folder)}")
    print(f"{bundle / 2**20:6.1f} MiB of {(MOST - tree) / 2**20:.1f} that the tree leaves")
    if bundle + tree > MOST:
        sys.exit("that is too much")


if __name__ == "__main__":
    main()
