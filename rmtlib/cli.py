"""The command ``rmtlib``: arguments in, one call of the library, an exit status out.

The status is 0 if the work was done, 1 if it failed or a layer meets a condition of ``--fail-on``, 2 if it could not be started
as asked, and 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

__all__ = ["main"]

LAYER_OPTIONS = ("layers", "workers", "scheduler", "resume")
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
    options = _parser().parse_args(arguments)
    try:
        return options.call(options)
    except ValueError as error:
        print(f"rmtlib {options.command}: {_shown(error)}", file=sys.stderr)
        return 2
    except (Failed, OSError) as error:
        print(f"rmtlib {options.command} failed: {_shown(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"rmtlib {options.command}: interrupted; {options.after_interrupt(options)}", file=sys.stderr)
        return 130


def _shown(error):
    """An error for a terminal, whatever the names in it hold."""
    from .text import printable

    return "\n".join(map(printable, str(error).splitlines()))


def _parser():
    from . import __version__

    parser = argparse.ArgumentParser(prog="rmtlib", description="Random matrix theory of neural network weights.")
    parser.add_argument("--version", action="version", version=f"rmtlib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_report, _scan, _compare, _filter, _run, _sweep):
        add(commands)
    return parser


def _report(commands):
    text = (
        "Report on any network, layer by layer: a page to send around, a table (CSV) and the same as JSON. "
        "Each layer is compared with noise of its shape, as it is and with the sizes of its neurons taken out."
    )
    parser = commands.add_parser("report", help="a page and a table about the weights of a network", description=text)
    parser.add_argument("weights", help="a file or folder of weights, or the name of a network that rmtlib knows")
    parser.add_argument("-o", "--output", default="report", help="where to: OUTPUT.html, .csv and .json (default: report)")
    parser.add_argument("-a", type=int, default=15, help="half window of the unfolding, in levels (default: 15)")
    parser.add_argument("--no-null", dest="null", action="store_false", help="leave out the noise of the same shapes")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument("--split-qkv", action="store_true", help="split fused attention weights into their three parts")
    _layer_options(parser)
    help_of_condition = "exit with status 1 if a layer meets it: a column of the CSV and a bound, such as 'outliers>100' or"
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        metavar="CONDITION",
        help=f"{help_of_condition} 'spacing_qvalue<0.05'; may be repeated; a wrong column lists all",
    )
    parser.set_defaults(call=_make_report, after_interrupt=_what_a_report_left)


def _make_report(options):
    if options.dry_run:
        return _list_costs(options, "analysis")
    from .report import make_report
    from .text import printable

    settings = {name: getattr(options, name) for name in ("a", "null", "seed", "split_qkv", "fail_on", *LAYER_OPTIONS)}
    made = make_report(options.weights, options.output, **settings)
    print(made.html, made.csv, made.json, sep="\n")
    for condition, found in made.failing.items():
        for layer, value in found:
            print(f"rmtlib report: {condition}: {printable(layer)} has {value:.6g}", file=sys.stderr)
    return 1 if made.failed else 0


def _what_a_report_left(options):
    output = Path(options.output)
    csv = output / "report.csv" if output.is_dir() else output.with_name(f"{output.name}.csv")
    return _finished_layers(csv)


def _finished_layers(csv):
    return f"layers that were finished are in {csv}" if csv.exists() else "no layer was finished"


def _layer_options(parser):
    """Options of every command that works on a network layer by layer."""
    parser.add_argument(
        "--layers", metavar="REGEX", help="only layers in whose name this regular expression is found, such as 'attn|mlp'"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="layers at a time on this machine (default: one a processor)")
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="use the workers of a running dask scheduler instead, such as tcp://host:8786; they must see the same files",
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep the rows that the CSV holds for this file already, and go on with the others"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only list the layers, with the time and memory that each may take; reads no weights",
    )


def _list_costs(options, what):
    from .costs import estimate
    from .report.source import find_network
    from .text import printable

    network = find_network(options.weights, split_qkv=options.split_qkv)
    table = estimate(network, layers=options.layers, biwhiten=getattr(options, "sizes", True), what=what)
    width = max(map(len, map(printable, table["layer"])))
    for name, shape, seconds, gigabytes in table.itertuples(index=False):
        print(f"{printable(name):<{width}}  {' x '.join(map(str, shape)):>15}  {seconds:9.1f} s  {gigabytes:7.2f} GB")
    hours = table["seconds"].sum() / 3600
    print(
        f"{len(table)} layers: about {hours:.2g} hours on one processor, and {table['gigabytes'].max():.2g} GB for each worker. "
        "Estimates, good to a factor of two or three."
    )
    return 0


def _scan(commands):
    text = (
        "How much of each weight matrix is noise, from its singular values alone: a table for checkpoints of any size, "
        "with one matrix in memory at a time. OUTPUT.csv grows while the scan runs; OUTPUT.json has the same at the end."
    )
    parser = commands.add_parser("scan", help="a table of singular values, for checkpoints of any size", description=text)
    parser.add_argument("weights", help="a file or folder of weights, or the name of a network that rmtlib knows")
    parser.add_argument("-o", "--output", default="scan", help="where to: OUTPUT.csv and OUTPUT.json (default: scan)")
    parser.add_argument(
        "--no-sizes",
        dest="sizes",
        action="store_false",
        help="leave out what remains once the sizes of neurons are taken out: half of the time",
    )
    parser.add_argument(
        "--snr-json",
        metavar="FILE",
        help="also write the signal-to-noise ratios as Spectrum does, for axolotl's plug-in: its edge is calibrated here, "
        "but nobody has shown that layers chosen by it fine-tune better",
    )
    parser.add_argument("--split-qkv", action="store_true", help="split fused attention weights into their three parts")
    _layer_options(parser)
    parser.set_defaults(call=_scan_network, after_interrupt=_what_a_scan_left)


def _scan_network(options):
    if options.dry_run:
        return _list_costs(options, "scan")
    from .report.source import find_network
    from .scan_files import in_words, write_scan

    settings = {name: getattr(options, name) for name in LAYER_OPTIONS}
    network = find_network(options.weights, split_qkv=options.split_qkv)
    table, files = write_scan(network, options.output, snr=options.snr_json, biwhiten=options.sizes, **settings)
    print(in_words(table), *files, sep="\n")
    return 0


def _what_a_scan_left(options):
    from .scan_files import table_file

    csv = table_file(options.output)
    return _finished_layers(csv) + ("; the same command with --resume goes on" if csv.exists() else "")


def _compare(commands):
    text = (
        "What a training changed, layer by layer: how large the update is, how many of its directions are beyond noise, whether "
        "it points along the base, and what is left of the top directions. OUTPUT.html is a page to send around, OUTPUT.csv a "
        "table, OUTPUT.json the same for programs."
    )
    parser = commands.add_parser("compare", help="what a training changed in a network: a page and a table", description=text)
    parser.add_argument("base", metavar="BASE", help="the network before: a file, a folder or a name, as of rmtlib report")
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
        help="also ask which of the top vectors are new beyond what noise of the update's sizes makes new: twice the time",
    )
    parser.add_argument(
        "--layers", metavar="REGEX", help="only layers in whose name this regular expression is found, such as 'attn|mlp'"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise for --intruders (default: 0)")
    parser.add_argument("--workers", type=int, metavar="N", help="layers at a time on this machine (default: one a processor)")
    parser.set_defaults(call=_make_comparison, after_interrupt=lambda options: "no file was written")


def _make_comparison(options):
    from .report.comparing import make_comparison
    from .text import printable

    settings = {name: getattr(options, name) for name in ("intruders", "layers", "seed", "workers")}
    made = make_comparison(options.base, options.tuned, options.output, **settings)
    print(printable(made.comparison.text), made.html, made.csv, made.json, sep="\n")
    return 0


def _filter(commands):
    text = "Take the noise out of the weights of a network: cut each spectrum where information begins, and shrink the rest."
    parser = commands.add_parser("filter", help="a network without the noise in its weights", description=text)
    parser.add_argument("file", metavar="FILE", help="the network, a .safetensors file; it is not changed")
    parser.add_argument("output", metavar="OUT", help="the new .safetensors file")
    help_of_cut = "what a layer keeps: edge (what noise does not reach), a number of singular values, or a share such as 0.5"
    parser.add_argument("--cut", type=_cut, default="edge", help=f"{help_of_cut} (default: edge)")
    shrinkers = {"frobenius": "frobenius", "inverse": "inverse", "none": False}
    parser.add_argument(
        "--shrink", choices=shrinkers, default="frobenius", help="how what is kept is shrunk (default: frobenius)"
    )
    parser.add_argument(
        "--layer", dest="layers", action="append", metavar="NAME", help="a layer to filter, by default all; may be repeated"
    )
    parser.add_argument("-a", type=int, default=15, help="half window in the fit of the noise, in levels (default: 15)")
    parser.set_defaults(
        call=lambda options: _filter_network(options, shrinkers[options.shrink]),
        after_interrupt=lambda options: "no file was written",
    )


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
    parser = commands.add_parser("run", help="a notebook with other parameters", description=text)
    parser.add_argument("notebook", metavar="NOTEBOOK", help="MyST-markdown (.md) or .ipynb")
    parser.add_argument("-p", dest="parameters", **PAIR, help="a parameter; may be repeated")
    parser.add_argument("-o", "--output", help="the executed notebook (default: runs/<notebook>-<parameters>.ipynb)")
    again = "repeat the command, and a training goes on after its last epoch"
    parser.set_defaults(call=_launch, after_interrupt=lambda options: again)


def _launch(options):
    module = _needs_notebooks("launch")
    try:
        parameters = module.check_parameters(module.read_notebook(options.notebook), dict(options.parameters), from_text=True)
        print(module.launch(options.notebook, parameters, output=options.output, log=sys.stderr))
    except module.NotebookError as error:
        msg = f"{options.notebook}: {error}"
        raise Failed(msg) from None
    return 0


def _sweep(commands):
    text = "Run a grid of parameters through a notebook. What is done is skipped, what was interrupted goes on."
    parser = commands.add_parser("sweep", help="a grid of parameters through a notebook", description=text)
    parser.add_argument("grid", metavar="GRID", help="YAML file with notebook, output, base, grid, runs")
    help_of_scheduler = "address of a dask scheduler, such as tcp://host:8786"
    parser.add_argument(
        "--scheduler",
        default=os.environ.get("SCHEDULER") or None,
        help=f"{help_of_scheduler} (default: environment variable SCHEDULER, or this machine)",
    )
    parser.add_argument("--workers", type=int, help="workers on this machine (default: one a core)")
    parser.set_defaults(call=_run_grid, after_interrupt=lambda options: "repeat the command to go on")


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
