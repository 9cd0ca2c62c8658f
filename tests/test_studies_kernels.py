"""Smooth kernels, made and taken out, against matrices whose covariance is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from studies import kernels

# Neighbours along a row correlate by 0.6, along a column by 0.3; the places have different sizes.
ALONG = np.array([[1, 0.6, 0.36], [0.6, 1, 0.6], [0.36, 0.6, 1]])
DOWN = np.array([[1, 0.3, 0.09], [0.3, 1, 0.3], [0.09, 0.3, 1]])
SIZES = np.linspace(0.5, 2, 9)
C = np.kron(DOWN, ALONG) * np.outer(SIZES, SIZES)


@pytest.fixture(scope="module")
def smooth():
    """150 filters on 60 channels; the columns of one place stand together."""
    kernels = np.random.default_rng(0).multivariate_normal(np.zeros(9), C, size=(150, 60))
    return kernels.transpose(0, 2, 1).reshape(150, 540)


def test_the_covariance_of_places_is_the_planted_one(smooth):
    np.testing.assert_allclose(kernels.covariance(smooth), C, atol=0.15)
    # Six pairs along rows and six along columns.
    assert kernels.neighbours(smooth) == pytest.approx((0.6 + 0.3) / 2, abs=0.02)


def test_a_whitened_matrix_has_uncorrelated_places(smooth):
    np.testing.assert_allclose(kernels.covariance(kernels.whitened(smooth)), np.eye(9), atol=1e-10)
    # Each filter of each channel is changed by itself.
    one = kernels.whitened(smooth)[3].reshape(9, 60)[:, 7]
    values, modes = np.linalg.eigh(kernels.covariance(smooth))
    root = modes @ np.diag(values**-0.5) @ modes.T
    np.testing.assert_allclose(one, root @ smooth[3].reshape(9, 60)[:, 7])


def test_noise_is_as_smooth_and_otherwise_independent(smooth):
    noise = kernels.smooth_noise(smooth, 1)
    assert noise.shape == smooth.shape
    np.testing.assert_allclose(kernels.covariance(noise), kernels.covariance(smooth), atol=0.15)
    channels = noise.reshape(150, 9, 60)[:, 4]
    assert abs(np.corrcoef(channels.T)[np.triu_indices(60, 1)]).mean() < 0.1


def test_smoothness_empties_the_bulk_and_whitening_fills_it(smooth):
    table = kernels.bulks({"layer": SimpleNamespace(matrix=smooth)}, rng=2)
    row = table.loc["layer"]
    assert row["neighbours"] == kernels.neighbours(smooth)
    assert row["as it is"] < 92
    assert row["as it is"] == pytest.approx(row["noise as smooth"], abs=8)
    for filled in ("smoothness out", "noise"):
        assert row[filled] == pytest.approx(100, abs=10)
    numbers = kernels.numbers(table)
    assert numbers["bulk-min"] == numbers["bulk-max"] == row["as it is"]
    assert numbers["rough-max"] == row["smoothness out"]
    assert len(numbers) == 10


def test_a_matrix_that_is_no_convolution_of_nine_places_is_refused():
    with pytest.raises(ValueError, match="nine columns for each input channel of a 3 x 3 convolution; got 20 columns"):
        kernels.covariance(np.ones((10, 20)))
