"""The tables of h200.py's results, and which kind of work a kernel does; without a device."""

import re

WORK = {
    "sd15_unet": "SD1.5 step, 512",
    "sdxl_unet": "SDXL step, 1024",
    "sd15_vae": "SD1.5 decode, 512",
    "sdxl_vae": "SDXL decode, 1024",
    "sd15_picture": "SD1.5 picture, 512",
    "sdxl_picture": "SDXL picture, 1024",
}
EAGER = ("eager", "channels_last")
THEIRS = (*EAGER, "compile")

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


def ms(told):
    """Milliseconds, or why there are none."""
    if not told:
        return "–"
    if "seconds" not in told:
        return "not measured"
    value = told["seconds"] * 1e3
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def best(row, programs):
    """The fastest of `programs` that was measured."""
    done = [row[name] for name in programs if "seconds" in row.get(name, {})]
    return min(done, key=lambda told: told["seconds"], default={})


def ratio(row):
    ours, theirs = row.get("ours", {}).get("seconds"), best(row, THEIRS).get("seconds")
    return f"{ours / theirs:.2f}" if ours and theirs else "–"


def table(head, lines):
    cells = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return cells + ["| " + " | ".join(line) + " |" for line in lines]


def floor(row, ceilings):
    """Seconds that no program can do without: its operations, or its weights read once."""
    if not ceilings or "operations" not in row:
        return None
    return max(row["operations"] / ceilings["matmul"], row["bytes"] / ceilings["copy"])


def of(results):
    """All tables, as lines; only what was measured has numbers."""
    rows = {key: results[key] for key in WORK if key in results}
    head = ["H200: work", "ours ms", "eager ms", "compile ms", "ratio"]
    if results.get("device") == "cpu":
        head[0] = "dry run on the CPU: work"
    lines = table(head, (
        [WORK[key], ms(row.get("ours")), ms(best(row, EAGER) or row.get("eager")),
         ms(row.get("compile")), ratio(row)]
        for key, row in rows.items()
    ))
    programs = ("ours", *THEIRS)
    lines += ["", "Peak memory in GB, and in brackets what the program's allocator took:", ""]
    lines += table(["work", *programs], (
        [WORK[key], *(memory(row.get(name, {})) for name in programs)] for key, row in rows.items()
    ))
    lines += ["", "Largest and mean difference, over the deviation of diffusers in f32:", ""]
    lines += table(["work", *programs], (
        [WORK[key], *(apart(row.get(name, {})) for name in programs)] for key, row in rows.items()
    ))
    ceilings = results.get("ceilings")
    if ceilings and "copy" in ceilings:
        copy, matmul = ceilings["copy"] / 1e12, ceilings["matmul"] / 1e12
        lines += ["", f"Measured: copy {copy:.3f} TB/s, product {matmul:.2f} TFLOP/s.", ""]
        lines += table(["work", "TFLOP", "floor ms", "ours over it", "theirs over it"], (
            beside_floor(key, row, ceilings) for key, row in rows.items() if floor(row, ceilings)
        ))
    return lines


def memory(told):
    if "peak" not in told and "device_bytes" not in told:
        return "–"
    cell = lambda key: f"{told[key] / 1e9:.2f}" if key in told else "–"  # noqa: E731
    return f"{cell('peak')} ({cell('device_bytes')})"


def apart(told):
    if "largest" not in told:
        return "–"
    equal = f", {100 * told['equal']:.1f} %" if "equal" in told else ""
    return f"{told['largest']:.1e}, {told['mean']:.1e}{equal}"


def beside_floor(key, row, ceilings):
    least = floor(row, ceilings)
    both = [row.get("ours", {}), best(row, THEIRS)]
    both = [f"{told['seconds'] / least:.2f}" if "seconds" in told else "–" for told in both]
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
