"""What compression costs a trained network in test accuracy, by singular values and by pruning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from rmtlib.claims import Outcome
from rmtlib.filtering import filter_matrix
from rmtlib.learning import Dataset, Run, load_network
from rmtlib.learning.architectures import Network
from rmtlib.runs import book_data

from . import verdicts
from .network import WithWeights, accuracies, batches, hidden_layers, is_right, setting
from .regimes import REGIMES

__all__ = ["BUDGETS", "RIVALS", "boundary_outcome", "by_treatment", "measure", "read", "times_faster"]

BUDGETS = (0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
TABLES = ("compression", "compression_minialexnet")
RIVALS = ("svd", "aware", "pruned", "pruned-global")  # what needs no edge of a bulk
PERCENT = ["share", "accuracy", "gain", "gain_error"]


def boundary_outcome(networks: pd.DataFrame, rivals: Sequence[str] = RIVALS) -> Outcome:
    """B-compression: accuracy of networks cut at the boundary minus that of the best rival of the same size.

    Parameters
    ----------
    networks : pandas.DataFrame
        Accuracies in per cent, a row a network: columns ``edge`` and those of the rivals, which keep as many numbers.
    rivals : sequence of str
        By default all that `measure` tries at that size.
    """
    lead = verdicts.interval(networks["edge"] - networks[list(rivals)].max(axis=1))
    shown = f"{lead.mean:+.1f} ({lead.low:+.1f} to {lead.high:+.1f}; {lead.n} networks)"
    return Outcome(verdicts.above(lead), says=f"cut at the boundary minus the best rival of its size {shown}, points")


def measure(run: Run, data: Dataset, *, budgets: Sequence[float] = BUDGETS, images: int | None = None) -> pd.DataFrame:
    """Test accuracies after all hidden layers were compressed at once; the output layer and the biases stay.

    Parameters
    ----------
    run : Run
        Its weights file must hold the trained tensors of all layers.
    data : Dataset
        The images that the run was trained on, standardised as its configuration says.
    budgets : sequence of float
        Shares of the numbers in the hidden matrices. The budget ``"edge"``, which comes beside them, is what the cut at the edge
        keeps. A layer without singular values beyond the noise, or whose factors would be larger than the matrix, stays a matrix.
    images : int, optional
        Training images that determine C; all of them by default.

    Returns
    -------
    pandas.DataFrame
        The first row is the network as it was trained; the others are treatments:

        - ``svd``: truncated singular value decomposition, each layer with the same share of its parameters;
        - ``aware``: the same ranks, but the outputs that the layer has on training images are kept best: the truncated
          decomposition of :math:`W C^{1/2}`, C the second moments of the inputs, which is W with its outputs projected on their
          principal components;
        - ``edge``: singular values beyond the noise, the ranks that `rmtlib.filtering.filter_matrix` reads off the spectrum;
        - ``shrunk``: the same, and shrunk; it costs what edge costs;
        - ``edge-aware``: the ranks of edge, with the projection of aware;
        - ``pruned``: the entries of least magnitude are set to zero, each layer keeps as many numbers as its factors would have;
        - ``pruned-global``: the same number in all, the least entries of all layers, each in units of its root mean square.

        ``parameters`` counts the numbers kept in the hidden matrices: of a pruned matrix the values alone, whose places cost
        extra (an index each, or one bit for every entry of the matrix). ``multiply_adds`` is that of one image through the hidden
        layers, where zeros are skipped. Accuracies are those of `studies.network.accuracies`.

    Raises
    ------
    RunError
        If a trained tensor is missing.
    """
    network = load_network(run)
    hidden = tqdm(hidden_layers(network).items(), desc=run.name)
    layers = [_HiddenLayer(network, name, module, data.train_images[:images]) for name, module in hidden]
    unchanged, whole = is_right(network, data), [layer.W.size for layer in layers]
    rows = []
    untouched = ("none", "none", None, whole, [layer.W for layer in layers])
    for treatment, budget, ranks, sizes, matrices in tqdm((untouched, *_compressed(layers, budgets)), desc="budgets"):
        if treatment != "none":
            for layer, matrix in zip(layers, matrices, strict=True):
                layer.weight.copy_(torch.from_numpy(matrix).reshape(layer.weight.shape))
        cost = {
            "treatment": treatment,
            "budget": budget,
            "ranks": " ".join(map(str, ranks or ())),
            "parameters": sum(sizes),
            "share": sum(sizes) / sum(whole),
            "multiply_adds": sum(size * layer.positions for size, layer in zip(sizes, layers, strict=True)),
        }
        rows.append(setting(run) | cost | accuracies(is_right(network, data), unchanged))
    return pd.DataFrame(rows)


def read(folder: Path | None = None) -> pd.DataFrame:
    """What the book has measured: the rows of all networks.

    Parameters
    ----------
    folder : path, optional
        Where the tables lie; by default the book's ``data/filtering``.

    Returns
    -------
    pandas.DataFrame
        Columns of `measure`, with ``network`` and ``regime`` before them; ``share``, ``accuracy``, ``gain`` and ``gain_error`` in
        per cent.
    """
    folder = folder or book_data() / "filtering"
    table = pd.concat([pd.read_csv(folder / f"{name}.csv") for name in TABLES], ignore_index=True)
    table[PERCENT] *= 100
    table.insert(0, "network", table["run"].str.partition("-")[0])
    regimes = table["laziness"].map({alpha: regime for regime, alpha in REGIMES.items()})
    table.insert(1, "regime", pd.Categorical(regimes, categories=list(REGIMES), ordered=True))
    return table


def by_treatment(table: pd.DataFrame, values: str = "accuracy") -> pd.DataFrame:
    """One column of `read` with treatments side by side.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `read`; the rows of the network as it was trained are left out.
    values : str
        A column.

    Returns
    -------
    pandas.DataFrame
        Rows by network, regime and budget; a treatment that was not tried is NaN.
    """
    treated = table[table["treatment"] != "none"]
    return treated.pivot(index=["network", "regime", "budget"], columns="treatment", values=values)


def times_faster(shape: tuple[int, int], folder: Path | None = None) -> pd.DataFrame:
    """How many times faster than a dense layer of this shape the compressed one was, by ``benchmarks/factored_forward.py``.

    Parameters
    ----------
    shape : tuple of int
        ``(n_out, n_in)``.
    folder : path, optional
        As for `read`.

    Returns
    -------
    pandas.DataFrame
        Rows by kind (``"factored"``, ``"pruned"``) and batch, columns by the share of the numbers that is kept.

    Raises
    ------
    ValueError
        If no layer of this shape was timed.
    """
    table = pd.read_csv((folder or book_data() / "filtering") / "factored_forward.csv")
    timed = table[(table["n_out"] == shape[0]) & (table["n_in"] == shape[1])]
    if timed.empty:
        shapes = ", ".join(f"({n_out}, {n_in})" for n_out, n_in in sorted({*zip(table["n_out"], table["n_in"], strict=True)}))
        msg = f"shape must be one of {shapes}; got {shape}"
        raise ValueError(msg)
    return timed.pivot(index=["kind", "batch"], columns="share", values="times_faster")


class _HiddenLayer:
    """The matrix of a layer, and what its compression needs to know."""

    def __init__(self, network: Network, name: str, module: WithWeights, images: np.ndarray):
        self.weight = module.weight
        self.W = module.weight.flatten(1).numpy().astype(np.float64)
        outputs = torch.zeros(())
        for x in batches(network, images, until=name):
            y = (module(x).movedim(1, -1).flatten(0, -2) - module.bias).double()
            outputs = outputs + y.T @ y
        self.positions = y.shape[0] // len(x)
        self.components = np.linalg.eigh(outputs.numpy())[1][:, ::-1]
        self.U, self.nu, self.V = np.linalg.svd(self.W, full_matrices=False)
        self.at_edge = {kind: self._filtered(kind == "shrunk") for kind in ("edge", "shrunk")}

    def _filtered(self, shrink: bool) -> tuple[int, np.ndarray]:
        try:
            result = filter_matrix(self.W, shrink=shrink)
        except ValueError:  # the bulk cannot be fitted
            return 0, self.W
        return result.rank, result.matrix if result.rank else self.W

    def size(self, rank: int) -> int:
        """Numbers in the factors of this rank; rank 0 is the matrix."""
        return min(rank * sum(self.W.shape), self.W.size) if rank else self.W.size

    def rank(self, share: float) -> int:
        return max(1, int(share * self.W.size / sum(self.W.shape)))

    def truncated(self, rank: int) -> np.ndarray:
        return (self.U[:, :rank] * self.nu[:rank]) @ self.V[:rank] if self.size(rank) < self.W.size else self.W

    def projected(self, rank: int) -> np.ndarray:
        U = self.components[:, :rank]
        return U @ (U.T @ self.W) if self.size(rank) < self.W.size else self.W


def _largest(matrices: list[np.ndarray], number: int) -> list[np.ndarray]:
    """The matrices with all but this number of entries, the largest of them all, set to zero."""
    magnitudes = np.concatenate([np.abs(W).ravel() for W in matrices])
    kept = np.zeros(len(magnitudes), bool)
    kept[np.argpartition(magnitudes, len(magnitudes) - number)[len(magnitudes) - number :]] = True
    parts = np.split(kept, np.cumsum([W.size for W in matrices])[:-1])
    return [np.where(part.reshape(W.shape), W, 0) for part, W in zip(parts, matrices, strict=True)]


def _compressed(layers: list[_HiddenLayer], budgets: Sequence[float]) -> Iterator[tuple]:
    """(treatment, budget, ranks or None, numbers kept in each layer, matrices)."""
    edge = [layer.at_edge["edge"][0] for layer in layers]
    at_edge = [layer.size(rank) for layer, rank in zip(layers, edge, strict=True)]
    whole = sum(layer.W.size for layer in layers)
    for kind in ("edge", "shrunk"):
        yield kind, "edge", edge, at_edge, [layer.at_edge[kind][1] for layer in layers]
    plans: list[tuple[str, float, list[int] | None]] = [(str(budget), budget, None) for budget in budgets]
    if sum(at_edge) < whole:
        matrices = [layer.projected(rank) if rank else layer.W for layer, rank in zip(layers, edge, strict=True)]
        yield "edge-aware", "edge", edge, at_edge, matrices
        plans.append(("edge", sum(at_edge) / whole, at_edge))
    for budget, share, given in plans:
        ranks = [layer.rank(share) for layer in layers]
        equal = [layer.size(rank) for layer, rank in zip(layers, ranks, strict=True)]
        yield "svd", budget, ranks, equal, [layer.truncated(rank) for layer, rank in zip(layers, ranks, strict=True)]
        yield "aware", budget, ranks, equal, [layer.projected(rank) for layer, rank in zip(layers, ranks, strict=True)]
        sizes = given or equal
        pruned = [_largest([layer.W], size)[0] for layer, size in zip(layers, sizes, strict=True)]
        yield "pruned", budget, None, sizes, pruned
        scales = [np.sqrt(np.mean(layer.W**2)) for layer in layers]
        scaled = _largest([layer.W / scale for layer, scale in zip(layers, scales, strict=True)], sum(sizes))
        numbers = [np.count_nonzero(W) for W in scaled]
        yield "pruned-global", budget, None, numbers, [W * scale for W, scale in zip(scaled, scales, strict=True)]
