"""BLAS has one thread where more would wait for each other, and its own number again afterwards."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

import rmtlib
from rmtlib import blas_threads, gram


def threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def _two_threads():
    with threadpool_limits(limits=2, user_api="blas"):
        yield


@pytest.fixture
def seen(monkeypatch):
    """Numbers of threads that LAPACK's solvers for tridiagonal matrices are called with."""
    found = []

    def counted(solve, *args, **options):
        found.append(threads())
        return solve(*args, **options)

    for solve in (scipy.linalg.eigh_tridiagonal, scipy.linalg.eigvalsh_tridiagonal):
        monkeypatch.setattr(scipy.linalg, solve.__name__, partial(counted, solve))
    return found


def test_whoever_leaves_last_gives_the_threads_back():
    first, second = blas_threads.one_thread(), blas_threads.one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threads() == {1}
    second.__exit__(None, None, None)
    assert threads() == {2}


def test_an_error_inside_gives_the_threads_back():
    with pytest.raises(ZeroDivisionError), blas_threads.one_thread():
        1 / 0  # noqa: B018
    assert threads() == {2}


@pytest.mark.parametrize(("largest", "expected"), [(40, {1}), (39, {2})])
def test_decompositions_have_one_thread_up_to_a_size_and_all_beyond(largest, expected, monkeypatch, seen):
    monkeypatch.setattr(blas_threads, "ALONE_BELOW", largest)
    W = np.random.default_rng(0).normal(size=(60, 40))
    rmtlib.spectrum(W)
    gram.decomposed(W).leading(3)
    assert seen == [expected] * 3
    assert threads() == {2}


def test_without_threadpoolctl_the_threads_stay_as_they_are(monkeypatch, seen):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert not blas_threads.limitable()
    assert len(rmtlib.spectrum(np.random.default_rng(0).normal(size=(60, 40))).nu) == 40
    assert seen == [{2}]
