"""Layers side by side, in threads of this process or on the workers of a dask cluster.

Here, small layers run in threads with one BLAS thread each, and large ones one at a time with all threads of BLAS. The main
thread reads the layers and never waits without a timeout: a signal that arrives just before a wait begins would otherwise be seen
only when the wait ends, and Ctrl-C would be lost.

On a cluster each layer is a task, large ones first. A worker opens the file itself, which must lie on storage that all of them
see, and reads one layer at a time. What a worker that dies had under way is done again by another one.
"""

from __future__ import annotations

import math
import os
import platform
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from .weights import Layer, Weights, load_weights
from .weights.origin import Origin

__all__ = ["ClusterError", "as_they_finish", "matrix_of", "on_cluster", "open_client", "processors"]

SIDE_BY_SIDE = 2**24  # entries of the largest layer that is worked on beside others
POLL = 0.1  # seconds between two looks for Ctrl-C
TIMEOUT = 20  # seconds that a scheduler has to answer, and its first worker to appear
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}


class ClusterError(ValueError):
    """A cluster that does not answer, or whose workers do not see the same file."""


def as_they_finish(
    function: Callable[[str, object], object], layers: Mapping, *, workers: int, names: Iterable[str] | None = None
) -> Generator[tuple[str, Any]]:
    """Call a function on every layer, several at a time, and yield its results as they come.

    Parameters
    ----------
    function : callable
        Takes the name of a layer and the layer.
    layers : mapping of str to Layer or array
        Each is read in the thread of the caller, and only when a worker is free for it.
    workers : int
        Layers at a time; one where threadpoolctl, which keeps BLAS to one thread a layer, was left out of the installation.
    names : iterable of str, optional
        The layers to work on, by default all.

    Yields
    ------
    tuple of str and object
        Name and result; for a layer that cannot be read the ``ValueError`` that says why.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C, when what was finished by then has been yielded. Calls under way go on in daemon threads, which hold up
        neither the caller nor the end of the process: LAPACK cannot be interrupted.
    Exception
        What ``function`` raises.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        workers, one_thread = 1, nullcontext()
    else:
        one_thread = threadpool_limits(limits=1, user_api="blas")
    tasks: queue.SimpleQueue = queue.SimpleQueue()
    finished: queue.SimpleQueue = queue.SimpleQueue()
    running, large = 0, []
    for _ in range(workers):
        threading.Thread(target=_work, args=(function, tasks, finished), daemon=True).start()
    try:
        with one_thread:
            shapes = layers.shapes if isinstance(layers, Weights) else {}
            for name in layers if names is None else names:
                if math.prod(shapes.get(name, ())) > SIDE_BY_SIDE:  # which is known before it is read
                    large.append(name)
                    continue
                while running == workers or not finished.empty():
                    yield _next(finished)
                    running -= 1
                try:
                    layer = layers[name]
                except ValueError as error:
                    yield name, error
                    continue
                if matrix_of(layer).size > SIDE_BY_SIDE:
                    large.append(name)
                else:
                    tasks.put((name, layer))
                    running += 1
                # Otherwise the last one would stay in memory beside those under way.
                del layer
            for _ in range(running):
                yield _next(finished)
        for name in large:
            try:
                tasks.put((name, layers[name]))
            except ValueError as error:
                yield name, error
            else:
                yield _next(finished)
    except KeyboardInterrupt:
        while not finished.empty():
            yield _next(finished)
        raise
    finally:
        for _ in range(workers):
            tasks.put(None)


def _work(function, tasks, finished):
    while (task := tasks.get()) is not None:
        name, layer = task
        del task
        try:
            result, error = function(name, layer), None
        except BaseException as raised:
            result, error = None, raised
        # The caller may read the next layer as soon as it has this result.
        del layer
        finished.put((name, result, error))
        del result, error


def _next(finished):
    while True:
        try:
            name, result, error = finished.get(timeout=POLL)
        except queue.Empty:
            continue
        if error is not None:
            raise error
        return name, result


def on_cluster(
    function: Callable[[str, object], object], weights: Mapping, *, names: Iterable[str], scheduler: str
) -> Generator[tuple[str, Any]]:
    """Call a function on layers on the workers of a dask cluster, and yield its results as they come.

    Parameters
    ----------
    function : callable
        Takes the name of a layer and the layer; must be one that pickle can send.
    weights : Weights
        From `rmtlib.load_weights`, of a file or folder that every worker sees under the same path.
    names : iterable of str
        The layers to work on; the largest are sent first.
    scheduler : str
        Address of a running dask scheduler, such as ``tcp://host:8786``.

    Yields
    ------
    tuple of str and object
        Name and result; for a layer that cannot be read, or whose workers died four times, the error that says so.

    Raises
    ------
    ClusterError
        A ValueError: if the weights lie in memory, dask is missing, the scheduler does not answer in 20 seconds or has no worker
        by then, or a worker sees another file.
    Exception
        What ``function`` raises beside a ``ValueError``.
    """
    if not isinstance(weights, Weights) or weights.origin is None:
        msg = "scheduler needs weights of a file or folder, which workers can open; these are in memory: save them first"
        raise ClusterError(msg)
    origin, shapes = weights.origin, weights.shapes
    fingerprint = origin.fingerprint()
    largest_first = sorted(names, key=lambda name: -math.prod(shapes[name]))
    with open_client(scheduler) as client:
        from dask.distributed import as_completed
        from distributed.scheduler import KilledWorker

        futures = {client.submit(_on_worker, function, origin, fingerprint, name, pure=False): name for name in largest_first}
        try:
            for future in as_completed(list(futures)):
                name, result = futures.pop(future), None
                try:
                    result = future.result()
                except ClusterError:
                    raise
                except ValueError as error:
                    result = error
                except KilledWorker:
                    result = ValueError("its worker died, again and again: it may need more memory than a worker has")
                future.release()
                yield name, result
        finally:
            client.cancel(list(futures))


def _on_worker(function, origin: Origin, fingerprint: str, name: str):
    return function(name, _opened(origin, fingerprint)[name])


_LAST: dict[tuple, Weights] = {}  # what this worker opened last: a header is not read anew for every layer


def _opened(origin, fingerprint):
    key = repr(origin), fingerprint
    if key not in _LAST:
        try:
            found = load_weights(origin.path, **origin.options)
            seen = found.origin.fingerprint() if found.origin is not None else ""
        except (ValueError, OSError) as error:
            msg = f"worker on {platform.node()} cannot open the weights: {error}; scheduler needs files that all workers see"
            raise ClusterError(msg) from None
        if seen != fingerprint:
            msg = (
                f"worker on {platform.node()} sees another file at {origin.path} (header, size or time differ): scheduler needs "
                "files that all workers see"
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
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address=None, env=ONE_THREAD
            ) as cluster,
            Client(cluster) as client,
        ):
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


def matrix_of(layer) -> np.ndarray:
    """The matrix of a `rmtlib.Layer`, or an array as it is."""
    return np.asarray(layer.matrix if isinstance(layer, Layer) else layer)


def processors() -> int:
    """Processors that this process may use: a container or a batch system may give it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
