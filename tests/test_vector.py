"""Figures as parts of a page: they take the colours and letters of the page, and say what they show."""

from xml.etree import ElementTree

import matplotlib.pyplot as plt
import pytest

from rmtlib import figures
from rmtlib.vector import drawing, row


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


def test_a_row_holds_its_drawings_in_their_order():
    def draw(alt):
        return drawing(plt.subplots()[0], alt=alt)

    html = ElementTree.fromstring(row(draw("first"), draw("second"))._repr_html_())
    assert html.get("class") == "drawings"
    assert [one.find("svg").get("aria-label") for one in html] == ["first", "second"]


@pytest.mark.parametrize("count", [0, 7])
def test_a_row_that_no_reader_compares_is_refused(figure, count):
    one = drawing(figure, alt="x")
    with pytest.raises(ValueError, match=f"drawings must be one to 6; got {count}"):
        row(*[one] * count)


def test_a_band_is_grey_in_both_themes():
    figure, ax = plt.subplots()
    ax.axhspan(0, 1, color=figures.COLORS["band"])
    assert "var(--figure-band, #d1d1d1)" in drawing(figure, alt="x").svg
