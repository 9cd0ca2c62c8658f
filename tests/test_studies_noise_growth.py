"""The growth of the bulk: of a random walk, and read from the histories of trainings."""

import numpy as np
import pytest

from rmtlib.claims import Untested
from rmtlib.runs import Run, RunError
from studies import noise_growth
from studies.noise_growth import grid_outcome, growth, sgd_without_signal, speed_outcome, speeds


def made_up(tmp_path, *, exponents=(2, -2), rate=0.001, batch=32, epochs=40, learned=40, speed_up=1.0):
    """A run whose bulk grows by the squared rates, from the middle of learning on ``speed_up`` times as fast."""
    epoch = np.arange(1, epochs + 1)
    rates = rate * 0.95 ** (epoch - 1)
    steps = 1e4 * rates ** exponents[0] * float(batch) ** exponents[1]
    noise = 1 + 0.05 * np.random.default_rng(0).standard_normal(epochs)
    steps = steps * noise * np.where(epoch > learned // 2 + 1, speed_up, 1)
    history = {"epoch": epoch, "learning_rate": rates, "train_accuracy": np.where(epoch > learned, 1.0, 0.5)}
    history["bulk_variance.dense2"] = 1 / 512 + np.cumsum(steps)
    config = {"network": "mlp512", "dataset": "cifar10", "seed": 0, "learning_rate": rate, "batch_size": batch}
    return Run("made-up", tmp_path, config, 1.0, 0.5, history)


@pytest.fixture(autouse=True)
def _initial_entries(monkeypatch):
    W = np.array([[1.0, -1.0]]) / np.sqrt(512)
    monkeypatch.setattr(noise_growth, "initial", lambda run, layer: W)


# A walk without a signal


@pytest.mark.parametrize(("rate", "batch", "momentum"), [(0.1, 8, 0.0), (0.1, 16, 0.0), (0.02, 8, 0.8)])
def test_noise_alone_grows_as_rate_over_batch_squared(rate, batch, momentum):
    table = sgd_without_signal(1, rate=rate, batch=batch, momentum=momentum, images=320, epochs=8)
    assert len(table) == 9
    # 320 images are 320 / batch steps, each of the variance rate^2 / batch.
    assert table["expected"].iloc[-1] == pytest.approx(1 + 8 * 320 * (rate / batch / (1 - momentum)) ** 2)
    assert table["variance"].to_numpy() == pytest.approx(table["expected"].to_numpy(), rel=0.06)


def test_a_walk_is_the_same_for_the_same_seed():
    a, b, c = (sgd_without_signal(seed, rate=0.1, batch=32, epochs=1, images=64) for seed in (3, 3, 4))
    assert a.equals(b)
    assert not a.equals(c)


def test_a_batch_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="images must be at least batch = 64; got 32"):
        sgd_without_signal(0, rate=0.1, batch=64, images=32)
    with pytest.raises(ValueError, match="batch must be an integer of at least 1; got 0"):
        sgd_without_signal(0, rate=0.1, batch=0)


def test_levels_drift_apart_as_the_equation_of_the_chapter_says():
    rng = np.random.default_rng(7)
    n, m, small = 6, 3, 1e-3
    U, V = (np.linalg.qr(rng.standard_normal((side, m)))[0] for side in (n, m))
    nu = np.array([3.0, 2.0, 1.2])
    kicks = np.sqrt(small) * rng.standard_normal((50_000, n, m))
    kicks = np.concatenate([kicks, -kicks])  # what is odd in them cancels
    moved = np.linalg.svd((U * nu) @ V.T + kicks, compute_uv=False).mean(0) - nu
    others = np.array([sum(1 / (a - b) + 1 / (a + b) for b in nu if b != a) for a in nu])
    assert moved / small == pytest.approx(((n - m) / nu + others) / 2, abs=0.05)


# Histories


def test_growth_is_read_by_the_clock_of_squared_rates(tmp_path):
    table = growth(made_up(tmp_path, epochs=3))
    assert table["growth"].iloc[0] == table["clock"].iloc[0] == 0
    assert table["clock"].iloc[2] == pytest.approx(0.95**2 + 0.95**4)
    assert table["growth"].iloc[1] == pytest.approx(512 * 1e4 * (0.001 * 0.95 / 32) ** 2, rel=0.2)


def test_a_run_without_variances_is_refused(tmp_path):
    with pytest.raises(RunError, match="run 'made-up' has no bulk_variance.dense3 in its history"):
        growth(made_up(tmp_path), "dense3")


def test_a_walk_of_constant_noise_has_one_speed_and_one_that_hurries_has_not(tmp_path):
    steady = growth(made_up(tmp_path, learned=30))
    table = speeds(steady)
    assert table["epochs"].to_dict() == {"first half": 15, "second half": 15, "learned": 9}
    assert table["speed"].to_numpy() == pytest.approx(table["speed"].iloc[0], rel=0.05)
    assert speed_outcome(steady).verdict == "compatible"
    hurried = speed_outcome(growth(made_up(tmp_path, learned=30, speed_up=2)))
    assert hurried.verdict == "not reproduced"
    assert hurried.numbers["ratio"] == pytest.approx(2, rel=0.05)


def test_epochs_after_learning_may_be_missing(tmp_path):
    assert speeds(growth(made_up(tmp_path))).index.tolist() == ["first half", "second half"]


@pytest.mark.parametrize(
    ("exponents", "verdict"), [((2, -2), "reproduced"), ((1, -2), "not reproduced"), ((2, -1), "not reproduced")]
)
def test_exponents_are_found_from_nine_runs(tmp_path, exponents, verdict):
    places = [(rate, batch) for rate in (0.001, 0.002, 0.004) for batch in (16, 32, 64)]
    runs = [made_up(tmp_path, exponents=exponents, rate=rate, batch=batch) for rate, batch in places]
    outcome = grid_outcome(runs)
    assert outcome.verdict == verdict
    assert (outcome.numbers["rate"], outcome.numbers["batch"]) == pytest.approx(exponents, abs=0.2)
    missing = grid_outcome(runs[1:])
    assert isinstance(missing, Untested)
    assert missing.command == "rmtlib sweep sweeps/book.yaml"


def test_runs_of_the_grid_are_found_in_a_folder(tmp_path, monkeypatch):
    asked = {}

    def find(**settings):
        asked.update(settings)
        return [made_up(tmp_path, rate=rate, batch=batch) for rate, batch in ((0.001, 16), (0.004, 64), (0.004, 8), (0.003, 16))]

    monkeypatch.setattr(noise_growth, "find_runs", find)
    assert len(noise_growth.grid(tmp_path)) == 2
    assert asked["epochs"] == 10
    assert asked["bulk_variance"] is True


def test_without_runs_the_grid_is_empty(tmp_path):
    assert noise_growth.grid(tmp_path) == []


def test_growth_at_two_rates_is_that_of_bulk_and_update(monkeypatch):
    rng = np.random.default_rng(1)
    W0, update = rng.standard_normal((2, 200, 150))
    layers = {"slow": W0 + 0.5 * update, "fast": W0 + update}
    monkeypatch.setattr(noise_growth, "initial", lambda run, layer: W0)
    monkeypatch.setattr(noise_growth.rmtlib, "load_weights", lambda run: {"dense2": type("Layer", (), {"matrix": layers[run]})})
    table = noise_growth.final_growth({"a": {"rich": "slow"}, "b": {"rich": "fast"}})
    assert table.loc["rich", "a"] == pytest.approx(25, abs=6)
    assert table.loc["rich", "b"] == pytest.approx(100, abs=12)
    assert table.loc["rich", "of updates"] == pytest.approx(4)
