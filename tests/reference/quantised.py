"""Make small files of quantised weights by the packages that define their layouts, and what those packages multiply.

    python tests/reference/quantised.py     writes tests/reference/quantised/ (a minute on one core)

Each folder holds one layer as its package saves it, with the configuration that its users keep beside the file. ``products.npz``
holds ``x``, of which a layer takes as many columns as it has inputs, and by the name of the folder the package's own product:
of its layer where that multiplies by the weight alone, otherwise of ``x`` with what the package itself dequantises.
``packages.json`` records the versions.
Needs bitsandbytes, compressed-tensors, gptqmodel, hqq, mlx[cpu], optimum-quanto, torch and transformers; no GPU.
"""

import json
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).with_suffix("")
PACKAGES = ("bitsandbytes", "compressed-tensors", "gptqmodel", "hqq", "mlx", "optimum-quanto", "torch", "transformers")
N_IN, N_OUT, WIDE = 128, 32, 256


def layer(seed, n_in=N_IN, bias=False):
    torch.manual_seed(seed)
    return torch.nn.Linear(n_in, N_OUT, bias=bias).requires_grad_(False)


def saved(name, state, config=None):
    """The folder of a layer called fc."""
    folder = FOLDER / name
    folder.mkdir(parents=True)
    tensors = {f"fc.{key}": tensor.detach().contiguous() for key, tensor in state.items()}
    save_file(tensors, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config) + "\n")
    return folder


def bitsandbytes(x):
    import bitsandbytes as bnb

    for kind, nested in (("nf4", False), ("nf4", True), ("fp4", False)):
        small = bnb.nn.Linear4bit(
            N_IN, N_OUT, bias=False, quant_type=kind, compress_statistics=nested, compute_dtype=torch.float32
        )
        small.load_state_dict(layer(1).state_dict())
        small = small.to("cpu")
        name = f"bitsandbytes_{kind}{'_nested' * nested}"
        saved(name, small.state_dict())
        yield name, x @ bnb.functional.dequantize_4bit(small.weight.data, small.weight.quant_state).T
    small = bnb.nn.Linear8bitLt(N_IN, N_OUT, bias=False, has_fp16_weights=False)
    small.load_state_dict(layer(2).state_dict())
    small = small.to("cpu")
    state = small.state_dict()
    saved("bitsandbytes_int8", state)
    yield "bitsandbytes_int8", x @ bnb.functional.int8_vectorwise_dequant(state["weight"], state["SCB"]).T


def compressed_tensors(x):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    cases = {
        "pack-quantized": [(bits, "int", "group", 32) for bits in (3, 4)],
        "int-quantized": [(8, "int", "channel", None)],
        "float-quantized": [(8, "float", "channel", None)],
        "nvfp4-pack-quantized": [(4, "float", "tensor_group", 16)],
        "mxfp4-pack-quantized": [(4, "float", "group", 32)],
        "mxfp8-quantized": [(8, "float", "group", 32)],
    }
    for format_, kinds in cases.items():
        for bits, type_, strategy, group in kinds:
            options = {"num_bits": bits, "type": type_, "strategy": strategy, "group_size": group, "symmetric": True}
            if format_.startswith("mx"):
                options["scale_dtype"] = torch.uint8
            elif format_.startswith("nv"):
                options["scale_dtype"] = torch.float8_e4m3fn
            args = QuantizationArgs(**options)
            weight = layer(bits).weight.data
            grouped = weight.reshape(N_OUT, -1, group or N_IN)
            state = {"weight": weight}
            if strategy == "tensor_group":
                state["weight_global_scale"] = generate_gparam(weight.amin().reshape(1), weight.amax().reshape(1))
            scale, _ = calculate_qparams(grouped.amin(-1), grouped.amax(-1), args, global_scale=state.get("weight_global_scale"))
            state["weight_scale"] = scale
            scheme = QuantizationScheme(targets=["Linear"], weights=args)
            compressor = BaseCompressor.get_value_from_registry(format_)
            packed = compressor.compress(state, scheme)
            whole = compressor.decompress(dict(packed), scheme)["weight"]
            name = f"compressed_{format_.replace('-', '_')}_{bits}"
            weights = {"num_bits": bits, "type": type_, "strategy": strategy, "group_size": group, "symmetric": True}
            groups = {"group_0": {"targets": ["Linear"], "weights": weights, "format": format_}}
            config = {"quant_method": "compressed-tensors", "format": format_, "config_groups": groups}
            saved(name, packed, {"quantization_config": config})
            yield name, x @ whole.float().T


def gptqmodel(x):
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    for bits in (3, 4, 8):
        whole, group = layer(10 + bits), 32
        order = torch.randperm(N_IN, generator=torch.Generator().manual_seed(bits)) // group
        scales, zeros = torch.empty(2, N_OUT, N_IN // group)
        for i in range(N_IN // group):
            part = whole.weight[:, order == i]
            scales[:, i] = (part.amax(1) - part.amin(1)) / (2**bits - 1)
            zeros[:, i] = (-part.amin(1) / scales[:, i]).round()
        scales = scales.half().float()
        packed = TorchLinear(
            bits=bits, group_size=group, sym=False, desc_act=True, in_features=N_IN, out_features=N_OUT, bias=False
        )
        packed.pack(whole, scales, zeros, g_idx=order.to(torch.int32))
        packed.post_init()
        packed.scales = packed.scales.half()
        state = {key: tensor for key, tensor in packed.state_dict().items() if key in ("qweight", "qzeros", "scales", "g_idx")}
        config = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": True, "checkpoint_format": "gptq_v2"}
        saved(f"gptq_{bits}", state, {"quantization_config": config})
        packed.scales = packed.scales.float()
        yield f"gptq_{bits}", x @ packed.dequantize_weight()


def hqq(x):
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    for bits, axis, group in ((1, 1, 32), (2, 0, 32), (3, 1, 32), (4, 1, 64), (8, 1, None)):
        config = BaseQuantizeConfig(nbits=bits, group_size=group, axis=axis)
        packed = HQQLinear(layer(20 + bits), config, compute_dtype=torch.float32, device="cpu")
        saved(f"hqq_{bits}", packed.state_dict())
        yield f"hqq_{bits}", packed(x)


def mlx(x):
    import mlx.core as mx
    from mlx import nn

    kinds = [("affine", bits, 32) for bits in (3, 4, 5, 6)] + [("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]
    for mode, bits, group in kinds:
        whole = nn.Linear(N_IN, N_OUT, bias=False)
        whole.weight = mx.array(layer(30 + bits).weight.numpy())
        packed = nn.QuantizedLinear.from_linear(whole, group, bits, mode=mode)
        name = f"mlx_{mode}_{bits}"
        (FOLDER / name).mkdir(parents=True)
        arrays = {f"fc.{key}": array for key, array in packed.parameters().items()}
        mx.save_safetensors(str(FOLDER / name / "model.safetensors"), arrays, metadata={"format": "mlx"})
        config = {"group_size": group, "bits": bits, "mode": mode}
        (FOLDER / name / "config.json").write_text(json.dumps({"quantization": config}) + "\n")
        yield name, torch.from_numpy(np.array(packed(mx.array(x.numpy()))))


def quanto(x, wide):
    from optimum import quanto

    for kind in ("qint8", "qfloat8", "qint4", "qint2"):
        whole = torch.nn.Sequential()
        whole.fc = layer(40, WIDE, bias=True)
        quanto.quantize(whole, weights=kind)
        quanto.freeze(whole)
        state = {key.removeprefix("fc."): tensor for key, tensor in whole.state_dict().items()}
        saved(f"quanto_{kind}", state)
        yield f"quanto_{kind}", whole(wide) - whole.fc.bias


def bitnet(x):
    from transformers.integrations.bitnet import WeightQuant, pack_weights

    whole = layer(50).weight.data
    scale = 1 / whole.abs().mean()  # what WeightQuant multiplies by
    ternary = (whole * scale).round().clamp(-1, 1)
    packed = pack_weights(ternary.clone())
    y = x @ WeightQuant.apply(whole).T
    for kind, kept in (("bitlinear", scale), ("autobitlinear", 1 / scale)):
        config = {"quant_method": "bitnet", "linear_class": kind, "quantization_mode": "offline"}
        saved(f"bitnet_{kind}", {"weight": packed, "weight_scale": kept.reshape(1)}, {"quantization_config": config})
        yield f"bitnet_{kind}", y


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    wide = torch.randn(4, WIDE, generator=torch.Generator().manual_seed(0))
    x, made = wide[:, :N_IN].contiguous(), {"x": wide.numpy()}
    for package in (bitsandbytes, compressed_tensors, gptqmodel, hqq, mlx, quanto, bitnet):
        for name, y in package(x, wide) if package is quanto else package(x):
            made[name] = y.detach().float().numpy()
            print(name)
    np.savez_compressed(FOLDER / "products.npz", **made)
    versions = {package: metadata.version(package) for package in PACKAGES}
    (FOLDER / "packages.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
