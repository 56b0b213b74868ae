"""What a measured program of Python does: be ready, and run again for every line on stdin.

Not here: what is run (diffusers_peer.py, openvino_peer.py), the other end (networks.py).
"""

import json
import statistics
import sys
import time


def serve(load, about, warm=0, state=dict, profile=list):
    """`load()` gives a function that runs the network once, and one that saves its result.

    Loads, runs once, saves, runs `warm` times more, prints `{"ready": seconds, "first": seconds}`
    with what `about()` tells, and then a line for each line on stdin: what `profile(run)` tells
    for `profile`; for `measure N`, or any other and once, `{"seconds": median, "times": […]}`.
    What `state()` tells is in every line.
    """
    start = time.perf_counter()
    run, save = load()
    ready = time.perf_counter() - start
    first, result = timed(run)
    save(result)
    del result
    for _ in range(warm):
        timed(run)
    tell({"ready": ready, "first": first} | about() | state())
    for line in sys.stdin:
        words = line.split()
        if words == ["profile"]:
            tell({"profile": profile(run)} | state())
            continue
        count = int(words[1]) if words[:1] == ["measure"] and len(words) > 1 else 1
        times = [timed(run)[0] for _ in range(count)]
        tell({"seconds": statistics.median(times), "times": times} | state())


def timed(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def tell(what):
    print(json.dumps(what), flush=True)
