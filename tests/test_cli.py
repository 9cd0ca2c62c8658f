"""The command; what its sub-commands do is tested where that is: reports, notebooks, sweeps."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import rmtlib
from rmtlib import cli, filtering
from rmtlib.cli import main
from rmtlib.report import comparing, source

from . import builders

COMMANDS = ("report", "scan", "compare", "filter", "run", "sweep")


@pytest.fixture
def network(tmp_path):
    """Two layers with three strong levels each."""
    spiked = {name: rmtlib.ensembles.spiked((200, 100), seed, strengths=[3.0, 4.0, 5.0]) for seed, name in enumerate("ab")}
    return builders.safetensors(
        tmp_path / "net.safetensors", {f"{name}.weight": planted.matrix.astype("float32") for name, planted in spiked.items()}
    )


def test_help_names_every_command_and_each_explains_its_options(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert re.findall(r"^    (\w+) ", text, re.M) == list(COMMANDS)
    for command in COMMANDS:
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        text = capsys.readouterr().out
        assert text.startswith(f"usage: rmtlib {command} ")
        options = re.findall(r"^  (?:-|\w).*", text, re.M)
        assert all(re.search(r"\S {2,}\S", line) or line + "\n    " in text for line in options)


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "rmtlib", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"rmtlib {rmtlib.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["analyse"], "invalid choice: 'analyse'"),
        (["report", "x", "--colour"], "unrecognized arguments: --colour"),
        (["run"], "the following arguments are required: NOTEBOOK"),
        (["sweep", "x", "--workers", "two"], "argument --workers: invalid int value: 'two'"),
    ],
)
def test_what_is_no_command_gives_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as status:
        main(arguments)
    assert status.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("command", "module"), [("run", "papermill"), ("run", "jupytext"), ("sweep", "dask")])
def test_a_missing_extra_is_named(command, module, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith(("rmtlib.notebooks", module))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    assert main([command, "some.file"]) == 2
    assert capsys.readouterr().err.endswith('is not installed; get it with: pip install "rmtlib[notebooks]"\n')


def test_a_filtered_network_is_that_of_the_library(network, tmp_path, capsys):
    output = tmp_path / "out.safetensors"
    assert main(["filter", str(network), str(output), "--cut", "2", "--shrink", "none", "--layer", "b"]) == 0
    expected = filtering.filter_network(
        network, tmp_path / "expected.safetensors", cut=2, shrink=False, layers=["b"], progress=False
    )
    for name, array in load_file(expected.weights).items():
        np.testing.assert_array_equal(load_file(output)[name], array)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(output)
    assert printed[0].split() == ["layer", "shape", "levels", "rank", "norm_before", "norm_after", "note"]
    assert len(printed) == 3


@pytest.mark.parametrize(("text", "cut"), [("edge", "edge"), ("3", 3), ("0.5", 0.5), ("1.0", 1.0)])
def test_a_cut_is_a_word_a_number_or_a_share(text, cut, network, tmp_path, monkeypatch):
    seen = {}

    def stop(*arguments, **options):
        seen.update(options)
        msg = "stop"
        raise ValueError(msg)

    monkeypatch.setattr(filtering, "filter_network", stop)
    assert main(["filter", str(network), str(tmp_path / "out.safetensors"), "--cut", text]) == 2
    assert (seen["cut"], type(seen["cut"])) == (cut, type(cut))
    assert (seen["shrink"], seen["layers"], seen["a"]) == ("frobenius", None, 15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.safetensors", "net.safetensors"], "output must not be the input"),
        (["net.safetensors", "out.safetensors", "--cut", "most"], "cut of 'a' must be 'edge'"),
        (["net.safetensors", "out.safetensors", "--layer", "c"], "layers must name matrices of the network"),
        (["no.safetensors", "out.safetensors"], "model_or_weights must be a .safetensors file that exists"),
    ],
)
def test_what_cannot_be_filtered_gives_one_sentence_and_no_file(arguments, message, network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["filter", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith(f"rmtlib filter: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        (["report", "x", "-o", "none"], "no layer was finished"),
        (["scan", "x", "-o", "none"], "no layer was finished"),
        (["compare", "x", "y", "-o", "none"], "no layer was finished"),
        (["filter", "x", "y"], "no file was written"),
        (["sweep", "x"], "repeat the command to go on"),
    ],
)
def test_ctrl_c_gives_status_130_and_says_what_is_left(arguments, after, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rmtlib.report.make_report", interrupted)
    monkeypatch.setattr(source, "find_network", interrupted)
    monkeypatch.setattr(comparing, "make_comparison", interrupted)
    monkeypatch.setattr(filtering, "filter_network", interrupted)
    monkeypatch.setattr(cli, "_needs_notebooks", interrupted)
    assert main(arguments) == 130
    assert capsys.readouterr().err == f"rmtlib {arguments[0]}: interrupted; {after}\n"


@pytest.mark.parametrize(
    ("command", "work", "csv"),
    [
        (["report"], "report.make_report", "report.csv"),
        (["scan"], "scan_files.write_scan", "scan.csv"),
        (["compare", "base"], "report.comparing.make_comparison", "comparison.csv"),
    ],
)
def test_an_interrupted_command_tells_how_to_go_on(command, work, csv, network, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **options):
        (tmp_path / csv).touch()
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"rmtlib.{work}", interrupted)
    assert main([*command, str(network)]) == 130
    told = f"layers that were finished are in {csv}; the same command with --resume goes on"
    assert capsys.readouterr().err == f"rmtlib {command[0]}: interrupted; {told}\n"


def test_an_error_with_codes_for_terminals_is_shown_as_text(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["scan", "no\x1b[31m.npz"]) == 2
    assert capsys.readouterr().err == "rmtlib scan: no\\x1b[31m.npz does not exist\n"


def test_a_filtered_file_that_is_complete_is_told_after_ctrl_c(network, tmp_path, monkeypatch, capsys):
    whole, output = filtering.filter_network, tmp_path / "out.safetensors"

    def interrupted_afterwards(*args, **options):
        whole(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(filtering, "filter_network", interrupted_afterwards)
    assert main(["filter", str(network), str(output)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"rmtlib filter: interrupted; {output} is complete"


# Streams


class Pipe(io.StringIO):
    """A stream whose reader is gone, or whose disk is full."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(("number", "status", "told"), [(errno.EPIPE, 141, ""), (errno.ENOSPC, 1, "No space left on device\n")])
def test_a_reader_that_stops_is_no_error_and_a_full_disk_is(number, status, told, network, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Pipe(number))
    assert main(["scan", str(network), "--dry-run"]) == status
    error = capsys.readouterr().err
    assert error.endswith(told)
    assert bool(error) == bool(told)


@pytest.mark.parametrize("closed", [("stderr",), ("stdout",), ("stdout", "stderr")])
def test_closed_streams_do_not_stop_the_work(closed, network, tmp_path, monkeypatch):
    for name in closed:
        monkeypatch.setattr(sys, name, None)
    assert main(["scan", str(network), "-o", str(tmp_path / "out"), "--no-sizes"]) == 0
    assert (tmp_path / "out.json").exists()


def test_the_library_draws_no_bars_where_there_is_no_terminal(tmp_path, monkeypatch):
    network = builders.safetensors(tmp_path / "net.safetensors", {"fc.weight": builders.gaussian(60, 50)})
    monkeypatch.setattr(sys, "stderr", None)
    assert len(rmtlib.scan(rmtlib.load_weights(network))) == 1
    assert len(filtering.filter_network(network, tmp_path / "out.safetensors").report) == 1


def test_what_a_terminal_cannot_show_is_shown_as_escapes(tmp_path, monkeypatch):
    network = builders.safetensors(tmp_path / "net.safetensors", {"\u00e9.weight": builders.gaussian(60, 50)})
    for command in (
        ["scan", "--dry-run", str(network)],
        ["filter", str(network), str(tmp_path / "out.safetensors"), "--cut", "3"],
    ):
        ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stdout", ascii_only)
        assert main(command) == 0
        assert b"\\xe9 " in ascii_only.buffer.getvalue()


# Signals

TERMINATED = """
import os, signal, sys, time
from rmtlib import layer_table
from rmtlib.cli import main

one_after_the_other = layer_table.parallel.as_they_finish

def terminated_after_one(*args, **options):
    yield next(one_after_the_other(*args, **options))
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        time.sleep(0.01)

layer_table.parallel.as_they_finish = terminated_after_one
sys.exit(main(sys.argv[1:]))
"""


def test_sigterm_ends_as_ctrl_c_does(network, tmp_path):
    command = [sys.executable, "-c", TERMINATED, "scan", str(network), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 128 + signal.SIGTERM
    assert f"interrupted; layers that were finished are in {tmp_path / 'out.csv'}" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["net.safetensors", "out.csv"]


def test_what_sigterm_does_is_as_before_once_the_command_has_ended(network):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["scan", str(network), "--dry-run"]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


STOPPED = """
import os, signal, sys

class Stop:
    def find_spec(self, name, *rest):
        if name == "scipy":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Stop())
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
sys.argv = ["rmtlib", "--help"]
from rmtlib_command import main
main()
"""


def test_ctrl_c_while_libraries_are_loaded_ends_the_command_without_a_word(tmp_path):
    place = str(Path(rmtlib.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": place}
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_the_command_begins_where_ctrl_c_is_caught():
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from rmtlib_command import main; sys.argv[1:] = ['--version']; main()"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(rmtlib.__file__).parents[1])},
    )
    assert done.stdout == f"rmtlib {rmtlib.__version__}\n"


# Outputs that cannot be written, or are read

COMMANDS_WITH_OUTPUTS = {
    "report": ["report", "shards", "-o"],
    "scan": ["scan", "shards", "-o"],
    "compare": ["compare", "base.safetensors", "shards", "-o"],
    "filter": ["filter", "base.safetensors"],
    "snr": ["scan", "base.safetensors", "-o", "out", "--snr-json"],
}


@pytest.fixture
def sharded(tmp_path, monkeypatch):
    """A folder with an index, and one file."""
    monkeypatch.chdir(tmp_path)
    tensors = {"fc.weight": builders.gaussian(60, 50).astype("float32")}
    Path("shards").mkdir()
    save_file(tensors, "base.safetensors")
    save_file(tensors, "shards/part.safetensors")
    Path("shards/model.safetensors.index.json").write_text('{"weight_map": {"fc.weight": "part.safetensors"}}')
    Path("shards/config.json").write_text("{}")
    return tmp_path


def files_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("command", "output"),
    [
        ("report", "shards/model.safetensors.index"),
        ("report", "shards/config"),
        ("report", "shards/../shards/config"),
        ("report", "hard"),
        ("scan", "soft"),
        ("scan", "shards/config"),
        ("compare", "shards/model.safetensors.index"),
        ("filter", "base.safetensors"),
        ("snr", "base.safetensors"),
        ("snr", "soft.json"),
    ],
)
def test_no_output_takes_the_place_of_a_file_that_is_read(command, output, sharded, capsys):
    os.link("shards/config.json", "hard.json")
    Path("soft.json").symlink_to("base.safetensors" if command == "snr" else "shards/config.json")
    before = files_of(sharded)
    assert main([*COMMANDS_WITH_OUTPUTS[command], output]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(rf"rmtlib \w+: (output|snr) must not be .* input, which is never overwritten; .*{output}.*\n", error)
    assert files_of(sharded) == before


def test_the_ratios_are_no_file_of_the_scan_itself(sharded, capsys):
    before = files_of(sharded)
    for name in ("out.json", "out.csv", "shards/../out.json"):
        assert main([*COMMANDS_WITH_OUTPUTS["snr"], name]) == 2
        assert f"snr must be another file than the scan's own out.csv and out.json; got {name!r}" in capsys.readouterr().err
    assert files_of(sharded) == before


def test_a_report_beside_its_network_may_be_made_again(sharded):
    for _ in range(2):
        assert main(["report", "shards", "-o", "shards/my_config", "--no-null"]) == 0


@pytest.mark.parametrize("command", COMMANDS_WITH_OUTPUTS)
def test_a_place_where_no_file_can_be_is_found_before_any_work(command, sharded, monkeypatch, capsys):
    monkeypatch.setattr(rmtlib.Weights, "__getitem__", lambda *arguments: pytest.fail("began"))
    before, long = files_of(sharded), "a" * 300 + ".safetensors" * (command == "filter")
    (sharded / "folder.safetensors").mkdir()
    assert main([*COMMANDS_WITH_OUTPUTS[command], long]) == 2
    assert re.search(
        rf": (output|snr) must be a file that can be written; got '{long}.*\(File name too long\)", capsys.readouterr().err
    )
    if command in ("filter", "snr"):
        assert main([*COMMANDS_WITH_OUTPUTS[command], "folder.safetensors"]) == 2
        assert re.search("(output|snr) must be a .*file .*; got '?folder.safetensors", capsys.readouterr().err)
    assert files_of(sharded) == before


@pytest.mark.parametrize("command", COMMANDS_WITH_OUTPUTS)
def test_a_folder_that_is_read_only_is_named_by_the_path_that_was_given(command, sharded, monkeypatch, capsys):
    opened = open

    def read_only(path, mode="r", *args, **options):
        if "x" in mode:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, mode, *args, **options)

    monkeypatch.setattr("builtins.open", read_only)
    name = "new.safetensors"
    assert main([*COMMANDS_WITH_OUTPUTS[command], name]) == 2
    assert re.search(
        rf"(output|snr) must be a file that can be written; got '{name}.* \(Permission denied\)", capsys.readouterr().err
    )


def test_a_notebook_is_not_replaced_by_what_it_gave(tmp_path, capsys):
    notebook = tmp_path / "page.md"
    notebook.write_text("# A page\n")
    assert main(["run", str(notebook), "-o", str(notebook)]) == 2
    assert "output must not be a file of the input" in capsys.readouterr().err
    assert notebook.read_text() == "# A page\n"
