"""A cgroup for one submission, where this user may make one: limits of memory and of processes for all of it together."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path

NUMBERS = itertools.count()


class Group:
    """Folders of one cgroup: one in version 2, one for each controller in version 1."""

    def __init__(self, folders: dict[str, Path], version: int):
        self.folders, self.version = folders, version

    @property
    def entrances(self) -> list[str]:
        """Files into which a process writes its number to join."""
        return [str(folder / "cgroup.procs") for folder in dict.fromkeys(self.folders.values())]

    def seconds(self) -> float | None:
        """Processor time of all that ever ran in it; None where that is not counted."""
        with contextlib.suppress(OSError, KeyError, ValueError):
            if self.version == 1:
                return int((self.folders["cpuacct"] / "cpuacct.usage").read_text()) / 1e9
            counts = dict(line.split() for line in (self.folders["memory"] / "cpu.stat").read_text().splitlines())
            return int(counts["usage_usec"]) / 1e6
        return None

    def exhausted(self) -> bool:
        """Whether a process was ended because the memory was used up."""
        file = self.folders["memory"] / ("memory.oom_control" if self.version == 1 else "memory.events")
        with contextlib.suppress(OSError, KeyError, ValueError):
            return int(dict(line.split() for line in file.read_text().splitlines())["oom_kill"]) > 0
        return False

    def remove(self) -> None:
        """Remove it, once the last of its processes has gone."""
        for folder in dict.fromkeys(self.folders.values()):
            for _ in range(200):
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)


def create(memory: int, processes: int) -> Group | None:
    """A new group with these limits, in bytes and in processes and threads; None where this user may make none."""
    try:
        own = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return None
    name = f"submission-{os.getpid()}-{next(NUMBERS)}"
    return _second(own, mounts, name, memory, processes) or _first(own, mounts, name, memory, processes)


def _first(own, mounts, name, memory, processes):
    paths = {controller: path.lstrip("/") for _, controllers, path in own for controller in controllers.split(",")}
    folders = {}
    limits = {"memory": ("memory.limit_in_bytes", memory), "pids": ("pids.max", processes), "cpuacct": None}
    for controller, limit in limits.items():
        mount = next((Path(m[1]) for m in mounts if m[2] == "cgroup" and controller in m[3].split(",")), None)
        # in a container the path may be one that only its host knows
        above = [folder for folder in ((mount / paths.get(controller, "")), mount) if folder.is_dir()] if mount else []
        made = _make(above[0] / name, [limit] if limit else []) if above else None
        if made:
            folders[controller] = made
        elif limit:
            Group(folders, 1).remove()
            return None
    return Group(folders, 1)


def _second(own, mounts, name, memory, processes):
    mount = next((Path(m[1]) for m in mounts if m[2] == "cgroup2"), None)
    path = next((path.lstrip("/") for number, _, path in own if number == "0"), None)
    if mount is None or path is None:
        return None
    # a group that holds processes lends no controllers: beside it there may be room
    for above in (mount / path, (mount / path).parent):
        with contextlib.suppress(OSError):
            if above.is_relative_to(mount) and {"memory", "pids"} <= set((above / "cgroup.subtree_control").read_text().split()):
                made = _make(above / name, [("memory.max", memory), ("pids.max", processes)])
                if made:
                    return Group({"memory": made}, 2)
    return None


def _make(folder, limits):
    for left in folder.parent.glob("submission-*"):
        # of a grader that was killed; one that holds processes cannot be removed
        if not Path("/proc", left.name.split("-")[1]).exists():
            with contextlib.suppress(OSError):
                left.rmdir()
    try:
        folder.mkdir()
        for file, value in limits:
            (folder / file).write_text(str(value))
        # only who may write here may send a process in
        if os.access(folder / "cgroup.procs", os.W_OK):
            return folder
    except OSError:
        pass
    with contextlib.suppress(OSError):
        folder.rmdir()
    return None
