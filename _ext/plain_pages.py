"""Pages that ask nothing of the network and load every script once.

jupyter-book adds each script below ``_static`` to all pages, MathJax included, which Sphinx adds by itself; sphinx-thebe declares
the address of a live-code service on all pages, used or not; and Sphinx marks up bibliographies by a role that is out of use.
"""


def load_mathjax_once(app, config):
    config.html_js_files = [file for file in config.html_js_files if config.mathjax_path not in file]


def tidy(app, pagename, templatename, context, doctree):
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', '')}".lower()
    ]
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    app.connect("config-inited", load_mathjax_once)
    # late: the other extensions have added their scripts by then
    app.connect("html-page-context", tidy, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
