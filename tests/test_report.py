"""The report from end to end, as `rmtlib report` runs it."""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import rmtlib
from rmtlib import multiple, report
from rmtlib.cli import main
from rmtlib.report.columns import COLUMNS
from rmtlib.report.conditions import JUDGED, read_condition
from rmtlib.report.svg import Plot

from . import builders

ROOT = Path(__file__).parents[1]
NAME = "fc1<b>"


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def command(*arguments, **options):
    launcher = [sys.executable, "-m", "rmtlib", "report"]
    # A backend that is not installed: figures of a page need none, nor matplotlib.
    environment = os.environ | {"MPLBACKEND": "module://no_such_backend"}
    return subprocess.run([*launcher, *map(str, arguments)], capture_output=True, text=True, env=environment, **options)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Three layers, one of them with nan, and a bias."""
    arrays = {NAME + ".weight": builders.gaussian(120, 90), "fc2.weight": builders.gaussian(90, 80), "bad.weight": np.eye(90)}
    arrays["bad.weight"][3, 3] = np.nan
    arrays["fc2.bias"] = np.zeros(90)
    return builders.safetensors(tmp_path_factory.mktemp("network") / "my.safetensors", arrays)


@pytest.fixture(scope="module")
def made(network):
    done = command(network.name, "-o", "out/mine", cwd=network.parent)
    assert done.returncode == 0, done.stderr
    return [network.parent / line for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def page(made):
    return Elements(made[0].read_text())


@pytest.fixture(scope="module")
def planted():
    return rmtlib.analyse(rmtlib.ensembles.spiked((120, 90), 0, strengths=[4.0]).matrix, name="planted")


# The report


def test_page_table_and_json_lie_beside_each_other_and_nothing_else(network, made):
    there = ["out/mine.html", "out/mine.csv", "out/mine.json"]
    assert [path.relative_to(network.parent).as_posix() for path in made] == there
    assert sorted(os.listdir(network.parent / "out")) == ["mine.csv", "mine.html", "mine.json"]
    assert sorted(os.listdir(network.parent)) == ["my.safetensors", "out"]


def test_the_table_has_one_row_a_layer_with_the_numbers_of_the_library(network, made):
    table = pd.read_csv(made[1])
    expected = rmtlib.analyse_network(rmtlib.load_weights(network), progress=False)
    assert table["layer"].tolist() == ["bad", NAME, "fc2"]
    for column in ("spacing_calibrated_pvalue", "spacing_qvalue", "spacing_ratio", "bulk_fraction", "outliers", "input_rejected"):
        np.testing.assert_allclose(table[column], expected[column])


def test_the_page_has_its_parts_in_this_order(page):
    text = " ".join(page.text)
    heads = (
        "The network has",
        "at a glance",
        "The numbers",
        "The null:",
        "Layer by layer",
        "What was left out, and why",
        "comes from",
    )
    places = [text.index(word) for word in heads]
    assert places == sorted(places)
    first, _, _, null, rows, left_out, origin = (text[i:j] for i, j in zip(places, [*places[1:], len(text)], strict=True))
    assert "3 weight matrices with 170 levels" in first
    assert "Not analysed: bad" in first
    assert "noise 120 x 90" in null
    assert NAME in rows
    assert "1 of 8100 entries are nan or infinite" in left_out
    assert "bias vector" in left_out
    assert "my.safetensors" in origin


def test_the_page_asks_nothing_of_another_host_and_names_no_folder(network, made, page):
    for tag, attributes in page.found:
        assert tag not in ("script", "link", "iframe", "object", "embed", "img", "use", "image")
        assert not {"src", "srcset", "data", "poster", "action", "onclick", "onload"} & set(attributes)
        assert attributes.get("href", "#").startswith("#")
    html = made[0].read_text()
    assert not re.search(r"https?://|@import|url\(", html)
    assert "default-src 'none'" in html
    for file in (made[0], made[2]):
        assert str(network.parent) not in file.read_text()


def test_links_of_the_page_lead_to_its_layers(page):
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert ids == ["layer-0", "layer-1", "layer-2"]
    leads = {attributes["href"] for tag, attributes in page.found if tag == "a"}
    assert leads == {f"#{name}" for name in ids}


def test_every_figure_has_a_text_and_every_analysed_layer_four_panels_that_name_it(page):
    texts = [attributes["aria-label"] for tag, attributes in page.found if tag == "svg" and attributes.get("role")]
    for name in (NAME, "fc2"):
        assert sum(text.endswith(f" of {name}") for text in texts) == 4
    assert not any(text.endswith(" of bad") for text in texts)


def test_names_from_the_file_are_text_on_the_page(page):
    assert ("b", {}) in page.found  # of the page itself
    assert "fc1<b>" in page.text


def test_every_column_of_the_page_is_explained_with_its_unit(page):
    text = " ".join(page.text)
    assert len({column.head for column in COLUMNS}) == len(COLUMNS)
    for column in COLUMNS:
        assert f"{column.head} ({column.unit})" in text
        assert column.meaning in text


def test_the_page_speaks_of_q_and_of_no_single_p(page):
    heads = {column.name for column in COLUMNS}
    assert "spacing_qvalue" in heads
    assert not any("pvalue" in name for name in (*heads, *JUDGED))


def test_the_json_holds_the_numbers_of_the_table_and_says_where_they_come_from(network, made):
    found, table = json.loads(made[2].read_text()), pd.read_csv(made[1])
    assert found["schema"] == 1
    assert [row["layer"] for row in found["layers"]] == ["bad", NAME, "fc2"]
    assert found["layers"][0]["levels"] is None
    np.testing.assert_allclose([row["spacing_ratio"] for row in found["layers"][1:]], table["spacing_ratio"][1:])
    assert [row["layer"] for row in found["noise"]] == ["noise 90 x 90", "noise 120 x 90", "noise 90 x 80"]
    assert {"name": "fc2.bias", "shape": [90], "reason": "bias vector"} in found["skipped"]
    origin = found["provenance"]
    assert origin["sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()
    assert origin["files"] == [{"name": "my.safetensors", "bytes": network.stat().st_size}]
    assert origin["version"] == rmtlib.__version__
    assert origin["parameters"] == {"a": 15, "null": True, "seed": 0, "split_qkv": False, "layers": None, "fail_on": []}
    assert abs(datetime.datetime.fromisoformat(origin["date"]) - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(
        hours=1
    )
    assert found["summary"]["not_analysed"] == ["bad"]
    assert found["summary"]["text"] in " ".join(Elements(made[0].read_text()).text)


def test_several_files_have_one_hash_and_large_ones_that_of_their_headers(tmp_path, monkeypatch):
    folder = builders.sharded(tmp_path, builders.state_dict(90, 80, 70))
    weights = report.find_network(str(folder))
    files = sorted(tmp_path.rglob("*.safetensors"))
    told = report.provenance(weights, "net", {}, 1.0)
    lines = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)
    assert told["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert told["bytes"] == sum(file.stat().st_size for file in files)
    monkeypatch.setattr("rmtlib.report.origins.HASHED", 1000)
    large = report.provenance(weights, "net", {}, 1.0)
    assert large["hashed"].startswith("header, size and time")
    assert large["sha256"] == weights.origin.fingerprint()


HOSTILE = ["=HYPERLINK(1)", "<script>alert(1)</script>", "a\nb", "\x1b[31mred", "\u202egnp.exe", '"><img src=x>']


def test_names_of_any_kind_stay_text_everywhere(tmp_path, capsys):
    arrays = {f"{name}.weight": builders.gaussian(40, 30, seed=i) for i, name in enumerate(HOSTILE)}
    path = builders.safetensors(tmp_path / "net.safetensors", arrays)
    assert main(["report", str(path), "-o", str(tmp_path / "out"), "--no-null", "--fail-on", "levels>0"]) == 1
    printed = capsys.readouterr()
    assert not re.search(r"\x1b(?!\[A)|\u202e", printed.out + printed.err)  # a progress bar below another one moves up
    html = (tmp_path / "out.html").read_text()
    assert not re.search(r"<script|<img|[\x1b\u202e]", html)
    text = " ".join(Elements(html).text)
    for name in HOSTILE:
        assert report.tables.printable(name) in text
    assert [row["layer"] for row in json.loads((tmp_path / "out.json").read_text())["layers"]] == sorted(HOSTILE)


# Conditions


def test_a_condition_that_layers_meet_gives_status_1_and_names_them(tmp_path, capsys):
    planted = rmtlib.ensembles.spiked((120, 90), 0, strengths=[3.0, 4.0]).matrix.astype("float32")
    arrays = {"noise.weight": builders.gaussian(120, 90), "planted.weight": planted}
    path = builders.safetensors(tmp_path / "net.safetensors", arrays)
    place = ["report", str(path), "-o", str(tmp_path / "out"), "--no-null"]
    assert main([*place, "--fail-on", "outliers>=2", "--fail-on", "outliers>100"]) == 1
    done = capsys.readouterr()
    assert done.out.splitlines() == [str(tmp_path / f"out.{suffix}") for suffix in ("html", "csv", "json")]
    assert done.err.splitlines()[-1] == "rmtlib report: outliers >= 2: planted has 2"
    assert json.loads((tmp_path / "out.json").read_text())["failing"] == {
        "outliers >= 2": [["planted", 2.0]],
        "outliers > 100": [],
    }
    assert "Condition" in (tmp_path / "out.html").read_text()
    assert main([*place, "--fail-on", "outliers>100"]) == 0


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("outliers", "fail_on must be a column, one of < <= > >=, and a number, such as 'outliers>100'; got 'outliers'"),
        ("outliers=3", "fail_on must be a column"),
        ("outlier>3", "fail_on has no column 'outlier'; there are: levels, rank, spacing_qvalue"),
        ("spacing_pvalue<0.05", "fail_on has no column 'spacing_pvalue'"),
        ("outliers>many", "fail_on must have a finite number as its bound, such as 'outliers>0.5'; got 'many'"),
        ("outliers>nan", "fail_on must have a finite number"),
    ],
)
def test_a_condition_that_is_none_gives_status_2_and_no_file(network, tmp_path, monkeypatch, capsys, condition, message):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(network), "--fail-on", condition]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"rmtlib report: {message}")
    assert (error.count("\n"), os.listdir(tmp_path)) == (1, [])


@pytest.mark.parametrize(
    ("text", "failing"), [("x<2", []), ("rank<2", ["a"]), ("rank<=2", ["a", "b"]), ("rank>2", ["c"]), ("rank>=2", ["b", "c"])]
)
def test_conditions_compare_and_pass_over_what_is_unknown(text, failing):
    table = pd.DataFrame({"layer": list("abcd"), "rank": [1, 2, 3, None]})
    if text.startswith("x"):
        assert read_condition("alpha<2").failing(table) == failing
    else:
        assert [name for name, _ in read_condition(text).failing(table)] == failing


def test_conditions_know_every_number_of_the_table_that_is_no_single_p(planted):
    table = rmtlib.analyse_network({"planted": rmtlib.ensembles.spiked((120, 90), 0, strengths=[4.0]).matrix}, progress=False)
    numbers = table.drop(columns=["layer", "shape", "summary", "sizes_settled"]).columns
    assert set(JUDGED) == {name for name in numbers if "pvalue" not in name or name == "spacing_qvalue"}


# Figures


def test_a_trained_layer_is_drawn_as_it_is(planted):
    html = report.panels(planted)
    assert html.count("<svg") == 4
    assert 5_000 < len(html) < 40_000
    bars = re.search(r'd="M([^"]*)z" fill="#0173b2" opacity=".55"', html)[1]
    points = np.array([point.split() for point in bars.split("L")], float)
    heights = np.histogram(planted.nu, np.linspace(0, 1.02 * planted.nu[-1], 51), density=True)[0]
    # Heights of the histogram: every bar begins and ends with two points of one height.
    drawn = points[:, 1].max() - points[1:-1:2, 1]
    np.testing.assert_allclose(drawn / drawn.max(), heights / heights.max(), atol=0.01)


def test_a_layer_without_spacings_has_four_panels_too():
    html = report.panels(rmtlib.analyse(builders.gaussian(40, 30), name="small"))
    assert html.count("<svg") == 4
    assert "left out: too few levels" in html


def test_a_large_layer_takes_no_more_of_the_page_than_a_small_one():
    small, large = (report.panels(rmtlib.analyse(builders.gaussian(m, m), biwhiten=False)) for m in (500, 1300))
    assert len(large) < 1.3 * len(small)


def test_a_plot_puts_points_where_they_belong_and_breaks_lines_at_what_is_unknown():
    plot = Plot("t", "x", "y", xlim=(0, 10), ylim=(0, 1), width=152, height=154)
    plot.line([0, 5, 10, 10], [0, 1, np.nan, 5])
    # 100 pixels each way, from 44 and down to 20; what is beyond the end stays at the end.
    assert 'd="M44 120L94 20M144 20"' in plot.svg("text")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.25, 0.5, 0.75, 1]),
        (0, 3.5, [0, 1, 2, 3]),
        (0, 0.031, [0, 0.01, 0.02, 0.03]),
        (0, 1240, [0, 500, 1000]),
        (2, 2, [1.5, 1.75, 2, 2.25, 2.5]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    html = Plot("", "", "", xlim=(low, high), ylim=(0, 1)).svg("")
    assert [float(tick) for tick in re.findall(r'text-anchor="middle">([-\d.e]+)<', html)] == ticks


def test_depths_are_counted_in_whole_numbers():
    html = Plot("", "", "", xlim=(0, 2), ylim=(0, 1), counted=True).svg("")
    assert re.findall(r'text-anchor="middle">([\d.]+)<', html) == ["0", "1", "2"]


def test_a_trend_shows_shares_without_sizes_in_the_order_of_depth():
    names = [f"block.{i}.q" for i in (2, 0, 1)] + ["head"]
    table = pd.DataFrame(
        {"layer": names, "levels": [100] * 4, "outliers_biwhitened": [30, 10, 20, 99], "outliers_below_biwhitened": [0] * 4}
    )
    table = table.assign(input_rejected_biwhitened=[0.0] * 4, output_rejected_biwhitened=[0.0] * 4)
    html = report.trends(table, report.places(names))
    assert html.count('role="img"') == 1
    line = re.search(r'<path d="M([^"]*)" fill="none" stroke="#0173b2" stroke-width="1.5"', html)[1]
    x, y = np.array([point.split() for point in line.split("L")], float).T
    assert (np.diff(x) > 0).all()
    np.testing.assert_allclose(np.diff(y), np.diff(y)[0], atol=0.6)
    assert y[0] > y[-1]
    assert report.trends(table[2:], report.places(names[2:])) == ""


def test_the_heat_map_shows_effects_with_q_values_among_the_layers():
    rng = np.random.default_rng(0)
    layers = {f"noise{i}": rng.standard_normal((100, 90)) for i in range(3)}
    layers["planted"] = rmtlib.ensembles.spiked((120, 90), 0, strengths=[3.0, 4.0]).matrix
    table = rmtlib.analyse_network(layers, progress=False)
    found = {statistic.label: statistic for statistic in report.statistics(table)}
    outside = found["levels outside"]
    np.testing.assert_allclose(outside.effects, (table["outliers"] + table["outliers_below"]) / table["levels"])
    np.testing.assert_allclose(outside.qvalues, multiple.benjamini_hochberg(table["largest_pvalue"]))
    assert outside.qvalues[3] < 0.001 < 0.05 < min(outside.qvalues[:3])
    assert found["gap ratio of spacings"].effects[table["spacing_qvalue"] > 0.05].max() == 0
    # Sizes of noise that are equal spread by little more than they are estimated to.
    assert max(found["spread of sizes"].effects[:3]) < 0.05


def test_the_parts_that_the_chapter_shows_are_those_of_the_page():
    chapter = (ROOT / "chapters" / "18_your_network.md").read_text()
    for name in ("find_network", "noise_like", "readable", "heat_map", "statistics", "trends", "panels", "skipped"):
        assert f"report.{name}(" in chapter
        assert callable(getattr(report, name))


def test_make_passes_file_and_place(tmp_path):
    dry = subprocess.run(
        ["make", "--dry-run", "report", "WEIGHTS=a b.safetensors", "OUT=there", "ARGS=--no-null"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 'bin/rmtlib report "a b.safetensors" --output "there" --no-null' in dry


# What cannot be reported


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("", "weights is empty; give a file of weights, such as my.safetensors"),
        ("nothing.safetensors", "nothing.safetensors does not exist"),
        ("nothing", "nothing does not exist"),
        ("empty.safetensors", "empty.safetensors is empty: it has 0 bytes"),
        ("cut.safetensors", "cut.safetensors is not a whole safetensors file"),
        ("notes.txt", "notes.txt has an unknown suffix"),
        ("evil.pt", "evil.pt was refused: its pickle asks for code"),
        ("small.safetensors", "small.safetensors holds no matrix to analyse (fc (15, 15): 15 levels, fewer than"),
    ],
)
def test_a_network_that_cannot_be_read_gives_one_sentence_and_no_file(tmp_path, monkeypatch, capsys, weights, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.safetensors").touch()
    whole = builders.safetensors(tmp_path / "cut.safetensors", builders.state_dict(100, 90)).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    (tmp_path / "notes.txt").write_text("notes")
    builders.pickle_with_code(tmp_path / "evil.pt", tmp_path / "marker")
    builders.safetensors(tmp_path / "small.safetensors", {"fc.weight": np.eye(15)})
    before = sorted(os.listdir(tmp_path))
    assert main(["report", weights, "-o", "new/out"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"rmtlib report: {message}")
    assert error.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == before


def test_a_layer_that_is_found_not_to_be_finite_when_it_is_read_is_named_on_the_page(tmp_path):
    nan = builders.gaussian(90, 90)
    nan[0, 0] = np.inf
    builders.safetensors(tmp_path / "nan.safetensors", {"fc.weight": nan})
    made = report.make_report(str(tmp_path / "nan.safetensors"), tmp_path / "out", null=False, progress=False)
    assert "1 of 8100 entries are nan or infinite" in made.html.read_text()
    assert pd.read_csv(made.csv)["layer"].tolist() == ["fc"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["-a", "0"], "a must be an integer of at least 1; got 0"),
        (["--workers", "0"], "workers must be an integer of at least 1; got 0"),
        (["--seed", "-1"], "seed must be an integer of at least 0; got -1"),
    ],
)
def test_a_wrong_option_gives_status_2_and_leaves_an_older_table(network, tmp_path, monkeypatch, capsys, option, message):
    monkeypatch.chdir(tmp_path)
    Path("report.csv").write_text("older")
    assert main(["report", str(network), *option]) == 2
    assert capsys.readouterr().err == f"rmtlib report: {message}\n"
    assert (os.listdir(tmp_path), Path("report.csv").read_text()) == (["report.csv"], "older")


def test_a_place_that_cannot_be_written_gives_status_2(network, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["report", str(network), "-o", str(tmp_path / "file" / "report")]) == 2
    assert "output must be in a folder that can be made" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_gives_status_1(network, tmp_path, monkeypatch, capsys):
    opened = open

    def full(path, mode="r", *args, **options):
        if ".html." in str(path) and "x" in mode and (tmp_path / "report.csv").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return opened(path, mode, *args, **options)

    monkeypatch.setattr("builtins.open", full)
    assert main(["report", str(network), "-o", str(tmp_path), "--no-null"]) == 1
    assert "rmtlib report failed: [Errno 28] No space left on device\n" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["report.csv"]


def test_a_report_goes_on_with_the_rows_of_its_table_and_refuses_those_of_another_file(network, tmp_path, capsys):
    place = ["-o", str(tmp_path / "out"), "--no-null", "--resume"]
    assert main(["report", str(network), "--layers", "fc2", *place]) == 0
    assert main(["report", str(network), *place]) == 0
    html = (tmp_path / "out.html").read_text()
    assert html.count("the layer was not analysed in this run") == 2  # fc2, which the table had, and the one that is not finite
    assert pd.read_csv(tmp_path / "out.csv")["layer"].tolist() == ["bad", NAME, "fc2"]
    other = builders.safetensors(tmp_path / "other.safetensors", {"fc.weight": builders.gaussian(90, 80)})
    capsys.readouterr()
    assert main(["report", str(other), *place]) == 2
    assert "is of another file, or the file has changed since" in capsys.readouterr().err
    assert (tmp_path / "out.html").read_text() == html


def test_layers_that_are_all_refused_are_still_a_report(tmp_path):
    constant = {"fc1.weight": np.full((90, 80), 0.5), "fc2.weight": np.full((80, 70), 0.5)}
    network = builders.safetensors(tmp_path / "constant.safetensors", constant)
    made = report.make_report(str(network), tmp_path, null=False, progress=False)
    assert [path.name for path in (made.html, made.csv, made.json)] == ["report.html", "report.csv", "report.json"]
    assert made.html.read_text().count("not analysed: ") == 4
    assert made.summary.not_analysed == ("fc1", "fc2")
    assert len(pd.read_csv(made.csv)) == 2


def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_done(network, tmp_path, capsys):
    (tmp_path / "out.json").mkdir()
    assert main(["report", str(network), "-o", str(tmp_path / "out")]) == 2
    assert "output must name files, but" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["out.json"]


def test_ctrl_c_keeps_the_finished_layers_in_the_table(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"a.weight": rng.standard_normal((100, 90)), "b.weight": rng.standard_normal((4000, 4000))}
    builders.safetensors(tmp_path / "net.safetensors", {name: array.astype("float32") for name, array in arrays.items()})
    for older in ("report.html", "report.json"):
        (tmp_path / older).write_text("older")
    process = subprocess.Popen(
        [sys.executable, "-m", "rmtlib", "report", "net.safetensors", "--no-null", "--workers", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell lets its background jobs ignore interrupts, and this test may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    seen = b""
    while b"1/2" not in seen:
        more = os.read(process.stderr.fileno(), 4096)
        assert more, seen.decode()
        seen += more
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted; layers that were finished are in report.csv" in errors
    table = pd.read_csv(tmp_path / "report.csv")
    assert table["layer"][0] == "a"
    assert table["levels"][0] == 90
    assert table["summary"].tolist()[1:] == ["b: not analysed: interrupted"]
    assert sorted(os.listdir(tmp_path)) == ["net.safetensors", "report.csv"]


# Its parts


def test_noise_has_one_matrix_for_every_shape_and_is_made_when_asked_for():
    weights = rmtlib.load_weights({f"fc{i}": np.ones(shape) for i, shape in enumerate([(90, 80), (90, 80), (80, 90)])})
    noise = report.noise_like(weights, 5)
    assert list(noise) == ["noise 90 x 80", "noise 80 x 90"]
    assert noise["noise 90 x 80"].matrix.shape == (90, 80)
    np.testing.assert_array_equal(noise["noise 90 x 80"].matrix, report.noise_like(weights, 5)["noise 90 x 80"].matrix)
    assert (noise["noise 90 x 80"].matrix != report.noise_like(weights, 6)["noise 90 x 80"].matrix).any()
    with pytest.raises(ValueError, match="seed must be an integer of at least 0; got -1"):
        report.noise_like(weights, -1)


def test_a_fused_matrix_is_split_on_request(tmp_path):
    path = builders.safetensors(tmp_path / "net.safetensors", {"attn.in_proj_weight": builders.gaussian(240, 80)})
    assert list(report.find_network(str(path))) == ["attn.in_proj_weight"]
    assert [name[-2:] for name in report.find_network(str(path), split_qkv=True)] == ["#q", "#k", "#v"]


def test_runs_of_the_book_are_found_by_name(monkeypatch):
    monkeypatch.chdir(ROOT / "chapters")
    assert list(report.find_network("mlp512-cifar10-alpha0.5-seed0")) == ["dense1", "dense2", "dense3"]


def test_a_table_is_shown_whole_however_long_it_is():
    rows = [{"layer": f"fc{i}", "shape": (20, 20), "summary": f"fc{i}: not analysed: a sentence"} for i in range(100)]
    html = report.readable(pd.DataFrame(rows)).to_html()
    assert html.count("20 × 20") == 100
    assert "sentence" not in html


def test_a_table_shows_the_columns_that_are_asked_for_and_names_those_that_are_there():
    rows = pd.DataFrame([{"layer": "=fc\n<b>", "shape": (20, 20), "levels": 20, "bulk_fraction": 0.5, "summary": "x"}])
    html = report.readable(rows, ["bulk"]).to_html()
    assert re.findall(r"<th[^>]*col_heading[^>]*>(.*?)</th>", html) == ["layer", "shape", "bulk"]
    assert "=fc\\n&lt;b&gt;" in html
    with pytest.raises(ValueError, match="heads must be of levels, bulk, above,.*; got 'p'"):
        report.readable(rows, ["p"])


def test_the_sentences_of_all_layers_stand_on_their_folded_lines(made, page):
    text = re.sub(r"\s+", " ", "".join(page.text))
    below = text[text.index("Layer by layer") :]
    for summary in pd.read_csv(made[1])["summary"]:
        assert re.sub(r"\s+", " ", summary) in below
    assert "noise 120 x 90: nothing found" in text[: text.index("Layer by layer")]
