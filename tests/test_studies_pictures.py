"""The drawings of the chapters on networks and their use show what is measured, and mark what their texts say."""

import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

import rmtlib
from rmtlib import ensembles, figures
from studies import compression, costs, directions, networks_pictures, small_values, use_pictures
from studies import filtering as of_filtering
from studies import layers as of_layers
from studies.regimes import REGIMES
from studies.transformer import ROLES


@pytest.fixture(scope="module", autouse=True)
def style():
    figures.set_style()


def words(drawing):
    return " ".join("".join(text.itertext()) for text in ElementTree.fromstring(drawing.svg).iter("text"))


def label(drawing):
    return ElementTree.fromstring(drawing.svg).get("aria-label")


def says_what_it_shows(row, number):
    assert len(row.drawings) == number
    for drawing in row.drawings:
        assert label(drawing).endswith(".")
        assert len(words(drawing).split()) > 2


@pytest.fixture(scope="module")
def spiked():
    """Noise and two planted values, far outside."""
    return ensembles.spiked((90, 60), 0, strengths=[4, 6]).matrix


def test_a_filter_of_a_convolution_is_one_row():
    W = ensembles.gaussian((16, 27), 0)
    W[5] *= 10
    [drawing] = networks_pictures.unrolled(W, channels=3).drawings
    assert {"channel 1", "channel 3", "27 weights", "matrix, 16 × 27"} <= {
        text.text for text in ElementTree.fromstring(drawing.svg).iter("text")
    }
    # the strongest row is outlined, not another one
    assert networks_pictures.unrolled(W, channels=3, row=5).drawings[0].svg == drawing.svg
    assert networks_pictures.unrolled(W, channels=3, row=6).drawings[0].svg != drawing.svg


def test_spectra_count_what_lies_beyond_the_noise(spiked):
    noise = {("a", "b"): ensembles.gaussian(spiked.shape, 1)}
    [drawing] = networks_pictures.spectra({("a", "b"): spiked}, noise).drawings
    end = spiked.std() * (np.sqrt(90) + np.sqrt(60))
    nu = np.linalg.svd(spiked, compute_uv=False)
    assert f"largest at {nu[0] / end:.1f}" in words(drawing)
    assert f"{np.sum(nu > end)} of 60 singular values lie beyond" in label(drawing)


def test_levels_of_layers_stand_above_their_number_variance():
    noise = {name: of_layers.level_statistics(ensembles.gaussian((200, 150), name)) for name in (0, 1)}
    row = networks_pictures.levels(noise, noise, a=15)
    says_what_it_shows(row, 4)
    kinds = [("random matrix" in words(one), "number variance" in words(one)) for one in row.drawings]
    assert kinds == [(True, False)] * 2 + [(False, True)] * 2


def test_vectors_of_layers_stand_beside_those_of_noise():
    test = of_layers.vector_test(ensembles.gaussian((80, 80), 0))
    row = networks_pictures.vectors({("a", "b"): test, ("a", "c"): test}, test)
    says_what_it_shows(row, 3)
    assert [label(drawing)[:5] for drawing in row.drawings] == ["a b: ", "a c: ", "noise"]


def test_without_a_network_no_activations_are_shown():
    assert networks_pictures.activations(None) is None


def test_levels_below_the_edge_are_counted():
    trained = np.concatenate([np.linspace(0.5, 0.9, 7), np.linspace(1.1, 2, 53)])
    [drawing] = networks_pictures.smallest_levels({"a": trained, "b": np.linspace(1.01, 2, 60)}).drawings
    assert "7 levels below" in words(drawing)


def test_the_smallest_tenth_is_named_by_its_mean():
    found = small_values.read("directions")
    row = networks_pictures.tenths_of_activations(found)
    says_what_it_shows(row, len(ROLES))
    smallest = found.query("about == 'mean' and decile == 0").groupby("role")["trained"].mean()
    for role, drawing in zip(ROLES, row.drawings, strict=True):
        assert label(drawing).startswith(f"{role}: {smallest[role]:.2g} at the smallest tenth")


def test_costs_of_tenths_and_of_time_have_words():
    says_what_it_shows(networks_pictures.cost_of_tenths(small_values.read("damage")), 2)
    seconds = costs.measure([64, 128])
    [drawing] = networks_pictures.cost(seconds).drawings
    assert all(column in words(drawing) for column in seconds)


def test_base_update_and_sum_share_one_axis(spiked):
    base = ensembles.gaussian(spiked.shape, 2)
    row = networks_pictures.base_update_tuned(base, base + spiked)
    says_what_it_shows(row, 3)
    beyond = [int(re.search(r"(\d+) of them", label(drawing))[1]) for drawing in row.drawings]
    assert beyond[:2] == [0, 2]
    ticks = [set(re.findall(r"\d+", words(drawing))) for drawing in row.drawings]
    assert ticks[0] == ticks[1] == ticks[2]


def test_intruders_below_the_threshold_are_counted():
    found = SimpleNamespace(cosines=np.array([0.2, 0.4, 0.9]), noise=np.full((10, 3), 0.3))
    [drawing] = networks_pictures.intruders({"a": found}).drawings
    assert label(drawing).startswith("a: 2 of 3 points")


def test_the_filter_keeps_the_two_values_of_a_cross():
    row = use_pictures.filter_steps()
    says_what_it_shows(row, 4)
    assert "2 points lie beyond it" in label(row.drawings[2])


def test_accuracies_name_where_the_bulk_ends():
    measured = of_filtering.read()
    row = use_pictures.accuracy_by_rank(measured)
    says_what_it_shows(row, 3)
    plain = measured.query("treatment == 'plain' and value > 0 and layer == 'dense2'").groupby("laziness")["outliers"].first()
    assert f"dense2 at {plain[0.5]}" in label(row.drawings[0])
    assert label(row.drawings[2]).endswith("No layer has outliers.")
    says_what_it_shows(use_pictures.deciles(measured), 3)


@pytest.fixture(scope="module")
def by_share():
    return {share: rmtlib.analyse((1 + share) * ensembles.gaussian((120, 100), 3)) for share in (0.0, 0.5)}


def test_spectra_stand_in_the_order_of_their_shares(by_share):
    row = use_pictures.spectra_by_share(by_share)
    says_what_it_shows(row, 1)
    ends = [by_share[share].bulk.nu_plus for share in (0.0, 0.5)]
    assert re.findall(r"bulk up to ([\d.]+)", label(row.drawings[0])) == [f"{end:.2f}" for end in ends]
    assert [label(drawing)[:4] for drawing in use_pictures.vectors_by_share(by_share).drawings] == ["0 % ", "50 %"]


def test_a_layer_without_a_bulk_is_named(by_share):
    without = {0.0: by_share[0.0], 0.2: SimpleNamespace(nu=np.arange(3.0), bulk=None)}
    with pytest.raises(ValueError, match="share of 0.2 has none"):
        use_pictures.spectra_by_share(without)


def test_the_best_epoch_and_the_best_cut_are_named():
    epochs = pd.DataFrame(
        [(share, 0, kind, epoch, accuracy / 100) for share in (0.2, 0.4, 0.6) for kind in ("stop", "average")
         for epoch, accuracy in ((1, 40), (2, 50), (3, 30))],
        columns=["label_noise", "seed", "kind", "epoch", "accuracy"],
    )  # fmt: skip
    cuts = pd.DataFrame(
        [(f"r{share}", 0, "dense3", "plain", value, accuracy / 100, 0.0) for share in (0.2, 0.4, 0.6)
         for value, accuracy in ((1, 20), (8, 33), (512, 30))],
        columns=["run", "seed", "layer", "treatment", "value", "accuracy", "gain_error"],
    )  # fmt: skip
    runs = [SimpleNamespace(name=f"r{share}", config={"label_noise": share}) for share in (0.2, 0.4, 0.6)]
    left, right = use_pictures.stop_or_cut(epochs, cuts, runs).drawings
    assert "20 %: 50 stopped, 30 at the end" in label(left)
    assert "60 %: 30 whole, 33 at best" in label(right)


def test_factors_are_drawn_to_scale_and_their_share_is_named():
    W = ensembles.spiked((40, 120), 0, strengths=[5, 7]).matrix
    spectrum, factors = use_pictures.cut_at_the_edge(W, 2).drawings
    assert "2 of 40" in words(spectrum)
    assert f"{100 * 2 * 160 / 4800:.0f} % of the numbers" in words(factors)


def test_the_cut_at_the_edge_is_named_by_size_and_accuracy():
    measured = compression.read()
    row = use_pictures.accuracy_by_size(measured)
    says_what_it_shows(row, 3)
    edge = measured.query("network == 'mlp512' and regime == 'rich' and treatment == 'edge'").iloc[0]
    assert f"keeps {edge['share']:.0f} % of the numbers and {edge['accuracy']:.0f} of" in label(row.drawings[0])


def test_the_response_is_large_along_the_activations_alone():
    along, across = (float(re.findall(r"[\d.]+\d", label(one))[-1]) for one in use_pictures.loud_and_quiet().drawings)
    assert along > 4 * across


def test_activations_along_vectors_and_losses_have_words():
    found = directions.read()
    row = use_pictures.along_vectors(found.loc["mean"])
    says_what_it_shows(row, 3)
    top = found.loc[("mean", "trained", "rich", "dense1", 9), "energy"]
    assert f"rich {top:.1f}" in label(row.drawings[0])
    assert all(regime in words(row.drawings[0]) for regime in REGIMES)
    carried = directions.losses(found)
    ranked = directions.rank_correlations(carried)
    losses = use_pictures.loss_by_share(carried, ranked)
    assert f"{ranked.loc['all', 'response']:.2f}" in words(losses.drawings[1])
