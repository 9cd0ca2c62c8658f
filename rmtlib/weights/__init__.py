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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .. import checks
from . import pretrained
from .layers import Plan, plan_layers
from .sources import open_source
from .tensors import Skipped, Tensor, WeightsError, called, read_tensor

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
        By the tensor's dimensions, and among matrices by its name. An embedding has one row a token.
    """

    name: str
    matrix: np.ndarray
    shape: tuple[int, ...]
    kind: str


class Weights(Mapping):
    """Weight matrices by name, read when they are asked for: ``weights["dense2"].matrix``.

    Indexing reads one tensor; iterating over ``values()`` or ``items()`` reads one after another and keeps none. The file must
    stay where it is. Names, ``len`` and ``skipped`` read every tensor once, one at a time, to find nan or infinite entries.

    Attributes
    ----------
    skipped : list of Skipped
        ``(name, shape, reason)`` of every tensor that gives no matrix.
    shapes : dict of str to tuple of int
        ``(n_out, n_in)`` of every matrix, without reading any.
    """

    def __init__(self, plans: list[Plan], skipped: list[Skipped]):
        self._plans = {plan.layer + part: (plan, i) for plan in plans for i, part in enumerate(plan.parts)}
        self._skipped = list(skipped)
        self._searched = False

    def __getitem__(self, name: str) -> Layer:
        plan, part = self._plan(name)
        array = self._finite(plan)
        plan, part = self._plan(name)
        matrix = plan.orient(array)
        if len(plan.parts) > 1:
            matrix = matrix[plan.rows(part)].copy()
        return Layer(name, matrix, plan.tensor.shape, plan.kind)

    def __iter__(self) -> Iterator[str]:
        self._search()
        return iter(list(self._plans))

    def __len__(self) -> int:
        self._search()
        return len(self._plans)

    def __contains__(self, name) -> bool:
        self._search()
        return name in self._plans

    @property
    def skipped(self) -> list[Skipped]:
        self._search()
        return list(self._skipped)

    @property
    def shapes(self) -> dict[str, tuple[int, int]]:
        return {name: plan.part_shape for name, (plan, _) in self._plans.items()}

    def tensor(self, name: str) -> Tensor:
        """What the source says of the tensor that holds a layer: its name, shape and dtype there.

        Parameters
        ----------
        name : str
            Name of the layer.

        Returns
        -------
        Tensor
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
            If the matrix has another shape than the layer.
        """
        plan, part = self._plan(name)
        if np.shape(matrix) != plan.part_shape:
            raise ValueError(f"matrix must have the shape {plan.part_shape} of {name!r}; got {np.shape(matrix)}")
        array = read_tensor(plan.tensor) if into is None else into
        view = plan.orient(array)
        with np.errstate(over="ignore"):  # who stores it refuses infinite entries
            if np.may_share_memory(view, array):
                view[plan.rows(part)] = matrix
            else:
                # The rule reorders entries: let it reorder their positions, and it need not be written down once more, inverted.
                positions = plan.orient(np.arange(array.size).reshape(array.shape))
                np.put(array, positions[plan.rows(part)], matrix)
        return array

    def __repr__(self) -> str:
        return f"Weights({len(self)} matrices: {', '.join(self) or 'none'}; {len(self._skipped)} tensors skipped)"

    def _plan(self, name: str) -> tuple[Plan, int]:
        if name in self._plans:
            return self._plans[name]
        reason = next((s.reason for s in self._skipped if s.name == name), None)
        known = f"there are: {', '.join(self._plans) or 'none'}"
        raise KeyError(f"{name} was skipped: {reason}" if reason else f"no layer {name!r}; {known}")

    def _search(self) -> None:
        if not self._searched:
            for plan in [plan for plan, part in self._plans.values() if part == 0]:
                self._finite(plan)
            self._searched = True

    def _finite(self, plan: Plan) -> np.ndarray:
        """Read a tensor, and move it to the skipped ones if it has nan or infinite entries."""
        array = read_tensor(plan.tensor)
        bad = array.size - np.count_nonzero(np.isfinite(array))
        if bad:
            reason = f"{bad} of {array.size} entries are nan or infinite"
            self._skipped.append(Skipped(plan.layer, plan.tensor.shape, reason))
            for part in plan.parts:
                del self._plans[plan.layer + part]
        return array


def load_weights(
    path_or_model,
    *,
    initial: bool = False,
    split_qkv: bool = False,
    min_levels: int = 62,
    groups: Mapping[str, int] | None = None,
    layout: str | None = None,
) -> Weights:
    """Name the weight matrices of a checkpoint, a run or a model, without reading them yet.

    Parameters
    ----------
    path_or_model : path, Run, model, mapping or name
        A ``.safetensors``, ``.pt``, ``.pth``, ``.bin`` (torch), ``.npz``, ``.keras``, ``.h5`` or ``.onnx`` file; the index
        ``*.index.json`` or the folder of a sharded checkpoint; a folder of ours with ``run.json`` and ``weights.safetensors``, or
        its `rmtlib.learning.runs.Run`; a torch module, a Keras model, or a mapping of names to arrays.
        The strings "alexnet", "vgg16" and "vgg19" are pretrained networks (`rmtlib.weights.pretrained`), downloaded once, even
        where a file or folder has that name: call that one "./alexnet".
    initial : bool
        The initial instead of the trained weights of a run.
    split_qkv : bool
        Split fused attention weights ``in_proj_weight``, ``qkv``, ``Wqkv`` and ``c_attn`` of ``(3 d, d)`` into ``#q``, ``#k``,
        ``#v``. Layouts that interleave the heads (``query_key_value``) stay whole.
    min_levels : int
        Smallest number of singular values a matrix must have. The default is what two unfolded levels need at a half window of
        15: four times 15 levels are lost.
    groups : mapping of str to int, optional
        Groups of convolutions by layer name, for files: only live models and ONNX record them.
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
    Half precision is converted to float32, exactly; integers and 8-bit floats are skipped by name. Files keep no layer types:
    a ``conv_transpose`` kernel is recognised in live models, ONNX and Keras' weight files, elsewhere it counts as a convolution.
    Reading needs torch for its own files, h5py for Keras files and onnx for ``.onnx``; Keras configurations are never opened.
    ONNX and old torch files (before the zip format) are held in memory whole; compressed ``.npz`` entries are read at once.

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
    if layout is not None:
        checks.choice(layout, "layout", ("torch", "keras"))
    if isinstance(path_or_model, str) and path_or_model in pretrained.NETWORKS:
        if initial:
            raise WeightsError(f"initial=True needs a run, which keeps its initial weights; {path_or_model} is pretrained")
        path_or_model = pretrained.fetch(path_or_model)
    tensors = open_source(path_or_model, initial)
    if not tensors:
        raise WeightsError(f"{called(path_or_model)} holds no tensors")
    plans, skipped = plan_layers(tensors, groups=groups, layout=layout, split_qkv=split_qkv, min_levels=min_levels)
    return Weights(plans, skipped)
