"""A submission runs in a process apart, and sees nothing of the tests but the arguments of its calls.

The cells of the submission run in a Jupyter kernel of their own, inside `sandbox`. The tests run here, where the functions of the
submission are stand-ins that pass arguments and results on (`wire`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import site
import sys
import tempfile
import time
from pathlib import Path
from queue import Empty

import nbformat
import psutil
import sandbox
import wire
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec

import rmtlib

HERE = Path(__file__).parent
MEMORY, FILE_SIZE, OUTPUT, PROCESSES = 4 * 2**30, 2**26, 200_000, 50
STARTING = 300  # seconds: a busy machine may need long
LOOK = 0.3  # seconds between two looks at what a submission uses
SYSTEM = ["/usr", "/lib", "/lib64", "/bin", "/opt/homebrew", "/dev/urandom", "/dev/random", "/dev/zero"]
SYSTEM += [f"/etc/{name}" for name in ("ld.so.cache", "localtime", "passwd", "nsswitch.conf", "fonts", "ssl", "mime.types")]
SYSTEM += ["/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu"]


def readable() -> list[str]:
    """What a submission may read: the system, Python, the installed packages and rmtlib."""
    folders = [sys.prefix, sys.base_prefix, *site.getsitepackages(), *(path for path in sys.path if path.endswith("-packages"))]
    folders.append(Path(rmtlib.__file__).parent)
    return [*SYSTEM, *sorted({os.path.realpath(folder) for folder in folders} | {str(folder) for folder in folders})]


def refuse_readable(folder: Path) -> None:
    """Raise ValueError if a submission could read the folder of the class."""
    for parent in readable():
        if folder.resolve().is_relative_to(Path(parent).resolve()):
            raise ValueError(f"the folder of a class must not lie inside {parent}, which submissions can read; got {folder}")


class StoppedError(Exception):
    """The submission did not end in time, or its process died."""


class SubmissionError(Exception):
    """The submission raised an error in one of its functions, or returned what no test can use."""


class Watch:
    """What a process, and all that it starts, use from now on.

    `seconds` is processor time while one of them computes and time on the clock while all of them wait: that the machine is busy
    with something else is not held against a submission, and sleeping is.
    """

    def __init__(self, pid: int):
        self.process, self.seconds, self.problem = psutil.Process(pid), 0.0, None
        self.family: list[psutil.Process] = []
        self.at, self.processor = time.monotonic(), self._processor([self.process])

    def look(self) -> None:
        """Bring `seconds` and `problem` up to date, unless that has just been done."""
        elapsed = time.monotonic() - self.at
        if elapsed < LOOK:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            self.family = [self.process, *self.process.children(recursive=True)]
            computing, memory = False, 0
            for member in self.family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    computing |= member.status() in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
                    memory += member.memory_info().rss
            processor = self._processor(self.family)
            used = max(processor - self.processor, 0.0)
            self.seconds += used if computing else max(used, elapsed)
            self.at, self.processor = self.at + elapsed, processor
            if len(self.family) > PROCESSES:
                self.problem = f"started more than {PROCESSES} processes and was stopped"
            elif memory > MEMORY:
                self.problem = f"used more than {MEMORY / 2**30:.0f} GB of memory and was stopped"

    def end(self) -> None:
        """Kill the process and what it started, also what has left its group."""
        # while it lives: what is left of its family afterwards belongs to nobody
        with contextlib.suppress(psutil.NoSuchProcess):
            self.family += self.process.children(recursive=True)
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        for member in self.family:
            with contextlib.suppress(psutil.Error):
                member.kill()

    @staticmethod
    def _processor(family) -> float:
        total = 0.0
        for member in family:
            with contextlib.suppress(psutil.Error):
                times = member.cpu_times()
                # of those that ended, the ones that the submission waited for
                total += times.user + times.system + times.children_user + times.children_system
        return total


class Submission:
    """A process for the cells of one submission.

    Parameters
    ----------
    seconds : float
        For a cell or a call, as `Watch` counts. Whatever takes longer is killed, not interrupted: an interrupt can be caught.
    total : float
        For the whole submission.
    """

    def __init__(self, *, seconds: float = 30.0, total: float = 120.0):
        self.seconds, self.left = seconds, total
        self.folder = Path(tempfile.mkdtemp(prefix="submission-"))
        self.manager = self.client = self.watch = None
        self.ran: list[str] = []
        self.calls = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, source: str) -> list:
        """Run a cell and return its outputs; what ended without an error is run again should the process have to be replaced."""
        self._start()
        outputs, size = [], 0

        def collect(message):
            nonlocal size
            if message["msg_type"] not in ("stream", "display_data", "execute_result", "error"):
                return
            size += len(json.dumps(message["content"], default=str))
            if size <= OUTPUT:
                outputs.append(nbformat.v4.output_from_msg(message))

        self._execute(source, words="the cell", collect=collect)
        if size > OUTPUT:
            text = f"[{size} characters of output; what comes after the first {OUTPUT} is left out]\n"
            outputs.append(nbformat.v4.new_output("stream", name="stdout", text=text))
        if not any(output.output_type == "error" for output in outputs):
            self.ran.append(source)
        return outputs

    def call(self, function: str, *positional, **named):
        """Call one of its functions by name."""
        self._start()
        self.calls += 1
        request = {"function": function, "positional": wire.encode(positional)["tuple"]}
        request["named"] = {name: wire.encode(value) for name, value in named.items()}
        (self.folder / f"call-{self.calls}.json").write_text(json.dumps(request))
        code = f"{(HERE / 'wire.py').read_text()}\nanswer(user, {self.calls})"
        code = f"__import__('builtins').exec({code!r}, {{'user': globals(), '__name__': 'wire'}})"
        self._execute(code, silent=True, store_history=False, words=f"the function {function}")
        return self._reply(function)

    def functions(self, names) -> dict:
        """Stand-ins for its functions."""

        def stand_in(name):
            return lambda *positional, **named: self.call(name, *positional, **named)

        return {name: stand_in(name) for name in names}

    def stop(self):
        """End the process and whatever it started."""
        if self.manager is None:
            return
        self.client.stop_channels()
        if self.watch:
            self.watch.end()
        self.manager.shutdown_kernel(now=True)
        self.manager = self.client = self.watch = None

    def _start(self):
        if self.manager is not None:
            if self.manager.is_alive():
                return
            self.stop()
        connection = self.folder / "kernel.json"
        connection.unlink(missing_ok=True)
        limits = {"read": readable(), "write": [str(self.folder), "/dev/null"], "seconds": 600}
        limits |= {"memory": MEMORY, "file_size": FILE_SIZE, "connection_file": str(connection)}
        # beside the folder of the submission, which could replace it
        handle, name = tempfile.mkstemp(suffix=".json")
        with open(handle, "w") as file:
            json.dump(limits, file)
        python = [sys.executable, "-I", "-X", "frozen_modules=off"]
        argv = [*python, str(HERE / "sandbox.py"), name, *python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv += ["--HistoryManager.enabled=False"]
        manager = KernelManager(connection_file=str(connection))
        manager._kernel_spec = KernelSpec(argv=argv, display_name="Python 3", language="python")
        with open(self.folder / "kernel.log", "ab") as log:
            manager.start_kernel(cwd=str(self.folder), env=self._environment(), stdout=log, stderr=log)
        self.manager, self.client = manager, manager.blocking_client()
        self.client.start_channels()
        try:
            self.watch = Watch(manager.provisioner.pid)
            self.client.wait_for_ready(timeout=STARTING)
        except (RuntimeError, psutil.NoSuchProcess) as error:
            log = (self.folder / "kernel.log").read_text(errors="replace")[-500:]
            self.stop()
            raise StoppedError(f"no kernel for the submission: {error} {log}") from error
        finally:
            os.unlink(name)
        ran, self.ran = self.ran, []
        for source in ran:
            self.run(source)

    def _environment(self):
        home = str(self.folder)
        own = {name: home for name in ("HOME", "TMPDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR")}
        own |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JUPYTER_RUNTIME_DIR": home}
        own |= {"PATH": os.defpath, "LANG": "C.UTF-8"}
        # nothing else of the environment: it may hold passwords. Windows does not start Python without its own folder.
        return own | {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}

    def _execute(self, source, *, words, collect=lambda message: None, **options):
        allowed = min(self.seconds, self.left)
        if allowed <= 0:
            self._give_up("the submission has used all of its time")
        sent = self.client.execute(source, allow_stdin=False, **options)
        watch = self.watch = Watch(self.watch.process.pid)
        silent = 0  # looks without a message since the reply: the last message can be lost among very many
        while silent < 3:
            try:
                message = self.client.get_iopub_msg(timeout=LOOK)
            except Empty:
                if not self.manager.is_alive():
                    self._give_up(f"{words} ended the process in which the submission ran")
                silent += silent > 0 or self._replied(sent)
            else:
                if message["parent_header"].get("msg_id") == sent:
                    if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                        break
                    collect(message)
            watch.look()
            if watch.problem:
                self._give_up(f"{words} {watch.problem}")
            if watch.seconds > allowed:
                self.left -= watch.seconds
                if self.left <= 0:
                    self._give_up("the submission has used all of its time")
                self._give_up(f"{words} did not end within {self.seconds:g} seconds and was stopped")
        self.left -= watch.seconds

    def _replied(self, sent):
        with contextlib.suppress(Empty):
            while True:
                if self.client.get_shell_msg(timeout=0)["parent_header"].get("msg_id") == sent:
                    return True
        return False

    def _give_up(self, words):
        self.stop()
        raise StoppedError(words)

    def _reply(self, function):
        file = self.folder / f"reply-{self.calls}.json"
        # a link could lead to a file that the submission itself cannot read
        if file.is_symlink() or not file.is_file():
            raise SubmissionError(f"{function} gave no answer")
        try:
            reply = json.loads(file.read_text())
            error = reply.get("error")
            value = None if error else wire.decode(reply.get("value"))
        except Exception as unreadable:
            raise SubmissionError(f"the value that {function} returns cannot be used: {str(unreadable)[:200]}") from None
        if error:
            raise SubmissionError(f"{function} raised {str(error)[:500]}")
        return value


def isolation() -> str:
    """What is reached on this machine."""
    return sandbox.isolation()
