"""Ours beside PyTorch and diffusers on one GPU, from random checkpoints made there; in 10 minutes.

Here, once (`--release` with CUDA takes long, and is not what else is built):

    cargo build --release --locked --features cuda --bins --examples --workspace
    python3 benches/gpu/pack.py      # target/gpu: the programs and wheels; sizes checked

There, where `target/gpu` was carried beside the tree (python3 has torch and transformers; nothing
is fetched):

    PYTHONUNBUFFERED=1 python3 benches/gpu/h200.py --bundle target/gpu --out $OUT

and here, to try all of it on small networks on the CPU, against programs built without CUDA:

    PYTHON benches/gpu/h200.py --small --device cpu --dtype f32 --bin target/release --out /tmp/dry

What is run, most wanted first, each as far as the time goes (`--seconds`):

- ceilings: how fast the device copies, and multiplies bf16 matrices (ceilings.py);
- for SD1.5 at 512 and SDXL at 1024 (models.py), a U-Net call on the two latents of a guided step,
  and a decoding: ours (models/examples/peer.rs), and diffusers `eager`, `channels_last` and, when
  all else is done, `compile` (torch.compile, max-autotune), all in `--dtype`;
- whole pictures of 20 steps: the mean of all but the first of three in `ldm-graph run` (whose
  autoencoder is in f32, as the program has it), and the median in diffusers' pipeline.

One program is alive at a time. It loads, runs once (in which kernels are compiled and tuned) and is
then measured in `--rounds` of `--calls` calls, each waited for; its seconds are the median of all. Ours
is under cubecl's own settings there, so its kernels are tuned anew, but in pictures as the program
sets them.
Each result is held to diffusers' in f32 of the same numbers, pictures to the pipeline's. Memory is
the most that the device had in use over what it had before (NVML; on the CPU `RssAnon`). Then one
more call is profiled, by kernel (`--no-profile` leaves that out).

OUT/results.json and OUT/rows.md are written anew after each part, so that a run that is stopped
loses nothing; OUT/profiles.txt has what was profiled. `--only sd15,unet,ours` takes the models,
networks (`picture` is one) and programs that are named, of what is not named all; `--quick` is
SD1.5 without pictures and compile.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

import rows

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / "peers"
ROOT = HERE.parents[1]
sys.path.insert(0, str(PEERS))
import networks as cpu  # noqa: E402  the same work on the CPU, whose parts are shared

MODELS = {"sd15": 512, "sdxl": 1024}
NETWORKS = ("unet", "vae", "picture")
PROGRAMS = ("ours", "eager", "channels_last", "compile")
# Seconds that a program gets from its start to its last answer, and without which it is not begun.
MOST = {"ours": 200.0, "eager": 60.0, "channels_last": 60.0, "compile": 300.0}
LEAST = {"ours": 20.0, "eager": 15.0, "channels_last": 15.0, "compile": 60.0}
MAKING = (90.0, 30.0)


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
        room = options.room
        if room is None:
            room = Path(ends.enter_context(tempfile.TemporaryDirectory(dir=fast_folder(options))))
        if options.bundle:
            unpack(options, room)
        find_cuda()
        results = {"device": options.device, "dtype": options.dtype}
        with contextlib.suppress(OSError):  # git may not be there
            results["machine"] = cpu.machine(options)
        results["ceilings"] = once("ceilings.py", [options.device], clock.grant(60.0, 10.0))
        keep(results, options)
        bench = Bench(options, room, clock, results)
        for model, network, program in tasks(options.models, options.programs, options.quick):
            if network in options.networks:
                bench.task(model, network, program)
                keep(results, options)
        print("\n".join(rows.of(results)), flush=True)


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where results go")
    parser.add_argument("--bundle", type=Path, help="what pack.py made: programs and wheels")
    built = ROOT / "target" / "release"
    parser.add_argument("--bin", type=Path, default=built, help="ours, unpacked")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--dtype", default="f16", choices=("f16", "bf16", "f32"))
    parser.add_argument("--seconds", type=float, default=540.0, help="of the whole run")
    parser.add_argument("--only", default="", help="models, networks and programs, by commas")
    parser.add_argument("--quick", action="store_true", help="SD1.5, no pictures, no compile")
    parser.add_argument("--small", action="store_true", help="small networks and 128 pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=10, help="in a round")
    parser.add_argument("--steps", type=int, default=20, help="of a picture")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-profile", dest="profile", action="store_false")
    parser.add_argument("--room", type=Path, help="checkpoints (10 GB) are kept here")
    parser.add_argument("--patience", type=float, default=1.0, help="times as long for each part")
    options = parser.parse_args()
    named = [name for name in options.only.split(",") if name]
    for kind, all_of in (("models", MODELS), ("networks", NETWORKS), ("programs", PROGRAMS)):
        setattr(options, kind, [name for name in all_of if name in named] or list(all_of))
    known = (*MODELS, *NETWORKS, *PROGRAMS)
    if wrong := [name for name in named if name not in known]:
        parser.error(f"no `{wrong[0]}`; there are {', '.join(known)}")
    if options.quick:
        options.models = [name for name in options.models if name == "sd15"]
    return options


def fast_folder(options):
    """Where temporary checkpoints go: memory, where there is enough of it."""
    if Path("/dev/shm").is_dir() and not options.small:
        space = os.statvfs("/dev/shm")
        if space.f_bavail * space.f_frsize > 24e9:
            return "/dev/shm"
    return None


def tasks(models, programs, quick):
    """Model, network and program, most wanted first."""
    soon = [name for name in programs if name != "compile"]
    late = [name for name in programs if name == "compile" and not quick]
    order = [(model, "unet", program) for model in models for program in soon]
    order += [(model, "vae", program) for model in models for program in soon]
    pictures = [(model, "picture", program) for model in models for program in soon]
    order += [] if quick else pictures
    return order + [(m, network, p) for network in ("unet", "vae") for m in models for p in late]


def keep(results, options):
    (options.out / "results.json").write_text(json.dumps(results, indent=1))
    (options.out / "rows.md").write_text("\n".join(rows.of(results)) + "\n")


def unpack(options, room):
    """The programs and packages of a bundle, for every process that is started."""
    with tarfile.open(options.bundle / "programs.tar.xz") as packed:
        packed.extractall(room / "bin", filter="data")
    options.bin = room / "bin"
    wheels = [str(path) for path in sorted(options.bundle.glob("*.whl"))]
    words = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    words += ["--no-compile", "--no-cache-dir", "--target", str(room / "site"), *wheels]
    subprocess.run(words, check=True)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(room / "site"), before]))


def find_cuda():
    """NVRTC wants the toolkit's headers, which are not always where it looks."""
    places = [Path(os.environ.get("CUDA_PATH", "/usr/local/cuda"))]
    for site in map(Path, sys.path):
        places += sorted((site / "nvidia").glob("cu1*"))
    for place in places:
        if (place / "include" / "cuda_fp16.h").exists():
            os.environ["CUDA_PATH"] = str(place)
            paths = [str(place / "lib64"), str(place / "lib"), os.environ.get("LD_LIBRARY_PATH")]
            os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
            return


def once(script, words, seconds):
    """What a script of Python prints last as JSON, or why there is nothing."""
    if seconds is None:
        return {"missing": "no time was left"}
    words = [sys.executable, str(HERE / script), *words]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"missing": f"took longer than {seconds:.0f} s"}
    if ended.returncode != 0:
        return {"missing": "failed: " + cpu.last_line(ended.stderr)}
    return json.loads(ended.stdout.splitlines()[-1]) if ended.stdout.strip() else {}


class Bench:
    """What is shared from task to task: the checkpoints, and the results so far."""

    def __init__(self, options, room, clock, results):
        self.options, self.room, self.clock, self.results = options, room, clock, results
        self.made = {}
        self.device_memory = None
        if options.device == "cuda":
            with contextlib.suppress(Exception):  # without NVML all but this is measured
                self.device_memory = DeviceMemory()

    def task(self, model, network, program):
        row = self.results.setdefault(f"{model}_{network}", {})
        start = time.monotonic()
        try:
            self.checkpoint(model, row, network)
            seconds = self.clock.grant(MOST[program], LEAST[program])
            if seconds is None:
                raise cpu.Missing("no time was left")
            draw = self.picture if network == "picture" else self.network
            row[program] = draw(model, network, program, seconds)
        except cpu.Missing as why:
            row[program] = {"missing": str(why)}
        except (OSError, ValueError, KeyError) as why:  # the rest is worth its time all the same
            row[program] = {"missing": f"failed: {why!r}"}
        took = f"{time.monotonic() - start:.0f} s"
        told = {key: value for key, value in row[program].items() if key != "profile"}
        print(f"{model} {network} {program} ({took}): {json.dumps(told)}", flush=True)

    def checkpoint(self, model, row, network):
        if model not in self.made:
            seconds = self.clock.grant(*MAKING)
            words = [str(self.room), model, self.options.device, str(self.size(model))]
            words += ["small"] if self.options.small else []
            self.made[model] = once("models.py", words, seconds)
        if "missing" in self.made[model]:
            raise cpu.Missing("no checkpoint: " + self.made[model]["missing"])
        if network != "picture" and "operations" not in row:
            counted = json.loads((self.room / f"{model}.json").read_text())
            row["operations"] = counted[network]
            row["bytes"] = weights(self.room / model / network)

    def size(self, model):
        return 128 if self.options.small else MODELS[model]

    def network(self, model, network, program, seconds):
        options, output = self.options, self.room / f"{program}.out"
        inputs = str(self.room / f"{model}-inputs.safetensors")
        told = [str(self.room / model), network, options.dtype, str(options.threads), inputs]
        told += [str(output), options.device]
        if program == "ours":
            words = [str(options.bin / "examples" / "peer"), *told]
        else:
            words = [sys.executable, str(PEERS / "diffusers_peer.py"), *told, program]
        row = self.measured(words, seconds, f"{model} {network} {program}", options.calls)
        return row | cpu.apart(output, self.room / f"{model}-{network}.safetensors")

    def measured(self, words, seconds, title, calls):
        """A program that answers as served.py says, from its start to its end."""
        before = self.device_memory.begin() if self.device_memory else 0
        program = Bounded(words, self.options, seconds)
        times, peak = [], {}
        try:
            for _ in range(self.options.rounds):
                told = program.ask(f"measure {calls}")
                times += told["times"]
            if self.device_memory:
                peak = {"peak": self.device_memory.most - before}
            row = {"seconds": statistics.median(times), "spread": [min(times), max(times)]}
            row |= {key: told[key] for key in ("device_bytes",) if key in told}
            if self.options.profile:
                with contextlib.suppress(cpu.Missing):
                    self.profiled(title, program.ask("profile")["profile"])
        finally:
            ended = program.stop()
        if self.options.device == "cpu":
            peak = {"peak": ended["anonymous"]}
        return ended | row | peak

    def profiled(self, title, told):
        lines = [title, *rows.profile(told), ""]
        with (self.options.out / "profiles.txt").open("a") as kept:
            kept.write("\n".join(lines) + "\n")
        print("\n".join(lines), flush=True)

    def picture(self, model, _, program, seconds):
        size, output = self.size(model), self.room / f"{model}-{program}"
        output.mkdir(exist_ok=True)
        if program == "ours":
            row = self.drawn(model, size, output, seconds)
        else:
            options = self.options
            words = [sys.executable, str(HERE / "pipeline_peer.py"), str(self.room / model)]
            words += [options.dtype, str(options.threads), options.device, program, str(size)]
            words += [str(options.steps), str(output / "picture.png")]
            row = self.measured(words, seconds, f"{model} picture {program}", 1)
        other = self.room / f"{model}-{'ours' if program != 'ours' else 'eager'}"
        if (other / "picture.png").exists() and (output / "picture.png").exists():
            row |= cpu.pixels(output, other)
        return row

    def drawn(self, model, size, output, seconds):
        """Three pictures by the program: the time of the first, and the mean of the others."""
        options = self.options
        words = [str(options.bin / "ldm-graph"), "run", str(HERE / f"{model}.ron"), "--json"]
        words += ["--no-cache", "--overwrite", "--device", options.device, "--out", str(output)]
        words += ["--dtype", options.dtype, "--threads", str(options.threads)]
        words += ["--set", f"model.path={self.room / model}"]
        words += ["--set", f"noise.width={size}", "--set", f"noise.height={size}"]
        for picture in (1, 2, 3):
            words += ["--set", f"latent{picture}.steps={options.steps}"]
        before = self.device_memory.begin() if self.device_memory else 0
        events = Events(words, options, seconds)
        row = pictures_of(events.told)
        if self.device_memory:
            row["peak"] = self.device_memory.most - before
        if options.device == "cpu":
            row["peak"] = events.anonymous
        (output / "1.png").rename(output / "picture.png")
        return row


def pictures_of(events):
    """What `ldm-graph run --json` told of three pictures: seconds of their nodes, by picture.

    The nodes of a picture end in its number; the device computes one node after the other.
    """
    took = {"1": 0.0, "2": 0.0, "3": 0.0}
    for event in events:
        if event.get("event") == "node" and event.get("state") == "ran":
            last = event["node"][-1]
            if last in took:
                took[last] += event["seconds"]
    if not all(took.values()):
        raise cpu.Missing("not all pictures were drawn")
    each = [took["2"], took["3"]]
    return {"seconds": statistics.mean(each), "spread": [min(each), max(each)], "first": took["1"]}


def weights(folder):
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


class Bounded(cpu.Program):
    """A program that is ended when its seconds are over."""

    def __init__(self, words, options, seconds):
        self.end, self.late = time.monotonic() + seconds, False
        super().__init__(words, options)

    def answer(self):
        timer = threading.Timer(max(0.0, self.end - time.monotonic()), self.expire)
        timer.start()
        try:
            return super().answer()
        except cpu.Missing:
            if self.late:
                raise cpu.Missing("took longer than it may") from None
            raise
        finally:
            timer.cancel()

    def expire(self):
        self.late = True
        self.process.kill()


class Events:
    """A run of ours from start to end, with what it tells."""

    def __init__(self, words, options, seconds):
        process = subprocess.Popen(
            words, env=cpu.environment(options), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        memory = cpu.Memory(process.pid)
        try:
            told, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise cpu.Missing("took longer than it may") from None
        if process.returncode != 0:
            raise cpu.Missing(f"failed ({process.returncode}): {cpu.last_line(said or told)}")
        self.told = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
        self.anonymous = memory.anonymous


class DeviceMemory:
    """The most bytes that the first GPU had in use since `begin`, by all programs."""

    def __init__(self):
        import pynvml

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.used = lambda: pynvml.nvmlDeviceGetMemoryInfo(device).used
        self.most = self.used()
        threading.Thread(target=self.watch, daemon=True).start()

    def begin(self):
        self.most = self.used()
        return self.most

    def watch(self):
        while True:
            self.most = max(self.most, self.used())
            time.sleep(0.02)


if __name__ == "__main__":
    main()
