"""Files that are not read, by their names, with the way to convert them."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["foreign"]

TFLITE = "give the Keras or ONNX file that it was converted from, or convert it by tflite2onnx"
SAVED = "load it by tf.keras.models.load_model or tf.saved_model.load, and save the weights with model.save('m.keras')"
CORE_ML = "Core ML: give the model that it was converted from"
TFJS = "tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras"
JOIN = "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pt"
BY_SUFFIX = {
    ".tflite": f"TensorFlow Lite: {TFLITE}",
    **dict.fromkeys((".mlmodel", ".mlpackage", ".mlmodelc"), CORE_ML),
    ".pb": f"a graph of TensorFlow: {SAVED}",
    ".caffemodel": "Caffe: convert it to ONNX by caffe2onnx",
    ".pdparams": "PaddlePaddle: save it as ONNX by paddle2onnx",
    ".pdiparams": "PaddlePaddle: save it as ONNX by paddle2onnx",
    ".params": "MXNet or another package: save its arrays by numpy.savez",
    ".engine": "TensorRT's compiled network: give the ONNX file that it was compiled from",
    ".plan": "TensorRT's compiled network: give the ONNX file that it was compiled from",
    ".joblib": "a pickle of joblib, whose code is never run: save the arrays by numpy.savez",
    ".pkl": "a pickle, whose code is never run: save the arrays by numpy.savez",
    ".pickle": "a pickle, whose code is never run: save the arrays by numpy.savez",
    ".mat": "MATLAB: load it by scipy.io.loadmat, and save the arrays by numpy.savez",
    ".ggml": "llama.cpp's older format: convert it to GGUF by llama.cpp's own script",
    ".ort": "onnxruntime's own format: give the ONNX file that it was made from",
    ".distcp": f"a shard of torch.distributed: join all by {JOIN}",
}


def foreign(path: Path, start: bytes) -> str | None:
    """What a file of another kind is, and how to convert it.

    Parameters
    ----------
    path : pathlib.Path
    start : bytes
        Its first bytes, 64 are enough.

    Returns
    -------
    str or None
        None if it is none that is known.
    """
    if start[4:8] == b"TFL3":
        return f"it is TensorFlow Lite: {TFLITE}"
    if start[4:8] == b"ORTM":
        return f"it is {BY_SUFFIX['.ort']}"
    if start[:4] in (b"lmgg", b"tjgg", b"algg", b"fmgg"):
        return f"it is {BY_SUFFIX['.ggml']}"
    if re.fullmatch(r"group\d+-shard\d+of\d+(\.bin)?", path.name):
        return f"it is a TF.js shard, bare numbers whose names lie in model.json: convert it back by {TFJS}"
    if path.suffix == ".index" or re.search(r"\.data-\d{5}-of-\d{5}$", path.name):
        return f"it is part of a checkpoint of TensorFlow: {SAVED}"
    if path.suffix.lower() in BY_SUFFIX:
        return f"it is {BY_SUFFIX[path.suffix.lower()]}"
    if path.suffix == ".bin":
        if path.with_suffix(".xml").is_file():
            return "it is the weights of OpenVINO, which its .xml describes: give the model that it was converted from"
        if path.with_suffix(".param").is_file():
            return "it is the weights of ncnn, which its .param describes: give the model that it was converted from"
        if path.name == "weight.bin" or path.parent.name == "weights" and path.parents[1].suffix in (".mlpackage", ".mlmodelc"):
            return f"it is the weights of {CORE_ML}"
    return None
