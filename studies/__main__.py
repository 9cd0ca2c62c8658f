"""Train what is studied epoch by epoch, draw noise, measure, and keep: ``python -m studies train | draw | measure | keep``."""

from __future__ import annotations

import argparse
import sys
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from rmtlib.files import write_atomically
from rmtlib.learning import load_dataset, load_run
from rmtlib.runs import RunError

from .epochs import train_keeping_epochs
from .keep import keep
from .plan import DRAWS, PACKAGED, PLAN, STUDIES, Plan, finished_runs, read_plan
from .registry import write_registry


def main(arguments: list[str] | None = None) -> int:
    """Follow the plan; return the exit status: 0, 1 if something could not be done, 130 if it was interrupted."""
    given = _parser().parse_args(arguments)
    try:
        return given.follow(read_plan(given.plan), given)
    except (ValueError, OSError) as error:
        print(f"studies: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("studies: interrupted; the same command goes on with the training, and measures again", file=sys.stderr)
        return 130


def train(plan: Plan, given: argparse.Namespace) -> int:
    """Train the networks whose weights are studied epoch by epoch."""
    for entry in plan.train:
        if fnmatchcase(entry.config.name, given.only):
            train_keeping_epochs(entry.config, given.runs, layers=entry.layers or None)
    return 0


def draw(plan: Plan, given: argparse.Namespace) -> int:
    """Put noise through the statistics that decide verdicts."""
    for entry in plan.draw:
        table = DRAWS[entry.draw](**entry.options)
        text = table.to_csv(index=table.index.name is not None, float_format="%.5g")
        write_atomically(given.data / entry.output, text.encode())
        write_registry(given.data)
        print(f"{entry.draw} -> {given.data / entry.output}", flush=True)
    return 0


def measure(plan: Plan, given: argparse.Namespace) -> int:
    """Measure the finished runs of a folder, and without ``--only`` the networks of packages, and write what was found."""
    entries = [entry for entry in plan.measure if entry.study in (given.studies or STUDIES)]
    there = [name for name in finished_runs(given.runs) if fnmatchcase(name, given.only)]
    measured, failed = 0, 0
    for entry in entries:
        study, output = STUDIES[entry.study], given.data / entry.output
        for name in entry.choose(there):
            try:
                run = load_run(name, folder=given.runs)
                table = study.measure(run, _images(run.config["dataset"], run.config["standardization"]), **entry.options)
            except RunError as error:
                print(f"{entry.study}: {error}", file=sys.stderr)
                failed += 1
                continue
            study.write(output, table, run, entry.place)
            write_registry(given.data)
            measured += 1
            print(f"{entry.study}: {name} -> {output}", flush=True)
    for packaged in plan.packages:
        if given.only == "*" and packaged.study in (given.studies or PACKAGED):
            table, output = PACKAGED[packaged.study](), given.data / packaged.output
            if table.empty:
                print(f"{packaged.study}: the package of its network is missing; see requirements-models.txt", file=sys.stderr)
                failed += 1
                continue
            output.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(output, table.to_csv(index=False, float_format="%.5g").encode())
            write_registry(given.data)
            measured += 1
            print(f"{packaged.study} -> {output}", flush=True)
    if not measured and not failed:
        msg = f"no finished run in {str(given.runs)!r} that the plan measures"
        raise RunError(msg)
    return 1 if failed else 0


def keep_runs(plan: Plan, given: argparse.Namespace) -> int:
    """Copy the finished runs of a folder into the book's data, as small as the plan says."""
    kept = {name: plan.tensors_of(name) for name in finished_runs(given.runs) if fnmatchcase(name, given.only)}
    if not any(kept.values()):
        msg = f"no finished run in {str(given.runs)!r} that the plan keeps"
        raise RunError(msg)
    for name, tensors in kept.items():
        if tensors:
            keep(load_run(name, folder=given.runs), given.data / "runs", tensors=tensors)
            print(f"{tensors}: {name} -> {given.data / 'runs'}", flush=True)
    write_registry(given.data)
    return 0


@lru_cache(maxsize=1)
def _images(dataset: str, standardization: str):
    return load_dataset(dataset, standardization=standardization)


def _study(name: str) -> str:
    if name not in STUDIES | PACKAGED:
        msg = f"STUDY must be one of {', '.join([*STUDIES, *PACKAGED])}; got {name!r}"
        raise argparse.ArgumentTypeError(msg)
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m studies", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="train | draw | measure | keep")
    for name, follow in (("train", train), ("draw", draw), ("measure", measure), ("keep", keep_runs)):
        command = commands.add_parser(name, help=follow.__doc__, description=follow.__doc__)
        command.set_defaults(follow=follow)
        command.add_argument("--runs", type=Path, default=Path("runs/book"), help="folder of runs (default: runs/book)")
        command.add_argument("--plan", type=Path, default=PLAN, help="plan to follow (default: studies/studies.yaml)")
        command.add_argument("--only", default="*", metavar="PATTERN", help="runs whose name matches, such as '*-alpha5-*'")
        if name != "train":
            command.add_argument("--data", type=Path, default=Path("data"), help="folder that is written to (default: data)")
        if name == "measure":
            named = f"of {', '.join([*STUDIES, *PACKAGED])}; all of them by default"
            command.add_argument("studies", nargs="*", type=_study, metavar="STUDY", help=named)
    return parser


if __name__ == "__main__":
    sys.exit(main())
