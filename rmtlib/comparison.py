"""Base against tuned, layer by layer: two networks, or the steps of a training."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import checks, subspaces
from .comparison_words import in_words
from .layer_comparison import LayerComparison, compare_layer
from .layer_table import named_by_text, table_of_layers
from .pairs import LayerPair, Steps, pair_layers
from .table_file import identity
from .weights import Weights, load_weights

if TYPE_CHECKING:
    import pandas

__all__ = ["Comparison", "compare", "pair_networks"]


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
        By name; with several tuned networks of the last one. Layers whose rows were kept by ``resume`` are not among them.
    unread : list of (str, str)
        Steps of a training whose checkpoints in a folder cannot be read, and why.
    """

    table: pandas.DataFrame
    left_out: list[tuple[str, str]] = field(default_factory=list)
    layers: dict[str, LayerComparison] = field(default_factory=dict)
    unread: list[tuple[str, str]] = field(default_factory=list)

    @property
    def last(self) -> pandas.DataFrame:
        """The rows of the table that are of the last tuned network."""
        if "step" not in self.table:
            return self.table
        return self.table[self.table["step"] == self.table["step"].iloc[-1]].reset_index(drop=True)

    @property
    def text(self) -> str:
        """What changed, as one paragraph; with several tuned networks in the last one."""
        return in_words(self.last, self.left_out, self.unread)

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
    scheduler: str | None = None,
    progress: bool = True,
    csv=None,
    resume: bool = False,
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
        Compare only the layers in whose name in the tuned network this regular expression is found.
    top : int
        Dimension of the top subspaces and number of vectors asked whether they are new, at most a quarter of the levels.
    seed : int
        Of the noise for ``intruders``; a layer's does not depend on which others there are.
    workers, scheduler, progress, csv, resume
        As in `rmtlib.analyse_network`. The ``csv`` is of all steps together; ``resume`` goes on when there are more of them, and
        keeps the rows of layers that are not chosen now in the ``csv``.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If a network cannot be read, both have no layer in common, the base is an adapter, an argument is out of range, or as
        `rmtlib.analyse_network`.

    Warns
    -----
    UserWarning
        If Ctrl-C ends it early: the table holds the layers that were finished, and names the others.

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
    checks.choice(intruders, "intruders", (True, False))
    top, seed = checks.integer(top, "top", at_least=1), checks.integer(seed, "seed", at_least=0)
    pairs = pair_networks(base, tuned, layers)
    last, shapes = list(pairs.steps)[-1], pairs.shapes
    found: dict[str, LayerComparison] = {}

    def keep(result: _AtStep) -> None:
        if result.step == last:
            found[result.layer.name] = result.layer

    table = table_of_layers(
        partial(_compared, intruders=intruders, top=top, seed=seed),
        pairs,
        parameters={"command": "compare", "intruders": intruders, "top": top, "seed": seed},
        failed=lambda name, _, reason: _not_compared(name, shapes[name], reason),
        on_result=keep,
        known=pairs.tuned_names,
        workers=workers,
        scheduler=scheduler,
        csv=csv,
        resume=resume,
        progress=progress,
    )
    return Comparison(table, pairs.left_out, {name: found[name] for name in pairs.steps[last] if name in found})


def pair_networks(base, tuned, layers: str | None = None) -> Steps:
    """The layers that `rmtlib.compare` compares, none of them read.

    Parameters
    ----------
    base, tuned, layers
        As in `rmtlib.compare`.

    Returns
    -------
    rmtlib.pairs.Steps

    Raises
    ------
    ValueError
        As `rmtlib.compare`.
    """
    several = isinstance(tuned, dict) and tuned and all(map(_is_source, tuned.values()))
    before = _weights(base)
    networks = named_by_text(tuned) if several else {None: tuned}
    return Steps({step: pair_layers(before, _weights(network), layers) for step, network in networks.items()})


def _is_source(value) -> bool:
    return isinstance(value, str | os.PathLike | Weights) or hasattr(value, "weights_file") or hasattr(value, "state_dict")


def _weights(network) -> Weights:
    return network if isinstance(network, Weights) else load_weights(network)


@dataclass(frozen=True)
class _AtStep:
    step: str | None
    layer: LayerComparison

    def row(self) -> dict[str, Any]:
        return ({} if self.step is None else {"step": self.step}) | self.layer.row()


def _compared(name, pair: LayerPair, *, intruders, top, seed):
    step, layer = name
    try:
        rng = np.random.default_rng([seed, zlib.crc32(layer.encode())]) if intruders else None
        settings = {"name": layer, "dtypes": pair.dtypes, "adapter": pair.adapter, "top": top}
        return _AtStep(step, compare_layer(pair.matrix, pair.tuned.matrix, rng=rng, **settings))
    except (ValueError, MemoryError) as error:
        return _not_compared(name, pair.matrix.shape, str(error) or "not enough memory")


def _not_compared(name, shape, reason):
    layer = name[1]
    summary = f"{layer}: not compared: {reason.removeprefix(f'{layer}: ')}"
    return identity(name) | {"shape": shape, "summary": summary}
