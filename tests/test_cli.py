"""The command; what its sub-commands do is tested where that is: reports, notebooks, sweeps."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

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
        (["compare", "x", "y"], "no file was written"),
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


def test_an_interrupted_scan_tells_how_to_go_on(network, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **options):
        (tmp_path / "scan.csv").touch()
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rmtlib.scan_files.write_scan", interrupted)
    assert main(["scan", str(network)]) == 130
    told = "layers that were finished are in scan.csv; the same command with --resume goes on"
    assert capsys.readouterr().err == f"rmtlib scan: interrupted; {told}\n"


def test_an_error_with_codes_for_terminals_is_shown_as_text(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["scan", "no\x1b[31m.npz"]) == 2
    assert capsys.readouterr().err == "rmtlib scan: no\\x1b[31m.npz does not exist\n"
