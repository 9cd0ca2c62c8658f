"""The table of a network: what is passed on to each layer, what stands in the rows, and what a layer that fails leaves there."""

import re

import numpy as np
import pytest

import rmtlib
from rmtlib import analysis, parallel
from rmtlib.weights import Layer


def noise(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {f"fc{i}": rng.standard_normal(shape) for i, shape in enumerate(shapes)}


@pytest.fixture
def calls(monkeypatch):
    seen = []

    def counted(W, *, wrapped=rmtlib.analyse, **options):
        seen.append(options)
        return wrapped(W, **options)

    monkeypatch.setattr(analysis, "analyse", counted)
    return seen


def test_options_reach_every_layer(calls):
    rmtlib.analyse_network(noise((50, 20), (40, 20)), a=7, biwhiten=False, workers=1, progress=False)
    assert calls == [{"a": 7, "biwhiten": False, "name": name} for name in ("fc0", "fc1")]


def test_by_default_sizes_are_taken_out_with_the_half_window_of_the_book(calls):
    table = rmtlib.analyse_network(noise((50, 20)), progress=False)
    assert calls == [{"a": 15, "biwhiten": True, "name": "fc0"}]
    assert table["outliers_biwhitened"].notna().all()


def test_by_default_there_are_as_many_layers_at_a_time_as_processors(monkeypatch):
    seen, wrapped = [], parallel.as_they_finish

    def counted(function, weights, *, workers, **options):
        seen.append(workers)
        return wrapped(function, weights, workers=workers, **options)

    monkeypatch.setattr(parallel, "as_they_finish", counted)
    monkeypatch.setattr(parallel, "processors", lambda: 3)
    for workers in (None, 1):
        rmtlib.analyse_network(noise((50, 20)), workers=workers, progress=False)
    assert seen == [3, 1]


def test_the_row_of_a_layer_is_that_of_its_analysis_but_for_the_spacings():
    weights = noise((120, 90), (100, 80))
    table = rmtlib.analyse_network(weights, biwhiten=False, progress=False)
    for (name, W), (_, row) in zip(weights.items(), table.iterrows(), strict=True):
        expected = rmtlib.analyse(W, biwhiten=False, name=name).row()
        assert row["shape"] == expected["shape"]
        for column in ("layer", "levels", "spacing_calibrated_pvalue", "outlier_edge", "bulk_pvalue", "output_rejected"):
            assert row[column] == expected[column], column
    columns = table.columns.tolist()
    assert columns[columns.index("spacing_calibrated_pvalue") + 1] == "spacing_qvalue"


def test_a_callback_sees_layers_before_their_spacings_are_judged():
    seen = []
    rmtlib.analyse_network(noise((120, 90), (30, 10)), biwhiten=False, progress=False, on_layer=seen.append)
    assert [(layer.name, layer.spacing_qvalue) for layer in seen] == [("fc0", None)]


def test_a_layer_that_fails_keeps_its_shape_and_says_its_name_once():
    class Fails(dict):
        def __getitem__(self, name):
            msg = f"{name}: cannot be read"
            raise ValueError(msg)

    small = rmtlib.analyse_network({"fc": Layer("fc", np.eye(30, 12), (30, 12), "dense")}, progress=False)
    assert small["shape"][0] == (30, 12)
    assert small["summary"][0].startswith("fc: not analysed: W must have at least 16 levels")
    assert "spacing_qvalue" not in small
    unread = rmtlib.analyse_network(Fails(fc=0), progress=False)
    assert unread["summary"].tolist() == ["fc: not analysed: cannot be read"]
    assert unread["shape"].tolist() == [None]


def test_a_bar_shows_the_progress_unless_it_is_not_wanted(capsys):
    rmtlib.analyse_network(noise((50, 20), (40, 20)), biwhiten=False, progress=False)
    assert capsys.readouterr().err == ""
    rmtlib.analyse_network(noise((50, 20), (40, 20)), biwhiten=False)
    shown = capsys.readouterr().err
    assert re.search(r"(?m)^layers: 100%.* 2/2 .*layer", shown.replace("\r", "\n"))


def test_at_most_five_of_what_was_skipped_are_named():
    weights = rmtlib.load_weights({f"fc{i}.bias": np.zeros(100) for i in range(7)})
    with pytest.raises(ValueError, match="weights holds no matrix to analyse") as caught:
        rmtlib.analyse_network(weights, progress=False)
    assert str(caught.value).count("bias vector") == 5


def test_a_switch_that_is_none_is_refused():
    with pytest.raises(ValueError, match="^biwhiten must be"):
        rmtlib.analyse_network(noise((50, 20)), biwhiten="yes", progress=False)
