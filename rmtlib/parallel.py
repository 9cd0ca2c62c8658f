"""Layers side by side: small ones in threads with one BLAS thread each, large ones one at a time with all threads of BLAS.

The main thread reads the layers and never waits without a timeout: a signal that arrives just before a wait begins would
otherwise be seen only when the wait ends, and Ctrl-C would be lost. `rmtlib.cluster` does the same on many machines.
"""

from __future__ import annotations

import math
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

import numpy as np

from . import checks
from .blas_threads import limitable, one_thread
from .weights import Layer

__all__ = ["as_they_finish", "matrix_of", "processors"]

SIDE_BY_SIDE = 2**24  # entries of the largest layer that is worked on beside others
POLL = 0.1  # seconds between two looks for Ctrl-C


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
        Layers at a time, and no more than there are layers; one where threadpoolctl, which keeps BLAS to one thread a layer, was
        left out of the installation.
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
    if not limitable():
        workers = 1
    names = list(layers if names is None else names)
    workers = min(workers, len(names))
    tasks: queue.SimpleQueue = queue.SimpleQueue()
    finished: queue.SimpleQueue = queue.SimpleQueue()
    running, large = 0, []
    for _ in range(workers):
        threading.Thread(target=_work, args=(function, tasks, finished), daemon=True).start()
    try:
        with one_thread():
            shapes = getattr(layers, "shapes", {})
            for name in names:
                if math.prod(shapes.get(name, ())) > SIDE_BY_SIDE:  # which is known before it is read
                    large.append(name)
                    continue
                while running == workers or not finished.empty():
                    yield _next(finished)
                    running -= 1
                try:
                    layer = layers[name]
                    size = matrix_of(layer).size
                except ValueError as error:
                    yield name, error
                    continue
                if size > SIDE_BY_SIDE:
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


def matrix_of(layer) -> np.ndarray:
    """The matrix of a `rmtlib.Layer`, or an array as it is; a ValueError for what holds no numbers."""
    return checks.array(layer.matrix if isinstance(layer, Layer) else layer, "W")


def processors() -> int:
    """Processors that this process may use: a container or a batch system may give it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
