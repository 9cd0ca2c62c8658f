from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from dask.distributed import LocalCluster
from safetensors.numpy import load_file

from rmtlib.cli import main
from rmtlib.cluster import LOCAL
from rmtlib.notebooks import sweep as module
from rmtlib.notebooks.launch import read_notebook
from rmtlib.notebooks.sweep import read_grid, run_key, sweep

HEADER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# A tiny chapter

```{code-cell} python
:tags: [parameters]

"""
CHAPTER = (
    HEADER
    + """\
number: int = 0
rate: float = 0.1
text: str = ""
folder: str = "marks"
```

```{code-cell} python
import os
import signal
from pathlib import Path

print(f"number {number}, threads {os.environ['OMP_NUM_THREADS']}", flush=True)
marks = Path(folder)
marks.mkdir(exist_ok=True)
killed_before = (marks / "worker-killed").exists()
with open(marks / f"{number}", "a") as mark:
    mark.write("executed\\n")
if text == "fail":
    raise RuntimeError("no such luck")
if text == "kill the worker" and not killed_before:
    (marks / "worker-killed").touch()
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
```
"""
)
# Trains three epochs on the digits and stops in the third until there is a file "go".
TRAINING = (
    HEADER
    + """\
seed: int = 0
runs_folder: str = "runs"
```

```{code-cell} python
import time
from pathlib import Path

from rmtlib.learning import TrainingConfig, train, training

calls, accuracy = [], training.accuracy


def wait_in_third_epoch(*args):
    calls.append(args)
    while len(calls) == 3 and not Path("go").exists():
        Path("waiting").touch()
        time.sleep(0.05)
    return accuracy(*args)


training.accuracy = wait_in_third_epoch
train(TrainingConfig(epochs=3, batch_size=480, seed=seed), folder=runs_folder, progress=False)
print(f"evaluated {len(calls)} times")
```
"""
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The current folder, with a chapter in it."""
    (tmp_path / "chapter.md").write_text(CHAPTER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCHEDULER", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def scheduler():
    with LocalCluster(n_workers=2, **LOCAL) as cluster:
        yield cluster.scheduler_address


def write(**content):
    Path("grid.yaml").write_text(yaml.safe_dump({"notebook": "chapter.md", "output": "out", **content}, sort_keys=False))
    return "grid.yaml"


def executions(number):
    return len(Path("marks", str(number)).read_text().splitlines())


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Grids


def test_a_grid_is_all_combinations_and_the_single_runs_over_the_base(place):
    grid = read_grid(
        write(base={"text": "a"}, grid={"number": [1, 2], "rate": [1, 0.5]}, runs=[{"text": "b"}, {"number": 2, "rate": 1}])
    )
    assert list(grid.runs.values()) == [
        {"number": 1, "rate": 1.0, "text": "a"},
        {"number": 1, "rate": 0.5, "text": "a"},
        {"number": 2, "rate": 1.0, "text": "a"},
        {"number": 2, "rate": 0.5, "text": "a"},
        {"text": "b"},
    ]
    assert grid.output == place / "out"
    assert all(name.endswith(".ipynb") for name in grid.runs)


def test_numbers_that_yaml_takes_for_text_are_converted(place):
    Path("grid.yaml").write_text("{notebook: chapter.md, output: out, runs: [{rate: 1e-3}]}")
    assert yaml.safe_load(Path("grid.yaml").read_text())["runs"] == [{"rate": "1e-3"}]
    assert list(read_grid("grid.yaml").runs.values()) == [{"rate": 0.001}]


def test_a_text_in_braces_is_filled_with_parameters_and_defaults(place):
    grid = read_grid(write(base={"text": "n{number}-{rate:g}-{folder}"}, grid={"rate": [1.0, 0.25]}))
    assert [run["text"] for run in grid.runs.values()] == ["n0-1-marks", "n0-0.25-marks"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"runs": [{"nummer": 1}]}, r"grid 'grid.yaml', run \{'nummer': 1\}: there is no parameter 'nummer'"),
        ({"grid": {"number": [1, "two"]}}, r"run \{'number': 'two'\}: number must be int; got 'two'"),
        ({"runs": [{"text": "{seed}"}]}, r"a text in braces cannot be filled .* number, rate, text, folder: KeyError\('seed'\)"),
        ({}, "grid or runs must say what to run"),
        ({"grid": {"number": 1}}, r"grid must map parameters to lists of values; got \{'number': 1\}"),
        ({"grid": {"number": []}}, r"grid must map parameters to lists of values; got \{'number': \[\]\}"),
        ({"runs": {"number": 1}}, r"runs must be a list of mappings of parameters; got \{'number': 1\}"),
        ({"base": [1], "runs": [{}]}, r"base must be a mapping of parameters; got \[1\]"),
        ({"runs": [{}], "output": None}, "output must be a path; got None"),
        ({"runs": [{}], "seeds": [1]}, "'seeds' is unknown, known are notebook, output, base, grid, runs"),
        ({"runs": [{}], "notebook": "no.md"}, r"notebook must be a file that ends in \.md or \.ipynb; got 'no.md'"),
    ],
)
def test_a_wrong_grid_is_refused(place, content, message):
    with pytest.raises(ValueError, match=message):
        read_grid(write(**content))


@pytest.mark.parametrize("text", ["[1, 2", "just text", ""])
def test_a_file_that_is_no_grid_is_refused(place, text):
    Path("grid.yaml").write_text(text)
    with pytest.raises(
        ValueError, match="grid 'grid.yaml' (cannot be read|must be a mapping with notebook, output, base, grid, runs)"
    ):
        read_grid("grid.yaml")
    with pytest.raises(ValueError, match="grid 'nowhere.yaml' cannot be read"):
        read_grid("nowhere.yaml")


def test_the_grid_of_the_regimes_is_three_by_five():
    content = yaml.safe_load((Path(__file__).parent.parent / "sweeps" / "regimes.yaml").read_text())
    assert content["base"]["epochs"] == 100
    assert (content["base"]["network"], content["base"]["dataset"]) == ("mlp512", "cifar10")
    assert content["grid"] == {"laziness": [0.5, 1, 5], "seed": [0, 1, 2, 3, 4]}


# Keys


def test_the_key_changes_with_parameters_code_and_training_code_and_not_with_text(place, monkeypatch):
    notebook = read_notebook("chapter.md")
    key = run_key(notebook, {"number": 1, "rate": 0.5})
    assert run_key(notebook, {"rate": 0.5, "number": 1}) == key
    assert run_key(notebook, {"number": 2, "rate": 0.5}) != key
    Path("chapter.md").write_text(CHAPTER.replace("# A tiny chapter", "# Another title"))
    assert run_key(read_notebook("chapter.md"), {"number": 1, "rate": 0.5}) == key
    Path("chapter.md").write_text(CHAPTER.replace("no such luck", "bad luck"))
    assert run_key(read_notebook("chapter.md"), {"number": 1, "rate": 0.5}) != key

    library = Path(module.__file__).parents[1]
    shutil.copytree(library, place / "rmtlib")
    monkeypatch.setattr(module, "__file__", str(place / "rmtlib" / "notebooks" / "sweep.py"))
    keys = [run_key(notebook, {"number": 1, "rate": 0.5})]
    assert keys == [key]
    for file in ("notebooks/launch.py", "laws.py", "learning/training.py", "ensembles.py", "runs.py"):
        with open(place / "rmtlib" / file, "a") as code:
            code.write("\n")
        keys.append(run_key(notebook, {"number": 1, "rate": 0.5}))
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys)) == 4


# Sweeps


def test_a_failing_run_is_reported_and_stops_nothing_and_what_is_done_is_skipped(place, scheduler, capsys):
    grid = write(grid={"number": [1, 2, 3]}, runs=[{"number": 4, "text": "fail"}])
    assert main(["sweep", grid, "--scheduler", scheduler]) == 1
    report = capsys.readouterr().out
    assert report.startswith(
        "0 runs were done before, 3 are done now, 1 failed\n  NotebookError: RuntimeError: no such luck\n    see "
    )
    log = Path(re.search("see (.*)", report)[1])
    assert log.parent == Path("out")
    assert "number 4" in log.read_text()
    assert "RuntimeError: no such luck" in log.read_text()
    assert [executions(number) for number in (1, 2, 3, 4)] == [1, 1, 1, 1]
    notebooks = sorted(Path("out").glob("*.ipynb"))
    assert [re.search(r"number=(\d)", path.name)[1] for path in notebooks] == ["1", "2", "3"]
    assert all(path.with_suffix(".log").read_text().endswith("== done\n") for path in notebooks)
    assert "threads 1" in notebooks[0].with_suffix(".log").read_text()
    assert json.loads(notebooks[0].read_text())["metadata"]["rmtlib"]["parameters"] == {"number": 1}

    # Again: one result is damaged, one run still fails, and nothing else is executed.
    (place / "out" / notebooks[1].name).write_text("{")
    result = sweep(grid, scheduler=scheduler, progress=False)
    assert [path.name for path in result.skipped] == [notebooks[0].name, notebooks[2].name]
    assert [path.name for path in result.finished] == [notebooks[1].name]
    assert list(result.failed) == [log.absolute()]
    assert [executions(number) for number in (1, 2, 3, 4)] == [1, 2, 1, 2]


def test_a_sweep_that_is_all_done_needs_no_cluster(place, monkeypatch, capsys):
    grid = write(grid={"number": [1, 2]})
    loaded = read_grid(grid)
    (place / "out").mkdir()
    for name, parameters in loaded.runs.items():
        (place / "out" / name).write_text(json.dumps({"metadata": {"rmtlib": {"key": run_key(loaded.notebook, parameters)}}}))
    monkeypatch.setattr(module, "open_client", lambda *args: pytest.fail("started a cluster"))
    assert main(["sweep", grid]) == 0
    assert capsys.readouterr().out == "2 runs were done before, 0 are done now, 0 failed\n"


def test_all_runs_finish_when_a_worker_is_killed(place, scheduler):
    grid = write(runs=[{"number": 1, "text": "kill the worker"}, {"number": 2}, {"number": 3}])
    report = sweep(grid, scheduler=scheduler, progress=False)
    assert report.failed == {}
    assert len(report.finished) == 3
    assert executions(1) == 2


def test_a_killed_sweep_goes_on_after_the_last_epoch_of_its_training(place):
    Path("chapter.md").write_text(TRAINING)
    grid = write(base={"runs_folder": "trained"}, grid={"seed": [5]})
    command = [sys.executable, "-m", "rmtlib", "sweep", grid, "--workers", "1"]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(Path("waiting").exists, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    run = Path("trained") / "mlp512-digits-alpha1-seed5-epochs3-batch480"
    assert sorted(os.listdir(run)) == ["checkpoint.safetensors"]
    assert not list(Path("out").glob("*.ipynb"))

    (log,) = Path("out").glob("*.log")
    second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # The kernel that the first sweep leaves behind ends within a second or so, before the second one has started its own.
    wait_for(lambda: log.read_text().count("== ") == 2, second)
    Path("go").touch()
    output, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert output == "0 runs were done before, 1 are done now, 0 failed\n"
    # One epoch was left: its test accuracy and, at the end, the training accuracy.
    assert "evaluated 2 times" in log.read_text()
    assert sorted(os.listdir(run)) == ["history.csv", "run.json", "weights.safetensors"]
    assert len((run / "history.csv").read_text().splitlines()) == 1 + 3
    assert "trained.dense1.weight" in load_file(run / "weights.safetensors")


def test_a_scheduler_that_does_not_answer_is_named(place, monkeypatch, capsys):
    def refuse(address, **options):
        msg = "Timed out"
        raise OSError(msg)

    monkeypatch.setattr("dask.distributed.Client", refuse)
    monkeypatch.setenv("SCHEDULER", "tcp://127.0.0.1:1")
    assert main(["sweep", write(runs=[{}])]) == 2
    assert "no dask scheduler answers at 'tcp://127.0.0.1:1' within 20 s (Timed out)" in capsys.readouterr().err


def test_a_wrong_grid_or_number_of_workers_ends_with_status_2(place, capsys):
    assert main(["sweep", write()]) == 2
    assert "grid or runs must say what to run" in capsys.readouterr().err
    assert main(["sweep", write(runs=[{}]), "--workers", "0"]) == 2
    assert "workers must be an integer of at least 1; got 0" in capsys.readouterr().err
    assert not (place / "out").exists()
