"""One thread of BLAS where several would mostly wait for each other: for small matrices, and for layers side by side.

The number of threads belongs to the process. So whoever asks for one thread is counted, and the last one to leave gives the
others back.
"""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

__all__ = ["limitable", "one_thread", "one_thread_below"]

ALONE_BELOW = 1024  # levels up to which a decomposition is faster, or as fast, with one thread

_lock = threading.Lock()
_inside = 0
_limit: Any = None


def limitable() -> bool:
    """Whether threadpoolctl, which limits the threads of BLAS, is installed."""
    try:
        import threadpoolctl  # noqa: F401
    except ImportError:
        return False
    return True


@cache
def _controller():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_thread() -> Generator[None]:
    """Keep BLAS to one thread while anybody is inside; without threadpoolctl nothing is done."""
    global _inside, _limit
    if not limitable():
        yield
        return
    with _lock:
        if _inside == 0:
            _limit = _controller().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limit.restore_original_limits()


@contextmanager
def one_thread_below(levels: int) -> Generator[None]:
    """Keep BLAS to one thread if a decomposition into so many levels gains nothing by more."""
    with one_thread() if levels <= ALONE_BELOW else nullcontext():
        yield
