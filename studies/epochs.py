"""Networks whose weights are kept after every epoch, for the studies that look back at the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save

from rmtlib.files import write_atomically
from rmtlib.learning import Run, TrainingConfig, train
from rmtlib.runs import RunError

__all__ = ["epoch_weights", "train_keeping_epochs"]


def train_keeping_epochs(config: TrainingConfig, folder: Path | str, *, layers: Sequence[str] | None = None) -> Run:
    """Train a network and keep its weights before the first epoch (0) and after each one, in ``epochs/`` beside the run.

    An interrupted training goes on when it is asked for again. A run that is finished is returned as it is, with the epochs that
    were kept of it or without them. All layers of MLP512 take 8 MB an epoch: delete the folder
    ``epochs`` when what it was kept for has been measured.

    Parameters
    ----------
    config : TrainingConfig
    folder : path
        Folder of runs.
    layers : sequence of str, optional
        Layers to keep; all of them by default.

    Returns
    -------
    Run
    """
    epochs = Path(folder) / config.name / "epochs"

    def keep(epoch: int, network: torch.nn.Module) -> None:
        epochs.mkdir(exist_ok=True)
        tensors = {name: tensor for name, tensor in network.state_dict().items() if not layers or name.split(".")[0] in layers}
        write_atomically(epochs / f"{epoch:04}.safetensors", save(tensors))

    return train(config, folder=folder, on_epoch=keep)


def epoch_weights(run: Run, epoch: int) -> dict[str, torch.Tensor]:
    """The weights that `train_keeping_epochs` kept after this epoch.

    Raises
    ------
    RunError
        If they were not kept.
    """
    file = run.path / "epochs" / f"{epoch:04}.safetensors"
    if not file.is_file():
        msg = (
            f"run {run.name!r} keeps no weights of epoch {epoch}, and none can be added to a finished run: delete its folder "
            f"{str(run.path)!r} first, then `python -m studies train` trains it again and keeps them"
        )
        raise RunError(msg)
    return load_file(file)
