"""The tables of h200.py's results, and which kind of work a kernel does; without a device."""

import math
import re

WORK = {
    "sd15_unet": "SD1.5 step, 512",
    "sdxl_unet": "SDXL step, 1024",
    "sd15_vae": "SD1.5 decode, 512",
    "sdxl_vae": "SDXL decode, 1024",
    "sd15_picture": "SD1.5 picture, 512",
    "sdxl_picture": "SDXL picture, 1024",
    "sd15_start": "SD1.5, process to first step's end",
    "sdxl_start": "SDXL, process to first step's end",
}
LATENTS = {"sd15_latent": "SD1.5, 512", "sdxl_latent": "SDXL, 1024"}
OURS = ("ours", "ours_graphs")
EAGER = ("eager", "channels_last")
THEIRS = (*EAGER, "compile")
PROGRAMS = (*OURS, *THEIRS)
FAR = 0.1  # a mean difference, in deviations, that rounding to half precision does not make
CLOSE = 1e-2  # the mean absolute error that the last latent of a walk may have

# The first that fits; names of cubecl, cuDNN, cuBLAS, CUTLASS, Triton and torch's operations.
KINDS = (
    ("attention", "attention|flash|fmha|softmax"),
    ("convolution", "conv|cudnn|winograd|im2col|implicit"),
    ("product", "matmul|gemm|addmm|mm_|::mm|bmm|linear|nvjet|cublas|cutlass|gemv"),
    ("norm", "norm|welford|moments|reduce|mean|sum"),
    ("copy", "copy|contiguous|cat|transpose|permute|nchw|nhwc|memcpy|memset|slice|into_"),
    ("elementwise", "elementwise|elem|fuse|pointwise|silu|gelu|triton|add|mul|unary|binary|cast"),
)


def kind(kernel):
    """What a kernel is for, by its name."""
    name = kernel.lower()
    return next((kind for kind, words in KINDS if re.search(words, name)), "other")


def wrong(told):
    """What is wrong with a result; a time of it would say little."""
    if told.get("captured") is False:
        return "not captured"
    mean = told.get("mean", 0.0)
    if not math.isfinite(mean):
        return "NaN"
    return off(mean) if mean > FAR and not drawn(told) else None


def off(mean):
    return f"off by {mean:.2f}"


def drawn(told):
    """Whether it is a picture: at the end of a long walk, which a rounding may turn elsewhere."""
    return "equal" in told


def strayed(told):
    return drawn(told) and told["mean"] > FAR


def counts(told):
    return "seconds" in told and not wrong(told)


def ms(told):
    """Milliseconds, or why there are none."""
    if not told:
        return "–"
    if "seconds" not in told:
        return "not measured"
    mark = f" ‡ {off(told['mean'])}" if strayed(told) else ""
    return wrong(told) or number(told["seconds"] * 1e3) + mark


def number(value):
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def best(row, programs):
    """The fastest of `programs` that was measured, and is right."""
    done = [row[name] for name in programs if counts(row.get(name, {}))]
    return min(done, key=lambda told: told["seconds"], default={})


def over(ours, theirs):
    if not (counts(ours) and counts(theirs)):
        return "–"
    return f"{ours['seconds'] / theirs['seconds']:.2f}"


def table(head, lines):
    cells = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return cells + ["| " + " | ".join(line) + " |" for line in lines]


def title(results):
    """What was measured on."""
    small = "small networks, " if results.get("small") else ""
    if results.get("device") == "cpu":
        return f"{small}dry run on the CPU: work"
    name = results.get("name") or results.get("ceilings", {}).get("name", "a GPU")
    return f"{small}{name.removeprefix('NVIDIA ')}: work"


def of(results):
    """All tables, as lines; only what was measured has numbers."""
    rows = {key: results[key] for key in WORK if key in results}
    lines = table([title(results), "ours ms", "eager ms", "compile ms", "ratio"], (
        [WORK[key], ms(row.get("ours")), ms(best(row, EAGER) or row.get("eager")),
         ms(row.get("compile")), over(row.get("ours", {}), best(row, THEIRS))]
        for key, row in rows.items()
    ))
    lines += ["", about(results)]
    if any(strayed(row[name]) for row in rows.values() for name in PROGRAMS if name in row):
        lines += ["", "‡ The picture is far from that in f32, though each call may be right: a "
                  "walk with random networks can turn elsewhere by a rounding, on either side."]
    lines += latents(results)
    for words, cell in (
        ("Milliseconds, and in brackets ours over it:", beside_ours),
        ("Seconds of the first run, in which kernels are compiled and tuned where none were kept, "
         "and in brackets how many; of `start`, of the first process:", first),
        ("Peak memory in GB, and in brackets what the program's allocator took:", memory),
        ("Largest and mean difference, over the deviation of diffusers in f32; of pictures, the "
         "channels within 1 of 255:", apart),
    ):
        lines += ["", words, ""]
        lines += table(["work", *PROGRAMS], (
            [WORK[key], *(cell(row.get(name, {}), row) for name in PROGRAMS)]
            for key, row in rows.items()
        ))
    beside = [
        [f"{WORK[key]}, {name}", apart(row[name]["beside"], row)]
        for key, row in rows.items() for name in OURS if "beside" in row.get(name, {})
    ]
    if beside:
        lines += ["", "Ours beside eager's:", "", *table(["work", "difference"], beside)]
    parts = [(key, name, row[name]["parts"]) for key, row in rows.items() for name in OURS
             if "parts" in row.get(name, {})]
    for key, name, told in parts:
        told = ", ".join(f"{node} {number(took * 1e3)}" for node, took in told.items())
        lines += ["", f"{WORK[key]}, {name}, by node in ms: {told}."]
    ceilings = results.get("ceilings")
    if ceilings and "copy" in ceilings:
        copy, matmul = ceilings["copy"] / 1e12, ceilings["matmul"] / 1e12
        lines += ["", f"Measured: copy {copy:.3f} TB/s, product {matmul:.2f} TFLOP/s.", ""]
        lines += table(["work", "TFLOP", "floor ms", "ours over it", "theirs over it"], (
            beside_floor(key, row, ceilings) for key, row in rows.items() if floor(row, ceilings)
        ))
    return lines


def latents(results):
    """How far a walk ends from that of the CPU in f32."""
    rows = {key: results[key].get("ours", {}) for key in LATENTS if key in results}
    if not rows:
        return []
    lines = ["", f"The last latent of ours beside that of its CPU path in f32, as it is, of which "
             f"the mean is to be at most {CLOSE}: mean and largest absolute error, and seconds of "
             "the two processes:", ""]
    return lines + table(["work", "mean", "largest", "holds", "seconds", "on the CPU"], (
        [LATENTS[key], *latent(told)] for key, told in rows.items()
    ))


def latent(told):
    if "error" not in told:
        return ["not measured", *["–"] * 4]
    seconds = [f"{told[key]:.1f}" for key in ("seconds", "exact_seconds")]
    if not told["finite"]:
        return ["NaN", "NaN", "no", *seconds]
    holds = "yes" if told["error"] <= CLOSE else "no"
    return [f"{told['error']:.1e}", f"{told['most']:.1e}", holds, *seconds]


def about(results):
    """A line of what was measured with."""
    rows = (row for key, row in results.items() if key in WORK)
    told = (row[name].get("versions") for row in rows for name in THEIRS if name in row)
    versions = next(filter(None, told), {})
    machine = results.get("machine", {})
    words = [f"{name} {version}" for name, version in versions.items()]
    words += [f"ours at `{results.get('ours') or machine.get('ours') or '?'}`"]
    words += [f"{results.get('steps', '?')} steps a picture", machine.get("day", "?")]
    return f"In {results.get('dtype', '?')}; " + ", ".join(words) + "."


def beside_ours(told, row):
    ratio = "" if told is row.get("ours") else over(row.get("ours", {}), told)
    return ms(told) + (f" ({ratio})" if ratio not in ("", "–") else "")


def first(told, _):
    if "first" not in told:
        return "–"
    prepared = f" ({told['prepared'][0]})" if "prepared" in told else ""
    return f"{told['first']:.1f}{prepared}"


def memory(told, _):
    if "peak" not in told and "device_bytes" not in told:
        return "–"
    cell = lambda key: f"{told[key] / 1e9:.2f}" if key in told else "–"  # noqa: E731
    return f"{cell('peak')} ({cell('device_bytes')})"


def apart(told, _):
    if "largest" not in told:
        return "–"
    equal = f", {100 * told['equal']:.1f} %" if "equal" in told else ""
    return f"{told['largest']:.1e}, {told['mean']:.1e}{equal}"


def floor(row, ceilings):
    """Seconds that no program can do without: its operations, or its weights read once."""
    if not ceilings or "operations" not in row:
        return None
    return max(row["operations"] / ceilings["matmul"], row["bytes"] / ceilings["copy"])


def beside_floor(key, row, ceilings):
    least = floor(row, ceilings)
    both = [row.get("ours", {}), best(row, THEIRS)]
    both = [f"{told['seconds'] / least:.2f}" if counts(told) else "–" for told in both]
    return [WORK[key], f"{row['operations'] / 1e12:.2f}", f"{least * 1e3:.3f}", *both]


def profile(told, most=12):
    """A profile as lines: by kind, then the kernels that took most."""
    total = sum(one["seconds"] for one in told)
    if not total:
        return ["no kernel was told"]
    kinds = {}
    for one in told:
        name = kind(one["kernel"])
        seconds, launches = kinds.get(name, (0.0, 0))
        kinds[name] = (seconds + one["seconds"], launches + one["launches"])
    lines = [f"{total * 1e3:.2f} ms, {sum(n for _, n in kinds.values())} launches"]
    for name, (seconds, launches) in sorted(kinds.items(), key=lambda item: -item[1][0]):
        lines.append(f"  {100 * seconds / total:5.1f} %  {launches:5}  {name}")
    for one in told[:most]:
        share, launches = 100 * one["seconds"] / total, one["launches"]
        lines.append(f"    {share:5.1f} %  {launches:5}  {one['kernel'][:96]}")
    return lines
