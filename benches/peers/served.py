"""What a measured program of Python does: be ready, and run again for every line on stdin.

Not here: what is run (diffusers_peer.py, openvino_peer.py), the other end (networks.py).
"""

import json
import sys
import time


def serve(load, about):
    """`load()` gives a function that runs the network once, and one that saves its result.

    Loads, runs once, saves, prints `{"ready": seconds, "first": seconds}` with what `about()`
    tells, then `{"seconds": …}` for each line.
    """
    start = time.perf_counter()
    run, save = load()
    ready = time.perf_counter() - start
    first, result = timed(run)
    save(result)
    tell({"ready": ready, "first": first} | about())
    for _ in sys.stdin:
        tell({"seconds": timed(run)[0]})


def timed(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def tell(what):
    print(json.dumps(what), flush=True)
