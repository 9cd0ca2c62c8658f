"""Tables of a report for the eye: fewer columns than the CSV, rounded; whatever a file put into a name is shown as text."""

from __future__ import annotations

from ..weights import Weights

__all__ = ["readable", "skipped"]

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
    "outliers_biwhitened": "above, no sizes",
    "outliers_below": "below",
    "input_rejected": "input",
    "input_rejected_biwhitened": "input, no sizes",
    "output_rejected": "output",
    "output_rejected_biwhitened": "output, no sizes",
}


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
        "output" are the shares of the vectors that are rejected at a false discovery rate of 5 %; "no sizes" stands for the
        matrix without the sizes of the noise in its rows and columns. Whatever a file put into a name is shown as text.
    """
    view = table.copy()
    if "levels" not in view:
        view["levels"] = None
    if "largest" in view:
        view["edge"] = view["largest"] / view["outlier_edge"]
    view["shape"] = [" × ".join(map(str, shape)) if isinstance(shape, tuple) else "" for shape in view["shape"]]
    view = view[[column for column in COLUMNS if column in view]].rename(columns=COLUMNS)
    counts = ["levels", "above", "above, no sizes", "below"]
    shares = ["bulk", "input", "input, no sizes", "output", "output, no sizes"]
    formats = dict.fromkeys(counts, "{:.0f}") | dict.fromkeys(shares, "{:.0%}")
    formats |= dict.fromkeys(("p", "q"), "{:.2g}")
    formats |= {"gap ratio": "{:.3f}", "Σ² / law": "{:.2f}", "largest / edge": "{:.2f}"}
    style = view.style.hide(axis="index").format({column: formats.get(column) for column in view}, na_rep="", escape="html")
    return style.set_table_attributes('style="font-size: 0.75rem"').set_properties(["shape"], **{"white-space": "nowrap"})


def skipped(weights: Weights, table):
    """What of a network is not in the table, and why: tensors that give no matrix, and layers that could not be analysed.

    Returns
    -------
    pandas.io.formats.style.Styler
    """
    import pandas as pd

    rows: list[tuple] = [(name, tuple(shape), reason) for name, shape, reason in weights.skipped]
    for name, shape, summary in zip(table["layer"], table["shape"], table["summary"], strict=True):
        if summary.startswith(f"{name}: not analysed: "):
            rows.append((name, shape or "", summary.removeprefix(f"{name}: ")))
    view = pd.DataFrame(rows, columns=["tensor", "shape", "left out because"])
    view["shape"] = [" × ".join(map(str, shape)) for shape in view["shape"]]
    return view.style.hide(axis="index").format(escape="html")
