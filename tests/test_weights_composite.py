"""What several tensors make together: the matrices are those with which torch and the public layouts multiply."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import parametrizations, prune

from rmtlib.filtering import filter_network
from rmtlib.weights import load_weights
from rmtlib.weights.tensors import Tensor
from rmtlib.weights.tied import name_tied

from .builders import gaussian


def only(source, **options):
    """The one layer of a source."""
    [layer] = load_weights(source, min_levels=2, **options).values()
    return layer


def reasons(source, **options):
    return {skipped.name: skipped.reason for skipped in load_weights(source, min_levels=2, **options).skipped}


def old_weight_norm(layer, dim=0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nn.utils.weight_norm(layer, dim=dim)


# Norms and masks


@pytest.mark.parametrize("wrap", [old_weight_norm, parametrizations.weight_norm])
@pytest.mark.parametrize(("make", "dim"), [("linear", 0), ("linear", 1), ("linear", None), ("conv", 0), ("conv", 2), ("up", 0)])
@pytest.mark.parametrize("how", ["live", "file"])
def test_a_weight_normed_layer_gives_the_weight_that_acts(wrap, make, dim, how, tmp_path):
    torch.manual_seed(0)
    layer = {
        "linear": lambda: torch.nn.Linear(30, 20, bias=False),
        "conv": lambda: torch.nn.Conv1d(6, 20, 5, bias=False),
        "up": lambda: torch.nn.ConvTranspose1d(20, 6, 5, bias=False),
    }[make]()
    layer = wrap(layer, dim=dim)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.endswith(("weight_g", "original0")):
                parameter.mul_(torch.rand_like(parameter) * 5)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    if make == "linear":
        x = torch.randn(4, 30)
        expected = layer(x).detach().numpy()
    else:
        layer(torch.randn(1, 6 if make == "conv" else 20, 9))
        expected = layer.weight.detach().numpy()
    source = torch.nn.ModuleDict({"fc": layer})
    if how == "file":
        torch.save(source.state_dict(), tmp_path / "a.pt")
        source = tmp_path / "a.pt"
    found = only(source)
    assert found.name == "fc"
    assert "weight norm, g v / |v|" in found.ground
    if make == "linear":
        np.testing.assert_allclose(x.numpy() @ found.matrix.T, expected, atol=1e-4)
    elif make == "conv":
        np.testing.assert_allclose(found.matrix, np.moveaxis(expected, 1, -1).reshape(20, -1), atol=1e-5)
    elif how == "live":
        np.testing.assert_allclose(found.matrix, expected.transpose(1, 2, 0).reshape(6, -1), atol=1e-5)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("wrap", [torch.nn.utils.spectral_norm, parametrizations.spectral_norm])
@pytest.mark.parametrize(
    "make", [lambda: torch.nn.Linear(30, 20, bias=False), lambda: torch.nn.ConvTranspose1d(6, 20, 3, bias=False)]
)
def test_a_spectrally_normed_layer_gives_the_weight_that_acts_in_evaluation(wrap, make):
    torch.manual_seed(0)
    layer = wrap(make())
    x = torch.randn(4, 30) if isinstance(layer, torch.nn.Linear) else torch.randn(1, 6, 1)
    for _ in range(3):
        layer(x)
    layer.eval()
    expected = layer(x).detach().numpy()
    found = only(layer)
    if x.ndim == 2:
        np.testing.assert_allclose(x.numpy() @ found.matrix.T, expected, atol=1e-5)
        np.testing.assert_allclose(only(layer.state_dict()).matrix, found.matrix)
    else:
        np.testing.assert_allclose(
            np.einsum("okc,c->ok", found.matrix.reshape(20, 3, 6), x[0, :, 0].numpy()), expected[0], atol=1e-5
        )


def test_a_pruned_layer_gives_the_weight_that_acts_and_an_unknown_parametrisation_a_reason():
    torch.manual_seed(0)
    layer = prune.l1_unstructured(torch.nn.Linear(30, 20, bias=False), "weight", 0.6)
    x = torch.randn(4, 30)
    found = only(layer.state_dict())
    np.testing.assert_allclose(x.numpy() @ found.matrix.T, layer(x).detach().numpy(), atol=1e-5)
    assert np.count_nonzero(found.matrix) == 240
    rotation = parametrizations.orthogonal(torch.nn.Linear(20, 20, bias=False))
    assert "a parametrisation that is not known" in reasons(rotation)["parametrizations.weight.original"]
    assert len(load_weights(rotation, min_levels=2)) == 0


def test_lengths_that_do_not_fit_are_one_reason_for_both():
    given = {"fc.weight_g": gaussian(7, 1), "fc.weight_v": gaussian(20, 30)}
    assert reasons(given) == dict.fromkeys(given, "weight norm, but its lengths (7, 1) do not fit its directions (20, 30)")


# Adapters


def adapter(folder, pairs, config=None):
    folder.mkdir(exist_ok=True)
    save_file(
        {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in pairs.items()},
        folder / "adapter_model.safetensors",
    )
    if config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        (None, 1),
        ({"lora_alpha": 8, "r": 4}, 2),
        ({"lora_alpha": 8, "r": 4, "use_rslora": True}, 4),
        ({"lora_alpha": 8, "r": 4, "alpha_pattern": {"q_proj": 2}}, 0.5),
        ({"lora_alpha": "eight"}, 1),
    ],
)
def test_a_lora_pair_gives_its_product_scaled_as_the_configuration_says(config, scale, tmp_path):
    A, B = gaussian(4, 30), gaussian(20, 4)
    names = [f"base_model.model.layers.0.q_proj.lora_{letter}.weight" for letter in "AB"]
    folder = adapter(tmp_path / "a", dict(zip(names, (A, B), strict=True)), config)
    x = torch.randn(5, 30)
    down, up = torch.nn.Linear(30, 4, bias=False), torch.nn.Linear(4, 20, bias=False)
    with torch.no_grad():
        down.weight.copy_(torch.from_numpy(A))
        up.weight.copy_(torch.from_numpy(B))
    layer = only(folder)
    np.testing.assert_allclose(x.numpy() @ layer.matrix.T, scale * up(down(x)).detach().numpy(), atol=1e-4)
    assert layer.name == "base_model.model.layers.0.q_proj.lora"
    assert ("without alpha" in layer.ground) == (scale == 1)


def test_adapters_of_other_names_beside_their_base_embeddings_and_convolutions():
    A, B, W = gaussian(4, 30), gaussian(20, 4), gaussian(20, 30)
    live = {"fc.base_layer.weight": W, "fc.lora_A.default.weight": A, "fc.lora_B.default.weight": B}
    weights = load_weights(live, min_levels=2)
    assert list(weights) == ["fc.base_layer", "fc.lora.default"]
    np.testing.assert_allclose(weights["fc.lora.default"].matrix, B @ A, atol=1e-5)
    kohya = {"unet_q.lora_down.weight": A, "unet_q.lora_up.weight": B, "unet_q.alpha": np.float32(2)}
    np.testing.assert_allclose(only(kohya).matrix, B @ A / 2, atol=1e-5)
    assert reasons(kohya)["unet_q.alpha"] == "the scale of the adapter that makes unet_q.lora"
    mlx = {"q.lora_a": np.ascontiguousarray(A.T), "q.lora_b": np.ascontiguousarray(B.T)}
    x = gaussian(5, 30)
    for pair in (mlx, {"q.lora_A": A, "q.lora_B": B}, {"q.lora_a.weight": A, "q.lora_b.weight": B}):
        np.testing.assert_allclose(x @ only(pair).matrix.T, x @ mlx["q.lora_a"] @ mlx["q.lora_b"], atol=1e-3)
    down, up = gaussian(4, 6, 3, 3), gaussian(20, 4, 1, 1)
    x = torch.randn(1, 6, 3, 3)
    y = torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, torch.from_numpy(down)), torch.from_numpy(up))
    found = only({"conv.lora_down.weight": down, "conv.lora_up.weight": up}).matrix
    np.testing.assert_allclose(found @ x[0].permute(1, 2, 0).numpy().ravel(), y.ravel(), atol=1e-3)
    tokens = {"wte.lora_embedding_A": gaussian(4, 50), "wte.lora_embedding_B": gaussian(12, 4)}
    layer = only(tokens)
    # peft: embedding(x, A.T) @ B.T
    np.testing.assert_allclose(layer.matrix, gaussian(4, 50).T @ gaussian(12, 4).T, atol=1e-5)
    assert (layer.kind, layer.matrix.shape) == ("embedding", (50, 12))


def test_adapters_that_are_no_products_are_reasons():
    pair = {"fc.lora_A.weight": gaussian(4, 30), "fc.lora_B.weight": gaussian(20, 4)}
    for more, text in (
        ({"fc.lora_magnitude_vector": np.ones(20)}, "as DoRA scales"),
        ({"fc.lora_B.weight": gaussian(20, 5)}, "not fit"),
    ):
        found = reasons(pair | more)
        assert text in found["fc.lora_A"]
        assert found["fc.lora_A"] == found["fc.lora_B"]
    others = [
        "fc.hada_w1_a",
        "fc.lokr_w1",
        "fc.ia3_l.default",
        "model.vera_A",
        "fc.oft_R.weight",
        "fc.hra_u",
        "fc.lora_E.default",
    ]
    for name in others:
        assert set(reasons({name: gaussian(20, 4)}).values()) == {
            "part of an adapter that is no LoRA pair: merge it into its network first"
        }
    found = reasons({"fc.lora_A": gaussian(4, 30), "fc.lora_B": gaussian(20, 4), "fc.lora_E": gaussian(4, 1)})
    assert "as AdaLoRA has singular values between them" in found["fc.lora_A"]
    for lonely in ("fc.lora_A.weight", "fc.lora_B.default", "unet_q.lora_down.weight"):
        assert set(reasons({lonely: gaussian(20, 4)}).values()) == {"a factor of an adapter, whose other factor is missing"}


def test_a_pair_for_a_stack_of_experts_is_not_the_sum_of_their_products(tmp_path):
    """PEFT keeps the factors of all experts below one another: B A would add the updates of all."""
    pair = {"experts.lora_A.weight": gaussian(8, 30), "experts.lora_B.weight": gaussian(20, 8)}
    folder = adapter(tmp_path / "a", pair, {"r": 4, "lora_alpha": 4})
    assert "has the rank 8 where its configuration says 4" in reasons(folder)["experts.lora_A"]
    for pattern, text in (({"experts": 8}, "alpha / r times B A"), ({"e.*s": 8}, "LoRA")):
        folder = adapter(tmp_path / "a", pair, {"r": 4, "lora_alpha": 4, "rank_pattern": pattern})
        assert text in only(folder).ground


# Quantised weights: packed here by the formulas of their packages, and compared with what those dequantise to


def packed(q, bits, axis):
    """Unsigned integers to 32-bit words, the lowest bits first, one by one."""
    q = np.moveaxis(q, axis, -1).astype(np.uint64)
    words = np.zeros((*q.shape[:-1], q.shape[-1] * bits // 32), np.uint64)
    for i in range(q.shape[-1]):
        word, shift = divmod(i * bits, 32)
        words[..., word] |= q[..., i] << np.uint64(shift)
        if shift + bits > 32:
            words[..., word + 1] |= q[..., i] >> np.uint64(32 - shift)
    return np.ascontiguousarray(np.moveaxis(words.astype(np.uint32).view(np.int32), -1, axis))


def stored(tmp_path, tensors, **configs):
    save_file({name: torch.as_tensor(tensor).contiguous() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    for name, config in configs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("version", [1, 2])
def test_gptq(bits, version, tmp_path):
    rng = np.random.default_rng(bits)
    n_in, n_out, group = 64, 32, 16
    q, zero = rng.integers(0, 2**bits, (n_in, n_out)), rng.integers(1, 2**bits, (n_in // group, n_out))
    scale = rng.uniform(0.01, 0.02, (n_in // group, n_out)).astype(np.float16)
    order = rng.permutation(np.arange(n_in) // group)
    path = stored(
        tmp_path,
        {
            "mlp.qweight": packed(q, bits, 0),
            "mlp.qzeros": packed(zero - (version == 1), bits, 1),
            "mlp.scales": scale,
            "mlp.g_idx": order.astype(np.int32),
            "mlp.bias": np.zeros(n_out, np.float16),
        },
        quantize_config={"bits": bits, "checkpoint_format": "gptq_v2"} if version == 2 else {"bits": bits},
    )
    x, y = gaussian(3, n_in), np.zeros((3, n_out))
    for i in range(n_in):
        for j in range(n_out):
            y[:, j] += x[:, i] * float(scale[order[i], j]) * (q[i, j] - zero[order[i], j])
    layer = only(path)
    np.testing.assert_allclose(x @ layer.matrix.T, y, atol=1e-3)
    assert layer.name == "mlp"
    assert f"quantised, GPTQ of {bits} bits" in layer.ground


def test_awq(tmp_path):
    rng = np.random.default_rng(0)
    n_in, n_out, group, order = 64, 32, 16, [0, 2, 4, 6, 1, 3, 5, 7]
    q, zero = rng.integers(0, 16, (n_in, n_out)), rng.integers(0, 16, (n_in // group, n_out))
    scale = rng.uniform(0.01, 0.02, (n_in // group, n_out)).astype(np.float16)

    def interleaved(values):
        return packed(values.reshape(len(values), -1, 8)[:, :, order].reshape(len(values), -1), 4, 1)

    path = stored(tmp_path, {"mlp.qweight": interleaved(q), "mlp.qzeros": interleaved(zero), "mlp.scales": scale})
    W = np.repeat(scale.astype(np.float32), group, 0) * (q - np.repeat(zero, group, 0))
    x = gaussian(3, n_in)
    np.testing.assert_allclose(x @ only(path).matrix.T, x @ W, atol=1e-3)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_mlx(bits, tmp_path):
    rng = np.random.default_rng(0)
    n_out, n_in, group = 24, 64, 32
    q = rng.integers(0, 2**bits, (n_out, n_in))
    scale, bias = rng.uniform(0.01, 0.02, (2, n_out, n_in // group)).astype(np.float32)
    tensors = {"q.weight": packed(q, bits, 1).view(np.uint32), "q.scales": scale, "q.biases": -bias}
    [reason] = set(reasons(stored(tmp_path, tensors)).values())
    assert "the config.json beside it must tell its quantization" in reason
    path = stored(tmp_path, tensors, config={"quantization": {"bits": bits, "group_size": group}})
    W = np.repeat(scale, group, 1) * q - np.repeat(bias, group, 1)
    np.testing.assert_allclose(only(path).matrix, W, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("scales", ["blocks", "rows", "one"])
def test_float8_with_scales(dtype, scales, tmp_path):
    torch.manual_seed(0)
    W8 = (torch.randn(300, 200) * 10).to(dtype)
    shape = {"blocks": (3, 2), "rows": (300, 1), "one": (1,)}[scales]
    scale = torch.rand(shape) + 0.5
    path = stored(tmp_path, {"up.weight": W8, f"up.weight_scale{'_inv' * (scales == 'blocks')}": scale})
    if scales == "blocks":
        full = scale.repeat_interleave(128, 0)[:300].repeat_interleave(128, 1)[:, :200]
    else:
        full = scale
    np.testing.assert_allclose(only(path).matrix, (W8.float() * full).numpy(), rtol=1e-6)
    live = {"up.weight": W8, "up.weight_scale": scale} if scales != "blocks" else {"up.weight": W8, "up.weight_scale_inv": scale}
    np.testing.assert_allclose(only(live).matrix, (W8.float() * full).numpy(), rtol=1e-6)


def test_int8_with_scales_of_compressed_tensors_and_of_bitsandbytes(tmp_path):
    rng = np.random.default_rng(0)
    q, scale = rng.integers(-128, 128, (30, 40)).astype(np.int8), rng.uniform(0.01, 0.02, (30, 1)).astype(np.float32)
    np.testing.assert_allclose(only({"a.weight": q, "a.weight_scale": scale}).matrix, q * scale, rtol=1e-6)
    zero = rng.integers(-5, 5, (30, 1)).astype(np.int8)
    shifted = {"a.weight": q, "a.weight_scale": scale, "a.weight_zero_point": zero}
    np.testing.assert_allclose(only(shifted).matrix, (q.astype(float) - zero) * scale, rtol=1e-5, atol=1e-6)
    SCB = rng.uniform(1, 2, 30).astype(np.float32)
    np.testing.assert_allclose(only({"a.weight": q, "a.SCB": SCB}).matrix, q * SCB[:, None] / 127, rtol=1e-6)
    offset = rng.integers(0, 16, (30, 40))
    path = stored(
        tmp_path,
        {
            "a.weight_packed": packed(offset, 4, 1),
            "a.weight_scale": np.repeat(scale, 2, 1),
            "a.weight_shape": np.array([30, 40]),
        },
    )
    np.testing.assert_allclose(only(path).matrix, (offset - 8) * scale, rtol=1e-6)


@pytest.mark.parametrize("nested", [False, True])
def test_bitsandbytes_of_four_bits(nested, tmp_path):
    rng = np.random.default_rng(0)
    shape, block = (32, 48), 64
    codes, table = rng.integers(0, 16, shape), np.sort(rng.uniform(-1, 1, 16)).astype(np.float32)
    count = codes.size // block
    state = {"quant_type": "nf4", "blocksize": block, "dtype": "bfloat16", "shape": list(shape)}
    flat = codes.ravel()
    tensors = {"a.weight": ((flat[::2] << 4) | flat[1::2]).astype(np.uint8)[:, None], "a.weight.quant_map": table}
    largest = rng.uniform(0.5, 2, count).astype(np.float32)
    if nested:
        levels, outer = np.linspace(-1, 1, 256).astype(np.float32), np.array([0.7], np.float32)
        inner = rng.integers(0, 256, count).astype(np.uint8)
        tensors |= {"a.weight.absmax": inner, "a.weight.nested_absmax": outer, "a.weight.nested_quant_map": levels}
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 1.25}
        largest = levels[inner] * 0.7 + 1.25
    else:
        tensors["a.weight.absmax"] = largest
    tensors["a.weight.quant_state.bitsandbytes__nf4"] = np.frombuffer(json.dumps(state).encode(), np.uint8).copy()
    expected = (table[flat] * np.repeat(largest, block)).reshape(shape)
    layer = only(stored(tmp_path, tensors))
    np.testing.assert_allclose(layer.matrix, expected, rtol=1e-5, atol=1e-6)
    assert layer.name == "a"


def test_mxfp4_experts(tmp_path):
    rng = np.random.default_rng(0)
    blocks, scales = rng.integers(0, 256, (2, 24, 2, 16)).astype(np.uint8), rng.integers(120, 130, (2, 24, 2)).astype(np.uint8)
    path = stored(tmp_path, {"experts.gate_up_proj_blocks": blocks, "experts.gate_up_proj_scales": scales})
    magnitude = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    expected = np.zeros((2, 24, 64))
    for e, o, g, b in np.ndindex(blocks.shape):
        for half in range(2):
            code = int(blocks[e, o, g, b]) >> 4 * half & 15
            expected[e, o, 32 * g + 2 * b + half] = (
                (-1) ** (code >> 3) * magnitude[code & 7] * 2.0 ** (int(scales[e, o, g]) - 127)
            )
    weights = load_weights(path, min_levels=2)
    for e in range(2):
        np.testing.assert_allclose(weights[f"experts.gate_up_proj#{e}"].matrix, expected[e])


REFERENCE = Path(__file__).parent / "reference" / "quantised"
PRODUCTS = np.load(REFERENCE / "products.npz")


@pytest.mark.parametrize("name", sorted(set(PRODUCTS.files) - {"x"}))
def test_a_layer_that_its_package_quantised_gives_the_package_s_own_product(name):
    folder, _, of_network = name.partition("/")
    weights = load_weights(REFERENCE / folder, min_levels=2)
    layer = weights[of_network or "fc"]
    x = PRODUCTS["x"][:, : layer.matrix.shape[1]]
    # llm-compressor dequantises NVFP4 in bfloat16.
    np.testing.assert_allclose(x @ layer.matrix.T, PRODUCTS[name], atol=2e-3 if "nvfp4_pack" in name else 1e-5)
    assert len(weights) == (9 if of_network else 1)
    assert "quantised, " in layer.ground


@pytest.mark.parametrize("name", ["awq", "gptq_v1"])
def test_of_a_network_that_a_package_quantised_every_layer_between_its_ends_is_dequantised(name):
    weights = load_weights(REFERENCE / name, min_levels=2)
    whole = {layer for layer, found in weights.items() if "quantised" not in found.ground}
    assert whole == {"model.embed_tokens", "lm_head"}
    assert {skipped.reason.partition(" of ")[0] for skipped in weights.skipped} == {"normalisation vector", "part"}


def test_every_folder_of_the_reference_has_a_product_or_a_reason():
    read = {name.partition("/")[0] for name in PRODUCTS.files} - {"x"}
    assert {path.name for path in REFERENCE.iterdir() if path.is_dir()} == read | {"awq_gemv", "torchao_pickle"}


def test_a_layer_of_awq_that_has_the_shapes_of_one_of_gptq_is_a_reason():
    [reason] = set(reasons(REFERENCE / "awq_gemv").values())
    assert "AWQ's qweight (16, 32) and scales (16, 32) of the version gemv (its layout is not among those" in reason


def test_torchao_s_tensors_in_a_pickle_are_refused_with_the_way_to_write_them():
    with pytest.raises(ValueError, match=r"of which nothing was run \(torchao.quantization.Int8Tensor\).*model.save_pretrained"):
        load_weights(REFERENCE / "torchao_pickle")


def test_without_its_header_a_layer_of_torchao_is_one_reason():
    for name in ("torchao_int8", "torchao_int4", "torchao_mxfp8"):
        found = reasons(without(name))
        assert found.pop("fc.bias") == "bias vector"
        [reason] = set(found.values())
        assert "torchao's weight" in reason
        assert "whose type the header of the file does not tell" in reason


@pytest.mark.parametrize(
    ("kind", "told", "change", "text"),
    [
        (
            "Int4TilePackedTo4dTensor",
            {},
            {},
            "torchao's Int4TilePackedTo4dTensor int8 (16, 64) with scale, zero_point (its layout",
        ),
        ("Int8Tensor", {"block_size": [3, 64]}, {}, "(its layout is not among those that are read"),
        ("Int8Tensor", {"block_size": [1, -64]}, {}, "(its layout is not among those that are read"),
        ("Int8Tensor", {"block_size": 64}, {}, "(its layout is not among those that are read"),
        ("Int8Tensor", {}, {"fc._weight_zero_point": torch.zeros(3, dtype=torch.int8)}, "(its layout is not among those"),
        ("Int8Tensor", {}, {"fc._weight_scale": torch.ones(2)}, "(its layout is not among those that are read"),
        ("Int4Tensor", {}, {}, "(its layout is not among those that are read"),
        ("NVFP4Tensor", {"block_size": 16}, {}, "(its layout is not among those that are read"),
        ("Int8Tensor", {}, {"fc._weight_act_pre_scale": torch.ones(5)}, "of (5,) (its layout is not among those that are read"),
    ],
)
def test_a_layer_of_torchao_that_does_not_fit_what_its_header_says_is_one_reason(kind, told, change, text, tmp_path):
    header = {"_type": kind, "_data": {"block_size": [1, 64]} | told}
    tensors = load_file(REFERENCE / "torchao_int8" / "model.safetensors") | change
    save_file(tensors, tmp_path / "model.safetensors", {"fc.weight": json.dumps(header)})
    found = reasons(tmp_path / "model.safetensors")
    del found["fc.bias"]
    [reason] = set(found.values())
    assert text in reason


def test_scales_in_the_order_of_tensor_cores_are_those_of_their_rows_and_columns(tmp_path):
    """Tiles of 128 rows and 4 columns, one after another; in a tile, row r and column c lie at 16 (r % 32) + 4 (r // 32) + c."""
    rng = np.random.default_rng(0)
    n_out, n_in, tiles = 200, 192, (2, 2)
    powers, q = rng.integers(120, 130, (n_out, n_in // 32)).astype(np.uint8), rng.integers(0, 120, (n_out, n_in)).astype(np.uint8)
    laid = np.zeros(512 * tiles[0] * tiles[1], np.uint8)
    for r, c in np.ndindex(powers.shape):
        laid[512 * (r // 128 * tiles[1] + c // 4) + 16 * (r % 32) + 4 * (r % 128 // 32) + c % 4] = powers[r, c]
    tensors = {
        "fc._weight_qdata": torch.from_numpy(q).view(torch.float8_e4m3fn),
        "fc._weight_scale": torch.from_numpy(laid.reshape(64, 32)).view(torch.float8_e8m0fnu),
    }
    told = json.dumps({"_type": "MXTensor", "_data": {"block_size": 32, "is_swizzled_scales": True}})
    save_file(tensors, tmp_path / "a.safetensors", {"fc.weight": told})
    expected = tensors["fc._weight_qdata"].float().numpy() * np.repeat(2.0 ** (powers.astype(int) - 127), 32, axis=1)
    np.testing.assert_array_equal(only(tmp_path / "a.safetensors").matrix, expected)


def test_inputs_that_are_scaled_first_are_part_of_the_weight_that_acts(tmp_path):
    before = torch.rand(64) + 0.5
    tensors = load_file(REFERENCE / "torchao_int8" / "model.safetensors")
    told = json.dumps({"_type": "Int8Tensor", "_data": {"block_size": [1, 64]}})
    save_file(tensors | {"fc._weight_act_pre_scale": before}, tmp_path / "a.safetensors", {"fc.weight": told})
    x = PRODUCTS["x"][:, :64]
    y = (x / before.numpy()) @ only(tmp_path / "a.safetensors").matrix.T
    np.testing.assert_allclose(y, PRODUCTS["torchao_int8"], atol=1e-5)


def test_what_modelopt_wrote_is_told_by_either_of_its_configurations_and_its_parts_belong_together(tmp_path):
    folder = REFERENCE / "modelopt_int4_awq"
    tensors, options = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    told = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": options["quantization_config"]["quant_algo"]}}
    path = stored(tmp_path, tensors, hf_quant_config=told)
    np.testing.assert_allclose(PRODUCTS["x"][:, :64] @ only(path).matrix.T, PRODUCTS["modelopt_int4_awq"], atol=1e-5)
    for change, text in (
        ({"fc.pre_quant_scale": torch.ones(5)}, "(16, 64) whose inputs are scaled by float32 (5,)"),
        ({"fc.weight_scale": torch.ones(16, 5)}, "uint8 (8, 64) with"),
        (
            {"fc.svdquant_lora_a": torch.ones(4, 64), "fc.svdquant_lora_b": torch.ones(16, 4)},
            "beside the low-rank part of SVDQuant",
        ),
    ):
        found = reasons(stored(tmp_path, tensors | change, hf_quant_config=told))
        assert found.pop("fc.bias") == "bias vector"
        [reason] = set(found.values())
        assert text in reason
    assert "its layout is not among those" in reasons(tensors)["fc"]


def without(name, *left_out):
    """The tensors of a reference without some, and without its configuration."""
    tensors = load_file(REFERENCE / name / "model.safetensors")
    return {key: tensor for key, tensor in tensors.items() if key not in left_out}


@pytest.mark.parametrize(
    ("name", "left_out", "text"),
    [
        ("hqq_4", ("fc.packing",), "HQQ's uint8 (32, 64) whose description is not whole ('packing')"),
        ("hqq_4", ("fc.shape",), "HQQ's uint8"),
        ("quanto_qint4", ("fc.bias",), "quanto's uint8 (32, 128) with scales (64, 1): the file does not tell the outputs"),
        ("quanto_qint4", ("fc.weight._shift",), "quanto's uint8 (32, 128)"),
        ("compressed_nvfp4_pack_quantized_4", ("fc.weight_global_scale",), "NVFP4 (32, 64) without its weight_global_scale"),
        ("mlx_mxfp4_4", (), "the config.json beside it must tell its quantization"),
        ("mlx_affine_3", (), "the config.json beside it must tell its quantization"),
        ("bitnet_bitlinear", (), "quantised: uint8 (8, 128) with weight_scale"),
        ("compressed_pack_quantized_3", (), "do not fit 32 outputs and 128 inputs"),
    ],
)
def test_a_layer_of_which_a_part_is_missing_is_one_reason_for_all_its_tensors(name, left_out, text):
    found = reasons(without(name, *left_out))
    assert len(load_weights(without(name, *left_out), min_levels=2)) == 0
    told = {reason for layer, reason in found.items() if layer not in ("fc.bias", "fc.input_scale", "fc.output_scale")}
    assert len(told) == 1
    assert text in told.pop()


def test_gptq_in_an_order_or_a_format_that_the_file_does_not_tell_is_a_reason(tmp_path):
    tensors = without("gptq_3")
    for left_out, options, text in (
        ("fc.g_idx", {"bits": 3, "desc_act": True, "checkpoint_format": "gptq_v2"}, "by activation order, without the g_idx"),
        ("", {"bits": 3, "checkpoint_format": "gptq_p"}, "GPTQ in the format gptq_p"),
    ):
        kept = {key: tensor for key, tensor in tensors.items() if key != left_out}
        [reason] = set(reasons(stored(tmp_path, kept, config={"quantization_config": options})).values())
        assert text in reason


def test_the_bits_of_a_layer_are_those_of_its_shapes_where_the_configuration_tells_those_of_most_layers(tmp_path):
    path = stored(tmp_path, without("gptq_8"), config={"quantization_config": {"bits": 4, "checkpoint_format": "gptq_v2"}})
    np.testing.assert_allclose(PRODUCTS["x"][:, :128] @ only(path).matrix.T, PRODUCTS["gptq_8"], atol=1e-5)


def test_nvfp4_of_modelopt_multiplies_by_its_second_scale(tmp_path):
    """Its exporter keeps ``amax / (6 * 448)``, by which all is multiplied; llm-compressor divides by the inverse."""
    tensors = without("compressed_nvfp4_pack_quantized_4")
    renamed = {"fc.weight": tensors["fc.weight_packed"], "fc.weight_scale": tensors["fc.weight_scale"]}
    path = stored(tmp_path, renamed | {"fc.weight_scale_2": 1 / tensors["fc.weight_global_scale"][0]})
    y = PRODUCTS["x"][:, :128] @ only(path).matrix.T
    np.testing.assert_allclose(y, PRODUCTS["compressed_nvfp4_pack_quantized_4"], atol=2e-3)


def test_float8_whose_scales_are_powers_of_two(tmp_path):
    torch.manual_seed(0)
    W8, scale = torch.randn(128, 256).to(torch.float8_e4m3fn), torch.tensor([[0.25, 2.0]])
    path = stored(tmp_path, {"up.weight": W8, "up.weight_scale_inv": scale.to(torch.float8_e8m0fnu)})
    np.testing.assert_array_equal(only(path).matrix, (W8.float() * scale.repeat_interleave(128, 1)).numpy())


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning", "ignore:TypedStorage:UserWarning")
def test_torch_s_own_quantised_tensors_are_dequantised(tmp_path):
    W = torch.quantize_per_channel(torch.randn(20, 30), torch.rand(20) * 0.1 + 0.01, torch.zeros(20), 0, torch.qint8)
    torch.save({"fc.weight": W}, tmp_path / "a.pt")
    np.testing.assert_array_equal(only(tmp_path / "a.pt").matrix, W.dequantize().numpy())


@pytest.mark.parametrize("kind", ["q4_0", "q8_0", "f16", "bf16", "f32"])
def test_gguf(kind, tmp_path):
    gguf = pytest.importorskip("gguf")
    W = gaussian(24, 64)
    type_ = gguf.GGMLQuantizationType[kind.upper()]
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_tensor("blk.0.attn_q.weight", gguf.quants.quantize(W, type_), raw_dtype=type_)
    stack = gguf.quants.quantize(gaussian(3, 24, 64), type_)
    writer.add_tensor("blk.0.ffn_up_exps.weight", stack, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    weights = load_weights(tmp_path / "a.gguf", min_levels=2)
    expected = gguf.quants.dequantize(gguf.quants.quantize(W, type_), type_)
    np.testing.assert_array_equal(weights["blk.0.attn_q"].matrix, expected.reshape(24, 64))
    np.testing.assert_allclose(weights["blk.0.attn_q"].matrix, W, atol=0.5 if kind == "q4_0" else 0.05)
    assert weights.shapes["blk.0.ffn_up_exps#2"] == (24, 64)
    assert ("quantised, GGUF Q" in weights["blk.0.attn_q"].ground) == kind.startswith("q")


def test_weights_of_an_unknown_layout_and_their_scales_share_one_reason_and_are_never_filtered():
    arrays = {
        "a.weight": np.ones((30, 5), np.int32),
        "a.scales": gaussian(30, 20),
        "b.qweight": np.ones((30, 5), np.int32),
        "b.scales": gaussian(7, 9),
        "c.weight_scale": gaussian(30, 20),
        "d.zero_point": gaussian(30, 20),
        "e_scales": gaussian(30, 20),
        "fc.weight": gaussian(80, 90),
    }
    weights = load_weights(arrays, min_levels=2)
    assert list(weights) == ["fc"]
    found = {skipped.name: skipped.reason for skipped in weights.skipped}
    assert found["a"] == found["a.scales"]
    assert found["a"].startswith("quantised: int32 (30, 5) with scales (its layout is not among those that are read")
    assert found["b.qweight"] == found["b.scales"]
    assert {found[name] for name in ("c.weight_scale", "d.zero_point", "e_scales")} == {"scales or zero points, no layer"}
    result = filter_network(arrays, cut=3, shrink=False, min_levels=2, progress=False)
    assert result.report["layer"].tolist() == ["fc"]
    for name in arrays:
        assert np.array_equal(result.weights[name], arrays[name]) == (name != "fc.weight")


def test_tables_beside_codes_of_an_unknown_layout_are_no_layers():
    arrays = {
        "q.codes": np.ones((20, 40), np.int16),
        "q.codebooks": gaussian(20, 256),
        "p.weight": np.ones((30, 20), np.uint8),
        "p.tables": gaussian(256, 20),
        "vq.codebooks": gaussian(256, 20),
    }
    assert list(load_weights(arrays)) == ["vq.codebooks"]
    assert {reasons(arrays)[name] for name in ("q.codebooks", "p.tables")} == {
        "part of a quantised weight whose layout is not read: dequantise it first"
    }


def test_what_several_tensors_make_is_left_as_it_is_when_a_network_is_filtered():
    made = {"q.weight": np.ones((30, 40), np.int8), "q.weight_scale": np.ones((30, 1), np.float32)}
    arrays = made | {"fc.weight": gaussian(80, 90)}
    result = filter_network(arrays, cut=3, shrink=False, progress=False)
    assert result.report["layer"].tolist() == ["fc"]
    np.testing.assert_array_equal(result.weights["q.weight"], arrays["q.weight"])
    with pytest.raises(ValueError, match="layers must name matrices that are stored; 'q' is made of q.weight, q.weight_scale"):
        filter_network(arrays, layers=["q"], cut=3, progress=False)
    with pytest.raises(ValueError, match="'q' is made of q.weight, q.weight_scale: quantised, int8"):
        load_weights(arrays).replace("q", np.ones((30, 40)))
    with pytest.raises(ValueError, match="must be a flat mapping of arrays; 'model' holds a dictionary"):
        filter_network({"model": arrays}, progress=False)


def test_a_replaced_matrix_must_have_the_shape_of_the_layer():
    weights = load_weights({"fc/kernel": gaussian(90, 80)})
    np.testing.assert_array_equal(weights.replace("fc", np.ones((80, 90))), np.ones((90, 80)))
    with pytest.raises(ValueError, match=r"matrix must have the shape \(80, 90\) of 'fc'; got \(90, 80\)"):
        weights.replace("fc", np.ones((90, 80)))


# Tied weights


def test_a_tied_weight_that_is_stored_twice_is_one_layer_and_its_copies_are_filtered_with_it(tmp_path):
    E = gaussian(300, 80)
    changed = E.copy()
    changed[-1, -1] += 1
    arrays = {
        "lm_head.weight": E.copy(),
        "model.embed_tokens.weight": E,
        "decoder.embed_tokens.weight": changed,
        "output.weight": -E,
        "fc1.weight": E.copy(),
    }
    for source in (stored(tmp_path, arrays), arrays, {name: torch.from_numpy(array) for name, array in arrays.items()}):
        weights = load_weights(source)
        assert set(weights) == {"model.embed_tokens", "decoder.embed_tokens", "output", "fc1"}
        [skipped] = weights.skipped
        assert skipped == ("lm_head", (300, 80), "equal to model.embed_tokens.weight, a tied weight that is stored twice")
    filter_network(tmp_path / "model.safetensors", output=tmp_path / "new.safetensors", cut=3, shrink=False, progress=False)
    for result in (load_file(tmp_path / "new.safetensors"), filter_network(arrays, cut=3, shrink=False, progress=False).weights):
        new = np.asarray(result["model.embed_tokens.weight"])
        np.testing.assert_array_equal(new, np.asarray(result["lm_head.weight"]))
        assert np.linalg.matrix_rank(new.astype(float), 1e-4) == 3


def test_tied_weights_are_compared_up_to_the_first_block_that_differs(monkeypatch):
    compared, equal = [], np.array_equal
    monkeypatch.setattr(np, "array_equal", lambda left, right: compared.append(left.nbytes) or equal(left, right))
    one, two = np.zeros((2000, 1000)), np.zeros((2000, 1000))
    two[700, 0] = 1
    tensors = [
        Tensor(name, (2000, 1000), "float64", view=lambda array=array: array)
        for name, array in (("wte.weight", one), ("lm_head.weight", two))
    ]
    assert [tensor.skip for tensor in name_tied(tensors)] == [None, None]
    assert compared == [2**22, 2**22]


def test_half_precision_is_compared_by_its_bits():
    E = torch.randn(40, 30).to(torch.bfloat16)
    assert reasons({"wte.weight": E, "lm_head.weight": E.clone()}) == {
        "lm_head": "equal to wte.weight, a tied weight that is stored twice"
    }
    assert reasons({"wte.weight": E, "lm_head.weight": E.clone().half()}) == {}
