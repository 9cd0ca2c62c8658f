"""Plots as inline SVG: a few kilobytes each, sharp in print and at every width, made in a millisecond, without scripts."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from ..text import printable

__all__ = ["Plot"]

LEFT, RIGHT, TOP, BOTTOM = 44, 8, 20, 34  # pixels around the axes
INK = "#222"
TICKS = 5


class Plot:
    """One pair of axes.

    Parameters
    ----------
    title : str
    xlabel, ylabel : str
        With units.
    xlim, ylim : tuple of float
        Ends of the axes; what lies beyond is moved to the end.
    width, height : int
        In pixels.
    percent : bool
        The vertical axis is a share, and its ticks are per cent.
    counted : bool
        The horizontal axis counts, and its ticks are whole numbers.
    """

    def __init__(self, title, xlabel, ylabel, *, xlim, ylim, width=270, height=190, percent=False, counted=False):
        self.width, self.height = width, height
        self.xlim, self.ylim = _opened(xlim), _opened(ylim)
        right, bottom = width - RIGHT, height - BOTTOM
        self._drawn = []
        ticks = [_label(f"{TOP - 8}", LEFT, title, 'font-weight="600"')]
        for value in _ticks(self.xlim[0], self.xlim[1], 1.0 if counted else 0.0):
            x = self._x(value)
            ticks.append(
                f'<path d="M{x:g} {bottom}v4" stroke="{INK}"/>' + _label(bottom + 14, x, f"{value:g}", 'text-anchor="middle"')
            )
        for value in _ticks(*self.ylim):
            y, text = self._y(value), f"{100 * value:g} %" if percent else f"{value:g}"
            ticks.append(f'<path d="M{LEFT} {y:g}h-4" stroke="{INK}"/>' + _label(y + 3.5, LEFT - 6, text, 'text-anchor="end"'))
        ticks.append(f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="{INK}"/>')
        ticks.append(_label(height - 5, (LEFT + right) / 2, xlabel, 'text-anchor="middle"'))
        turn = f"translate(9 {(TOP + bottom) / 2:g}) rotate(-90)"
        ticks.append(f'<text transform="{turn}" text-anchor="middle">{escape(printable(ylabel))}</text>')
        self._axes = "".join(ticks)

    def band(self, x, low, high, color: str, opacity: float = 1.0) -> None:
        """Fill between two curves."""
        x, low, high = np.broadcast_arrays(np.asarray(x, float), low, high)
        outline = self._points(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]]))
        self._drawn.append(f'<path d="M{outline}z" fill="{color}" opacity="{opacity:g}"/>')

    def bars(self, edges, heights, color: str) -> None:
        """A histogram: heights between edges."""
        x, y = np.repeat(edges, 2), np.concatenate([[0.0], np.repeat(heights, 2), [0.0]])
        self._drawn.append(f'<path d="M{self._points(x, y)}z" fill="{color}" opacity=".55"/>')

    def line(self, x, y, color: str = "#000", *, dashes: str = "", width: float = 1.5) -> None:
        """A curve; nan interrupt it."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        known = np.isfinite(x) & np.isfinite(y)
        parts = np.split(np.arange(len(x)), np.flatnonzero(np.diff(known)) + 1)
        path = "".join(f"M{self._points(x[part], y[part])}" for part in parts if len(part) and known[part[0]])
        if path:
            dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
            self._drawn.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{width:g}"{dashed}/>')

    def dots(self, x, y, color: str, *, size: float = 4.0, opacity: float = 1.0) -> None:
        """Points; those that would lie on one another are drawn once."""
        x, y = np.asarray(x, float), np.asarray(y, float)
        known = np.isfinite(x) & np.isfinite(y)
        places = dict.fromkeys(zip(np.round(self._x(x[known])), np.round(self._y(y[known])), strict=True))
        path = "".join(f"M{px:g} {py:g}h0" for px, py in places)
        if path:
            style = f'stroke="{color}" stroke-width="{size:g}" stroke-linecap="round" opacity="{opacity:g}"'
            self._drawn.append(f'<path d="{path}" fill="none" {style}/>')

    def note(self, text: str, *, line: int = 0, color: str = INK, below: bool = False) -> None:
        """A line of text in the upper right corner, or the lower one, such as an entry of a legend."""
        y = self.height - BOTTOM - 19 + 12 * line if below else TOP + 11 + 12 * line
        place = 'text-anchor="end" stroke="#fff" stroke-width="3" paint-order="stroke"'
        self._drawn.append(_label(y, self.width - RIGHT - 2, text, f'{place} fill="{color}"'))

    def svg(self, alt: str) -> str:
        """The plot.

        Parameters
        ----------
        alt : str
            What stands for it where it is not seen.
        """
        return (
            f'<svg role="img" aria-label="{escape(printable(alt), quote=True)}" '
            f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}" '
            f'font-family="system-ui,sans-serif" font-size="10" fill="{INK}">{"".join(self._drawn)}{self._axes}</svg>'
        )

    def _x(self, x):
        return LEFT + (np.clip(x, *self.xlim) - self.xlim[0]) / (self.xlim[1] - self.xlim[0]) * (self.width - LEFT - RIGHT)

    def _y(self, y):
        share = (np.clip(y, *self.ylim) - self.ylim[0]) / (self.ylim[1] - self.ylim[0])
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)

    def _points(self, x, y):
        """Places of a path, to half a pixel."""
        return "L".join(
            f"{px:g} {py:g}" for px, py in zip(np.round(2 * self._x(x)) / 2, np.round(2 * self._y(y)) / 2, strict=True)
        )


def _opened(limits):
    low, high = map(float, limits)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _label(y, x, text, options):
    return f'<text x="{float(x):g}" y="{float(y):g}" {options}>{escape(printable(text))}</text>'


def _ticks(low: float, high: float, least: float = 0.0) -> list[float]:
    """Round numbers between two ends, at most `TICKS`: 1, 2, 2.5 or 5 times a power of ten apart, and no less than told."""
    raw = max((high - low) / (TICKS - 1), least)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(
        factor * power for factor in ((1, 2, 5, 10) if least else (1, 2, 2.5, 5, 10)) if factor * power >= raw * (1 - 1e-9)
    )
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]
