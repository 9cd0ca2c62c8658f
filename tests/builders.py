"""Small checkpoint files for the tests, each returned as its path."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file


def gaussian(*shape: int, seed: int = 0, dtype=np.float32) -> np.ndarray:
    """Independent standard normal entries."""
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(dtype)


def state_dict(*widths: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights and biases of ``dense1``, ``dense2``, ... between layers of the given widths."""
    arrays = {}
    for i, (n_in, n_out) in enumerate(zip(widths, widths[1:], strict=False), start=1):
        arrays[f"dense{i}.weight"] = gaussian(n_out, n_in, seed=seed + i)
        arrays[f"dense{i}.bias"] = np.zeros(n_out, np.float32)
    return arrays


def safetensors(path: Path, arrays: dict) -> Path:
    """A ``.safetensors`` file; arrays of `ml_dtypes.bfloat16` are stored as BF16."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, path)
    return path


def bfloat16(array: np.ndarray) -> np.ndarray:
    """The array rounded to bfloat16."""
    import ml_dtypes

    return array.astype(ml_dtypes.bfloat16)


def raw_safetensors(path: Path, header: dict | bytes, data: bytes = b"", *, length: int | None = None) -> Path:
    """A ``.safetensors`` file of any header, whole or not; ``length`` is what it claims its header's length to be."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + data)
    return path


def run_folder(path: Path, *widths: int, status: str = "completed") -> Path:
    """A folder as `rmtlib.learning.train` leaves it; initial and trained weights differ."""
    arrays = {f"initial.{name}": array for name, array in state_dict(*widths, seed=0).items()}
    arrays |= {f"trained.{name}": array for name, array in state_dict(*widths, seed=100).items()}
    safetensors(path / "weights.safetensors", arrays)
    (path / "run.json").write_text(json.dumps({"name": path.name, "status": status}))
    return path


def sharded(folder: Path, arrays: dict, n_shards: int = 2) -> Path:
    """A folder with shards of a checkpoint and the index that joins them."""
    names = list(arrays)
    weight_map = {name: f"model-{i % n_shards + 1:05}-of-{n_shards:05}.safetensors" for i, name in enumerate(names)}
    for shard in set(weight_map.values()):
        safetensors(folder / shard, {name: arrays[name] for name in names if weight_map[name] == shard})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


class RunsCode:
    """Pickles to a call that creates a file when it is unpickled without care."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def pickle_with_code(path: Path, marker: Path) -> Path:
    """A plain pickle that creates ``marker`` where it is loaded."""
    path.write_bytes(pickle.dumps({"fc.weight": RunsCode(marker)}, protocol=2))
    return path


def keras_weights(path: Path, layers: dict[str, tuple[str, list[np.ndarray]]]) -> Path:
    """A Keras 3 ``.weights.h5`` of ``{layer name: (snake-case class, [kernel, bias])}``, with state of an optimizer."""
    import h5py

    with h5py.File(path, "w") as file:
        for i, (name, (kind, arrays)) in enumerate(layers.items()):
            group = file.create_group(f"layers/{kind}{f'_{i}' * (i > 0)}/vars")
            group.attrs["name"] = name
            for j, array in enumerate(arrays):
                group[str(j)] = array
        file["optimizer/vars/0"] = np.ones((100, 100), np.float32)
    return path


def trained_weights(run) -> dict[str, np.ndarray]:
    """Trained tensors of a run in float64, by ``dense1.weight`` and the like."""
    tensors = {name.partition("trained.")[2]: W.astype(np.float64) for name, W in load_file(run.weights_file).items()}
    return {name: W for name, W in tensors.items() if name}


def activations(weights: dict[str, np.ndarray], images: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Inputs of each dense layer of MLP512, and the logits, written out."""
    found = [images.astype(np.float64)]
    for i in range(1, 5):
        logits = found[-1] @ weights[f"dense{i}.weight"].T + weights[f"dense{i}.bias"]
        found.append(np.maximum(logits, 0))
    return found[:-1], logits


def small_encoder(*, words: int = 50, width: int = 20, wide: int = 40, blocks: int = 2, heads: int = 4, seed: int = 0):
    """An encoder with random tensors, by the names of MiniLM's file."""
    from studies.transformer import ROLES, Encoder, matrix_name

    rng = np.random.default_rng(seed)
    shapes = {
        f"embeddings.{what}_embeddings.weight": (n, width) for what, n in (("word", words), ("position", 64), ("token_type", 2))
    }
    norms = ["embeddings"]
    for block in range(blocks):
        norms += [f"encoder.layer.{block}.{part}" for part in ("attention.output", "output")]
        for role in ROLES:
            n_out, n_in = {"intermediate": (wide, width), "output": (width, wide)}.get(role, (width, width))
            shapes |= {
                f"{matrix_name(role, block)}.{part}": shape for part, shape in (("weight", (n_out, n_in)), ("bias", (n_out,)))
            }
    for name in norms:
        shapes |= {f"{name}.LayerNorm.{part}": (width,) for part in ("weight", "bias")}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) / 3 for name, shape in shapes.items()}
    return Encoder(tensors, blocks, heads, 1e-12)
