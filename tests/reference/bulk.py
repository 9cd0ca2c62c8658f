"""Make the tables of what noise shows in its bulk and in its tail.

    python tests/reference/bulk.py bulk     writes bulk.csv, for `rmtlib.goodness.bulk_null` (3 minutes on one core)
    python tests/reference/bulk.py tails    writes tails.csv, for `rmtlib.tails.noise_exponent` (10 minutes)

Every random stream is seeded by the shape, so that one row can be made again alone.
"""

import argparse
import csv
import io
import time
from pathlib import Path

import numpy as np

import rmtlib
from rmtlib.goodness import bulk_deviation, counting_deviation
from rmtlib.null_laws import noise_singular_values
from rmtlib.tails import fit_power_law

NULLS = Path(rmtlib.__file__).parent / "null_laws"

EXCEEDANCE = np.r_[0.9999, 0.999, 0.99, 0.98, 0.95, np.arange(0.9, 0.09, -0.05)]
EXCEEDANCE = np.r_[EXCEEDANCE, 0.07, 0.05, 0.03, 0.02, 0.01, 3e-3, 1e-3, 1e-4, 1e-6]
FITTED = 0.02
BULK_SIZES = (16, 24, 32, 64, 128, 256, 512, 1024, 2048, 4096)
TAIL_SIZES = (64, 80, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
TAIL_RATIOS = (0.01, 0.1, 0.25, 0.5, 1.0)


def quantiles(z):
    """Empirical down to ``FITTED``, below it the line ln p = c - b z^2 through the draws between 0.1 and 0.002."""
    z = np.sort(z)[::-1]
    p = np.arange(1, len(z) + 1) / (len(z) + 1)
    tail = (p < 0.1) & (p > max(0.002, 5 / len(z)))
    slope, start = np.polyfit(z[tail] ** 2, np.log(p[tail]), 1)
    found = np.where(EXCEEDANCE > FITTED, np.quantile(z, 1 - EXCEEDANCE), np.sqrt((np.log(EXCEEDANCE) - start) / slope))
    return np.maximum.accumulate(found)


def bulk_table():
    """One row a size: a third of the matrices are square, a third 2:1 and a third 20:1, for the law hardly depends on it."""
    rows = []
    for m in BULK_SIZES:
        began, rng = time.perf_counter(), np.random.default_rng([20221106, m])
        draws = 3_000 if m <= 512 else 1_500 if m <= 1024 else 600 if m <= 2048 else 240
        shapes = [(m, m), (2 * m, m), (20 * m, m)] * (draws // 3)
        found = [np.abs(bulk_deviation(noise_singular_values(shape, rng), shape)[2]).max() for shape in shapes]
        z = np.array(found) / counting_deviation(m)
        rows.append([1, m, *(f"{x:.4f}" for x in quantiles(z))])
        points = [f"{np.quantile(z[i::3], 0.95):.3f}" for i in range(3)]
        print(f"{m}: 5 % point {np.quantile(z, 0.95):.3f}, {points}; {time.perf_counter() - began:.0f} s", flush=True)
    return rows


def tails_table():
    rows = []
    for ratio in TAIL_RATIOS:
        for m in TAIL_SIZES:
            began, shape = time.perf_counter(), (round(m / ratio), m)
            rng = np.random.default_rng([20221107, *shape])
            draws = 1_500 if m <= 256 else 800 if m <= 512 else 300 if m <= 1024 else 150 if m <= 2048 else 60
            alpha = np.array([fit_power_law(noise_singular_values(shape, rng) ** 2).exponent for _ in range(draws)])
            rows.append([ratio, m, f"{alpha.mean():.4f}", f"{alpha.std():.4f}"])
            print(f"{shape}: {alpha.mean():.3f} +- {alpha.std():.3f}; {time.perf_counter() - began:.0f} s", flush=True)
    return rows


def write(name, heads, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *rows])
    (NULLS / name).write_text(text.getvalue())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("bulk", "tails"))
    if parser.parse_args().what == "bulk":
        write("bulk.csv", ["ratio", "m", *(f"{p:g}" for p in EXCEEDANCE)], bulk_table())
    else:
        write("tails.csv", ["ratio", "m", "mean", "deviation"], tails_table())
