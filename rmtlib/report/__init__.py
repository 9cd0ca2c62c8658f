"""A report on any network: a page to send around, and a table.

The page shows what noise of the same shapes gives, then the network: one row a layer, the four panels of every layer, and what
was left out. `make_report` writes it; its parts can be called alone, as chapter 18 of the book does.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

from .. import checks
from ..files import write_atomically
from ..layer_analysis import LayerAnalysis
from ..layer_table import chosen_layers
from ..network import analyse_network
from .page import Picture, page, panels
from .source import MINILM, find_network, minilm, noise_like
from .tables import readable, skipped

__all__ = ["MINILM", "Picture", "find_network", "make_report", "minilm", "noise_like", "page", "panels", "readable", "skipped"]


def make_report(
    weights: str,
    output="report",
    *,
    a: int = 15,
    null: bool = True,
    seed: int = 0,
    split_qkv: bool = False,
    layers: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    progress: bool = True,
) -> tuple[Path, Path]:
    """Analyse a network and write a page and a table about it.

    Parameters
    ----------
    weights : str
        As in `find_network`.
    output : path
        The files are ``output`` with ``.html`` and ``.csv``; in a folder that exists, they are called ``report``.
    a, layers, workers, scheduler, progress
        As in `rmtlib.analyse_network`.
    resume : bool
        Keep the rows that the table holds already for this file and these parameters, and analyse the other layers. The page has
        the panels of these others alone.
    null : bool
        First analyse noise of the same shapes, see `noise_like`.
    seed : int
        Of the noise.
    split_qkv : bool
        Split fused attention weights, as in `rmtlib.load_weights`.

    Returns
    -------
    tuple of pathlib.Path
        Page and table. The table has one row a layer and is written anew whenever a layer is finished.

    Raises
    ------
    ValueError
        If the network cannot be read, an argument is wrong, or the files cannot be written there; nothing is written then.
    KeyboardInterrupt
        After Ctrl-C. The table holds the layers that were finished, and there is no page.
    """
    checks.integer(a, "a", at_least=1)
    if workers is not None:
        checks.integer(workers, "workers", at_least=1)
    network = find_network(weights, split_qkv=split_qkv)
    noise = noise_like(network, seed, chosen_layers(network, layers)) if null else None
    html, csv = _files(output)
    # An older table would be taken for this one's if the analysis were stopped before its first layer.
    if not resume:
        csv.unlink(missing_ok=True)
    analyses: dict[str, LayerAnalysis] = {}
    analysed = partial(analyse_network, a=a, workers=workers, progress=progress)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "interrupted after", UserWarning)
        try:
            noise_table = None if noise is None else analysed(noise)
            table = analysed(
                network,
                layers=layers,
                scheduler=scheduler,
                csv=csv,
                resume=resume,
                on_layer=lambda analysis: analyses.update({analysis.name: analysis.light()}),
            )
        except UserWarning:
            raise KeyboardInterrupt from None
    qvalues = dict(zip(table["layer"], table.get("spacing_qvalue", ()), strict=False))
    shown = [replace(analyses[name], spacing_qvalue=qvalues.get(name)) for name in network if name in analyses]
    name = Path(weights).name or weights
    write_atomically(html, page(shown, table, network, name=name, noise=noise_table).encode())
    return html, csv


def _files(output) -> tuple[Path, Path]:
    stem = Path(output) / "report" if Path(output).is_dir() else Path(output)
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"output must be in a folder that can be made; got {str(output)!r} ({error.strerror})"
        raise ValueError(msg) from error
    if not os.access(stem.parent, os.W_OK):
        msg = f"output must be in a folder that can be written to; got {str(output)!r}"
        raise ValueError(msg)
    return stem.with_name(f"{stem.name}.html"), stem.with_name(f"{stem.name}.csv")
