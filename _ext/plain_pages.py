"""Pages that ask nothing of the network, load every script once, and log no error.

jupyter-book adds each script below ``_static`` to all pages, MathJax included, which Sphinx adds by itself; sphinx-thebe declares
the address of a live-code service on all pages, used or not; Sphinx marks up bibliographies by a role that is out of use; and the
theme logs an error on the first visit, when no light or dark mode has been chosen yet (a default mode in the configuration would
leave readers without scripts no colours at all).
"""

CHOOSE_MODE = "<script>localStorage.getItem('mode') || localStorage.setItem('mode', 'auto')</script>"


def load_mathjax_once(app, config):
    config.html_js_files = [file for file in config.html_js_files if config.mathjax_path not in file]


def tidy(app, pagename, templatename, context, doctree):
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', '')}".lower()
    ]
    context["metatags"] = context.get("metatags", "") + CHOOSE_MODE
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    app.connect("config-inited", load_mathjax_once)
    # late: the other extensions have added their scripts by then
    app.connect("html-page-context", tidy, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
