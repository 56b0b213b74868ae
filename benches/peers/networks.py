"""Ours beside diffusers, OpenVINO and candle on one checkpoint; writes docs/performance.md.

    cargo build --release --workspace --bins --examples
    PYTHON benches/peers/networks.py FOLDER [--rows unet,vae,…] [--page docs/performance.md]

PYTHON has torch, diffusers, transformers, safetensors and open_clip_torch (for CLIP's vocabulary).
FOLDER takes 13 GB: a Stable Diffusion 1.5 of random numbers, its networks as OpenVINO wants them,
and FOLDER/results.json, where rows stay until they are measured again; `--page` writes the page's
tables of all that is there. A peer that cannot be found is "not installed", and the rest goes on:

- OpenVINO: `--openvino PYTHON`, one that has openvino as well (to convert, torch and diffusers too)
- candle: `cargo build --release --manifest-path benches/peers/candle/Cargo.toml`
- stable-diffusion.cpp: `pip install stable-diffusion-cpp-python` (builds C++) for `--sdcpp PYTHON`

Each measured program is a process of its own, which loads, runs once and then waits. For each peer,
ours and the peer run in turns (`--rounds`), so that both meet the same minute of the machine; a
ratio is that of their medians over these rounds. Every result is held to what diffusers computes in
f32 from the same numbers in the same row. Memory is the most that the process ever had of its own
(`RssAnon`, looked at every 10 ms from start to end), and the most with pages of mapped files
(`VmHWM`): some programs leave their weights in those. At most two programs are alive at once: 10 GB.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import checkpoint
import tables

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REST = 0.3  # seconds between runs: threads that wait by spinning go to sleep

# Row: the network, its numbers, the picture's size; ours is measured with every peer.
ROWS = {
    "unet": ("unet", "f32", 512),
    "unet_bf16": ("unet", "bf16", 512),
    "vae": ("vae", "f32", 512),
    "clip": ("clip", "f32", 512),
    "txt2img": ("picture", "f32", 512),
    "unet_256": ("unet", "f32", 256),
    "unet_768": ("unet", "f32", 768),
    "unet_1024": ("unet", "f32", 1024),
    "growth": ("growth", "f32", 256),
}
# Of the row `growth`: steps, and pictures of a batch.
POINTS = ((2, 1), (4, 1), (8, 1), (2, 2), (2, 4))
PEERS = ("diffusers", "openvino", "candle", "sdcpp")


class Missing(Exception):
    """A peer that is not there, or does not do this."""


def main():
    options = read_options()
    folder = options.folder.resolve()
    model = checkpoint.make(folder)
    kept = folder / "results.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    for name in options.rows:
        results[name] = measure(name, model, options)
        results["machine"] = machine(options)
        kept.write_text(json.dumps(results, indent=1))
        print(json.dumps(results[name]), flush=True)
    print("\n".join(tables.of(results)))
    if options.page:
        tables.write(Path(options.page), results)


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where checkpoint, models and results are kept")
    names = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser.add_argument("--rows", type=names, default=list(ROWS), help="which, by commas")
    parser.add_argument("--peers", type=names, default=list(PEERS), help="which, by commas")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each program beside ours")
    parser.add_argument("--threads", type=int, default=2, help="of every program")
    parser.add_argument("--steps", type=int, default=20, help="of txt2img")
    parser.add_argument("--page", help="the page whose tables are written anew")
    parser.add_argument("--bin", type=Path, default=ROOT / "target" / "release", help="ours")
    parser.add_argument("--openvino", default=sys.executable, help="a Python that has it")
    parser.add_argument("--sdcpp", default=sys.executable, help="a Python that has it")
    candle = HERE / "candle" / "target" / "release" / "candle-peer"
    parser.add_argument("--candle", type=Path, default=candle, help="the program built of candle/")
    options = parser.parse_args()
    for name in options.rows:
        if name not in ROWS:
            parser.error(f"no row `{name}`; there are {', '.join(ROWS)}")
    return options


def machine(options):
    """What the numbers were taken on."""
    told = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in told if "model name" in line), "?")
    flags = next((line.split() for line in told if line.startswith("flags")), [])
    sets = [name for name in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    commit = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    ours = subprocess.run(commit, capture_output=True, text=True).stdout.strip()
    return {
        "cpu": cpu,
        "sets": sets,
        "threads": options.threads,
        "memory": f"{kib / 2**20:.0f} GiB",
        "load": os.getloadavg()[0],
        "ours": ours,
        "day": time.strftime("%Y-%m-%d"),
    }


# ---- rows ----------------------------------------------------------------------------------


def measure(name, model, options):
    network, dtype, size = ROWS[name]
    with tempfile.TemporaryDirectory() as room:
        room = Path(room)
        if network == "picture":
            return pictures(model, options, room)
        if network == "growth":
            return growth(model, size, options, room)
        return networks(network, dtype, size, model, options, room)


def networks(network, dtype, size, model, options, room):
    inputs = model.parent / f"inputs-{size}.safetensors"
    row = {"network": network, "dtype": dtype, "size": size, "rounds": options.rounds}
    try:
        mine = command("ours", network, dtype, inputs, room / "ours", model, options)
        ours = Program(mine, options)
    except Missing as why:
        return row | {"ours": {"missing": str(why)}}
    times = []
    try:
        for peer in options.peers:
            try:
                words = command(peer, network, dtype, inputs, room / peer, model, options)
                row[peer], beside = in_turns(words, ours, options)
                times += beside
            except Missing as why:
                row[peer] = {"missing": str(why)}
            print(f"{network} {dtype} {size}, {peer}: {row[peer]}", file=sys.stderr, flush=True)
    finally:
        row["ours"] = ours.stop()
    if times:
        row["ours"] |= {"seconds": statistics.median(times), "spread": [min(times), max(times)]}
    reference = room / "diffusers"
    if dtype != "f32" or "diffusers" not in options.peers:
        reference = room / "reference"
        exact = command("diffusers", network, "f32", inputs, reference, model, options)
        Program(exact, options).stop()
    for peer in ("ours", *PEERS):
        if (room / peer).exists():
            row[peer] |= apart(room / peer, reference)
    if network == "unet":
        row["operations"] = operations(model, size)
    return row


def operations(model, size):
    """Multiplications and additions of a U-Net call, as torch counts them."""
    words = [sys.executable, str(HERE / "diffusers_peer.py"), str(model), "count", str(size // 8)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def in_turns(words, ours, options):
    """What a peer took, with our median beside it; and all of our times."""
    peer = Program(words, options)
    mine, theirs = [], []
    try:
        for turn in range(options.rounds):
            pair = [(mine, ours), (theirs, peer)]
            for times, program in reversed(pair) if turn % 2 else pair:
                time.sleep(REST)
                times.append(program.measure())
    finally:
        told = peer.stop()
    told |= {"seconds": statistics.median(theirs), "beside": statistics.median(mine)}
    told |= {"spread": [min(theirs), max(theirs)], "ours_spread": [min(mine), max(mine)]}
    return told | {"ratio": told["beside"] / told["seconds"]}, mine


def command(program, network, dtype, inputs, output, model, options):
    """How a program that answers as served.py says is started."""
    told = [str(options.threads), str(inputs), str(output)]
    if program == "ours":
        return [str(options.bin / "examples" / "peer"), str(model), network, dtype, *told]
    if program == "diffusers":
        return [sys.executable, str(HERE / "diffusers_peer.py"), str(model), network, dtype, *told]
    if program == "openvino":
        return openvino(network, dtype, inputs, told, model, options)
    if program == "candle":
        if dtype != "f32":
            raise Missing("computes in f32 on the CPU")
        if not options.candle.exists():
            raise Missing("not installed")
        return [str(options.candle), str(model), network, dtype, *told]
    raise Missing("draws whole pictures only")


def openvino(network, dtype, inputs, told, model, options):
    if not has(options.openvino, "openvino"):
        raise Missing("not installed")
    script = str(HERE / "openvino_peer.py")
    converted = model.parent / f"{network}-{inputs.stem.split('-')[1]}.xml"
    if not converted.exists():
        words = [options.openvino, script, "convert", str(model), network, str(inputs)]
        ended = subprocess.run([*words, str(converted)], capture_output=True, text=True)
        if ended.returncode != 0:
            raise Missing("conversion failed: " + last_line(ended.stderr))
    return [options.openvino, script, str(converted), network, dtype, *told]


def has(python, package):
    words = [python, "-c", f"import {package}"]
    return subprocess.run(words, capture_output=True).returncode == 0


def apart(result, reference):
    """The largest and the mean difference, in standard deviations of the reference."""
    import numpy as np
    from safetensors.numpy import load_file

    got, want = (load_file(path)["out"].astype("float64").ravel() for path in (result, reference))
    off = np.abs(got - want) / want.std()
    return {"largest": float(off.max()), "mean": float(off.mean())}


# ---- pictures ------------------------------------------------------------------------------


def pictures(model, options, room):
    """Whole processes, from cold to the file."""
    programs = {}
    for name in ("ours", *options.peers):
        try:
            programs[name] = whole(name, model, options, room)
        except Missing as why:
            programs[name] = str(why)
    row = {"network": "picture", "dtype": "f32", "size": 512, "rounds": options.rounds}
    row |= {"steps": options.steps}
    runs = {name: [] for name, words in programs.items() if isinstance(words, list)}
    for _ in range(options.rounds):
        for name in runs:
            time.sleep(REST)
            runs[name].append(Once(programs[name], options))
    for name, words in programs.items():
        if name not in runs:
            row[name] = {"missing": words}
            continue
        seconds = [once.seconds for once in runs[name]]
        row[name] = {"seconds": statistics.median(seconds), "spread": [min(seconds), max(seconds)]}
        for kind in ("anonymous", "resident"):
            row[name][kind] = max(once.memory.told()[kind] for once in runs[name])
    for name in runs:
        if name != "ours":
            row[name] |= {"beside": row["ours"]["seconds"]}
            row[name]["ratio"] = row["ours"]["seconds"] / row[name]["seconds"]
        if name != "sdcpp" and "diffusers" in runs:  # its noise is another
            row[name] |= pixels(room / name, room / "diffusers")
    return row


def growth(model, size, options, room):
    """Walks of ours without the loading, by steps and by pictures of a batch."""
    times = {point: [] for point in POINTS}
    for _ in range(options.rounds):
        for (steps, batch), seconds in times.items():
            words = ours_whole(model, options, room / "ours", steps)
            words += ["--set", f"noise.width={size}", "--set", f"noise.height={size}"]
            time.sleep(REST)
            seconds.append(walked([*words, "--set", f"noise.batch={batch}", "--json"], options))
    points = [[*point, statistics.median(seconds)] for point, seconds in times.items()]
    return {"network": "growth", "size": size, "rounds": options.rounds, "points": points}


def walked(words, options):
    """What the node that denoises took, but for the loading of its network."""
    done = subprocess.run(
        words, check=True, capture_output=True, text=True, env=environment(options)
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    told = [line for line in told if line.get("node") == "latent" and "seconds" in line]
    signs = {"node": 1, "load": -1}
    return sum(signs[line["event"]] * line["seconds"] for line in told)


def ours_whole(model, options, out, steps):
    """How our program draws."""
    graph, threads = HERE / "txt2img.ron", str(options.threads)
    words = [str(options.bin / "ldm-graph"), "run", str(graph), "--no-cache", "--overwrite"]
    words += ["--threads", threads, "--device", "cpu", "--out", str(out), "-q"]
    return [*words, "--set", f"model.path={model}", "--set", f"latent.steps={steps}"]


def whole(name, model, options, room):
    """How a program that draws one picture is started."""
    steps, threads = str(options.steps), str(options.threads)
    target = str(room / name / "picture.png")
    if name == "ours":
        return ours_whole(model, options, room / name, options.steps)
    (room / name).mkdir()
    if name == "diffusers":
        words = [sys.executable, str(HERE / "diffusers_peer.py"), str(model), "picture", "f32"]
        return [*words, threads, steps, target]
    if name == "sdcpp":
        if not has(options.sdcpp, "stable_diffusion_cpp"):
            raise Missing("not installed")
        return [options.sdcpp, str(HERE / "sdcpp_peer.py"), str(model), threads, steps, target]
    raise Missing("has no program of its own that draws")


def pixels(result, reference):
    import numpy as np
    from PIL import Image

    got, want = (
        np.asarray(Image.open(folder / "picture.png").convert("RGB")).astype("float64")
        for folder in (result, reference)
    )
    off = np.abs(got - want)
    deviation = max(want.std(), 1.0)
    near = {"equal": float((off <= 1).mean())}
    return near | {"largest": float(off.max() / deviation), "mean": float(off.mean() / deviation)}


# ---- processes -----------------------------------------------------------------------------


class Memory:
    """The most memory that a process ever had, in bytes: of its own, and with pages of files."""

    def __init__(self, number):
        self.anonymous = self.resident = 0
        self.status = f"/proc/{number}/status"
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while True:
            try:
                lines = Path(self.status).read_text().splitlines()
            except OSError:
                return
            here = {line.split()[0]: int(line.split()[1]) * 1024 for line in lines if "kB" in line}
            if "RssAnon:" not in here:  # it has ended
                return
            self.anonymous = max(self.anonymous, here["RssAnon:"])
            self.resident = max(self.resident, here["VmHWM:"])
            time.sleep(0.01)

    def told(self):
        return {"anonymous": self.anonymous, "resident": self.resident}


def environment(options):
    threads = str(options.threads)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    return os.environ | {name: threads for name in names} | {"HF_HUB_OFFLINE": "1"}


class Program:
    """A program that has a network loaded and runs it when told to."""

    def __init__(self, words, options):
        self.said = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            words, env=environment(options), text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said,
        )
        self.memory = Memory(self.process.pid)
        self.told = self.answer()

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        self.process.wait()
        self.said.seek(0)
        raise Missing(f"failed ({self.process.returncode}): {last_line(self.said.read())}")

    def ask(self, line):
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self.process.stdin.write(line + "\n")
        return self.answer()

    def measure(self):
        return self.ask("measure")["seconds"]

    def stop(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        return self.told | self.memory.told()


class Once:
    """A program that ran from start to end."""

    def __init__(self, words, options):
        start = time.perf_counter()
        process = subprocess.Popen(
            words, env=environment(options), text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        self.memory = Memory(process.pid)
        _, said = process.communicate()
        self.seconds = time.perf_counter() - start
        if process.returncode != 0:
            sys.exit(f"{words[0]}: {last_line(said)}")


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("note:")]
    return lines[-1][:200] if lines else "without a word"


if __name__ == "__main__":
    main()
