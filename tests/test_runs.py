from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rmtlib import files, runs
from rmtlib.ensembles import glorot_uniform
from rmtlib.files import write_atomically
from rmtlib.runs import ADDED_SETTINGS, Run, RunError, find_runs, initial, load_run, write_history

HISTORY = [
    {"epoch": 1, "train_loss": 0.1 + 0.2, "test_accuracy": 0.25},
    {"epoch": 2, "train_loss": 1e-17, "test_accuracy": 1 / 3},
]


@pytest.fixture
def run(tmp_path):
    """A finished run as training leaves it, with made-up weights."""
    path = tmp_path / "runs" / "one"
    path.mkdir(parents=True)
    (path / "weights.safetensors").write_bytes(b"weights")
    write_history(path / "history.csv", HISTORY)
    record = {
        "name": "one",
        "status": "completed",
        "config": {"seed": 3},
        "train_accuracy": 0.5,
        "test_accuracy": 1 / 3,
        "sha256": {file: files.file_sha256(path / file) for file in ("history.csv", "weights.safetensors")},
    }
    (path / "run.json").write_text(json.dumps(record))
    return path


def change_record(run, **changes):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | changes))


def test_a_finished_run_loads_with_all_digits_of_its_history(run):
    loaded = load_run("one", folder=run.parent)
    assert (loaded.name, loaded.path, loaded.config) == ("one", run, ADDED_SETTINGS | {"seed": 3})
    assert (loaded.train_accuracy, loaded.test_accuracy) == (0.5, 1 / 3)
    assert loaded.weights_file.read_bytes() == b"weights"
    assert list(loaded.history) == ["epoch", "train_loss", "test_accuracy"]
    for column in loaded.history:
        np.testing.assert_array_equal(loaded.history[column], [row[column] for row in HISTORY])


def test_the_hash_is_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # Test vector of FIPS 180-4.
    assert files.file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_without_a_folder_the_book_s_data_is_found_from_below(run, tmp_path, monkeypatch):
    book = tmp_path / "book"
    shutil.copytree(run, book / "data" / "runs" / "one")
    (book / "data" / "registry.txt").touch()
    (book / "chapters" / "deep").mkdir(parents=True)
    monkeypatch.chdir(book / "chapters" / "deep")
    assert load_run("one").path == book / "data" / "runs" / "one"


def test_from_any_folder_the_book_s_data_is_found_in_the_checkout_that_the_library_lies_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs.book_data() == Path(__file__).parents[1] / "data"


def test_the_book_that_one_stands_in_goes_before_the_checkout(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "registry.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert runs.book_data() == tmp_path / "data"


def test_without_a_folder_outside_the_book_the_way_out_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "CHECKOUT", tmp_path)
    with pytest.raises(RunError, match=r"no data/registry.txt in the current folder, .* in place .* folder="):
        load_run("one")


def test_an_unknown_run_is_refused_with_the_known_ones(run):
    (run.parent / "another").mkdir()
    (run.parent / "a-file").touch()
    with pytest.raises(RunError, match=r"no run 'two' in '.*'; there are: another, one$"):
        load_run("two", folder=run.parent)
    with pytest.raises(RunError, match="there are: none"):
        load_run("two", folder=run.parent / "nowhere")


def test_an_unfinished_run_is_refused(run):
    (run / "run.json").unlink()
    with pytest.raises(RunError, match=r"run 'one' is incomplete: run\.json missing; train it again to finish it"):
        load_run("one", folder=run.parent)


@pytest.mark.parametrize("file", ["weights.safetensors", "history.csv"])
def test_a_run_that_lost_a_file_is_refused(run, file):
    (run / file).unlink()
    with pytest.raises(RunError, match=f"run 'one' is incomplete: {file} missing; delete .* to train it again"):
        load_run("one", folder=run.parent)


@pytest.mark.parametrize("file", ["weights.safetensors", "history.csv"])
def test_a_run_with_an_altered_file_is_refused(run, file):
    content = bytearray((run / file).read_bytes())
    content[3] ^= 1
    (run / file).write_bytes(content)
    with pytest.raises(RunError, match=f"run 'one': {file} differs from the file that the run wrote; delete"):
        load_run("one", folder=run.parent)


def test_a_diverged_run_is_no_result_even_with_all_files(run):
    change_record(run, status="diverged", epoch=7)
    with pytest.raises(RunError, match="run 'one' diverged in epoch 7 and has no result; delete .* another name"):
        load_run("one", folder=run.parent)


NO_RESULTS = '{"status": "completed", "config": {}}'


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", '{"status": "completed"}', NO_RESULTS])
def test_a_record_that_is_none_is_refused(run, text):
    (run / "run.json").write_text(text)
    with pytest.raises(RunError, match="run 'one': run.json is not the record of a run; delete"):
        load_run("one", folder=run.parent)


# Files that are whole or not there


def test_a_file_is_replaced_and_nothing_else_stays(tmp_path):
    for content in (b"first", b"second"):
        write_atomically(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt("stopped")])
def test_a_failed_write_leaves_the_old_content_and_no_part(tmp_path, monkeypatch, call, error):
    write_atomically(tmp_path / "file", b"old")

    def fail(*args):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error), match=re.escape(str(error))):
        write_atomically(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_two_writers_at_once_leave_one_whole_file(tmp_path, monkeypatch):
    path, fsync, contents = tmp_path / "file", os.fsync, [b"long content", b"short"]

    def write_again_in_between(descriptor):
        fsync(descriptor)
        monkeypatch.setattr(os, "fsync", fsync)
        write_atomically(path, contents[1])
        assert path.read_bytes() == contents[1]

    monkeypatch.setattr(os, "fsync", write_again_in_between)
    write_atomically(path, contents[0])
    assert path.read_bytes() == contents[0]
    assert os.listdir(tmp_path) == ["file"]


def test_history_is_a_plain_table_with_exact_floats(tmp_path):
    write_history(Path(tmp_path / "history.csv"), HISTORY)
    assert (tmp_path / "history.csv").read_text() == (
        "epoch,train_loss,test_accuracy\n1,0.30000000000000004,0.25\n2,1e-17,0.3333333333333333\n"
    )


# Finding runs by their configuration


@pytest.fixture
def runs_of_two_seeds(run):
    change_record(run, name="one", config={"laziness": 5.0, "seed": 3})
    for name, config in (("two", {"laziness": 0.5, "seed": 4}), ("three", {"laziness": 0.5, "seed": 3})):
        shutil.copytree(run, run.parent / name)
        change_record(run.parent / name, name=name, config=config)
    return run.parent


@pytest.mark.parametrize("text", ["", '{"status": "comp', "[]", "null", '{"status": "completed"}', '{"config": {}}', "\xff"])
def test_folders_that_hold_no_record_of_a_run_are_passed_over(text, runs_of_two_seeds):
    (runs_of_two_seeds / "broken").mkdir()
    (runs_of_two_seeds / "broken" / "run.json").write_text(text, encoding="latin-1")
    assert [run.name for run in find_runs(folder=runs_of_two_seeds, seed=3)] == ["three", "one"]
    assert list(runs.run_records(runs_of_two_seeds)) == ["one", "three", "two"]


def test_runs_are_found_by_configuration_in_order_of_laziness_and_seed(runs_of_two_seeds):
    assert [run.name for run in find_runs(folder=runs_of_two_seeds)] == ["three", "two", "one"]
    assert [run.name for run in find_runs(folder=runs_of_two_seeds, seed=3)] == ["three", "one"]
    assert [run.name for run in find_runs(folder=runs_of_two_seeds, seed=3, laziness=5)] == ["one"]


def test_a_run_from_before_label_noise_counts_as_one_without(runs_of_two_seeds):
    assert [run.name for run in find_runs(folder=runs_of_two_seeds, label_noise=0)] == ["three", "two", "one"]


def test_runs_with_label_noise_are_found_when_they_are_asked_for(runs_of_two_seeds):
    change_record(runs_of_two_seeds / "two", config={"laziness": 0.5, "seed": 4, "label_noise": 0.4})
    assert [run.name for run in find_runs(folder=runs_of_two_seeds)] == ["three", "one"]
    (noisy,) = find_runs(folder=runs_of_two_seeds, label_noise=0.4)
    assert (noisy.name, noisy.config["label_noise"]) == ("two", 0.4)


@pytest.mark.parametrize("reading", [{"centred": True}, {"decay_every": 10}])
def test_another_reading_is_found_by_its_own_setting_alone(reading, runs_of_two_seeds):
    change_record(runs_of_two_seeds / "two", config={"laziness": 0.5, "seed": 4} | reading)
    assert [run.name for run in find_runs(folder=runs_of_two_seeds)] == ["three", "one"]
    assert [run.name for run in find_runs(folder=runs_of_two_seeds, **reading)] == ["two"]


def test_the_commit_is_that_of_the_checkout(monkeypatch, tmp_path):
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=runs.CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert runs.commit().split(" ")[0] == head.strip()
    monkeypatch.setattr(runs, "CHECKOUT", tmp_path)
    assert runs.commit() is None


def test_runs_that_are_not_finished_are_passed_over(runs_of_two_seeds):
    change_record(runs_of_two_seeds / "two", status="diverged")
    (runs_of_two_seeds / "three" / "run.json").unlink()
    assert [run.name for run in find_runs(folder=runs_of_two_seeds)] == ["one"]


def test_no_such_run_is_refused(runs_of_two_seeds):
    with pytest.raises(RunError, match="no finished run in .* with {'label_noise': 0.0, .*'seed': 9}"):
        find_runs(folder=runs_of_two_seeds, seed=9)
    with pytest.raises(ValueError, match="config must name settings of a run, label_noise, .*laziness, seed; got sed"):
        find_runs(folder=runs_of_two_seeds, sed=3)


def test_an_altered_run_among_those_found_is_refused(runs_of_two_seeds):
    (runs_of_two_seeds / "two" / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(RunError, match="'two': weights.safetensors differs"):
        find_runs(folder=runs_of_two_seeds)


# Initial weights


def run_with(folder, tensors, network="mlp512", seed=7):
    save_file(tensors, folder / "weights.safetensors")
    return Run("some", folder, {"network": network, "seed": seed}, 0.5, 0.5, {})


def test_initial_weights_that_were_kept_are_read_and_others_are_drawn_again(tmp_path):
    kept = np.arange(12, dtype=np.float16).reshape(3, 4)
    tensors = {"initial.dense2.weight": kept, "trained.dense2.weight": kept + 1, "trained.dense4.weight": np.ones((10, 8))}
    run = run_with(tmp_path, tensors)
    np.testing.assert_array_equal(initial(run, "dense2"), kept)
    np.testing.assert_array_equal(initial(run, "dense4"), glorot_uniform((10, 8), [7, 4]).astype("float32"))
    assert [initial(run, layer).dtype for layer in ("dense2", "dense4")] == [np.float32] * 2


def test_dense_layers_of_a_convolutional_network_are_counted_after_its_convolutions(tmp_path):
    tensors = {"trained.dense1.weight": np.ones((6, 5)), "trained.conv2.weight": np.ones((4, 3, 5, 5))}
    run = run_with(tmp_path, tensors, "minialexnet")
    np.testing.assert_array_equal(initial(run, "dense1"), glorot_uniform((6, 5), [7, 3]).astype("float32"))
    np.testing.assert_array_equal(initial(run, "conv2"), glorot_uniform((4, 3, 5, 5), [7, 2]).astype("float32"))


def test_initial_weights_of_no_layer_or_of_no_known_shape_are_refused(tmp_path):
    run = run_with(tmp_path, {"trained.dense2.weight": np.ones((3, 4))})
    with pytest.raises(ValueError, match="layer must be one of dense1, dense2, dense3, dense4; got 'conv1'"):
        initial(run, "conv1")
    with pytest.raises(RunError, match=r"run 'some' keeps no weights of dense1; it keeps trained\.dense2\.weight"):
        initial(run, "dense1")


def test_records_are_read_without_torch():
    code = "import sys, rmtlib.learning; rmtlib.learning.load_run; print(sorted({'torch', 'dask'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
