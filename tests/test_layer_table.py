"""Which layers, and a table that an interruption does not lose: of a scan, of an analysis and of a comparison."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import rmtlib
from rmtlib import ensembles, layer_table, wording
from rmtlib.cli import main
from rmtlib.layer_table import chosen_layers
from rmtlib.network import analyse_network

NAMES = ("=1+1", "block.1\n\x1b[31m", "block.2", "head", "it's")


@pytest.fixture
def network(tmp_path):
    return written(tmp_path / "net.safetensors")


def written(path, seed=0):
    tensors = {f"{name}.weight": ensembles.gaussian((120, 100), [seed, i]) for i, name in enumerate(NAMES)}
    save_file({name: tensor.astype("float32") for name, tensor in tensors.items()}, path)
    return path


def compare_with_another(weights, **options):
    """A comparison as a table; the other network lies beside the file."""
    tuned = rmtlib.load_weights(weights.origin.path.with_name("tuned.safetensors"))
    return rmtlib.compare(weights, {"7": tuned}, **options).table


WORK = {
    "scan": (rmtlib.scan, "_row"),
    "analysis": (analyse_network, "_analysed"),
    "comparison": (compare_with_another, "_compared"),
}


def same(csv):
    return pd.read_csv(csv).drop(columns="seconds", errors="ignore")


def count_work(monkeypatch, module, function):
    seen, work = [], getattr(module, function)

    def counted(name, *args, **kwargs):
        seen.append(name if isinstance(name, str) else name[1])
        return work(name, *args, **kwargs)

    monkeypatch.setattr(module, function, counted)
    return seen


def test_layers_are_those_in_whose_name_the_expression_is_found(network):
    weights = rmtlib.load_weights(network)
    assert chosen_layers(weights) == sorted(NAMES)
    assert chosen_layers(weights, "block") == ["block.1\n\x1b[31m", "block.2"]
    assert analyse_network(weights, layers="^head|2$", progress=False)["layer"].tolist() == ["block.2", "head"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("(", r"layers must be a regular expression, such as 'attn\|mlp'; got '\('"),
        (3, r"layers must be a regular expression, .*; got 3"),
        (
            "tail",
            r"layers must be found in the name of a layer; 'tail' is in none of the 5: =1\+1, block.1\\n\\x1b\[31m, block.2",
        ),
    ],
)
def test_an_expression_that_is_none_or_found_nowhere_is_refused(layers, message, network):
    with pytest.raises(ValueError, match=message):
        rmtlib.scan(rmtlib.load_weights(network), layers=layers, progress=False)


@pytest.mark.parametrize("kind", WORK)
def test_a_resumed_table_is_that_of_one_go_and_works_on_the_other_layers_only(kind, network, tmp_path, monkeypatch):
    written(tmp_path / "tuned.safetensors", seed=1)
    weights, (call, work) = rmtlib.load_weights(network), WORK[kind]
    whole = call(weights, csv=tmp_path / "whole.csv", progress=False)
    call(weights, csv=tmp_path / "parts.csv", layers="block", progress=False)
    module = {"scan": "scan", "analysis": "network", "comparison": "comparison"}[kind]
    seen = count_work(monkeypatch, sys.modules[f"rmtlib.{module}"], work)
    resumed = call(weights, csv=tmp_path / "parts.csv", resume=True, progress=False)
    assert sorted(seen) == sorted(set(NAMES) - {"block.1\n\x1b[31m", "block.2"})
    pd.testing.assert_frame_equal(*(table.drop(columns="seconds", errors="ignore") for table in (resumed, whole)))
    pd.testing.assert_frame_equal(same(tmp_path / "parts.csv"), same(tmp_path / "whole.csv"))
    assert [path.name for path in tmp_path.glob("*.part")] == []
    assert call(weights, csv=tmp_path / "parts.csv", resume=True, progress=False)["layer"].tolist() == sorted(NAMES)
    assert len(seen) == 3


def test_spacings_that_are_not_the_goes_are_told_once_after_resuming(tmp_path):
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 300)))[0] for n in (400, 300))
    poisson = (left * np.cumsum(rng.exponential(size=300)) / 300) @ right.T
    save_file({"a.weight": poisson, "b.weight": rng.standard_normal((400, 300))}, tmp_path / "net.safetensors")
    weights = rmtlib.load_weights(tmp_path / "net.safetensors")
    whole = analyse_network(weights, csv=tmp_path / "table.csv", progress=False)
    again = analyse_network(weights, csv=tmp_path / "table.csv", resume=True, progress=False)
    assert "spacings that are not the GOE's" in whole["summary"][0]
    pd.testing.assert_frame_equal(whole, again)


@pytest.mark.parametrize("rest", ["", "; the entries lie on a grid"])
@pytest.mark.parametrize("said", [wording.NOTHING, "3 levels above the bulk"])
def test_words_about_spacings_can_be_taken_back(said, rest):
    summary = f"a (b): {said}{rest}"
    assert wording.without_spacings(wording.with_spacings(summary, "a (b)", 0.001), "a (b)") == summary
    assert wording.without_spacings(summary, "a (b)") == summary


def test_rows_of_other_parameters_and_of_layers_that_failed_are_done_again(network, tmp_path, monkeypatch):
    weights, csv = rmtlib.load_weights(network), tmp_path / "scan.csv"
    rmtlib.scan(weights, csv=csv, biwhiten=False, progress=False)
    table = rmtlib.scan(weights, csv=csv, resume=True, progress=False)
    assert table["outliers_biwhitened"].notna().all()
    cells = pd.read_csv(csv, dtype=str)
    cells.loc[cells["layer"] == "block.2", cells.columns[1:-3]] = ""
    cells.to_csv(csv, index=False)
    seen = count_work(monkeypatch, sys.modules["rmtlib.scan"], "_row")
    assert rmtlib.scan(weights, csv=csv, resume=True, progress=False)["levels"].notna().all()
    assert seen == ["block.2"]


def test_a_csv_of_another_pair_is_refused_and_stays_as_it_is(network, tmp_path, capsys):
    tuned, other = (written(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate(("tuned", "other"), 1))
    command, csv = ["compare", str(network), str(tuned), "-o", str(tmp_path / "out")], tmp_path / "out.csv"
    assert main(command) == 0
    before = csv.read_bytes()
    assert main(["compare", str(network), str(other), *command[3:], "--resume"]) == 2
    assert main(["compare", str(other), str(tuned), *command[3:], "--resume"]) == 2
    assert capsys.readouterr().err.count("out.csv' is of another file, or the file has changed since") == 2
    os.utime(tuned, ns=(1, 1))
    assert main([*command, "--resume"]) == 2
    assert csv.read_bytes() == before


def test_a_new_checkpoint_is_compared_alone(network, tmp_path, monkeypatch):
    steps = {step: written(tmp_path / f"step-{step}.safetensors", seed=step) for step in (5, 10, 20)}
    options = {"csv": tmp_path / "table.csv", "progress": False}
    rmtlib.compare(network, {step: path for step, path in steps.items() if step != 20}, **options)
    seen = count_work(monkeypatch, sys.modules["rmtlib.comparison"], "_compared")
    grown = rmtlib.compare(network, steps, resume=True, **options)
    assert sorted(seen) == sorted(NAMES)
    pd.testing.assert_frame_equal(grown.table, rmtlib.compare(network, steps, progress=False).table)
    assert list(grown.layers) == sorted(NAMES)
    os.utime(steps[5], ns=(1, 1))
    with pytest.raises(ValueError, match=r"table.csv' is of another file, or the file has changed since"):
        rmtlib.compare(network, steps, resume=True, **options)


def test_an_older_table_is_not_taken_for_that_of_a_command_that_was_stopped_at_once(network, tmp_path, monkeypatch, capsys):
    command = ["scan", str(network), "-o", str(tmp_path / "scan")]
    assert main(command) == 0

    def interrupted(*args, **options):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(layer_table.parallel, "as_they_finish", interrupted)
    assert main([*command, "--resume", "--no-sizes"]) == 130
    assert "no layer was finished" in capsys.readouterr().err


def test_a_csv_of_another_file_is_refused_and_stays_as_it_is(network, tmp_path, capsys):
    csv = tmp_path / "scan.csv"
    rmtlib.scan(rmtlib.load_weights(network), csv=csv, progress=False)
    before, other = csv.read_bytes(), written(tmp_path / "other.safetensors", seed=1)
    assert main(["scan", str(other), "-o", str(tmp_path / "scan"), "--resume"]) == 2
    assert "scan.csv' is of another file, or the file has changed since (header, size or time)" in capsys.readouterr().err
    os.utime(network, ns=(1, 1))
    assert main(["scan", str(network), "-o", str(tmp_path / "scan"), "--resume"]) == 2
    assert csv.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no rows"),
        (b"a,b\n1,2\n", "holds no rows that could be resumed"),
        (b"\xff\xfe\x00", "cannot be read to resume"),
    ],
)
def test_a_file_that_is_no_table_is_refused(content, message, network, tmp_path):
    csv = tmp_path / "scan.csv"
    csv.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        rmtlib.scan(rmtlib.load_weights(network), csv=csv, resume=True, progress=False)


def test_resuming_needs_a_csv_and_a_file(network, tmp_path):
    with pytest.raises(ValueError, match="resume needs csv"):
        rmtlib.scan(rmtlib.load_weights(network), resume=True, progress=False)
    with pytest.raises(ValueError, match="resume needs weights of a file or folder"):
        rmtlib.scan({"fc": np.eye(20)}, resume=True, csv=tmp_path / "scan.csv", progress=False)
    with pytest.raises(ValueError, match="csv must be a file that can be written"):
        rmtlib.scan({"fc": np.eye(20)}, csv=tmp_path, progress=False)


def test_values_come_back_from_a_csv_as_they_were(tmp_path):
    rows = [
        {"layer": "'a", "shape": (3, 4), "levels": 3, "x": 0.1 + 0.2, "ok": True, "none": None, "up": np.inf, "missing": "=x"}
    ]
    layer_table.write_csv(rows, ["f"], "p", tmp_path / "table.csv")
    assert layer_table._resumed(tmp_path / "table.csv", {"'a": "f"}, "p", dict) == {"'a": rows[0]}


def test_a_fingerprint_changes_with_header_size_and_time_of_any_shard(tmp_path):
    shards = {f"model-{i}.safetensors": written(tmp_path / f"model-{i}.safetensors", i) for i in (1, 2)}
    for i, (shard, path) in enumerate(shards.items()):
        save_file({f"w{i}.weight": np.eye(40, dtype=np.float32) + i}, path)
        assert path.name == shard
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"w0.weight": "model-1.safetensors", "w1.weight": "model-2.safetensors"}}')
    seen = [rmtlib.load_weights(tmp_path).origin.fingerprint()]
    assert rmtlib.load_weights(index).origin.fingerprint() == seen[0]
    stat = (tmp_path / "model-2.safetensors").stat()
    for change in (
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: save_file({"w1.weight": np.eye(40, 41, dtype=np.float32)}, path),
        lambda path: (save_file({"w1.weight": np.eye(41, 40, dtype=np.float32)}, path), os.utime(path, ns=(2, 2))),
    ):
        change(tmp_path / "model-2.safetensors")
        seen.append(rmtlib.load_weights(tmp_path).origin.fingerprint())
    assert len(set(seen)) == 4
    assert stat.st_size > 0
    assert rmtlib.load_weights({"fc.weight": np.eye(20)}).origin is None


KILLED = """
import sys, time
from rmtlib import layer_table
from rmtlib.cli import main

write = layer_table.write_csv

def stop_here(rows, *args):
    write(rows, *args)
    print(len(rows), flush=True)
    time.sleep(60)

layer_table.write_csv = stop_here
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["scan", "compare"])
def test_a_command_killed_five_times_ends_with_the_table_of_one_go(command, network, tmp_path):
    networks = [str(network)] + ([str(written(tmp_path / "tuned.safetensors", seed=1))] if command == "compare" else [])
    arguments = [command, *networks, "-o", str(tmp_path / "table"), "--resume", "--workers", "2"]
    for rows in range(1, 6):
        with subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == f"{rows}\n"
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    assert main(arguments) == 0
    assert main([command, *networks, "-o", str(tmp_path / "whole")]) == 0
    pd.testing.assert_frame_equal(same(tmp_path / "table.csv"), same(tmp_path / "whole.csv"))
    assert not list(Path(tmp_path).glob("*.part"))
