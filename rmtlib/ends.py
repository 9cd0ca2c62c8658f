r"""Singular vectors at both ends of the spectrum: are those of the largest, or of the smallest, singular values random?

Of random vectors each calibrated p is uniform, so the mean of n of them has mean 1/2 and standard deviation
:math:`1/\sqrt{12 n}`; a mean that is too small says that they are not random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtr

from . import checks

if TYPE_CHECKING:
    import pandas

    from .layer_analysis import LayerAnalysis
    from .porter_thomas import PorterThomasTest

__all__ = ["EndMeans", "EndTests", "end_means", "end_tests"]

SIDES = ("output", "input")


class EndMeans(NamedTuple):
    """Mean calibrated p at both ends of one spectrum.

    Attributes
    ----------
    large, small : float
        Over the vectors of the largest and of the smallest singular values.
    sd : float
        Standard deviation of either for random vectors, whose mean is 1/2.
    """

    large: float
    small: float
    sd: float


@dataclass(frozen=True, eq=False)
class EndTests:
    """Tests of the vectors at both ends of the spectrum.

    Attributes
    ----------
    mean : pandas.DataFrame
        Mean calibrated p over the vectors of an end and over all seeds: regimes in rows, pairs of a space (``"output"``,
        ``"input"``) and an end (``"large"``, ``"small"`` singular values) in columns.
    pvalue : pandas.DataFrame
        Probability that the mean of random vectors is as small.
    level : float
        Of a single test: the familywise level over the number of tests (Bonferroni).
    """

    mean: pandas.DataFrame
    pvalue: pandas.DataFrame
    level: float

    @property
    def dips(self) -> pandas.DataFrame:
        """Where the mean is too small for random vectors."""
        return self.pvalue < self.level

    @property
    def rises(self) -> pandas.DataFrame:
        """Where it is too large for random vectors."""
        return 1 - self.pvalue < self.level

    @property
    def table(self) -> pandas.DataFrame:
        """The means as text; dips are marked with a star, rises with a dagger."""
        marks = self.dips.replace({True: " *", False: ""}) + self.rises.replace({True: " †", False: ""})
        return self.mean.map("{:.2f}".format) + marks


def end_means(test: PorterThomasTest, *, vectors: int = 15) -> EndMeans:
    """Mean calibrated p of the vectors of the largest and of the smallest singular values.

    Parameters
    ----------
    test : PorterThomasTest
        Of the vectors of one space, in ascending order of their singular values.
    vectors : int
        Number of vectors at each end.

    Returns
    -------
    EndMeans

    Raises
    ------
    ValueError
        If there are fewer than ``2 * vectors`` vectors, or ``test`` is none.

    Examples
    --------
    Vectors of single entries, put in place of those of the largest singular values of noise, are not random:

    >>> from rmtlib import ensembles, porter_thomas, spectrum
    >>> vectors = spectrum(ensembles.gaussian((200, 200), 0)).output_vectors
    >>> vectors[-15:] = np.eye(15, 200)
    >>> means = end_means(porter_thomas(vectors))
    >>> round(means.large, 3), abs(means.small - 0.5) < 3 * means.sd
    (0.0, True)
    """
    if not hasattr(test, "calibrated_pvalue"):
        msg = f"test must be a PorterThomasTest, of rmtlib.porter_thomas; got {type(test).__name__}"
        raise ValueError(msg)
    vectors, p = checks.integer(vectors, "vectors", at_least=1), test.calibrated_pvalue
    if len(p) < 2 * vectors:
        msg = f"vectors must be at most half of those tested, {len(p)}; got {vectors}"
        raise ValueError(msg)
    return EndMeans(float(p[-vectors:].mean()), float(p[:vectors].mean()), float(1 / np.sqrt(12 * vectors)))


def end_tests(layers: Mapping[tuple[str, int], LayerAnalysis], *, vectors: int = 15, level: float = 0.05) -> EndTests:
    """Test the vectors of the largest and of the smallest singular values, over all networks of a regime.

    Parameters
    ----------
    layers : mapping of (regime, seed) to LayerAnalysis
        The same layer of every network.
    vectors : int
        Number of vectors at each end.
    level : float
        Familywise level, for all regimes, spaces and ends together.

    Returns
    -------
    EndTests

    Raises
    ------
    ValueError
        If there is no layer, if one has fewer than ``2 * vectors`` levels, or if ``level`` is not between 0 and 1.
    """
    import pandas as pd

    if not layers:
        msg = "layers must hold at least one analysed layer; got none"
        raise ValueError(msg)
    vectors = checks.integer(vectors, "vectors", at_least=1)
    level = checks.share(level, "level")
    for key, layer in layers.items():
        if len(layer.nu) < 2 * vectors:
            levels = len(layer.nu)
            msg = f"vectors must be at most half of the levels of every layer; {key} has {levels}, got {vectors}"
            raise ValueError(msg)
    regimes = pd.Index([regime for regime, _ in layers])
    means = {side: [end_means(getattr(layer, side), vectors=vectors) for layer in layers.values()] for side in SIDES}
    single = pd.DataFrame(
        {(side, end): [getattr(found, end) for found in means[side]] for side in SIDES for end in ("large", "small")}, regimes
    )
    by_regime = single.groupby(level=0, sort=False)
    mean, counts = by_regime.mean(), vectors * by_regime.size()
    return EndTests(mean, (mean - 0.5).mul(np.sqrt(12 * counts), axis=0).map(ndtr), level / mean.size)
