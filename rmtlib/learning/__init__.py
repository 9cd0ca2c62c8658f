"""Networks to analyse: data sets, architectures, training, and the runs that it leaves behind (needs torch)."""

import importlib

_PUBLIC = {
    "Dataset": "datasets",
    "load_dataset": "datasets",
    "Run": "runs",
    "load_run": "runs",
    "build_network": "architectures",
    "TrainingConfig": "training",
    "train": "training",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name):
    # Reading a run needs no torch, training does: load what is asked for.
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
