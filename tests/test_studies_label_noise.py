"""Networks that were taught wrong labels: tables and verdicts from made-up measurements."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from rmtlib.claims import Outcome
from studies import filtering, label_noise, rivals


def run(share, seed, **accuracies):
    return SimpleNamespace(name=f"noise{share}-{seed}", config={"label_noise": share, "seed": seed}, **accuracies)


def test_the_runs_of_the_book_are_typical_and_in_order():
    runs = label_noise.runs_taught()
    assert [(r.config["label_noise"], r.config["seed"]) for r in runs] == [
        *((0.0, seed) for seed in range(5)),
        (0.2, 0),
        *((0.4, seed) for seed in range(3)),
        (0.6, 0),
    ]
    assert {(r.config["laziness"], r.config["epochs"], r.config["learning_rate"]) for r in runs} == {(1.0, 100, 0.001)}


def layer(top, small=0.5):
    p = np.full(60, 0.5)
    p[:15], p[-15:] = small, 0.25
    return SimpleNamespace(
        nu=np.array([1.0, 1.9, 2.1, top]),
        bulk=SimpleNamespace(nu_plus=2.0, outlier_edge=2.2, n_outliers=int(top > 2.2)),
        spacing=SimpleNamespace(calibrated_pvalue=top / 10),
        output=SimpleNamespace(calibrated_pvalue=p, pvalue=p),
    )


def test_a_row_says_what_the_network_learned_and_where_its_spectrum_ends():
    runs = [run(0.0, 0, train_accuracy=1.0, test_accuracy=0.5), run(0.0, 1, train_accuracy=0.9, test_accuracy=0.6)]
    runs.append(run(0.6, 0, train_accuracy=0.8, test_accuracy=0.25))
    layers = {(0.0, 0): layer(3.0), (0.0, 1): layer(2.15), (0.6, 0): layer(2.18, small=0.1)}
    table = label_noise.taught_table(runs, layers)
    assert table.loc[(0.0, 0)].to_dict() == pytest.approx(
        {
            "own, %": 100,
            "test, %": 50,
            "curve ends": 2.0,
            "beyond": 2,
            "noise ends": 2.2,
            "outliers": 1,
            "largest": 3.0,
            "spacing p": 0.3,
            "p, large": 0.25,
            "p, small": 0.5,
        }
    )
    found = label_noise.taught_numbers(table)
    assert found["taught-outliers-clean"] == 0.5
    assert found["taught-outliers-noisy"] == 0
    assert found["taught-learned"] == pytest.approx(80)
    assert found["taught-largest-noisy"] == 2.18
    assert found["taught-p"] == pytest.approx(0.215)


def cut(name, layer, value, treatment, gain):
    halves = {"first_half": 0.5 + gain, "second_half": 0.5 + gain, "accuracy": 0.5 + gain}
    return {"run": name, "layer": layer, "value": value, "treatment": treatment, "gain": gain} | halves


def test_methods_are_compared_where_labels_were_replaced():
    runs = [run(0.0, 0), run(0.4, 0), run(0.4, 1)]
    rows = [
        cut(r.name, *row)
        for r in runs
        for row in (
            ("none", 0, "none", 0.0),
            ("all", 0, "frobenius", -0.1),
            ("dense3", 0, "frobenius", 0.01 * (1 + r.config["seed"])),
        )
    ]
    cuts = pd.DataFrame(rows)
    kinds = {"kind": ["stop", "average"], "first_half": [0.6, 0.55], "second_half": [0.6, 0.55]}
    epochs = pd.concat([pd.DataFrame(kinds).assign(run=r.name) for r in runs[1:]])
    table = label_noise.compared(runs, cuts, epochs)
    assert table.index.tolist() == [(0.4, 0), (0.4, 1)]
    assert table["edge, layer 3"].tolist() == pytest.approx([51, 52])
    assert table["early stopping"].tolist() == pytest.approx([60, 60])
    at_edge = label_noise.by_layer_at_the_edge(runs, cuts)
    assert at_edge["dense3"].to_dict() == pytest.approx({0.0: 1.0, 0.4: 1.5})
    assert at_edge["all"].to_dict() == pytest.approx({0.0: -10, 0.4: -10})
    assert "none" not in at_edge


def outcomes(chosen, stop=(9.0, 9.5, 10.0)):
    index = pd.MultiIndex.from_tuples([(0.2, 0), (0.4, 0), (0.4, 1), (0.4, 2)], names=["label noise", "seed"])
    whole = np.array([40.0, 30.0, 31.0, 32.0])
    gains = {"trained to the end": 0, "edge, all layers": -18, "edge, layer 3": [99, -0.1, 1.0, 2.0]}
    gains |= {"chosen cut, all layers": 0, "chosen cut, one layer": [99, *chosen], "early stopping": [99, *stop]}
    gains["average of weights"] = [99, 2.0, 2.5, 3.0]
    table = pd.DataFrame({name: whole + np.asarray(gain) for name, gain in gains.items()}, index)
    at_edge = pd.DataFrame({"dense3": [-3.2, 0.5, 2.0]}, [0.0, 0.4, 0.6])
    return label_noise.gain_outcomes(table, at_edge)


def test_verdicts_are_those_of_the_seeds_of_one_share():
    gains = [1.0, 1.5, 2.2]
    found = outcomes(gains)
    noisy = found["B-filtering-noisy"]
    half = scipy.stats.t.ppf(0.95, 2) * np.std(gains, ddof=1) / np.sqrt(3)
    low, high = np.mean(gains) - half, np.mean(gains) + half
    assert f"{np.mean(gains):+.1f} ({low:+.1f} to {high:+.1f}; 3 seeds)" in noisy.numbers["says"]
    assert noisy.verdict == "reproduced"
    assert found["noise-seeds"] == 3
    assert (found["noise-stop"].value, found["noise-stop"].error) == pytest.approx((9.5, 0.5 / np.sqrt(3)))
    assert (found["noise-edge-3-least"], found["noise-edge-3-most"]) == pytest.approx((-0.1, 2.0))
    assert (found["edge-3-clean"], found["edge-3-most"]) == (-3.2, 2.0)
    assert found["B-filtering-rivals"].verdict == "not reproduced"


def test_scattered_gains_prove_nothing_and_a_large_one_beats_the_rivals():
    assert outcomes([-0.5, 1.0, 2.5])["B-filtering-noisy"].verdict == "inconclusive"
    assert outcomes([-0.1, 0.0, 0.1])["B-filtering-noisy"].verdict == "not reproduced"
    assert outcomes([4.0, 4.5, 5.1], stop=(1.0, 1.0, 1.0))["B-filtering-rivals"].verdict == "reproduced"
    assert outcomes([2.0, 2.1, 2.2], stop=(1.0, 1.0, 1.0))["B-filtering-rivals"].verdict == "inconclusive"
    assert outcomes([1.0, 1.1, 1.2], stop=(1.0, 1.0, 1.0))["B-filtering-rivals"].verdict == "not reproduced"


def test_the_tables_of_the_book_are_read():
    assert set(filtering.read("noisy")["run"]) == set(rivals.read()["run"])
    assert isinstance(outcomes([1, 2, 3])["noise-chosen"], Outcome)
