"""Bubblewrap confines what a submission runs: namespaces of its own for everything, nothing of this machine but Python.

Inside are the system's programs, Python, its packages and rmtlib, all read-only, and an empty home in memory that ends with the
process. There is no network, no other process and no file of anybody. Root becomes an ordinary user first, outside of every
namespace as well: files of the system, in /proc for example, obey whoever owns them by number.
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
NOBODY = "65533"  # whom root becomes; no program of a usual system runs under this number
SPARE = 500  # processes and threads of this user beside those that run already, where no cgroup counts them
INSIDE = ("relay.py", "wire.py", "hidden.py")  # what of the grader the submission sees
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
SETTINGS = ("ld.so.cache", "localtime", "alternatives", "fonts", "mime.types")

MISSING = (
    "submissions cannot be confined: {reason}. Install bubblewrap (Debian, Ubuntu: apt install bubblewrap), grade in the "
    "container of the page on the threat model, or type --without-isolation to let submissions run as you, with all you can read"
)


class IsolationError(Exception):
    """Submissions cannot be confined on this machine."""


def packages() -> list[str]:
    """Folders of Python itself and of the installed packages; rmtlib's own where it is not among them."""
    found = {sys.prefix, sys.base_prefix, *site.getsitepackages(), *sysconfig.get_paths().values()}
    found |= {os.path.realpath(sys.executable), str(Path(rmtlib.__file__).parent)}
    existing = {folder for path in found for folder in (path, os.path.realpath(path)) if os.path.exists(folder)}
    return sorted(path for path in existing if not within(path, [*SYSTEM, *(existing - {path})]))


def within(path: str | Path, folders) -> bool:
    """Whether a path is one of the folders or lies in one."""
    return any(Path(path).is_relative_to(folder) for folder in folders)


def refuse_readable(folder: Path) -> None:
    """Raise ValueError if a submission could read the folder of the class."""
    for parent in (*SYSTEM, *packages()):
        if within(folder.resolve(), [Path(parent).resolve()]):
            msg = f"the folder of a class must not lie inside {parent}, which submissions can read; got {folder}"
            raise ValueError(msg)


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
    return [*limited(), *(as_nobody() if os.getuid() == 0 else []), *bwrap, "--", sys.executable, *arguments]


def as_nobody() -> list[str]:
    """For root: what comes next runs as an ordinary user, with Python in sight also where the way to it is closed to others."""
    paths = [*packages(), *(str(HERE / name) for name in INSIDE)]
    above = sorted({str(parent) for path in paths for parent in Path(path).parents})
    closed = [folder for folder in above if not os.stat(folder).st_mode & 0o001]
    bwrap = [
        "bwrap",
        "--dev-bind",
        "/",
        "/",
        "--unshare-pid",
        "--die-with-parent",
        "--cap-add",
        "CAP_SETUID",
        "--cap-add",
        "CAP_SETGID",
    ]
    for folder in closed:
        bwrap += [] if any(within(folder, [other]) for other in closed if other != folder) else ["--tmpfs", folder]
    for path in paths:
        if within(path, closed):
            for parent in reversed([str(folder) for folder in Path(path).parents if within(folder, closed)]):
                bwrap += ["--perms", "0755", "--dir", parent] if parent not in closed else []
            bwrap += ["--ro-bind", path, path]
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all", "--no-new-privs"]
    return [*bwrap, "--", *become, "--"]


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
    for program in ("bwrap", "prlimit", "setpriv"):
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
