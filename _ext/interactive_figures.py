"""Scripts of the interactive figures, on the pages that have one and on no other.

jupyter-book adds every script below ``_static`` to all pages.
"""

SCRIPTS = [f"vega/{name}.min.js" for name in ("vega", "vega-lite", "vega-embed")] + ["interactive.js"]
FIGURE = '<div class="interactive"'


def on_no_page(app, config):
    config.html_js_files = [file for file in config.html_js_files if file not in SCRIPTS]


def on_this_page(app, pagename, templatename, context, doctree):
    if FIGURE in context.get("body", ""):
        for script in SCRIPTS:
            app.add_js_file(script, loading_method="defer")


def setup(app):
    app.connect("config-inited", on_no_page)
    app.connect("html-page-context", on_this_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
