"""Make small files of quantised weights by the packages that define their layouts, and what those packages multiply.

    python tests/reference/quantised.py [NAME ...]     writes tests/reference/quantised/ (minutes on one core)

Each folder holds one layer or a small network as its package saves it, with the configuration that its users keep beside the
file. ``products.npz`` holds ``x``, of which a layer takes as many columns as it has inputs, and by the name of the folder, or
``folder/layer``, the package's own product: of its layer where that multiplies by the weight alone, otherwise of ``x`` with what
the package itself dequantises. ``packages.json`` records the versions.
Needs the packages of PACKAGES, torch and transformers; no GPU. Not all can be installed beside one another: each function makes
what its package writes and leaves the rest as it is. AutoAWQ wants transformers 4.51; gptqmodel wants GPTQMODEL_CPU_WORKERS=2 on
a machine of two cores; torchao packs four bits by mslk-cuda, of which MSLK names a folder made by pip install --no-deps --target.
"""

import copy
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import torch
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).with_suffix("")
PACKAGES = {
    **{name: (name,) for name in ("bitsandbytes", "hqq", "mlx")},
    **{"compressed_tensors": ("compressed-tensors",), "quanto": ("optimum-quanto",), "bitnet": ("transformers",)},
    **{"gptqmodel": ("gptqmodel",), "gptq_v1": ("gptqmodel",), "awq": ("autoawq",)},
    **{"modelopt": ("nvidia-modelopt",), "torchao": ("torchao",)},
}
N_IN, N_OUT, WIDE = 128, 32, 256
FEW_IN, FEW_OUT = 64, 16
FOLDERS = {
    **{"bitsandbytes": ["bitsandbytes_*"], "compressed_tensors": ["compressed_*"], "gptqmodel": ["gptq_[348]"]},
    **{"gptq_v1": ["gptq_v1*"], "awq": ["awq*"], "modelopt": ["modelopt_*"], "torchao": ["torchao_*"]},
    **{name: [f"{name}_*"] for name in ("hqq", "mlx", "quanto", "bitnet")},
}
CHECKED = ("up_proj", "down_proj")  # layers of a network of which a product is kept


def layer(seed, n_in=N_IN, n_out=N_OUT, bias=False):
    torch.manual_seed(seed)
    return torch.nn.Linear(n_in, n_out, bias=bias).requires_grad_(False)


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


def packed_gptq(bits, whole, group=32):
    """A layer of gptqmodel, whose groups of inputs are shuffled as those by activation order are."""
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear

    order = torch.randperm(N_IN, generator=torch.Generator().manual_seed(bits)) // group
    scales, zeros = torch.empty(2, N_OUT, N_IN // group)
    for i in range(N_IN // group):
        part = whole.weight[:, order == i]
        lowest = part.amin(1).clamp(max=0)
        scales[:, i] = (part.amax(1) - lowest) / (2**bits - 1)
        zeros[:, i] = (-lowest / scales[:, i]).round()
    scales = scales.half().float()
    packed = TorchLinear(bits=bits, group_size=group, sym=False, desc_act=True, in_features=N_IN, out_features=N_OUT, bias=False)
    packed.pack(whole, scales, zeros, g_idx=order.to(torch.int32))
    packed.post_init()
    packed.scales = packed.scales.half()
    return packed


def saved_gptq(name, packed, written):
    state = {key: tensor for key, tensor in packed.state_dict().items() if key in ("qweight", "qzeros", "scales", "g_idx")}
    config = {"quant_method": "gptq", "bits": packed.bits, "group_size": 32, "desc_act": True, "checkpoint_format": written}
    saved(name, state, {"quantization_config": config})


def gptqmodel(x):
    for bits in (3, 4, 8):
        packed = packed_gptq(bits, layer(10 + bits))
        saved_gptq(f"gptq_{bits}", packed, "gptq_v2")
        packed.scales = packed.scales.float()
        yield f"gptq_{bits}", x @ packed.dequantize_weight()


def gptq_v1(x):
    """The older format of gptqmodel: two layers, and a network that was quantised by GPTQ itself."""
    from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    for bits in (3, 4):
        whole = layer(60 + bits)
        whole.weight[::5].abs_()  # a zero point of 0, from which one is subtracted
        packed = packed_gptq(bits, whole)
        assert (packed.qzeros & 2**bits - 1 == 0).any()
        packed.scales = packed.scales.float()
        y = x @ packed.dequantize_weight()
        packed.scales = packed.scales.half()
        convert_gptq_v2_to_v1_format_module(packed, QuantizeConfig(bits=bits, group_size=32))
        saved_gptq(f"gptq_v1_{bits}", packed, "gptq")
        yield f"gptq_v1_{bits}", y
    with tempfile.TemporaryDirectory() as folder:
        tokens = llama(folder)
        model = GPTQModel.load(folder, QuantizeConfig(bits=4, group_size=32, format="gptq", device="cpu", offload_to_disk=False))
        model.quantize([{"input_ids": row, "attention_mask": [1] * len(row)} for row in tokens], batch_size=1)
        model.save(f"{folder}/quantised")
        kept("gptq_v1", f"{folder}/quantised")
        model = GPTQModel.load(f"{folder}/quantised", device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.float16)
        for name, part in model.model.named_modules():
            if name.endswith(CHECKED):
                part.scales = part.scales.float()
                yield f"gptq_v1/{name}", x[:, : part.in_features] @ part.dequantize_weight()


def awq(x):
    """A network that AutoAWQ quantised, and a layer of its version GEMV whose shapes are those of a layer of GPTQ."""
    from awq import AutoAWQForCausalLM
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.modules.linear.gemv import WQLinear_GEMV
    from awq.utils.packing_utils import dequantize_gemm

    with tempfile.TemporaryDirectory() as folder:
        tokens = llama(folder)
        model = AutoAWQForCausalLM.from_pretrained(folder, device_map="cpu", torch_dtype=torch.float32)
        config = {"zero_point": True, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}
        model.quantize(None, config, calib_data=tokens, max_calib_samples=8, max_calib_seq_len=64, apply_clip=False)
        model.save_quantized(f"{folder}/quantised")
        kept("awq", f"{folder}/quantised")
        for name, part in model.model.named_modules():
            if isinstance(part, WQLinear_GEMM) and name.endswith(CHECKED):
                whole = dequantize_gemm(part.qweight, part.qzeros, part.scales.float(), 4, 32)
                yield f"awq/{name}", x[:, : part.in_features] @ whole
    whole = layer(70, WIDE, FEW_OUT)
    groups = whole.weight.data.reshape(FEW_OUT, -1, 32)
    scales = (groups.amax(-1) - groups.amin(-1)) / 15
    small = WQLinear_GEMV.from_linear(whole, 4, 32, scales=scales, zeros=(-groups.amin(-1) / scales).round())
    config = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemv"}
    saved("awq_gemv", small.state_dict(), {"quantization_config": config})


def llama(folder):
    """A small network in a folder, and the tokens that calibrate it."""
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    options = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 16}
    LlamaForCausalLM(LlamaConfig(**options, max_position_embeddings=64)).half().save_pretrained(folder)
    words = Tokenizer(models.WordLevel({str(i): i for i in range(16)}, unk_token="0"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="1", eos_token="2", bos_token="3").save_pretrained(folder)
    return torch.randint(0, 16, (8, 64)).tolist()


def kept(name, folder):
    """Weights and configuration of what a package saved."""
    (FOLDER / name).mkdir(parents=True)
    for file in ("model.safetensors", "config.json"):
        shutil.copyfile(Path(folder) / file, FOLDER / name / file)


def tiny(dtype=torch.float32):
    """A network of Hugging Face with one layer, for packages that save only those."""
    from transformers import PretrainedConfig, PreTrainedModel

    class TinyConfig(PretrainedConfig):
        model_type = "tiny"

    class Tiny(PreTrainedModel):
        config_class = TinyConfig

        def __init__(self, config):
            super().__init__(config)
            self.fc = torch.nn.Linear(FEW_IN, FEW_OUT)
            self.post_init()

        def get_input_embeddings(self):
            return None

        get_output_embeddings = get_input_embeddings

        def forward(self, x):  # or tokens, by which packages try it
            return self.fc(x if x.is_floating_point() else torch.ones(*x.shape, FEW_IN))

    network = Tiny(TinyConfig(architectures=["Tiny"])).requires_grad_(False)
    network.fc.weight.copy_(layer(80, FEW_IN, FEW_OUT).weight)
    network.fc.bias.zero_()
    return network.to(dtype)


def modelopt(x):
    import modelopt.torch.quantization as mtq
    from modelopt.torch.export import export_hf_checkpoint
    from modelopt.torch.quantization.qtensor import NVFP4QTensor

    x = x[:, :FEW_IN]
    inputs = torch.randn(64, FEW_IN, generator=torch.Generator().manual_seed(1)) * torch.linspace(0.1, 3, FEW_IN)
    cases = {
        "fp8": (mtq.FP8_DEFAULT_CFG, None),
        "fp8_blocks": (mtq.FP8_2D_BLOCKWISE_WEIGHT_ONLY_CFG, 8),
        "int8_smoothquant": (mtq.INT8_SMOOTHQUANT_CFG, None),
        "int4_awq": (mtq.INT4_AWQ_CFG, 32),
        "w4a8_awq": (mtq.W4A8_AWQ_BETA_CFG, 32),
        "nvfp4": (mtq.NVFP4_DEFAULT_CFG, None),
        "w4a8_nvfp4": (mtq.W4A8_NVFP4_FP8_CFG, None),
    }
    for name, (config, block) in cases.items():
        model = mtq.quantize(tiny(), of_blocks(config, block), lambda model: model(inputs))
        model.fc.input_quantizer.disable()
        if name == "w4a8_awq":
            model.fc.weight_quantizer[1].disable()  # which rounds to float8 what it multiplies
        y = None if "nvfp4" in name else model(x)
        if name == "w4a8_awq":
            model.fc.weight_quantizer[1].enable()
        if name not in ("fp8_blocks", "int4_awq"):
            model.fc.input_quantizer.enable()
        with tempfile.TemporaryDirectory() as folder:
            export_hf_checkpoint(model, export_dir=folder)
            kept(f"modelopt_{name}", folder)
            state = load_file(f"{folder}/model.safetensors")
        if y is None:
            scales = {"scale": state["fc.weight_scale"], "double_scale": state["fc.weight_scale_2"]}
            shape, sizes = (FEW_OUT, FEW_IN), {-1: FEW_IN // state["fc.weight_scale"].shape[1]}
            y = x @ NVFP4QTensor(shape, torch.float32, state["fc.weight"]).dequantize(**scales, block_sizes=sizes).T
        yield f"modelopt_{name}", y


def of_blocks(config, block):
    """A configuration of ModelOpt with smaller blocks."""
    config = copy.deepcopy(config)
    for part in config["quant_cfg"]:
        for options in [part["cfg"]] if isinstance(part.get("cfg"), dict) else part.get("cfg") or []:
            sizes = options.get("block_sizes") or {}
            sizes |= {axis: block for axis in (-1, -2) if block and axis in sizes}
    return config


def torchao(x):
    import torchao.quantization as ao
    from torchao.prototype.mx_formats import MXDynamicActivationMXWeightConfig, NVFP4WeightOnlyConfig
    from transformers import TorchAoConfig

    x = x[:, :FEW_IN]
    packing_of_mslk()
    cases = {
        "int8": ao.Int8WeightOnlyConfig(),
        "intx4": ao.IntxWeightOnlyConfig(torch.int4, ao.PerGroup(32), ao.MappingType.ASYMMETRIC),
        "float8": ao.Float8WeightOnlyConfig(),
        "int4": ao.Int4WeightOnlyConfig(group_size=32),
        "nvfp4": NVFP4WeightOnlyConfig(),
        "mxfp8": MXDynamicActivationMXWeightConfig(),
    }
    for name, config in cases.items():
        network = tiny(torch.bfloat16 if name in ("int4", "nvfp4", "mxfp8") else torch.float32)
        if name == "int4":  # its product needs a GPU: weights of which four bits lose nothing
            steps = torch.randint(-8, 8, (FEW_OUT, 2, 32), generator=torch.Generator().manual_seed(2))
            steps[..., 0], steps[..., 1] = -8, 7
            shifts = torch.randint(-8, 8, (FEW_OUT, 2, 1), generator=torch.Generator().manual_seed(3))
            network.fc.weight.copy_(((steps + shifts) / 64).reshape(FEW_OUT, -1))
            y = x @ network.fc.weight.float().T
        with tempfile.TemporaryDirectory() as folder:
            network.save_pretrained(folder)
            options = TorchAoConfig(config, modules_to_not_convert=["head"])
            model = type(network).from_pretrained(folder, quantization_config=options, dtype=network.dtype)
            model.save_pretrained(f"{folder}/quantised")
            kept(f"torchao_{name}", f"{folder}/quantised")
        weight = model.fc.weight
        if name != "int4":
            y = x @ (weight.dequantize() if name == "intx4" else weight.dequantize(torch.float32)).T
        yield f"torchao_{name}", y
        if name == "int8":
            (FOLDER / "torchao_pickle").mkdir()
            torch.save(model.state_dict(), FOLDER / "torchao_pickle" / "pytorch_model.bin")


def packing_of_mslk():
    """Give torchao the functions of mslk that pack four bits, without mslk's library, which needs CUDA."""
    from torchao.quantization.quantize_.workflows.int4 import int4_tensor

    names = ("mslk", "mslk.quantize", "mslk.quantize.triton", "mslk.quantize.triton.fp8_quantize")
    empty = {name: ModuleType(name) for name in names}
    empty[names[-1]].quantize_fp8_row = None
    spec = importlib.util.spec_from_file_location("shuffle", Path(os.environ["MSLK"]) / "mslk" / "quantize" / "shuffle.py")
    shuffle = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, empty):
        spec.loader.exec_module(shuffle)
    int4_tensor.int4_row_quantize_zp, int4_tensor.pack_int4 = shuffle.int4_row_quantize_zp, shuffle.pack_int4


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
    wide = torch.randn(4, WIDE, generator=torch.Generator().manual_seed(0))
    x, products, record = wide[:, :N_IN].contiguous(), FOLDER / "products.npz", FOLDER / "packages.json"
    made = dict(np.load(products)) if products.exists() else {}
    versions = json.loads(record.read_text()) if record.exists() else {}
    made["x"] = wide.numpy()
    for function in (bitsandbytes, compressed_tensors, gptqmodel, gptq_v1, awq, modelopt, torchao, hqq, mlx, quanto, bitnet):
        if len(sys.argv) > 1 and function.__name__ not in sys.argv[1:]:
            continue
        for folder in FOLDERS[function.__name__]:
            for old in FOLDER.glob(folder):
                shutil.rmtree(old)
        made = {
            name: y
            for name, y in made.items()
            if not any(fnmatch(name.partition("/")[0], old) for old in FOLDERS[function.__name__])
        }
        for name, y in function(x, wide) if function is quanto else function(x):
            made[name] = y.detach().float().numpy()
            print(name)
        for package in (*PACKAGES[function.__name__], "torch", "transformers"):
            beside = function is awq and package == "transformers"
            versions[f"{package} beside autoawq" if beside else package] = metadata.version(package)
    np.savez_compressed(products, **made)
    record.write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
