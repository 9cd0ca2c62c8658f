"""Layers on the workers of a real dask cluster: the same table, whoever dies."""

from __future__ import annotations

import os
import signal
import sys

import dask
import numpy as np
import pandas as pd
import pytest
from dask.distributed import Client, LocalCluster
from safetensors.numpy import save_file

import rmtlib
from rmtlib import cluster as module
from rmtlib import layer_table as module_of_tables
from rmtlib.cli import main
from rmtlib.cluster import LOCAL, ClusterError, on_cluster
from rmtlib.network import analyse_network

SHAPES = [(60, 50), (300, 250), (320, 260), (80, 70), (310, 255), (330, 270), (315, 250), (305, 245)]


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, **LOCAL) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    rng = np.random.default_rng(0)
    save_file({f"fc{i}.weight": rng.standard_normal(shape).astype("float32") for i, shape in enumerate(SHAPES)}, path)
    return path


def without_times(table):
    return table.drop(columns="seconds", errors="ignore")


def shape_of(name, layer):
    return name, layer.matrix.shape


def refuse(name, layer):
    if name == "fc3":
        msg = "no luck"
        raise ValueError(msg)
    return os.getpid()


def die(name, layer):
    if name == "fc3":
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@pytest.fixture
def by_value(monkeypatch):
    """Functions of this file are sent whole: workers cannot import it."""
    import cloudpickle

    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def test_layers_are_sent_large_ones_first_and_each_comes_back(cluster, network, monkeypatch):
    weights, sent, submit = rmtlib.load_weights(network), [], Client.submit
    monkeypatch.setattr(Client, "submit", lambda self, *args, **kwargs: sent.append(args[-1]) or submit(self, *args, **kwargs))
    table = rmtlib.scan(weights, scheduler=cluster.scheduler_address, progress=False)
    sizes = [weights.shapes[name][0] * weights.shapes[name][1] for name in sent]
    assert sizes == sorted(sizes, reverse=True)
    pd.testing.assert_frame_equal(without_times(table), without_times(rmtlib.scan(weights, progress=False)))


def test_the_table_is_the_same_when_a_worker_is_killed_in_the_middle(cluster, network, tmp_path):
    weights, killed, light = rmtlib.load_weights(network), [], []

    def kill_a_busy_worker(layer):
        light.append(layer.biwhitened.biwhitened.matrix.size)
        if killed:
            return
        killed.append(busy_worker(cluster))
        os.kill(killed[0], signal.SIGKILL)

    csv = tmp_path / "table.csv"
    options = {"csv": csv, "progress": False, "on_layer": kill_a_busy_worker}
    table = analyse_network(weights, scheduler=cluster.scheduler_address, **options)
    assert len(killed) == 1
    assert light == [0] * len(SHAPES)
    pd.testing.assert_frame_equal(table, analyse_network(weights, progress=False))
    assert pd.read_csv(csv)["layer"].tolist() == table["layer"].tolist()


def test_a_comparison_is_the_same_when_a_worker_is_killed_in_the_middle(cluster, network, tmp_path, monkeypatch):
    tuned = {str(seed): tmp_path / f"tuned-{seed}.safetensors" for seed in (1, 2)}
    for seed, path in tuned.items():
        rng = np.random.default_rng(int(seed))
        save_file({f"fc{i}.weight": rng.standard_normal(shape).astype("float32") for i, shape in enumerate(SHAPES)}, path)
    killed, write = [], module_of_tables.write_csv

    def kill_a_busy_worker(rows, *args):
        write(rows, *args)
        if not killed:
            killed.append(busy_worker(cluster))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(module_of_tables, "write_csv", kill_a_busy_worker)
    options = {"csv": tmp_path / "table.csv", "progress": False}
    found = rmtlib.compare(network, tuned, scheduler=cluster.scheduler_address, **options)
    assert len(killed) == 1
    monkeypatch.undo()
    here = rmtlib.compare(network, tuned, progress=False)
    pd.testing.assert_frame_equal(found.table, here.table)
    assert pd.read_csv(tmp_path / "table.csv")["step"].tolist() == [1] * len(SHAPES) + [2] * len(SHAPES)
    assert list(found.layers) == list(here.layers) == [f"fc{i}" for i in range(len(SHAPES))]
    assert found.layers["fc1"].size == pytest.approx(here.last["update_size"][1], rel=1e-12)


def busy_worker(cluster):
    """The process of a worker that has tasks."""
    with Client(cluster.scheduler_address) as client:
        processes = client.run(os.getpid)
        busy = [address for address, tasks in client.processing().items() if tasks]
    assert busy
    return processes[busy[0]]


def test_errors_of_a_layer_are_its_result(cluster, network, by_value):
    weights = rmtlib.load_weights(network)
    found = dict(on_cluster(refuse, weights, names=["fc0", "fc3"], scheduler=cluster.scheduler_address))
    assert str(found["fc3"]) == "no luck"
    assert found["fc0"] != os.getpid()


def test_a_layer_that_kills_every_worker_is_named_and_the_others_are_done(network, by_value):
    once = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with once, LocalCluster(n_workers=1, **LOCAL) as cluster:
        weights = rmtlib.load_weights(network)
        found = dict(on_cluster(die, weights, names=["fc0", "fc3"], scheduler=cluster.scheduler_address))
    assert "its worker died, again and again: it may need more memory" in str(found["fc3"])
    assert found["fc0"] == "alive"


def test_a_worker_that_sees_another_file_ends_the_work(cluster, network, tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(network.read_bytes())
    weights = rmtlib.load_weights(path)
    expected = weights.origin.fingerprint()
    path.write_bytes(network.read_bytes())
    with pytest.raises(ClusterError, match="sees another file at .*net.safetensors"):
        module._on_worker(shape_of, weights.origin, expected, "fc0")
    path.unlink()
    with pytest.raises(ValueError, match="cannot open the weights: .* does not exist; scheduler needs files that all workers"):
        module._on_worker(shape_of, weights.origin, expected, "fc0")


def test_a_file_that_workers_do_not_see_is_an_error_of_the_call(cluster, network, tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    path.write_bytes(network.read_bytes())
    weights = rmtlib.load_weights(path)
    weights.origin.fingerprint()
    monkeypatch.setattr(type(weights.origin), "fingerprint", lambda self: "of another machine")
    with pytest.raises(ClusterError, match="scheduler needs files that all workers see"):
        rmtlib.scan(weights, scheduler=cluster.scheduler_address, progress=False)


def test_weights_in_memory_cannot_be_sent(cluster):
    with pytest.raises(ValueError, match="scheduler needs weights of a file or folder"):
        rmtlib.scan({"fc": np.eye(20)}, scheduler=cluster.scheduler_address, progress=False)
    with pytest.raises(ValueError, match="scheduler needs weights of a file or folder"):
        rmtlib.compare({"fc": np.eye(20)}, {"fc": np.eye(20)}, scheduler=cluster.scheduler_address, progress=False)


def test_a_scheduler_that_does_not_answer_or_has_no_workers_is_named_with_its_timeout(network, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "TIMEOUT", 1)
    for command in ("report", "compare"):
        networks = [str(network)] * (1 + (command == "compare"))
        assert main([command, *networks, "-o", str(tmp_path / "out"), "--scheduler", "tcp://127.0.0.1:9"]) == 2
        assert "no dask scheduler answers at 'tcp://127.0.0.1:9' within 1 s" in capsys.readouterr().err
    command = ["scan", str(network), "-o", str(tmp_path / "scan"), "--scheduler"]
    assert main([*command, "tcp://127.0.0.1:9"]) == 2
    assert "no dask scheduler answers at 'tcp://127.0.0.1:9' within 1 s" in capsys.readouterr().err
    assert main([*command, "nonsense://"]) == 2
    assert "no dask scheduler answers at 'nonsense://'" in capsys.readouterr().err
    with LocalCluster(n_workers=0, **LOCAL) as empty:
        assert main([*command, empty.scheduler_address]) == 2
    assert "has no worker after 1 s; start some with: dask worker tcp://" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_dask_the_extra_is_named(network, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    assert main(["scan", str(network), "--scheduler", "tcp://host:8786"]) == 2
    assert 'get it with: pip install "rmtlib[cluster]"' in capsys.readouterr().err
