"""Networks that others trained on ImageNet: what the paper says of them, and what stands in for missing files."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from rmtlib.claims import Outcome, Untested
from rmtlib.porter_thomas import PorterThomasTest
from rmtlib.weights.pretrained import NETWORKS

from .layers import LevelStatistics
from .other_networks import PANELS

__all__ = [
    "COMMAND",
    "NEAR",
    "architectures",
    "files",
    "first_layers",
    "layer_outcomes",
    "level_outcomes",
    "numbers",
    "shown_layers",
    "smallest_by_network",
    "vector_outcomes",
]

COMMAND = "rmtlib run chapters/16_pretrained.md -p download true"
PAPER = {"second dense layer": ("3", "alexnet", 0.31), "third dense layer": ("4", "vgg19", 0.96)}  # panel of Fig. 1, and its p
NEAR = 0.05  # of the paper's p
FIFTH = 0.2  # of the law, by which a number variance may differ on average

Place = tuple[str, str]


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


def shown_layers(here: Collection[str]) -> dict[str, Place]:
    """Network and layer of each panel of figure 1: the paper's if its file is here, otherwise the same layer of MLP512."""
    return {
        "second dense layer": _pick(here, "alexnet", "classifier.4", "dense2"),
        "third dense layer": _pick(here, "vgg19", "classifier.6", "dense3"),
    }


def first_layers(here: Collection[str]) -> dict[str, Place]:
    """As `shown_layers`, of figure 2c."""
    return {
        "first dense layer (AlexNet)": _pick(here, "alexnet", "classifier.1", "dense1"),
        "first dense layer (VGG19)": _pick(here, "vgg19", "classifier.0", "dense1"),
    }


def _pick(here: Collection[str], network: str, layer: str, otherwise: str) -> Place:
    return (network, layer) if network in here else ("mlp512", otherwise)


def level_outcomes(here: Collection[str], levels: Mapping[str, LevelStatistics]) -> dict[str, Outcome | Untested]:
    """Panels 3 and 4 of figure 1.

    Parameters
    ----------
    here : collection of str
        Networks whose files are here.
    levels : mapping of str to LevelStatistics
        Of the trained layers, by the places of `shown_layers`.

    Returns
    -------
    dict of str to Outcome or Untested
        By id. Spacings are reproduced if scipy's p is within ``NEAR`` of the paper's, a number variance if it stays within a
        fifth of the filtered law on average; a network whose file is missing is not tested.
    """
    found: dict[str, Outcome | Untested] = {}
    for place, (panel, network, theirs) in PAPER.items():
        if network not in here:
            found |= dict.fromkeys((f"F1a{panel}", f"F1b{panel}"), Untested(COMMAND))
            continue
        p, ratio = levels[place].spacing.pvalue, levels[place].ratio
        found[f"F1a{panel}"] = Outcome(abs(p - theirs) <= NEAR, value=p)
        found[f"F1b{panel}"] = Outcome(abs(ratio - 1) < FIFTH, ratio=ratio)
    return found


def vector_outcomes(here: Collection[str], vectors: Mapping[Place, PorterThomasTest]) -> dict[str, Outcome | Untested]:
    """Figure 2c: the vectors of first dense layers.

    Parameters
    ----------
    here : collection of str
        Networks whose files are here.
    vectors : mapping of (str, str) to PorterThomasTest
        Of the layers of `first_layers`, by network and layer.

    Returns
    -------
    dict of str to Outcome or Untested
        The sentence holds if in every layer the moving mean leaves the band in the upper half of the spectrum and less than half
        of the vectors are rejected: ``first-dense`` of the layers that are given, ``F2c`` of the paper's.
    """
    holds, words = [], []
    for place, test in vectors.items():
        lower, upper = (half.min() for half in np.array_split(test.moving_mean, 2))
        floor, rejected = test.band[0], np.mean(test.qvalue < 0.05)
        holds.append(upper < floor and rejected < 0.5)
        words.append(
            f"{' '.join(place)}: lowest moving mean {lower:.2f} in the lower and {upper:.2f} in the upper half, "
            f"band from {floor:.2f}, {rejected:.0%} of the vectors not random"
        )
    outcome = Outcome(all(holds), words="; ".join(words))
    return {"first-dense": outcome, "F2c": outcome if {"alexnet", "vgg19"} <= set(here) else Untested(COMMAND)}


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


def layer_outcomes(smallest: pd.DataFrame) -> dict[str, Outcome | Untested]:
    """Rows of the paper's table 2 from `smallest_by_network`, reproduced if no layer is rejected; table 1 is not tested."""
    found: dict[str, Outcome | Untested] = {}
    for name in NETWORKS:
        if name in smallest.index:
            layers, least, allowed = smallest.loc[name]
            found[f"T2-{name}"] = Outcome(least > allowed, layers=layers, smallest=least)
        else:
            found[f"T2-{name}"] = Untested(COMMAND)
    found["T1"] = Untested(f"the paper's cells are lost; for ours: {PANELS['minialexnet'].command}")
    return found


def numbers(levels: Mapping[str, LevelStatistics], smallest: pd.DataFrame, *, a: int = 15) -> dict[str, float]:
    """Numbers of the text: of the layers shown, of all layers that were tested, and of the published architectures."""
    second, third = levels["second dense layer"], levels["third dense layer"]
    layers = [shape for network in NETWORKS.values() for shape in network.shapes.values() if len(shape) > 1]
    _, (filters, *_), *_ = [shape for shape in NETWORKS["vgg19"].shapes.values() if len(shape) > 1]
    tested = int(smallest["layers tested"].sum())
    return {
        "within": NEAR,
        "second-p": second.spacing.pvalue,
        "second-ratio": second.ratio,
        "third-p": third.spacing.pvalue,
        "third-ratio": third.ratio,
        "layers-tested": tested,
        "layers-smallest": smallest["smallest p"].min(),
        "layers-bound": 0.05 / tested,
        "published-layers": len(layers),
        "published-by-chance": 0.05 * len(layers),
        "small-levels": filters,
        "small-kept": filters - 4 * a,
    }
