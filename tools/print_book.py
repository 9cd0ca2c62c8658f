"""Print the built book to one PDF: title page, contents, every page in order, with bookmarks and working links.

Usage: print_book.py HTML_FOLDER PDF

Needs Chromium, on the path or named by the environment variable CHROMIUM. Each page is printed as the browser shows it, with its
mathematics set and its solutions unfolded; links between pages become links inside the PDF.
"""

import html
import os
import shutil
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urldefrag

import yaml
from playwright.sync_api import sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, BooleanObject, Destination, DictionaryObject, FloatObject, NameObject, NullObject

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
A4 = {"format": "A4", "margin": {"top": "18mm", "bottom": "20mm", "left": "17mm", "right": "17mm"}, "print_background": True}
SCALE = 0.85  # of a chapter: letters of 10 points
# What the theme leaves on a printed page, and what is wider than paper.
STYLE = """
.prev-next-area, .headerlink, details.hide:not([open]), button, #jb-print-docs-body { display: none !important; }
.bd-main .bd-content .bd-article h1:first-of-type { display: block !important; margin-top: 0; }
div.highlight, div[class*="highlight-"] { display: block !important; break-inside: auto !important; }
.bd-article-container { max-width: none !important; padding: 0 !important; }
pre, code, .sig { white-space: pre-wrap !important; overflow-wrap: anywhere; }
table { font-size: 0.8em; width: 100% !important; display: table !important; }
table code .pre, table code { white-space: normal !important; }
img { max-width: 100% !important; height: auto !important; filter: none !important; }
figure, .cell_output img, tr, mjx-container[display="true"] { break-inside: avoid; }
h1, h2, h3 { break-after: avoid; }
"""
# Chromium gives a place in the PDF to those anchors alone that the page itself links to.
UNFOLD_AND_ANCHOR = """anchors => {
  document.querySelectorAll('details:not(.hide)').forEach(e => e.open = true);
  document.querySelectorAll('.toggle-hidden').forEach(e => e.classList.remove('toggle-hidden'));
  const links = document.createElement('div');
  links.style.display = 'none';
  for (const anchor of anchors) {
    const link = document.createElement('a');
    link.href = '#' + anchor;
    links.append(link);
  }
  document.body.append(links);
}"""
FRONT = """<!doctype html><meta charset="utf-8"><style>
body {{ font: 10pt/1.4 "DejaVu Sans", sans-serif; }}
h1 {{ font-size: 30pt; line-height: 1.2; margin-top: 45%; text-align: center; }}
.below {{ text-align: center; margin-top: 2em; }}
.break {{ break-before: page; font-size: 18pt; }}
h3 {{ margin: 0.7em 0 0.2em; font-size: 11pt; }}
p.line {{ display: flex; margin: 0; line-height: 1.35; }}
p.line i {{ flex: 1; border-bottom: 1px dotted #888; margin: 0 0.5em 0.35em; }}
</style><h1>{title}</h1><p class="below">{below}</p><h2 class="break">Contents</h2>{contents}"""
NUMBERS = """<!doctype html><style>@page {{ size: A4; margin: 0 }} body {{ margin: 0 }}
div {{ height: 297mm; box-sizing: border-box; padding-top: 283mm; text-align: center; font: 9pt sans-serif; break-after: page }}
</style>{pages}"""


@dataclass
class Chapter:
    """One page of the book in print."""

    part: str
    name: str
    title: str
    pdf: PdfReader
    first: int = 0


def table_of_contents(path):
    """``(caption of the part, file)`` of every page, in order."""
    toc = yaml.safe_load(path.read_text())
    yield "", toc["root"]
    for part in toc["parts"]:
        entries = list(part["chapters"])
        while entries:
            entry = entries.pop(0)
            yield part["caption"], entry["file"]
            entries = entry.get("sections", []) + entries


def pdf_of(page, **options):
    return PdfReader(BytesIO(page.pdf(**A4, **options)))


def anchors_in_use(browser, folder, toc):
    """The anchors of each page that some page links to."""
    page = browser.new_context(java_script_enabled=False).new_page()
    anchors: dict[str, set[str]] = {}
    for _, name in toc:
        page.goto((folder / f"{name}.html").as_uri(), wait_until="domcontentloaded")
        for href in page.eval_on_selector_all("article a[href]", "links => links.map(link => link.href)"):
            target, anchor = urldefrag(href)
            anchors.setdefault(unquote(target), set()).add(unquote(anchor))
    page.context.close()
    return anchors


def print_chapters(browser, folder, toc):
    anchors = anchors_in_use(browser, folder, toc)
    page = browser.new_page(color_scheme="light")
    page.emulate_media(media="print")
    page.add_init_script("localStorage.setItem('mode', 'light'); localStorage.setItem('theme', 'light')")
    for part, name in toc:
        address = (folder / f"{name}.html").as_uri()
        page.goto(address)
        page.evaluate("window.MathJax ? MathJax.startup.promise.then(() => true) : true")
        page.add_style_tag(content=STYLE)
        page.evaluate(UNFOLD_AND_ANCHOR, sorted(anchors.get(unquote(address), set()) - {""}))
        page.evaluate("Promise.all([document.fonts.ready, ...[...document.images].map(i => i.decode())]).then(() => true)")
        title = page.locator("article h1").first.inner_text().removesuffix("#").strip()
        yield Chapter(part, name, title, pdf_of(page, outline=True, scale=SCALE))
    page.close()


def front_matter(page, config, chapters, offset):
    contents, part = [], ""
    for chapter in chapters:
        if chapter.part != part:
            contents.append(f"<h3>{html.escape(chapter.part)}</h3>")
            part = chapter.part
        number = chapter.first + offset + 1
        contents.append(f'<p class="line"><span>{html.escape(chapter.title)}</span><i></i><span>{number}</span></p>')
    below = f"{html.escape(config['author'])}<br>{html.escape(str(config['copyright']))}"
    page.set_content(FRONT.format(title=html.escape(config["title"]), below=below, contents="".join(contents)))
    return pdf_of(page)


def destination(writer, number, place: Destination | None):
    """A place in the merged PDF: the top of a page, or the height of an anchor on it."""
    left, top = (place.left, place.top) if place else (None, None)
    numbers = [NullObject() if value is None else FloatObject(value) for value in (left, top, None)]
    return ArrayObject([writer.pages[number].indirect_reference, NameObject("/XYZ"), *numbers])


def relink(writer, chapters, folder, offset):
    """Point links between pages, and within one, to places in the merged PDF; other links to files lose their target."""
    by_address = {(folder / f"{chapter.name}.html").as_uri(): chapter for chapter in chapters}
    for chapter in chapters:
        for index in range(len(chapter.pdf.pages)):
            page = writer.pages[chapter.first + offset + index]
            kept = ArrayObject()
            for reference in page.get("/Annots", ArrayObject()):
                link = reference.get_object()
                uri = link.get("/A", {}).get("/URI", "")
                if "/Dest" in link:
                    target, anchor = chapter, str(link["/Dest"]).lstrip("/")
                elif uri.startswith("file:"):
                    address, anchor = urldefrag(str(uri))
                    target = by_address.get(address)
                else:
                    kept.append(reference)
                    continue
                if target is None:
                    continue
                places = target.pdf.named_destinations
                place = places.get(unquote(anchor)) or places.get(f"/{unquote(anchor)}")
                number = target.pdf.get_destination_page_number(place) if place else 0
                link.pop("/A", None)
                link[NameObject("/Dest")] = destination(writer, target.first + offset + number, place)
                kept.append(reference)
            if "/Annots" in page:
                page[NameObject("/Annots")] = kept


def bookmarks(writer, chapters, offset):
    parents = {"": None}
    for chapter in chapters:
        start = chapter.first + offset
        if chapter.part not in parents:
            parents[chapter.part] = writer.add_outline_item(title=chapter.part, page_number=start, bold=True)
        top = writer.add_outline_item(title=chapter.title, page_number=start, parent=parents[chapter.part])
        # the page's own outline: its title, and below it its sections
        for item in sections(chapter.pdf.outline):
            number = chapter.pdf.get_destination_page_number(item)
            title = item.title.removesuffix("#").strip()
            if title != chapter.title:
                writer.add_outline_item(title=title, page_number=start + number, parent=top)


def sections(outline, depth=0):
    for item in outline:
        if isinstance(item, list):
            if depth == 0:
                yield from sections(item, depth + 1)
        else:
            yield item


def print_book(folder: Path, target: Path, source: Path) -> int:
    """Write the PDF and return the number of its pages."""
    executable = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        sys.exit("no browser: install chromium, or name one by the environment variable CHROMIUM")
    config = yaml.safe_load((source / "_config.yml").read_text())
    toc = list(table_of_contents(source / "_toc.yml"))
    missing = [name for _, name in toc if not (folder / f"{name}.html").exists()]
    if missing:
        sys.exit(f"no page for {', '.join(missing)} in {folder}: run make book")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        chapters = list(print_chapters(browser, folder, toc))
        for before, chapter in zip(chapters, chapters[1:], strict=False):
            chapter.first = before.first + len(before.pdf.pages)
        page = browser.new_page()
        offset = len(front_matter(page, config, chapters, 0).pages)
        front = front_matter(page, config, chapters, offset)
        total = offset + chapters[-1].first + len(chapters[-1].pdf.pages)
        page.set_content(NUMBERS.format(pages="".join(f"<div>{number}</div>" for number in range(2, total + 1))))
        numbers = PdfReader(BytesIO(page.pdf(prefer_css_page_size=True)))
        browser.close()

    writer = PdfWriter()
    for pdf in (front, *(chapter.pdf for chapter in chapters)):
        writer.append(pdf, import_outline=False)
    for printed, number in zip(writer.pages[1:], numbers.pages, strict=False):
        printed.merge_page(number)
    relink(writer, chapters, folder, offset)
    # names of one page would hide those of another: every link has its place by now
    writer.root_object.pop("/Names", None)
    writer.root_object.pop("/Dests", None)
    bookmarks(writer, chapters, offset)
    writer.add_metadata({"/Title": config["title"], "/Author": config["author"]})
    writer.page_mode = "/UseOutlines"
    writer.root_object[NameObject("/ViewerPreferences")] = DictionaryObject({NameObject("/DisplayDocTitle"): BooleanObject(True)})
    writer.compress_identical_objects()
    target.parent.mkdir(parents=True, exist_ok=True)
    writer.write(target)
    return total


if __name__ == "__main__":
    folder, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    print(f"{print_book(folder, target, Path(__file__).resolve().parents[1])} pages in {target}")
