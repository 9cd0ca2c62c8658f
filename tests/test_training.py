from __future__ import annotations

import errno
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from rmtlib import runs
from rmtlib.ensembles import glorot_uniform
from rmtlib.learning import training
from rmtlib.learning.architectures import build_network, initialize
from rmtlib.learning.datasets import load_dataset
from rmtlib.learning.training import ConfigError, DivergedError, TrainingConfig, accuracy, noisy_labels, train
from rmtlib.runs import RunError, load_run

RESULTS = ("history.csv", "weights.safetensors")
LAYERS = ("dense1", "dense2", "dense3", "dense4")
# Few steps: three batches an epoch.
QUICK = TrainingConfig(epochs=3, batch_size=480, learning_rate=0.01, weight_decay=0.1)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """The quick run, uninterrupted."""
    return train(QUICK, folder=tmp_path_factory.mktemp("uninterrupted"), progress=False)


def results(run):
    return {file: (run.path / file).read_bytes() for file in RESULTS}


def weights(run, when):
    tensors = load_file(run.weights_file)
    return {key.removeprefix(f"{when}."): tensor for key, tensor in tensors.items() if key.startswith(f"{when}.")}


def step(run, layer="dense2"):
    """Change of one layer's weights."""
    tensors = load_file(run.weights_file)
    return tensors[f"trained.{layer}.weight"] - tensors[f"initial.{layer}.weight"]


# What is learned: an implementation of its own, in float64 and without automatic differentiation


def forward(tensors, x):
    activations = [x]
    for layer in LAYERS:
        z = activations[-1] @ tensors[f"{layer}.weight"].T + tensors[f"{layer}.bias"]
        activations.append(z if layer == LAYERS[-1] else np.maximum(z, 0))
    return activations


def cost(tensors, x, labels, laziness):
    """Equation 3 of the paper."""
    logits = laziness * forward(tensors, x)[-1]
    logarithm = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -logarithm[np.arange(len(labels)), labels].mean() / laziness**2


def cost_gradient(tensors, x, labels, laziness):
    activations = forward(tensors, x)
    softmax = np.exp(laziness * activations[-1])
    softmax /= softmax.sum(axis=1, keepdims=True)
    delta = (softmax - np.eye(10)[labels]) / (len(labels) * laziness)
    gradient = {}
    for layer, below in zip(LAYERS[::-1], activations[-2::-1], strict=True):
        gradient[f"{layer}.weight"], gradient[f"{layer}.bias"] = delta.T @ below, delta.sum(axis=0)
        delta = (delta @ tensors[f"{layer}.weight"]) * (below > 0)
    return gradient


def initial_weights(seed):
    network = build_network("mlp512", shape=(1, 8, 8), n_classes=10)
    initialize(network, seed)
    return {key: tensor.numpy().astype(np.float64) for key, tensor in network.state_dict().items()}


def numpy_training(config):
    data = load_dataset("digits")
    tensors, velocity = initial_weights(config.seed), {}
    losses = []
    for epoch in range(config.epochs):
        rate = config.learning_rate * config.learning_rate_decay**epoch
        order = np.random.default_rng([config.seed, epoch]).permutation(len(data.train_labels))
        total = 0
        for start in range(0, len(order), config.batch_size):
            batch = order[start : start + config.batch_size]
            x, labels = data.train_images[batch].astype(np.float64), data.train_labels[batch]
            total += len(batch) * cost(tensors, x, labels, config.laziness)
            for key, g in cost_gradient(tensors, x, labels, config.laziness).items():
                if key.endswith("weight"):
                    g = g + config.weight_decay * tensors[key]
                velocity[key] = config.momentum * velocity.get(key, 0) + g
                tensors[key] = tensors[key] - rate * velocity[key]
        losses.append(total / len(order))
    return tensors, losses


def test_the_gradient_of_the_reference_is_that_of_equation_3():
    data, tensors = load_dataset("digits"), initial_weights(1)
    x, labels = data.train_images[:3].astype(np.float64), data.train_labels[:3]
    rng = np.random.default_rng(0)
    for laziness in (0.5, 5.0):
        gradient = cost_gradient(tensors, x, labels, laziness)
        for key in tensors:
            direction = rng.standard_normal(tensors[key].shape)
            plus, minus = ({**tensors, key: tensors[key] + sign * 1e-6 * direction} for sign in (1, -1))
            slope = (cost(plus, x, labels, laziness) - cost(minus, x, labels, laziness)) / 2e-6
            assert np.sum(gradient[key] * direction) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("laziness", [0.5, 1.0, 5.0])
def test_training_equals_a_direct_computation_of_equation_3_with_momentum_and_decay(laziness, tmp_path):
    config = replace(QUICK, laziness=laziness, epochs=2, seed=4, learning_rate_decay=0.5)
    run = train(config, folder=tmp_path, progress=False)
    expected, losses = numpy_training(config)
    before, after = weights(run, "initial"), weights(run, "trained")
    for key, start in initial_weights(config.seed).items():
        np.testing.assert_array_equal(before[key], start)
        change = expected[key] - start
        assert np.abs(change).max() > 1e-4
        np.testing.assert_allclose(after[key] - before[key].astype(np.float64), change, atol=2e-3 * np.abs(change).max())
    np.testing.assert_allclose(run.history["train_loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(run.history["learning_rate"], [0.01, 0.005], rtol=1e-14)


def test_accuracies_are_those_of_the_saved_weights(quick):
    data, tensors = load_dataset("digits"), weights(quick, "trained")
    for images, labels, reported in (
        (data.train_images, data.train_labels, quick.train_accuracy),
        (data.test_images, data.test_labels, quick.test_accuracy),
    ):
        assert np.mean(forward(tensors, images)[-1].argmax(axis=1) == labels) == pytest.approx(reported, abs=0.0021)
    assert quick.history["test_accuracy"][-1] == quick.test_accuracy


def test_two_epochs_learn_most_digits(tmp_path):
    run = train(TrainingConfig(epochs=2, batch_size=64, learning_rate=0.01), folder=tmp_path, progress=False)
    assert run.train_accuracy > 0.9
    assert run.test_accuracy > 0.85


# Laziness


@pytest.fixture(scope="module")
def one_step(tmp_path_factory):
    """Runs of one step over all images, by laziness."""
    folder = tmp_path_factory.mktemp("one-step")
    config = TrainingConfig(epochs=1, batch_size=1437, learning_rate=0.001)
    return {alpha: train(replace(config, laziness=alpha), folder=folder, progress=False) for alpha in (0.01, 0.02, 0.5, 5.0)}


def test_the_first_step_of_the_weights_is_inverse_to_a_small_laziness(one_step):
    # softmax(alpha z) is uniform for small alpha, so that nothing but the factor 1 / alpha is left.
    np.testing.assert_allclose(step(one_step[0.01]), 2 * step(one_step[0.02]), atol=0.02 * np.abs(step(one_step[0.01])).max())


def test_a_lazy_network_moves_its_weights_about_alpha_times_less(one_step):
    ratio = np.linalg.norm(step(one_step[0.5])) / np.linalg.norm(step(one_step[5.0]))
    assert 10 / 2 < ratio < 10 * 2


def test_the_logits_move_at_a_rate_that_does_not_depend_on_a_small_laziness(one_step):
    images = load_dataset("digits").test_images.astype(np.float64)
    moves = []
    for alpha in (0.01, 0.02):
        run = one_step[alpha]
        before, after = (forward(weights(run, when), images)[-1] for when in ("initial", "trained"))
        moves.append(alpha * (after - before))
    np.testing.assert_allclose(*moves, atol=0.1 * np.abs(moves[0]).max())


def test_all_laziness_values_start_from_the_same_weights(one_step):
    first, *others = (weights(run, "initial") for run in one_step.values())
    for other in others:
        for key in first:
            np.testing.assert_array_equal(first[key], other[key])


# Initial weights


@pytest.mark.parametrize("name", ["mlp512", "mlp1024"])
def test_initial_weights_are_glorot_uniform_with_zero_biases(name):
    network = build_network(name, shape=(3, 32, 32), n_classes=10)
    initialize(network, 5)
    layers = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    widths = [3072, *((512, 512, 512) if name == "mlp512" else (1024, 512, 512)), 10]
    assert [(layer.in_features, layer.out_features) for layer in layers] == list(zip(widths, widths[1:], strict=False))
    for i, layer in enumerate(layers, start=1):
        W = layer.weight.detach().numpy()
        variance = 2 / (layer.in_features + layer.out_features)
        # The fourth moment of a uniform law is 9/5 of its squared variance.
        assert W.var() == pytest.approx(variance, rel=4 * np.sqrt(0.8 / W.size))
        assert abs(W.mean()) < 4 * np.sqrt(variance / W.size)
        assert np.abs(W).max() <= np.float32(np.sqrt(3 * variance))
        assert np.abs(W).max() > 0.99 * np.sqrt(3 * variance)
        np.testing.assert_array_equal(W, glorot_uniform(W.shape, [5, i]))
        assert not layer.bias.any()


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match="network must be one of mlp512, mlp1024.*; got 'mlp'"):
        build_network("mlp", shape=(1, 8, 8), n_classes=10)


def test_the_seed_decides_everything(quick, tmp_path):
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    assert results(train(QUICK, folder=tmp_path / "again", progress=False)) == results(quick)
    other = train(replace(QUICK, seed=1), folder=tmp_path, progress=False)
    for key, tensor in weights(other, "initial").items():
        assert np.array_equal(tensor, weights(quick, "initial")[key]) == key.endswith("bias")
    assert other.history["train_loss"][0] != quick.history["train_loss"][0]


# Interrupted, resumed, finished

# Trains in forked processes that kill themselves by SIGKILL at a chosen call, then goes on where they stopped. One
# process imports torch once; with one thread no thread pool exists that a fork could lose.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from rmtlib import files
from rmtlib.learning import datasets
from rmtlib.learning.training import TrainingConfig, train

torch.set_num_threads(1)
data = datasets.load_dataset("digits")
sys.modules[train.__module__].load_dataset = lambda *args, **options: data
config, folder, scenarios = TrainingConfig(**json.loads(sys.argv[1])), Path(sys.argv[2]), json.loads(sys.argv[3])

def killed_at(owner, name, count, *, after=False, halve=False):
    original, calls = getattr(owner, name), []
    def wrapper(*args, **options):
        calls.append(args)
        if len(calls) < count:
            return original(*args, **options)
        if halve:
            os.truncate(args[0], os.fstat(args[0]).st_size // 2)
        if after:
            original(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, wrapper)

def victim(name, prepare, wait=None):
    pid = os.fork()
    if pid == 0:
        prepare()
        train(config, folder=folder, name=name, progress=False)
        os._exit(0)
    if wait is not None:
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def outcome(name, codes):
    path = folder / name
    before = sorted(file.name.split(".part")[0] for file in path.iterdir()) if path.exists() else []
    train(config, folder=folder, name=name, progress=False)
    names = sorted(file.name for file in path.iterdir())
    return {"codes": codes, "before": before, "files": names, "sha256": {f: files.file_sha256(path / f) for f in names}}

# First a whole run: what torch imports at its first step need not be imported in every fork.
train(config, folder=folder, name="warm", progress=False)
start = time.perf_counter()
train(config, folder=folder, name="timed", progress=False)
duration, moments = time.perf_counter() - start, random.Random(1)
owners = {"fsync": os, "replace": os, "step": torch.optim.SGD}
report = {}
for scenario in scenarios:
    call, count, how = scenario
    name = "-".join(map(str, scenario))
    code = victim(name, lambda: killed_at(owners[call], call, count, **{how: True} if how != "before" else {}))
    report[name] = outcome(name, [code])
report["often"] = outcome("often", [victim("often", lambda: None, moments.random() * duration) for _ in range(5)])
print(json.dumps(report))
"""
# Calls of fsync and replace, in order: a checkpoint after each of three epochs, weights, history, run.json.
SCENARIOS = [
    ("step", 2, "before"),
    ("fsync", 1, "halve"),
    ("replace", 1, "after"),
    ("step", 5, "after"),
    ("fsync", 2, "halve"),
    ("replace", 2, "before"),
    ("replace", 3, "after"),
    ("fsync", 4, "halve"),
    ("replace", 4, "after"),
    ("fsync", 5, "halve"),
    ("replace", 5, "after"),
    ("fsync", 6, "halve"),
    ("replace", 6, "after"),
]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    arguments = [json.dumps(asdict(QUICK)), str(tmp_path_factory.mktemp("killed")), json.dumps(SCENARIOS)]
    process = subprocess.run([sys.executable, "-c", KILLER, *arguments], capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.parametrize("scenario", ["-".join(map(str, scenario)) for scenario in SCENARIOS] + ["often"])
def test_a_run_resumed_after_sigkill_equals_an_uninterrupted_one_bit_by_bit(scenario, killed, quick):
    outcome = killed[scenario]
    assert -9 in outcome["codes"]
    if scenario not in ("often", "replace-6-after"):
        assert "run.json" not in outcome["before"]
    assert outcome["files"] == ["history.csv", "run.json", "weights.safetensors"]
    recorded = json.loads((quick.path / "run.json").read_text())["sha256"]
    assert {file: outcome["sha256"][file] for file in RESULTS} == recorded


def test_sigkill_leaves_the_files_that_the_moment_has_reached(killed):
    assert killed["step-2-before"]["before"] == []
    assert killed["replace-1-after"]["before"] == ["checkpoint.safetensors"]
    (half,) = killed["fsync-1-halve"]["before"]
    assert half.startswith("checkpoint.safetensors.")
    results = ["checkpoint.safetensors", "history.csv", "weights.safetensors"]
    assert killed["replace-5-after"]["before"] == results
    assert killed["replace-6-after"]["before"] == sorted([*results, "run.json"])


class _Stop(Exception):
    pass


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """The quick run, stopped in its third epoch: a folder with a checkpoint of the second."""
    calls = []

    def stop_in_third_epoch(*args):
        calls.append(args)
        if len(calls) == 3:
            raise _Stop
        return accuracy(*args)

    monkeypatch.setattr(training, "accuracy", stop_in_third_epoch)
    with pytest.raises(_Stop):
        train(QUICK, folder=tmp_path, progress=False)
    monkeypatch.undo()
    return tmp_path / QUICK.name


def test_an_interrupted_run_is_no_result(stopped):
    assert [file.name for file in stopped.iterdir()] == ["checkpoint.safetensors"]
    with pytest.raises(RunError, match="incomplete: run.json, .* missing; train it again to finish it"):
        load_run(stopped.name, folder=stopped.parent)


def test_a_resumed_run_trains_only_the_epochs_that_are_left(stopped, monkeypatch, quick):
    steps = []
    original = torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda *args: steps.append(0) or original(*args))
    run = train(QUICK, folder=stopped.parent, progress=False)
    assert len(steps) == 3
    assert results(run) == results(quick)


def test_every_epoch_is_seen_once_with_the_weights_it_leaves(quick, tmp_path):
    seen = {}

    def watch(epoch, network):
        assert epoch not in seen
        seen[epoch] = network.dense2.weight.detach().numpy().copy()

    run = train(QUICK, folder=tmp_path, on_epoch=watch, progress=False)
    assert sorted(seen) == list(range(QUICK.epochs + 1))
    np.testing.assert_array_equal(seen[0], weights(run, "initial")["dense2.weight"])
    np.testing.assert_array_equal(seen[QUICK.epochs], weights(run, "trained")["dense2.weight"])
    assert results(run) == results(quick)


def test_a_watched_run_that_is_stopped_misses_no_epoch(tmp_path):
    seen = []

    def watch(epoch, network):
        seen.append(epoch)
        if seen == [0, 1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(QUICK, folder=tmp_path, on_epoch=watch, progress=False)
    train(QUICK, folder=tmp_path, on_epoch=watch, progress=False)
    assert seen == [0, 1, 2, 2, 3]


def test_a_run_without_momentum_resumes(tmp_path, monkeypatch):
    config = replace(QUICK, momentum=0.0, epochs=2)
    whole = train(config, folder=tmp_path, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", lambda *args: (_ for _ in ()).throw(_Stop))
        with pytest.raises(_Stop):
            train(config, folder=tmp_path, name="stopped", progress=False)
    assert results(train(config, folder=tmp_path, name="stopped", progress=False)) == results(whole)


def test_a_finished_run_is_returned_and_not_trained_again(quick, monkeypatch):
    monkeypatch.setattr(training, "load_dataset", lambda *args, **options: pytest.fail("trained again"))
    run = train(QUICK, folder=quick.path.parent, progress=False)
    assert (run.path, run.config, run.test_accuracy) == (quick.path, asdict(QUICK), quick.test_accuracy)


def test_a_finished_run_records_its_configuration_versions_and_hashes(quick):
    record = json.loads((quick.path / "run.json").read_text())
    assert record["status"] == "completed"
    assert TrainingConfig(**record["config"]) == QUICK
    assert record["versions"]["torch"] == torch.__version__
    assert record["threads"] == 1
    assert record["processor"] == runs.processor()
    assert record["system"].startswith(platform.system())
    assert record["commit"] == runs.commit()
    assert set(record["sha256"]) == set(RESULTS)


def test_an_altered_finished_run_is_not_returned(quick, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in (*RESULTS, "run.json"):
        (folder / file).write_bytes((quick.path / file).read_bytes())
    with open(folder / "weights.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    with pytest.raises(RunError, match="weights.safetensors differs from the file that the run wrote"):
        train(QUICK, folder=tmp_path, name="copy", progress=False)


def test_another_configuration_in_a_finished_folder_is_refused_with_what_differs(quick):
    other = replace(QUICK, batch_size=64, weight_decay=0.2)
    message = r"batch_size is 480 there and 64 here; weight_decay is 0\.1 there and 0\.2 here\); give the run another name"
    with pytest.raises(ConfigError, match=message):
        train(other, folder=quick.path.parent, name=quick.name, progress=False)


def test_another_configuration_in_an_interrupted_folder_is_refused_with_what_differs(stopped):
    before = (stopped / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ConfigError, match=r"\(epochs is 3 there and 4 here\); give the run another name"):
        train(replace(QUICK, epochs=4), folder=stopped.parent, name=stopped.name, progress=False)
    assert (stopped / "checkpoint.safetensors").read_bytes() == before


def test_a_file_that_is_no_checkpoint_is_refused(stopped):
    (stopped / "checkpoint.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RunError, match=r"checkpoint.safetensors is not a checkpoint \(.*\); delete it to train from the start"):
        train(QUICK, folder=stopped.parent, progress=False)


@pytest.mark.parametrize("name", ["a/b", "../a", "..", ".", "/a"])
def test_a_name_that_is_a_path_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match="name must be the plain name of a folder in"):
        train(QUICK, folder=tmp_path, name=name, progress=False)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_costs_no_more_than_the_epoch_in_flight(call, tmp_path, monkeypatch, quick):
    original, calls = getattr(os, call), []

    def full_at_third_call(*args):
        calls.append(args)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full_at_third_call)
        with pytest.raises(OSError, match="No space left on device"):
            train(QUICK, folder=tmp_path, progress=False)
    path = tmp_path / QUICK.name
    assert [file.name for file in path.iterdir()] == ["checkpoint.safetensors"]
    with training.safe_open(path / "checkpoint.safetensors", framework="np") as checkpoint:
        assert len(json.loads(checkpoint.metadata()["history"])) == 2
    assert results(train(QUICK, folder=tmp_path, progress=False)) == results(quick)


# Label noise


def test_a_share_of_the_labels_becomes_uniform_and_the_rest_stays():
    labels = np.repeat(np.arange(10), 2000)
    noisy = noisy_labels(labels, 0.4, 3)
    assert noisy.dtype == labels.dtype
    # 8000 labels are replaced; nine in ten of them become wrong, with standard deviation 27
    changed = noisy != labels
    assert np.count_nonzero(changed) == pytest.approx(7200, abs=110)
    # each class gets 8000 / 10 new labels and keeps 2000 * 0.6 of its own
    np.testing.assert_allclose(np.bincount(noisy[changed], minlength=10), 720, atol=110)
    np.testing.assert_allclose(np.bincount(labels[changed], minlength=10), 720, atol=110)
    np.testing.assert_array_equal(noisy, noisy_labels(labels, 0.4, 3))
    assert np.any(noisy != noisy_labels(labels, 0.4, 4))


def test_no_label_noise_changes_no_label_and_no_noise_changes_its_input():
    labels = np.arange(10)
    noisy = noisy_labels(labels, 0.0, 0)
    np.testing.assert_array_equal(noisy, labels)
    assert not np.shares_memory(noisy, labels)
    noisy_labels(labels, 0.9, 0)
    np.testing.assert_array_equal(labels, np.arange(10))


@pytest.mark.parametrize("share", [-0.1, 1, float("nan")])
def test_a_share_of_noisy_labels_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="share must be a number from 0 to below 1; got"):
        noisy_labels(np.arange(10), share, 0)


def test_training_on_label_noise_is_training_on_the_noisy_labels(tmp_path, monkeypatch):
    config = replace(QUICK, label_noise=0.4, epochs=2, seed=3)
    run = train(config, folder=tmp_path, progress=False)
    data = load_dataset("digits")
    labels = noisy_labels(data.train_labels, 0.4, [3, 0, 1])
    assert 0.3 < np.mean(labels != data.train_labels) < 0.42
    monkeypatch.setattr(training, "load_dataset", lambda *args, **options: replace(data, train_labels=labels))
    same = train(replace(config, label_noise=0.0), folder=tmp_path, name="by-hand", progress=False)
    assert results(same) == results(run)
    assert same.train_accuracy == run.train_accuracy
    # Tests have the right labels.
    tensors = weights(run, "trained")
    found = np.mean(forward(tensors, data.test_images)[-1].argmax(axis=1) == data.test_labels)
    assert found == pytest.approx(run.test_accuracy, abs=0.0028)


def test_a_run_with_label_noise_resumes_on_the_same_labels(tmp_path, monkeypatch):
    config = replace(QUICK, label_noise=0.4, epochs=2)
    whole = train(config, folder=tmp_path, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", lambda *args: (_ for _ in ()).throw(_Stop))
        with pytest.raises(_Stop):
            train(config, folder=tmp_path, name="stopped", progress=False)
    assert results(train(config, folder=tmp_path, name="stopped", progress=False)) == results(whole)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({}, ""),
        ({"epochs": 60, "learning_rate": 0.004}, "-epochs60-rate0.004"),
        ({"batch_size": 64, "momentum": 0}, "-batch64-momentum0"),
        ({"learning_rate_decay": 0.6, "weight_decay": 2e-4}, "-decay0.6-l2_0.0002"),
        ({"standardization": "channel"}, "-per_channel"),
        ({"label_noise": 0.4}, "-noise0.4"),
        ({"decay_every": 10, "centred": True}, "-every10-centred"),
        # What is recorded changes nothing.
        ({"bulk_variance": True}, ""),
    ],
)
def test_the_name_tells_every_difference_from_the_recipe(setting, told):
    assert TrainingConfig(**setting).name == f"mlp512-digits-alpha1-seed0{told}"


ADDED = ("label_noise", "decay_every", "centred", "bulk_variance")


def without_added_settings(config):
    return {key: value for key, value in config.items() if key not in ADDED}


def test_a_finished_run_from_before_a_setting_counts_as_one_without(quick, tmp_path, monkeypatch):
    shutil.copytree(quick.path, tmp_path / quick.name)
    record = json.loads((quick.path / "run.json").read_text())
    record["config"] = without_added_settings(record["config"])
    (tmp_path / quick.name / "run.json").write_text(json.dumps(record))
    monkeypatch.setattr(training, "load_dataset", lambda *args, **options: pytest.fail("trained again"))
    assert train(QUICK, folder=tmp_path, progress=False).config == asdict(QUICK)
    with pytest.raises(ConfigError, match=r"label_noise is 0\.0 there and 0\.4 here"):
        train(replace(QUICK, label_noise=0.4), folder=tmp_path, name=quick.name, progress=False)
    with pytest.raises(ConfigError, match="centred is False there and True here"):
        train(replace(QUICK, centred=True), folder=tmp_path, name=quick.name, progress=False)


def test_a_checkpoint_from_before_a_setting_goes_on(stopped, quick):
    path = stopped / "checkpoint.safetensors"
    with training.safe_open(path, framework="np") as checkpoint:
        metadata = checkpoint.metadata()
        tensors = {key: checkpoint.get_tensor(key) for key in checkpoint.keys()}  # noqa: SIM118
    metadata["config"] = json.dumps(without_added_settings(json.loads(metadata["config"])))
    save_file(tensors, path, metadata=metadata)
    assert results(train(QUICK, folder=stopped.parent, progress=False)) == results(quick)


# Readings of the recipe


def test_a_staircase_keeps_the_rate_between_its_steps(tmp_path):
    run = train(replace(QUICK, epochs=5, learning_rate_decay=0.5, decay_every=2), folder=tmp_path, progress=False)
    np.testing.assert_allclose(run.history["learning_rate"], [0.01, 0.01, 0.005, 0.005, 0.0025])


def test_centred_logits_train_as_a_direct_computation_does(tmp_path):
    config = replace(QUICK, epochs=2, centred=True, laziness=2.0)
    data, rng = load_dataset("digits"), np.random.default_rng
    run = train(config, folder=tmp_path, progress=False)
    start = initial_weights(0)
    tensors, velocity = dict(start), {}
    for epoch in range(config.epochs):
        order = rng([0, epoch]).permutation(len(data.train_labels))
        for first in range(0, len(order), config.batch_size):
            batch = order[first : first + config.batch_size]
            x, labels = data.train_images[batch].astype(np.float64), data.train_labels[batch]
            # The gradient at shifted logits: that of a network whose last bias is shifted, image by image.
            activations = forward(tensors, x)
            z = config.laziness * (activations[-1] - forward(start, x)[-1])
            softmax = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
            delta = (softmax - np.eye(10)[labels]) / (len(labels) * config.laziness)
            for layer, below in zip(LAYERS[::-1], activations[-2::-1], strict=True):
                gradient = {f"{layer}.weight": delta.T @ below, f"{layer}.bias": delta.sum(axis=0)}
                delta = (delta @ tensors[f"{layer}.weight"]) * (below > 0)
                for key, g in gradient.items():
                    g = g + config.weight_decay * tensors[key] if key.endswith("weight") else g
                    velocity[key] = config.momentum * velocity.get(key, 0) + g
                    tensors[key] = tensors[key] - config.learning_rate * config.learning_rate_decay**epoch * velocity[key]
    for key, tensor in weights(run, "trained").items():
        np.testing.assert_allclose(tensor, tensors[key], atol=2e-5)
    shifted = forward(tensors, data.test_images.astype(float))[-1] - forward(start, data.test_images.astype(float))[-1]
    assert run.test_accuracy == pytest.approx(np.mean(shifted.argmax(1) == data.test_labels), abs=0.003)


def test_a_centred_run_starts_from_logits_of_zero(tmp_path):
    run = train(replace(QUICK, epochs=1, batch_size=1437, learning_rate=1e-30, centred=True), folder=tmp_path, progress=False)
    assert run.history["train_loss"][0] == pytest.approx(np.log(10), rel=1e-5)


@pytest.mark.parametrize("setting", [{"centred": True}, {"decay_every": 2}, {"bulk_variance": True}])
def test_a_reading_resumes_bit_by_bit_and_another_is_refused(setting, tmp_path, monkeypatch):
    config = replace(QUICK, **setting)
    whole = train(config, folder=tmp_path, name="whole", progress=False)
    calls = []

    def stop(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise _Stop
        return original(*args, **options)

    original = training.train_epoch
    with monkeypatch.context() as patch:
        patch.setattr(training, "train_epoch", stop)
        with pytest.raises(_Stop):
            train(config, folder=tmp_path, name="stopped", progress=False)
    (key,) = setting
    with pytest.raises(ConfigError, match=f"{key} is .* there and .* here"):
        train(QUICK, folder=tmp_path, name="stopped", progress=False)
    assert results(train(config, folder=tmp_path, name="stopped", progress=False)) == results(whole)


def test_the_variance_of_the_bulk_is_that_of_the_weights_after_each_epoch(tmp_path):
    seen = []

    def watch(epoch, network):
        W = network.get_parameter("dense2.weight").detach().numpy().copy()
        seen.append(W)

    run = train(replace(QUICK, epochs=2, bulk_variance=True), folder=tmp_path, on_epoch=watch, progress=False)
    for W, variance in zip(seen[1:], run.history["bulk_variance.dense2"], strict=True):
        nu = np.linalg.svd(W.astype(float), compute_uv=False)
        # The median of the quarter circle law of unit variance is 0.8079 of the root of the side.
        assert np.sqrt(variance) == pytest.approx(np.median(nu) / (np.sqrt(512) * 0.8079), rel=0.02)
    assert set(run.history) >= {f"bulk_variance.dense{i}" for i in (1, 2, 3)}
    assert "bulk_variance.dense4" not in run.history


def test_recording_the_bulk_changes_no_weight(quick, tmp_path):
    run = train(replace(QUICK, bulk_variance=True), folder=tmp_path, progress=False)
    assert results(run)["weights.safetensors"] == results(quick)["weights.safetensors"]


# Divergence


@pytest.mark.parametrize(
    ("config", "loss"),
    [
        (replace(QUICK, learning_rate=1e6), "nan|inf"),
        # One step: the loss before it is finite, the network after it is not.
        (replace(QUICK, epochs=1, batch_size=1437, learning_rate=1e38), r"2\.\d+"),
    ],
)
def test_a_diverging_run_is_marked_and_never_a_result(config, loss, tmp_path):
    with pytest.raises(DivergedError, match=f"{re.escape(config.name)} diverged in epoch 1: its loss is ({loss}),"):
        train(config, folder=tmp_path, progress=False)
    record = json.loads((tmp_path / config.name / "run.json").read_text())
    assert (record["status"], record["epoch"]) == ("diverged", 1)
    assert not (tmp_path / config.name / "weights.safetensors").exists()
    for again in (lambda: load_run(config.name, folder=tmp_path), lambda: train(config, folder=tmp_path, progress=False)):
        with pytest.raises(RunError, match="diverged in epoch 1 and has no result; delete .* another name"):
            again()


def test_a_run_that_diverges_later_leaves_no_checkpoint(tmp_path):
    def blow_up(epoch, network):
        if epoch == 2:
            with torch.no_grad():
                next(network.parameters()).fill_(np.inf)

    with pytest.raises(DivergedError, match="diverged in epoch 3"):
        train(replace(QUICK, epochs=3), folder=tmp_path, on_epoch=blow_up, progress=False)
    assert [path.name for path in (tmp_path / replace(QUICK, epochs=3).name).iterdir()] == ["run.json"]


def test_the_accuracy_of_a_network_that_overflows_is_nan():
    network = torch.nn.Linear(2, 2)
    with torch.no_grad():
        network.weight.fill_(3e38)
    assert np.isnan(accuracy(network, np.full((3, 2), 100, np.float32), np.zeros(3, np.int64)))


# Configurations


@pytest.mark.parametrize(
    ("name", "bad", "expected"),
    [
        ("dataset", "mnist", "one of cifar10, digits"),
        ("network", "mlp", "one of mlp512, mlp1024.*"),
        ("standardization", "pixel", "one of image, channel"),
        ("laziness", 0, "a finite number above 0"),
        ("laziness", -1.0, "a finite number above 0"),
        ("laziness", float("inf"), "a finite number above 0"),
        ("laziness", float("nan"), "a finite number above 0"),
        ("laziness", "1", "a finite number above 0"),
        ("laziness", True, "a finite number above 0"),
        ("epochs", 0, "an integer of at least 1"),
        ("epochs", 1.0, "an integer of at least 1"),
        ("epochs", True, "an integer of at least 1"),
        ("epochs", "3", "an integer of at least 1"),
        ("epochs", None, "an integer of at least 1"),
        ("batch_size", 0, "an integer of at least 1"),
        ("learning_rate", 0.0, "a finite number above 0"),
        ("learning_rate_decay", 0.0, "a number above 0 and at most 1"),
        ("learning_rate_decay", 1.1, "a number above 0 and at most 1"),
        ("momentum", 1.0, "a number from 0 to below 1"),
        ("momentum", -0.1, "a number from 0 to below 1"),
        ("weight_decay", -1e-9, "a finite number of at least 0"),
        ("seed", -1, "an integer of at least 0"),
        ("label_noise", 1.0, "a number from 0 to below 1"),
        ("label_noise", -0.1, "a number from 0 to below 1"),
        ("label_noise", "0.4", "a number from 0 to below 1"),
        ("decay_every", 0, "an integer of at least 1"),
        ("decay_every", 2.5, "an integer of at least 1"),
        ("centred", 1, "True or False"),
        ("centred", "no", "True or False"),
        ("bulk_variance", "dense2", "True or False"),
        ("seed", np.bool_(True), "an integer of at least 0"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_expected(name, bad, expected):
    with pytest.raises(ConfigError, match=f"^{name} must be {expected}; got "):
        TrainingConfig(**{name: bad})


def test_all_wrong_values_are_listed_at_once():
    with pytest.raises(ConfigError) as error:
        TrainingConfig(dataset="mnist", laziness=-1, epochs="2", seed=1.5)
    assert str(error.value) == (
        "dataset must be one of cifar10, digits; got 'mnist'; laziness must be a finite number above 0; got -1.0; "
        "epochs must be an integer of at least 1; got '2'; seed must be an integer of at least 0; got 1.5"
    )


def test_integers_and_numpy_numbers_are_taken_as_plain_numbers():
    config = TrainingConfig(laziness=5, seed=np.int64(3), learning_rate=np.float64(0.5))
    assert config == TrainingConfig(laziness=5.0, seed=3, learning_rate=0.5)
    assert [type(value) for value in (config.laziness, config.seed, config.learning_rate)] == [float, int, float]
    assert config.name == "mlp512-digits-alpha5-seed3-rate0.5"


def test_the_defaults_are_the_paper_s():
    config = TrainingConfig()
    assert (config.epochs, config.batch_size, config.learning_rate) == (100, 32, 0.001)
    assert (config.learning_rate_decay, config.momentum, config.laziness) == (0.95, 0.95, 1.0)
