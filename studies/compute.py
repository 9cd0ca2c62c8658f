"""What the book's networks cost to train: seconds, threads and machines, from the records of the runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from rmtlib.runs import RunError, book_data, run_records

__all__ = ["by_machine", "by_network", "records"]

NOT_RECORDED = "not recorded"
TOTAL = "all"


def records(folder: Path | None = None) -> pd.DataFrame:
    """One row a finished run, from its ``run.json``.

    Parameters
    ----------
    folder : path, optional
        Folder of runs; by default ``data/runs`` of the book.

    Returns
    -------
    pandas.DataFrame
        Indexed by the names of the runs: ``network``, ``epochs``, ``threads``, ``seconds`` (of the wall clock), ``processor``,
        ``system`` and ``torch``. What a run of the first edition did not record says so.

    Raises
    ------
    RunError
        If the folder holds no finished run.
    """
    folder = book_data() / "runs" if folder is None else Path(folder)
    rows = {}
    for record in run_records(folder).values():
        if record["status"] != "completed":
            continue
        rows[record["name"]] = {
            "network": record["config"]["network"],
            "epochs": record["config"]["epochs"],
            "threads": record["threads"],
            "seconds": record["seconds"],
            "processor": record.get("processor", NOT_RECORDED),
            "system": record.get("system", NOT_RECORDED),
            "torch": record["versions"]["torch"],
        }
    if not rows:
        msg = f"no finished run in {str(folder)!r}"
        raise RunError(msg)
    return pd.DataFrame.from_dict(rows, orient="index")


def by_network(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of each network and length: how many, the shortest, median and longest in minutes, and all together in hours.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of `records`.

    Returns
    -------
    pandas.DataFrame
        A row a network and number of epochs; the last one is the sum.
    """
    minutes = runs.assign(minutes=runs["seconds"] / 60).groupby(["network", "epochs"])["minutes"]
    table = minutes.agg(runs="size", shortest="min", median="median", longest="max", hours="sum").reset_index()
    table["hours"] /= 60
    total = {"network": TOTAL, "epochs": "", "runs": table["runs"].sum(), "hours": table["hours"].sum()}
    return pd.concat([table.astype({"epochs": object}), pd.DataFrame([total])], ignore_index=True)


def by_machine(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs of each machine, as far as they recorded it.

    Parameters
    ----------
    runs : pandas.DataFrame
        Of `records`.

    Returns
    -------
    pandas.DataFrame
        A row a processor, system, number of threads and version of torch; ``runs`` and ``hours``.
    """
    machines = runs.assign(hours=runs["seconds"] / 3600).groupby(["processor", "system", "threads", "torch"])["hours"]
    return machines.agg(runs="size", hours="sum").reset_index()
