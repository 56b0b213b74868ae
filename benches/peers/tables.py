"""The tables of networks.py's results, and where they stand in docs/performance.md."""

HEADING = "## Whole networks beside other programs"
NEXT = "\n## "

NAMES = {
    "unet": "SD1.5 UNet f32",
    "unet_bf16": "SD1.5 UNet bf16",
    "vae": "VAE decode",
    "clip": "CLIP",
    "txt2img": "txt2img 512",
}
PEERS = {
    "diffusers": "diffusers",
    "openvino": "OpenVINO",
    "candle": "candle",
    "sdcpp": "stable-diffusion.cpp",
}
GROWTH = ("unet_256", "unet", "unet_768", "unet_1024")

TEXT = """{heading}

Stable Diffusion 1.5 with random numbers, the same files and inputs for every program: a U-Net call
on two 64×64 latents with 77 tokens, a decoding to 512×512, a text of 77 tokens; `txt2img 512` is a
whole process from cold to PNG ({steps} DDIM steps, `cfg` 7.5). Times are medians of
{rounds}, taken in turns with each peer, every program with {threads} threads; a ratio is
our median over the peer's in their common rounds. How it is done is said in the header of the script,
which also runs candle and stable-diffusion.cpp where they are installed.

```sh
cargo build --release --workspace --bins --examples
python3 benches/peers/networks.py FOLDER --openvino PYTHON --page docs/performance.md
```

{cpu} ({sets}), {threads} threads of it used, {memory}; load {load:.1f} at the end; {day}, ours at `{ours}`.
{versions}
"""


def of(results):
    """All tables, as lines."""
    lines = ["| work | ours | diffusers | OpenVINO | ratio to diffusers | ratio to OpenVINO |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    here = {key: results[key] for key in NAMES if key in results}
    for key, row in here.items():
        times = [time(row.get(name)) for name in ("ours", "diffusers", "openvino")]
        ratios = [ratio(row.get(name)) for name in ("diffusers", "openvino")]
        lines.append(f"| {NAMES[key]} | " + " | ".join(times + ratios) + " |")
    others = [name for name in ("candle", "sdcpp") if any(name in row for row in here.values())]
    if others:
        lines += ["", "Other programs:", ""]
        lines.append("| work | " + " | ".join(f"{PEERS[name]} | ratio" for name in others) + " |")
        lines.append("|---" + "|--:|--:" * len(others) + "|")
    for key, row in here.items() if others else ():
        cells = [cell for name in others for cell in (time(row.get(name)), ratio(row.get(name)))]
        lines.append(f"| {NAMES[key]} | " + " | ".join(cells) + " |")
    lines += ["", MEMORY, ""]
    lines += by_program(here, memory)
    lines += ["", DIFFERENCES, ""]
    lines += by_program(here, difference)
    return lines + growth(results) + by_steps(results)


MEMORY = """The most memory that a process ever had, loading included: of its own (anonymous), and in brackets
with the pages of files that it mapped. Some programs leave their weights in those."""

DIFFERENCES = """The results, held to diffusers in f32 in the same row: the largest and the mean difference over
the reference's standard deviation (of pictures: of their channels, and how many are equal within
1/255)."""


def by_program(rows, cell):
    measured = {name for row in rows.values() for name in row}
    names = {"ours": "ours"} | {name: said for name, said in PEERS.items() if name in measured}
    lines = ["| work | " + " | ".join(names.values()) + " |", "|---" + "|--:" * len(names) + "|"]
    for key, row in rows.items():
        cells = (cell(row.get(name) or {}) for name in names)
        lines.append(f"| {NAMES[key]} | " + " | ".join(cells) + " |")
    return lines


def growth(results):
    """How a U-Net call grows with the picture."""
    base = results.get("unet")
    rows = {key: results[key] for key in GROWTH if key in results}
    if len(rows) < 2 or base is None or "seconds" not in base["ours"]:
        return []
    lines = ["", "A U-Net call by the picture's size, times that of 512×512 in brackets:", ""]
    lines += ["| picture | operations | ours | diffusers |", "|---|--:|--:|--:|"]
    for row in rows.values():
        times = lambda a, b: f"{a / b:.2f}"  # noqa: E731
        cells = [f"{row['operations'] / 1e12:.2f} TFLOP ({times(row['operations'], base['operations'])})"]
        for name in ("ours", "diffusers"):
            one, other = row[name].get("seconds"), base[name].get("seconds")
            cells.append(f"{time(row[name])} ({times(one, other)})" if one and other else "–")
        lines.append(f"| {row['size']}×{row['size']} | " + " | ".join(cells) + " |")
    return lines


def by_steps(results):
    """How a walk grows with steps and pictures, and what each more of them took."""
    row = results.get("growth")
    if row is None:
        return []
    size, points = row["size"], row["points"]
    lines = ["", f"A walk of ours by steps and pictures of {size}×{size} (medians of {row['rounds']}),"]
    lines += ["and what each step of a picture beyond the first line's took:", ""]
    lines += ["| steps | pictures | time | a step more |", "|--:|--:|--:|--:|"]
    first = points[0]
    for steps, pictures, seconds in points:
        more = steps * pictures - first[0] * first[1]
        each = f"{(seconds - first[2]) / more:.2f} s" if more else "–"
        lines.append(f"| {steps} | {pictures} | {seconds:.2f} s | {each} |")
    return lines


def time(told):
    if not told:
        return "–"
    if "seconds" not in told:
        return told.get("missing", "–").replace("|", "/")
    seconds = told["seconds"]
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def ratio(told):
    return f"{told['ratio']:.2f}" if told and "ratio" in told else "–"


def memory(told):
    if "anonymous" not in told:
        return "–"
    return f"{told['anonymous'] / 1e9:.2f} GB ({told['resident'] / 1e9:.2f})"


def difference(told):
    if "largest" not in told:
        return "–"
    equal = f", {100 * told['equal']:.1f} %" if "equal" in told else ""
    return f"{told['largest']:.1e}, {told['mean']:.1e}{equal}"


def write(path, results):
    """Puts the section in its place: where it stood, or before the next."""
    text = TEXT.format(heading=HEADING, **facts(results)) + "\n" + "\n".join(of(results)) + "\n"
    page = path.read_text()
    start = page.find(HEADING)
    if start < 0:
        start = page.index("## Beside ComfyUI")
        page = page[:start] + text + "\n" + page[start:]
    else:
        end = page.find(NEXT, start)
        page = page[:start] + text + (page[end:] if end >= 0 else "")
    path.write_text(page)


def rounds_of(results):
    """How many runs the medians are of, and which rows have fewer."""
    names = NAMES | {key: f"{results[key]['size']}×{results[key]['size']}" for key in GROWTH if key in results}
    counts = {name: results[key]["rounds"] for key, name in {**names, **NAMES}.items() if key in results}
    most = max(counts.values(), default=0)
    fewer = [f"{name} {count}" for name, count in counts.items() if count < most]
    return f"{most} runs" + (f" ({', '.join(fewer)})" if fewer else "")


def facts(results):
    rows = [results[key] for key in NAMES if key in results]
    versions = {}
    for row in rows:
        for name in PEERS:
            versions |= (row.get(name) or {}).get("versions", {})
    told = [f"{name} {version.split('+')[0]}" for name, version in sorted(versions.items())]
    steps = results.get("txt2img", {}).get("steps", 20)
    rounds = rounds_of(results)
    computed = {
        row["dtype"]: (row.get("openvino") or {}).get("computes_in") for row in rows
    }
    if computed.get("bf16") not in (None, "bf16"):
        told.append(f"asked for bf16, OpenVINO computed in {computed['bf16']} on this CPU")
    machine = results["machine"] | {"sets": ", ".join(results["machine"]["sets"])}
    return machine | {"versions": "; ".join(told) + ".", "steps": steps, "rounds": rounds}
