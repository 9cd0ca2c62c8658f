"""Make small adapters by PEFT, and what its merged network multiplies.

    python tests/reference/adapters.py     writes tests/reference/adapters/ (seconds on one core)

``network.safetensors`` is the network before; each folder holds an adapter of it as ``save_pretrained`` writes it.
``products.npz`` has ``x``, of which a layer takes as many columns as it has inputs, and by ``folder/layer`` what that layer makes
of it, without its bias, after ``merge_and_unload``. A convolution sees ``x`` as one patch, by rows, columns and channels; tokens
are looked up.
Needs peft, torch and transformers; no GPU.
"""

import json
import shutil
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
import peft
import torch
from peft.tuners.lora.config import BdLoraConfig, KasaConfig
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

FOLDER = Path(__file__).with_suffix("")
PACKAGES = ("peft", "torch", "transformers")
LINEAR = ["q_proj", "v_proj"]


class Experts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.up = torch.nn.Parameter(torch.randn(2, 8, 16) / 4)
        self.down = torch.nn.Parameter(torch.randn(2, 16, 8) / 4)


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = torch.nn.Embedding(20, 16)
        self.q_proj, self.v_proj = torch.nn.Linear(16, 24), torch.nn.Linear(16, 24)
        self.c_fc = Conv1D(20, 16)
        self.conv = torch.nn.Conv2d(4, 10, 3)
        self.attn = torch.nn.MultiheadAttention(8, 2)
        self.experts = Experts()
        self.head = torch.nn.Linear(24, 10)


READ = {
    "lora": {"target_modules": [*LINEAR, "wte", "conv", "c_fc"]},
    "rslora": {"target_modules": LINEAR, "use_rslora": True, "lora_bias": True},
    "patterns": {
        "target_modules": [*LINEAR, "c_fc"],
        "rank_pattern": {"^v_proj": 6, "c_fc": 3},
        "alpha_pattern": {r"(v|k)_pro\w": 5, "c_fc": 2},
    },
    "saved_modules": {"target_modules": ["q_proj"], "modules_to_save": ["head"]},
    "attention": {"target_modules": ["attn"]},
    "experts": {"target_modules": [], "target_parameters": ["experts.up", "experts.down"]},
    "pissa_converted": {"target_modules": LINEAR, "init_lora_weights": "pissa"},
}
REFUSED = {
    "dora": {"target_modules": ["q_proj", "wte", "conv"], "use_dora": True},
    "pissa": {"target_modules": ["q_proj"], "init_lora_weights": "pissa"},
    "bdlora": {
        "target_modules": LINEAR,
        "use_bdlora": BdLoraConfig(target_modules_bd_a=["q_proj"], target_modules_bd_b=["v_proj"], nblocks=2),
    },
    "kasa": {"target_modules": ["q_proj"], "kasa_config": KasaConfig()},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": {"wte": [1, 2, 3, 5]}},
}
OTHERS = {
    "delora": peft.DeloraConfig(target_modules=["q_proj"], r=4, modules_to_save=["head"]),
    "hira": peft.HiraConfig(target_modules=["q_proj"], r=4),
    "prompt_tuning": peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=18),
}


def wrapped(network, config):
    """The network with an adapter whose numbers were trained, here by adding noise."""
    torch.manual_seed(1)
    model = peft.get_peft_model(network, config)
    if getattr(config, "init_lora_weights", None) == "pissa":
        model.save_pretrained(FOLDER / "start")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) / 8)
    return model


def network():
    torch.manual_seed(0)
    return Network().requires_grad_(False)


def saved(model, name, **options):
    model.save_pretrained(FOLDER / name, **options)
    (FOLDER / name / "README.md").unlink()


def products(model, x):
    """What the layers that the adapter changes make of ``x``."""
    for name, part in model.named_modules():
        if isinstance(part, torch.nn.MultiheadAttention):
            yield name, torch.nn.functional.linear(x[:, :8], part.in_proj_weight)
        elif isinstance(part, torch.nn.Embedding):
            yield name, part(torch.arange(len(x)))
        elif isinstance(part, Experts):
            for layer, stack in (("up", part.up), ("down", part.down)):
                for i, weight in enumerate(stack):
                    yield f"{name}.{layer}#{i}", torch.nn.functional.linear(x[:, : weight.shape[1]], weight)
        elif isinstance(part, torch.nn.Conv2d):
            patches = x[:, : 9 * part.in_channels].reshape(-1, 3, 3, part.in_channels).permute(0, 3, 1, 2)
            yield name, part(patches).reshape(len(x), -1) - part.bias
        elif isinstance(part, torch.nn.Linear | Conv1D) and name != "attn.out_proj":  # to which PEFT adds its pair twice
            inputs = part.in_features if isinstance(part, torch.nn.Linear) else part.weight.shape[0]
            yield name, part(x[:, :inputs]) - part.bias


def main():
    warnings.simplefilter("ignore")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    save_file(network().state_dict(), FOLDER / "network.safetensors")
    x = torch.randn(2, 36, generator=torch.Generator().manual_seed(0))
    before, made = dict(products(network(), x)), {"x": x.numpy()}
    for name, options in (READ | REFUSED).items():
        model = wrapped(network(), peft.LoraConfig(**({"r": 4, "lora_alpha": 7} | options)))
        start = {"path_initial_model_for_weight_conversion": FOLDER / "start"} if name == "pissa_converted" else {}
        saved(model, name, **start)
        if name in READ:
            after = dict(products(model.merge_and_unload(), x))
            made |= {f"{name}/{layer}": y.detach().numpy() for layer, y in after.items() if not torch.equal(y, before[layer])}
        print(name)
    shutil.rmtree(FOLDER / "start")
    tiny = LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, vocab_size=16)
    for name, config in OTHERS.items():
        saved(wrapped(LlamaForCausalLM(tiny) if name == "prompt_tuning" else network(), config), name)
        print(name)
    np.savez_compressed(FOLDER / "products.npz", **made)
    versions = {package: metadata.version(package) for package in PACKAGES}
    (FOLDER / "packages.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
