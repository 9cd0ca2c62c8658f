"""Networks to analyse: data sets, architectures, training, and the networks that it leaves behind (needs torch).

Runs, which training writes, are read without torch: `rmtlib.runs`, whose names stand here too.
"""

import importlib

_PUBLIC = {
    "Dataset": ".datasets",
    "LinearizedAccuracy": ".linearization",
    "Run": "..runs",
    "TrainingConfig": ".training",
    "build_network": ".architectures",
    "find_runs": "..runs",
    "linearized_accuracy": ".linearization",
    "load_dataset": ".datasets",
    "load_network": ".trained",
    "load_run": "..runs",
    "train": ".training",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name):
    # Reading a run needs no torch, training does: load what is asked for.
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
