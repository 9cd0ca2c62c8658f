"""The numbered equations of the paper: each is held against what it says, by a way of its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.integrate import quad

from rmtlib import laws, marchenko_pastur
from rmtlib.learning.architectures import build_network
from rmtlib.learning.linearization import linearize
from rmtlib.learning.training import TrainingConfig, train_epoch
from rmtlib.null_laws import noise_singular_values
from rmtlib.unfolding import unfold


def test_E1_wigner_surmise_is_the_law_of_two_by_two_matrices():
    G = np.random.default_rng(0).standard_normal((40_000, 2, 2))
    s = np.diff(np.linalg.eigvalsh(G + G.transpose(0, 2, 1)), axis=1)[:, 0]
    s /= s.mean()
    assert scipy.stats.kstest(s, laws.wigner_surmise.cdf).pvalue > 0.05
    assert scipy.stats.kstest(s, laws.wigner_surmise(beta=2).cdf).pvalue < 1e-9
    np.testing.assert_allclose(laws.wigner_surmise.pdf(s[:9]), np.pi * s[:9] / 2 * np.exp(-np.pi * s[:9] ** 2 / 4), rtol=1e-12)
    for power in (0, 1):
        assert quad(lambda s, power=power: s**power * laws.wigner_surmise.pdf(s), 0, np.inf)[0] == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(512, 512), (1024, 512)])
def test_E2_marchenko_pastur_integrates_to_one_and_has_its_second_moment(n, m):
    sigma = 0.03
    law = laws.marchenko_pastur(m / n, sigma=sigma * np.sqrt(n))
    low, high = sigma * (np.sqrt(n) - np.sqrt(m)), sigma * (np.sqrt(n) + np.sqrt(m))
    assert quad(law.pdf, low, high, epsabs=1e-10)[0] == pytest.approx(1, abs=1e-7)
    # the mean square of the singular values is the sum of the squares of all n m entries, over their number m
    assert quad(lambda nu: nu**2 * law.pdf(nu), low, high)[0] == pytest.approx(n * sigma**2, rel=1e-7)
    nu = low + (high - low) * np.array([0.1, 0.5, 0.9])
    expected = n / (m * np.pi * n * sigma**2 * nu) * np.sqrt((high**2 - nu**2) * (nu**2 - low**2))
    np.testing.assert_allclose(law.pdf(nu), expected, rtol=1e-10)


class Logits(torch.nn.Module):
    """A network whose parameters are its logits, one row an image."""

    def __init__(self, z):
        super().__init__()
        self.z = torch.nn.Parameter(torch.from_numpy(z))

    def forward(self, rows):
        return self.z[rows]

    @staticmethod
    def augment(rows, rng):
        return rows


@pytest.mark.parametrize("alpha", [0.5, 1.0, 5.0])
def test_E3_cost_and_its_gradient_are_those_of_the_scaled_logits(alpha):
    rng = np.random.default_rng(1)
    z, labels = rng.standard_normal((64, 10)), rng.integers(10, size=64)
    network, config = Logits(z.copy()), TrainingConfig(laziness=alpha, batch_size=64)
    step = torch.optim.SGD(network.parameters(), lr=1.0)
    cost, _ = train_epoch(network, step, torch.arange(64), torch.from_numpy(labels), config, np.random.default_rng(2))
    softmax = np.exp(alpha * z) / np.exp(alpha * z).sum(axis=1, keepdims=True)
    assert cost == pytest.approx(-np.log(softmax[np.arange(64), labels]).mean() / alpha**2, rel=1e-6)
    gradient = z - network.z.detach().numpy()
    np.testing.assert_allclose(gradient, (softmax - np.eye(10)[labels]) / (64 * alpha), atol=1e-14)


@pytest.mark.parametrize("reflect", [False, True])
def test_E4_broadened_density_is_the_sum_over_its_kernels(reflect):
    a, nu = 15, noise_singular_values((256, 256), 3)
    grid, density = marchenko_pastur.broadened_density(nu, a, reflect)
    levels = np.sort(np.concatenate([-nu, nu])) if reflect else nu
    total = np.zeros_like(grid)
    for k, center in enumerate(levels):
        width = (levels[min(k + a, len(levels) - 1)] - levels[max(k - a, 0)]) / 2
        total += np.exp(-((grid - center) ** 2) / (2 * width**2)) / np.sqrt(2 * np.pi * width**2)
    np.testing.assert_allclose(density, total / len(nu), rtol=1e-10)


def test_E5_unfolded_levels_are_the_integral_of_the_broadened_density():
    a, nu = 5, noise_singular_values((90, 60), 4)
    kernels = [SimpleNamespace(center=nu[k], width=(nu[k + a] - nu[k - a]) / 2) for k in range(a, len(nu) - a)]

    def density(x):
        return sum(np.exp(-(((x - k.center) / k.width) ** 2) / 2) / (np.sqrt(2 * np.pi) * k.width) for k in kernels)

    xi, kept = unfold(nu, a=a), nu[2 * a : -2 * a]
    assert len(xi) == len(kept) == 40
    assert xi[0] == pytest.approx(quad(density, nu[0] - 20 * kernels[0].width, kept[0], limit=200)[0], abs=1e-7)
    gaps = [quad(density, low, high)[0] for low, high in zip(kept[:-1], kept[1:], strict=True)]
    np.testing.assert_allclose(np.diff(xi), gaps, atol=1e-8)


def test_E6_error_of_the_linearisation_falls_faster_than_the_distance():
    random = torch.Generator().manual_seed(5)
    network = build_network("mlp512", shape=(1, 8, 8), n_classes=10).double().requires_grad_(False)
    weight = network.get_parameter("dense2.weight")
    weight.copy_(torch.randn(512, 512, generator=random, dtype=torch.float64) / 16)
    start, step = weight.clone(), torch.randn(512, 512, generator=random, dtype=torch.float64)
    images = torch.randn(128, 64, generator=random, dtype=torch.float64)
    errors, changes = [], []
    before = network(images)
    for size in (0.008, 0.004, 0.002):
        weight.copy_(start + size * step)
        after = network(images)
        errors.append(float((after - linearize(network, {"dense2.weight": start})(images)).norm()))
        changes.append(float((after - before).norm()))
    # the change of the logits itself halves with the distance; what the first order misses is nearer to a quarter
    assert all(half / whole == pytest.approx(0.5, abs=0.05) for whole, half in zip(changes[:-1], changes[1:], strict=True))
    assert all(half / whole < 0.4 for whole, half in zip(errors[:-1], errors[1:], strict=True))
