"""The plan ``studies.yaml``: read, checked, and matched with the runs that are there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd
import yaml

from rmtlib.learning import Run, TrainingConfig
from rmtlib.runs import run_records

from . import compression, directions, filtering, free_bands, keep, linearized, motion, noise, rivals, small_damage, small_values
from .tables import replace_rows

__all__ = [
    "DRAWS",
    "PACKAGED",
    "PLAN",
    "STUDIES",
    "Drawn",
    "Kept",
    "Measurement",
    "Packaged",
    "Plan",
    "PlanError",
    "Study",
    "Trained",
    "finished_runs",
    "read_plan",
]

PLAN = Path(__file__).with_name("studies.yaml")


class PlanError(ValueError):
    """A plan that cannot be followed; the message names the entry, what is wrong and what is expected."""


@dataclass(frozen=True)
class Study:
    """A measurement ``measure(run, data, **options)``, and how its tables are written: ``write(path, table, run, order)``."""

    measure: Callable[..., pd.DataFrame]
    write: Callable[[Path, pd.DataFrame, Run, Callable], None]


def _rows(path, table, run, order, **options) -> None:
    replace_rows(path, table, order=order, **options)


STUDIES = {
    "compression": Study(compression.measure, partial(_rows, digits=6)),
    "directions": Study(directions.measure, partial(_rows, digits=5)),
    "filtering": Study(filtering.measure, partial(_rows, digits=6)),
    "free_bands": Study(free_bands.measure, partial(_rows, digits=6)),
    "linearized": Study(linearized.measure, partial(_rows, digits=6, keys=("run", "layer"))),
    "motion": Study(motion.measure, lambda path, table, run, order: motion.write(path, table, run)),
    "rivals": Study(rivals.measure, partial(_rows, digits=6)),
}
# Studies of networks that packages hold: without the package they have no rows.
PACKAGED: dict[str, Callable[[], pd.DataFrame]] = {
    "small_damage": small_damage.measure_damage,
    "small_directions": small_values.measure_directions,
    "small_levels": small_values.measure_levels,
}

# What is drawn of noise, without any run.
DRAWS: dict[str, Callable[..., pd.DataFrame]] = {"noise": noise.draw, "spacings_power": noise.draw_power}


@dataclass(frozen=True)
class Trained:
    """A network that is trained with its weights kept after every epoch; all ``layers`` if none is named."""

    config: TrainingConfig
    layers: Sequence[str] = ()


@dataclass(frozen=True)
class Measurement:
    """One study of some runs into one file of ``data/``."""

    study: str
    output: str
    runs: Sequence[str]
    without: Sequence[str] = ()
    options: Mapping[str, object] = field(default_factory=dict)

    def place(self, name: str) -> tuple[int, str]:
        """Where the rows of a run stand in the file: in the order of the patterns, then of the names."""
        matching = (i for i, pattern in enumerate(self.runs) if fnmatchcase(name, pattern))
        return next(matching, len(self.runs)), name

    def choose(self, names: Iterable[str]) -> list[str]:
        """Those of the runs that are measured, in the order of their rows."""
        chosen = [name for name in names if _matches(name, self.runs) and not _matches(name, self.without)]
        return sorted(chosen, key=self.place)


@dataclass(frozen=True)
class Drawn:
    """Noise through one study of ``DRAWS``, into one file of ``data/``."""

    draw: str
    output: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Packaged:
    """One study of a network that a package holds, into one file of ``data/``."""

    study: str
    output: str


@dataclass(frozen=True)
class Kept:
    """Runs of which ``data/runs`` keeps these tensors (`studies.keep`)."""

    tensors: str
    runs: Sequence[str]


@dataclass(frozen=True)
class Plan:
    """What is trained, drawn, measured and kept."""

    train: Sequence[Trained]
    draw: Sequence[Drawn]
    measure: Sequence[Measurement]
    packages: Sequence[Packaged]
    keep: Sequence[Kept]

    def tensors_of(self, name: str) -> str | None:
        """What is kept of a run: the first entry that matches; None if there is none."""
        return next((entry.tensors for entry in self.keep if _matches(name, entry.runs)), None)


def read_plan(path: Path = PLAN) -> Plan:
    """Read a plan.

    Raises
    ------
    PlanError
        If the file is not YAML, or not a plan: a section or a key that is unknown or missing, a study, an option, a training
        setting or a word for what is kept that does not exist, an output outside ``data/``.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        msg = f"{path} must be YAML: {error}"
        raise PlanError(msg) from error
    sections = {"train": _trained, "draw": _drawn, "measure": _measurement, "packages": _packaged, "keep": _kept}
    if not isinstance(content, dict) or not set() < content.keys() <= sections.keys():
        msg = f"{path} must have sections among {', '.join(sections)}; got {_words(content)}"
        raise PlanError(msg)
    entries: dict[str, list] = {}
    for section, read in sections.items():
        entries[section] = []
        for number, entry in enumerate(content.get(section) or (), 1):
            try:
                entries[section].append(read(entry))
            except (ValueError, TypeError) as error:
                msg = f"{path}, entry {number} of {section}: {error}"
                raise PlanError(msg) from error
    return Plan(**entries)


def finished_runs(folder: Path) -> list[str]:
    """Names of the runs in a folder that are done."""
    return [name for name, record in run_records(folder).items() if record["status"] == "completed"]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _words(content) -> str:
    return ", ".join(map(str, content)) if isinstance(content, dict | list) and content else repr(content)


def _require(entry, needed: Set[str], allowed: Set[str] = frozenset()) -> None:
    if not isinstance(entry, dict) or not needed <= entry.keys() <= needed | allowed:
        also = f" and may have {', '.join(sorted(allowed))}" if allowed else ""
        msg = f"an entry must have {', '.join(sorted(needed))}{also}; got {_words(entry)}"
        raise PlanError(msg)


def _names(value, key: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        msg = f"{key} must be a list of names; got {value!r}"
        raise PlanError(msg)
    return tuple(value)


def _trained(entry) -> Trained:
    _require(entry, {"config"}, {"layers"})
    return Trained(TrainingConfig(**entry["config"]), _names(entry["layers"], "layers") if "layers" in entry else ())


def _require_study(study, studies: Iterable[str]) -> None:
    if study not in studies:
        msg = f"study must be one of {', '.join(studies)}; got {study!r}"
        raise PlanError(msg)


def _packaged(entry) -> Packaged:
    _require(entry, {"study", "output"})
    _require_study(entry["study"], PACKAGED)
    return Packaged(entry["study"], _output(entry["output"]))


def _measurement(entry) -> Measurement:
    _require(entry, {"study", "output", "runs"}, {"except", "options"})
    study, options = entry["study"], entry.get("options", {})
    _require_study(study, STUDIES)
    output = _output(entry["output"])
    _check_options(study, options, list(inspect.signature(STUDIES[study].measure).parameters)[2:])
    without = _names(entry["except"], "except") if "except" in entry else ()
    return Measurement(study, output, _names(entry["runs"], "runs"), without, options)


def _drawn(entry) -> Drawn:
    _require(entry, {"draw", "output"}, {"options"})
    name, options = entry["draw"], entry.get("options", {})
    if name not in DRAWS:
        msg = f"draw must be one of {', '.join(DRAWS)}; got {name!r}"
        raise PlanError(msg)
    _check_options(name, options, list(inspect.signature(DRAWS[name]).parameters))
    return Drawn(name, _output(entry["output"]), options)


def _output(text) -> str:
    output = PurePosixPath(text)
    if output.is_absolute() or ".." in output.parts:
        msg = f"output must be a path inside data/; got {str(output)!r}"
        raise PlanError(msg)
    return str(output)


def _check_options(study: str, options: Mapping[str, object], known: Sequence[str]) -> None:
    if unknown := [name for name in options if name not in known]:
        msg = f"options of {study} must be among {', '.join(known) or 'none'}; got {', '.join(unknown)}"
        raise PlanError(msg)


def _kept(entry) -> Kept:
    _require(entry, {"tensors", "runs"})
    if entry["tensors"] not in keep.TENSORS:
        msg = f"tensors must be one of {', '.join(keep.TENSORS)}; got {entry['tensors']!r}"
        raise PlanError(msg)
    return Kept(entry["tensors"], _names(entry["runs"], "runs"))
