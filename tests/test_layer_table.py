"""Which layers, and a table that an interruption does not lose: of a scan, of an analysis and of a comparison."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import rmtlib
from rmtlib import costs, ensembles, layer_table, table_file, wording
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


MODULES = {"scan": "scan", "analysis": "network", "comparison": "comparison"}
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
    seen = count_work(monkeypatch, sys.modules[f"rmtlib.{MODULES[kind]}"], work)
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
    before = (tmp_path / "scan.csv").read_bytes()
    for options in ([], ["--resume", "--no-sizes"]):
        assert main([*command, *options]) == 130
        assert f"no layer was finished; {tmp_path / 'scan.csv'} is as it was\n" in capsys.readouterr().err
        assert (tmp_path / "scan.csv").read_bytes() == before


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


@pytest.fixture
def reported(tmp_path):
    """The command of a report of two layers, which can be resumed, and its table."""
    network = tmp_path / "net.safetensors"
    save_file({f"{name}.weight": ensembles.gaussian((60, 50), i) for i, name in enumerate("ab")}, network)
    command = ["report", str(network), "-o", str(tmp_path / "x"), "--no-null", "--resume", "--fail-on", "outliers>9"]
    assert main(command) == 0
    return command, tmp_path / "x.csv"


EDITS = {
    "its columns are not those that were written": lambda cells: cells.drop(columns="summary"),
    "its columns are not": lambda cells: cells.assign(note="mine"),
    "its columns": lambda cells: cells.rename(columns={"rank": "rang"}),
    "the summary of 'b' does not begin with its name": lambda cells: cells.replace({"summary": {"^b: .*": "mine"}}, regex=True),
    "the summary of 'b'": lambda cells: cells.replace({"summary": {"^b: .*": ""}}, regex=True),
    "'largest' cannot be 'big'": lambda cells: cells.assign(largest="big"),
    r"'outliers' cannot be '\[1\]'": lambda cells: cells.assign(outliers="[1]"),
    "'rank' cannot be '": lambda cells: cells.assign(rank="(" * 500),
    r"'shape' cannot be '\(60, 50.5\)'": lambda cells: cells.assign(shape="(60, 50.5)"),
    "'a' has no shape": lambda cells: cells.assign(shape=""),
    "'spacing_calibrated_pvalue' cannot be '7'": lambda cells: cells.assign(spacing_calibrated_pvalue="7"),
}


@pytest.mark.parametrize("told", EDITS)
def test_a_table_that_somebody_changed_is_refused_and_kept(told, reported, capsys):
    command, csv = reported
    EDITS[told](pd.read_csv(csv, dtype=str, keep_default_na=False)).to_csv(csv, index=False)
    before = csv.read_bytes()
    assert main(command) == 2
    assert re.search(rf"^rmtlib report: csv '{csv}' cannot be resumed: {told}.*\n$", capsys.readouterr().err, re.M)
    assert csv.read_bytes() == before


def test_a_row_that_is_cut_is_refused(reported, capsys):
    command, csv = reported
    csv.write_text(csv.read_text()[:-120])
    assert main(command) == 2
    assert "the row of 'b' has not one cell a column" in capsys.readouterr().err


def test_any_column_may_lose_its_values(reported):
    """What a spreadsheet empties is as what could not be said: no error comes of it later."""
    command, csv = reported
    cells = pd.read_csv(csv, dtype=str, keep_default_na=False)
    kept = ("layer", "shape", "summary", "file", "parameters")
    cells.assign(**dict.fromkeys((c for c in cells if c not in (*kept, "levels")), "")).to_csv(csv, index=False)
    assert main(command) == 0


def test_a_table_of_another_command_is_refused_and_kept(reported, tmp_path, capsys):
    command, csv = reported
    before = csv.read_bytes()
    assert main(["scan", *command[1:4], "--resume"]) == 2
    assert "cannot be resumed: it is a table of rmtlib report, not of rmtlib scan; give another csv" in capsys.readouterr().err
    assert csv.read_bytes() == before


def test_names_with_newlines_and_with_backslashes_are_told_apart(tmp_path, monkeypatch):
    names = ["x\ny", r"x\ny", "\u00e9\\", "'=\\"]
    save_file({f"{name}.weight": ensembles.gaussian((60, 50), i) for i, name in enumerate(names)}, tmp_path / "net.safetensors")
    weights, csv = rmtlib.load_weights(tmp_path / "net.safetensors"), tmp_path / "scan.csv"
    whole = rmtlib.scan(weights, csv=csv, progress=False)
    assert pd.read_csv(csv)["layer"].nunique() == 4
    seen = count_work(monkeypatch, sys.modules["rmtlib.scan"], "_row")
    again = rmtlib.scan(weights, csv=csv, resume=True, progress=False)
    assert seen == []
    pd.testing.assert_frame_equal(again, whole)


def test_names_are_text_whatever_the_keys_are():
    W = ensembles.gaussian((60, 50), 0)
    for options in ({}, {"layers": "1"}):
        assert rmtlib.scan({1: W}, progress=False, **options)["layer"].tolist() == ["1"]
        assert analyse_network({1: W}, progress=False, **options)["layer"].tolist() == ["1"]
        assert costs.estimate({1: W}, **options)["layer"].tolist() == ["1"]
    steps = {step: rmtlib.load_weights({1: step * W}) for step in (5, 10)}
    assert rmtlib.compare({1: W}, steps, progress=False).table[["step", "layer"]].values.tolist() == [["5", "1"], ["10", "1"]]
    with pytest.raises(ValueError, match="weights must have one name a layer; two of them are '1' as text"):
        rmtlib.scan({1: W, "1": W}, progress=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda W: analyse_network(W, csv=3), "csv must be a path; got 3"),
        (lambda W: analyse_network(W, on_layer=3), "on_layer must be a function of a LayerAnalysis; got 3"),
        (lambda W: rmtlib.load_weights(W, groups=3), "groups must be a mapping of names of layers to numbers of groups; got 3"),
    ],
)
def test_arguments_of_another_kind_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call({"fc": np.eye(20)})


def test_a_csv_is_never_the_file_that_is_read(network):
    before = network.read_bytes()
    with pytest.raises(ValueError, match="csv must not be a file of the input"):
        rmtlib.scan(rmtlib.load_weights(network), csv=network, progress=False)
    assert network.read_bytes() == before


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
    table_file.write_csv(rows, ["f"], "p", tmp_path / "table.csv")
    assert table_file.read_rows(tmp_path / "table.csv", {"'a": "f"}, "p") == {"'a": rows[0]}


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


# Rows of layers that are not chosen now


def resumed_in_parts(call, weights, csv):
    """The lines of the CSV by layer after its blocks were done, and after the others were."""
    lines = []
    for layers in ("block", "^(?!block)"):
        table = call(weights, csv=csv, layers=layers, resume=bool(lines), progress=False)
        lines.append(dict(zip(pd.read_csv(csv)["layer"], csv.read_text().splitlines()[1:], strict=True)))
    return lines, table


@pytest.mark.parametrize("kind", WORK)
def test_rows_of_layers_that_are_not_chosen_now_stay_in_the_csv_as_they_are(kind, network, tmp_path, monkeypatch):
    written(tmp_path / "tuned.safetensors", seed=1)
    weights, (call, work), csv = rmtlib.load_weights(network), WORK[kind], tmp_path / "parts.csv"
    (first, then), table = resumed_in_parts(call, weights, csv)
    assert len(first) == 2
    assert then == then | first
    assert table["layer"].tolist() == [name for name in sorted(NAMES) if not name.startswith("block")]
    whole = call(weights, csv=tmp_path / "whole.csv", progress=False)
    assert list(then) == pd.read_csv(tmp_path / "whole.csv")["layer"].tolist()
    seen = count_work(monkeypatch, sys.modules[f"rmtlib.{MODULES[kind]}"], work)
    again = call(weights, csv=csv, resume=True, progress=False)
    assert seen == []
    pd.testing.assert_frame_equal(*(table.drop(columns="seconds", errors="ignore") for table in (again, whole)))
    pd.testing.assert_frame_equal(same(csv), same(tmp_path / "whole.csv"))


def test_kept_rows_are_of_these_parameters_alone_and_those_that_say_why_not_are_among_them(tmp_path):
    tensors = {"a.weight": ensembles.gaussian((120, 100), 0), "b.weight": np.ones((50, 40)), "c.weight": np.eye(60)}
    save_file({name: tensor.astype("float32") for name, tensor in tensors.items()}, tmp_path / "net.safetensors")
    weights, csv = rmtlib.load_weights(tmp_path / "net.safetensors"), tmp_path / "scan.csv"
    rmtlib.scan(weights, csv=csv, layers="a|b", progress=False)
    rmtlib.scan(weights, csv=csv, layers="c", resume=True, progress=False)
    assert pd.read_csv(csv)["layer"].tolist() == ["a", "b", "c"]
    assert pd.read_csv(csv)["missing"][1].startswith("not scanned: W is constant")
    rmtlib.scan(weights, csv=csv, layers="c", resume=True, biwhiten=False, progress=False)
    assert pd.read_csv(csv)["layer"].tolist() == ["c"]


def test_an_interrupt_before_the_first_layer_keeps_the_rows_of_others(network, tmp_path, monkeypatch, capsys):
    command, csv = ["scan", str(network), "-o", str(tmp_path / "scan")], tmp_path / "scan.csv"
    assert main([*command, "--layers", "block"]) == 0
    kept = csv.read_bytes()
    monkeypatch.setattr(layer_table.parallel, "as_they_finish", stopping(KeyboardInterrupt, after=0))
    assert main([*command, "--layers", "head", "--resume"]) == 130
    assert csv.read_bytes() == kept


# How often the CSV is written


def stopping(error, after, *, then=lambda: None):
    """Layers in their order, of which some are finished before an error."""

    def stopped(work, weights, *, workers, names):
        for i, name in enumerate(names):
            if i == after:
                then()
                raise error
            yield name, work(name, weights[name])

    return stopped


@pytest.fixture
def writes(monkeypatch):
    """How many rows each write of the CSV has."""
    seen, write = [], layer_table.write_csv

    def counted(rows, *args):
        write(rows, *args)
        seen.append(len(rows))

    monkeypatch.setattr(layer_table, "write_csv", counted)
    return seen


def test_a_table_is_not_written_for_every_layer(network, tmp_path, writes, monkeypatch):
    monkeypatch.setattr(table_file, "EVERY", 600)
    whole = rmtlib.scan(rmtlib.load_weights(network), csv=tmp_path / "scan.csv", progress=False)
    assert len(writes) <= 3
    assert pd.read_csv(tmp_path / "scan.csv")["snr"].tolist() == whole["snr"].tolist()


def test_what_is_finished_is_written_while_a_layer_takes_long(network, tmp_path, writes, monkeypatch):
    monkeypatch.setattr(table_file, "EVERY", 0.01)

    def wait_for_three_rows():
        end = time.monotonic() + 60
        while 3 not in writes and time.monotonic() < end:
            time.sleep(0.01)

    monkeypatch.setattr(layer_table.parallel, "as_they_finish", stopping(RuntimeError("no"), after=3, then=wait_for_three_rows))
    with pytest.raises(RuntimeError, match="no"):
        rmtlib.scan(rmtlib.load_weights(network), csv=tmp_path / "scan.csv", progress=False)
    assert writes[-1] == 3


@pytest.mark.parametrize("error", [RuntimeError("the machine is out of order"), KeyboardInterrupt()], ids=["failure", "Ctrl-C"])
def test_whatever_ends_a_table_its_finished_rows_are_written(error, network, tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "EVERY", 600)
    monkeypatch.setattr(layer_table.parallel, "as_they_finish", stopping(error, after=3))
    expected = pytest.raises(RuntimeError) if isinstance(error, RuntimeError) else pytest.warns(UserWarning, match="after 3 of 5")
    with expected:
        rmtlib.scan(rmtlib.load_weights(network), csv=tmp_path / "scan.csv", progress=False)
    assert pd.read_csv(tmp_path / "scan.csv")["levels"].notna().sum() == 3


def test_a_table_that_cannot_be_written_ends_the_work(network, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(layer_table, "write_csv", full)
    with pytest.raises(OSError, match="No space left on device"):
        rmtlib.scan(rmtlib.load_weights(network), csv=tmp_path / "scan.csv", progress=False)


# Layers of rank 1, such as adapters


@pytest.fixture
def adapter(tmp_path):
    """A base, and an adapter with a pair of r = 1 and one of r = 2."""
    rng = np.random.default_rng(0)
    pairs = {
        f"base_model.model.{name}.lora_{side}.weight": rng.standard_normal(shape)
        for name, r in (("one", 1), ("two", 2))
        for side, shape in (("A", (r, 80)), ("B", (100, r)))
    }
    base = {f"{name}.weight": rng.standard_normal((100, 80)) for name in ("one", "two")}
    paths = [tmp_path / "base.safetensors", tmp_path / "adapter.safetensors"]
    for path, tensors in zip(paths, (base, pairs), strict=True):
        save_file({name: tensor.astype("float32") for name, tensor in tensors.items()}, path)
    return list(map(str, paths))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("command", "networks"), [("report", "a"), ("scan", "a"), ("compare", "ba"), ("compare", "aa")], ids=" ".join
)
def test_adapters_of_rank_one_and_two_have_their_rows_and_pages(command, networks, adapter, tmp_path):
    network = dict(zip("ba", adapter, strict=True))
    if networks == "aa":  # as networks of their own, and not as the adapter of one
        matrices = {f"{name}.weight": layer.matrix for name, layer in rmtlib.load_weights(adapter[1]).items()}
        save_file({name.replace(".lora", ""): matrix for name, matrix in matrices.items()}, network["a"])
    arguments = [command, *(network[which] for which in networks), "-o", str(tmp_path / "out")]
    assert main(arguments + ["--intruders"] * (command == "compare")) == 0
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["levels"].tolist() == [80, 80]
    if command != "compare":
        assert table["rank"].tolist() == [1, 2]
        assert table["stable_rank"][0] == 1
        assert 1 < table["stable_rank"][1] < 2
    if command != "scan":
        page = (tmp_path / "out.html").read_text()
        assert "nan" not in re.sub(r">[^<]*<", "><", page)
        assert page.count('aria-label="Porter–Thomas p-values') == (2 if command == "report" else 0)


def test_a_layer_whose_row_cannot_be_made_keeps_its_name_and_the_others_theirs(monkeypatch):
    row = rmtlib.LayerAnalysis.row

    def fails(self):
        if self.name == "b":
            msg = "b: no such luck"
            raise ValueError(msg)
        return row(self)

    monkeypatch.setattr(rmtlib.LayerAnalysis, "row", fails)
    layers, told = {name: ensembles.gaussian((60, 50), seed) for seed, name in enumerate("abc")}, []
    table = analyse_network(layers, progress=False, on_layer=lambda layer: told.append(layer.name))
    assert table["levels"].notna().tolist() == [True, False, True]
    assert table["summary"][1] == "b: not analysed: no such luck"
    assert table["shape"].tolist() == [(60, 50)] * 3
    assert sorted(told) == ["a", "c"]


KILLED = """
import sys, time
from rmtlib import layer_table
from rmtlib.cli import main

write, one_after_the_other = layer_table.write_csv, layer_table.parallel.as_they_finish

def tell(rows, *args):
    write(rows, *args)
    print(len(rows), flush=True)

def stop_after_one(*args, **options):
    yield next(one_after_the_other(*args, **options))
    time.sleep(60)

layer_table.write_csv, layer_table.parallel.as_they_finish = tell, stop_after_one
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
