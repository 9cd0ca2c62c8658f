from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rmtlib.learning import datasets
from rmtlib.learning.datasets import DatasetError, load_dataset, standardize

RECORDS = 6
FILES = (*datasets.CIFAR10_TRAIN, datasets.CIFAR10_TEST)


@pytest.fixture(autouse=True)
def _small_cifar10(monkeypatch):
    monkeypatch.setattr(datasets, "CIFAR10_RECORDS", RECORDS)
    monkeypatch.delenv("RMTLIB_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def random_records(n, seed=0):
    records = np.random.default_rng(seed).integers(0, 256, (n, 1 + 3072), dtype=np.uint8)
    records[:, 0] = np.arange(n) % 10
    return records


def write_cifar10(folder, records):
    """Six files of ``RECORDS`` records each, the last of them for testing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in zip(FILES, np.split(records, 6), strict=True):
        (folder / name).write_bytes(part.tobytes())
    return folder


@pytest.fixture
def cifar10(tmp_path):
    return write_cifar10(tmp_path / "data" / datasets.CIFAR10_FOLDER, random_records(6 * RECORDS))


def assert_same(one, other):
    for part in ("train_images", "train_labels", "test_images", "test_labels"):
        np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


# Records in a folder


def test_every_record_arrives_with_its_label(cifar10):
    data = load_dataset("cifar10", folder=cifar10)
    assert (data.name, data.shape, data.n_classes) == ("cifar10", (3, 32, 32), 10)
    records = random_records(6 * RECORDS)
    expected = standardize(records[:, 1:], data.shape, "image")
    for images, labels, part in (
        (data.train_images, data.train_labels, slice(0, 5 * RECORDS)),
        (data.test_images, data.test_labels, slice(5 * RECORDS, None)),
    ):
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        found = {(image.tobytes(), label) for image, label in zip(images, labels, strict=True)}
        assert found == {(image.tobytes(), label) for image, label in zip(expected[part], records[part, 0], strict=True)}


def test_order_of_the_records_does_not_matter(cifar10, tmp_path):
    records = random_records(6 * RECORDS)
    rng = np.random.default_rng(1)
    shuffled = np.concatenate([rng.permutation(records[: 5 * RECORDS]), rng.permutation(records[5 * RECORDS :])])
    assert not np.array_equal(shuffled, records)
    other = write_cifar10(tmp_path / "shuffled", shuffled)
    assert_same(load_dataset("cifar10", folder=cifar10), load_dataset("cifar10", folder=other))


def test_canonical_order_is_that_of_the_hashes_of_the_records(cifar10):
    labels = load_dataset("cifar10", folder=cifar10).train_labels
    records = sorted(random_records(6 * RECORDS)[: 5 * RECORDS], key=lambda record: hashlib.sha256(record.tobytes()).digest())
    assert labels.tolist() == [int(record[0]) for record in records]


def test_the_folder_its_parent_and_the_environment_variable_give_the_same_data(cifar10, monkeypatch):
    inside = load_dataset("cifar10", folder=cifar10)
    assert_same(inside, load_dataset("cifar10", folder=str(cifar10.parent)))
    monkeypatch.setenv("RMTLIB_DATA", str(cifar10.parent))
    assert_same(inside, load_dataset("cifar10"))
    assert_same(inside, load_dataset("cifar10", folder=""))


def test_a_folder_without_cifar10_is_refused_with_both_ways_to_get_it(tmp_path):
    with pytest.raises(DatasetError, match="holds no CIFAR-10: data_batch_1.bin, .*test_batch.bin missing") as error:
        load_dataset("cifar10", folder=tmp_path / "nowhere")
    assert "data_folder" in str(error.value)
    assert "RMTLIB_DATA" in str(error.value)
    assert datasets.CIFAR10_URL in str(error.value)


def test_one_missing_file_is_named(cifar10):
    (cifar10 / "data_batch_3.bin").unlink()
    with pytest.raises(DatasetError, match=r"holds no CIFAR-10: data_batch_3\.bin missing"):
        load_dataset("cifar10", folder=cifar10)


@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda raw: b""])
def test_a_file_of_the_wrong_length_is_refused(cifar10, change):
    file = cifar10 / "data_batch_2.bin"
    raw = change(file.read_bytes())
    file.write_bytes(raw)
    message = f"data_batch_2.bin has {len(raw)} bytes where the binary version of CIFAR-10 has {RECORDS * 3073}"
    with pytest.raises(DatasetError, match=message):
        load_dataset("cifar10", folder=cifar10)


def test_a_label_above_nine_is_refused_with_its_record(cifar10):
    records = random_records(6 * RECORDS)
    records[5 * RECORDS + 4, 0] = 10
    write_cifar10(cifar10, records)
    with pytest.raises(DatasetError, match="test_batch.bin has label 10 in record 4; labels run from 0 to 9"):
        load_dataset("cifar10", folder=cifar10)


def test_unknown_names_are_refused_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(datasets, "download_cifar10", lambda: pytest.fail("downloaded"))
    with pytest.raises(DatasetError, match="name must be one of cifar10, digits; got 'mnist'"):
        load_dataset("mnist")
    with pytest.raises(DatasetError, match="standardization must be one of image, channel; got 'pixel'"):
        load_dataset("cifar10", standardization="pixel")


# Standardisation


def test_each_image_has_mean_zero_and_variance_one():
    x = standardize(random_records(7)[:, 1:], (3, 32, 32), "image")
    np.testing.assert_allclose(x.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(x.var(axis=1), 1, atol=1e-5)
    assert np.abs(x.reshape(7, 3, -1).mean(axis=2)).max() > 0.001


def test_each_channel_has_mean_zero_and_variance_one():
    x = standardize(random_records(7)[:, 1:], (3, 32, 32), "channel").reshape(7, 3, 1024)
    np.testing.assert_allclose(x.mean(axis=2), 0, atol=1e-6)
    np.testing.assert_allclose(x.var(axis=2), 1, atol=1e-5)


def test_one_channel_makes_both_standardizations_equal():
    images = np.random.default_rng(2).integers(0, 17, (5, 64))
    np.testing.assert_array_equal(standardize(images, (1, 8, 8), "image"), standardize(images, (1, 8, 8), "channel"))


@given(scale=st.floats(0.1, 10), offset=st.floats(-10, 10), standardization=st.sampled_from(datasets.STANDARDIZATIONS))
@settings(max_examples=20, deadline=None)
def test_brightness_and_contrast_do_not_matter(scale, offset, standardization):
    images = np.random.default_rng(3).random((3, 48))
    changed = standardize(scale * images + offset, (3, 4, 4), standardization)
    np.testing.assert_allclose(changed, standardize(images, (3, 4, 4), standardization), atol=1e-3)


def test_a_constant_image_becomes_zero_and_the_input_is_left_alone():
    images = np.full((2, 12), 255, np.uint8)
    np.testing.assert_array_equal(standardize(images, (3, 2, 2), "image"), np.zeros((2, 12), np.float32))
    assert (images == 255).all()
    floats = np.arange(12, dtype=np.float32).reshape(1, 12)
    standardize(floats, (3, 2, 2), "image")
    np.testing.assert_array_equal(floats[0], np.arange(12))


def test_standardize_refuses_an_unknown_standardization():
    with pytest.raises(DatasetError, match="standardization must be one of image, channel; got None"):
        standardize(np.zeros((1, 12)), (3, 2, 2), None)


# Digits


def test_digits_are_split_four_to_one():
    data = load_dataset("digits")
    assert (data.shape, data.n_classes) == ((1, 8, 8), 10)
    assert data.train_images.shape == (1437, 64)
    assert data.test_images.shape == (360, 64)
    assert len(data.train_labels) == 1437
    assert len(data.test_labels) == 360


def test_digits_have_all_ten_classes_on_both_sides():
    data = load_dataset("digits")
    # Class sizes of scikit-learn's digits, zero to nine.
    sizes = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    train, test = np.bincount(data.train_labels), np.bincount(data.test_labels)
    assert (train + test).tolist() == sizes
    assert test.min() > 20


def test_digits_are_standardized_and_not_shared_between_the_two_sides():
    data = load_dataset("digits", standardization="channel")
    for images in (data.train_images, data.test_images):
        np.testing.assert_allclose(images.mean(axis=1), 0, atol=1e-6)
        np.testing.assert_allclose(images.std(axis=1), 1, atol=1e-5)
    assert not {image.tobytes() for image in data.train_images} & {image.tobytes() for image in data.test_images}


# Download, from a server on the loopback interface


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body, server = self.server.body, self.server
        if self.path.startswith("/missing/"):
            self.send_error(404)
            return
        self.send_response(200)
        if not self.path.startswith("/cut-short/"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path.startswith("/whole/"):
            self.wfile.write(body)
            return
        self.wfile.write(body[: len(body) // 2])
        self.wfile.flush()
        if self.path.startswith("/stalled/"):
            server.stalled.set()
            server.released.wait(30)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(cifar10):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(cifar10, arcname=datasets.CIFAR10_FOLDER)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.body = buffer.getvalue()
    server.hash = "sha256:" + hashlib.sha256(server.body).hexdigest()
    server.stalled, server.released = threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def files_in(cache):
    return sorted(path.name for path in cache.rglob("*")) if cache.exists() else []


def test_the_downloaded_archive_gives_the_data_of_the_folder(server, cache, cifar10, monkeypatch):
    url = f"{server.url}/whole/cifar-10-binary.tar.gz"
    path = datasets.download_cifar10(url, server.hash, cache)
    monkeypatch.setattr(datasets, "download_cifar10", lambda: path)
    assert_same(load_dataset("cifar10"), load_dataset("cifar10", folder=cifar10))


def test_a_verified_archive_is_downloaded_once(server, cache):
    url = f"{server.url}/whole/cifar-10-binary.tar.gz"
    path = datasets.download_cifar10(url, server.hash, cache)
    before = os.stat(path).st_mtime_ns
    server.body = b"nothing"
    assert datasets.download_cifar10(url, server.hash, cache) == path
    assert os.stat(path).st_mtime_ns == before


def test_an_archive_altered_in_the_cache_is_downloaded_again(server, cache):
    url = f"{server.url}/whole/cifar-10-binary.tar.gz"
    path = datasets.download_cifar10(url, server.hash, cache)
    with open(path, "r+b") as file:
        file.write(b"altered")
    datasets.download_cifar10(url, server.hash, cache)
    with open(path, "rb") as file:
        assert file.read() == server.body


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("missing", "404"),
        ("truncated", "IncompleteRead|Connection broken"),
        ("cut-short", "does not match the known hash"),
        ("wrong-hash", "does not match the known hash"),
        ("no-server", "refused|Max retries"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_else_to_do(server, cache, kind, cause):
    url, known = f"{server.url}/{kind}/cifar-10-binary.tar.gz", server.hash
    if kind == "wrong-hash":
        url, known = url.replace(kind, "whole"), "md5:" + 32 * "0"
    if kind == "no-server":
        # A free port that nobody listens on: port 1 is reserved and closed on the loopback interface.
        url = "http://127.0.0.1:1/cifar-10-binary.tar.gz"
    with pytest.raises(DatasetError, match=f"could not be downloaded from {re.escape(url)}: .*({cause})") as error:
        datasets.download_cifar10(url, known, cache)
    assert "RMTLIB_DATA" in str(error.value)
    assert files_in(cache) == []


def test_a_download_killed_halfway_is_not_trusted_later(server, cache):
    url = f"{server.url}/stalled/cifar-10-binary.tar.gz"
    code = "import sys; from rmtlib.learning.datasets import download_cifar10 as get; get(*sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", code, url, server.hash, str(cache)], stderr=subprocess.DEVNULL)
    assert server.stalled.wait(30)
    deadline = time.monotonic() + 30
    while not files_in(cache) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (leftover,) = files_in(cache)
    server.released.set()

    with pytest.raises(DatasetError, match="could not be downloaded"):
        datasets.download_cifar10(url, server.hash, cache)
    assert files_in(cache) == [leftover]
    path = datasets.download_cifar10(f"{server.url}/whole/cifar-10-binary.tar.gz", server.hash, cache)
    assert os.path.basename(path) != leftover
    with open(path, "rb") as file:
        assert file.read() == server.body
