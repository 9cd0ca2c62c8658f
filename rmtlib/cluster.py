"""Layers on the workers of a dask cluster: each layer is a task, large ones first.

A worker opens the file itself, which must lie on storage that all of them see, and reads one layer at a time. What a worker that
dies had under way is done again by another one. Dask is imported where it is needed: nothing else of the library needs it.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

__all__ = ["LOCAL", "ONE_THREAD", "ClusterError", "on_cluster", "open_client"]

TIMEOUT = 20  # seconds that a scheduler has to answer, and its first worker to appear
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
# Of a cluster on this machine. With no address for its dashboard it would want port 8787, and warn where that is taken.
LOCAL: dict[str, Any] = {"threads_per_worker": 1, "memory_limit": 0, "dashboard_address": "127.0.0.1:0", "env": ONE_THREAD}


class ClusterError(ValueError):
    """A cluster that does not answer, or whose workers do not see the same file."""


def on_cluster(
    function: Callable[[Any, Any], object], weights: Any, *, names: Iterable, scheduler: str
) -> Generator[tuple[Any, Any]]:
    """Call a function on layers on the workers of a dask cluster, and yield its results as they come.

    Parameters
    ----------
    function : callable
        Takes the name of a layer and the layer; must be one that pickle can send.
    weights : Weights or rmtlib.pairs.Steps
        Of files or folders that every worker sees under the same paths.
    names : iterable of str
        The layers to work on; the largest are sent first.
    scheduler : str
        Address of a running dask scheduler, such as ``tcp://host:8786``.

    Yields
    ------
    tuple of str and object
        Name and result; for a layer that cannot be read, or whose workers died again and again, the error that says so.

    Raises
    ------
    ClusterError
        A ValueError: if the weights lie in memory, dask is missing, the scheduler does not answer in 20 seconds or has no worker
        by then, or a worker sees another file.
    Exception
        What ``function`` raises beside a ``ValueError``.
    """
    origin = getattr(weights, "origin", None)
    if origin is None:
        msg = "scheduler needs weights of a file or folder, which workers can open; these are in memory: save them first"
        raise ClusterError(msg)
    shapes = weights.shapes
    fingerprint = origin.fingerprint()
    largest_first = sorted(names, key=lambda name: -math.prod(shapes[name]))
    with open_client(scheduler) as client:
        from dask.distributed import as_completed
        from distributed.scheduler import KilledWorker

        def send(name):
            return client.submit(_on_worker, function, origin, fingerprint, name, pure=False)

        futures, died = {send(name): name for name in largest_first}, []
        try:
            for future in as_completed(list(futures)):
                name = futures.pop(future)
                try:
                    result = _result(future)
                except KilledWorker:
                    died.append(name)
                else:
                    yield name, result
            # A worker that dies takes the layers beside the one that killed it along: each gets a chance alone.
            for name in died:
                future = send(name)
                futures[future] = name
                try:
                    result = _result(future)
                except KilledWorker:
                    result = ValueError("its worker died, again and again: it may need more memory than a worker has")
                yield futures.pop(future), result
        finally:
            client.cancel(list(futures))


def _result(future):
    """What a task returned, or the error that is the result of its layer; others are raised."""
    try:
        return future.result()
    except ClusterError:
        raise
    except ValueError as error:
        return error
    finally:
        future.release()


def _on_worker(function, origin, fingerprint: str, name):
    return function(name, _opened(origin, fingerprint)[name])


_LAST: dict[tuple, Mapping] = {}  # what this worker opened last: a header is not read anew for every layer


def _opened(origin, fingerprint):
    key = repr(origin), fingerprint
    if key not in _LAST:
        try:
            found = origin.open()
            seen = found.origin.fingerprint()
        except (ValueError, OSError) as error:
            msg = f"worker on {platform.node()} cannot open the weights: {error}; scheduler needs files that all workers see"
            raise ClusterError(msg) from None
        if seen != fingerprint:
            msg = (
                f"worker on {platform.node()} sees another file at {' or '.join(map(str, origin.paths))} (header, size or time "
                "differ): scheduler needs files that all workers see"
            )
            raise ClusterError(msg)
        _LAST.clear()
        _LAST[key] = found
    return _LAST[key]


@contextmanager
def open_client(scheduler: str | None, workers: int = 1) -> Iterator[Any]:
    """A client of a dask scheduler, or of a cluster on this machine while the client is in use.

    Parameters
    ----------
    scheduler : str or None
        Address of a running scheduler; None starts workers of one thread here.
    workers : int
        How many are started here.

    Yields
    ------
    dask.distributed.Client

    Raises
    ------
    ClusterError
        A ValueError: if dask is missing, no scheduler answers in 20 seconds, or it has no worker by then.
    """
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError as error:
        msg = f'{error.name} is not installed, which a scheduler needs; get it with: pip install "rmtlib[cluster]"'
        raise ClusterError(msg) from None
    if scheduler is None:
        with LocalCluster(n_workers=workers, **LOCAL) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout=TIMEOUT)
    except (OSError, ValueError, TimeoutError) as error:
        msg = (
            f"no dask scheduler answers at {scheduler!r} within {TIMEOUT} s ({error}); start one with: dask scheduler, "
            "and give the address that it prints, such as tcp://host:8786"
        )
        raise ClusterError(msg) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError:
            msg = f"the dask scheduler at {scheduler!r} has no worker after {TIMEOUT} s; start some with: dask worker {scheduler}"
            raise ClusterError(msg) from None
        yield client
