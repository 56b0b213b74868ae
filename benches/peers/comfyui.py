#!/usr/bin/env python3
"""What a node costs in ComfyUI and here: chains of nodes that do next to nothing, timed side by side.

Start ComfyUI yourself (`python main.py --cpu` will do), then

    python3 benches/peers/comfyui.py [--url http://127.0.0.1:8188] [--upto 10000] [--rounds 5]

It posts each chain to `/prompt` and asks `/history/<id>` until the run is there, once with a new
first number, so that every node runs, and once more unchanged. Ours are the times of
`cargo bench -p ldm-engine --bench engine`, from the graph's text to the report. What is not alike:

- ComfyUI's times hold one request over HTTP and the polling, half a millisecond at a time; the
  time that its own messages tell, from `execution_start` to `execution_success`, is shown beside.
- Its nodes (`PrimitiveInt`, then one `PreviewAny`) pass a number on; ours add to it and hash it.

A chain that ComfyUI refuses (older versions check links by recursion) is shown as refused.
Needs Python 3.9 and nothing else.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POLL = 0.0005
PATIENCE = 600


class Refused(Exception):
    """ComfyUI did not run a graph, and why."""


def main():
    options = read_options()
    comfyui = ComfyUi(options.url)
    try:
        about = comfyui.about()
    except OSError as error:
        sys.exit(
            f"no ComfyUI answers at {options.url}: {error}\n"
            "start one (`python main.py --cpu`) and pass its address with --url; "
            "no number is shown without it"
        )
    ours = our_times(options)
    print(f"ComfyUI {about}, {options.rounds} rounds; all times are medians\n")
    print("| chain | | ours | ComfyUI | ratio | ComfyUI by its own clock | ratio |")
    print("|--:|---|--:|--:|--:|--:|--:|")
    for nodes, (first, again) in ours.items():
        show_chain(comfyui, nodes, first, again, options.rounds)


def read_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="where ComfyUI listens")
    parser.add_argument("--upto", type=int, default=10_000, help="most nodes of a chain")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each chain")
    parser.add_argument("--ours", help="a file that holds our times, as the bench's --json gives")
    return parser.parse_args()


def our_times(options):
    """Milliseconds of each of our chains by its length: a first run, the same again."""
    if options.ours:
        lines = Path(options.ours).read_text()
    else:
        bench = ["cargo", "bench", "-p", "ldm-engine", "--bench", "engine", "--"]
        bench += ["--json", "--upto", str(options.upto)]
        lines = subprocess.run(bench, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    cases = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    chains = [case for case in cases if case["graph"] == "chain" and case["nodes"] <= options.upto]
    return {case["nodes"]: (case["first_ms"][1], case["again_ms"][1]) for case in chains}


def show_chain(comfyui, nodes, first, again, rounds):
    try:
        pairs = [comfyui.measure(nodes) for _ in range(rounds + 1)][1:]
    except Refused as why:
        print(f"| {nodes} | first run | {first:.1f} ms | refused: {why} | | | |")
        return
    for name, ours, times in (
        ("first run", first, [pair[0] for pair in pairs]),
        ("unchanged", again, [pair[1] for pair in pairs]),
    ):
        wall, own = (statistics.median(column) for column in zip(*times))
        print(
            f"| {nodes} | {name} | {ours:.1f} ms "
            f"| {wall:.1f} ms | {wall / ours:.1f} | {own:.1f} ms | {own / ours:.1f} |"
        )


class ComfyUi:
    """A running ComfyUI, by its HTTP interface."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        # A number that no run before this one started with.
        self.seed = time.time_ns() % 1_000_000_000

    def about(self):
        system = self.ask("/system_stats")["system"]
        version, python = system.get("comfyui_version"), system.get("python_version", "")
        return f"{version or 'of unknown version'} on Python {python.split(' ')[0]}"

    def measure(self, nodes):
        """Milliseconds of a first run and of the same again, each by our clock and by its own."""
        self.seed += 1
        prompt = chain(nodes, self.seed)
        first, ran = self.run(prompt)
        again, kept = self.run(prompt)
        if cached(ran) > 0 or cached(kept) < nodes - 1:
            raise Refused("its cache did not do what a first and an unchanged run are for")
        return (first, took(ran)), (again, took(kept))

    def run(self, prompt):
        """Milliseconds from the request to the result, and the messages of the run."""
        body = json.dumps({"prompt": prompt}).encode()
        start = time.perf_counter()
        number = self.ask("/prompt", body)["prompt_id"]
        while not (entry := self.ask(f"/history/{number}").get(number)):
            if time.perf_counter() - start > PATIENCE:
                raise Refused(f"no result after {PATIENCE} s")
            time.sleep(POLL)
        wall = (time.perf_counter() - start) * 1e3
        if entry["status"]["status_str"] != "success":
            raise Refused(entry["status"]["messages"][-1])
        return wall, dict(entry["status"]["messages"])

    def ask(self, path, body=None):
        request = urllib.request.Request(self.url + path, data=body)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refused(f"HTTP {error.code}: {error.read(300).decode(errors='replace')}") from None


def chain(nodes, seed):
    """A chain of so many nodes that `PreviewAny` ends, in the form that `/prompt` takes."""
    prompt = {"0": {"class_type": "PrimitiveInt", "inputs": {"value": seed}}}
    for at in range(1, nodes - 1):
        prompt[str(at)] = {"class_type": "PrimitiveInt", "inputs": {"value": [str(at - 1), 0]}}
    last = {"class_type": "PreviewAny", "inputs": {"source": [str(nodes - 2), 0]}}
    prompt[str(nodes - 1)] = last
    return prompt


def cached(messages):
    """How many nodes a run kept."""
    return len(messages.get("execution_cached", {}).get("nodes", []))


def took(messages):
    """Milliseconds of a run by ComfyUI's own clock."""
    start, end = messages["execution_start"], messages["execution_success"]
    return end["timestamp"] - start["timestamp"]


if __name__ == "__main__":
    main()
