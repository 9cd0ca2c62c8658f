"""Counts with and without the sizes of neurons, and what they decide."""

import numpy as np
import pandas as pd
import pytest

import rmtlib
from studies import sizes


def table(outliers, rejected=(0.0, 0.0, 0.0), spread=(0.2, 0.2), settled=1.0):
    columns = {"outliers": outliers, "rejected, %": rejected, "row spread": [np.nan, *spread], "settled": [np.nan, settled, 1.0]}
    return pd.DataFrame(columns, sizes.WAYS)


def test_counts_are_those_of_the_single_functions():
    rng = np.random.default_rng(0)
    W = rmtlib.ensembles.spiked((120, 90), rng, strengths=[4.0], sigma=1.0).matrix * np.exp(0.5 * rng.standard_normal(90))
    found = sizes.counts(W, space="input")
    assert found.index.tolist() == list(sizes.WAYS)
    for way in sizes.WAYS:
        taken = W if way == "as it is" else rmtlib.biwhiten(W, way).matrix
        s = rmtlib.spectrum(taken)
        test = rmtlib.porter_thomas(s.input_vectors)
        assert found["outliers"][way] == rmtlib.fit_marchenko_pastur(s.nu, s.shape).n_outliers
        assert found["rejected, %"][way] == pytest.approx(100 * np.mean(test.qvalue < 0.05))
        assert found["small end"][way] == pytest.approx(test.calibrated_pvalue[:15].mean())
        assert found["large end"][way] == pytest.approx(test.calibrated_pvalue[-15:].mean())
    assert found["row spread"]["noise"] == rmtlib.biwhiten(W).row_spread


def test_counts_of_a_matrix_without_sizes_say_why():
    W = rmtlib.ensembles.gaussian((60, 60), 0)
    W[:40, :25] = 0
    with pytest.raises(ValueError, match="W has no sizes that could be taken out: W cannot be biwhitened"):
        sizes.counts(W)


def test_planted_rows_have_one_size_whichever_way_they_became_large():
    large, learned, rows = sizes.planted(400, 1)
    assert rows.sum() == 20
    for W in (large, learned):
        assert np.mean(W[rows] ** 2) == pytest.approx(1 + 25 / 20, rel=0.05)
        assert np.mean(W[~rows] ** 2) == pytest.approx(1, rel=0.02)
    assert np.linalg.svd(learned, compute_uv=False)[0] > 5 * np.sqrt(400) > np.linalg.svd(large, compute_uv=False)[0]


def test_noise_of_a_profile_has_the_sizes_of_its_matrix():
    W = np.random.default_rng(2).standard_normal((200, 150)) * np.geomspace(1, 9, 200)[:, None]
    noise = sizes.profile_noise(W, 3)
    ratio = (noise**2).mean(axis=1) / (W**2).mean(axis=1)
    assert np.log(ratio).std() < 0.3
    assert not np.allclose(noise, W)


def test_kinds_of_large_neurons_are_told_apart():
    def verdicts(large, learned):
        both = pd.concat({"large by noise": large, "large by learning": learned})
        return [outcome.verdict == "reproduced" for outcome in sizes.two_questions(both).values()]

    good = table([7, 0, 0]), table([1, 1, 1], spread=(0.03, 0.1))
    assert verdicts(*good) == [True, True]
    assert verdicts(table([7, 1, 0]), good[1]) == [False, True]
    assert verdicts(good[0], table([1, 0, 1], spread=(0.03, 0.1))) == [True, False]
    assert verdicts(good[0], table([1, 1, 1], spread=(0.06, 0.1))) == [True, False]
    found = sizes.two_questions(pd.concat({"a": good[0], "b": good[1]}))
    assert found["large_by_noise"].numbers == {"before": 7, "after": 0, "spread": 20, "total": 20}


def test_layers_elsewhere_decide_what_is_said_of_them():
    counted = {
        "minilm 2.output": table([76, 109, 86], (12.5, 1.6, 0.3)),
        "minilm 2.query": table([291, 179, 297], (1.6, 23.0, 0.5)),
        "minilm pooler": table([0, 0, 0]),
        "vgg16 block2_conv2": table([68, 70, 64], settled=0.0),
    }
    matrices = dict.fromkeys(counted, np.zeros((384, 500)))
    found = sizes.elsewhere(matrices, counted)
    assert {name for name, outcome in found.items() if outcome.verdict == "reproduced"} == {
        "size_vectors",
        "size_pooler",
        "size_query",
        "size_settled",
    }
    assert found["size_vectors"].numbers == {"low": 12.5, "high": 12.5, "left": 0.3, "least": 1.6, "most": 1.6}
    assert found["size_query"].numbers == {"levels": 384, "as_it_is": 291, "noise": 179, "total": 297}
    assert found["size_of_minilm_2_output"].numbers == {"as_it_is": 76, "noise": 109, "total": 86}

    others = {
        "minilm 2.output": table([76, 109, 86], (12.5, 1.6, 6.3)),
        "minilm 2.query": table([192, 179, 297]),
        "minilm pooler": table([0, 1, 0]),
        "vgg16 block2_conv2": table([68, 70, 64], settled=1.0),
    }
    changed = sizes.elsewhere(matrices, others)
    assert [changed[f"size_{name}"].verdict for name in ("vectors", "pooler", "query", "settled")] == ["not reproduced"] * 4


def test_networks_that_are_missing_are_dashes():
    assert sizes.elsewhere({}, {}) == dict.fromkeys(("size_vectors", "size_pooler", "size_query", "size_settled"), "–")
