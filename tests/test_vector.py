"""Figures as parts of a page: they take the colours and letters of the page, and say what they show."""

from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest

from rmtlib import figures
from rmtlib.vector import drawing, side_by_side, small_axes


@pytest.fixture
def figure():
    figure, ax = plt.subplots()
    ax.plot([0, 1], color=figures.COLORS["trained"])
    ax.fill_between([0, 1], [0, 1], color="#123456")
    ax.text(0, 0, "a word", color="black")
    return figure


def test_drawing_is_one_element_with_a_text(figure):
    svg = ElementTree.fromstring(drawing(figure, alt="One & two.").svg)
    assert svg.tag == "svg"
    assert (svg.get("role"), svg.get("aria-label")) == ("img", "One & two.")
    assert any(text.text == "a word" for text in svg.iter("text"))


def test_colours_are_those_of_the_page(figure):
    svg = drawing(figure, alt="x").svg
    assert f"var(--figure-trained, {figures.COLORS['trained']})" in svg
    assert "#123456" in svg
    assert "#000000" not in svg
    assert "#262626" not in svg
    assert "<style" not in svg  # it would hold for the whole page
    assert "font-family" not in svg


def test_what_an_element_refers_to_keeps_its_name_and_nothing_else_has_one(figure):
    svg = ElementTree.fromstring(drawing(figure, alt="x").svg)
    names = {element.get("id") for element in svg.iter() if element.get("id")}
    text = ElementTree.tostring(svg, encoding="unicode")
    assert names
    assert all(f"#{name}" in text for name in names)
    assert all(element.get("href").removeprefix("#") in names for element in svg.iter("use"))


def test_the_figure_is_closed_and_drawn_alike_each_time():
    def draw():
        figure, ax = plt.subplots()
        ax.plot([0, 1])
        return drawing(figure, alt="x").svg

    before = plt.get_fignums()
    assert draw() == draw()
    assert plt.get_fignums() == before


def test_a_figure_without_a_text_is_refused(figure):
    with pytest.raises(ValueError, match="alt is empty"):
        drawing(figure, alt=" ")


def test_a_band_takes_the_colour_of_the_page():
    figure, ax = small_axes()
    ax.axhspan(0, 1, color=figures.COLORS["band"])
    assert f"var(--figure-band, {figures.COLORS['band']})" in drawing(figure, alt="x").svg


def test_small_axes_below_each_other_share_their_x_axis():
    figure, axes = small_axes(2, 3, rows=2)
    axes[0].set_xlim(3, 4)
    assert axes[1].get_xlim() == (3, 4)
    assert tuple(figure.get_size_inches()) == (2, 3)
    assert {ax.xaxis.label.get_size() for ax in axes} == {9.5}


def test_drawings_side_by_side_keep_their_order_and_texts():
    drawings = [drawing(small_axes()[0], alt=text) for text in ("First.", "Second.")]
    html = side_by_side(*drawings)._repr_html_()
    assert html.index("First.") < html.index("Second.")
    assert html.startswith('<div class="drawings" style="--across: 2">')
    assert "--across: 1" in side_by_side(*drawings, across=1)._repr_html_()


@pytest.mark.parametrize("number", [0, 7])
def test_a_row_has_one_to_six_drawings(number, figure):
    with pytest.raises(ValueError, match=f"one to six.*got {number}"):
        side_by_side(*[drawing(figure, alt="x")] * number)
