r"""Weight matrices of a checkpoint or a model: every tensor becomes named matrices, or is listed with the reason why not.

A dense layer gives ``W`` of shape ``(n_out, n_in)``, as torch stores it; Keras stores ``(n_in, n_out)``, which is transposed.

**The convolution rule.** The paper reshapes a kernel to :math:`(k k c_\mathrm{in}) \times c_\mathrm{out}`; here the matrix is its
transpose, ``(c_out, k * k * c_in)``, whose columns run over kernel rows, kernel columns, then input channels:

- torch stores ``(c_out, c_in, k, k)``: ``np.moveaxis(kernel, 1, -1).reshape(c_out, -1)``;
- Keras stores ``(k, k, c_in, c_out)``: ``kernel.reshape(-1, c_out).T``.

Both give the same matrix for the same layer, in one, two or three spatial dimensions. A convolution of ``g`` groups is ``g``
independent maps and gives ``g`` matrices ``(c_out / g, k * k * c_in / g)``, named ``conv#0``, ``conv#1``, ...

Matrices are read one at a time, so that memory follows the largest tensor and not the file. No code from a file is ever run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import MappingProxyType

import numpy as np

from .. import checks
from . import pretrained
from .composite import combine
from .layers import Plan, plan_layers
from .origin import Origin
from .sources import open_source
from .tensors import Skipped, Tensor, WeightsError, called, distinct, read_floats
from .tied import name_tied

__all__ = ["Layer", "Skipped", "Weights", "WeightsError", "load_weights", "pretrained"]


@dataclass(frozen=True)
class Layer:
    """One weight matrix.

    Attributes
    ----------
    name : str
        Name of the tensor without a trailing ``.weight`` or ``/kernel``; ``#`` marks a part of a tensor.
    matrix : numpy.ndarray of shape (n_out, n_in)
        float64 where the tensor is float64, otherwise float32. A copy: changing it changes no file and no model.
    shape : tuple of int
        Shape of the whole tensor as it is stored.
    kind : {"dense", "convolution", "embedding", "attention"}
        By the type of the layer where the source tells it, otherwise by the tensor's dimensions and its name. An embedding has
        one row a token.
    ground : str
        Why the matrix lies as it does, and of what it is made: ``"torch module Conv2d"``, ``"the length of its bias"``. Empty for
        a layer that `load_weights` did not make.
    """

    name: str
    matrix: np.ndarray
    shape: tuple[int, ...]
    kind: str
    ground: str = ""


class Weights(Mapping):
    """Weight matrices by name, read when they are asked for: ``weights["dense2"].matrix``.

    Names, ``len``, ``shapes``, ``kinds`` and ``skipped`` come from headers, and read no tensor. Indexing reads one; iterating
    over ``values()`` or ``items()`` reads one after another and keeps none. The file must stay where it is.

    A tensor with nan or infinite entries is found when it is read: that raises a `WeightsError` with its name, and from then on
    it is not among the layers but in ``skipped``.

    Attributes
    ----------
    skipped : list of Skipped
        ``(name, shape, reason)`` of every tensor that gives no matrix.
    shapes : mapping of str to tuple of int
        ``(n_out, n_in)`` of every matrix, to be read alone.
    kinds : mapping of str to str
        Kind of every matrix, as in `Layer`, to be read alone.
    origin : rmtlib.weights.origin.Origin or None
        The file or folder that they are read from; None for weights in memory.
    """

    def __init__(self, plans: list[Plan], skipped: list[Skipped], origin: Origin | None = None):
        self.origin = origin
        self._plans = {plan.layer + suffix: (plan, rows) for plan in plans for suffix, rows in plan.blocks}
        self._skipped = list(skipped)
        self._not_finite: dict[str, str] = {}
        self._last: tuple[Plan, np.ndarray] | None = None
        self._lock = Lock()
        self._told: tuple[Mapping[str, tuple[int, int]], Mapping[str, str]] | None = None

    def __getitem__(self, name: str) -> Layer:
        plan, rows = self._plan(name)
        matrix = plan.map.matrix(self._finite(plan))
        if len(plan.blocks) > 1 or rows != slice(0, len(matrix)):
            matrix = matrix[rows].copy()
        return Layer(name, matrix, plan.tensor.shape, plan.map.kind, plan.ground)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._plans))

    def __len__(self) -> int:
        return len(self._plans)

    def __contains__(self, name) -> bool:
        return name in self._plans

    @property
    def skipped(self) -> list[Skipped]:
        return list(self._skipped)

    @property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        return self._shapes_and_kinds()[0]

    @property
    def kinds(self) -> Mapping[str, str]:
        return self._shapes_and_kinds()[1]

    def tensor(self, name: str) -> Tensor:
        """What the source says of the tensor that holds a layer: its name, shape and dtype there.

        Parameters
        ----------
        name : str
            Name of the layer.

        Returns
        -------
        rmtlib.weights.tensors.Tensor
        """
        return self._plan(name)[0].tensor

    def replace(self, name: str, matrix: np.ndarray, *, into: np.ndarray | None = None) -> np.ndarray:
        """The tensor that holds a layer, with another matrix in the layer's place.

        Parameters
        ----------
        name : str
            Name of the layer.
        matrix : numpy.ndarray of shape (n_out, n_in)
        into : numpy.ndarray, optional
            What a call for another layer of the same tensor returned; it is changed. By default the tensor is read.

        Returns
        -------
        numpy.ndarray
            Of the tensor's shape, in the order in which it is stored; float64 where the tensor is, otherwise float32.

        Raises
        ------
        ValueError
            If the matrix has another shape than the layer, or the layer is made of several tensors.
        """
        plan, rows = self._plan(name)
        if plan.tensor.members:
            msg = f"{name!r} is made of {', '.join(plan.tensor.members)}: {plan.tensor.made}"
            raise WeightsError(msg)
        if np.shape(matrix) != self.shapes[name]:
            msg = f"matrix must have the shape {self.shapes[name]} of {name!r}; got {np.shape(matrix)}"
            raise ValueError(msg)
        array = read_floats(plan.tensor) if into is None else into
        view = plan.map.matrix(array)
        with np.errstate(over="ignore"):  # who stores it refuses infinite entries
            if np.may_share_memory(view, array):
                view[rows] = matrix
            else:
                # The map reorders entries: let it reorder their positions, and it need not be written down once more, inverted.
                positions = plan.map.matrix(np.arange(array.size).reshape(array.shape))
                np.put(array, positions[rows], matrix)
        return array

    def __repr__(self) -> str:
        return f"Weights({len(self)} matrices: {', '.join(self) or 'none'}; {len(self._skipped)} tensors skipped)"

    def _shapes_and_kinds(self) -> tuple[Mapping[str, tuple[int, int]], Mapping[str, str]]:
        """Both, made anew only after a layer was found not to be finite."""
        with self._lock:
            if self._told is None:
                shapes = {name: (rows.stop - rows.start, plan.map.shape[1]) for name, (plan, rows) in self._plans.items()}
                kinds = {name: plan.map.kind for name, (plan, _) in self._plans.items()}
                self._told = MappingProxyType(shapes), MappingProxyType(kinds)
            return self._told

    def _plan(self, name: str) -> tuple[Plan, slice]:
        if name in self._plans:
            return self._plans[name]
        if name in self._not_finite:
            raise WeightsError(self._not_finite[name])
        reason = next((s.reason for s in self._skipped if s.name == name), None)
        known = f"there are: {', '.join(self._plans) or 'none'}"
        raise KeyError(f"{name} was skipped: {reason}" if reason else f"no layer {name!r}; {known}")

    def _finite(self, plan: Plan) -> np.ndarray:
        """Read a tensor; the last one of several matrices is kept, so that it is read once for all of them."""
        with self._lock:
            if self._last is not None and self._last[0] is plan:
                return self._last[1]
            self._last = None
        array = read_floats(plan.tensor)
        bad = array.size - np.count_nonzero(np.isfinite(array))
        if bad:
            reason = f"{bad} of {array.size} entries are nan or infinite"
            with self._lock:
                self._told = None
                if plan.layer + plan.blocks[0][0] in self._plans:
                    self._skipped.append(Skipped(plan.layer, plan.tensor.shape, reason))
                for suffix, _ in plan.blocks:
                    self._plans.pop(plan.layer + suffix, None)
                    self._not_finite[plan.layer + suffix] = f"{plan.layer}: {reason}"
            msg = f"{plan.layer}: {reason}"
            raise WeightsError(msg)
        if len(plan.blocks) > 1:
            with self._lock:
                self._last = (plan, array)
        return array


def load_weights(
    path_or_model,
    *,
    initial: bool = False,
    split_qkv: bool = False,
    split_gates: bool = True,
    min_levels: int = 16,
    groups: Mapping[str, int] | None = None,
    layout: str | None = None,
) -> Weights:
    """Name the weight matrices of a checkpoint, a run or a model, without reading them yet.

    Parameters
    ----------
    path_or_model : path, Run, model, mapping or name
        A file ``.safetensors``, ``.pt .pth .bin .ckpt .th .pth.tar`` (torch checkpoint or TorchScript), ``.pt2`` (exported
        program), ``.npz``, ``.npy``, ``.keras``, ``.h5``, ``.onnx``, ``.gguf`` or ``.msgpack`` (Flax); what a file is counts
        more than its suffix. The index ``*.index.json`` or the folder of a sharded checkpoint; a folder of Hugging Face or of
        diffusers; a folder of ours with ``run.json`` and ``weights.safetensors``, or its `rmtlib.runs.Run`; a torch
        module, an exported program, a Keras model, or a mapping of names to arrays, nested or not.
        The strings "alexnet", "vgg16" and "vgg19" are pretrained networks (`rmtlib.weights.pretrained`), downloaded once, even
        where a file or folder has that name: call that one "./alexnet".
    initial : bool
        The initial instead of the trained weights of a run.
    split_qkv : bool
        Split fused attention weights ``in_proj_weight``, ``qkv``, ``Wqkv``, ``qkv_proj`` and ``c_attn`` into ``#q``, ``#k``,
        ``#v``: of ``(3 d, d)``, or of grouped queries where the way out or the configuration beside the file tells their rows.
        Layouts that interleave the heads stay whole unless the configuration says how (BLOOM, GPT-NeoX, GPT-BigCode).
    split_gates : bool
        Split the gates of LSTM and GRU, each a map of its own: ``lstm.weight_ih_l0#i``, ``#f``, ``#g``, ``#o``. The letters are
        those of the framework.
    min_levels : int
        Smallest number of singular values a matrix must have.
    groups : mapping of str to int, optional
        Groups of convolutions by layer name, which files of torch do not record, or experts that lie one below the other.
    layout : {"torch", "keras"}, optional
        How arrays are stored. By default "keras" for Keras files and models and for tensors named ``kernel``, otherwise "torch".

    Returns
    -------
    Weights
        A lazy mapping of layer name to `Layer`. If it is empty, ``skipped`` says why.

    Raises
    ------
    WeightsError
        If the source is missing, empty, damaged, incomplete, of an unknown kind, or would have to run code to be read; or if a
        pretrained network cannot be downloaded.

    Notes
    -----
    Where the source tells the type of a layer (live models, Keras' configuration, ONNX nodes), the type decides how a matrix
    lies; otherwise names, shapes and biases do. `rmtlib.weights.layers` has the rules, and ``ground`` of a `Layer` says which
    one it was.

    What several tensors make together is given as one layer: weight norm, spectral norm, the product of a LoRA pair (named
    ``layer.lora``, times alpha / r where the source tells alpha; ``#0``, ``#1``, ... for a stack of experts), quantised weights
    whose layout is public (`rmtlib.weights.quantised`). Half precision is converted to float32, exactly; other integers and
    plain 8-bit floats are skipped by name, and so are scales and zero points. An embedding that a file stores twice, as its
    tied output layer, is one layer: names and shapes choose what is compared, byte by byte.

    No code of a file is run: pickles are opened by torch's loader of tensors alone, of TorchScript and exported programs the
    arrays are read, of Keras' configurations the names of classes. A file may ask for ten times its size and 100 MB of memory,
    no more. Reading needs torch for its checkpoints, h5py for Keras files, onnx, gguf and msgpack for theirs.
    ONNX, Flax and old torch files (before the zip format) are held in memory whole; compressed ``.npz`` entries are read at once.

    Examples
    --------
    >>> arrays = {"fc.weight": np.eye(100, 80), "fc.bias": np.zeros(100)}
    >>> weights = load_weights(arrays)
    >>> weights["fc"].matrix.shape
    (100, 80)
    >>> weights.skipped
    [Skipped(name='fc.bias', shape=(100,), reason='bias vector')]
    """
    min_levels = checks.integer(min_levels, "min_levels", at_least=2)
    if groups is not None and not isinstance(groups, Mapping):
        msg = f"groups must be a mapping of names of layers to numbers of groups; got {groups!r}"
        raise ValueError(msg)
    if layout is not None:
        checks.choice(layout, "layout", ("torch", "keras"))
    if isinstance(path_or_model, str) and path_or_model in pretrained.NETWORKS:
        if initial:
            msg = f"initial=True needs a run, which keeps its initial weights; {path_or_model} is pretrained"
            raise WeightsError(msg)
        path_or_model = pretrained.fetch(path_or_model)
    opened = open_source(path_or_model, initial)
    if not opened.tensors:
        msg = f"{called(path_or_model)} holds no tensors"
        raise WeightsError(msg)
    options: dict = {
        "groups": groups,
        "layout": layout,
        "split_qkv": split_qkv,
        "split_gates": split_gates,
        "min_levels": min_levels,
    }
    plans, skipped = plan_layers(combine(name_tied(distinct(opened.tensors)), opened.config), config=opened.config, **options)
    path, origin = getattr(path_or_model, "weights_file", path_or_model), None
    if isinstance(path, str | os.PathLike):
        files = tuple(file.absolute() for file in opened.files)
        origin = Origin(Path(path).absolute(), {"initial": initial, **options}, files)
    return Weights(plans, skipped, origin)
