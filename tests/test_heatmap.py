"""The heat map of a report, and the places of layers in it."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

import rmtlib
from rmtlib.report.heatmap import Statistic, color, heat_map, shorten
from rmtlib.report.places import Place, places
from rmtlib.text import in_spreadsheet, printable

from . import builders

BLOCKS = [
    f"encoder.layer.{i}.{part}" for i in range(3) for part in ("attention.self.query", "attention.output.dense", "output.dense")
]


def drawn(html):
    """Every SVG of a map, as trees."""
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg xmlns.*?</svg>", html, re.S)]


def filled(svg):
    """Colour of every cell by its upper left corner."""
    found = {}
    for element in svg.iter():
        if (fill := element.get("fill", "")).startswith("#") and element.get("d"):
            found |= {(int(x), int(y)): fill for x, y in re.findall(r"M(\d+) (\d+)h16v", element.get("d"))}
    return found


def luminance(hexadecimal):
    linear = [
        (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
        for c in (int(hexadecimal[i : i + 2], 16) / 255 for i in (1, 3, 5))
    ]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


# Places


def test_parts_of_blocks_are_kinds_and_blocks_are_depths():
    found = places([*BLOCKS, "embeddings.word", "pooler.dense"], {"embeddings.word": "embedding"})
    assert [place.kind for place in found] == [*["query", "attention.output", "output"] * 3, "embedding", "dense"]
    assert [place.depth for place in found] == [*np.repeat(["0", "1", "2"], 3), "embeddings.word", "pooler.dense"]
    assert [place.rank for place in found] == [*np.repeat([0, 1, 2], 3), 0, 0]


@pytest.mark.parametrize(
    ("names", "kinds", "depths"),
    [
        (["layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1"], ["conv1"] * 3, ["1.0", "1.1", "2.0"]),
        (["layer1.0.downsample.0", "layer2.0.downsample.0"], ["downsample"] * 2, ["1.0.0", "2.0.0"]),
        (["features.0", "features.3"], ["conv", "conv"], ["0", "3"]),
        (["bert/layer_._0/self/query", "bert/layer_._1/self/query"], ["query"] * 2, ["0", "1"]),
        (["encoder.0.q", "encoder.1.q", "decoder.0.q", "decoder.1.q"], ["encoder q"] * 2 + ["decoder q"] * 2, ["0", "1"] * 2),
        (["m.layers.0.experts.0.up", "m.layers.0.experts.1.up"], ["up"] * 2, ["0.0", "0.1"]),
        (["f/block1_conv2/w", "f/block1_conv1/w"], ["conv", "conv"], ["block1_conv2", "block1_conv1"]),
        (["", "..1..", "=1", "\n"], ["conv"] * 4, None),
    ],
)
def test_kinds_come_from_names_and_otherwise_from_the_file(names, kinds, depths):
    found = places(names, dict.fromkeys(names, "convolution"))
    assert [place.layer for place in found] == names
    assert [place.kind for place in found] == kinds
    assert depths is None or [place.depth for place in found] == depths


def test_layers_that_differ_by_numbers_alone_are_in_the_order_of_these():
    found = places(["c10/w", "c9/w", "c1/w"])
    assert [place.rank for place in found] == [2, 1, 0]
    assert [place.rank for place in places(["up", "down", "c1"])] == [0, 1, 2]


def test_weights_tell_the_kinds_of_their_matrices_without_reading_them(tmp_path):
    arrays = {"conv.weight": np.zeros((32, 16, 3, 3), "float32"), "tokens.embed.weight": np.zeros((40, 30), "float32")}
    weights = rmtlib.load_weights(builders.safetensors(tmp_path / "net.safetensors", arrays))
    assert weights.kinds == {name: weights[name].kind for name in weights}
    assert sorted(weights.kinds.values()) == ["convolution", "embedding"]


# The map


def test_cells_are_coloured_by_effect_and_marked_by_q():
    layers = places(["a1", "a2", "a3", "a4"])
    html = heat_map(layers, [Statistic("above", [0.0, 0.1, 0.4, None], 0.4, [0.9, 0.04, 0.05, 0.01])])
    [svg] = drawn(html)
    cells = [fill for _, fill in sorted(filled(svg).items(), key=lambda cell: cell[0][1])]
    assert cells[0] == "#ffffff"
    # The square root of a quarter is a half: the middle of the scale, the book's blue.
    assert cells[1:3] == ["#0173b2", "#00304d"]
    assert cells[3] not in (cells[0], cells[1], cells[2])
    assert "".join(element.get("d") for element in svg.iter() if element.get("stroke-width") == "5.2").count("h0") == 1


def test_negative_effects_have_another_colour_if_the_map_is_signed_and_none_if_not():
    layers = places(["a1", "a2"])
    statistic = [Statistic("change", [-1.0, 1.0], 1.0)]
    signed, plain = (drawn(heat_map(layers, statistic, signed=signed))[0] for signed in (True, False))
    assert list(dict(sorted(filled(signed).items())).values()) == ["#5c2800", "#00304d"]
    assert list(dict(sorted(filled(plain).items())).values()) == ["#ffffff", "#00304d"]


def test_colours_darken_steadily_so_that_grey_print_keeps_their_order():
    for sign in (-1, 1):
        values = [luminance(color(sign * strength)) for strength in np.linspace(0, 1, 25)]
        assert np.all(np.diff(values) < 0)
        assert values[0] == pytest.approx(1)
        assert values[-1] < 0.05


def test_blue_and_orange_differ_without_red_or_green_cones():
    # Matrices of Machado, Oliveira and Fernandes (2009) for protanopia and deuteranopia, on linear RGB.
    blind = [
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
    linear = [np.array([int(color(s)[i : i + 2], 16) / 255 for i in (1, 3, 5)]) ** 2.2 for s in (-0.5, 0.5)]
    for matrix in blind:
        orange, blue = (np.array(matrix) @ rgb for rgb in linear)
        assert np.abs(orange - blue).max() > 0.3


def test_every_row_tells_its_layer_and_its_numbers_and_leads_to_it():
    html = heat_map(places(["b", "a"]), [Statistic("above", [0.25, None], 1.0, [0.01, None], "{:.0%}")])
    rows = re.findall(r'<a href="#(layer-\d)"><title>(.*?)</title>', html)
    assert rows == [("layer-0", "b: above 25% (q = 0.01)"), ("layer-1", "a: above unknown")]
    assert "<a " not in heat_map(places(["b", "a"]), [Statistic("above", [0.25, None], 1.0)], links=False)


def test_names_and_labels_are_text():
    html = heat_map(places(['<b>"&\x1b[31m\n', "a2"]), [Statistic("x < y", [1.0, 0.0], 1.0)])
    [svg] = drawn(html)
    titles = [element.text for element in svg.iter() if element.tag.endswith("title")]
    assert titles[0] == '<b>"&\\x1b[31m\\n: x < y 1, '.rstrip(", ")
    assert "<b>" not in html


@pytest.mark.parametrize("count", [1, 5, 99, 500])
def test_maps_of_few_and_of_many_layers_fit_a_page(count):
    names = [f"m.{i}.{part}" for i in range(-(-count // 5)) for part in "qkvou"][:count]
    html = heat_map(places(names), [Statistic(f"statistic {i}", np.linspace(0, 1, count), 1.0) for i in range(8)])
    panels = drawn(html)
    assert sum(len(filled(svg)) for svg in panels) == 8 * count
    assert max(int(svg.get("height")) for svg in panels) < 800
    assert max(int(svg.get("width")) for svg in panels) < 350
    assert len(html) < 6000 + 600 * count
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|<script|url\(|@import", html)


def test_500_layers_of_one_kind_stand_in_several_panels():
    panels = drawn(heat_map(places([f"unit_{i}_{i % 7}" for i in range(500)]), [Statistic("x", np.ones(500), 1.0)]))
    assert [len(filled(svg)) for svg in panels] == [100] * 5


def test_kinds_of_one_layer_share_a_panel():
    names = [*BLOCKS, "embeddings.word", "pooler.dense"]
    panels = drawn(heat_map(places(names, {"embeddings.word": "embedding"}), [Statistic("x", np.ones(11), 1.0)]))
    assert [len(filled(svg)) for svg in panels] == [3, 3, 3, 2]
    assert {"embeddings.word", "pooler.dense"} < {element.text for element in panels[-1].iter()}


def test_rows_of_a_kind_are_in_the_order_of_depth():
    [svg] = drawn(heat_map(places(["c3", "c1", "c2"]), [Statistic("x", [1.0, 0.0, 0.0], 1.0)]))
    assert filled(svg)[max(filled(svg))] == "#00304d"


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ([], "a heat map needs layers and statistics; got 2 layers and 0 statistics"),
        ([Statistic("x", [1.0], 1.0)], "statistic 'x' must have 2 effects, one a layer; got 1"),
        ([Statistic("x", [1.0, 1.0], 1.0, [0.1])], "statistic 'x' must have 2 qvalues, one a layer; got 1"),
        ([Statistic("x", [1.0, 1.0], 0.0)], "full of statistic 'x' must be above 0; got 0.0"),
    ],
)
def test_what_cannot_be_drawn_gives_one_sentence(statistics, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        heat_map([Place("a", "dense", "a"), Place("b", "dense", "b")], statistics)


# Text


def test_long_names_keep_their_ends():
    assert shorten("embeddings.position_embeddings", 20) == "embedd…on_embeddings"
    assert shorten("fc1", 20) == "fc1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("fc1", "fc1"),
        ("é Σ²", "é Σ²"),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
    ],
)
def test_characters_that_cannot_be_seen_are_escaped(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'x"])
def test_what_a_spreadsheet_would_evaluate_has_an_apostrophe_before_it(text):
    assert in_spreadsheet(text) == f"'{text}"
    assert in_spreadsheet(f"fc{text}") == f"fc{text}"
