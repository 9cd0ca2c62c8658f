"""Panels of other networks, on small matrices."""

from types import SimpleNamespace

import numpy as np
import pytest

import rmtlib
from studies import other_networks


def test_noise_scatters_less_the_more_networks_there_are():
    one, four = (other_networks.noise_ratios((200, 150), n, draws=150, a=7) for n in (1, 4))
    assert four.std() == pytest.approx(one.std() / 2, rel=0.35)
    assert four.mean() == pytest.approx(one.mean(), abs=0.05)
    others = other_networks.noise_ratios((200, 150), 1, draws=150, a=7, rng=1)
    low, high = np.quantile(one, (0.025, 0.975))
    assert 0.88 < np.mean((low < others) & (others < high)) <= 1


def test_ends_are_means_over_networks():
    planted = [rmtlib.analyse(rmtlib.ensembles.gaussian((120, 120), seed), a=7) for seed in (0, 1)]
    found = other_networks.layer_ends(planted, "input")
    mean = np.mean([s.input.calibrated_pvalue[-15:].mean() for s in planted])
    assert found["large"][0] == pytest.approx(mean)
    without = np.mean([s.biwhitened.input.calibrated_pvalue[:15].mean() for s in planted])
    assert found["small_biwhitened"][0] == pytest.approx(without)


def test_a_trained_layer_stands_beside_its_update_on_fresh_noise(monkeypatch):
    """Levels at equal distances are far more rigid than noise, and stay so; the update alone does not know of them."""
    W0 = rmtlib.ensembles.gaussian((150, 300), 0)
    U, nu, Vt = np.linalg.svd(W0, full_matrices=False)
    rigid = U * np.linspace(nu[0], nu[-1], len(nu)) @ Vt
    for weights, least, most in ((W0 + 1e-9, 2, 98), (rigid, 95, 100)):
        monkeypatch.setattr(other_networks, "initial_matrix", lambda run, layer: W0)
        monkeypatch.setattr(
            other_networks.rmtlib, "load_weights", lambda run, weights=weights: {"conv2": SimpleNamespace(matrix=weights)}
        )
        runs = {"minialexnet3x3": [run("minialexnet3x3", 0, 30)]}
        noise = {"minialexnet3x3": other_networks.noise_ratios(W0.shape, 1, draws=50)}
        table = other_networks.variance_table(runs, noise, draws=50)
        own = table.loc["minialexnet3x3"]
        assert least <= own["as large, %"] <= most
    assert other_networks.beside_update(table) == f"{own['as large, %']:.0f} % (minialexnet3x3)"
    assert own["trained"] < 0.4 < min(own["noise from"], own["noise + update"])


def run(network, seed, epochs, accuracy=0.7):
    recipe = f"epochs{epochs}" if epochs != 100 else ""
    name = "-".join(filter(None, [network, "cifar10", f"alpha1-seed{seed}", recipe]))
    config = {"network": network, "dataset": "cifar10", "seed": seed, "epochs": epochs, "learning_rate_decay": 0.6}
    return SimpleNamespace(name=name, config=config, test_accuracy=accuracy)


@pytest.fixture
def several(monkeypatch):
    """Two seeds of MLP1024 and three readings of miniAlexNet, two of them one network with other numbers of epochs."""
    there = {
        "mlp1024": [run("mlp1024", 0, 100), run("mlp1024", 1, 100)],
        "minialexnet": [run("minialexnet", 0, 100), run("minialexnet", 0, 5, 0.6)],
        "minialexnet3x3": [run("minialexnet3x3", 0, 30, 0.65)],
    }
    monkeypatch.setattr(other_networks, "find_runs", lambda *, network, **_: there[network])
    weights = {"dense2": (0, (200, 300)), "conv2": (1, (120, 400)), "dense1": (2, (130, 260))}

    def load(own, **options):
        seed = 10 * own.config["seed"] + own.config["epochs"]
        layers = ("dense2",) if own.config["network"] == "mlp1024" else ("conv2", "dense1")
        return {name: rmtlib.ensembles.gaussian(weights[name][1], seed + weights[name][0]) for name in layers}

    monkeypatch.setattr(other_networks.rmtlib, "load_weights", load)
    return other_networks.finished(there)


def test_runs_that_differ_in_more_than_their_seed_are_readings_of_their_own(several):
    assert {name: len(own) for name, own in several.items()} == {
        "mlp1024": 2,
        "minialexnet": 1,
        "minialexnet epochs5": 1,
        "minialexnet3x3": 1,
    }
    assert other_networks.overview(several)["epochs"].tolist() == ["100, 100", "100", "30", "5"]


def test_a_panel_of_several_readings_holds_if_it_holds_in_all(several):
    every = other_networks.every_layer(several, a=7)
    assert len(every) == 2 + 3 * 2
    noise = {name: other_networks.noise_ratios((400, 120), 1, a=7, draws=50) for name in several}
    noise["minialexnet3x3"] = noise["minialexnet"] + 10
    found = other_networks.figure_outcomes(several, every, noise)
    assert found["F1b2"].verdict == "not reproduced"
    told = found["F1b2"].numbers["says"]
    assert [part.split(":")[0] for part in told.split("; ") if ":" in part] == [name for name in several if name != "mlp1024"]
    alone = other_networks.figure_outcomes({"mlp1024": several["mlp1024"]}, every, noise)
    assert alone["F1a2"].command == other_networks.PANELS["minialexnet"].command
    assert alone["F1b1"].verdict == found["F1b1"].verdict


def test_the_text_names_every_network_of_miniAlexNet(several):
    numbers = other_networks.numbers(several, other_networks.every_layer(several, a=7))
    assert numbers["mini_networks"] == 3
    assert numbers["mini_accuracies"] == (
        "70.0 % after 100 epochs (minialexnet), 60.0 % after 5 epochs (minialexnet epochs5), "
        "65.0 % after 30 epochs (minialexnet3x3)"
    )
