"""The built book in a real browser, opened from its files: nothing missing or foreign, legible in both themes and on a phone.

Chromium is found on the path or named by the environment variable CHROMIUM. Without it these tests are skipped, and fail where
CI is set.
"""

import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
WITH_SLIDERS = [
    f"chapters/{file.stem}"
    for file in sorted((ROOT / "chapters").glob("*.md"))
    if re.search(r"\n(network_)?charts\.", file.read_text())
]
SEVERE = ("serious", "critical")
# Rules that a theme can break.
COLOURS = ["color-contrast", "link-in-text-block"]
HEADINGS = ("heading-order", "page-has-heading-one", "empty-heading")


def toc_files(entries):
    for entry in entries:
        yield entry["file"]
        yield from toc_files(entry.get("sections", []))


TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = ["intro", *(name for part in TOC["parts"] for name in toc_files(part["chapters"]))]
# A page's tests share one window: with pytest -n they go to one worker by --dist loadgroup.
GROUPED = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in (*PAGES, "genindex", "search")]


@pytest.fixture(scope="session")
def browser():
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        reason = "no browser: install chromium, or name one by the environment variable CHROMIUM"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    assert (HTML / "index.html").exists(), "no book: run make book first"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        yield browser
        browser.close()


class Visit:
    """One page in a window of its own, with everything that it asked for and complained about."""

    def __init__(self, browser, name, *, viewport=DESK):
        self.page = browser.new_context(viewport=viewport, color_scheme="light").new_page()
        self.requests, self.problems = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", lambda request: self.problems.append(f"{request.url}: {request.failure}"))
        self.page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto((HTML / f"{name}.html").as_uri(), wait_until="load")
        self.page.evaluate("window.MathJax ? MathJax.startup.promise.then(() => true) : true")

    @property
    def theme(self):
        return self.page.locator("html").get_attribute("data-theme")

    def close(self):
        self.page.context.close()


# Colours change gradually: those on the way have little contrast.
TRANSITIONS_DONE = """async () => {
  await new Promise(next => requestAnimationFrame(() => requestAnimationFrame(next)));
  const ending = document.getAnimations().filter(one => one.effect.getComputedTiming().endTime < Infinity);
  await Promise.allSettled(ending.map(one => one.finished));
}"""


# Each page is loaded once: its tests look at it one after the other, light, then dark, then as narrow as a phone.
@pytest.fixture(scope="module", params=GROUPED)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def visit(browser, name):
    visit = Visit(browser, name)
    yield visit
    visit.close()


@pytest.fixture(scope="module")
def dark(visit):
    """The same page after the reader chose the dark theme."""
    for _ in range(3):
        if visit.theme == "dark":
            break
        visit.page.locator(".theme-switch-button").first.click()
    # The button's tooltip fades in half a second later, and has little contrast while it does: leave the button.
    visit.page.mouse.move(0, DESK["height"] - 1)
    visit.page.evaluate("document.activeElement.blur()")
    visit.page.locator(".tooltip").wait_for(state="detached")
    visit.page.evaluate(TRANSITIONS_DONE)
    return visit


@pytest.fixture(scope="module")
def phone(visit):
    """The same page in a narrow window."""
    visit.page.set_viewport_size(PHONE)
    return visit


def violations(page, **options):
    found = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found
        if violation["impact"] in SEVERE or violation["id"] in HEADINGS
        for node in violation["nodes"]
    ]


def test_page_loads_without_errors_or_failed_requests(visit):
    assert visit.problems == []


def test_page_asks_no_other_host(visit):
    assert [url for url in visit.requests if not re.match(r"(file|data|blob):", url)] == []


def test_maths_is_rendered(visit):
    assert visit.page.locator("mjx-merror").count() == 0
    assert visit.page.locator("article .math:not(:has(mjx-container))").all_inner_texts() == []


def test_figures_are_visible_and_have_a_text(visit):
    for image in visit.page.locator("article img").all():
        image.evaluate("image => { for (let e = image; e; e = e.parentElement) if (e.tagName == 'DETAILS') e.open = true }")
        assert image.evaluate("image => image.complete && image.naturalWidth > 0"), image.get_attribute("src")
        assert image.bounding_box()["width"] > 50, image.get_attribute("src")
        assert image.get_attribute("alt").strip(), image.get_attribute("src")


def test_accessible_in_the_light_theme(visit):
    assert visit.theme == "light"
    assert violations(visit.page) == []


def test_legible_in_the_dark_theme(dark):
    assert dark.theme == "dark"
    assert violations(dark.page, runOnly={"type": "rule", "values": COLOURS}) == []


def test_nothing_is_wider_than_a_phone(phone):
    widths = phone.page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth]")
    assert max(widths) <= PHONE["width"]


def test_figures_are_not_shrunk_beyond_recognition_on_a_phone(phone):
    shrunk = "image => image.naturalWidth ? image.getBoundingClientRect().width / image.naturalWidth : 1"
    for image in phone.page.locator("article img").all():
        assert image.evaluate(shrunk) > 0.4, image.get_attribute("alt")


def test_page_loads_on_a_phone_and_its_menu_opens(browser):
    visit = Visit(browser, "chapters/10_learning_regimes", viewport=PHONE)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    visit.page.locator(".primary-toggle").first.click()
    visit.page.get_by_role("link", name="Fit the bulk").first.click()
    visit.page.wait_for_url("**/03_marchenko_pastur.html")
    assert visit.problems == []
    visit.close()


def test_chapters_have_maths(browser):
    visit = Visit(browser, "chapters/03_marchenko_pastur")
    assert visit.page.locator("article mjx-container").count() > 10
    visit.close()


def test_search_finds_porter_thomas(browser):
    visit = Visit(browser, "intro")
    visit.page.keyboard.press("Control+K")
    visit.page.keyboard.type("Porter–Thomas")
    visit.page.keyboard.press("Enter")
    results = visit.page.locator("#search-results li a")
    results.first.wait_for()
    visit.page.wait_for_function("document.querySelector('#search-results .search-summary')?.textContent.includes('found')")
    links = [link.get_attribute("href") for link in results.all()]
    assert any("07_porter_thomas.html" in link for link in links), links
    results.first.click()
    visit.page.wait_for_load_state()
    assert visit.page.locator("article h1").count() == 1
    assert visit.problems == []
    visit.close()


def without_scripts(browser, name):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto((HTML / f"{name}.html").as_uri())
    return page


def test_nine_pages_have_figures_with_sliders():
    assert len(WITH_SLIDERS) >= 9


@pytest.mark.parametrize("name", WITH_SLIDERS)
def test_sliders_move_what_is_drawn_and_say_their_value(browser, name):
    visit = Visit(browser, name)
    for figure in visit.page.locator(".interactive").all():
        figure.scroll_into_view_if_needed()
        drawing = figure.locator(".live svg")
        drawing.wait_for()
        assert not figure.locator(".still").is_visible()
        for slider in figure.locator("input[type=range]").all():
            value = slider.locator("xpath=following-sibling::output")
            assert slider.locator("xpath=preceding-sibling::span").inner_text().strip()
            before, said = drawing.inner_html(), value.inner_text()
            slider.press("ArrowLeft" if slider.input_value() == slider.get_attribute("max") else "ArrowRight")
            visit.page.wait_for_function("([svg, before]) => svg.innerHTML != before", arg=[drawing.element_handle(), before])
            assert value.inner_text() not in ("", said)
            assert slider.get_attribute("aria-valuetext") == value.inner_text()
    assert visit.problems == []
    assert [url for url in visit.requests if not re.match(r"(file|data|blob):", url)] == []
    visit.close()


@pytest.mark.parametrize("name", WITH_SLIDERS)
def test_figures_with_sliders_are_drawn_again_for_a_phone(browser, name):
    visit = Visit(browser, name)
    figures = visit.page.locator(".interactive")
    figures.locator(".live svg").last.wait_for()
    visit.page.set_viewport_size(PHONE)
    letters = "figure => Math.min(...[...figure.querySelectorAll('.live text')].map(text => text.getBoundingClientRect().height))"
    for figure in figures.all():
        visit.page.wait_for_function(
            "figure => figure.querySelector('.live svg')?.getBoundingClientRect().right <= innerWidth",
            arg=figure.element_handle(),
        )
        assert figure.evaluate(letters) > 10
        # The sliders stay in sight while the last chart is looked at.
        figure.evaluate("figure => scrollTo({top: scrollY + figure.getBoundingClientRect().bottom - 300, behavior: 'instant'})")
        assert 0 < figure.locator(".sliders").bounding_box()["y"] < 300
    visit.close()


@pytest.mark.parametrize("name", WITH_SLIDERS)
def test_a_still_picture_stands_for_sliders_in_print_and_without_scripts(browser, name):
    page = without_scripts(browser, name)
    printed = Visit(browser, name)
    printed.page.locator(".interactive .live svg").first.wait_for()
    printed.page.emulate_media(media="print")
    for window in (page, printed.page):
        for figure in window.locator(".interactive").all():
            assert figure.locator(".still svg").bounding_box()["height"] > 100
            assert figure.locator(".still p").inner_text().strip()
            assert not figure.locator(".live").is_visible()
            assert not figure.locator(".sliders").is_visible()
    page.context.close()
    printed.close()


@pytest.mark.parametrize("name", WITH_SLIDERS)
def test_a_page_with_sliders_is_light(browser, name):
    visit = Visit(browser, name)
    own = [Path(unquote(urlsplit(url).path)) for url in {*visit.requests} if url.startswith("file:") and "/_static/" not in url]
    assert sum(file.stat().st_size for file in own) <= 1_500_000
    visit.close()


@pytest.mark.parametrize("name", ["intro", WITH_SLIDERS[0]])
def test_scripts_of_sliders_load_where_there_are_sliders(browser, name):
    visit = Visit(browser, name)
    scripts = {Path(urlsplit(url).path).name for url in visit.requests}
    known = {"vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "interactive.js"}
    assert scripts & known == (known if name in WITH_SLIDERS else set())
    visit.close()


def test_links_show_what_they_lead_to_by_pointer_and_by_keyboard(browser):
    visit = Visit(browser, "glossary")
    card = visit.page.locator(".preview")
    assert not card.is_visible()
    visit.page.locator("article a[href$='#equation-marchenko-pastur']").first.hover()
    card.locator("mjx-container").first.wait_for()
    visit.page.keyboard.press("Escape")
    assert not card.is_visible()
    term = visit.page.locator("article a.reference[href*='#term-']").first
    term.focus()
    card.wait_for()
    assert term.get_attribute("aria-describedby") == card.get_attribute("id")
    assert term.inner_text().casefold() in card.inner_text().casefold()
    assert violations(visit.page) == []
    visit.page.evaluate("document.activeElement.blur()")
    card.wait_for(state="hidden")
    assert [url for url in visit.requests if not re.match(r"(file|data|blob):", url)] == []
    visit.close()


def test_the_card_of_a_link_stays_in_the_window_of_a_phone(browser):
    visit = Visit(browser, "chapters/03_marchenko_pastur", viewport=PHONE)
    links = visit.page.locator("article a.reference.internal[href*='08_neuron_sizes.html#']")
    links.first.focus()
    card = visit.page.locator(".preview")
    card.wait_for()
    box = card.bounding_box()
    assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE["width"]
    assert "sizes of neurons" in card.inner_text()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert visit.problems == []
    visit.close()
