"""Interactive figures: what a slider says, what the page gets, and that the drawn laws are those of the library."""

import json
import re

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from scipy.integrate import quad

from rmtlib import ensembles, laws, load_weights, spectrum
from rmtlib.multiple import moving_mean_band
from rmtlib.runs import load_run
from studies import charts, compression, laziness, linearized, marks, network_charts
from studies.interactive import HEIGHT, MARGIN, WIDTH, Interactive, Slider

HALF = WIDTH // 2 - MARGIN  # width of one chart of two


def one(**options):
    chart = alt.Chart(marks.curve([0, 1], [1, 0])).transform_filter("datum.x < k + 1").mark_line().encode(x="x:Q", y="y:Q")
    return Interactive([chart], [Slider("k", "knob <k>", [0, 0.5], words="{:.1f} mm")], alt='A "line".', **options)


def drawn(figure, chart, layer, *, x, y, width, height=HEIGHT, **values):
    """Points of one line of a chart, in the units of its axes, with sliders at the values."""
    specification = figure.specification()
    for param in specification["params"]:
        param["value"] = values.get(param["name"], param["value"])
    svg = vl_convert.vegalite_to_svg(specification, vl_version=vl_convert.get_vegalite_versions()[-1])
    name = f"concat_{chart}" + ("" if layer is None else f"_layer_{layer}") + "_marks"
    path = re.search(rf'<g class="mark-line[^"]* {name}"[^>]*>.*?<path[^>]* d="(.*?)"', svg, re.DOTALL)[1]
    pixels = np.array(re.findall(r"(-?[\d.]+(?:e-?\d+)?),(-?[\d.]+(?:e-?\d+)?)", path), dtype=float)
    assert len(pixels) >= 20
    return x[0] + pixels[:, 0] / width * (x[1] - x[0]), y[1] - pixels[:, 1] / height * (y[1] - y[0])


def table(figure, *columns):
    """The rows of the first table of a figure that has these columns."""
    tables = (pd.DataFrame(rows) for rows in figure.specification()["datasets"].values())
    return next(rows for rows in tables if set(columns) <= set(rows))


def test_a_slider_has_a_label_a_value_in_words_and_its_positions():
    html = Slider("k", "knob <k>", np.array([0.1, 1 / 3]), 1, "{:.2f} mm").html()
    assert "<span>knob &lt;k&gt;</span>" in html
    assert re.search(r'<input type="range" min="0" max="1" value="1" .*aria-valuetext="0.33 mm"', html)
    assert "<output>0.33 mm</output>" in html
    (positions,) = re.findall(r'data-positions="(.*?)"', html)
    known = json.loads(positions.replace("&quot;", '"'))
    assert known == {"name": "k", "values": [0.1, 0.333333], "texts": ["0.10 mm", "0.33 mm"]}


def test_a_slider_refuses_what_it_cannot_show():
    with pytest.raises(ValueError, match="start must be one of the 2 positions of the slider k; got 2"):
        Slider("k", "knob", [0, 1], 2)
    with pytest.raises(ValueError, match="words must hold a text for each of the 2 positions of the slider k"):
        Slider("k", "knob", [0, 1], words=["one"])


def test_a_figure_refuses_what_it_cannot_show():
    charts, sliders = one().charts, one().sliders
    with pytest.raises(ValueError, match="charts must be one to four; got 0"):
        Interactive([], sliders, alt="Nothing.")
    with pytest.raises(ValueError, match="sliders is empty"):
        Interactive(charts, [], alt="A line.")
    with pytest.raises(ValueError, match="alt is empty"):
        Interactive(charts, sliders, alt=" ")


def test_the_page_gets_a_specification_and_a_still_picture_and_no_address():
    html = one()._repr_html_()
    assert "http" not in html
    assert html.count('aria-label="A &quot;line&quot;."') == 2
    (specification,) = re.findall(r'<script type="application/json">(.*?)</script>', html)
    assert json.loads(specification) == one().specification()
    assert json.loads(specification)["params"] == [{"name": "k", "value": 0.0}]
    assert "<p>knob &lt;k&gt;: 0.0 mm</p>" in html
    still = html[html.index('<div class="still">') :]
    assert re.search(r'<svg aria-hidden="true" viewBox="0 0 \d+ \d+">.*mark-line.*</svg>', still, re.DOTALL)
    assert html.count("<svg") == 1


def test_stills_of_one_page_share_no_names():
    nu = np.linspace(0, 2, 100)
    names = [set(re.findall(r' id="(.*?)"', charts.q_and_sigma(nu, scale=scale).still())) for scale in (1.0, 2.0)]
    assert all(names)
    assert not names[0] & names[1]
    again = charts.q_and_sigma(nu, scale=1.0).still()
    assert set(re.findall(r"url\(#(.*?)\)", again)) == set(re.findall(r' id="(.*?)"', again)) == names[0]


@pytest.mark.parametrize(("q", "s"), [(1, 1), (0.25, 1.2)])
def test_q_and_sigma_draws_the_law_of_marchenko_and_pastur(q, s):
    figure = charts.q_and_sigma(np.linspace(0, 2, 100), scale=1.0)
    x, y = drawn(figure, 0, 2, x=(0, 3.4), y=(0, 1.5), width=WIDTH - MARGIN, q=q, s=s)
    law = laws.marchenko_pastur(q, sigma=s)
    inside = (x > law.nu_minus + 0.02) & (x < law.nu_plus - 0.02)
    assert inside.sum() > 50
    np.testing.assert_allclose(y[inside], law.pdf(x[inside]), atol=0.005)
    assert x.max() == pytest.approx(law.nu_plus, abs=0.02)


def test_q_and_sigma_measures_in_units_of_the_scale():
    nu = np.random.default_rng(0).uniform(1, 2, 1000)
    rows = table(charts.q_and_sigma(nu, scale=2.0), "x", "y")
    shown = rows[rows["y"] > 0]["x"]
    assert 0.4 < shown.min() < 0.52
    assert 0.9 < shown.max() < 1.0
    assert rows["y"].sum() * 3.4 / 60 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("c", [0.15, 0.6, 1.0])
def test_two_levels_draw_the_density_of_their_distance(c):
    x, y = drawn(charts.two_levels(), 1, 0, x=(0, 3.5), y=(0, 1), width=HALF, c=c)
    A = np.sqrt(4 / (np.pi * (1 + c**2)))

    def density(s):
        # over the angle of a vector with two Gaussian components, of standard deviations A and c A
        def angle(t):
            return np.exp(-(s**2) / 2 * (np.cos(t) ** 2 / A**2 + np.sin(t) ** 2 / (c * A) ** 2))

        return 4 * s / (2 * np.pi * c * A**2) * quad(angle, 0, np.pi / 2)[0]

    np.testing.assert_allclose(y, [density(s) for s in x], atol=0.005)
    if c == 1:
        np.testing.assert_allclose(y, laws.wigner_surmise.pdf(x), atol=0.005)


def test_two_levels_do_not_meet_where_they_are_coupled():
    x, y = drawn(charts.two_levels(), 0, 0, x=(-3, 3), y=(-2, 2), width=HALF, c=0.4)
    expected = [np.linalg.eigvalsh([[d / 2, 0.4], [0.4, -d / 2]])[1] for d in x]
    np.testing.assert_allclose(y, expected, atol=0.02)
    assert y.min() == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("q", [0.25, 1.0])
def test_spike_draws_the_overlap_that_theory_expects(q):
    x, y = drawn(charts.spike(), 1, 0, x=(0, 3), y=(0, 1), width=HALF, q=q)
    planted = [ensembles.spiked((round(40 / q), 40), 0, strengths=[t]).right_overlaps[0] for t in x]
    away = np.abs(x - q**0.25) > 0.02
    np.testing.assert_allclose(y[away], np.array(planted)[away], atol=0.01)


@pytest.mark.parametrize(("t", "told"), [(0.5, "nothing to see"), (2.0, "outlier")])
def test_spike_shows_an_outlier_beyond_the_threshold_alone(t, told):
    specification = charts.spike().specification()
    for param in specification["params"]:
        param["value"] = {"t": t, "q": 0.5}[param["name"]]
    svg = vl_convert.vegalite_to_svg(specification, vl_version=vl_convert.get_vegalite_versions()[-1])
    group = svg[svg.index("concat_0_layer_1_marks") :]
    place, opacity = re.search(r'translate\(([\d.]+),.*?opacity="(\d)"', group).groups()
    assert f">{told}</text>" in svg
    assert opacity == ("1" if told == "outlier" else "0")
    assert float(place) / HALF * 4 == pytest.approx(ensembles.spiked_singular_value(t, 0.5), abs=0.02)


def test_sizes_make_a_tail_that_biwhitening_takes_away():
    figure = charts.neuron_sizes(64)
    left, right = (pd.DataFrame(rows) for rows in figure.specification()["datasets"].values() if "fitted" in rows[0])
    beyond = [rows["fitted"].str.extract(r"(\d+) beyond$")[0].astype(int) for rows in (left, right)]
    assert beyond[0].iloc[-1] > 5
    assert beyond[0].iloc[0] <= 1
    assert max(beyond[1]) <= 2


def test_counts_of_unequal_sizes_are_those_beyond_the_edges_that_are_drawn():
    n = 64
    told = table(charts.neuron_sizes(n), "fitted")
    rng = np.random.default_rng(0)
    plain, logs = rng.standard_normal((n, n)), rng.standard_normal((2, n))
    for _, row in told.iterrows():
        rows, columns = np.exp(row["spread"] * logs)
        uneven = plain * np.outer(rows, columns)
        nu = np.linalg.svd(uneven, compute_uv=False) * np.sqrt(n) / np.linalg.norm(uneven)
        assert row["fitted"].endswith(f" {np.sum(nu > row['edge'])} beyond")
        assert row["even"].endswith(f" {np.sum(nu > 2)} beyond")


def test_laziness_shows_the_accuracy_and_the_spectrum_of_each_network():
    networks = laziness.sweep(linearized.read("dense2"))
    figure = network_charts.turn_laziness(networks)
    shown = table(figure, "kind", "alpha")
    known = networks[networks["seed"] == 0].set_index("laziness")["test_accuracy"]
    own = shown[shown["kind"] == "network"].set_index("alpha")["y"]
    assert list(figure.sliders[0].numbers) == sorted(known.index)
    np.testing.assert_allclose(own.sort_index(), 100 * known.sort_index(), atol=0.001)
    nu = spectrum(load_weights(load_run("mlp512-cifar10-alpha5-seed0"))["dense2"].matrix, vectors=False).nu
    bars = next(pd.DataFrame(rows) for rows in figure.specification()["datasets"].values() if len(rows) == 61 * len(known))
    heights, _ = np.histogram(nu, np.linspace(0, 5, 61))
    np.testing.assert_allclose(bars[bars["alpha"] == 5]["y"][:-1], heights / 512 * 12, atol=0.001)


def test_an_epoch_has_its_spectrum_and_its_curve_at_the_ranks_of_the_windows():
    rng = np.random.default_rng(0)
    nu, curves = np.sort(2 * rng.random((3, 64)), axis=1), rng.random((3, 50))
    figure = network_charts.watch_training(nu, curves, epochs=[0, 1, 9], band=moving_mean_band(64, window=15))
    (slider,) = figure.sliders
    assert (list(slider.numbers), slider.start) == ([0, 1, 9], 2)
    tables = [pd.DataFrame(rows) for rows in figure.specification()["datasets"].values()]
    bars = next(rows for rows in tables if len(rows) == 3 * 61)
    np.testing.assert_allclose(
        bars[bars["epoch"] == 9]["y"][:-1], np.histogram(nu[2], np.linspace(0, 4.5, 61))[0] / 4.8, atol=0.001
    )
    line = next(rows for rows in tables if len(rows) == 3 * 7)
    np.testing.assert_allclose(line[line["epoch"] == 1]["y"], curves[1, ::8], atol=0.001)
    np.testing.assert_allclose(line[line["epoch"] == 1]["x"], np.arange(7, 57, 8) / 63, atol=0.001)


def test_the_cut_keeps_as_many_singular_values_as_the_rank_says():
    measured = compression.read()
    figure = network_charts.cut_the_network(measured)
    (cuts,) = set(re.findall(r"datum\.x >= (\[\[.*?\]\])\[net\]\[at\]", json.dumps(figure.specification())))
    said = table(figure, "net", "at", "text")
    W = load_weights(load_run("mlp512-cifar10-alpha1-seed0"))["dense1"].matrix
    nu = spectrum(W, vectors=False).nu
    ranks = said[said["net"] == 1].set_index("at")["text"].str.extract(r"^rank (\d+) of 512")[0].astype(int)
    assert [int((nu > cut - 0.001).sum()) for cut in json.loads(cuts)[1]] == pytest.approx(list(ranks), abs=1)
    curves = table(figure, "kind", "at")
    half = curves[(curves["net"] == 1) & (curves["at"] == 5)].set_index("kind")["y"]
    own = measured[(measured["run"] == "mlp512-cifar10-alpha1-seed0") & (measured["budget"] == "0.5")].set_index("treatment")[
        "accuracy"
    ]
    assert half["looking at activations"] == pytest.approx(own["aware"], abs=0.001)
    assert half["singular values"] == pytest.approx(own["svd"], abs=0.001)


def test_the_window_shows_the_law_that_it_leaves():
    spectra = [
        np.linalg.svd(np.random.default_rng(i).normal(size=(300, 300)) / np.sqrt(300), compute_uv=False)[::-1] for i in (0, 1)
    ]
    figure = charts.window(spectra, (5, 15))
    length, width = np.arange(1.0, 21), HALF
    x, y = drawn(figure, 1, 1, x=(0, 20), y=(0, 1.8), width=width, a=5)
    assert len(x) >= len(length)
    np.testing.assert_allclose(np.interp(length, x, y), laws.number_variance_unfolded(length, 5), atol=0.01)


def test_the_puzzle_tells_its_answers_only_when_asked():
    figure = charts.is_it_noise()
    specification = figure.specification()
    texts = {}
    for shown in (0, 1):
        specification["params"][1]["value"] = shown
        texts[shown] = vl_convert.vegalite_to_svg(specification, vl_version=vl_convert.get_vegalite_versions()[-1])
    assert "trained:" in texts[1]
    assert "trained:" not in texts[0]
