"""Run a command that may read and write only what it is told to, for a limited time and with limited memory.

Usage: sandbox.py LIMITS.json COMMAND...

On Linux the system itself keeps the limits on files, connections and signals (Landlock; 5.13 and later, no privileges
needed), for the command and all that it starts. Other systems, and older ones, keep the limits on time, memory and size of
files alone: `isolation` says what is reached.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys

CREATE, ADD, RESTRICT = 444, 445, 446  # the same on all architectures
READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, list a folder
ON_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15  # the rights that a single file can have
TCP_BIND, TCP_CONNECT = 1 << 0, 1 << 1
SPARE = 500  # processes and threads


class Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


class PortRule(ctypes.Structure):
    _fields_ = [("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64)]


def version() -> int:
    """Landlock's version on this machine, 0 without it."""
    if sys.platform != "linux":
        return 0
    return max(ctypes.CDLL(None).syscall(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1)), 0)


def isolation() -> str:
    """In one sentence, what a submission is kept from on this machine."""
    found = version()
    if not found:
        words = "a submission runs as you and can read whatever you can, hidden tests included"
        return f"NO ISOLATION of files on this system: {words}"
    words = "a submission can read neither the class folder nor your files, and writes to a folder of its own only"
    words += "; it can open no TCP connection" if found >= 4 else "; connections to other machines are open to it"
    words += " and signal no other process" if found >= 6 else "; it can signal your other processes"
    return words


def rights(found: int) -> int:
    """All rights on files that this version knows: thirteen at first, one more each in versions 2, 3 and 5."""
    return (1 << 13 + (found >= 2) + (found >= 3) + (found >= 5)) - 1


def restrict(read: list[str], write: list[str], ports: list[int]) -> None:
    """Confine this process and all its children for good."""
    found = version()
    if not found:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    known = rights(found)
    ruleset = Ruleset(known, (TCP_BIND | TCP_CONNECT) if found >= 4 else 0, 3 if found >= 6 else 0)
    size = 8 if found < 4 else 16 if found < 6 else 24
    handle = libc.syscall(CREATE, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if handle < 0:
        raise OSError(ctypes.get_errno(), "no Landlock ruleset")
    for paths, allowed in ((read, READ), (write, known)):
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                parent = os.open(path, os.O_PATH)
                rule = PathRule(allowed if os.path.isdir(path) else allowed & ON_FILES & known, parent)
                if libc.syscall(ADD, handle, 1, ctypes.byref(rule), ctypes.c_uint32(0)):
                    raise OSError(ctypes.get_errno(), f"no Landlock rule for {path}")
                os.close(parent)
    for port in ports if found >= 4 else []:
        libc.syscall(ADD, handle, 2, ctypes.byref(PortRule(TCP_BIND, port)), ctypes.c_uint32(0))
    # no new privileges, without which an unprivileged process may not confine itself
    if libc.prctl(38, 1, 0, 0, 0) or libc.syscall(RESTRICT, handle, ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), "Landlock refuses to confine this process")


def limit(seconds: int, memory: int, file_size: int) -> None:
    """Limits of processor time, memory, size of a written file and number of processes."""
    try:
        import resource
    except ImportError:  # Windows
        return
    values = {"CPU": seconds, "AS": memory, "FSIZE": file_size, "CORE": 0}
    with contextlib.suppress(OSError), open("/proc/loadavg") as file:
        # counted for the user, who runs other programs as well; the superuser is exempt
        values["NPROC"] = int(file.read().split()[3].split("/")[1]) + SPARE
    for kind, value in values.items():
        # some systems know a limit and refuse to set it
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (value, value))


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        limits = json.load(file)
    with open(limits["connection_file"]) as file:
        ports = [value for key, value in json.load(file).items() if key.endswith("_port")]
    limit(limits["seconds"], limits["memory"], limits["file_size"])
    restrict(limits["read"], limits["write"], ports)
    if sys.platform == "linux":
        # what outlives its parent becomes a child of this process, where it is found and ended
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    os.execv(sys.argv[2], sys.argv[2:])
