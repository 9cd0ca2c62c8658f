"""Pages that stay legible on a phone.

A figure of several panels is not shrunk to the width of a phone but scrolls by itself, in letters that can be read
(`_static/book.css` has the other half), and no comma or full stop begins a line after a formula.
"""

import re
from pathlib import Path

# Pixels: from two panels side by side on.
WIDE = 900
IMAGE = re.compile(r'<img alt="[^"]*" src="[^"]*_images/(?P<file>[^"/]+\.png)"[^>]*>')
FORMULA = re.compile(r'<span class="math notranslate nohighlight">[^<]*</span>[.,;:!?)’”]+')


def width(png):
    """Width in pixels, from the header of the file."""
    with png.open("rb") as file:
        return int.from_bytes(file.read(20)[16:20], "big")


def make_legible(app, pagename, templatename, context, doctree):
    if "body" not in context:
        return
    sources = {name: source for source, name in app.builder.images.items()}

    def boxed(match):
        """The image, in a box that scrolls if it is wide."""
        source = sources.get(match["file"])
        if source is None or (pixels := width(Path(app.srcdir) / source)) < WIDE:
            return match[0]
        image = match[0].replace("<img ", f'<img style="--pixels: {pixels}px" ', 1)
        return f'<span class="wide" role="group" aria-label="wide figure" tabindex="0">{image}</span>'

    body = IMAGE.sub(boxed, context["body"])
    context["body"] = FORMULA.sub(r'<span class="unbroken">\g<0></span>', body)


def setup(app):
    app.connect("html-page-context", make_legible)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
