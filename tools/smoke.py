"""What an extra of the wheel is for, done once in an environment that has nothing else: smoke.py EXTRA.

Each function makes a small file of its kind with the library that the extra brings, and analyses it.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import rmtlib
from rmtlib.cli import main

W = np.random.default_rng(0).normal(size=(64, 96)).astype(np.float32)
NOTEBOOK = """---
kernelspec: {name: python3, display_name: Python 3, language: python}
---
```{code-cell} python
:tags: [parameters]
a: int = 1
```
```{code-cell} python
print(a + 1)
```
"""


def report(file: Path) -> None:
    """The matrix of the file is found, and a report is made of it."""
    (layer,) = rmtlib.load_weights(file).values()
    matrix = layer.matrix
    assert np.array_equal(matrix, W) or np.array_equal(matrix, W.T), file
    assert main(["report", str(file), "--output", str(file.parent / "report")]) == 0
    assert "<svg" in (file.parent / "report.html").read_text()


def plain(folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"fc.weight": W}, folder / "a.safetensors")
    report(folder / "a.safetensors")


def learning(folder: Path) -> None:
    import torch

    torch.save({"fc.weight": torch.from_numpy(W)}, folder / "a.pt")
    report(folder / "a.pt")
    from rmtlib.learning import TrainingConfig, train

    run = train(TrainingConfig(dataset="digits", epochs=1), folder=folder, progress=False)
    assert len(rmtlib.load_weights(run.weights_file)) >= 2


def keras(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "a.weights.h5", "w") as file:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = W.T, np.zeros(len(W), np.float32)
    report(folder / "a.weights.h5")


def onnx(folder: Path) -> None:
    from onnx import helper, numpy_helper, save

    node = helper.make_node("MatMul", ["x", "fc.weight"], ["y"])
    save(
        helper.make_model(helper.make_graph([node], "net", [], [], [numpy_helper.from_array(W.T, "fc.weight")])),
        folder / "a.onnx",
    )
    report(folder / "a.onnx")


def gguf(folder: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(folder / "a.gguf", "llama")
    writer.add_tensor("blk.0.attn_q.weight", W)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    report(folder / "a.gguf")


def flax(folder: Path) -> None:
    import msgpack

    kernel = msgpack.ExtType(1, msgpack.packb((W.T.shape, "float32", W.T.tobytes())))
    (folder / "a.msgpack").write_bytes(msgpack.packb({"params": {"Dense_0": {"kernel": kernel}}}))
    report(folder / "a.msgpack")


def cluster(folder: Path) -> None:
    from dask.distributed import LocalCluster
    from safetensors.numpy import save_file

    from rmtlib.cluster import LOCAL

    save_file({"fc.weight": W}, folder / "a.safetensors")
    with LocalCluster(n_workers=1, **LOCAL) as workers:
        table = rmtlib.scan(rmtlib.load_weights(folder / "a.safetensors"), scheduler=workers.scheduler_address, progress=False)
    assert len(table) == 1


def notebooks(folder: Path) -> None:
    (folder / "note.md").write_text(NOTEBOOK)
    assert main(["run", str(folder / "note.md"), "-p", "a", "41", "-o", str(folder / "out.ipynb")]) == 0
    assert "42" in (folder / "out.ipynb").read_text()
    cluster(folder)


PARTS: dict[str, list[Callable[[Path], None]]] = {
    "plain": [plain],
    "learning": [learning],
    "keras": [keras],
    "onnx": [onnx],
    "gguf": [gguf],
    "flax": [flax],
    "cluster": [cluster],
    "notebooks": [notebooks],
    "all": [plain, learning, keras, onnx, gguf, flax, notebooks],
}

if __name__ == "__main__":
    assert Path(rmtlib.__file__).is_relative_to(sys.prefix), f"{rmtlib.__file__} is not the wheel"
    for part in PARTS[sys.argv[1]]:
        with tempfile.TemporaryDirectory() as temporary:
            part(Path(temporary))
