"""Bubblewrap confines what a submission runs: namespaces of its own for everything, nothing of this machine but Python.

Inside are the system's programs, Python, its packages and rmtlib, all read-only, and an empty home in memory that ends with the
process. There is no network, no other process and no file of anybody. The same command serves root and an ordinary user.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import rmtlib

HERE = Path(__file__).parent
HOME, TOOLS = "/home/student", "/run/grader"
DISK = 2**28  # bytes of the home, which lies in memory
MEMORY, FILE_SIZE, SECONDS = 4 * 2**30, 2**26, 600  # of one process
SPARE = 500  # processes and threads of this user beside those that run already, where no cgroup counts them
INSIDE = ("relay.py", "wire.py", "hidden.py")  # what of the grader the submission sees
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
SETTINGS = ("ld.so.cache", "localtime", "alternatives", "fonts", "mime.types")

MISSING = (
    "submissions cannot be confined: {reason}. Install bubblewrap (Debian, Ubuntu: apt install bubblewrap), grade in the container "
    "of the page on the threat model, or type --without-isolation to let submissions run as you and read whatever you can"
)


class IsolationError(Exception):
    """Submissions cannot be confined on this machine."""


def packages() -> list[str]:
    """Folders of Python itself and of the installed packages; rmtlib's own where it is not among them."""
    found = {sys.prefix, sys.base_prefix, *site.getsitepackages(), *sysconfig.get_paths().values()}
    found |= {os.path.realpath(sys.executable), str(Path(rmtlib.__file__).parent)}
    existing = sorted(folder for path in found for folder in (path, os.path.realpath(path)) if os.path.exists(folder))
    return [path for path in dict.fromkeys(existing) if not within(path, SYSTEM)]


def within(path: str | Path, folders) -> bool:
    """Whether a path is one of the folders or lies in one."""
    return any(Path(path).is_relative_to(folder) for folder in folders)


def refuse_readable(folder: Path) -> None:
    """Raise ValueError if a submission could read the folder of the class."""
    for parent in (*SYSTEM, *packages()):
        if within(folder.resolve(), [Path(parent).resolve()]):
            raise ValueError(f"the folder of a class must not lie inside {parent}, which submissions can read; got {folder}")


def environment(home: str, tools: str) -> dict[str, str]:
    """All variables that a submission sees: those of this process may hold passwords."""
    own = {
        name: home for name in ("HOME", "TMPDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    own |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    own |= {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath])}
    own["PYTHONPATH"] = os.pathsep.join([tools, str(Path(rmtlib.__file__).parents[1])])
    # Windows does not start Python without its own folder
    return own | {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}


def command(*arguments: str) -> list[str]:
    """The command that runs Python with these arguments in the sandbox."""
    bwrap = [
        "bwrap",
        "--unshare-all",
        "--unshare-user",
        "--disable-userns",
        "--uid",
        "1000",
        "--gid",
        "1000",
        "--hostname",
        "course",
    ]
    bwrap += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv"]
    bwrap += [
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--size",
        str(2**24),
        "--tmpfs",
        "/dev/shm",
        "--size",
        str(2**24),
        "--tmpfs",
        "/tmp",
    ]
    for path in SYSTEM:
        bwrap += ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind-try", path, path]
    for name in SETTINGS:
        bwrap += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for path in packages():
        bwrap += ["--ro-bind", path, path]
    for name in INSIDE:
        bwrap += ["--ro-bind", str(HERE / name), f"{TOOLS}/{name}"]
    bwrap += ["--size", str(DISK), "--tmpfs", HOME, "--chdir", HOME, "--remount-ro", "/"]
    for name, value in environment(HOME, TOOLS).items():
        bwrap += ["--setenv", name, value]
    return [*limited(), *bwrap, "--", sys.executable, *arguments]


def limited() -> list[str]:
    """Limits that the system keeps for every process; bubblewrap and all that it starts inherit them."""
    values = {"cpu": SECONDS, "as": MEMORY, "fsize": FILE_SIZE, "core": 0, "memlock": 2**20, "msgqueue": 0, "nofile": 512}
    # counted for the user, who runs other programs as well; the superuser is exempt
    values["nproc"] = int(Path("/proc/loadavg").read_text().split()[3].split("/")[1]) + SPARE
    return ["prlimit", *(f"--{name}={value}" for name, value in values.items()), "--"]


def refuse_unconfined() -> None:
    """Raise IsolationError unless bubblewrap works on this machine."""
    if sys.platform != "linux":
        raise IsolationError(MISSING.format(reason="bubblewrap needs Linux"))
    for program in ("bwrap", "prlimit"):
        if not shutil.which(program):
            raise IsolationError(MISSING.format(reason=f"the program {program} is missing"))
    done = subprocess.run(command("-c", "pass"), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise IsolationError(MISSING.format(reason=done.stderr.strip()[-200:] or f"bubblewrap ends with {done.returncode}"))


def isolation(confined: bool) -> str:
    """In one sentence, what a submission is kept from."""
    if confined:
        return "bubblewrap; a submission sees no network, no process and no file but Python's, and writes to memory only"
    return "NONE, as you asked; a submission runs as you and can read whatever you can, hidden tests included"
