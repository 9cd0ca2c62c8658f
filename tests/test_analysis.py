import re
import signal
import subprocess
import sys
import tracemalloc
import warnings
import weakref
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import rmtlib
from rmtlib import analysis, laws, parallel
from rmtlib.weights import Layer

from . import builders

mpl.use("Agg")


@pytest.fixture(scope="module")
def noise():
    return rmtlib.analyse(rmtlib.ensembles.gaussian((400, 200), 0), name="noise")


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(1)
    W = rng.standard_normal((400, 200)) / 20
    v = np.zeros(200)
    v[:8] = 1 / np.sqrt(8)
    u = rng.standard_normal(400)
    return rmtlib.analyse(W + 4 * np.outer(u / np.linalg.norm(u), v), name="planted")


def test_noise_holds_nothing(noise):
    assert noise.summary == "noise: nothing found that noise would not show"
    assert noise.bulk.n_outliers == 0
    assert all(len(vectors) == 0 for vectors in noise.informative.values())


def test_a_planted_direction_is_found_where_it_was_planted(planted):
    assert planted.bulk.n_outliers == 1
    assert planted.informative["input"].tolist() == [199]
    assert planted.informative["output"].tolist() == []
    assert planted.summary == "planted: 1 singular value above the bulk; 1 input vector, 100% of them in the top tenth"


def with_qvalues(analysis, **found):
    """The analysis with these vectors below the false discovery rate, and the others just above it."""
    sides = {}
    for side, vectors in found.items():
        qvalue = np.full(len(analysis.nu), 0.0501)
        qvalue[list(vectors)] = 0.0499
        sides[side] = replace(getattr(analysis, side), qvalue=qvalue)
    return replace(analysis, **sides)


def test_a_vector_is_informative_at_a_false_discovery_rate_of_five_per_cent(noise):
    changed = with_qvalues(noise, input=[3, 179, 180, 199], output=[7])
    assert {side: vectors.tolist() for side, vectors in changed.informative.items()} == {
        "input": [3, 179, 180, 199],
        "output": [7],
    }
    # of 200 vectors the top tenth begins with number 180
    assert changed.summary == "noise: 4 input vectors, 50% of them in the top tenth; 1 output vector, 0% of them in the top tenth"
    assert (changed.row()["input_rejected"], changed.row()["output_rejected"]) == (4 / 200, 1 / 200)
    assert re.search(r"input vectors +4 of 200 not random.*\n +output vectors +1 of 200 not random", repr(changed))


def test_every_column_of_the_table_is_described(noise):
    assert list(noise.row()) == re.findall(r"``(\w+)``", re.sub(r"(?m)^ {12}.*", "", rmtlib.LayerAnalysis.row.__doc__))


def test_number_variance_is_compared_with_what_the_unfolding_leaves():
    short = rmtlib.analyse(rmtlib.ensembles.gaussian((150, 100), 0), a=7)
    curve = short.number_variance
    expected = np.mean([value / laws.number_variance_unfolded(L, 7) for L, value in zip(curve.L, curve.values, strict=True)])
    assert short.row()["number_variance_ratio"] == pytest.approx(expected)
    np.testing.assert_array_equal(curve.reliable, curve.L <= 14 / 3)
    assert short.name == "matrix"


def test_number_variance_reaches_a_third_of_the_spectrum():
    short = rmtlib.analyse(rmtlib.ensembles.gaussian((150, 100), 0))
    third = (short.xi[-1] - short.xi[0]) / 3
    expected = np.arange(0.5, third, 0.5)
    assert 10 < third < 15
    np.testing.assert_allclose(short.number_variance.L, expected)
    assert short.row()["number_variance_reach"] == expected[-1]


def test_the_parts_are_those_of_the_single_functions(noise):
    W = rmtlib.ensembles.gaussian((400, 200), 0)
    s = rmtlib.spectrum(W)
    xi = rmtlib.unfold(s.nu)
    np.testing.assert_array_equal(noise.xi, xi)
    assert noise.spacing == rmtlib.spacing_test(xi)
    assert noise.bulk == rmtlib.fit_marchenko_pastur(s.nu, s.shape)
    for side in ("input", "output"):
        expected = rmtlib.porter_thomas(getattr(s, f"{side}_vectors"))
        np.testing.assert_array_equal(getattr(noise, side).pvalue, expected.pvalue)
        np.testing.assert_array_equal(getattr(noise, side).moving_mean, expected.moving_mean)


def test_a_square_layer_needs_less_than_three_times_its_memory():
    W = rmtlib.ensembles.gaussian((900, 900), 4).astype(np.float32)
    rmtlib.analyse(W[:100, :100])
    tracemalloc.start()
    rmtlib.analyse(W)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 8 * W.size


def test_the_first_call_loads_nothing_that_the_package_did_not():
    code = """
import sys, rmtlib
W, loaded = rmtlib.ensembles.gaussian((300, 220), 0), set(sys.modules)
rmtlib.analyse(W)
print(*sorted(name for name in set(sys.modules) - loaded if name.startswith("scipy")))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_repr_tells_every_statistic(noise):
    assert re.search(r"(?s)noise \(400 x 200, 200 levels\).*spacings.*number variance.*bulk.*input.*output", repr(noise))


def test_plot_has_the_four_panels(noise):
    figure = noise.plot()
    assert len(figure.axes) == 4
    assert [ax.get_xlabel()[:4] for ax in figure.axes] == ["sing", "spac", "inte", "rank"]


def test_plot_says_what_its_curves_are():
    short = rmtlib.analyse(rmtlib.ensembles.gaussian((150, 100), 0), a=7, name="short")
    figure = short.plot()
    curves = {line.get_label(): line.get_ydata() for line in figure.axes[2].lines}
    np.testing.assert_array_equal(curves["trained"], short.number_variance.values)
    np.testing.assert_allclose(curves["GOE, exact"], laws.number_variance_goe(short.number_variance.L))
    np.testing.assert_allclose(curves["unfolded, a = 7"], laws.number_variance_unfolded(short.number_variance.L, 7))
    moving = {line.get_label(): line for line in figure.axes[3].lines}
    np.testing.assert_array_equal(moving["output vectors"].get_ydata(), short.output.moving_mean)
    np.testing.assert_array_equal(moving["input vectors"].get_ydata(), short.input.moving_mean)
    assert moving["output vectors"].get_color() != moving["input vectors"].get_color()
    assert [text.get_text() for text in figure.axes[3].get_legend().texts] == [
        "95 % null band",
        "output vectors",
        "input vectors",
    ]
    assert figure.get_suptitle() == short.summary


def test_qvalues_stand_in_the_rows_of_their_layers():
    rng = np.random.default_rng(6)
    weights = {
        "small": rng.standard_normal((30, 20)),
        "fc1": rng.standard_normal((100, 90)),
        "fc2": rng.standard_normal((100, 90)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = rmtlib.analyse_network(weights, progress=False)
    p, q = table["spacing_calibrated_pvalue"], table["spacing_qvalue"]
    assert q.isna().tolist() == p.isna().tolist() == [True, False, False]
    low, high = sorted(p[1:])
    expected = {low: min(2 * low, high), high: high}
    assert q[1:].tolist() == pytest.approx([expected[pvalue] for pvalue in p[1:]])


def test_a_network_is_one_table_and_a_layer_that_fails_keeps_its_row():
    rng = np.random.default_rng(2)
    good, small = rng.standard_normal((120, 100)), rng.standard_normal((30, 20))
    layers = {name: Layer(name, W, W.shape, "dense") for name, W in (("good", good), ("small", small))}
    table = rmtlib.analyse_network(layers, progress=False)
    assert table["layer"].tolist() == ["good", "small"]
    assert table["levels"].tolist()[0] == 100
    assert np.isnan(table["levels"].tolist()[1])
    assert "not analysed" in table["summary"][1]
    assert table["spacing_qvalue"][0] == table["spacing_calibrated_pvalue"][0]
    assert np.isnan(table["spacing_qvalue"][1])


def test_spacings_of_many_layers_are_one_family():
    rng = np.random.default_rng(5)
    layers = {f"fc{i}": Layer(f"fc{i}", W, W.shape, "dense") for i, W in enumerate(rng.standard_normal((4, 100, 90)))}
    blocks = np.zeros((180, 180))
    blocks[:90, :90], blocks[90:, 90:] = rng.standard_normal((2, 90, 90))
    layers["blocks"] = Layer("blocks", blocks, blocks.shape, "dense")
    table = rmtlib.analyse_network(layers, progress=False)
    p, q = table["spacing_calibrated_pvalue"], table["spacing_qvalue"]
    assert (q >= p).all()
    assert q.idxmin() == 4
    assert q[4] == pytest.approx(5 * p[4])


def test_a_layer_brings_its_name():
    W = rmtlib.ensembles.gaussian((100, 100), 3)
    assert rmtlib.analyse(Layer("fc", W, W.shape, "dense")).name == "fc"


def test_a_spectrum_without_a_bulk_keeps_all_but_the_bulk():
    rng = np.random.default_rng(4)
    s = rmtlib.spectrum(rng.standard_normal((200, 200)))
    flat = np.linspace(1, 1.02, 200) + rng.uniform(0, 5e-5, 200)
    analysis = rmtlib.analyse(s.output_vectors.T @ np.diag(flat) @ s.input_vectors, name="flat")
    assert analysis.bulk is None
    assert analysis.summary.startswith("flat: no bulk that could be fitted")
    assert "bulk             none that could be fitted" in repr(analysis)
    row = analysis.row()
    assert row["outliers"] is None
    assert row["levels"] == 200
    assert len(analysis.plot().axes) == 4


@pytest.mark.parametrize(
    ("W", "message"),
    [
        (np.zeros((80, 80)), "W is zero"),
        (np.full((80, 80), 0.5), "W is constant"),
        (np.ones((80, 80), dtype=int), "floating-point"),
        (np.ones((80, 80)) * 1j, "floating-point"),
        (np.ones(80), "two-dimensional"),
        (np.outer(np.arange(1.0, 81), np.arange(1.0, 71)), "rank deficient"),
        (np.random.default_rng(0).standard_normal((1, 50)), "at least two rows"),
        (np.random.default_rng(0).standard_normal((61, 200)), "61"),
    ],
)
def test_what_cannot_be_analysed_is_refused(W, message):
    with pytest.raises(ValueError, match=message):
        rmtlib.analyse(W)


def test_nan_is_counted():
    W = rmtlib.ensembles.gaussian((80, 80), 0)
    W[3, 4] = np.nan
    with pytest.raises(ValueError, match="W must be finite; 1 of 6400 entries"):
        rmtlib.analyse(W)


def test_a_half_window_of_zero_is_refused():
    with pytest.raises(ValueError, match="a must be an integer of at least 1; got 0"):
        rmtlib.analyse(rmtlib.ensembles.gaussian((80, 80), 0), a=0)


# Networks


def layers(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {f"fc{i}": rng.standard_normal(shape) for i, shape in enumerate(shapes)}


def test_workers_change_nothing_but_the_time():
    weights = layers(*[(120 + 5 * i, 90) for i in range(5)])
    one, three = (rmtlib.analyse_network(weights, workers=n, progress=False) for n in (1, 3))
    pd.testing.assert_frame_equal(one, three)


def test_a_large_layer_comes_after_the_others_and_keeps_its_place_in_the_table(monkeypatch):
    monkeypatch.setattr(parallel, "SIDE_BY_SIDE", 120 * 100)
    finished = []
    weights = layers((150, 100), (120, 100), (110, 100))
    table = rmtlib.analyse_network(weights, progress=False, on_layer=lambda layer: finished.append(layer.name))
    assert finished[-1] == "fc0"
    assert table["layer"].tolist() == ["fc0", "fc1", "fc2"]


def test_blas_has_one_thread_a_layer_and_its_own_again_afterwards(monkeypatch):
    monkeypatch.setattr(parallel, "SIDE_BY_SIDE", 120 * 100)
    seen = {}

    def threads():
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    def counted(W, *, a, name, wrapped=rmtlib.analyse):
        seen[name] = threads()
        return wrapped(W, a=a, name=name)

    monkeypatch.setattr(analysis, "analyse", counted)
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        rmtlib.analyse_network(layers((120, 100), (150, 100)), progress=False)
        assert threads() == before
    assert set(seen["fc0"]) == {1}
    assert seen["fc1"] == before


def test_without_threadpoolctl_there_is_one_layer_at_a_time(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    busy, most = set(), []

    def counted(W, *, a, name, wrapped=rmtlib.analyse):
        busy.add(name)
        most.append(len(busy))
        result = wrapped(W, a=a, name=name)
        busy.discard(name)
        return result

    monkeypatch.setattr(analysis, "analyse", counted)
    assert len(rmtlib.analyse_network(layers(*[(110, 100)] * 3), workers=3, progress=False)) == 3
    assert most == [1, 1, 1]


class Counting(dict):
    """Layers made when they are asked for, which counts how many are alive."""

    def __init__(self, count):
        super().__init__((f"fc{i}", i) for i in range(count))
        self.alive = self.most = 0

    def __getitem__(self, name):
        layer = Layer(name, rmtlib.ensembles.gaussian((100, 90), super().__getitem__(name)), (100, 90), "dense")
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(layer, self.released)
        return layer

    def released(self):
        self.alive -= 1


def test_layers_in_memory_are_as_few_as_workers():
    weights = Counting(9)
    rmtlib.analyse_network(weights, workers=2, progress=False)
    # A worker may still hold a layer for the moment in which its result is fetched.
    assert 1 <= weights.most <= 3
    assert weights.alive == 0


def test_the_csv_and_the_callback_follow_every_layer(tmp_path):
    csv, seen = tmp_path / "table.csv", []

    def look(layer):
        seen.append((layer.name, pd.read_csv(csv)["layer"].tolist()))

    weights = layers((100, 90), (20, 20), (120, 90))
    table = rmtlib.analyse_network(weights, workers=1, progress=False, on_layer=look, csv=csv)
    assert seen == [("fc0", ["fc0"]), ("fc2", ["fc0", "fc1", "fc2"])]
    written = pd.read_csv(csv)
    np.testing.assert_array_equal(written["spacing_calibrated_pvalue"], table["spacing_calibrated_pvalue"])
    assert written["summary"][1].startswith("fc1: not analysed: ")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_layer_with_nan_is_named_in_its_row():
    weights = layers((100, 90), (100, 90))
    weights["fc0"][3, 4] = np.nan
    table = rmtlib.analyse_network(weights, progress=False)
    assert table["summary"][0] == "fc0: not analysed: W must be finite; 1 of 9000 entries are nan or infinite"
    assert table["levels"][1] == 90


def test_a_layer_that_can_no_longer_be_read_is_named_in_its_row(tmp_path):
    path = builders.safetensors(tmp_path / "net.safetensors", builders.state_dict(100, 90, 80))
    weights = rmtlib.load_weights(path)
    assert len(weights) == 2
    path.write_bytes(path.read_bytes()[:20000])
    table = rmtlib.analyse_network(weights, progress=False)
    assert all("not analysed: tensor" in summary for summary in table["summary"])


def test_a_layer_too_large_for_the_memory_is_named_in_its_row(monkeypatch):
    def full(W, **options):
        raise MemoryError

    monkeypatch.setattr(analysis, "analyse", full)
    table = rmtlib.analyse_network(layers((100, 90)), progress=False)
    assert table["summary"][0] == "fc0: not analysed: not enough memory"


def test_the_row_tells_where_noise_would_end(planted):
    row = planted.row()
    assert row["outliers"] == 1
    assert row["outlier_edge"] == planted.bulk.outlier_edge < row["largest"] == planted.nu[-1]


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ("net.safetensors", {}, "weights must be a mapping of names to layers, as load_weights gives; got str"),
        ({}, {}, "weights holds no matrix to analyse$"),
        ({"fc": np.eye(99)}, {"workers": 0}, "workers must be an integer of at least 1; got 0"),
        ({"fc": np.eye(99)}, {"a": 0}, "a must be an integer of at least 1; got 0"),
        ({"fc": np.eye(99)}, {"csv": "no/such/folder/table.csv"}, "csv must be a file in a folder that exists; got 'no/such"),
    ],
)
def test_a_network_that_cannot_be_analysed_is_refused(weights, options, message):
    with pytest.raises(ValueError, match=message):
        rmtlib.analyse_network(weights, progress=False, **options)


def test_weights_without_a_matrix_are_refused_with_what_was_skipped():
    weights = rmtlib.load_weights({"fc.bias": np.zeros(100), "fc.weight": np.zeros((100, 12))})
    with pytest.raises(ValueError, match=r"fc.bias \(100,\): bias vector; fc \(100, 12\): 12 levels, fewer than"):
        rmtlib.analyse_network(weights, progress=False)


INTERRUPTED = """
import signal, sys, threading, time
import numpy as np
import rmtlib

# a job in the background is started with this signal ignored
signal.signal(signal.SIGINT, signal.default_int_handler)

class Weights(dict):
    def __getitem__(self, name):
        if name == "unread":
            for _ in range(600):  # a signal that comes just before a sleep is seen after it
                time.sleep(0.1)
        return super().__getitem__(name)

def analyse(layer, *, name, **options):
    if name == "analysed":
        over.wait(60)
    return finished(layer, name=name, **options)

over, finished, rmtlib.analysis.analyse = threading.Event(), rmtlib.analyse, analyse
rng = np.random.default_rng(0)
weights = Weights({name: rng.standard_normal((100, 90)) for name in ("first", sys.argv[1], "last")})
table = rmtlib.analyse_network(weights, workers=1, csv=sys.argv[2], on_layer=lambda layer: print(layer.name, flush=True))
over.set()
print(table["levels"].notna().tolist(), *table["summary"][1:], sep="\\n")
"""


@pytest.mark.parametrize("where", ["analysed", "unread"])
def test_ctrl_c_keeps_the_layers_that_are_finished(tmp_path, where):
    csv = tmp_path / "table.csv"
    command = [sys.executable, "-c", INTERRUPTED, where, csv]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "first\n"
        process.send_signal(signal.SIGINT)
        printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    interrupted = [f"{name}: not analysed: interrupted" for name in (where, "last")]
    assert printed.splitlines() == ["[True, False, False]", *interrupted]
    assert "UserWarning: interrupted after 1 of 3 layers" in errors
    assert pd.read_csv(csv)["layer"].tolist() == ["first", where, "last"]


def test_an_interrupt_while_a_layer_is_read_keeps_the_layers_before_it():
    class Interrupted(dict):
        def __getitem__(self, name):
            if name == "fc2":
                raise KeyboardInterrupt
            return super().__getitem__(name)

    with pytest.warns(UserWarning, match="interrupted after 2 of 4 layers") as warned:
        table = rmtlib.analyse_network(Interrupted(layers(*[(100, 90)] * 4)), workers=1, progress=False)
    assert warned[0].filename == __file__
    assert table["levels"].notna().tolist() == [True, True, False, False]
    assert table["summary"][3] == "fc3: not analysed: interrupted"


def test_ctrl_c_before_the_first_layer_is_passed_on():
    class Interrupted(dict):
        def __getitem__(self, name):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rmtlib.analyse_network(Interrupted(fc=0), progress=False)
