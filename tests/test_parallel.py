from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from rmtlib import parallel
from rmtlib.weights import Layer

SMALL = np.zeros((3, 2))


def collect(function, layers, workers=2):
    return dict(parallel.as_they_finish(function, layers, workers=workers))


def blas_threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_every_layer_comes_with_its_result_whoever_finishes_first():
    layers = {str(i): i * np.ones((2, 2)) for i in range(20)}

    def late(name, layer):
        time.sleep(0.01 * (int(name) % 3))
        return layer.sum()

    assert collect(late, layers, workers=4) == {str(i): 4 * i for i in range(20)}


def test_results_come_in_the_order_in_which_they_are_finished():
    first_may_go = threading.Event()

    def work(name, layer):
        if name == "first":
            assert first_may_go.wait(30)
        return name

    results = parallel.as_they_finish(work, dict.fromkeys(("first", "second"), SMALL), workers=2)
    assert next(results) == ("second", "second")
    first_may_go.set()
    assert list(results) == [("first", "first")]


def test_small_layers_have_one_blas_thread_and_large_ones_come_last_with_all(monkeypatch):
    monkeypatch.setattr(parallel, "SIDE_BY_SIDE", 10)
    before, seen = blas_threads(), []

    def work(name, layer):
        seen.append((name, blas_threads()))

    collect(work, {"large": np.zeros((4, 3)), "small": SMALL})
    assert seen == [("small", {1}), ("large", before)]
    assert blas_threads() == before


def test_no_more_calls_at_a_time_than_workers():
    busy, most = set(), []

    def work(name, layer):
        busy.add(name)
        most.append(len(busy))
        time.sleep(0.02)
        busy.discard(name)

    collect(work, dict.fromkeys(map(str, range(9)), SMALL), workers=3)
    assert max(most) == 3


def test_a_layer_that_cannot_be_read_comes_as_its_error(monkeypatch):
    monkeypatch.setattr(parallel, "SIDE_BY_SIDE", 10)

    class Layers(dict):
        read = 0

        def __getitem__(self, name):
            self.read += 1
            if name == "bad" or (name == "gone" and self.read > 3):
                msg = f"{name} cannot be read"
                raise ValueError(msg)
            return super().__getitem__(name)

    layers = Layers(bad=SMALL, gone=np.zeros((4, 3)), good=SMALL)
    found = collect(lambda name, layer: "seen", layers)
    assert (str(found["bad"]), str(found["gone"]), found["good"]) == ("bad cannot be read", "gone cannot be read", "seen")


def test_what_the_function_raises_is_raised():
    def fail(name, layer):
        raise ZeroDivisionError(name)

    with pytest.raises(ZeroDivisionError, match="only"):
        collect(fail, {"only": SMALL})


def test_threads_end_with_the_last_layer_and_when_the_caller_stops_early():
    before = set(threading.enumerate())
    collect(lambda name, layer: None, {"a": SMALL}, workers=3)
    results = parallel.as_they_finish(lambda name, layer: None, dict.fromkeys("abc", SMALL), workers=3)
    next(results)
    results.close()
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_matrix_is_that_of_its_layer():
    assert parallel.matrix_of(Layer("fc", SMALL, SMALL.shape, "dense")) is SMALL
    assert parallel.matrix_of([[1.0, 2.0]]).shape == (1, 2)
    assert 1 <= parallel.processors() <= os.cpu_count()


STUCK = """
import signal, sys, threading
import numpy as np
from rmtlib import parallel

# a job in the background is started with this signal ignored
signal.signal(signal.SIGINT, signal.default_int_handler)

def work(name, layer):
    if name == "stuck":
        print("under way", flush=True)
        threading.Event().wait()

try:
    for name, _ in parallel.as_they_finish(work, dict.fromkeys(("quick", "stuck"), np.eye(2)), workers=1):
        print(name, flush=True)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_ends_the_wait_and_the_process_whatever_a_thread_still_does():
    with subprocess.Popen([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True) as process:
        seen = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert sorted(seen) == ["quick\n", "under way\n"]
    assert (rest, process.returncode) == ("interrupted\n", 0)


def test_there_are_no_more_threads_than_layers(monkeypatch):
    started, start = [], threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (started.append(thread), start(thread))[1])
    assert len(collect(lambda name, layer: name, {str(i): np.eye(20) for i in range(3)}, workers=100)) == 3
    assert len(started) == 3
