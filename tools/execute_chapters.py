"""Execute side by side the chapters whose code changed, into the cache from which the build takes their outputs.

Usage: execute_chapters.py [CHAPTER...]

Without names, every chapter of the table of contents. A chapter whose code and ledger the cache knows is not executed. When a
cell fails, the others are finished, every failure is shown with its chapter and line, and the exit status is 1. So it is when an
entry of a ledger is recorded by no cell.
"""

import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from myst_nb.core.read import is_myst_markdown_notebook, myst_nb_reader_plugin

from rmtlib.claims import entry_place, read_ledger
from rmtlib.files import file_sha256

BUILD = Path("_build")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def chapters_of_the_book():
    """Pages with code, the last first: they take longest, and the short ones fill the end of the queue."""
    toc = yaml.safe_load(Path("_toc.yml").read_text())
    entries = [{"file": toc["root"]}, *(entry for part in toc["parts"] for entry in part["chapters"])]
    files = [Path(f"{entry['file']}.md") for entry in entries]
    return [file for file in reversed(files) if is_myst_markdown_notebook(file.read_text())]


def ledger_of(chapter):
    return chapter.with_suffix(".claims.toml")


def digest(chapter):
    """What changes with the ledger of a chapter."""
    return file_sha256(ledger_of(chapter)) if ledger_of(chapter).exists() else ""


def is_known(cache, chapter):
    try:
        record = cache.match_cache_notebook(myst_nb_reader_plugin(str(chapter)))
    except KeyError:
        return False
    return record.data.get("ledger") == digest(chapter)


def unrecorded(cache, chapter):
    """Entries of a chapter's ledger that none of its cells records, with file and line."""
    if not ledger_of(chapter).exists():
        return []
    notebook = cache.get_cache_bundle(cache.match_cache_notebook(myst_nb_reader_plugin(str(chapter))).pk).nb
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    glued = {output.get("metadata", {}).get("scrapbook", {}).get("name") for output in outputs}
    missing = [id for id in read_ledger(ledger_of(chapter)) if not {id, f"{id}-verdict"} & glued]
    return [f"{entry_place(ledger_of(chapter), id)}: {id}: no cell of {chapter} records it" for id in missing]


def execute(chapter, timeout):
    """The executed notebook, its seconds, and what went wrong or None."""
    notebook = myst_nb_reader_plugin(str(chapter))
    quiet = ["--IPKernelApp.log_level=40"]
    result = single_nb_execution(notebook, cwd=str(chapter.parent), timeout=timeout, allow_errors=False, extra_arguments=quiet)
    return notebook, result.time, failure(notebook, result.err) if result.err else None


def failure(notebook, error):
    """The line of the cell that failed, and its message."""
    lines = notebook.metadata.source_map
    failed = [i for i, cell in enumerate(notebook.cells) if any(out.output_type == "error" for out in cell.get("outputs", []))]
    place = f"line {lines[failed[0]] + 1}: " if failed else ""
    return place + COLOURS.sub("", str(error)).strip()


def main(names):
    timeout = yaml.safe_load(Path("_config.yml").read_text())["execute"]["timeout"]
    cache = get_cache(BUILD / ".jupyter_cache")
    asked = list(map(Path, names)) if names else chapters_of_the_book()
    chapters = [path for path in asked if not is_known(cache, path)]
    failures = run(cache, chapters, timeout) if chapters else {}
    stray = [problem for chapter in asked if chapter not in failures for problem in unrecorded(cache, chapter)]
    for chapter, problem in failures.items():
        print(f"\n{chapter}, {problem}", file=sys.stderr)
    for problem in stray:
        print(problem, file=sys.stderr)
    return 1 if failures or stray else 0


def run(cache, chapters, timeout):
    """Execute chapters side by side into the cache; return what went wrong by chapter."""
    # as many kernels as processors at a time: more threads in each would only get in each other's way
    cores = os.cpu_count() or 1
    for variable in THREADS:
        os.environ.setdefault(variable, str(max(1, cores // len(chapters))))
    failures = {}
    with ProcessPoolExecutor(min(cores, len(chapters))) as pool:
        jobs = {pool.submit(execute, chapter, timeout): chapter for chapter in chapters}
        for number, job in enumerate(as_completed(jobs), 1):
            chapter = jobs[job]
            try:
                notebook, seconds, problem = job.result()
            except Exception as error:  # a kernel that died, for example
                seconds, problem = 0, f"{type(error).__name__}: {error}"
            progress = f"[{number}/{len(jobs)}] {chapter}"
            if problem:
                failures[chapter] = problem
                print(f"{progress} FAILED", flush=True)
                continue
            data = {"execution_seconds": seconds, "ledger": digest(chapter)}
            record = CacheBundleIn(notebook, str(chapter.resolve()), data=data)
            cache.cache_notebook_bundle(record, check_validity=False, overwrite=True)
            # Sphinx looks at the text of a page alone, and would keep the outputs that it has
            (BUILD / ".doctrees" / chapter.with_suffix(".doctree")).unlink(missing_ok=True)
            print(f"{progress} {seconds:.0f} s", flush=True)
    return failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
