"""Ours beside PyTorch and diffusers on one GPU, from random checkpoints made there; in 10 minutes.

Here, once (`--release` with CUDA takes long, and is not what else is built):

    cargo build --release --locked --features cuda --bins --examples --workspace
    python3 benches/gpu/pack.py      # target/gpu: the programs and wheels; sizes checked

There, where `target/gpu` was carried beside the tree (python3 has torch and transformers; nothing
is fetched), as one command, since a machine that waits is soon handed back: whether it works at
all, in 150 s, and if a call of ours is right, the rest in what is left of 570 s:

    export PYTHONUNBUFFERED=1
    h200() { python3 benches/gpu/h200.py --bundle target/gpu --out $OUT --room "$@"; }
    h200 --quick && h200 --seconds $((570 - SECONDS))

On a second machine it goes on from what came back of the first: results.json and kernels.tar.xz
copied here to target/gpu/before, counted by `python3 benches/gpu/pack.py --sizes`, carried with
the rest of target/gpu and named there: `--before target/gpu/before`. Where it is too much for one
call, a first carries target/gpu/before with the command `true`, and the next the other files, each
by its name: what lies there and is not named stays.

To try all of it here, on small networks on the CPU, against programs built without CUDA:

    PYTHON benches/gpu/h200.py --small --device cpu --dtype f32 --bin target/release --out /tmp/dry

The kernels' tests under NVIDIA's checker of memory, where such a machine has one: here

    cargo build --release --locked --features cuda --workspace --test agreement
    python3 benches/gpu/pack.py --tests      # target/gpu-tests, carried instead of target/gpu

and there, where it may lie in /usr/local/cuda/bin (CUDA_PATH names a toolkit that lies elsewhere):

    export LDM_GRAPH_TEST_GPU=cuda && tar -xJf target/gpu-tests/tests.tar.xz -C /tmp
    compute-sanitizer --tool memcheck --error-exitcode 9 /tmp/agreement on_a_gpu --test-threads 1

What is run, for SD1.5 at 512 and SDXL at 1024 (models.py), most wanted first (ORDER), each as far
as the time goes (`--seconds`):

- ceilings: how fast the device copies, and multiplies bf16 matrices (ceilings.py);
- `unet`, on the two latents of a guided step: ours what the program does at a step of a walk
  (`step` of models/examples/peer.rs), the prompt heard before; `ours_graphs` the same replayed from
  a capture, or "not captured". diffusers has nothing of the kind and makes its whole call at each
  step: `eager`, `channels_last` and `compile` (torch.compile, max-autotune), which takes minutes;
- `vae`, a decoding, in the same ways but the captured;
- `picture`, of 20 steps: the mean of all but the first of three in `ldm-graph run`, without and
  with `--cuda-graphs` (`ours_graphs`), and the median in diffusers' pipeline;
- `start`: from the start of a process until the device has done a first step: of `ldm-graph run` a
  walk of one step to its end, in the second process, which finds the kernels and the hashes of
  files of the first, and no picture; of diffusers in the first picture of `eager`;
- `latent`: the last latent of a walk of ours, beside that of ours with `--device cpu --dtype f32`,
  of the same words and seed: the mean absolute error of the latent as it is, the largest, NaN.

Both sides compute in `--dtype`, but for two networks. Where that is f16, an autoencoder with a
normal distribution starts in f16 in our program, whatever `force_upcast` of its config.json says
(diffusers writes `true` by default), and a picture that was not finite is computed again in bf16;
SDXL's (scale 0.13025), whose released weights overflow f16, starts in bf16 unless its config.json
says `force_upcast: false`. So `vae` of SDXL is in bf16 on both sides; in diffusers' pictures in
f16, since random weights do not overflow, and by itself it would take f32, which is slower. Text
encoders of ours hold f16 on a GPU, whichever half type is named, and compute in f32.

One program is alive at a time. It loads, runs once and is then measured in `--rounds` of `--calls`
calls, each waited for; its seconds are the median of all. Kernels of ours, compiled and tuned in a
first run, are kept in one folder for all its processes; one that had to prepare some is started
again and only its second life counts, but for `first`, the seconds of its first run. Each result is
held to diffusers' in f32 of the same numbers, without TF32; pictures to the pipeline's, and ours to
eager's too. A call that holds NaN or is far off says so in place of its milliseconds; a picture
that is far off beside them, since a walk with random networks can turn elsewhere by a rounding.
Memory is the most that the device had in use over what it had before (NVML; on the CPU `RssAnon`).
Then one more call is profiled, by kernel (`--no-profile` leaves that out; no captured one).

OUT/results.json and OUT/rows.md are written anew after each part, OUT/kernels.tar.xz after each
that prepared kernels and in the end, so that a run that is stopped loses little; OUT/profiles.txt
has what was profiled, OUT/errors.txt what failing programs said. `--room [DIR]` keeps checkpoints
(10 GB), kernels and results: the next run with it does what is missing. `--only sd15,unet,ours`
takes the models, networks and programs that are named, of what is not named all; `--quick` is SD1.5
without pictures, latents and ceilings, by ours and `eager`.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import rows
from programs import PEERS, Bounded, DeviceMemory, Events, cpu, once

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

MODELS = {"sd15": 512, "sdxl": 1024}
NETWORKS = ("unet", "vae", "picture", "start", "latent")
# Most wanted first; within a line program by program.
ORDER = (
    ("sd15", "unet", ("ours", "ours_graphs", "eager")),
    ("sd15", "start", ("ours",)),
    ("sd15", "picture", ("ours", "ours_graphs", "eager")),
    ("sd15", "vae", ("ours", "eager")),
    ("sdxl", "unet", ("ours", "eager")),
    ("sd15", "latent", ("ours",)),
    ("sdxl", "vae", ("ours", "eager")),
    ("sdxl", "picture", ("ours", "eager")),
    ("sd15", "unet", ("compile", "channels_last")),
    ("sd15", "vae", ("compile", "channels_last")),
    ("sdxl", "unet", ("compile", "channels_last")),
    ("sdxl", "vae", ("compile", "channels_last")),
    ("sdxl", "start", ("ours",)),
    ("sdxl", "unet", ("ours_graphs",)),
    ("sdxl", "picture", ("ours_graphs",)),
    ("sd15", "picture", ("channels_last",)),
    ("sdxl", "picture", ("channels_last",)),
    ("sdxl", "latent", ("ours",)),
)
# Seconds that a program gets from its start to its last answer, and without which it is not begun.
MOST = {"ours": 200.0, "ours_graphs": 60.0, "eager": 60.0, "channels_last": 60.0, "compile": 300.0}
LEAST = {"ours": 15.0, "ours_graphs": 15.0, "eager": 15.0, "channels_last": 15.0, "compile": 60.0}
LATENT = {"sd15": (120.0, 60.0), "sdxl": (450.0, 240.0)}  # most and least, with the CPU's
AGAIN, MAKING, PROFILING = 60.0, (120.0, 30.0), 30.0
SECONDS, QUICK = 540.0, 150.0
MEMORY, ROOM = Path("/dev/shm"), Path("h200-room")


class Clock:
    """The seconds of the whole run, and what is left of them."""

    def __init__(self, seconds, patience=1.0):
        self.end, self.patience = time.monotonic() + seconds, patience

    def grant(self, most, least):
        """What a part may take, or nothing where less than `least` is left."""
        left = self.end - time.monotonic()
        return None if left < least else min(most * self.patience, left)


def main():
    options = read_options()
    options.out.mkdir(parents=True, exist_ok=True)
    clock = Clock(options.seconds, options.patience)
    with contextlib.ExitStack() as ends:
        room = room_of(options, ends)
        cache = room / "cache"  # as the program's: in `kernels` what ours prepared
        (cache / "kernels").mkdir(parents=True, exist_ok=True)
        os.environ["LDM_GRAPH_CACHE"] = str(cache)
        results = Results(options, room)
        if options.bundle:  # not to the room, since memory may hold no programs
            unpack(options, Path(ends.enter_context(tempfile.TemporaryDirectory())), results)
        options.toolkit = toolkit()
        bench = Bench(options, room, clock, results)
        bench.ceilings()
        for model, network, program in tasks(options):
            if bench.lacks(model, network, program):
                bench.task(model, network, program)
        pack_kernels(cache, options.out)
        print("\n".join(rows.of(results.told)), flush=True)
    if options.quick and not works(results.told):
        sys.exit("no call of ours was measured and right")


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where results go")
    parser.add_argument("--bundle", type=Path, help="what pack.py made: programs and wheels")
    built = ROOT / "target" / "release"
    parser.add_argument("--bin", type=Path, default=built, help="ours, unpacked")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--dtype", default="f16", choices=("f16", "bf16", "f32"))
    parser.add_argument("--seconds", type=float, help=f"{SECONDS:.0f}; quick {QUICK:.0f}")
    parser.add_argument("--only", default="", help="models, networks and programs, by commas")
    parser.add_argument("--quick", action="store_true", help="SD1.5, no pictures, ours and eager")
    parser.add_argument("--small", action="store_true", help="small networks and 128 pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=10, help="in a round")
    parser.add_argument("--steps", type=int, default=20, help="of a picture")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-profile", dest="profile", action="store_false")
    keep = {"nargs": "?", "type": Path, "const": ROOM, "help": "keep all of it for the next run"}
    parser.add_argument("--room", **keep)
    parser.add_argument("--before", type=Path, help="what an earlier run left in its OUT")
    parser.add_argument("--patience", type=float, default=1.0, help="times as long for each part")
    options = parser.parse_args()
    named = [name for name in options.only.split(",") if name]
    for kind, all_of in (("models", MODELS), ("networks", NETWORKS), ("programs", rows.PROGRAMS)):
        setattr(options, kind, [name for name in all_of if name in named] or list(all_of))
    known = (*MODELS, *NETWORKS, *rows.PROGRAMS)
    if wrong := [name for name in named if name not in known]:
        parser.error(f"no `{wrong[0]}`; there are {', '.join(known)}")
    options.seconds = options.seconds or (QUICK if options.quick else SECONDS)
    return options


def room_of(options, ends):
    """The folder of checkpoints and results: a temporary one, unless it is to be kept."""
    places = [MEMORY] if large(options) else []
    places.append(Path(tempfile.gettempdir()))
    if options.room is None:
        return Path(ends.enter_context(tempfile.TemporaryDirectory(dir=places[0])))
    if options.room != ROOM:
        return options.room
    kept = [place / ROOM for place in (MEMORY, *places)]
    return next((room for room in kept if room.is_dir()), places[0] / ROOM)


def large(options):
    """Whether checkpoints go to memory, since there is enough of it."""
    if options.small or not MEMORY.is_dir():
        return False
    space = os.statvfs(MEMORY)
    return space.f_bavail * space.f_frsize > 24e9


def tasks(options):
    """Model, network and program, most wanted first."""
    every = [(model, network, one) for model, network, programs in ORDER for one in programs]
    wanted = lambda model, network, program: (  # noqa: E731
        model in options.models and network in options.networks and program in options.programs
    )
    quick = lambda model, network, program: (  # noqa: E731
        model == "sd15"
        and network not in ("picture", "latent")
        and program in ("ours", "eager")
    )
    return [one for one in every if wanted(*one) and (quick(*one) or not options.quick)]


def works(told):
    """Whether something of ours is worth the rest of the time."""
    calls = [told.get(f"{model}_{name}", {}) for model in MODELS for name in ("unet", "vae")]
    return any(rows.counts(row.get("ours", {})) for row in calls)


def pack_kernels(cache, out):
    """Kernels that were prepared, to OUT: all of them, or what was there stays."""
    if any((cache / "kernels").iterdir()):
        part = out / "kernels.part"
        with tarfile.open(part, "w:xz", preset=0) as packed:
            packed.add(cache / "kernels", "kernels")
        part.replace(out / "kernels.tar.xz")


def unpack(options, place, results):
    """The programs and packages of a bundle, for every process that is started."""
    with tarfile.open(options.bundle / "programs.tar.xz") as packed:
        packed.extractall(place / "bin", filter="data")
    options.bin = place / "bin"
    wheels = [str(path) for path in sorted(options.bundle.glob("*.whl"))]
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--upgrade"]
    words += ["--no-compile", "--no-cache-dir", "--target", str(place / "site"), *wheels]
    subprocess.run(words, check=True)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(place / "site"), before]))
    results.told["ours"] = (options.bundle / "commit.txt").read_text().strip()


def toolkit():
    """What ours is started by: NVRTC wants headers, which are not always where it looks."""
    places = [Path(os.environ.get("CUDA_PATH", "/usr/local/cuda"))]
    for site in map(Path, sys.path):
        places += sorted((site / "nvidia").glob("cu1*"))
    for place in places:
        if (place / "include" / "cuda_fp16.h").exists():
            paths = [str(place / "lib64"), str(place / "lib"), os.environ.get("LD_LIBRARY_PATH")]
            paths = os.pathsep.join(filter(None, paths))
            return ["env", f"CUDA_PATH={place}", f"LD_LIBRARY_PATH={paths}"]
    return []


class Results:
    """What was measured, by row and program, kept in OUT and in the room."""

    def __init__(self, options, room):
        self.out, self.kept = options.out, room / "results.json"
        if options.before and not self.kept.exists():
            shutil.copy(options.before / "results.json", self.kept)
            with contextlib.suppress(FileNotFoundError):  # it was too large to come back
                with tarfile.open(options.before / "kernels.tar.xz") as packed:
                    packed.extractall(room / "cache", filter="data")
        self.told = {key: getattr(options, key) for key in ("device", "dtype", "small", "steps")}
        before = json.loads(self.kept.read_text()) if self.kept.exists() else {}
        if all(before.get(key) == value for key, value in self.told.items()):
            self.told = before
        with contextlib.suppress(OSError):  # git may not be there
            self.told["machine"] = cpu.machine(options)

    def keep(self):
        written = json.dumps(self.told, indent=1)
        for path in (self.out / "results.json", self.kept):
            path.write_text(written)
        (self.out / "rows.md").write_text("\n".join(rows.of(self.told)) + "\n")

    def failed(self, title, why):
        """Prints the end of what a program said, and keeps more of it."""
        said = getattr(why, "said", "").strip().splitlines()
        print("".join(f"{line}\n" for line in said[-5:]), end="", flush=True)
        with (self.out / "errors.txt").open("a") as kept:
            kept.write("\n".join([f"{title}: {why}", *said[-200:], ""]) + "\n")


class Bench:
    """What is shared from task to task: the checkpoints, and the results so far."""

    def __init__(self, options, room, clock, results):
        self.options, self.room, self.clock, self.results = options, room, clock, results
        self.made = {}
        self.device_memory = None
        if options.device == "cuda":
            with contextlib.suppress(Exception):  # without NVML all but this is measured
                self.device_memory = DeviceMemory()
                results.told["name"] = self.device_memory.name

    def ceilings(self):
        if self.options.quick or "ceilings" in self.results.told:
            return
        seconds = self.clock.grant(60.0, 10.0)
        try:
            self.results.told["ceilings"] = once("ceilings.py", [self.options.device], seconds)
        except cpu.Missing as why:
            self.results.failed("ceilings", why)
        self.results.keep()

    def lacks(self, model, network, program):
        return "seconds" not in self.results.told.get(f"{model}_{network}", {}).get(program, {})

    def task(self, model, network, program):
        title = f"{model} {network} {program}"
        row = self.results.told.setdefault(f"{model}_{network}", {})
        start = time.monotonic()
        try:
            self.checkpoint(model, row, network)
            limits = (MOST[program], LEAST[program])
            seconds = self.clock.grant(*(LATENT[model] if network == "latent" else limits))
            if seconds is None:
                raise cpu.Missing("no time was left")
            ways = {"picture": self.picture, "start": self.start, "latent": self.latent}
            row[program] = ways.get(network, self.network)(model, network, program, seconds)
            if network == "picture":
                self.compare(model, row)
        except cpu.Missing as why:
            row[program] = {"missing": str(why)}
            self.results.failed(title, why)
        except (OSError, ValueError, KeyError) as why:  # the rest is worth its time all the same
            row[program] = {"missing": f"failed: {why!r}"}
        self.results.keep()
        if program in rows.OURS and row[program].keys() & {"prepared", "missing"}:
            pack_kernels(self.room / "cache", self.options.out)
        print(f"{title} ({time.monotonic() - start:.0f} s): {json.dumps(row[program])}", flush=True)

    def checkpoint(self, model, row, network):
        if model not in self.made:
            options = self.options
            words = [str(self.room), model, options.device, str(self.size(model))]
            words += [str(options.steps)] + (["small"] if options.small else [])
            made = self.room / f"{model}-exact" / "picture.png"  # which is written last
            try:
                if not made.exists():
                    once("models.py", words, self.clock.grant(*MAKING))
                self.made[model] = True
            except cpu.Missing as why:
                self.made[model] = False
                self.results.failed(f"{model} checkpoint", why)
        if not self.made[model]:
            raise cpu.Missing("no checkpoint")
        if network in ("unet", "vae") and "operations" not in row:
            counted = json.loads((self.room / f"{model}.json").read_text())
            row["operations"] = counted[network]
            row["bytes"] = weights(self.room / model / network)

    def size(self, model):
        return 128 if self.options.small else MODELS[model]

    # ---- one network -----------------------------------------------------------------------

    def network(self, model, network, program, seconds):
        options, output = self.options, self.room / f"{program}.out"
        output.unlink(missing_ok=True)
        inputs = str(self.room / f"{model}-inputs.safetensors")
        named = {("unet", "ours"): "step", ("unet", "ours_graphs"): "captured"}
        told = [str(self.room / model), named.get((network, program), network)]
        told += [dtype_of(model, network, options.dtype), str(options.threads)]
        told += [inputs, str(output), options.device]
        if program in rows.OURS:
            kernels = os.path.join(os.environ["LDM_GRAPH_CACHE"], "kernels")
            words = [*options.toolkit, str(options.bin / "examples" / "peer"), *told, kernels]
        else:
            words = [sys.executable, str(PEERS / "diffusers_peer.py"), *told, program]
        row = self.measured(words, seconds, f"{model} {network} {program}", options.calls)
        return row | cpu.apart(output, self.room / f"{model}-{network}.safetensors")

    def measured(self, words, seconds, title, calls):
        """A program that answers as served.py says, from its start to its end."""
        before = self.device_memory.begin() if self.device_memory else 0
        program, first = Bounded(words, self.options, seconds), {}
        if program.told.get("prepared"):
            first = program.stop()
            before = self.device_memory.begin() if self.device_memory else 0
            program = Bounded(words, self.options, self.clock.grant(AGAIN, 0.0) or 0.0)
            prepared = [first["prepared"], program.told["prepared"]]
            first = {"first": first["first"], "prepared": prepared}
        times, peak = [], {}
        try:
            for _ in range(self.options.rounds):
                told = program.ask(f"measure {calls}")
                times += told["times"]
            if self.device_memory:
                peak = {"peak": self.device_memory.most - before}
            row = {"seconds": statistics.median(times), "spread": [min(times), max(times)]}
            if "stepped" in told:
                row["start"] = told["stepped"] - program.began
            row |= {key: told[key] for key in ("device_bytes", "captured") if key in told}
            if self.options.profile and "captured" not in told:
                program.end = min(program.end, time.monotonic() + PROFILING)
                with contextlib.suppress(cpu.Missing):
                    self.profiled(title, program.ask("profile").get("profile"))
        finally:
            ended = program.stop()
        if self.options.device == "cpu":
            peak = {"peak": ended["anonymous"]}
        return ended | row | peak | first

    def profiled(self, title, told):
        if not told:  # of pictures, none
            return
        lines = [title, *rows.profile(told), ""]
        with (self.options.out / "profiles.txt").open("a") as kept:
            kept.write("\n".join(lines) + "\n")
        print("\n".join(lines), flush=True)

    # ---- pictures --------------------------------------------------------------------------

    def picture(self, model, _, program, seconds):
        options, output = self.options, self.room / f"{model}-{program}"
        output.mkdir(exist_ok=True)
        if program in rows.OURS:
            return self.drawn(model, program, output, seconds)
        words = [sys.executable, str(HERE / "pipeline_peer.py"), str(self.room / model)]
        words += [options.dtype, str(options.threads), options.device, program]
        words += [str(self.size(model)), str(options.steps), str(output / "picture.png")]
        row = self.measured(words, seconds, f"{model} picture {program}", 1)
        if program == "eager":
            began = self.results.told.setdefault(f"{model}_start", {})
            began["eager"] = {"seconds": row["start"]}
        return row

    def drawn(self, model, program, output, seconds):
        """Three pictures by the program: the time of the first, and the mean of the others."""
        words = [*self.ours(model, output), "--no-cache"]
        words += ["--cuda-graphs"] if program == "ours_graphs" else []
        before = self.device_memory.begin() if self.device_memory else 0
        events = Events(words, self.options, seconds)
        row = pictures_of(events.told)
        if program == "ours_graphs":
            called = any("captures no steps" in str(event) for event in events.told)
            row["captured"] = self.options.device != "cpu" and not called
        if self.device_memory:
            row["peak"] = self.device_memory.most - before
        if self.options.device == "cpu":
            row["peak"] = events.anonymous
        (output / "1.png").rename(output / "picture.png")
        return row

    def ours(self, model, output, device=None, dtype=None):
        """How the program draws three pictures."""
        options, size = self.options, self.size(model)
        device, dtype = device or options.device, dtype or options.dtype
        words = [*options.toolkit, str(options.bin / "ldm-graph"), "run"]
        words += [str(HERE / f"{model}.ron"), "--json", "--overwrite"]
        words += ["--device", device, "--out", str(output)]
        words += ["--dtype", dtype, "--threads", str(options.threads)]
        words += ["--set", f"model.path={self.room / model}"]
        words += ["--set", f"noise.width={size}", "--set", f"noise.height={size}"]
        for picture in (1, 2, 3):
            words += ["--set", f"latent{picture}.steps={options.steps}"]
        # Half of what such a machine says that it has, which grows, may be less than a model.
        return words + (["--memory", "64G"] if device == "cuda" else [])

    def start(self, model, _, program, seconds):
        """Two processes that take one step each, of words and a seed that nobody kept."""
        end, seed = time.monotonic() + seconds, int(time.time())
        begun = []
        for number in (seed, seed + 1):
            words = [*self.ours(model, self.room / f"{model}-start"), "--only", "kept"]
            words += ["--set", "latent1.steps=1"]
            words += ["--set", f"latent1.seed={number}", "--set", f"wanted1.text=a {number}"]
            begun.append(Events(words, self.options, end - time.monotonic()))
        first, second = (one.after("latent1") for one in begun)
        return {"seconds": second, "first": first, "whole": [one.seconds for one in begun]}

    def latent(self, model, _, program, seconds):
        """The last latent of the first picture, and that of the CPU in f32."""
        options, end = self.options, time.monotonic() + seconds
        took, latents = [], []
        for device, dtype in ((options.device, options.dtype), ("cpu", "f32")):
            output = self.room / f"{model}-latent-{len(took)}"
            words = [*self.ours(model, output, device, dtype), "--only", "kept", "--no-cache"]
            took.append(Events(words, options, end - time.monotonic()).seconds)
            latents.append(output / "latent.safetensors")
        return {"seconds": took[0], "exact_seconds": took[1]} | absolute(*latents)

    def compare(self, model, row):
        """Pictures beside the pipeline's in f32, and ours beside eager's."""
        there = lambda name: self.room / f"{model}-{name}"  # noqa: E731
        for program in rows.PROGRAMS:
            if "seconds" not in row.get(program, {}):
                continue
            if not (there(program) / "picture.png").exists():
                continue
            row[program] |= cpu.pixels(there(program), there("exact"))
            if program.startswith("ours") and "seconds" in row.get("eager", {}):
                row[program]["beside"] = cpu.pixels(there(program), there("eager"))


def dtype_of(model, network, dtype):
    """What a network computes in: the released autoencoder of SDXL overflows f16."""
    return "bf16" if (model, network, dtype) == ("sdxl", "vae", "f16") else dtype


def absolute(result, reference):
    """How far a latent is from another, as it is."""
    import numpy as np
    from safetensors.numpy import load_file

    got, want = (load_file(path)["latent"].astype("float64") for path in (result, reference))
    off = np.abs(got - want)
    told = {"error": float(off.mean()), "most": float(off.max())}
    return told | {"finite": bool(np.isfinite(got).all())}


def pictures_of(events):
    """What `ldm-graph run --json` told of three pictures: seconds of their nodes, by picture.

    The nodes of a picture end in its number; the device computes one node after the other.
    `parts` is the mean of the last two by node.
    """
    took = {"1": {}, "2": {}, "3": {}}
    for event in events:
        if event.get("event") == "node" and event.get("state") == "ran":
            name, number = event["node"][:-1], event["node"][-1]
            if number in took:
                took[number][name] = event["seconds"]
    if not all(took.values()):
        raise cpu.Missing("not all pictures were drawn")
    first, *later = took.values()
    each = [sum(nodes.values()) for nodes in later]
    parts = {name: statistics.mean(nodes[name] for nodes in later) for name in later[0]}
    row = {"seconds": statistics.mean(each), "spread": [min(each), max(each)], "parts": parts}
    return row | {"first": sum(first.values())}


def weights(folder):
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


if __name__ == "__main__":
    main()
