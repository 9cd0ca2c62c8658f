"""The training that a command line asks for."""

from dataclasses import fields

from rmtlib.learning import TrainingConfig


def from_options(options: list[str]) -> TrainingConfig:
    """Read ``name=value`` as fields of the `TrainingConfig`, each of its own type."""
    kinds = {field.name: field.metadata["kind"] for field in fields(TrainingConfig)}
    given = dict(option.split("=", 1) for option in options)
    if unknown := ", ".join(given.keys() - kinds.keys()):
        raise ValueError(f"options must be settings of a training, {', '.join(kinds)}; got {unknown}")
    return TrainingConfig(**{name: kinds[name](value) for name, value in given.items()})
