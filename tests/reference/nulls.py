"""Make the tables in ``rmtlib/null_laws``, and the numbers about false alarms and power that the book quotes.

    python tests/reference/nulls.py vectors     writes vectors.csv (3 minutes on one core)
    python tests/reference/nulls.py spacings    writes spacings.csv (20 minutes)
    python tests/reference/nulls.py rates       share of noise matrices below p = 0.05, scipy's and calibrated
    python tests/reference/nulls.py power       the same for planted departures

Every random stream is seeded by the size, so that one row can be made again alone.
"""

import argparse
import csv
import io
import time
from pathlib import Path

import numpy as np
import scipy

from rmtlib import ensembles, null_laws
from rmtlib.laws import marchenko_pastur, wigner_surmise
from rmtlib.porter_thomas import porter_thomas
from rmtlib.spacings import spacing_test
from rmtlib.spectra import spectrum
from rmtlib.unfolding import unfold

NULLS = Path(null_laws.__file__).parent / "null_laws"

EXCEEDANCE = np.r_[0.9999, 0.999, 0.99, 0.98, 0.95, np.arange(0.9, 0.09, -0.05)]
EXCEEDANCE = np.r_[EXCEEDANCE, 0.07, 0.05, 0.03, 0.02, 0.01, 3e-3, 1e-3, 1e-4, 1e-6]
FITTED = 0.02
SIZES = (17, 24, 32, 45, 64, 77, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
POOLED = (8, 16, 64)
RECIPES = ("broadened a=15", "broadened a=7", "marchenko_pastur", "polynomial degree=7")

SCIPY_P = np.r_[1e-6, 1e-3, 3e-3, 0.01, 0.02, np.arange(0.05, 0.96, 0.05), 0.97, 0.98, 0.99, 0.995, 0.999, 1]
ENTRIES = (8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024)


def draws(m):
    return 10_000 if m <= 512 else 6_000 if m <= 1024 else 3_000 if m <= 2048 else 1_000


def unfolded(nu, shape, recipe):
    """Levels, or None where the polynomial cannot be used: it falls between two levels of 3 % of noise with 100 levels."""
    method, _, option = recipe.partition(" ")
    options = {option.partition("=")[0]: int(option.partition("=")[2])} if option else {"shape": shape}
    try:
        return unfold(nu, method=method, **options)
    except ValueError:
        if method == "polynomial":
            return None
        raise


def levels_lost(recipe):
    return 4 * int(recipe[12:]) if recipe.startswith("broadened") else 0


def statistic(s):
    return float(null_laws.ks_statistic(wigner_surmise.cdf(np.sort(s))))


def quantiles(z):
    """Empirical down to ``FITTED``, below it the line ln p = c - b z^2 through the draws between 0.1 and 0.002."""
    z = np.sort(z)[::-1]
    p = np.arange(1, len(z) + 1) / (len(z) + 1)
    tail = (p < 0.1) & (p > max(0.002, 5 / len(z)))
    slope, start = np.polyfit(z[tail] ** 2, np.log(p[tail]), 1)
    q = np.where(EXCEEDANCE > FITTED, np.quantile(z, 1 - EXCEEDANCE), np.sqrt((np.log(EXCEEDANCE) - start) / slope))
    assert np.all(np.diff(q) > 0), q
    return q


def spacings_table():
    rows = {recipe: [] for recipe in RECIPES}
    pool = {recipe: [] for recipe in RECIPES}
    for m in SIZES:
        began, rng = time.perf_counter(), np.random.default_rng([20221106, m])
        recipes = [recipe for recipe in RECIPES if m - levels_lost(recipe) > null_laws.FEWEST_SPACINGS]
        found = {recipe: [] for recipe in recipes}
        for i in range(draws(m)):
            shape = (m * (1 + i % 2), m)
            nu = null_laws.noise_singular_values(shape, rng)
            for recipe in recipes:
                xi = unfolded(nu, shape, recipe)
                s = np.diff(xi) if xi is not None else np.empty(0)
                found[recipe].append(np.sqrt(len(s)) * statistic(s) if len(s) else np.nan)
                if m == 1024:
                    pool[recipe].append(s.astype(np.float32))
        for recipe in recipes:
            z = np.array(found[recipe])
            rows[recipe].append((m - levels_lost(recipe) - 1, quantiles(z[np.isfinite(z)])))
            both, square, tall = (np.nanquantile(part, 0.95) for part in (z, z[::2], z[1::2]))
            print(f"{m} {recipe}: 5 % point {both:.3f}, square {square:.3f}, 2:1 {tall:.3f}", flush=True)
        print(f"{m}: {time.perf_counter() - began:.0f} s", flush=True)
    for recipe in RECIPES[:3]:
        # Distant parts of a spectrum are independent, so spectra of 1024 levels side by side stand for a longer one.
        for parts in (4, *POOLED):
            rng = np.random.default_rng([20221106, parts])
            z = []
            for _ in range(4_000):
                s = np.concatenate([pool[recipe][i] for i in rng.choice(len(pool[recipe]), parts, replace=False)])
                z.append(np.sqrt(len(s)) * statistic(s))
            print(f"{recipe}, {parts} x 1024: {len(s)} spacings, 5 % point {np.quantile(z, 0.95):.3f}", flush=True)
            if parts in POOLED:
                rows[recipe].append((len(s), quantiles(z)))
    return [[recipe, n, *(f"{x:.4f}" for x in q)] for recipe in RECIPES for n, q in rows[recipe]]


def vectors_table(total=2_000_000):
    table = []
    for m in ENTRIES:
        began, rng = time.perf_counter(), np.random.default_rng([20221106, m])
        counts = np.zeros(len(SCIPY_P))
        critical = scipy.stats.kstwo.isf(SCIPY_P, m)
        for _ in range(total // 2_000):
            v = rng.standard_normal((2_000, m))
            v *= np.sqrt(m) / np.linalg.norm(v, axis=1, keepdims=True)
            d = null_laws.ks_statistic(scipy.special.ndtr(np.sort(v, axis=1)))
            counts += len(d) - np.searchsorted(np.sort(d), critical)
        ratio = counts / total / SCIPY_P
        ratio[0], ratio[-1] = np.sqrt(2 / 3), 1
        print(f"{m}: ratio {ratio[3]:.3f} at 0.01, {ratio[5]:.3f} at 0.05; {time.perf_counter() - began:.0f} s", flush=True)
        table.append(["vectors", m, *(f"{x:.4f}" for x in ratio)])
    return table


def write(name, heads, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *rows])
    (NULLS / name).write_text(text.getvalue())


def glorot(shape, rng):
    return ensembles.glorot_uniform(shape, rng)


def gaussian(shape, rng):
    return rng.standard_normal(shape)


def student(shape, rng):
    return rng.standard_t(10, shape)


def shares(p):
    return f"{np.mean(p):.3f} {np.mean(p < 0.05):.4f} {np.mean(p < 0.3):.3f}"


def rates(matrices):
    print("mean p, P(p < .05), P(p < .3); scipy, then calibrated")
    for shape in ((300, 300), (512, 512), (1024, 512), (700, 300), (150, 2700)):
        for entries in (gaussian, glorot, student):
            rng = np.random.default_rng([7, *shape])
            spaced, vectors, curves = [], [], []
            for _ in range(matrices):
                found = spectrum(entries(shape, rng).astype(np.float64))
                test = spacing_test(unfold(found.nu))
                spaced.append((test.pvalue, test.calibrated_pvalue))
                for v in (found.input_vectors, found.output_vectors):
                    test = porter_thomas(v)
                    low, high = test.moving_mean.min(), test.moving_mean.max()
                    vectors.append((test.pvalue, test.calibrated_pvalue))
                    curves.append((test.moving_mean.std(), low, low < test.band[0] or high > test.band[1]))
            spaced, vectors = np.array(spaced).T, np.concatenate(vectors, axis=1)
            sd, low, outside = np.mean(curves, axis=0)
            print(
                f"{entries.__name__} {shape}, {matrices} matrices: spacings {shares(spaced[0])}, {shares(spaced[1])}; "
                f"vectors {shares(vectors[0])}, {shares(vectors[1])}; "
                f"moving mean SD {sd:.4f}, minimum {low:.3f}, leaves band {outside:.3f}",
                flush=True,
            )


def departures(m, rng):
    """Unfolded-by-construction spectra: noise with a share of independent levels, or two independent halves."""

    def bulk(k):
        nu = null_laws.noise_singular_values((k, k), rng)
        return nu / np.sqrt(k)

    nu = bulk(m)
    for share in (0.05, 0.1):
        k = round(share * m)
        kept = rng.choice(m, m - k, replace=False)
        yield f"{share:.0%} independent levels", np.sort(np.r_[nu[kept], marchenko_pastur(1.0, 1.0).ppf(rng.random(k))])
    yield "two independent halves", np.sort(np.r_[bulk(m // 2), bulk(m // 2)])


def power(matrices, m=512):
    rng, found = np.random.default_rng(11), {}
    for _ in range(matrices):
        for name, nu in departures(m, rng):
            test = spacing_test(unfold(nu))
            found.setdefault(name, []).append((test.pvalue < 0.05, test.calibrated_pvalue < 0.05))
    for name, rejected in found.items():
        print(f"{name}: scipy {np.mean(rejected, axis=0)[0]:.3f}, calibrated {np.mean(rejected, axis=0)[1]:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("vectors", "spacings", "rates", "power"))
    parser.add_argument("--matrices", type=int, default=300)
    arguments = parser.parse_args()
    if arguments.what == "vectors":
        write("vectors.csv", ["recipe", "m", *(f"{p:g}" for p in SCIPY_P)], vectors_table())
    elif arguments.what == "spacings":
        write("spacings.csv", ["recipe", "n", *(f"{p:g}" for p in EXCEEDANCE)], spacings_table())
    else:
        {"rates": rates, "power": power}[arguments.what](arguments.matrices)
