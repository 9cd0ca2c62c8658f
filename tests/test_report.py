"""The report from end to end, as `rmtlib report` runs it."""

from __future__ import annotations

import base64
import errno
import io
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import PNGFormatter

import rmtlib
from rmtlib import report
from rmtlib.cli import main

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
    # A backend that is not installed: figures of a page need none.
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


def test_page_and_table_lie_beside_each_other_and_nothing_else(network, made):
    assert [path.relative_to(network.parent).as_posix() for path in made] == ["out/mine.html", "out/mine.csv"]
    assert sorted(os.listdir(network.parent / "out")) == ["mine.csv", "mine.html"]
    assert sorted(os.listdir(network.parent)) == ["my.safetensors", "out"]


def test_the_table_has_one_row_a_layer_with_the_numbers_of_the_library(network, made):
    table = pd.read_csv(made[1])
    expected = rmtlib.analyse_network(rmtlib.load_weights(network), progress=False)
    assert table["layer"].tolist() == ["bad", NAME, "fc2"]
    for column in ("spacing_calibrated_pvalue", "spacing_qvalue", "spacing_ratio", "bulk_fraction", "outliers", "input_rejected"):
        np.testing.assert_allclose(table[column], expected[column])


def test_the_page_shows_table_panels_and_what_was_left_out_in_this_order(page):
    text = " ".join(page.text)
    places = [text.index(word) for word in ("The null first", "One row a layer", "Layer by layer", "What was left out, and why")]
    assert places == sorted(places)
    null, rows, _, left_out = (text[i:j] for i, j in zip(places, [*places[1:], len(text)], strict=True))
    assert "noise 120 x 90" in null
    assert NAME in rows
    assert "90 × 80" in rows
    assert "1 of 8100 entries are nan or infinite" in left_out
    assert "bias vector" in left_out
    assert [tag for tag, _ in page.found].count("img") == 2


def test_the_page_asks_nothing_of_another_host(made, page):
    for tag, attributes in page.found:
        assert tag not in ("script", "link", "iframe", "object", "embed")
        for source in (attributes.get("src"), attributes.get("data"), attributes.get("srcset"), attributes.get("poster")):
            assert source is None or source.startswith("data:image/png;base64,"), (tag, source)
    html = made[0].read_text()
    assert not re.search(r"https?://|@import|url\(", html)
    assert "default-src 'none'" in html


def test_every_figure_has_a_text_that_names_its_layer(page):
    texts = [attributes["alt"] for tag, attributes in page.found if tag == "img"]
    assert [NAME in texts[0], "fc2" in texts[1]] == [True, True]


def test_names_from_the_file_are_text_on_the_page(page):
    assert ("b", {}) not in page.found


def test_the_panels_are_drawn_and_differ(page):
    pngs = [base64.b64decode(attributes["src"].partition(",")[2]) for tag, attributes in page.found if tag == "img"]
    assert pngs[0] != pngs[1]
    for png in pngs:
        pixels = plt.imread(io.BytesIO(png))
        assert pixels.shape[1] == 1650
        # Four panels from left to right, none of them blank.
        assert all(part[..., :3].std() > 0.1 for part in np.array_split(pixels, 4, axis=1))


def test_the_chapter_shows_what_the_functions_of_the_page_give():
    chapter = (ROOT / "chapters" / "18_your_network.md").read_text()
    for name in ("find_network", "noise_like", "readable", "panels", "skipped"):
        assert f"report.{name}(" in chapter
        assert callable(getattr(report, name))


def test_a_picture_is_shown_by_a_notebook_with_its_text(planted):
    picture = report.panels(planted)
    png, metadata = PNGFormatter()(picture)
    assert base64.b64decode(png) == picture.png
    assert metadata == {"alt": f"Spectrum, spacings, number variance and vectors of {planted.summary}"}


def test_panels_leave_style_and_figures_of_the_caller_as_they_are(planted):
    before, style = plt.get_fignums(), dict(mpl.rcParams)
    report.panels(planted)
    assert plt.get_fignums() == before
    assert dict(mpl.rcParams) == style


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
    html, csv = report.make_report(str(tmp_path / "nan.safetensors"), tmp_path / "out", null=False, progress=False)
    assert "1 of 8100 entries are nan or infinite" in html.read_text()
    assert pd.read_csv(csv)["layer"].tolist() == ["fc"]


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
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(report, "write_atomically", full)
    assert main(["report", str(network), "-o", str(tmp_path), "--no-null"]) == 1
    assert "rmtlib report failed: [Errno 28] No space left on device\n" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["report.csv"]


def test_layers_that_are_all_refused_are_still_a_report(tmp_path):
    constant = {"fc1.weight": np.full((90, 80), 0.5), "fc2.weight": np.full((80, 70), 0.5)}
    network = builders.safetensors(tmp_path / "constant.safetensors", constant)
    files = report.make_report(str(network), tmp_path, null=False, progress=False)
    assert [path.name for path in files] == ["report.html", "report.csv"]
    assert files[0].read_text().count("not analysed: ") == 4
    assert len(pd.read_csv(files[1])) == 2


def test_ctrl_c_keeps_the_finished_layers_in_the_table(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"a.weight": rng.standard_normal((100, 90)), "b.weight": rng.standard_normal((4000, 4000))}
    builders.safetensors(tmp_path / "net.safetensors", {name: array.astype("float32") for name, array in arrays.items()})
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


def test_the_sentences_of_all_layers_stand_below_their_table(made, page):
    text = " ".join(page.text)
    for summary in pd.read_csv(made[1])["summary"]:
        assert text.index(NAME) < text.index(summary) < text.index("Layer by layer")
    assert "noise 120 x 90: nothing found" in text[: text.index("One row a layer")]
