"""The command ``rmtlib``: arguments in, one call of the library, an exit status out.

The status is 0 if the work was done, 1 if it failed or a layer meets a condition of ``--fail-on``, 2 if it could not be started
as asked, 130 after Ctrl-C, 143 after SIGTERM, and 141 if who reads the output has stopped.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import textwrap
import threading
from contextlib import contextmanager
from pathlib import Path

__all__ = ["main"]

LAYER_OPTIONS = ("layers", "workers", "scheduler", "resume")
NETWORK = (
    "a file of weights (.safetensors, .pt, .npz, .keras, .h5, .onnx, .gguf, .msgpack and others), a folder of Hugging Face or of "
    "shards, or a name: alexnet, vgg16, vgg19 (downloaded once), minilm (from a package), or a run of the book"
)
SIZES = "the sizes of its neurons (how large rows and columns are) taken out"
STATUS = "exit status: 0 done, 1 failed or --fail-on was met, 2 wrong arguments, 130 Ctrl-C, 143 SIGTERM"
CLOSED = 141  # as a shell says it of a program that SIGPIPE ended
PAIR = {"nargs": 2, "metavar": ("NAME", "VALUE"), "action": "append", "default": []}


class Failed(Exception):
    """Work that began and failed; the message says how."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments : list of str, optional
        By default those of the command line.

    Returns
    -------
    int
        The exit status, see the module.
    """
    _make_streams_usable()
    command, left = "rmtlib", str
    terminated: list[int] = []
    try:
        with _ending_on_sigterm(terminated), _flushed():
            options = _parser().parse_args(arguments)
            command = f"rmtlib {options.command}"
            left = options.left(options)
            return options.call(options)
    except ValueError as error:
        print(f"{command}: {_shown(error)}", file=sys.stderr)
        return 2
    except (Failed, OSError) as error:
        _let_go_of_closed_streams()
        if isinstance(error, BrokenPipeError):
            return CLOSED
        print(f"{command} failed: {_shown(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{command}: interrupted; {left()}", file=sys.stderr)
        return 128 + (terminated or [signal.SIGINT])[0]


def _make_streams_usable():
    """Of what a terminal cannot show, escapes are shown; a stream that is closed takes nothing and is no error."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _flushed():
    """What was printed is out at the end, or it is an error."""
    try:
        yield
    finally:
        sys.stdout.flush()


def _let_go_of_closed_streams():
    """What is left in a stream that takes no more goes nowhere, or Python would complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())


@contextmanager
def _ending_on_sigterm(received):
    """SIGTERM ends the work as Ctrl-C does, and is noted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: what comes now is short
        received.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _shown(error):
    """An error for a terminal, whatever the names in it hold."""
    from .text import printable

    return "\n".join(map(printable, str(error).splitlines()))


def _parser():
    from . import __version__

    description = (
        "What is in the weights of a neural network? Each weight matrix is compared with noise of its shape: what noise would "
        "not show was learned. Reads files of all usual frameworks; needs no GPU, and only the libraries of the formats it reads."
    )
    first = "  rmtlib report my.safetensors -o my   # begin here: writes my.html\n  rmtlib report --help"
    parser = argparse.ArgumentParser(prog="rmtlib", **_texts(description, first))
    parser.add_argument("--version", action="version", version=f"rmtlib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_report, _scan, _compare, _filter, _run, _sweep):
        add(commands)
    return parser


def _texts(description, examples):
    """Arguments of a parser whose help ends with examples, in lines as they are, and the exit status."""
    return {
        "description": textwrap.fill(description, 79),
        "epilog": f"examples:\n{examples}\n\n{STATUS}",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def _report(commands):
    text = (
        "Report on any network, layer by layer: a page to send around, a table (CSV) and the same as JSON. "
        f"Each layer is compared with noise of its shape, as it is and with {SIZES}. The page explains what it shows."
    )
    examples = """    rmtlib report my.safetensors -o my               writes my.html, my.csv and my.json
    rmtlib report my.safetensors --layers attn       some layers alone
    rmtlib report my.pt --fail-on 'outliers>100'     for continuous integration"""
    brief = "a page and a table about the weights of a network"
    parser = commands.add_parser("report", help=brief, **_texts(text, examples))
    parser.add_argument("weights", metavar="NETWORK", help=NETWORK)
    parser.add_argument("-o", "--output", default="report", help="where to: OUTPUT.html, .csv and .json (default: report)")
    parser.add_argument(
        "-a",
        type=int,
        default=15,
        metavar="LEVELS",
        help="singular values on either side over which their density is averaged before spacings are measured (default: 15)",
    )
    parser.add_argument(
        "--no-null", dest="null", action="store_false", help="leave out the rows of noise of the same shapes: faster"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    _split_option(parser)
    _layer_options(parser)
    help_of_condition = "exit with status 1 if a layer meets it: a column of the CSV and a bound, such as 'outliers>100' or"
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        metavar="CONDITION",
        help=f"{help_of_condition} 'spacing_qvalue<0.05'; may be repeated; a wrong column lists all",
    )
    parser.set_defaults(call=_make_report, left=_table_left("report"))


def _make_report(options):
    if options.dry_run:
        from .report.source import find_network

        return _list_costs(find_network(options.weights, split_qkv=options.split_qkv), options.layers, "analysis")
    from .report import make_report
    from .text import printable

    settings = {name: getattr(options, name) for name in ("a", "null", "seed", "split_qkv", "fail_on", *LAYER_OPTIONS)}
    made = make_report(options.weights, options.output, **settings)
    print(made.html, made.csv, made.json, sep="\n")
    for condition, found in made.failing.items():
        for layer, value in found:
            print(f"rmtlib report: {condition}: {printable(layer)} has {value:.6g}", file=sys.stderr)
    return 1 if made.failed else 0


def _table_left(name):
    """What a command leaves when it is interrupted, by what its files are called in a folder: asked before it begins."""

    def before(options):
        from .files import file_state

        csv = Path(f"{os.path.join(options.output, name) if os.path.isdir(options.output) else options.output}.csv")
        older = file_state(csv)

        def told():
            if file_state(csv) != older:
                return f"layers that were finished are in {csv}; the same command with --resume goes on"
            return "no layer was finished" + (f"; {csv} is as it was" if older else "")

        return told

    return before


def _file_left(options):
    from .files import file_state

    older = file_state(options.output)
    return lambda: f"{options.output} is complete" if file_state(options.output) != older else "no file was written"


def _split_option(parser):
    parser.add_argument(
        "--split-qkv",
        action="store_true",
        help="split weights that hold queries, keys and values of attention in one matrix into these three",
    )


def _layer_options(parser):
    """Options of every command that works on a network layer by layer."""
    parser.add_argument(
        "--layers", metavar="REGEX", help="only layers in whose name this regular expression is found, such as 'attn|mlp'"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="layers at a time on this machine (default: one a processor)")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use the workers of a running dask scheduler instead, such as tcp://host:8786; all must see the files under the "
        "same path",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where the same command was stopped: layers that OUTPUT.csv holds already are not done again, and rows of "
        "layers that --layers leaves out stay there. OUTPUT.csv is written every five seconds: a command that is killed loses "
        "what was finished in the last ones",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only list the layers, with the time and memory that each may take: reads no weights, writes no file",
    )


def _list_costs(network, layers=None, what="scan", full=True):
    from .costs import estimate
    from .text import printable

    table = estimate(network, layers=layers, what=what, full=full)
    width = max(map(len, map(printable, table["layer"])))
    for name, shape, seconds, gigabytes in table.itertuples(index=False):
        needs = f"{_at_least(seconds, 1):>9} s  {_at_least(gigabytes, 2):>7} GB"
        print(f"{printable(name):<{width}}  {' x '.join(map(str, shape)):>15}  {needs}")
    whole, most = table["seconds"].sum(), _at_least(table["gigabytes"].max(), 2)
    time = (
        f"{whole / 3600:.1f} hours"
        if whole > 3600
        else f"{whole / 60:.0f} minutes"
        if whole > 120
        else f"{_at_least(whole, 0)} s"
    )
    print(
        f"{len(table)} layers: about {time} on one processor, and {most} GB for each worker beside the 0.2 GB of the program. "
        "Estimates, good to a factor of two or three."
    )
    return 0


def _at_least(value, digits):
    return f"{value:.{digits}f}" if value >= 10.0**-digits else f"< {10.0**-digits:g}"


def _scan(commands):
    text = (
        "How much of each weight matrix is noise, from its singular values alone: a table for checkpoints of any size, with one "
        f"matrix a worker in memory. It says how many singular values are larger than noise makes them, as they are and "
        f"with {SIZES}. OUTPUT.csv grows while the scan runs; OUTPUT.json has the same at the end."
    )
    examples = """    rmtlib scan checkpoint/ --dry-run                how long, and how much memory
    rmtlib scan checkpoint/ --layers 'layers' -o my  writes my.csv and my.json
    rmtlib scan checkpoint/ -o my --resume           goes on after an interruption"""
    brief = "a table of singular values, for checkpoints of any size"
    parser = commands.add_parser("scan", help=brief, **_texts(text, examples))
    parser.add_argument("weights", metavar="NETWORK", help=NETWORK)
    parser.add_argument("-o", "--output", default="scan", help="where to: OUTPUT.csv and OUTPUT.json (default: scan)")
    parser.add_argument(
        "--no-sizes",
        dest="sizes",
        action="store_false",
        help="leave out the columns with the sizes of neurons taken out: half of the time",
    )
    parser.add_argument(
        "--snr-json",
        metavar="FILE",
        help="also write signal-to-noise ratios in the form of Spectrum's result file, which its plug-in for axolotl reads; the "
        "edge of noise is calibrated here, but nobody has shown that layers chosen by it fine-tune better",
    )
    _split_option(parser)
    _layer_options(parser)
    parser.set_defaults(call=_scan_network, left=_table_left("scan"))


def _scan_network(options):
    from .report.source import find_network
    from .scan_files import in_words, write_scan

    network = find_network(options.weights, split_qkv=options.split_qkv)
    if options.dry_run:
        return _list_costs(network, options.layers, full=options.sizes)
    settings = {name: getattr(options, name) for name in LAYER_OPTIONS}
    table, files = write_scan(network, options.output, snr=options.snr_json, biwhiten=options.sizes, **settings)
    print(in_words(table), *files, sep="\n")
    return 0


def _compare(commands):
    text = (
        "What a training changed, layer by layer: how large the update is, how many of its directions are beyond noise, whether "
        "it points along the base, and what is left of the top directions. The update is tuned minus base. OUTPUT.html is a page "
        "to send around, OUTPUT.csv a table, OUTPUT.json the same for programs."
    )
    examples = """    rmtlib compare base.safetensors tuned.safetensors -o my
    rmtlib compare base/ adapter/ --layers 'q_proj|v_proj' --intruders
    rmtlib compare base.safetensors checkpoints/     along the steps of a training"""
    brief = "what a training changed in a network: a page and a table"
    parser = commands.add_parser("compare", help=brief, **_texts(text, examples))
    parser.add_argument("base", metavar="BASE", help=f"the network before the training: {NETWORK}")
    parser.add_argument(
        "tuned",
        metavar="TUNED",
        help="the network after; or an adapter (LoRA), which need not be merged; or a folder of checkpoints whose names end in "
        "numbers, such as checkpoint-500, for the same along their steps",
    )
    parser.add_argument(
        "-o", "--output", default="comparison", help="where to: OUTPUT.html, .csv and .json (default: comparison)"
    )
    parser.add_argument(
        "--intruders",
        action="store_true",
        help="also ask which of the largest singular vectors after the training resemble none before it (intruder dimensions), "
        "more than noise of the update's sizes brings about: two to four times the time",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise for --intruders (default: 0)")
    _layer_options(parser)
    parser.set_defaults(call=_make_comparison, left=_table_left("comparison"))


def _make_comparison(options):
    from .report.comparing import find_tuned, make_comparison
    from .text import printable

    if options.dry_run:
        from .comparison import pair_networks
        from .report.source import find_network

        tuned, unread = find_tuned(options.tuned)
        pairs = pair_networks(find_network(options.base), tuned, options.layers)
        for step, why in unread:
            print(f"step {step} is left out: {printable(why)}")
        return _list_costs(pairs, what="comparison", full=options.intruders)
    settings = {name: getattr(options, name) for name in ("intruders", "seed", *LAYER_OPTIONS)}
    made = make_comparison(options.base, options.tuned, options.output, **settings)
    print(printable(made.comparison.text), made.html, made.csv, made.json, sep="\n")
    return 0


def _filter(commands):
    text = (
        "Take the noise out of the weights of a network: of each matrix only the singular values beyond noise are kept, and "
        "shrunk by what noise has added to them."
    )
    examples = """    rmtlib filter my.safetensors filtered.safetensors
    rmtlib filter my.safetensors half.safetensors --cut 0.5 --shrink none"""
    brief = "a network without the noise in its weights"
    parser = commands.add_parser("filter", help=brief, **_texts(text, examples))
    parser.add_argument("file", metavar="FILE", help="the network, a .safetensors file; it is not changed")
    parser.add_argument("output", metavar="OUT", help="the new .safetensors file")
    help_of_cut = "what a layer keeps: edge (what noise does not reach), a number of singular values, or a share such as 0.5"
    parser.add_argument("--cut", type=_cut, default="edge", help=f"{help_of_cut} (default: edge)")
    shrinkers = {"frobenius": "frobenius", "inverse": "inverse", "none": False}
    parser.add_argument(
        "--shrink",
        choices=shrinkers,
        default="frobenius",
        help="how what is kept is shrunk: frobenius (least squared error), inverse (to the strengths without noise), none "
        "(default: frobenius)",
    )
    parser.add_argument(
        "--layer", dest="layers", action="append", metavar="NAME", help="a layer to filter, by default all; may be repeated"
    )
    parser.add_argument(
        "-a", type=int, default=15, metavar="LEVELS", help="half window in the fit of the noise, in singular values (default: 15)"
    )
    parser.set_defaults(call=lambda options: _filter_network(options, shrinkers[options.shrink]), left=_file_left)


def _cut(text):
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _filter_network(options, shrink) -> int:
    from .filtering import filter_network

    settings = {"cut": options.cut, "shrink": shrink, "layers": options.layers, "a": options.a}
    filtered = filter_network(options.file, options.output, **settings)
    columns = ["layer", "shape", "levels", "rank", "norm_before", "norm_after", "note"]
    print(filtered.report[columns].to_string(index=False, float_format="{:.4g}".format))
    print(filtered.weights)
    return 0


def _run(commands):
    text = "Run a notebook with other parameters. Relative paths start from the current folder."
    examples = "    rmtlib run chapters/03_marchenko_pastur.md -p seed 1"
    parser = commands.add_parser("run", help="a notebook with other parameters", **_texts(text, examples))
    parser.add_argument("notebook", metavar="NOTEBOOK", help="MyST-markdown (.md) or .ipynb")
    parser.add_argument("-p", dest="parameters", **PAIR, help="a parameter and its value; may be repeated")
    parser.add_argument("-o", "--output", help="the executed notebook (default: runs/<notebook>-<parameters>.ipynb)")
    again = "repeat the command, and a training goes on after its last epoch"
    parser.set_defaults(call=_launch, left=lambda options: lambda: again)


def _launch(options):
    from .files import check_output

    module = _needs_notebooks("launch")
    if options.output is not None and os.path.exists(options.output):
        check_output(options.output, "output", [Path(options.notebook)])
    try:
        parameters = module.check_parameters(module.read_notebook(options.notebook), dict(options.parameters), from_text=True)
        print(module.launch(options.notebook, parameters, output=options.output, log=sys.stderr))
    except module.NotebookError as error:
        msg = f"{options.notebook}: {error}"
        raise Failed(msg) from None
    return 0


def _sweep(commands):
    text = "Run a grid of parameters through a notebook. What is done is skipped, what was interrupted goes on."
    examples = "    rmtlib sweep sweeps/regimes.yaml --workers 4"
    parser = commands.add_parser("sweep", help="a grid of parameters through a notebook", **_texts(text, examples))
    parser.add_argument("grid", metavar="GRID", help="YAML file with notebook, output, base, grid, runs")
    help_of_scheduler = "address of a dask scheduler, such as tcp://host:8786"
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        default=os.environ.get("SCHEDULER") or None,
        help=f"{help_of_scheduler} (default: environment variable SCHEDULER, or this machine)",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="workers on this machine (default: one a processor)")
    parser.set_defaults(call=_run_grid, left=lambda options: lambda: "repeat the command to go on")


def _run_grid(options):
    done = _needs_notebooks("sweep").sweep(options.grid, scheduler=options.scheduler, workers=options.workers)
    counts = f"{len(done.skipped)} runs were done before, {len(done.finished)} are done now, {len(done.failed)} failed"
    print(counts + "".join(f"\n  {error}\n    see {os.path.relpath(log)}" for log, error in done.failed.items()))
    return 1 if done.failed else 0


def _needs_notebooks(module):
    try:
        return importlib.import_module(f"rmtlib.notebooks.{module}")
    except ModuleNotFoundError as error:
        msg = f'{error.name} is not installed; get it with: pip install "rmtlib[notebooks]"'
        raise ValueError(msg) from None
