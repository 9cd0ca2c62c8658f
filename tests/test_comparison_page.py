"""The comparison from end to end, as `rmtlib compare` runs it."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from safetensors.numpy import load_file

import rmtlib
from rmtlib.cli import main
from rmtlib.comparison_words import in_words
from rmtlib.report.changes import COLUMNS, change_statistics
from rmtlib.report.page import template

from . import builders

EVIL = '=1+1<script>alert(1)</script>\n\x1b[31m"><img src=x>'
SHAPE = (100, 80)


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def networks(folder, *, step=None):
    """Base and tuned: one layer with two directions, one that shrank, one unchanged; one on either side only."""
    base = {name: builders.gaussian(*SHAPE, seed=seed) for seed, name in enumerate(("two", "less", EVIL, "gone"))}
    two = builders.gaussian(SHAPE[0], 2, seed=8) @ builders.gaussian(2, SHAPE[1], seed=9)
    share = 1.0 if step is None else step / 10
    tuned = {
        "two": base["two"] + share * (0.1 * builders.gaussian(*SHAPE, seed=7) + two),
        "less": base["less"] + share * (0.1 * builders.gaussian(*SHAPE, seed=6) - 0.1 * base["less"]),
        EVIL: base[EVIL],
        "new": base["gone"],
    }
    name = "tuned" if step is None else f"step-{step}"
    return [
        builders.safetensors(folder / file, {f"{layer}.weight": np.ascontiguousarray(W) for layer, W in arrays.items()})
        for file, arrays in (("base.safetensors", base), (f"{name}.safetensors", tuned))
    ]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def made(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    assert main(["compare", *map(str, files), "-o", str(folder / "mine"), "--intruders"]) == 0
    assert sorted(os.listdir(folder)) == ["mine.csv", "mine.html", "mine.json"]
    return [folder / f"mine.{suffix}" for suffix in ("html", "csv", "json")]


@pytest.fixture(scope="module")
def page(made):
    return Elements(made[0].read_text())


def test_table_and_json_hold_the_numbers_of_the_library(files, made):
    expected = rmtlib.compare(*files, True, progress=False)
    rows = {row["layer"]: row for row in csv.DictReader(made[1].open())}
    found = json.loads(made[2].read_text())
    assert found["schema"] == 1
    assert [row["layer"] for row in found["layers"]] == expected.table["layer"].tolist()
    for row, told in zip(found["layers"], expected.table.to_dict("records"), strict=True):
        for column in ("update_size", "rank", "alignment", "overlap_pvalue", "intruders", "sigma_tuned"):
            assert row[column] == pytest.approx(told[column], rel=1e-12)
    assert float(rows["two"]["rank"]) == 2
    assert found["left_out"] == [{"layer": "new", "reason": "only in tuned"}, {"layer": "gone", "reason": "only in base"}]
    assert len(found["vectors"]["two"]["pvalues"]) == 20
    assert found["text"] == expected.text


def test_the_page_says_where_it_comes_from_and_names_no_folder(files, made):
    origin = json.loads(made[2].read_text())["provenance"]
    assert origin["base"]["sha256"] == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert origin["tuned"][0]["files"] == [{"name": "tuned.safetensors", "bytes": files[1].stat().st_size}]
    assert origin["parameters"] == {"intruders": True, "layers": None, "seed": 0}
    for file in made:
        assert str(files[0].parent) not in file.read_text()
        assert str(file.parent) not in file.read_text()


def test_the_page_runs_nothing_and_asks_nothing_of_another_host(made, page):
    for tag, attributes in page.found:
        assert tag not in ("script", "link", "iframe", "object", "embed", "img", "use", "image")
        assert not {"src", "srcset", "data", "poster", "action", "onclick", "onload"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
    html = made[0].read_text()
    assert not re.search(r"https?://|@import|url\(", html)
    assert "default-src 'none'" in html


def test_the_first_paragraph_says_what_changed(files, page):
    text = " ".join(page.text)
    assert "3 layers of both networks are compared. 1 layer did not change." in text
    assert "It has directions beyond noise in two (2); in 1 layer it has none." in text
    before, after = (load_file(file)["less.weight"].ravel() for file in files)
    cosine = np.vdot(before, after - before) / np.linalg.norm(before) / np.linalg.norm(after - before)
    assert f"It points against the base, which shrinks, in less (cosine {cosine:.2f})." in text
    assert "Left out: 2 layers, first new (only in tuned)." in text
    assert "largest effect" not in text  # the legend of a map without signs


def test_links_lead_to_layers_and_columns_are_explained(page):
    ids = {attributes["id"] for _, attributes in page.found if "id" in attributes}
    leads = {attributes["href"].removeprefix("#") for tag, attributes in page.found if tag == "a"}
    assert leads == ids == {"layer-0", "layer-1", "layer-2"}
    text = " ".join(page.text)
    for column in COLUMNS:
        assert f"{column.head} ({column.unit})" in text
        assert column.meaning in text


def test_the_smallest_q_are_not_told_apart_and_vectors_stand_in_three_lines(files, made):
    html = made[0].read_text()
    assert "<td>&lt; 1e-10</td>" in html
    table = re.search(r'<table class="vectors">(.*?)</table>', html, re.S)[1]
    numbered, cosines, pvalues = ([float(x) for x in re.findall(r"<td>(.*?)</td>", line)] for line in table.strip().split("\n"))
    assert numbered == list(range(1, 21))
    found = json.loads(made[2].read_text())
    first = found["vectors"][next(row["layer"] for row in found["layers"])]
    assert cosines == pytest.approx(first["cosines"], abs=0.006)
    assert pvalues == pytest.approx(first["pvalues"], abs=0.006)


def test_long_names_break_at_their_parts():
    shown = template("comparison.html").environment.from_string("{{ name | breakable }}")
    assert shown.render(name="layers.0.q_proj<b>/x.") == "layers.<wbr>0.<wbr>q_proj&lt;b&gt;/<wbr>x."


def test_names_of_any_kind_stay_text(files, made, capsys):
    html = made[0].read_text()
    assert not re.search(r"<script|<img|\x1b", html)
    cells = [row["layer"] for row in csv.DictReader(made[1].open())]
    assert not any(cell.startswith("=") or "\n" in cell or "\x1b" in cell for cell in cells)
    assert EVIL in [row["layer"] for row in json.loads(made[2].read_text())["layers"]]
    assert main(["compare", *map(str, files), "--layers", "no such"]) == 2
    assert "\x1b[31m" not in capsys.readouterr().err


def test_the_heat_map_has_signs_and_q(files):
    table = rmtlib.compare(*files, progress=False).table
    of = {statistic.label: statistic for statistic in change_statistics(table)}
    rows = {layer: row for row, layer in enumerate(table["layer"])}
    along, directions = of["along the base"], of["directions beyond noise"]
    assert along.effects[rows["less"]] < -0.5
    assert along.qvalues[rows["less"]] < 0.001
    assert directions.effects[rows["two"]] == 2 / 80
    assert directions.qvalues[rows["two"]] < 0.001 < directions.qvalues[rows["less"]]
    assert of["width of the noise"].effects[rows["less"]] == pytest.approx(np.hypot(0.9, 0.1) - 1, abs=0.02)
    assert of["stable rank"].effects[rows["two"]] < -0.2
    assert of["top directions gone"].effects[rows[EVIL]] == pytest.approx(0, abs=1e-9)
    assert "new vectors" not in of


def test_the_paragraph_of_one_layer_and_of_none():
    W = builders.gaussian(*SHAPE)
    same = rmtlib.compare({"fc": W}, {"fc": W.copy()}, progress=False)
    assert same.text == "1 layer of both networks is compared. Nothing changed."
    small = rmtlib.compare({"fc": W, "z": 0 * W}, {"fc": W, "z": W + 1}, layers="z", progress=False)
    assert small.text == "None of 1 layer could be compared; the lines below say why."
    assert in_words(small.table) == small.text


def test_a_layer_that_cannot_be_read_has_its_row_and_says_on_which_side(files, tmp_path):
    for side, file in zip(("base", "tuned"), files, strict=True):
        spoilt = load_file(file)
        spoilt["two.weight"][3, 3] = np.nan
        given = {"base": files[0], "tuned": files[1]} | {side: builders.safetensors(tmp_path / f"{side}.safetensors", spoilt)}
        assert main(["compare", str(given["base"]), str(given["tuned"]), "-o", str(tmp_path / "out")]) == 0
        row = next(row for row in json.loads((tmp_path / "out.json").read_text())["layers"] if row["layer"] == "two")
        assert row["summary"] == f"two: not compared: in {side}, 1 of 8000 entries are nan or infinite"
        assert row["shape"] == list(SHAPE)
        assert row["update_size"] is None
        assert "1 layer could not be compared" in (tmp_path / "out.html").read_text()


def test_a_folder_of_checkpoints_is_shown_along_its_steps(tmp_path, capsys):
    for step in (2, 10, 5):
        base, tuned = networks(tmp_path, step=step)
        (tmp_path / "run").mkdir(exist_ok=True)
        tuned.rename(tmp_path / "run" / tuned.name)
    assert main(["compare", str(base), str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 0
    assert "compared at step 10." in capsys.readouterr().out
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["step"] for row in found["layers"]] == ["2"] * 3 + ["5"] * 3 + ["10"] * 3
    sizes = [row["update_size"] for row in found["layers"] if row["layer"] == "two"]
    assert np.array(sizes) / sizes[-1] == pytest.approx([0.2, 0.5, 1.0], rel=1e-3)
    assert [side["step"] for side in found["provenance"]["tuned"]] == ["2", "5", "10"]
    html = (tmp_path / "out.html").read_text()
    assert "Along the training" in html
    assert "size of the update against the step of the training: 3 layers and their median" in html
    median = re.search(r'<path d="M([^"]*)" fill="none" stroke="[^"]*" stroke-width="2.5"', html)[1]
    x, y = np.array([point.split() for point in median.split("L")], float).T
    assert np.diff(x) / (x[-1] - x[0]) == pytest.approx([3 / 8, 5 / 8], abs=0.01)
    assert y[0] - y == pytest.approx((y[0] - y[-1]) * np.array([0, 3 / 8, 1]), abs=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["base.safetensors", "none.safetensors"], "none.safetensors"),
        (["none", "base.safetensors"], "none"),
        (["base.safetensors", "empty"], "empty"),
        (["base.safetensors", "other.safetensors"], "base and tuned have no layer in common: base has .*, tuned has 'fc'"),
        (["adapter.safetensors", "base.safetensors"], "base is an adapter"),
        (["base.safetensors", "base.safetensors", "--layers", "("], "layers must be a regular expression"),
        (["base.safetensors", "base.safetensors", "--seed", "-1"], "seed must be"),
        (["base.safetensors", "base.safetensors", "--workers", "0"], "workers must be"),
        (["base.safetensors", "base.safetensors", "-o", "base.safetensors/x"], "output must be in a folder that can be made"),
    ],
)
def test_what_cannot_be_compared_gives_status_2_and_no_file(arguments, message, files, tmp_path, monkeypatch, capsys):
    shutil.copy(files[0], tmp_path)
    builders.safetensors(tmp_path / "other.safetensors", {"fc.weight": builders.gaussian(*SHAPE)})
    factors = {f"two.lora_{side}.weight": builders.gaussian(*shape) for side, shape in (("B", (100, 4)), ("A", (4, 80)))}
    builders.safetensors(tmp_path / "adapter.safetensors", factors)
    (tmp_path / "empty").mkdir()
    before = sorted(os.listdir(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error
    assert sorted(os.listdir(tmp_path)) == before


def test_a_page_that_cannot_be_written_leaves_no_json_of_its_own(files, tmp_path, monkeypatch, capsys):
    opened, csv = open, tmp_path / "out.csv"

    def full(path, mode="r", *args, **options):
        if ".html." in str(path) and "x" in mode and csv.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *args, **options)

    monkeypatch.setattr("builtins.open", full)
    assert main(["compare", *map(str, files), "-o", str(tmp_path / "out")]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["out.csv"]


# Checkpoints that cannot be read


@pytest.fixture
def checkpoints(tmp_path):
    """A base, and checkpoints of steps 1 and 10."""
    for step in (1, 10):
        base, tuned = networks(tmp_path, step=step)
        (tmp_path / f"run/checkpoint-{step}").mkdir(parents=True)
        tuned.rename(tmp_path / f"run/checkpoint-{step}/model.safetensors")
    return base, tmp_path / "run"


def spoil_by_truncating(folder, whole):
    (folder / "model.safetensors").write_bytes(whole[:900])


def spoil_by_emptying(folder, whole):
    (folder / "model.safetensors").touch()


def spoil_by_a_pointer(folder, whole):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")


def spoil_by_a_missing_shard(folder, whole):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"two.weight": "gone.safetensors"}}')


SPOILT = {
    "is not a whole safetensors file": spoil_by_truncating,
    "is empty": spoil_by_emptying,
    "is a Git LFS pointer": spoil_by_a_pointer,
    "names 1 of 1 shards that are missing": spoil_by_a_missing_shard,
    "holds no checkpoint": lambda folder, whole: None,
}


@pytest.mark.parametrize("reason", SPOILT)
def test_a_checkpoint_that_cannot_be_read_is_named_with_its_step_and_the_reason(reason, checkpoints, tmp_path, capsys):
    base, run = checkpoints
    (run / "checkpoint-2").mkdir()
    (run / "logs-3").mkdir()
    SPOILT[reason](run / "checkpoint-2", (run / "checkpoint-1/model.safetensors").read_bytes())
    assert main(["compare", str(base), str(run), "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    found, html = json.loads((tmp_path / "out.json").read_text()), (tmp_path / "out.html").read_text()
    (left,) = [left for left in found["left_out"] if "step" in left]
    assert left["step"] == "2"
    assert reason in left["reason"]
    assert f"The checkpoint of step 2 cannot be read: {left['reason']}." in printed
    assert found["text"] in printed
    assert f"<td>step 2, all layers</td><td>{left['reason']}" in html
    assert str(tmp_path) not in html + printed.splitlines()[0]
    assert {row["step"] for row in found["layers"]} == {"1", "10"}
    assert main(["compare", str(base), str(run), "--dry-run"]) == 0
    assert f"step 2 is left out: {left['reason']}" in capsys.readouterr().out


def test_one_checkpoint_that_can_be_read_is_enough_and_none_is_refused_by_its_reason(checkpoints, tmp_path, capsys):
    base, run = checkpoints
    spoil_by_truncating(run / "checkpoint-1", (run / "checkpoint-1/model.safetensors").read_bytes())
    assert main(["compare", str(base), str(run), "-o", str(tmp_path / "out")]) == 0
    assert "compared at step 10. " in capsys.readouterr().out
    spoil_by_truncating(run / "checkpoint-10", (run / "checkpoint-10/model.safetensors").read_bytes())
    before = sorted(os.listdir(tmp_path))
    shutil.rmtree(run / "checkpoint-1")
    assert main(["compare", str(base), str(run), "-o", str(tmp_path / "other")]) == 2
    assert "holds no checkpoint that can be read: checkpoint-10/model.safetensors is not a whole" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == before
