r"""How a tensor acts as a matrix: which of its axes count outputs, and which inputs.

A matrix is cut from a tensor in three steps: the tensor is reshaped to ``view``, its ``outputs`` axes are moved first and its
``inputs`` axes last, and each group of axes is joined to one. Independent maps that lie one after another along the outputs
(groups of a convolution, experts, gates, q, k and v) are its ``blocks``. Everything that `rmtlib.load_weights` knows of
orientation is written in these terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

__all__ = ["LinearMap", "convolution", "dense", "depthwise", "einsum", "embedding", "stack", "transposed_convolution"]


@dataclass(frozen=True)
class LinearMap:
    """The matrix in a tensor.

    Attributes
    ----------
    kind : {"dense", "convolution", "embedding", "attention"}
    view : tuple of int
        Shape to which the tensor is reshaped first.
    outputs, inputs : tuple of int
        Axes of the view, slowest first.
    blocks : tuple of (str, int)
        Suffix of the name and number of rows of each independent map.
    """

    kind: str
    view: tuple[int, ...]
    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    blocks: tuple[tuple[str, int], ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_out, n_in)`` of the matrix of all blocks."""
        return math.prod(self.view[i] for i in self.outputs), math.prod(self.view[i] for i in self.inputs)

    def matrix(self, array: np.ndarray) -> np.ndarray:
        """The matrix of all blocks, a view of the array where its order allows one."""
        return array.reshape(self.view).transpose(self.outputs + self.inputs).reshape(self.shape)

    def split(self, *suffixes: str) -> LinearMap:
        """The same map in equal blocks of these names."""
        rows = self.shape[0] // len(suffixes)
        return replace(self, blocks=tuple((suffix, rows) for suffix in suffixes))


def dense(shape, *, inputs_first: bool = False, kind: str = "dense") -> LinearMap:
    """``(n_out, n_in)``, or the other way round."""
    return LinearMap(kind, tuple(shape), *(((1,), (0,)) if inputs_first else ((0,), (1,))))


def embedding(shape) -> LinearMap:
    """One row a token, whatever axes count tokens."""
    last = len(shape) - 1
    return LinearMap("embedding", tuple(shape), tuple(range(last)), (last,))


def convolution(shape, *, groups: int = 1, channels_last: bool = False) -> LinearMap:
    """``(c_out, c_in / g, *k)`` as torch stores it, or ``(*k, c_in / g, c_out)``; columns run over the kernel, then inputs."""
    rank = len(shape)
    if channels_last:
        result = LinearMap("convolution", tuple(shape), (rank - 1,), tuple(range(rank - 1)))
    else:
        result = LinearMap("convolution", tuple(shape), (0,), (*range(2, rank), 1))
    return _grouped(result, groups)


def transposed_convolution(shape, *, groups: int = 1, channels_last: bool = False) -> LinearMap:
    """``(c_in, c_out / g, *k)`` as torch stores it, whose groups run over the inputs, or ``(*k, c_out, c_in)``."""
    rank = len(shape)
    if channels_last:
        return LinearMap("convolution", tuple(shape), (rank - 2,), (*range(rank - 2), rank - 1))
    view = (groups, shape[0] // groups, *shape[1:])
    return _grouped(LinearMap("convolution", view, (0, 2), (*range(3, rank + 1), 1)), groups)


def depthwise(shape) -> LinearMap:
    """``(*k, c_in, multiplier)``: one map for each input channel."""
    rank = len(shape)
    return _grouped(LinearMap("convolution", tuple(shape), (rank - 2, rank - 1), tuple(range(rank - 2))), shape[-2])


def stack(shape, *, inputs_first: bool, suffixes=None, kind: str = "dense") -> LinearMap:
    """``(E, n_out, n_in)``, or ``(E, n_in, n_out)``: as many independent matrices."""
    suffixes = suffixes or [f"#{i}" for i in range(shape[0])]
    return LinearMap(kind, tuple(shape), *(((0, 2), (1,)) if inputs_first else ((0, 1), (2,)))).split(*suffixes)


def einsum(shape, equation: str, operand: int = 1, kind: str = "dense") -> LinearMap | None:
    """The axes of an operand of a product of two that is written as ``"abc,cd->abd"``; None if it is no linear map.

    Letters that the operand shares with the other one and that are summed count inputs, those of its own count outputs. Letters
    that all three share number independent maps.
    """
    left, arrow, result = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    if not arrow or len(operands) != 2 or operand not in (0, 1):
        return None
    mine, other = operands[operand].replace("...", ""), operands[1 - operand].replace("...", "")
    if len(mine) != len(shape) or len(set(mine)) != len(mine) or not set(mine) <= set(other) | set(result):
        return None
    shared = tuple(i for i, letter in enumerate(mine) if letter in other and letter in result)
    outputs = tuple(i for i, letter in enumerate(mine) if letter not in other)
    inputs = tuple(i for i, letter in enumerate(mine) if letter not in result)
    if not outputs or not inputs:
        return None
    made = LinearMap(kind, tuple(shape), shared + outputs, inputs)
    return _grouped(made, math.prod(shape[i] for i in shared))


def _grouped(whole: LinearMap, groups: int) -> LinearMap:
    return whole if groups == 1 else whole.split(*(f"#{i}" for i in range(groups)))
