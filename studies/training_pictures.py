"""The drawings of the chapters about training: each from networks and measurements that ship with the book."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import rmtlib
from rmtlib import figures
from rmtlib.runs import Run, initial
from rmtlib.vector import Drawing, Row, drawing, side_by_side, small_axes

__all__ = ["history", "paths"]

TRAINED, INITIAL, OTHER, LAW, BAND = (figures.COLORS[key] for key in ("trained", "initial", "other", "law", "band"))


def paths(runs: Mapping[str, Run], layer: str = "dense2") -> Drawing:
    """How far a layer of each network moved from the start that all share, and in which direction.

    Parameters
    ----------
    runs : mapping of str to Run
        Three, by regime, of one seed; the first gives the direction that the others are held against.
    layer : str

    Returns
    -------
    Drawing
        Distances from the start, in units of the norm of the initial matrix, and angles with the first update are true.
    """
    updates = {}
    for regime, run in runs.items():
        start = initial(run, layer)
        updates[regime] = (rmtlib.load_weights(run)[layer].matrix - start) / np.linalg.norm(start)
    reference = next(iter(updates.values()))
    figure, ax = small_axes(4.0, 2.5)
    turn = np.linspace(-0.3, 0.52, 60)
    ax.plot(np.sqrt(2) * np.cos(turn), np.sqrt(2) * np.sin(turn), ":", color=INITIAL)
    ax.text(1.32, -0.3, "any other\nrandom start", color=INITIAL, fontsize=9, ha="right", va="center")
    ax.plot(0, 0, "o", color=INITIAL, ms=6)
    ax.text(-0.04, 0, "the start", color=INITIAL, fontsize=9, ha="right", va="center")
    told = []
    places = ((-0.55, 0.03), (0.03, 0.03), (0.03, -0.03))  # of the words, from the tip
    for (regime, update), (right, up) in zip(updates.items(), places, strict=True):
        length = np.linalg.norm(update)
        angle = np.sign(up) * np.arccos(np.clip(np.vdot(update, reference) / length / np.linalg.norm(reference), -1, 1))
        x, y = length * np.cos(angle), length * np.sin(angle)
        ax.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": TRAINED, "lw": 2, "shrinkA": 0, "shrinkB": 0})
        words = f"{regime}: moved {100 * length:.0f} %,\n{100 * runs[regime].test_accuracy:.0f} % of images right"
        ax.text(x + right, y + up, words, color=TRAINED, fontsize=9, va="bottom" if up > 0 else "top")
        told.append(f"{regime} {100 * length:.0f}")
    ax.set(xlim=(-0.32, 1.46), ylim=(-0.38, 0.64), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    alt = f"Arrows from one start to three trained layers; their lengths in per cent of the start's norm: {', '.join(told)}."
    return drawing(figure, alt=alt + " A dotted arc far beyond them is where other random starts lie.")


def history(table: Mapping[str, Sequence[float]]) -> Row:
    """Cost and accuracies of a training over its epochs.

    Parameters
    ----------
    table : mapping of str to sequence of float
        The history of a run.

    Returns
    -------
    Row
        Two drawings.
    """
    epoch = table["epoch"]
    left, ax = small_axes()
    ax.plot(epoch, table["train_loss"], "o-", ms=3, color=TRAINED)
    ax.set(xlabel="epoch", ylabel=r"cost $\ell$", yscale="log")
    ax.set_title("the cost falls", loc="left")
    _plain(ax.yaxis)
    right, ax = small_axes()
    for name, label, color, side in (("train", "training images", TRAINED, "bottom"), ("test", "test images", OTHER, "top")):
        share = 100 * np.asarray(table[f"{name}_accuracy"])
        ax.plot(epoch, share, "o-", ms=3, color=color)
        ax.text(epoch[-1], share[-1] + (2 if side == "bottom" else -2), label, color=color, fontsize=9, ha="right", va=side)
    ax.set(xlabel="epoch", ylabel="accuracy (%)", ylim=(None, 105))
    ax.set_title("the accuracy rises", loc="left")
    return side_by_side(
        drawing(left, alt="The cost of the training images falls with the epochs."),
        drawing(right, alt="The accuracies on training and test images rise with the epochs, that on test images less far."),
    )


def _plain(axis):
    """Plain numbers on a logarithmic axis of a few units."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
