from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from rmtlib import WeightsError, load_weights, pretrained
from rmtlib.download import described, intact

NAMES = ("alexnet", "vgg16", "vgg19")
MATRICES = {
    "alexnet": {
        "features.0": (64, 363),
        "features.3": (192, 1600),
        "features.6": (384, 1728),
        "features.8": (256, 3456),
        "features.10": (256, 2304),
        "classifier.1": (4096, 9216),
        "classifier.4": (4096, 4096),
        "classifier.6": (1000, 4096),
    },
    "vgg16": {
        "block1_conv2": (64, 576),
        "block2_conv1": (128, 576),
        "block2_conv2": (128, 1152),
        "block3_conv1": (256, 1152),
        "block3_conv2": (256, 2304),
        "block3_conv3": (256, 2304),
        "block4_conv1": (512, 2304),
        "block4_conv2": (512, 4608),
        "block4_conv3": (512, 4608),
        "block5_conv1": (512, 4608),
        "block5_conv2": (512, 4608),
        "block5_conv3": (512, 4608),
        "fc1": (4096, 25088),
        "fc2": (4096, 4096),
        "predictions": (1000, 4096),
    },
    "vgg19": {
        "features.2": (64, 576),
        "features.5": (128, 576),
        "features.7": (128, 1152),
        "features.10": (256, 1152),
        "features.12": (256, 2304),
        "features.14": (256, 2304),
        "features.16": (256, 2304),
        "features.19": (512, 2304),
        "features.21": (512, 4608),
        "features.23": (512, 4608),
        "features.25": (512, 4608),
        "features.28": (512, 4608),
        "features.30": (512, 4608),
        "features.32": (512, 4608),
        "features.34": (512, 4608),
        "classifier.0": (4096, 25088),
        "classifier.3": (4096, 4096),
        "classifier.6": (1000, 4096),
    },
}


class Shape:
    """An array without entries: reading it fails."""

    dtype = "float32"

    def __init__(self, shape):
        self.shape = shape


# The published networks


def test_networks_are_the_ones_that_the_paper_names():
    assert {name: network.file for name, network in pretrained.NETWORKS.items()} == {
        "alexnet": "alexnet-owt-7be5be79.pth",
        "vgg16": "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
        "vgg19": "vgg19-dcbb9e9d.pth",
    }
    # Published by torchvision (num_params) and by Keras (size).
    assert [pretrained.NETWORKS[name].parameters for name in NAMES] == [61_100_840, 138_357_544, 143_667_240]


@pytest.mark.parametrize("name", ["alexnet", "vgg19"])
def test_the_hash_of_a_torch_file_is_the_one_in_its_name(name):
    network = pretrained.NETWORKS[name]
    assert network.known_hash == "sha256:" + re.search(r"-([0-9a-f]{8})\.pth$", network.file)[1]


def test_address_and_hash_of_vgg16_are_those_in_the_source_of_keras():
    from importlib.util import find_spec

    if (spec := find_spec("keras")) is None:
        pytest.skip("Keras is not installed")
    source = Path(spec.submodule_search_locations[0], "src", "applications", "vgg16.py").read_text()
    network = pretrained.NETWORKS["vgg16"]
    assert network.url in re.sub(r'"\s+"', "", source)
    after = source[source.index(f'"{network.file}",') :]
    assert network.known_hash == "md5:" + re.search(r'file_hash="(\w+)"', after)[1]


@pytest.mark.parametrize("name", NAMES)
def test_layers_have_the_shapes_of_the_architecture(name):
    shapes = pretrained.NETWORKS[name].shapes
    if name == "vgg16":
        # Arrays in memory have no groups to name them by, as the file has.
        shapes = {re.sub(r".*/(\w+)_([Wb])_1:0", r"\1/\2", key).replace("/W", "/kernel"): s for key, s in shapes.items()}
    weights = load_weights({key: Shape(shape) for key, shape in shapes.items()}, layout="keras" if name == "vgg16" else None)
    first = {"alexnet": {}, "vgg16": {"block1_conv1": (64, 27)}, "vgg19": {"features.0": (64, 27)}}[name]
    assert weights.shapes == first | MATRICES[name]
    assert len(weights.skipped) == len(shapes) // 2
    assert all(len(skipped.shape) == 1 for skipped in weights.skipped)


def test_names_are_listed_without_torch_and_without_the_internet():
    code = "import sys, rmtlib; print(*rmtlib.pretrained.NETWORKS); assert not {'torch', 'h5py', 'pooch'} & set(sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == list(NAMES)


# Files of the same names, formats and architectures, a sixteenth as wide


def narrow(shapes, factor=16):
    """Shapes of a network ``factor`` times narrower; its three colours and the extent of its kernels stay."""
    kept = {1, 3, 5, 11}
    return {key: tuple(n if n in kept else n // factor for n in shape) for key, shape in shapes.items()}


def write_network(path, name, factor=16, strong=None):
    """Seeded noise in the format of a pretrained network, with 20 ``strong`` rows in one tensor; returns its arrays."""
    rng = np.random.default_rng(NAMES.index(name))
    shapes = narrow(pretrained.NETWORKS[name].shapes, factor)
    arrays = {key: rng.normal(0, np.prod(shape) ** -0.25, shape).astype(np.float32) for key, shape in shapes.items()}
    if strong:
        arrays[strong][:20] *= 10
    if name == "vgg16":
        import h5py

        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [key.partition("/")[0].encode() for key in arrays if key.endswith("_W_1:0")]
            for key, array in arrays.items():
                file[key] = array
        return arrays
    import torch

    tensors = OrderedDict((key, torch.from_numpy(array)) for key, array in arrays.items())
    if name == "vgg19":
        # One file of parameters in the format from before the zip archives, one of tensors in the format of today.
        tensors = OrderedDict((key, torch.nn.Parameter(tensor)) for key, tensor in tensors.items())
    torch.save(tensors, path, _use_new_zipfile_serialization=name == "alexnet")
    return arrays


def digest(body, algorithm="sha256", digits=8):
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()[:digits]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(self.path)
        if server.behaviour == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if server.behaviour != "cut short":
            self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.close_connection = True
        if server.behaviour == "whole":
            self.wfile.write(server.body)
            return
        self.wfile.write(server.body[: len(server.body) // 2])
        self.wfile.flush()
        if server.behaviour == "stalled":
            server.stalled.set()
            server.released.wait(30)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    arrays = {name: write_network(folder / pretrained.NETWORKS[name].file, name) for name in NAMES}
    return {name: ((folder / pretrained.NETWORKS[name].file).read_bytes(), arrays[name]) for name in NAMES}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RMTLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "data"


@pytest.fixture
def server(data):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.body, server.behaviour, server.requests = b"", "whole", []
    server.stalled, server.released = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def serve(monkeypatch, server, name, body):
    """Let the server publish the network, with the hash of its file at as many digits as the real one has."""
    real = pretrained.NETWORKS[name]
    algorithm, _, digits = real.known_hash.partition(":")
    published = replace(real, url=f"{server.url}/{real.file}", known_hash=digest(body, algorithm, len(digits)))
    monkeypatch.setitem(pretrained.NETWORKS, name, published)
    server.body = body
    return published


def files_in(folder):
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize("name", NAMES)
def test_a_name_gives_the_layers_of_the_published_file(server, data, bodies, monkeypatch, capfd, name):
    body, arrays = bodies[name]
    network = serve(monkeypatch, server, name, body)
    weights = load_weights(name, min_levels=2)
    # The last layer first: its rows are the classes, of which a sixteenth of a thousand are left.
    expected = {layer: (62 if n == 1000 else n // 16, m // 16 if m != 363 else 363) for layer, (n, m) in MATRICES[name].items()}
    if name != "alexnet":
        expected = {("features.0" if name == "vgg19" else "block1_conv1"): (4, 27)} | expected
    assert {layer: weights[layer].matrix.shape for layer in weights} == expected
    kinds = {layer: weights[layer].kind for layer in weights}
    assert kinds == {layer: "convolution" if re.search("features|conv", layer) else "dense" for layer in weights}
    last = list(weights)[-1]
    stored = arrays[f"{last}/{last}_W_1:0"].T if name == "vgg16" else arrays[f"{last}.weight"]
    np.testing.assert_array_equal(weights[last].matrix, stored)
    assert {skipped.reason for skipped in weights.skipped} <= {"bias vector"}
    assert files_in(data) == [network.file]
    assert "100%" in capfd.readouterr().err


def test_a_file_is_asked_for_once(server, data, bodies, monkeypatch):
    serve(monkeypatch, server, "alexnet", bodies["alexnet"][0])
    path = pretrained.fetch("alexnet")
    assert path == data / "alexnet-owt-7be5be79.pth"
    assert pretrained.fetch("alexnet") == pretrained.find("alexnet") == path
    load_weights("alexnet")
    assert len(server.requests) == 1


def test_a_file_put_into_the_folder_by_hand_needs_no_server(server, data, bodies, monkeypatch):
    network = serve(monkeypatch, server, "vgg16", bodies["vgg16"][0])
    assert pretrained.find("vgg16") is None
    data.mkdir()
    (data / network.file).write_bytes(server.body)
    assert load_weights("vgg16", min_levels=200)["fc1"].matrix.shape == (256, 1568)
    assert server.requests == []


def test_without_the_variable_the_cache_of_the_user_is_the_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("RMTLIB_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / name)
    assert pretrained.folder() == tmp_path / "rmtlib"
    assert pretrained.find("alexnet") is None


def test_a_damaged_file_is_never_used(server, data, bodies, monkeypatch):
    network = serve(monkeypatch, server, "alexnet", bodies["alexnet"][0])
    data.mkdir()
    (data / network.file).write_bytes(server.body[:-1])
    with pytest.raises(WeightsError, match="damaged or not the published file, whose SHA-256 begins with .{8}; remove it"):
        pretrained.find("alexnet")
    server.behaviour = "missing"
    with pytest.raises(WeightsError, match=f"into {data} in place of the damaged one there$"):
        pretrained.fetch("alexnet")
    server.behaviour = "whole"
    pretrained.fetch("alexnet")
    assert (data / network.file).read_bytes() == server.body


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        ("missing", "the server answered 404 Not Found"),
        ("truncated", r"Connection broken before the file was whole: .*IncompleteRead.*"),
        ("cut short", "what arrived does not match the known hash sha256:.{8}"),
        ("wrong hash", "what arrived does not match the known hash sha256:00000000"),
        ("no server", "no connection: Connection refused"),
    ],
)
def test_a_failed_download_says_in_one_sentence_which_file_to_put_where(server, data, bodies, monkeypatch, behaviour, cause):
    network = serve(monkeypatch, server, "vgg19", bodies["vgg19"][0])
    server.behaviour = "whole" if behaviour == "wrong hash" else behaviour
    if behaviour == "wrong hash":
        network = replace(network, known_hash="sha256:00000000")
    if behaviour == "no server":
        # Port 1 is reserved, and closed on the loopback interface.
        network = replace(network, url=f"http://127.0.0.1:1/{network.file}")
    monkeypatch.setitem(pretrained.NETWORKS, "vgg19", network)
    with pytest.raises(WeightsError) as error:
        load_weights("vgg19")
    digits = network.known_hash.removeprefix("sha256:")
    rest = f": put vgg19-dcbb9e9d.pth from {network.url}, whose SHA-256 begins with {digits}, into {data}"
    assert re.fullmatch(rf"vgg19 could not be downloaded \({cause}\){re.escape(rest)}", str(error.value))
    assert files_in(data) == []
    assert pretrained.find("vgg19") is None


def test_the_cause_of_a_failure_is_its_own_even_while_another_error_is_handled(server, data, bodies, monkeypatch):
    serve(monkeypatch, server, "alexnet", b"")
    server.behaviour = "missing"
    with pytest.raises(WeightsError, match="404 Not Found"):  # noqa: PT012
        try:
            msg = "something else"
            raise KeyError(msg)
        except KeyError:
            load_weights("alexnet")


def test_a_folder_that_cannot_be_written_is_named(server, data, bodies, monkeypatch):
    serve(monkeypatch, server, "alexnet", bodies["alexnet"][0])
    data.write_bytes(b"a file where the folder should be")
    with pytest.raises(WeightsError, match=rf"alexnet could not be downloaded \(File exists: {data}\)"):
        load_weights("alexnet")


def test_an_interrupt_leaves_nothing(server, data, bodies, monkeypatch):
    serve(monkeypatch, server, "alexnet", bodies["alexnet"][0])

    def interrupted(path, known_hash):
        assert path.stat().st_size == len(server.body)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rmtlib.download.intact", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrained.fetch("alexnet")
    assert files_in(data) == []


def test_a_download_killed_halfway_starts_again_and_what_it_left_goes(server, data, bodies, monkeypatch):
    network = serve(monkeypatch, server, "alexnet", bodies["alexnet"][0])
    server.behaviour = "stalled"
    code = "import sys; from rmtlib.download import download; download(*sys.argv[1:])"
    command = [sys.executable, "-c", code, network.url, network.known_hash, str(data)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    assert server.stalled.wait(30)
    deadline = time.monotonic() + 30
    while not files_in(data) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    server.released.set()
    (leftover,) = files_in(data)
    assert re.fullmatch(re.escape(network.file) + r"\.\w{8}\.part", leftover)
    assert pretrained.find("alexnet") is None

    server.behaviour = "whole"
    assert pretrained.fetch("alexnet").read_bytes() == server.body
    assert files_in(data) == [network.file]


def test_the_first_of_two_downloads_at_once_serves_both(server, data, bodies, monkeypatch):
    network = serve(monkeypatch, server, "alexnet", bodies["alexnet"][0])

    def overtaken(path, known_hash):
        if path.suffix == ".part":
            (data / network.file).write_bytes(server.body)
            path.unlink()
        return intact(path, known_hash)

    monkeypatch.setattr("rmtlib.download.intact", overtaken)
    assert pretrained.fetch("alexnet").read_bytes() == server.body
    assert files_in(data) == [network.file]


def test_a_name_stands_for_the_network_and_a_path_for_the_file(server, data, bodies, monkeypatch, tmp_path):
    serve(monkeypatch, server, "alexnet", bodies["alexnet"][0])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alexnet").mkdir()
    np.savez(tmp_path / "alexnet" / "own.npz", w=np.ones((70, 80)))
    assert "classifier.4" in load_weights("alexnet")
    for path in ("./alexnet", tmp_path / "alexnet"):
        with pytest.raises(WeightsError, match="holds no checkpoint"):
            load_weights(path)


def test_a_pretrained_network_has_no_initial_weights(data):
    with pytest.raises(WeightsError, match="initial=True needs a run, which keeps its initial weights; vgg16 is pretrained"):
        load_weights("vgg16", initial=True)


@pytest.mark.parametrize("function", [pretrained.fetch, pretrained.find])
def test_an_unknown_name_is_refused_with_the_known_ones(function):
    message = "name must be one of the pretrained networks alexnet, vgg16, vgg19; got 'resnet'"
    with pytest.raises(WeightsError, match=message):
        function("resnet")


def test_a_torch_file_that_asks_for_code_is_refused(server, data, monkeypatch, tmp_path):
    from . import builders

    body = builders.pickle_with_code(tmp_path / "evil.pth", tmp_path / "marker").read_bytes()
    serve(monkeypatch, server, "alexnet", body)
    with pytest.raises(WeightsError, match="was refused: its pickle asks for code"):
        load_weights("alexnet")
    assert not (tmp_path / "marker").exists()


def test_a_hash_is_compared_with_as_many_digits_as_are_published(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    whole = hashlib.md5(b"content").hexdigest()
    assert intact(tmp_path / "file", f"md5:{whole}")
    assert intact(tmp_path / "file", f"md5:{whole[:8]}")
    assert not intact(tmp_path / "file", f"md5:{whole[1:9]}")
    assert described(f"md5:{whole}") == f"whose MD5 is {whole}"


# The chapter, on files whose networks are an eighth as wide

CHAPTERS = Path(__file__).parents[1] / "chapters"
PUBLISH = """
import dataclasses
from rmtlib import pretrained
for name, known_hash in {}.items():
    pretrained.NETWORKS[name] = dataclasses.replace(pretrained.NETWORKS[name], known_hash=known_hash)

from studies import packages
KEPT = ("block1_conv1", "block2_conv2", "block3_conv3")
few = {{name: layer for name, layer in packages.vgg16_convolutions().items() if name in KEPT}}
packages.vgg16_convolutions, packages.minilm_weights = (lambda: few), dict
"""


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A folder with two of the files, in which twenty outputs of the first dense layer are strong, and their hashes."""
    folder, hashes = tmp_path_factory.mktemp("learned"), {}
    for name, strong in (("alexnet", "classifier.1.weight"), ("vgg19", "classifier.0.weight")):
        path = folder / pretrained.NETWORKS[name].file
        write_network(path, name, 8, strong=strong)
        hashes[name] = digest(path.read_bytes(), pretrained.NETWORKS[name].known_hash.partition(":")[0])
    return folder, hashes


def run_chapter(learned, output, **parameters):
    """Glued values, tables as text, number of figures and printed text of the executed chapter."""
    import nbformat

    from rmtlib.notebooks.launch import launch, read_notebook

    folder, hashes = learned
    notebook = read_notebook(CHAPTERS / "16_pretrained.md")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(PUBLISH.format(hashes)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RMTLIB_DATA", str(folder))
        executed = nbformat.read(launch(notebook, parameters, output=output, cwd=CHAPTERS), as_version=4)
    glued, tables, figures, printed = {}, [], 0, ""
    for shown in (shown for cell in executed.cells if cell.cell_type == "code" for shown in cell.outputs):
        data = shown.get("data", {})
        if name := shown.get("metadata", {}).get("scrapbook", {}).get("name"):
            glued[name] = data["application/papermill.record/text/plain"].strip("'")
        elif 'class="drawing' in data.get("text/html", ""):
            figures += 1
        elif "text/html" in data:
            tables.append(re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", data["text/html"], flags=re.DOTALL)))
        printed += shown.get("text", "") if shown.get("name") == "stdout" else ""
    return glued, tables, figures, printed


def test_the_chapter_draws_the_papers_panels_from_the_files(learned, tmp_path):
    glued, tables, figures, printed = run_chapter(learned, tmp_path / "all.ipynb")
    assert figures == 4
    files, levels, architectures, layers, smallest, _ = tables
    assert (files.count(" yes "), files.count(" missing ")) == (2, 1)
    for place in ("alexnet classifier.4 trained", "vgg19 classifier.6 trained"):
        assert place in levels
    assert "61,100,840" in architectures
    assert re.search(r" block3_conv3 256 0\.\d+ 0\.\d+ 0\.\d+ 0\.5\d+ ", layers)
    assert re.findall(r"vgg16 (\d+) .* alexnet (\d+) .* vgg19 (\d+) ", smallest) == [tuple("233")]
    assert "neighbouring columns are correlated" in printed
    assert (glued["F1a3-paper"], glued["F1a4-paper"]) == ("0.31", "0.96")
    # Made-up layers are noise with one strong direction: spacings and variances of noise, and a dip at the large end.
    for key in ("F1a3", "F1a4"):
        assert re.search(r"^p = 0\.\d\d \(scipy\); smallest calibrated p of 1", glued[key])
    for key in ("F1b3", "F1b4"):
        assert re.search(r"^1\.\d\d of the filtered law", glued[key])
    for key in ("F1a3", "F1b3", "T2-alexnet", "T2-vgg19"):
        assert glued[f"{key}-verdict"] == "compatible", glued
    for key in ("F1a4", "F1b4", "T2-vgg16"):  # too few levels to see a departure
        assert glued[f"{key}-verdict"] == "inconclusive", glued
    for layer in ("alexnet classifier.1", "vgg19 classifier.0"):
        assert f"{layer}: large 0.00 (dip)" in glued["F2c"]
    assert glued["F2c-verdict"] == "inconclusive"  # of one network the small end cannot be told
