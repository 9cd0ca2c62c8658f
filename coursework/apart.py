"""A submission runs in a process apart, and sees nothing of the tests but the arguments of its calls.

The cells of the submission run in a Jupyter kernel inside `sandbox`; between it and the grader pass lines of JSON through two
pipes (`relay`). The tests run here, where the functions of the submission are stand-ins that pass arguments and results on
(`wire`).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import cgroups
import outputs
import plain
import psutil
import sandbox
import wire
from nbformat.v4 import new_output

MEMORY = 4 * 2**30  # bytes of all processes together
PROCESSES, TASKS = 50, 300  # processes; with their threads, where a cgroup counts them
FLOOD = 50 * 2**20  # characters of a cell's output after which the cell is stopped
STARTING = 300  # seconds: a busy machine may need long
LOOK = 0.3  # seconds between two looks at what a submission uses
CLOCK = 10  # times the allowance after which the clock alone ends a submission, whatever it computed
LONGEST = wire.LARGEST + 2000  # characters of a line that is still read


class StoppedError(Exception):
    """The submission did not end in time, or its process died."""


class SubmissionError(Exception):
    """The submission raised an error in one of its functions, or returned what no test can use.

    `error` is the name of the exception that it raised, and None otherwise.
    """

    def __init__(self, words: str, error: str | None = None):
        super().__init__(words)
        self.error = error


class Lines:
    """Lines that come out of a pipe, read beside; at most a few are kept waiting, and none that is too long."""

    def __init__(self, pipe):
        self.pipe, self.waiting = pipe, queue.Queue(maxsize=2)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(OSError, ValueError):
            while line := self.pipe.readline(LONGEST + 1):
                self.waiting.put(line)
                if not line.endswith(b"\n"):
                    break
        self.waiting.put(b"")

    def next(self, timeout: float) -> dict | None:
        """One line as it was said; empty if it was nothing that can be used, None at the end. Raises queue.Empty in silence."""
        line = self.waiting.get(timeout=timeout)
        if not line.endswith(b"\n"):
            return None
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return {}
        return said if isinstance(said, dict) else {}

    def close(self):
        """Let the reader come to its end and close the pipe."""
        with contextlib.suppress(queue.Empty):
            while self.waiting.get(timeout=5):
                pass
        self.pipe.close()


class Watch:
    """What a process, and all that it starts, use.

    `seconds` is processor time while one of them computes and time on the clock while all of them wait: that the machine is busy
    with something else is not held against a submission, and sleeping is. `clock` is the time on the clock alone.
    """

    def __init__(self, pid: int, group: cgroups.Group | None):
        self.process, self.group, self.problem = psutil.Process(pid), group, None
        self.family: list[psutil.Process] = [self.process]
        self.seconds = 0.0
        self._look_around()
        self.began = self.at = time.monotonic()
        self.processor = self._processor()

    @property
    def clock(self) -> float:
        return time.monotonic() - self.began

    def begin(self) -> None:
        """Count from now on; what was computed meanwhile, when nothing was asked for, counts as well."""
        if time.monotonic() - self.at > LOOK:
            self._look_around()
        used, self.processor = self.processor, self._processor()
        self.seconds = max(self.processor - used, 0.0)
        self.began = self.at = time.monotonic()

    def look(self) -> None:
        """Bring `seconds` and `problem` up to date, unless that has just been done."""
        elapsed = time.monotonic() - self.at
        if elapsed < LOOK:
            return
        self._look_around()
        computing, memory = False, 0
        for member in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):
                computing |= member.status() in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
                memory += member.memory_info().rss
        processor = self._processor()
        used = max(processor - self.processor, 0.0)
        self.seconds += used if computing else max(used, elapsed)
        self.at, self.processor = self.at + elapsed, processor
        if len(self.family) > PROCESSES:
            self.problem = f"started more than {PROCESSES} processes and was stopped"
        elif memory > MEMORY or (self.group and self.group.exhausted()):
            self.problem = f"used more than {MEMORY / 2**30:.0f} GB of memory and was stopped"

    def _look_around(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            self.family = [self.process, *self.process.children(recursive=True)]

    def _processor(self) -> float:
        if self.group and (counted := self.group.seconds()) is not None:
            return counted
        total = 0.0
        for member in self.family:
            with contextlib.suppress(psutil.Error):
                times = member.cpu_times()
                # of those that ended, the ones that were waited for
                total += times.user + times.system + times.children_user + times.children_system
        return total


class Submission:
    """A process for the cells of one submission.

    Parameters
    ----------
    seconds : float
        For a cell or a call, as `Watch` counts. Whatever takes longer is killed, not interrupted: an interrupt can be caught.
        Whatever takes `CLOCK` times as long on the clock is killed as well.
    total : float
        For the whole submission.
    hide : sequence of str
        Functions of libraries that it cannot call (`hidden`).
    confined : bool
        In the sandbox; otherwise as the user who grades.
    """

    def __init__(self, *, seconds: float = 30.0, total: float = 120.0, hide=(), confined: bool = True):
        self.seconds, self.left, self.hide, self.confined = seconds, total, list(hide), confined
        self.clock = CLOCK * total
        self.process = self.lines = self.watch = self.group = self.folder = None
        self.ran: list[str] = []
        self.called = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def run(self, source: str) -> list:
        """Run a cell and return its outputs; what ended without an error is run again should the process have to be replaced."""
        self._start()
        shown, size = [], 0

        def collect(said):
            nonlocal size
            if "omitted" in said:
                size += LONGEST
            output = outputs.read(said.get("output"))
            if output is not None:
                length, room = outputs.size(output), outputs.KEPT - size
                if length > room > 0 and output.output_type == "stream":
                    output.text = output.text[:room]
                if outputs.size(output) <= room:
                    shown.append(output)
                size += length

        self._ask({"run": source}, words="the cell", collect=collect)
        if size > outputs.KEPT:
            text = f"[much output; what comes after the first {outputs.KEPT} characters is left out]\n"
            shown.append(new_output("stream", name="stdout", text=text))
        if not any(output.output_type == "error" for output in shown):
            self.ran.append(source)
        return shown

    def call(self, function: str, *positional, **named):
        """Call one of its functions by name."""
        self._start()
        self.called = True
        request = {"function": function, "positional": wire.encode(positional)["tuple"]}
        request["named"] = {name: wire.encode(value) for name, value in named.items()}
        reply = self._ask({"call": json.dumps(request)}, words=f"the function {function}")
        return self._value(function, reply)

    def functions(self, names) -> dict:
        """Stand-ins for its functions."""

        def stand_in(name):
            return lambda *positional, **named: self.call(name, *positional, **named)

        return {name: stand_in(name) for name in names}

    def stop(self):
        """End the process and whatever it started."""
        if self.process is None:
            return
        self.process.kill()  # with it ends its namespace, with that every process in it
        if not self.confined:
            for member in self.watch.family if self.watch else []:
                with contextlib.suppress(psutil.Error):
                    member.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        if self.lines:
            self.lines.close()
        if self.group:
            self.group.remove()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.process = self.lines = self.watch = self.group = self.folder = None

    def _start(self):
        if self.process is not None:
            return
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if self.confined:
            self.group = cgroups.create(MEMORY, TASKS)
            command = sandbox.command(f"{sandbox.TOOLS}/relay.py")
            if self.group:
                join = 'for file in $1; do echo $$ > "$file" || exit; done; shift; exec "$@"'
                command = ["sh", "-c", join, "sh", " ".join(self.group.entrances), *command]
            # its first process keeps the variables that bubblewrap was started with, and can be asked for them
            self.process = subprocess.Popen(command, **pipes, env={"PATH": os.environ["PATH"]}, start_new_session=True)
        else:
            self.folder = Path(tempfile.mkdtemp(prefix="submission-"))
            variables = sandbox.environment(str(self.folder), str(sandbox.HERE))
            self.process = subprocess.Popen(
                [sys.executable, str(sandbox.HERE / "relay.py")], cwd=self.folder, env=variables, **pipes
            )
        self.lines = Lines(self.process.stdout)
        self._await_ready()
        self.watch = Watch(self.process.pid, self.group)
        if self.hide and self._ask({"hide": self.hide}, words="the preparation") != "None":
            self._give_up(f"not all of {', '.join(self.hide)} could be hidden")
        ran, self.ran = self.ran, []
        for source in ran:
            self.run(source)

    def _await_ready(self):
        try:
            said = self.lines.next(timeout=STARTING)
        except queue.Empty:
            said = None
        if not (said or {}).get("ready"):
            self.process.kill()
            words = plain.line(self.process.stderr.read(2000).decode(errors="replace"))
            self.stop()
            msg = f"no kernel for the submission: {words or 'it did not start'}"
            raise StoppedError(msg)

    def _ask(self, request, *, words, collect=lambda said: None):
        """Send one request and wait for the line that ends it, for as long as the submission may take."""
        allowed = min(self.seconds, self.left)
        if allowed <= 0 or self.clock <= 0:
            self._give_up("the submission has used all of its time")
        self.watch.begin()
        self._send(request, words)
        size, latest = 0, min(CLOCK * allowed, self.clock)
        while True:
            try:
                said = self.lines.next(timeout=LOOK)
            except queue.Empty:
                said = {}
            if said is None or said.get("ended") is True:
                problem = "used more memory than it may" if self.group and self.group.exhausted() else "ended the process"
                self._give_up(f"{words} {problem} in which the submission ran")
            if "done" in said:
                break
            if said:
                size += said["omitted"] if type(said.get("omitted")) is int else len(str(said))
                collect(said)
            self.watch.look()
            if size > FLOOD:
                self._give_up(f"{words} printed more than {FLOOD / 2**20:.0f} MB and was stopped")
            if self.watch.problem:
                self._give_up(f"{words} {self.watch.problem}")
            if self.watch.seconds > allowed or self.watch.clock > latest:
                self._spend()
                if self.left <= 0 or self.clock <= 0:
                    self._give_up("the submission has used all of its time")
                self._give_up(f"{words} did not end within {self.seconds:g} seconds and was stopped")
        self._spend()
        return said["done"]

    def _send(self, request, words):
        data = json.dumps(request).encode() + b"\n"

        def write():
            with contextlib.suppress(OSError, ValueError):
                self.process.stdin.write(data)
                self.process.stdin.flush()

        # beside, because a submission that does not read would block it
        writing = threading.Thread(target=write, daemon=True)
        writing.start()
        writing.join(timeout=0.05)

    def _spend(self):
        self.left -= self.watch.seconds
        self.clock -= self.watch.clock

    def _give_up(self, words):
        self.stop()
        raise StoppedError(words)

    def _value(self, function, reply):
        try:
            said = json.loads(reply) if isinstance(reply, str) else None
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or not {"value", "error", "unusable"} & set(said):
            msg = f"{function} gave no answer"
            raise SubmissionError(msg)
        if "error" in said:
            name, words = plain.line(said["error"], 80), plain.line(said.get("words", ""), 500)
            raise SubmissionError(f"{function} raised {name}: {words}".removesuffix(": "), error=name)
        try:
            if "unusable" in said:
                raise TypeError(said["unusable"])
            return wire.decode(said["value"])
        except Exception as unreadable:
            msg = f"the value that {function} returns cannot be used: {plain.line(unreadable, 200)}"
            raise SubmissionError(msg) from None
