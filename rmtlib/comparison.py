"""Base against tuned, layer by layer: two networks, or the steps of a training."""

from __future__ import annotations

import os
import zlib
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from . import checks, parallel, subspaces
from .comparison_words import in_words
from .layer_comparison import LayerComparison, compare_layer
from .pairs import Pairs, pair_layers
from .weights import Weights, load_weights

if TYPE_CHECKING:
    import pandas

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two networks, or the steps of a training, layer by layer.

    Attributes
    ----------
    table : pandas.DataFrame
        One row a layer with the columns of `LayerComparison.row`; with several tuned networks one a layer and ``step``, the first
        column. A layer that cannot be compared keeps its row, whose ``summary`` says why.
    left_out : list of (str, str)
        Layers that are not compared, and why: on one side only, or of another shape.
    layers : dict of str to LayerComparison
        By name; with several tuned networks of the last one.
    """

    table: pandas.DataFrame
    left_out: list[tuple[str, str]] = field(default_factory=list)
    layers: dict[str, LayerComparison] = field(default_factory=dict)

    @property
    def last(self) -> pandas.DataFrame:
        """The rows of the table that are of the last tuned network."""
        if "step" not in self.table:
            return self.table
        return self.table[self.table["step"] == self.table["step"].iloc[-1]].reset_index(drop=True)

    @property
    def text(self) -> str:
        """What changed, as one paragraph; with several tuned networks in the last one."""
        return in_words(self.last, self.left_out)

    def __repr__(self) -> str:
        lines = [*self.table["summary"], *(f"left out: {name}: {why}" for name, why in self.left_out)]
        return "\n".join(["Comparison", *(f"  {line}" for line in lines)])


def compare(
    base,
    tuned,
    intruders: bool = False,
    *,
    layers: str | None = None,
    top: int = subspaces.TOP,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> Comparison:
    """Compare a network with what a training made of it.

    Parameters
    ----------
    base : path, Run, model, mapping or Weights
        As in `rmtlib.load_weights`.
    tuned : path, Run, model, mapping or Weights, or dict of these
        The same network after the training, or an adapter of it (LoRA), which need not be merged. A dict of several by names of
        steps, such as `rmtlib.pairs.checkpoints` finds in a folder, gives rows for each.
    intruders : bool
        Also ask which top vectors are new beyond noise of the update's sizes: several times as long.
    layers : str, optional
        A regular expression: compare layers whose names contain a match.
    top : int
        Dimension of the top subspaces and number of vectors asked whether they are new, at most a quarter of the levels.
    seed : int
        Of the noise for ``intruders``; a layer's does not depend on which others there are.
    workers : int, optional
        Layers at a time, as in `rmtlib.analyse_network`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If a network cannot be read, both have no layer in common, the base is an adapter, or an argument is out of range.

    Notes
    -----
    The difference is taken in float64, of numbers as they are stored. One layer costs two decompositions with vectors and a few
    without; `rmtlib.updates.update_rank`, `rmtlib.subspaces.overlap` and `rmtlib.subspaces.intruders` say what is computed.

    Examples
    --------
    >>> from rmtlib.ensembles import gaussian
    >>> W = gaussian((120, 100), 0)
    >>> learned = W + np.outer(gaussian((120,), 1), gaussian((100,), 2)) + 0.1 * gaussian((120, 100), 3)
    >>> compare({"fc": W}, {"fc": learned}, progress=False).table[["layer", "rank"]].values.tolist()
    [['fc', 1]]
    """
    import pandas as pd

    checks.choice(intruders, "intruders", (True, False))
    top, seed = checks.integer(top, "top", at_least=1), checks.integer(seed, "seed", at_least=0)
    workers = parallel.processors() if workers is None else checks.integer(workers, "workers", at_least=1)
    steps = _steps(tuned)
    before = _weights(base)
    rows, found = [], {}
    missing: dict[tuple[str, str], list[str | None]] = {}
    for step, network in steps.items():
        pairs = pair_layers(before, _weights(network), layers)
        label = "layers" if step is None else f"layers of {step}"
        found = _compared(pairs, intruders, top, seed, workers, tqdm(total=len(pairs), desc=label, disable=not progress))
        step_of = {} if step is None else {"step": step}
        rows += [step_of | _row(pairs, name, found[name]) for name in pairs]
        unread = [(s.name, f"not read: {s.reason}") for s in pairs.tuned.skipped if "nan or infinite" in s.reason]
        for left in (*pairs.left_out, *unread):
            missing.setdefault(left, []).append(step)
    left_out = [
        (name if len(at) == len(steps) else f"{', '.join(map(str, at))}: {name}", why) for (name, why), at in missing.items()
    ]
    compared = {name: result for name, result in found.items() if isinstance(result, LayerComparison)}
    return Comparison(pd.DataFrame(rows), left_out, compared)


def _steps(tuned) -> dict[str | None, Any]:
    several = isinstance(tuned, dict) and tuned and all(map(_is_source, tuned.values()))
    return dict(tuned) if several else {None: tuned}


def _is_source(value) -> bool:
    return isinstance(value, str | os.PathLike | Weights) or hasattr(value, "weights_file") or hasattr(value, "state_dict")


def _weights(network) -> Weights:
    return network if isinstance(network, Weights) else load_weights(network)


def _compared(pairs: Pairs, intruders, top, seed, workers, bar) -> dict[str, LayerComparison | str]:
    def work(name, layer):
        try:
            after = pairs.tuned[pairs.pairs[name].tuned].matrix
            before = layer.matrix
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())]) if intruders else None
            settings = {"name": name, "dtypes": pairs.dtypes(name), "adapter": pairs.pairs[name].adapter, "top": top}
            return compare_layer(before, after, rng=rng, **settings)
        except (ValueError, MemoryError) as error:
            return str(error) or "not enough memory"

    found: dict[str, LayerComparison | str] = {}
    results = parallel.as_they_finish(work, pairs, workers=workers)
    with closing(results), bar:
        for name, result in results:
            found[name] = str(result) if isinstance(result, ValueError) else result
            bar.update()
    return found


def _row(pairs: Pairs, name: str, result) -> dict[str, Any]:
    if isinstance(result, LayerComparison):
        return result.row()
    reason = result.removeprefix(f"{name}: ")
    return {"layer": name, "shape": pairs.base.shapes[pairs.pairs[name].base], "summary": f"{name}: not compared: {reason}"}
