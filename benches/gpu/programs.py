"""The programs that h200.py measures, as processes that are ended when their seconds are over.

Not here: what they are told, and what is made of their answers (h200.py, rows.py).
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent / "peers"
sys.path.insert(0, str(PEERS))
import networks as cpu  # noqa: E402  the same work on the CPU, whose parts are shared

LATE = "took longer than it may"
REST = 10.0  # seconds to end in


class Failed(cpu.Missing):
    """A program that gave no result, with all that it said."""

    def __init__(self, why, said):
        super().__init__(why)
        self.said = said


class Bounded(cpu.Program):
    """A program that answers as served.py says."""

    def __init__(self, words, options, seconds):
        self.began, self.end, self.late = time.time(), time.monotonic() + seconds, False
        super().__init__(words, options)

    def answer(self):
        try:
            with self.ending():
                return super().answer()
        except cpu.Missing as why:
            self.said.seek(0)
            raise Failed(LATE if self.late else str(why), self.said.read()) from None

    def stop(self):
        with self.ending(REST):  # what was measured counts, though it hung in the end
            return super().stop()

    @contextlib.contextmanager
    def ending(self, more=0.0):
        timer = threading.Timer(max(0.0, self.end - time.monotonic()) + more, self.expire)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def expire(self):
        self.late = True
        self.process.kill()


class Events:
    """A run of ours from start to end, with what it tells and the seconds `at` which it did."""

    def __init__(self, words, options, seconds):
        self.told, self.late = [], False
        start = time.monotonic()
        with tempfile.TemporaryFile("w+") as said:
            self.process = subprocess.Popen(
                words, env=cpu.environment(options), text=True,
                stdout=subprocess.PIPE, stderr=said,
            )
            memory = cpu.Memory(self.process.pid)
            timer = threading.Timer(seconds, self.expire)
            timer.start()
            for line in self.process.stdout:
                if line.startswith("{"):
                    self.told.append(json.loads(line) | {"at": time.monotonic() - start})
            code = self.process.wait()
            timer.cancel()
            said.seek(0)
            said = said.read()
        self.seconds, self.anonymous = time.monotonic() - start, memory.anonymous
        if code != 0:
            why = LATE if self.late else f"failed ({code}): {cpu.last_line(said)}"
            raise Failed(why, "\n".join([*map(str, self.told[-3:]), said]))

    def expire(self):
        self.late = True
        self.process.kill()

    def after(self, node):
        """Seconds from the start of the process to the end of a node, with what it computed."""
        ran = (one for one in self.told if one.get("node") == node and one.get("state") == "ran")
        ended = next(ran, None)
        if ended is None:
            raise cpu.Missing(f"`{node}` did not run")
        return ended["at"]


def once(script, words, seconds):
    """What a script of Python prints last as JSON, if it prints something."""
    if seconds is None:
        raise cpu.Missing("no time was left")
    words = [sys.executable, str(HERE / script), *words]
    try:
        ended = subprocess.run(words, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"took longer than {seconds:.0f} s", str(late.stderr or "")) from None
    if ended.returncode != 0:
        raise Failed("failed: " + cpu.last_line(ended.stderr), ended.stderr)
    return json.loads(ended.stdout.splitlines()[-1]) if ended.stdout.strip() else {}


class DeviceMemory:
    """The most bytes that the first GPU had in use since `begin`, by all programs."""

    def __init__(self):
        import pynvml

        pynvml.nvmlInit()
        device = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.name = pynvml.nvmlDeviceGetName(device)
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
