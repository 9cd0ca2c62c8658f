import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
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


@pytest.mark.parametrize(("rank", "places"), [(1, [1]), (2, [0, 1]), (3, [0, 0.5, 1])])
def test_porter_thomas_panel_shows_single_vectors_at_the_largest_level(ax, rank, places):
    factors = (rmtlib.ensembles.gaussian(shape, 0) for shape in ((60, rank), (rank, 50)))
    layer = rmtlib.analyse(np.matmul(*factors))
    figures.porter_thomas_panel(ax, layer.output)
    dots, _ = ax.get_lines()
    np.testing.assert_allclose(dots.get_xdata(), places)
    plt.close(layer.plot())


def test_porter_thomas_panel_names_the_band_once(ax, spectrum):
    test = rmtlib.porter_thomas(spectrum.output_vectors)
    figures.porter_thomas_panel(ax, test, label="one")
    figures.porter_thomas_panel(ax, test, label="two")
    assert labels(ax) == ["95 % null band", "one", "two"]
    assert len(ax.get_lines()[1].get_xdata()) == len(test.moving_mean)
