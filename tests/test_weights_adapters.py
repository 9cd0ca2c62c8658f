"""Adapters that PEFT saved: with their base they multiply as PEFT's merged network does, or say why they cannot be read."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from rmtlib.pairs import pair_layers
from rmtlib.weights import load_weights

FOLDER = Path(__file__).parent / "reference" / "adapters"
PRODUCTS = np.load(FOLDER / "products.npz")
X = PRODUCTS["x"]
READ = sorted({name.partition("/")[0] for name in PRODUCTS.files} - {"x"})


def loaded(folder):
    return load_weights(FOLDER / folder, min_levels=2)


def products(folder):
    """What the layers make after merging, by their names."""
    return {name.partition("/")[2]: PRODUCTS[name] for name in PRODUCTS.files if name.startswith(f"{folder}/")}


def why(weights):
    return {skipped.name.removeprefix("base_model.model."): skipped.reason for skipped in weights.skipped}


@pytest.mark.parametrize("folder", [folder for folder in READ if folder != "experts"])
def test_an_adapter_and_its_base_multiply_as_the_package_s_merged_network(folder):
    pairs, expected = pair_layers(load_weights(FOLDER / "network.safetensors", min_levels=2), loaded(folder)), products(folder)
    assert {pairs.pairs[name].base.removesuffix(".in_proj_weight") for name in pairs} == set(expected)
    for name, pair in pairs.items():
        assert pair.adapter == (pair.name != "head")
        if pair.adapter:
            assert "alpha / r times B A" in pair.tuned.ground
        merged = pair.matrix + pair.tuned.matrix if pair.adapter else pair.tuned.matrix
        y = merged[: len(X)] if pair.kind == "embedding" else X[:, : merged.shape[1]] @ merged.T
        np.testing.assert_allclose(y, expected[pairs.pairs[name].base.removesuffix(".in_proj_weight")], atol=1e-5)


def test_a_pair_for_a_stack_of_experts_gives_the_update_of_each():
    base, weights, expected = load_file(FOLDER / "network.safetensors"), loaded("experts"), products("experts")
    assert len(weights) == len(expected) == 4
    for name, (pair, stack) in {"up": ("experts.base_layer", "experts.up"), "down": ("experts", "experts.down")}.items():
        for i in range(2):
            merged = base[stack][i].numpy() + weights[f"base_model.model.{pair}.lora#{i}"].matrix
            np.testing.assert_allclose(X[:, : merged.shape[1]] @ merged.T, expected[f"experts.{name}#{i}"], atol=1e-5)
    with pytest.raises(ValueError, match="tuned is an adapter, and base has none of its layers"):
        pair_layers(load_weights(FOLDER / "network.safetensors", min_levels=2), weights)


@pytest.mark.parametrize(
    ("folder", "layers", "text"),
    [
        ("dora", (), "DoRA scales the sum with its base"),
        ("pissa", (), "'pissa' changes the base as well: convert it when it is saved, or merge it first"),
        ("bdlora", (), "BD-LoRA keeps the blocks of a factor alone"),
        ("kasa", (), "KaSA has singular values between them"),
        ("tokens", ("q_proj.lora",), "rows that take the place of an embedding's: merge the adapter"),
        ("attention", ("attn.lora",), "PEFT adds it twice to the way out of torch's attention"),
        ("delora", ("head",), "part of an adapter of the kind DELORA, no LoRA pair: merge it"),
        ("hira", (), "part of an adapter of the kind HIRA"),
        ("prompt_tuning", (), "part of an adapter of the kind PROMPT_TUNING"),
    ],
)
def test_an_adapter_that_is_no_update_of_weights_by_itself_is_a_reason(folder, layers, text):
    weights = loaded(folder)
    assert [name.removeprefix("base_model.model.") for name in weights] == list(layers)
    found = {reason for name, reason in why(weights).items() if "factor of" not in reason and not name.endswith("bias")}
    assert any(text in reason for reason in found)
    told = ("merge it", "merge the adapter", "vector", "1 level")
    assert all(any(part in reason for part in told) for reason in found)


def test_the_parts_of_other_adapters_are_known_by_their_names_where_no_configuration_lies_beside_them(tmp_path):
    for folder in ("delora", "hira", "tokens"):
        file = shutil.copy(FOLDER / folder / "adapter_model.safetensors", tmp_path)
        names = [name.removeprefix("base_model.model.") for name in load_weights(file, min_levels=2)]
        assert names == {"delora": ["head"], "tokens": ["q_proj.lora"]}.get(folder, [])


def test_a_bias_beside_a_pair_is_a_bias():
    assert why(loaded("rslora"))["q_proj.lora_B.bias"] == "bias vector"


@pytest.mark.parametrize(
    ("patterns", "scale"),
    [
        ({"q_proj": 2}, 0.5),
        ({"^q_proj": 2}, 0.5),
        ({"^proj": 2, "proj": 3, "_proj": 5}, 1.75),
        ({"[pq]_proj": 2, "q_proj": 4}, 0.5),
        ({r".*q\w+j": 2}, 0.5),
        ({"(k|q)_proj": 2}, 0.5),
        ({"(q_)+proj": 2}, None),
        ({"q_proj": 2, "(q_)+proj": 3}, 0.5),
        ({"(q+)+j": 2}, None),
        ({".*.*.*q_proj": 2}, None),
        ({"q_proj)": 2}, None),
        ({"q_proj": "two"}, None),
    ],
)
def test_exceptions_are_those_that_the_package_would_find_and_none_of_them_takes_long(patterns, scale, tmp_path):
    config = json.loads((FOLDER / "saved_modules" / "adapter_config.json").read_text())
    shutil.copy(FOLDER / "saved_modules" / "adapter_model.safetensors", tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"alpha_pattern": patterns}))
    start = time.monotonic()
    layer = load_weights(tmp_path, min_levels=2)["base_model.model.q_proj.lora"]
    assert time.monotonic() - start < 2
    whole = loaded("saved_modules")["base_model.model.q_proj.lora"].matrix
    np.testing.assert_allclose(layer.matrix, whole / 1.75 * (scale or 1), atol=1e-6)
    assert ("without alpha" in layer.ground) == (scale is None)


def test_a_live_model_with_an_adapter_tells_its_alpha():
    """PEFT's model as far as it is looked at: torch's modules, and a configuration for each adapter."""

    class Config:
        def __init__(self, **options):
            self.options = options

        def to_dict(self):
            return self.options

    torch.manual_seed(0)
    model = torch.nn.Module()
    model.fc = torch.nn.Module()
    model.fc.base_layer = torch.nn.Linear(30, 20)
    model.fc.lora_A = torch.nn.ModuleDict({"default": torch.nn.Linear(30, 4, bias=False)})
    model.fc.lora_B = torch.nn.ModuleDict({"default": torch.nn.Linear(4, 20, bias=False)})
    product = (model.fc.lora_B["default"].weight @ model.fc.lora_A["default"].weight).detach().numpy()
    lora, other = Config(peft_type="LORA", r=4, lora_alpha=10), Config(peft_type="HIRA", r=4, lora_alpha=10)
    for adapters, scale in (({"default": lora}, 2.5), ({"default": lora, "second": lora}, 1), ({"default": other}, 1)):
        model.peft_config = adapters
        weights = load_weights(model, min_levels=2)
        assert list(weights) == ["fc.base_layer", "fc.lora.default"]
        np.testing.assert_allclose(weights["fc.lora.default"].matrix, scale * product, atol=1e-6)


def test_every_folder_of_the_reference_is_judged():
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir()}
    [judged] = [
        mark.args[1]
        for mark in test_an_adapter_that_is_no_update_of_weights_by_itself_is_a_reason.pytestmark
        if mark.name == "parametrize"
    ]
    assert folders == set(READ) | {name for name, *_ in judged}
