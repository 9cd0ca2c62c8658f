"""What biwhitening does to noise, to planted directions and to sizes that are known, and what its tests say of noise.

Usage: python benchmarks/sizes.py [matrices] [--only noise signals sizes bulk tails cost]

Every line is measured on so many matrices (8 by default, 200 for the figures of the project), which take turns over four shapes
and, where no law is named, over three laws of the entries. A target stands beside what was found. One thread.
"""

import argparse
import os
import time
import tracemalloc
import zlib

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402 - numpy reads the number of threads when it is imported
import pandas as pd  # noqa: E402
import scipy.signal  # noqa: E402

import rmtlib  # noqa: E402
from rmtlib import ensembles, goodness, null_laws, tails  # noqa: E402
from rmtlib.biwhitening import biwhiten  # noqa: E402
from rmtlib.marchenko_pastur import fit_marchenko_pastur  # noqa: E402

SHAPES = (300, 300), (512, 512), (1024, 512), (150, 2700)
SIZES = "none", "rows", "columns", "both", "blocks"
ENTRIES = {
    "Gaussian": lambda shape, rng: rng.standard_normal(shape),
    "uniform": lambda shape, rng: rng.uniform(-np.sqrt(3), np.sqrt(3), shape),
    "Student t(10)": lambda shape, rng: ensembles.student_t(shape, rng, df=10),
}
SIGNALS = [(count, strength) for strength in (2, 5, 50) for count in (1, 5, 16)] + [(5, 1.5), (5, 1.2)]


def sizes_of(kind, shape, rng):
    """Row and column sizes of one kind, whose standard deviations of logarithms are 0.5 or that are 0.5, 1, 2 by blocks."""
    rows, columns = np.ones(shape[0]), np.ones(shape[1])
    if kind in ("rows", "both"):
        rows = np.exp(0.5 * rng.standard_normal(shape[0]))
    if kind in ("columns", "both"):
        columns = np.exp(0.5 * rng.standard_normal(shape[1]))
    if kind == "blocks":
        rows = np.array([0.5, 1.0, 2.0])[3 * np.arange(shape[0]) // shape[0]]
    return rows, columns


def planted(shape, entries, count, strength, rng):
    """Noise of unit variance with directions at a multiple of the threshold."""
    noise = ENTRIES[entries](shape, rng)
    if not count:
        return noise
    n, m = max(shape), min(shape)
    known = ensembles.spiked(shape, rng, strengths=np.full(count, strength * (m / n) ** 0.25))
    return noise + np.sqrt(n) * (known.left_vectors.T * known.strengths) @ known.right_vectors


def draws(matrices, *line, entries=None):
    """Shape, law of the entries and generator of each matrix of a line; no two lines share a matrix."""
    laws = list(ENTRIES) if entries is None else [entries]
    seed = zlib.crc32(repr(line).encode())
    for i in range(matrices):
        yield SHAPES[i % len(SHAPES)], laws[i // len(SHAPES) % len(laws)], np.random.default_rng([seed, i])


def fit(matrix):
    nu = rmtlib.spectrum(matrix, vectors=False).nu
    return nu, fit_marchenko_pastur(nu, matrix.shape)


def tested(nu, curve):
    return goodness.bulk_test(nu, curve.shape, outliers=(curve.n_outliers_below, curve.n_outliers))


def line(what, values, target=""):
    print(f"  {what:<44} {'  '.join(values):<74} {target}", flush=True)


def measure_noise(matrices):
    print("NOISE, biwhitened: outliers above and below a matrix; vectors of inputs and outputs, P(p < .05) and share rejected")
    for kind in SIZES:
        for entries in ENTRIES:
            outside, low, rejected = [], {"input": [], "output": []}, {"input": [], "output": []}
            for shape, law, rng in draws(matrices, "noise", kind, entries, entries=entries):
                rows, columns = sizes_of(kind, shape, rng)
                matrix = biwhiten(rows[:, None] * planted(shape, law, 0, 0, rng) * columns).matrix
                found = rmtlib.spectrum(matrix)
                curve = fit_marchenko_pastur(found.nu, shape)
                outside.append((curve.n_outliers, curve.n_outliers_below))
                for side in low:
                    test = rmtlib.porter_thomas(getattr(found, f"{side}_vectors"))
                    low[side].append(test.calibrated_pvalue < 0.05)
                    rejected[side].append(test.qvalue < 0.05)
            above, below = np.mean(outside, axis=0)
            shares = [f"{s} {np.concatenate(low[s]).mean():.4f} {np.concatenate(rejected[s]).mean():.3%}" for s in low]
            line(f"{kind}, {entries}", [f"{above:.3f} {below:.3f}", *shares], "<= .05 each; .04 to .06; <= .2 %")


def measure_signals(matrices):
    print(
        "SIGNALS, noise sizes: share counted right, mean count, the same of the matrix before sizes, settled, rounds; least share"
    )
    print("share counted right by shape and by law of the entries")
    for kind in SIZES:
        for count, strength in SIGNALS:
            table = []
            for shape, law, rng in draws(matrices, "signals", kind, count, strength):
                W = planted(shape, law, count, strength, rng)
                rows, columns = sizes_of(kind, shape, rng)
                found = biwhiten(rows[:, None] * W * columns)
                counts = [fit(matrix)[1].n_outliers for matrix in (found.matrix, W)]
                table.append((shape, law, *counts, found.settled, found.iterations))
            table = pd.DataFrame(table, columns=["shape", "entries", "found", "as_is", "settled", "rounds"])
            table["right"], table["right_as_is"] = table.found == count, table.as_is == count
            means = table.select_dtypes(["number", "bool"]).mean()
            least = min(table.groupby(by).right.mean().min() for by in ("shape", "entries"))
            values = [f"{means.right:.3f} {means.found:.2f}", f"as is {means.right_as_is:.3f} {means.as_is:.2f}"]
            values += [f"settled {means.settled:.3f}", f"rounds {means.rounds:.1f}", f"least {least:.2f}"]
            few = {1.5: "found >= 4.5", 1.2: f"found >= {0.65 * means.as_is:.2f}"}
            line(f"{kind}: {count} at {strength} x", values, few.get(strength, "right >= .95"))


def measure_sizes(matrices):
    print("SIZES RECOVERED, noise sizes of Gaussian noise: rms and worst error of rows and columns over 1/sqrt(2 m)")
    for count, strength in ((0, 0), (5, 5), (16, 50)):
        for kind in SIZES:
            errors = []
            for shape, _, rng in draws(matrices, "sizes", kind, count, entries="Gaussian"):
                W = planted(shape, "Gaussian", count, strength, rng)
                true = sizes_of(kind, shape, rng)
                found = biwhiten(true[0][:, None] * W * true[1])
                both = zip((found.row_sizes, found.column_sizes), true, shape[::-1], strict=True)
                logs = [(np.log(size / known), np.sqrt(2 * other)) for size, known, other in both]
                errors.append([f(x - x.mean()) * unit for x, unit in logs for f in (np.std, lambda x: np.abs(x).max())])
            rms_rows, worst_rows, rms_columns, worst_columns = np.mean(errors, axis=0)
            values = [f"rows {rms_rows:.2f} {worst_rows:.2f}", f"columns {rms_columns:.2f} {worst_columns:.2f}"]
            values.append(f"largest worst {np.max(errors):.2f}")
            line(f"{kind}: {count} at {strength} x", values, "rms <= 1.1, worst <= 5" if not count else "")
    rng = np.random.default_rng(0)
    profile = np.outer(*sizes_of("both", (300, 200), rng)) * rng.choice([-1, 1], (300, 200))
    found = biwhiten(profile, "total")
    line("profile without noise", [f"{np.abs(np.abs(found.matrix) - 1).max():.1e} from +-1"], "0")


def measure_bulk(matrices):
    print("BULK: P(p < .05) of the goodness of fit, of levels as they are and biwhitened; then power, as they are and biwhitened")
    for shape in SHAPES:
        levels = [null_laws.noise_singular_values(shape, np.random.default_rng([16, i])) for i in range(5 * matrices)]
        p = [tested(nu, fit_marchenko_pastur(nu, shape)).pvalue for nu in levels]
        whitened = [fit(biwhiten(np.random.default_rng([17, i]).standard_normal(shape)).matrix) for i in range(matrices)]
        q = [tested(*pair).pvalue for pair in whitened]
        values = [
            f"{np.mean(np.less(p, 0.05)):.3f} of {5 * matrices}",
            f"biwhitened {np.mean(np.less(q, 0.05)):.3f} of {matrices}",
        ]
        line(f"noise {shape}", values, ".03 to .07")
    for shape in SHAPES[1:3]:
        n = shape[0]
        for ratio in (1.2, 1.3, 1.4, 1.5):
            half = np.where(np.arange(n) < n // 2, ratio, 1.0)[:, None]
            found = [fit(half * np.random.default_rng([18, i]).standard_normal(shape)) for i in range(matrices)]
            p = [tested(*pair).pvalue for pair in found]
            line(f"{shape}, half of the rows {ratio} x as large", [f"{np.mean(np.less(p, 0.05)):.2f}"], "one of them >= .5")
        for neighbours in (0.1, 0.2, 0.3):
            p = []
            for i in range(matrices):
                W = np.random.default_rng([19, i]).standard_normal(shape)
                W = scipy.signal.lfilter([np.sqrt(1 - neighbours**2)], [1, -neighbours], W, axis=1)
                p.append(tested(*fit(biwhiten(W).matrix)).pvalue)
            line(f"{shape}, neighbours correlated by {neighbours}", [f"{np.mean(np.less(p, 0.05)):.2f}"], "one of them >= .5")


def measure_tails(matrices):
    print("TAILS: (alpha - alpha_noise) / standard deviation, of noise with sizes on rows and columns, biwhitened")
    for shape in ((512, 512), (512, 256), (1024, 256), (300, 300), (150, 2700)):
        noise, z = tails.noise_exponent(shape), []
        for i in range(matrices):
            rng = np.random.default_rng([19, i])
            rows, columns = sizes_of("both", shape, rng)
            nu = rmtlib.spectrum(biwhiten(rows[:, None] * rng.standard_normal(shape) * columns).matrix, vectors=False).nu
            z.append((tails.fit_power_law(nu**2).exponent - noise.mean) / noise.standard_deviation)
        line(f"{shape}", [f"{np.mean(z):+.2f} +- {np.std(z):.2f}"], "0 +- .2, .8 to 1.2")


def measure_cost(matrices):
    print(
        "COST of biwhitening over numpy's decomposition with vectors; peak memory over the float64 matrix; noise, and 16 at 5 x"
    )
    for shape in ((512, 512), (2048, 2048), (4096, 1024)):
        for count in (0, 16):
            W = planted(shape, "Gaussian", count, 5, np.random.default_rng(0))
            start = time.perf_counter()
            np.linalg.svd(W, full_matrices=False)
            decomposed = time.perf_counter()
            found = biwhiten(W)
            ended = time.perf_counter()
            tracemalloc.start()
            biwhiten(W)
            peak = tracemalloc.get_traced_memory()[1] / W.nbytes
            tracemalloc.stop()
            ratio = (ended - decomposed) / (decomposed - start)
            line(f"{shape}, {count} directions", [f"{ratio:.2f}", f"memory {peak:.2f}", f"{found.iterations} rounds"])


if __name__ == "__main__":
    parts = {name.removeprefix("measure_"): part for name, part in list(globals().items()) if name.startswith("measure_")}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrices", nargs="?", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=tuple(parts), default=tuple(parts))
    arguments = parser.parse_args()
    for name in arguments.only:
        parts[name](arguments.matrices)
