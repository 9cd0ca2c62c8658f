import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import rmtlib
from rmtlib import figures, laws

mpl.use("Agg")


@pytest.fixture
def ax():
    figure, axis = plt.subplots()
    yield axis
    plt.close(figure)


@pytest.fixture(scope="module")
def spectrum():
    return rmtlib.spectrum(rmtlib.ensembles.gaussian((150, 120), 0))


def labels(ax):
    return ax.get_legend_handles_labels()[1]


def test_spectrum_panel_shows_all_singular_values_and_the_fit(ax, spectrum):
    fit = rmtlib.fit_marchenko_pastur(spectrum.nu, spectrum.shape)
    assert figures.spectrum_panel(ax, spectrum.nu, initial=spectrum.nu, fit=fit) is ax
    assert sorted(labels(ax)) == ["fitted bulk", "initial", "trained"]
    heights = [patch.get_height() * patch.get_width() for patch in ax.patches]
    assert sum(heights) == pytest.approx(2)


def test_spacing_panel_draws_the_law_it_is_given(ax):
    s = np.random.default_rng(0).exponential(size=300)
    assert figures.spacing_panel(ax, s, law=laws.poisson_spacing, law_label="Poisson") is ax
    assert sorted(labels(ax)) == ["Poisson", "trained"]
    [law] = ax.get_lines()
    np.testing.assert_allclose(law.get_ydata(), np.exp(-law.get_xdata()))
    [inset] = ax.child_axes
    assert len(inset.get_lines()) == 2


def test_spacing_panel_draws_further_laws_dotted(ax):
    others = {"Poisson": laws.poisson_spacing}
    figures.spacing_panel(ax, np.ones(5), law=laws.wigner_surmise, others=others, inset=False)
    surmise, poisson = ax.get_lines()
    assert (surmise.get_linestyle(), poisson.get_linestyle()) == ("--", ":")
    np.testing.assert_allclose(poisson.get_ydata(), np.exp(-poisson.get_xdata()))


def test_number_variance_panel_takes_values_with_or_without_errors(ax):
    L = np.array([1.0, 2.0])
    figures.number_variance_panel(ax, L, laws={"law": L}, trained=L, initial=(L, 0.1 * L))
    assert labels(ax) == ["trained", "initial", "law"]
    assert len(ax.collections) == 1
    assert ax.get_ylim()[0] == 0


def test_porter_thomas_panel_names_the_band_once(ax, spectrum):
    test = rmtlib.porter_thomas(spectrum.output_vectors)
    figures.porter_thomas_panel(ax, test, label="one")
    figures.porter_thomas_panel(ax, test, label="two")
    assert labels(ax) == ["95 % null band", "one", "two"]
    assert len(ax.get_lines()[1].get_xdata()) == len(test.moving_mean)


def test_an_animation_becomes_a_player_that_asks_no_other_host():
    nu = np.sort(np.random.default_rng(0).random((3, 40)), axis=1)
    animation = figures.animate_training(
        plt.figure(), nu, np.full((3, 26), 0.5), np.arange(7, 33), epochs=[0, 5, 10], band=(0.2, 0.8)
    )
    page = figures.player(animation, alt='"p" < 1').data
    plt.close()
    assert page.count("data:image/png;base64,") == 3 + 1
    assert re.search(r'<img [^>]*src="data:image/png;base64,[A-Za-z0-9+/=]+"', page)
    assert "http" not in re.sub('base64,[^"]*', "", page).replace("http://www.w3.org", "")
    assert 'alt="&quot;p&quot; &lt; 1"' in page
    assert 'aria-label="frame"' in page


def test_each_frame_draws_the_spectrum_and_the_curve_of_its_epoch():
    nu = np.sort(np.random.default_rng(0).random((2, 40)), axis=1)
    curves = np.array([np.full(26, 0.5), np.full(26, 0.1)])
    figure = plt.figure()
    animation = figures.animate_training(figure, nu, curves, np.arange(7, 33), epochs=[0, 9], band=(0.2, 0.8), bins=10)
    animation._func(1)
    left, right = figure.axes
    assert left.get_title(loc="left") == "epoch 9"
    np.testing.assert_array_equal(right.get_lines()[-1].get_ydata(), curves[1])
    expected = np.histogram(nu[1], np.linspace(0, nu.max() * 1.02, 11), density=True)[0]
    np.testing.assert_allclose(left.patches[1].get_data().values, expected)
    animation._draw_was_started = True
    plt.close(figure)


def test_error_panel_draws_a_curve_for_each_group_with_its_marks(ax):
    table = pd.DataFrame(
        {"who": ["b", "a", "a"], "x": [1, 2, 3], "y": [0.5, 0.6, 0.7], "bar": [0.1, 0.2, 0.3], "edge": [0, 2, 2]}
    )
    assert figures.error_panel(ax, table, "x", "y", by="who", error="bar", label="the {}", level=0.55, marks="edge") is ax
    assert labels(ax) == ["the a", "the b"]
    level, a, mark, b = ax.get_lines()
    assert (level.get_linestyle(), mark.get_linestyle()) == ("--", ":")
    assert set(level.get_ydata()) == {0.55}
    assert set(mark.get_xdata()) == {2}
    assert mpl.colors.to_hex(mark.get_color()) == figures.COLORS["trained"]
    np.testing.assert_array_equal(a.get_xydata(), [[2, 0.6], [3, 0.7]])
    np.testing.assert_array_equal(b.get_xydata(), [[1, 0.5]])
    (lower, upper), _ = ax.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([lower, upper], [[2, 0.4], [2, 0.8]])


def test_error_panel_has_three_colours(ax):
    table = pd.DataFrame({"who": list("abcd"), "x": 1, "y": 1, "bar": 0})
    with pytest.raises(ValueError, match="by must tell at most 3 curves apart; column 'who' has 4 values"):
        figures.error_panel(ax, table, "x", "y", by="who", error="bar")
