"""The growth of the bulk: of a random walk, and read from the histories of trainings."""

import numpy as np
import pytest

import rmtlib
from rmtlib.claims import Untested
from rmtlib.notebooks.sweep import read_grid
from rmtlib.runs import Run, RunError
from studies import noise_growth
from studies.noise_growth import grid_outcome, growth, growth_without_signal, sgd_without_signal, speed_ratios, speeds

INITIAL = np.random.default_rng(5).standard_normal((80, 60)) / np.sqrt(512)
FITTED = rmtlib.fit_marchenko_pastur(rmtlib.spectrum(INITIAL, vectors=False).nu, INITIAL.shape).sigma ** 2


def made_up(tmp_path, *, exponents=(2, -2), rate=0.001, batch=32, epochs=40, learned=40, speed_up=1.0):
    """A run whose bulk grows by the squared rates, from the middle of learning on ``speed_up`` times as fast."""
    epoch = np.arange(1, epochs + 1)
    rates = rate * 0.95 ** (epoch - 1)
    steps = 1e4 * rates ** exponents[0] * float(batch) ** exponents[1]
    noise = 1 + 0.05 * np.random.default_rng(0).standard_normal(epochs)
    steps = steps * noise * np.where(epoch > learned // 2 + 1, speed_up, 1)
    history = {"epoch": epoch, "learning_rate": rates, "train_accuracy": np.where(epoch > learned, 1.0, 0.5)}
    history["bulk_variance.dense2"] = FITTED + np.cumsum(steps)
    config = {"network": "mlp512", "dataset": "cifar10", "seed": 0, "learning_rate": rate, "batch_size": batch}
    return Run("made-up", tmp_path, config, 1.0, 0.5, history)


@pytest.fixture(autouse=True)
def _initial_entries(monkeypatch):
    monkeypatch.setattr(noise_growth, "initial", lambda run, layer: INITIAL)


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
    assert table["growth"].iloc[1] == pytest.approx(1e4 * (0.001 * 0.95 / 32) ** 2 / INITIAL.var(), rel=0.2)


def test_a_run_without_variances_is_refused(tmp_path):
    with pytest.raises(RunError, match="run 'made-up' has no bulk_variance.dense3 in its history"):
        growth(made_up(tmp_path), "dense3")


def test_a_walk_of_constant_noise_has_one_speed_and_one_that_hurries_has_not(tmp_path):
    steady = growth(made_up(tmp_path, learned=30))
    table = speeds(steady)
    assert table["epochs"].to_dict() == {"first half": 15, "second half": 15, "learned": 9}
    assert table["speed"].to_numpy() == pytest.approx(table["speed"].iloc[0], rel=0.05)
    hurried = growth(made_up(tmp_path, learned=30, speed_up=2))
    found = speed_ratios({"steady": [steady] * 3, "hurried": [hurried, hurried, steady]})
    assert found.loc["steady", "second over first"] == pytest.approx(1, rel=0.05)
    assert found.loc["steady", "error"] == pytest.approx(0, abs=1e-12)
    assert found.loc["hurried", "second over first"] == pytest.approx(5 / 3, rel=0.05)
    assert found.loc["hurried", "error"] == pytest.approx(1 / 3, rel=0.05)  # of 2, 2 and 1
    assert found.loc["hurried", "learned over first"] == pytest.approx(5 / 3, rel=0.1)


def test_epochs_after_learning_may_be_missing(tmp_path):
    assert speeds(growth(made_up(tmp_path))).index.tolist() == ["first half", "second half"]


@pytest.mark.parametrize(
    ("exponents", "verdict"),
    [((2, -2), "reproduced"), ((1, -1), "not reproduced"), ((2.5, -2.5), "not reproduced"), ((2.5, -1.5), "inconclusive")],
)
def test_exponents_are_found_from_nine_runs(tmp_path, exponents, verdict):
    places = [(rate, batch) for rate in (0.001, 0.002, 0.004) for batch in (16, 32, 64)]
    runs = [made_up(tmp_path, exponents=exponents, rate=rate, batch=batch) for rate, batch in places]
    outcome = grid_outcome(runs)
    assert outcome.verdict == verdict
    rate, batch = exponents
    power = (rate - batch) / 2  # rates and batches are spread alike
    assert outcome.numbers["says"].startswith(f"the growth has the power {power:.2f} (")
    assert outcome.numbers["says"].endswith(f"the rate has the power {rate:+.2f}, the batch {batch:+.2f}")
    missing = grid_outcome(runs[1:])
    assert isinstance(missing, Untested)
    assert missing.command == "rmtlib sweep sweeps/rate_batch.yaml"


def test_a_bulk_that_has_not_grown_decides_nothing(tmp_path):
    runs = [made_up(tmp_path, rate=rate, batch=batch) for rate in (0.001, 0.002, 0.004) for batch in (16, 32, 64)]
    runs[4].history["bulk_variance.dense2"][-1] = 0.9 * FITTED
    assert grid_outcome(runs).verdict == "inconclusive"


def test_the_short_sweep_trains_nine_of_the_runs_of_the_book():
    nine, book = (list(read_grid(f"sweeps/{name}.yaml").runs.values()) for name in ("rate_batch", "book"))
    assert len(nine) == 9
    assert all(run in book for run in nine)
    wanted = noise_growth.GRID
    assert all({key: run[key] for key in wanted} == wanted for run in nine)


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


def test_growth_without_a_signal_is_the_expected_one_within_its_error():
    settings = [(0.1, 8, 0.0), (0.05, 16, 0.0)]
    table = growth_without_signal(settings, draws=6, rng=1)
    walks = [sgd_without_signal([1, 1, draw], rate=0.05, batch=16)["variance"] for draw in range(6)]
    grown = [100 * (walk.iloc[-1] - walk.iloc[0]) for walk in walks]
    assert table.loc[settings[1], "found"] == pytest.approx(np.mean(grown))
    assert table.loc[settings[1], "error"] == pytest.approx(np.std(grown, ddof=1) / np.sqrt(6))
    assert table["expected"].tolist() == pytest.approx([150, 9.375])
    assert table["off"].tolist() == pytest.approx(100 * (table["found"] / table["expected"] - 1))
    assert table["off"].abs().max() < 6


def test_growth_at_two_rates_is_that_of_bulk_and_update_over_common_seeds(monkeypatch, tmp_path):
    rng = np.random.default_rng(1)
    W0, *updates = rng.standard_normal((4, 200, 150))
    layers = {f"{rate} {seed}": W0 + size * updates[seed] for seed in range(3) for rate, size in (("slow", 0.5), ("fast", 1.0))}
    runs = {name: Run(name, tmp_path, {"seed": int(name[-1])}, 1.0, 0.5, {}) for name in layers}
    monkeypatch.setattr(noise_growth, "initial", lambda run, layer: W0)
    monkeypatch.setattr(
        noise_growth.rmtlib, "load_weights", lambda run: {"dense2": type("Layer", (), {"matrix": layers[run.name]})}
    )
    slow, fast = ({"rich": [runs[f"{rate} {seed}"] for seed in range(3)]} for rate in ("slow", "fast"))
    table = noise_growth.final_growth(slow, {"rich": fast["rich"][:2]})
    assert table.loc["rich", "slow"] == pytest.approx(25, abs=6)
    assert table.loc["rich", "fast"] == pytest.approx(100, abs=12)
    assert table.loc["rich", ["ratio", "of updates"]].tolist() == pytest.approx([4, 4], rel=0.2)
    assert table.loc["rich", "update error"] == pytest.approx(0, abs=1e-9)
    one = noise_growth.final_growth(slow, {"rich": fast["rich"]})
    assert one.loc["rich", "slow"] != table.loc["rich", "slow"]
    with pytest.raises(ValueError, match="must have two seeds in common; of rich they have 1"):
        noise_growth.final_growth(slow, {"rich": fast["rich"][:1]})
