"""A comparison of two networks as one paragraph."""

from __future__ import annotations

from collections.abc import Sequence

from . import wording
from .layer_comparison import ALIGNED, HIDDEN
from .multiple import benjamini_hochberg

__all__ = ["in_words"]

LEVEL = 0.05


def in_words(table, left_out: Sequence[tuple[str, str]] = (), unread: Sequence[tuple[str, str]] = ()) -> str:
    """What changed between two networks.

    Parameters
    ----------
    table : pandas.DataFrame
        Of `rmtlib.compare`, of one tuned network.
    left_out : sequence of (str, str)
        Layers that are not compared, and why.
    unread : sequence of (str, str)
        Steps whose checkpoints cannot be read, and why.

    Returns
    -------
    str
        How many layers were compared; the size of the update; where it has directions beyond noise, points along the base or
        against it (q below 0.05), or makes top vectors new; what numbers of half precision hide; and what was left out.
    """
    rows = [row for row in table.to_dict("records") if wording.known(row, "update_size")]
    step = f" at step {table['step'].iloc[0]}" if "step" in table else ""
    lost = [f"The checkpoint of step {step} cannot be read: {why}." for step, why in unread]
    if not rows:
        return " ".join([f"None of {_count(len(table))}{step} could be compared; the lines below say why.", *lost])
    changed = [row for row in rows if row["update_size"] > 0]
    said = [f"{_count(len(rows))} of both networks {'are' if len(rows) > 1 else 'is'} compared{step}."]
    if len(changed) < len(rows):
        said.append(f"{_count(len(rows) - len(changed))} did not change." if changed else "Nothing changed.")
    if changed:
        said += [_sizes(changed), _directions(changed)]
        said += [words for words in (_aligned(changed), _new(changed), _hidden(changed)) if words]
    if missing := len(table) - len(rows):
        said.append(f"{_count(missing)} could not be compared; the lines below say why.")
    if left_out:
        said.append(f"Left out: {_count(len(left_out))}, first {left_out[0][0]} ({left_out[0][1]}).")
    return " ".join(said + lost)


def _sizes(rows):
    sizes = sorted((row["update_size"], row["layer"]) for row in rows)
    if len(sizes) == 1:
        return f"The update has {sizes[0][0]:.2%} of the size of the base."
    (least, first), (most, last) = sizes[0], sizes[-1]
    return f"The update has between {least:.2%} ({first}) and {most:.2%} ({last}) of the size of the base."


def _directions(rows):
    found = [row for row in rows if wording.known(row, "rank") and row["rank"] > 0]
    found.sort(key=lambda row: -row["rank"])
    none = sum(wording.known(row, "rank") and row["rank"] == 0 for row in rows)
    names = [f"{row['layer']} ({row['rank']:.0f})" for row in found]
    told = f"It has directions beyond noise in {wording.listed(names)}" if found else ""
    if none:
        told += f"{'; in ' if told else 'It has none beyond noise in '}{_count(none)}{' it has none' if told else ''}"
    unknown = len(rows) - len(found) - none
    rest = f" Of {_count(unknown)} they cannot be counted." if unknown else ""
    return f"{told}.{rest}" if told else rest.strip()


def _aligned(rows):
    tested = [row for row in rows if wording.known(row, "alignment_pvalue")]
    if not tested:
        return ""
    qvalues = benjamini_hochberg([row["alignment_pvalue"] for row in tested])
    far = [row for row, q in zip(tested, qvalues, strict=True) if q < LEVEL and abs(row["alignment"]) > ALIGNED]
    ways = []
    for sign, words in ((1, "along the base, which grows, in"), (-1, "against the base, which shrinks, in")):
        some = [row for row in far if row["alignment"] * sign > 0]
        some.sort(key=lambda row: -abs(row["alignment"]))
        if some:
            names = [f"{row['layer']} (cosine {row['alignment']:.2f})" for row in some]
            ways.append(f"{words} {wording.listed(names)}")
    return f"It points {' and '.join(ways)}." if ways else ""


def _new(rows):
    tested = [row for row in rows if wording.known(row, "intruders_pvalue")]
    if not tested:
        return ""
    qvalues = benjamini_hochberg([row["intruders_pvalue"] for row in tested])
    found = [row["layer"] for row, q in zip(tested, qvalues, strict=True) if q < LEVEL]
    if not found:
        return "No layer has more new top vectors than noise of the update's sizes makes (q below 0.05)."
    return f"More top vectors are new than noise of the update's sizes makes (q below 0.05) in {wording.listed(found)}."


def _hidden(rows):
    coarse = [row for row in rows if wording.known(row, "unchanged") and row["unchanged"] > HIDDEN and row["grid"] > 1e-4]
    if not coarse:
        return ""
    grid = max(row["grid"] for row in coarse)
    return f"In {_count(len(coarse))} stored numbers are so coarse that changes below {grid:.1%} of an entry are hidden."


def _count(number: int) -> str:
    return f"{number:,} layer{'s' * (number != 1)}"
