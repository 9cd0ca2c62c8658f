"""From numbers to one of five words, by the criteria of ``paper.toml``: intervals, ends of a spectrum, tests of randomness.

Every function is one criterion and looks at numbers alone, so that noise can be put through it (`studies.alarms`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import scipy.stats

from rmtlib import checks
from rmtlib.claims import VERDICTS

__all__ = [
    "Interval",
    "above",
    "bonferroni",
    "counted",
    "end",
    "equivalent",
    "explained",
    "interval",
    "known_interval",
    "large_end_alone",
    "level",
    "margin",
    "seeds_to_decide",
    "small_end",
    "typical_ratio",
    "unchanged",
    "within_band",
    "worst",
]

REPRODUCED, REFUTED, INCONCLUSIVE, COMPATIBLE, UNTESTED = VERDICTS
FEWEST = 3  # networks whose own scatter counts
COVERAGE = 0.90
DIPS = 12  # three regimes, two ends, two spaces


@cache
def _paper() -> Mapping[str, Mapping]:
    return tomllib.loads((Path(__file__).parents[1] / "paper.toml").read_text())


def margin(id: str) -> float:
    """The margin that ``paper.toml`` states for a sentence."""
    return float(_paper()[id]["margin"])


def level(id: str) -> float:
    """The level that ``paper.toml`` states for a sentence."""
    return float(_paper()[id]["level"])


@dataclass(frozen=True)
class Interval:
    """A mean with its interval of 90 %.

    Attributes
    ----------
    mean, low, high : float
    n : int
        Number of networks.
    borrowed : bool
        Whether the scatter is that of other networks, because there are fewer than three.
    """

    mean: float
    low: float
    high: float
    n: int
    borrowed: bool = False

    def words(self, style: str = "+.1f", unit: str = "") -> str:
        """As in ``"+1.2 (+0.9 to +1.5; 5 seeds)"``."""
        note = ", scatter of the stated recipe" if self.borrowed else ""
        seeds = f"{self.n} seed" + "s" * (self.n != 1)
        return f"{self.mean:{style}}{unit} ({self.low:{style}} to {self.high:{style}}; {seeds}{note})"


def interval(values, *, others=None, of_one: bool = False) -> Interval:
    r"""Student's t interval of a mean over networks.

    Parameters
    ----------
    values : array of shape (n,)
        One number a network, or a difference of two that share a seed.
    others : array of shape (k,), optional
        The same of the networks of the stated recipe, whose standard deviation is used for fewer than three ``values``.
    of_one : bool
        The interval of the difference between the mean and *one* further network,
        :math:`t\,s \sqrt{1 + 1/n}`, instead of :math:`t\,s/\sqrt{n}`.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If there is no value, or fewer than three, and fewer than three others.
    """
    values = np.asarray(values, dtype=float)
    borrowed = len(values) < FEWEST
    sample = np.asarray([] if others is None else others, dtype=float) if borrowed else values
    if not len(values) or len(sample) < FEWEST:
        msg = f"values must be of at least {FEWEST} networks, or others must be; got {len(values)} and {len(sample)}"
        raise ValueError(msg)
    n, mean = len(values), float(values.mean())
    per_mean = np.sqrt(1 + 1 / n) if of_one else np.sqrt(1 / n)
    half = float(scipy.stats.t.ppf((1 + COVERAGE) / 2, len(sample) - 1) * sample.std(ddof=1) * per_mean)
    return Interval(mean, mean - half, mean + half, n, borrowed)


def known_interval(values, sd: float) -> Interval:
    """Interval of a mean whose single values have a standard deviation that noise has told."""
    values = np.asarray(values, dtype=float)
    half = float(scipy.stats.norm.ppf((1 + COVERAGE) / 2) * sd / np.sqrt(len(values)))
    return Interval(float(values.mean()), float(values.mean()) - half, float(values.mean()) + half, len(values))


def counted(values, *, others=None) -> Interval:
    r"""Interval of a mean count over networks: the wider one, at each end, of Student's and of the exact one of Poisson.

    Networks that all have the same count, such as none, have no scatter, and their mean is not known without error.

    Parameters
    ----------
    values : array of shape (n,)
        One count a network.
    others : array of shape (k,), optional
        As in `interval`.

    Returns
    -------
    Interval

    Notes
    -----
    With a sum of k the exact interval (Garwood's) of the mean is :math:`\chi^2_{2k}(0.05) / 2n` to
    :math:`\chi^2_{2k + 2}(0.95) / 2n`, and its lower end is 0 for k = 0.

    Examples
    --------
    >>> counted([0, 0, 0, 0, 0]).words(".1f")
    '0.0 (0.0 to 0.6; 5 seeds)'
    """
    student, n, total = interval(values, others=others), len(values), float(np.sum(values))
    tail = (1 - COVERAGE) / 2
    low = scipy.stats.chi2.ppf(tail, 2 * total) / (2 * n) if total else 0.0
    high = scipy.stats.chi2.ppf(1 - tail, 2 * total + 2) / (2 * n)
    return replace(student, low=max(0.0, min(student.low, float(low))), high=max(student.high, float(high)))


def equivalent(found: Interval, target: float, margin: float) -> str:
    """Two one-sided tests at 5 %: the interval lies inside the margin about the target, outside of it, or across its bound."""
    low, high = found.low - target, found.high - target
    if -margin < low and high < margin:
        return REPRODUCED
    return REFUTED if low > margin or high < -margin else INCONCLUSIVE


def above(found: Interval, bound: float = 0.0, *, refuted: float | None = None) -> str:
    """Reproduced if the interval lies above a bound, not reproduced if it lies below (``refuted``, or the same bound)."""
    if found.low > bound:
        return REPRODUCED
    return REFUTED if found.high < (bound if refuted is None else refuted) else INCONCLUSIVE


def typical_ratio(shares: Iterable[Interval], margin: float) -> str:
    """C1-like: every share of the way to independent levels is below the margin, or one is above it."""
    shares = list(shares)
    if all(share.high < margin for share in shares):
        return REPRODUCED
    return REFUTED if any(share.low > margin for share in shares) else INCONCLUSIVE


def bonferroni(pvalues, power: float, level: float = 0.05) -> str:
    """Compatible if no p is below the level over their number; inconclusive if a stated departure would rarely be seen."""
    pvalues = np.asarray(pvalues, dtype=float)
    if pvalues.min() < level / len(pvalues):
        return REFUTED
    return COMPATIBLE if power >= 0.5 else INCONCLUSIVE


def within_band(value: float, noise, departure: float = 0.3) -> tuple[str, float]:
    """F1b: a ratio in the central 95 % of noise; with it the smallest departure seen with probability one half.

    Parameters
    ----------
    value : float
        Number variance over its law, mean over the seeds.
    noise : array
        The same of noise, of as many matrices.
    departure : float
        Above which the data cannot tell.

    Returns
    -------
    verdict : str
    smallest : float
        By which share the ratio has to be larger to be outside of the band in half of the cases.
    """
    low, middle, high = np.quantile(noise, (0.025, 0.5, 0.975))
    smallest = float(high / middle - 1)
    if not low <= value <= high:
        return REFUTED, smallest
    return (COMPATIBLE if smallest <= departure else INCONCLUSIVE), smallest


def end(mean: float, n: int, *, bound: float = 0.40, level: float = 0.05 / DIPS) -> str:
    r"""Vectors at one end of a spectrum: "dip", "no dip" or "cannot tell".

    Parameters
    ----------
    mean : float
        Of n calibrated p; of random vectors it has mean 1/2 and standard deviation :math:`1/\sqrt{12 n}`.
    n : int
        Vectors, of all seeds.
    bound : float
        Below which a mean is a dip.
    level : float
        Of the test of randomness that a dip has to reject as well.

    Returns
    -------
    str

    Examples
    --------
    >>> end(0.36, 75), end(0.53, 75), end(0.36, 15)
    ('dip', 'no dip', 'cannot tell')
    """
    n = checks.integer(n, "n", at_least=1)
    sd = 1 / np.sqrt(12 * n)
    if mean < bound and scipy.stats.norm.cdf((mean - 0.5) / sd) < level:
        return "dip"
    return "no dip" if mean - scipy.stats.norm.ppf((1 + COVERAGE) / 2) * sd > bound else "cannot tell"


def large_end_alone(large: str, small: str) -> str:
    """C4: the large end dips and the small one does not."""
    if large == "no dip" or small == "dip":
        return REFUTED
    return REPRODUCED if (large, small) == ("dip", "no dip") else INCONCLUSIVE


def small_end(small: str) -> str:
    """C5: the small end dips."""
    return {"dip": REPRODUCED, "no dip": REFUTED}.get(small, INCONCLUSIVE)


def unchanged(ends: Sequence[str], ratio: Interval, outliers: Interval, margin: float) -> str:
    """C6: no end dips, sigma keeps its size, and there is less than one outlier."""
    same = equivalent(ratio, 1.0, margin)
    if "dip" in ends or same == REFUTED or outliers.low > 1:
        return REFUTED
    return REPRODUCED if same == REPRODUCED and outliers.high < 1 else INCONCLUSIVE


def explained(as_is: str, biwhitened: str) -> str:
    """What an end says as it is and without sizes: "direction", "size of neurons", "cannot tell", or "no dip" to explain."""
    if as_is != "dip":
        return as_is
    return {"dip": "direction", "no dip": "size of neurons"}.get(biwhitened, "cannot tell")


def seeds_to_decide(values, bound: float, *, most: int = 1000) -> int | None:
    """Number of networks that would decide, were mean and scatter what they are now; None beyond ``most``."""
    values = np.asarray(values, dtype=float)
    distance, sd = abs(values.mean() - bound), values.std(ddof=1)
    for n in range(FEWEST, most + 1):
        if scipy.stats.t.ppf((1 + COVERAGE) / 2, n - 1) * sd / np.sqrt(n) < distance:
            return n
    return None


def worst(words: Iterable[str]) -> str:
    """The worst of several verdicts: of what is refuted, undecided, untested, compatible and reproduced; undecided of none."""
    order = (REFUTED, INCONCLUSIVE, UNTESTED, COMPATIBLE, REPRODUCED)
    return min(words, key=order.index, default=INCONCLUSIVE)
