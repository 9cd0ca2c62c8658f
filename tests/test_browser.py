"""The built book in a real browser, opened from its files: nothing missing or foreign, legible in both themes and on a phone.

Chromium is found on the path or named by the environment variable CHROMIUM. Without it these tests are skipped, and fail where
CI is set.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
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


@pytest.mark.parametrize("name", ["chapters/playground", "chapters/13_training_in_motion"])
def test_players_follow_the_keyboard(browser, name):
    visit = Visit(browser, name)
    players = visit.page.locator(".animation")
    assert players.count() >= (4 if "playground" in name else 1)
    for player in players.all():
        slider, image = player.locator("input[type=range]"), player.locator("img")
        slider.focus()
        visit.page.keyboard.press("Home")
        first = image.get_attribute("src")
        visit.page.keyboard.press("ArrowRight")
        assert slider.input_value() == "1"
        assert image.get_attribute("src") != first
        player.get_by_label("First frame").press("Enter")
        assert image.get_attribute("src") == first
    assert visit.problems == []
    visit.close()


def test_players_show_a_figure_without_scripts(browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((HTML / "chapters" / "playground.html").as_uri())
    images = page.locator(".animation img").all()
    assert len(images) >= 4
    assert all(image.bounding_box()["width"] > 100 for image in images)
    assert all(image.get_attribute("src").startswith("data:image/png") for image in images)
    context.close()
