"""The plan of the studies, and the driver that follows it."""

import inspect
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load_file

import rmtlib
from rmtlib.files import file_sha256
from rmtlib.learning import TrainingConfig, load_run, train
from rmtlib.notebooks.sweep import read_grid
from studies.__main__ import main
from studies.keep import keep
from studies.plan import PACKAGED, STUDIES, PlanError, read_plan
from studies.registry import write_registry
from studies.tables import replace_rows

ROOT = Path(__file__).parents[1]
NAME = "mlp512-digits-alpha1-seed0-epochs1"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(TrainingConfig(epochs=1), folder=tmp_path_factory.mktemp("runs"), progress=False)


def plan_file(tmp_path, **sections):
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump(sections))
    return file


# The plan of the book


def test_every_file_of_data_is_made_by_the_plan_from_runs_of_the_grid(monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = read_plan()
    tables = {str(path.relative_to("data")) for path in Path("data").glob("**/*.csv") if "runs" not in path.parts}
    outputs = {entry.output for entry in (*plan.measure, *plan.draw, *plan.packages)}
    assert outputs == tables - {"filtering/factored_forward.csv"} | {"motion.safetensors"}
    fields = set(asdict(TrainingConfig()))
    asked = [
        TrainingConfig(**{name: value for name, value in parameters.items() if name in fields}).name
        for parameters in read_grid("sweeps/book.yaml").runs.values()
    ]
    assert all(entry.choose(asked) for entry in plan.measure)
    assert {entry.config.name for entry in plan.train} <= set(asked)
    assert all(plan.tensors_of(name) for name in asked)


def test_what_is_followed_epoch_by_epoch_is_trained_for_it(monkeypatch):
    plan = read_plan()
    kept = {entry.config.name: entry.layers for entry in plan.train}
    for entry in plan.measure:
        if entry.study in ("motion", "rivals"):
            assert {name for name in kept if entry.choose([name])}
    (moving,) = [entry for entry in plan.measure if entry.study == "motion"]
    assert kept[moving.runs[0]] == ("dense2",)


def test_rows_of_the_tables_are_those_that_the_plan_chooses_in_its_order():
    plan = read_plan()
    for entry in plan.measure:
        if entry.output.endswith(".csv"):
            names = list(pd.read_csv(ROOT / "data" / entry.output)["run"].unique())
            assert entry.choose(reversed(names)) == names


def test_the_book_keeps_of_each_run_what_the_plan_says():
    plan = read_plan()
    for path in (ROOT / "data" / "runs").iterdir():
        tensors = load_file(path / "weights.safetensors")
        layers = {name.split(".")[1] for name in tensors if name.startswith("trained.")}
        precise = all(tensor.dtype == np.float32 for tensor in tensors.values())
        assert plan.tensors_of(path.name) == ("all" if precise else "half" if len(layers) > 1 else "layer")


# Plans that cannot be followed


GOOD = {"study": "filtering", "output": "out.csv", "runs": ["a"]}
GOOD_PACKAGE = {"study": "small_levels", "output": "out.csv"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "must have sections among train, draw, measure, packages, keep; got"),
        ({"measured": []}, "must have sections among train, draw, measure, packages, keep; got measured"),
        ({"draw": [{"draw": "dice", "output": "dice.csv"}]}, "entry 1 of draw: draw must be one of noise, .*; got 'dice'"),
        ({"draw": [{"draw": "noise", "output": "noise.csv", "options": {"sides": 6}}]}, "options of noise must be among seeds, "),
        ({"measure": [{"study": "filtering"}]}, "entry 1 of measure: an entry must have output, runs, study and may have except"),
        (
            {"measure": [GOOD, GOOD | {"study": "weighing"}]},
            "entry 2 of measure: study must be one of .*; got 'weighing'",
        ),
        ({"measure": [GOOD | {"output": "../out.csv"}]}, r"output must be a path inside data/; got '\.\./out.csv'"),
        ({"measure": [GOOD | {"output": "/out.csv"}]}, "output must be a path inside data/; got '/out.csv'"),
        ({"measure": [GOOD | {"options": {"images": 3}}]}, "options of filtering must be among none; got images"),
        ({"measure": [GOOD | {"study": "motion", "options": {"lay": 3}}]}, "options of motion must be among layer; got lay"),
        ({"measure": [GOOD | {"runs": "a"}]}, "runs must be a list of names; got 'a'"),
        ({"measure": [GOOD | {"except": []}]}, r"except must be a list of names; got \[\]"),
        (
            {"packages": [{"study": "filtering", "output": "x.csv"}]},
            "entry 1 of packages: study must be one of small_damage, .*; got 'fi",
        ),
        (
            {"packages": [{"study": "small_levels", "output": "../x.csv"}]},
            r"entry 1 of packages: output must be a path inside data/",
        ),
        ({"packages": [{"study": "small_levels"}]}, "entry 1 of packages: an entry must have output, study; got study"),
        ({"train": [{"config": {"epochs": 0}}]}, "entry 1 of train: epochs must be an integer of at least 1; got 0"),
        ({"train": [{"config": {"epoch": 3}}]}, "entry 1 of train: .*unexpected keyword argument 'epoch'"),
        ({"keep": [{"tensors": "some", "runs": ["a"]}]}, "entry 1 of keep: tensors must be one of all, half, layer; got 'some'"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(content, message, tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(PlanError, match=message):
        read_plan(file)


def test_patterns_choose_runs_and_order_them(tmp_path):
    entry = GOOD | {"runs": ["z*", "a*"], "except": ["*-noise"]}
    (entry,) = read_plan(plan_file(tmp_path, measure=[entry])).measure
    assert entry.choose(["a2", "b", "z1", "a1", "a1-noise", "z0"]) == ["z0", "z1", "a1", "a2"]


def test_the_first_line_that_matches_says_what_is_kept(tmp_path):
    plan = read_plan(plan_file(tmp_path, keep=[{"tensors": "all", "runs": ["a1"]}, {"tensors": "layer", "runs": ["a*"]}]))
    assert [plan.tensors_of(name) for name in ("a1", "a2", "b")] == ["all", "layer", None]


# The driver


def test_finished_runs_of_any_folder_are_measured_into_the_data(trained, tmp_path, capsys):
    (trained.path.parent / "unfinished").mkdir(exist_ok=True)
    entries = [
        {"study": "directions", "output": "deep/directions.csv", "runs": ["mlp512-*"], "options": {"draws": 20}},
        {"study": "linearized", "output": "linearized.csv", "runs": ["mlp512-*"]},
    ]
    plan, data = plan_file(tmp_path, measure=entries), tmp_path / "data"
    where = ["--runs", str(trained.path.parent), "--data", str(data), "--plan", str(plan)]
    data.mkdir()
    (data / "linearized.csv").write_text(
        "run,layer,test_accuracy\nmlp512-z,dense2,0.10\n" + f"{NAME},dense2,0.2\n{NAME},dense3,0.3\n"
    )
    assert main(["measure", "linearized", *where]) == 0
    assert capsys.readouterr().out == f"linearized: {NAME} -> {data / 'linearized.csv'}\n"
    rows = pd.read_csv(data / "linearized.csv", dtype=str, keep_default_na=False)
    assert rows["run"].tolist() == [NAME, NAME, "mlp512-z"]
    assert rows["layer"].tolist() == ["dense2", "dense3", "dense2"]
    assert rows["test_accuracy"].tolist() == [f"{trained.test_accuracy:.6g}", "0.3", "0.10"]
    assert (rows["update_size"] == "").tolist() == [False, True, True]
    assert not (data / "deep").exists()
    assert main(["measure", *where]) == 0
    assert len(pd.read_csv(data / "deep" / "directions.csv")) == 120
    registry = (data / "registry.txt").read_text()
    assert f"deep/directions.csv {file_sha256(data / 'deep' / 'directions.csv')} make data" in registry


def test_a_run_that_was_thinned_is_named_and_the_others_are_measured(trained, tmp_path, capsys):
    runs, data = tmp_path / "runs", tmp_path / "data"
    keep(trained, runs, tensors="layer")
    thinned = (runs / NAME).rename(runs / "a-thinned")
    keep(trained, runs, tensors="all")
    plan = plan_file(tmp_path, measure=[{"study": "linearized", "output": "linearized.csv", "runs": ["*"]}])
    assert main(["measure", "--runs", str(runs), "--data", str(data), "--plan", str(plan)]) == 1
    assert f"linearized: run '{thinned.name}' keeps no trained dense1.weight" in capsys.readouterr().err
    assert pd.read_csv(data / "linearized.csv")["run"].tolist() == [NAME]


def test_networks_of_packages_are_measured_without_runs(tmp_path, capsys, monkeypatch):
    rows = pd.DataFrame({"layer": ["0.query"], "x": [1 / 3]})
    monkeypatch.setitem(PACKAGED, "small_levels", lambda: rows)
    monkeypatch.setitem(PACKAGED, "small_damage", pd.DataFrame)
    entries = [{"study": name, "output": f"transformer/{name}.csv"} for name in ("small_levels", "small_damage")]
    plan, data = plan_file(tmp_path, packages=entries), tmp_path / "data"
    where = ["--runs", str(tmp_path), "--data", str(data), "--plan", str(plan)]
    assert main(["measure", "small_levels", *where]) == 0
    assert (data / "transformer" / "small_levels.csv").read_text() == "layer,x\n0.query,0.33333\n"
    assert "transformer/small_levels.csv" in (data / "registry.txt").read_text()
    assert main(["measure", *where]) == 1
    assert "small_damage: the package of its network is missing" in capsys.readouterr().err
    assert main(["measure", "small_levels", "--only", "mlp*", *where]) == 1
    assert "no finished run" in capsys.readouterr().err


@pytest.mark.parametrize("only", ["other", "*-noise*"])
def test_nothing_to_measure_is_said(only, trained, tmp_path, capsys):
    plan = plan_file(tmp_path, measure=[{"study": "filtering", "output": "out.csv", "runs": ["mlp512*"]}])
    where = ["--runs", str(trained.path.parent), "--plan", str(plan), "--data", str(tmp_path), "--only", only]
    assert main(["measure", *where]) == 1
    assert "no finished run in" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "message"), [(None, "No such file"), ("a: [", "must be YAML"), ("[]", "must have sections")])
def test_a_plan_that_cannot_be_read_is_said_in_one_line(content, message, tmp_path, capsys):
    if content:
        (tmp_path / "plan.yaml").write_text(content)
    assert main(["train", "--plan", str(tmp_path / "plan.yaml")]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", ["train", "measure", "keep"])
def test_an_interruption_ends_with_its_own_status(command, monkeypatch, capsys):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("studies.__main__.read_plan", interrupted)
    assert main([command]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_nothing_to_keep_is_said(trained, tmp_path, capsys):
    plan = plan_file(tmp_path, keep=[{"tensors": "all", "runs": ["other*"]}])
    assert main(["keep", "--runs", str(trained.path.parent), "--plan", str(plan), "--data", str(tmp_path)]) == 1
    assert "no finished run in" in capsys.readouterr().err


def test_an_unknown_study_is_refused(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["measure", "weighing"])
    assert stopped.value.code == 2
    assert "STUDY must be one of compression, directions" in capsys.readouterr().err


def test_networks_are_trained_epoch_by_epoch_and_followed(tmp_path):
    config = {"epochs": 1, "seed": 3}
    name = TrainingConfig(**config).name
    plan = plan_file(
        tmp_path,
        train=[{"config": config, "layers": ["dense2"]}, {"config": {"epochs": 1, "seed": 4}}],
        measure=[{"study": "motion", "output": "motion.safetensors", "runs": [name]}],
    )
    where = ["--runs", str(tmp_path / "runs"), "--plan", str(plan)]
    assert main(["train", *where, "--only", name]) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [name]
    (tmp_path / "data").mkdir()
    assert main(["measure", *where, "--data", str(tmp_path / "data")]) == 0
    nu = load_file(tmp_path / "data" / "motion.safetensors")["nu"]
    W = rmtlib.ensembles.glorot_uniform((512, 512), [3, 2])
    np.testing.assert_allclose(nu[0], rmtlib.spectrum(W, vectors=False).nu, rtol=1e-4, atol=1e-5)


def test_every_study_measures_a_run_on_data():
    for study in STUDIES.values():
        assert list(inspect.signature(study.measure).parameters)[:2] == ["run", "data"]


# Runs that are kept


def test_a_kept_run_is_smaller_and_whole(trained, tmp_path):
    kept = keep(trained, tmp_path, tensors="all")
    before, after = load_file(trained.weights_file), load_file(kept.weights_file)
    assert {name for name in before if name not in after} == {
        f"initial.dense{i}.{part}" for i in (1, 3, 4) for part in ("weight", "bias")
    }
    assert all(np.array_equal(before[name], after[name]) for name in after)
    assert len(rmtlib.load_weights(kept, min_levels=2)) == 4
    assert (kept.config, kept.test_accuracy) == (trained.config, trained.test_accuracy)


@pytest.mark.parametrize(("tensors", "layers"), [("half", {"dense1", "dense2", "dense3", "dense4"}), ("layer", {"dense2"})])
def test_a_run_may_be_kept_in_half_precision(trained, tmp_path, tensors, layers):
    kept = keep(trained, tmp_path, tensors=tensors)
    before, after = load_file(trained.weights_file), load_file(kept.weights_file)
    assert {tuple(name.split(".")[:2]) for name in after} == {("trained", layer) for layer in layers}
    for name, tensor in after.items():
        assert tensor.dtype == np.float16
        np.testing.assert_allclose(tensor, before[name], rtol=2**-11, atol=2**-25)


def test_what_cannot_be_kept_is_refused(trained, tmp_path):
    with pytest.raises(ValueError, match="tensors must be one of all, half, layer; got 'few'"):
        keep(trained, tmp_path, tensors="few")
    with pytest.raises(ValueError, match="layer must be one of run 'mlp512.*', which holds .*dense1.*; got 'conv1'"):
        keep(trained, tmp_path, tensors="layer", layer="conv1")
    assert not list(tmp_path.iterdir())


def test_the_driver_keeps_what_the_plan_says(trained, tmp_path):
    plan = plan_file(tmp_path, keep=[{"tensors": "layer", "runs": [NAME]}])
    arguments = ["keep", "--runs", str(trained.path.parent), "--plan", str(plan), "--data", str(tmp_path / "data")]
    assert main(arguments) == 0
    assert set(load_file(load_run(NAME, folder=tmp_path / "data" / "runs").weights_file)) == {
        "trained.dense2.weight",
        "trained.dense2.bias",
    }
    assert (tmp_path / "data" / "registry.txt").exists()


def test_an_altered_run_is_not_kept(trained, tmp_path, capsys):
    copy = tmp_path / "runs" / NAME
    copy.mkdir(parents=True)
    for file in trained.path.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    record = json.loads((copy / "run.json").read_text())
    record["sha256"]["history.csv"] = "0" * 64
    (copy / "run.json").write_text(json.dumps(record))
    plan = plan_file(tmp_path, keep=[{"tensors": "all", "runs": ["*"]}])
    assert main(["keep", "--runs", str(copy.parent), "--plan", str(plan), "--data", str(tmp_path / "data")]) == 1
    assert "history.csv differs from the file that the run wrote" in capsys.readouterr().err


def test_the_registry_names_the_command_of_every_file(trained, tmp_path):
    keep(trained, tmp_path / "runs", tensors="all")
    (tmp_path / "README.md").touch()
    (tmp_path / "table.csv").write_text("a\n1\n")
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "table.txt").write_text("It is read.\n")
    write_registry(tmp_path)
    lines = (tmp_path / "registry.txt").read_text().splitlines()
    assert lines[0] == "# file sha256 origin"
    *runs, table, text = lines[1:]
    assert text.endswith(" kept as it is")
    assert [line.split()[0] for line in runs] == [
        f"runs/{NAME}/{file}" for file in ("history.csv", "run.json", "weights.safetensors")
    ]
    assert all("-p laziness 1.0" in line and "-p seed 0" in line for line in runs)
    assert table == f"table.csv {file_sha256(tmp_path / 'table.csv')} make data"


# Tables


def test_rows_of_other_runs_stay_to_the_last_digit(tmp_path):
    file = tmp_path / "new" / "table.csv"
    replace_rows(file, pd.DataFrame({"run": ["b", "b"], "x": [1 / 3, 2.0], "kept": ["1 2", ""]}), digits=3)
    assert file.read_text() == "run,x,kept\nb,0.333,1 2\nb,2,\n"
    file.write_text("run,x,kept\na,0.10,3\nb,0.333,1 2\nc,1.0,none\n")
    replace_rows(file, pd.DataFrame({"run": ["b"], "x": [1e-7], "kept": ["4"], "extra": [0.5]}))
    assert file.read_text() == "run,x,kept,extra\na,0.10,3,\nb,1e-07,4,0.5\nc,1.0,none,\n"


def test_rows_stand_in_the_order_that_is_asked_for(tmp_path):
    file = tmp_path / "table.csv"
    for name in ("a", "c", "b"):
        replace_rows(file, pd.DataFrame({"run": [name, name], "x": [2, 1]}), order="cba".index)
    assert file.read_text() == "run,x\nc,2\nc,1\nb,2\nb,1\na,2\na,1\n"
