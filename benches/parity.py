"""Whole models of full size against diffusers, from both layouts; writes docs/parity.md.

    python tests/reference/parity.py OUT DIFFUSERS LATENT_DIFFUSION MODEL --full DIR --threads 2
    python benches/parity.py DIR target/release/ldm-graph MODEL...
    python benches/parity.py DIR --page docs/parity.md

The first makes a model in DIR (random weights, 2 to 14 GB in two layouts) and what diffusers draws
with it; the second runs ours on both and keeps DIR/MODEL.json; the third writes the page of all
that is kept. A model's files may be deleted between the second and the next model.

Needs numpy, safetensors and Pillow.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
GRAPHS = {"sd21v": "velocity", "sd15_inpaint": "inpaint", "cin256": "classes"}
NAMES = {
    "sd15": "Stable Diffusion 1.5",
    "sd15_inpaint": "Stable Diffusion 1.5 inpainting",
    "sd21v": "Stable Diffusion 2.1 (v)",
    "sdxl": "Stable Diffusion XL base",
    "ldm_text": "LDM text-to-image 1.4B",
    "cin256": "LDM class-conditional ImageNet (f8)",
}


def photo(reference, path):
    """The recorded picture, transparent where the hole is."""
    image, mask = reference.get_tensor("image")[0], reference.get_tensor("mask")[0]
    pixels = np.concatenate([np.rint((image + 1) * 127.5), np.where(mask > 0.5, 0, 255)])
    Image.fromarray(pixels.transpose(1, 2, 0).astype("uint8")).save(path)


def layouts(folder, model):
    """Each layout of a model: its words, its file or folder, and what else the run is told."""
    words = ["--set", f"model.vocab={folder / 'folder' / 'tokenizer' / 'vocab.txt'}"]
    yield "single file", folder / f"{model}.safetensors", words if model == "ldm_text" else []
    if model != "cin256":  # no pipeline of diffusers is told a class by an embedding
        yield "diffusers folder", folder / "folder", []


def run(program, graph, more, room):
    """Seconds, and the peak of memory in MiB."""
    command = ["/usr/bin/time", "-f", "%e %M", program, "run", str(graph), "--out", str(room / "out")]
    command += ["--no-cache", "--set", "noise.width=256", "--set", "noise.height=256", *more]
    command += ["--memory", "20G"]  # a U-Net of SDXL in f32 has 10.3 GB
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(ended.stderr)
    seconds, kib = ended.stderr.strip().splitlines()[-1].split()
    return float(seconds), int(kib) / 1024


def compare(reference, room):
    """For each sampler: latent error over standard deviation, channels within 1/255."""
    found = {}
    for sampler in ("ddim", "euler"):
        wanted = reference.get_tensor(sampler).astype("float64")
        got = safe_open(str(room / "out" / f"{sampler}.safetensors"), "np").get_tensor("latent")
        error = np.abs(got - wanted).max() / wanted.std()
        drawn = np.asarray(Image.open(room / "out" / f"{sampler}.png")).astype(int)
        off = np.abs(drawn - reference.get_tensor(f"{sampler}.picture").astype(int))
        found[sampler] = {"error": error, "equal": float((off <= 1).mean())}
    return found


def measure(home, program, model):
    folder = (home / model).resolve()
    reference = safe_open(str(folder / f"parity_{model}.safetensors"), "np")
    notes, rows = reference.metadata(), []
    for layout, path, more in layouts(folder, model):
        with tempfile.TemporaryDirectory() as room:
            room = Path(room)
            graph = room / "graph.ron"
            source = ROOT / "tests" / "graphs" / "parity" / f"{GRAPHS.get(model, 'text')}.ron"
            graph.write_text(source.read_text())
            if model == "sd15_inpaint":
                photo(reference, room / "photo.png")
            more = [*more, "--set", f"model.path={path}"]
            seconds, peak = run(program, graph, more, room)
            for sampler, result in compare(reference, room).items():
                own = notes.get(f"f32_error.{sampler}")
                rows.append({"layout": layout, "steps": f"{notes['steps']} {sampler.upper()}", "torch": own}
                            | result | {"seconds": seconds, "peak": peak})
                print(model, rows[-1])
    rows = {"rows": rows, "torch": notes["torch"], "made": time.strftime("%Y-%m-%d")}
    (home / f"{model}.json").write_text(json.dumps(rows, indent=1))


PAGE = """# The same pictures as diffusers

Whole models of full size with random weights, run by diffusers and by `ldm-graph` on a CPU from the
same files, the same prompt and the same seed: tokens, conditioning, four steps at `cfg` 5 (classes:
1) on 32×32 latents, decoded picture. Written by `benches/parity.py`, whose header says how to repeat
it; the models are made by `tests/reference/parity.py` with torch {torch} and read nothing of ours.

The error is the largest difference in the final latent, over its standard deviation, from
diffusers' run in float64 where torch's own float32 error stands beside it, else from its float32
run. Wanted: at most four times torch's own error, or 10⁻³ from a float32 run. Channels of the
picture count as equal within 1/255; wanted: 99.9 %.

| model | layout | steps | latent error (std) | torch f32's own error | PNG channels equal |
|---|---|---|---|---|---|
{rows}

Small versions of all of them run in the tests (`tests/program/parity.rs`), from both layouts but for
the class-conditional one, of which diffusers has no folder.
"""


def page(home, path):
    rows, torch = [], "?"
    for model, name in NAMES.items():
        kept = home / f"{model}.json"
        if not kept.exists():
            rows.append(f"| {name} | | | not run | | |")
            continue
        kept = json.loads(kept.read_text())
        torch = kept["torch"]
        for row in kept["rows"]:
            own = f"{float(row['torch']):.1e}" if row["torch"] else "(compared with f32)"
            rows.append(
                f"| {name} | {row['layout']} | {row['steps']} | {row['error']:.1e} | {own} "
                f"| {100 * row['equal']:.2f} % |"
            )
    Path(path).write_text(PAGE.format(torch=torch, rows="\n".join(rows)))


def main(home, what, *more):
    if what == "--page":
        page(Path(home), more[0])
    else:
        for model in more:
            measure(Path(home), what, model)


if __name__ == "__main__":
    main(*sys.argv[1:])
