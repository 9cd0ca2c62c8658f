from __future__ import annotations

import json
import re
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

import rmtlib
from rmtlib import costs, ensembles, parallel
from rmtlib.cli import main
from rmtlib.scan_files import write_scan, write_snr
from rmtlib.signal_to_noise import signal_to_noise, spectrum_ratio
from rmtlib.weights import Weights

EVIL = "=cmd|' /C calc'!A0\n\x1b[31m<script>alert(1)</script>"


def scan(layers, **options):
    return rmtlib.scan(layers, progress=False, **options)


def levels(W):
    return np.linalg.svd(np.asarray(W, np.float64), compute_uv=False)[::-1]


def spectrum_of(W):
    """Spectrum's number, step by step as its code computes it."""
    S = levels(W)[::-1]
    sigma = (np.percentile(S, 75) - np.percentile(S, 25)) / 1.349
    n, m = W.shape
    beta = n / m if n < m else m / n
    threshold = sigma * np.sqrt((1 + np.sqrt(beta)) ** 2)
    signal, rest = S[S > threshold].sum(), S[S <= threshold].sum()
    return (signal / rest if rest != 0 else float("inf")) / S[0]


@pytest.fixture
def network(tmp_path):
    tensors = {
        f"model.layers.{i}.self_attn.{kind}_proj.weight": ensembles.spiked(
            (120, 100), [i, j], strengths=np.linspace(3, 4, 1 + i)
        ).matrix
        for i in range(3)
        for j, kind in enumerate("qv")
    }
    tensors |= {f"{EVIL}.weight": ensembles.gaussian((120, 100), 9), "model.norm.weight": np.ones(100)}
    save_file({name: tensor.astype("float32") for name, tensor in tensors.items()}, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_a_planted_matrix_has_its_directions_above_noise_and_their_share_as_ratio():
    known = ensembles.spiked((600, 300), 0, strengths=[2.0, 3.0, 4.0], sigma=0.05)
    row = scan({"fc": known.matrix}).iloc[0]
    nu, edge = levels(known.matrix), 0.05 * (np.sqrt(600) + np.sqrt(300))
    assert (row["outliers"], row["outliers_biwhitened"], row["outliers_below"], row["rank"]) == (3, 3, 0, 300)
    assert row["sigma"] == pytest.approx(0.05, rel=0.01)
    assert edge < row["outlier_edge"] < 1.03 * edge
    top = nu > 1.05 * edge
    assert row["snr"] == pytest.approx(nu[top].sum() / nu[~top].sum() / nu[-1], rel=1e-9)
    assert row["snr_biwhitened"] == pytest.approx(row["snr"], rel=0.05)
    assert row["stable_rank"] == pytest.approx(np.sum(nu**2) / nu[-1] ** 2)
    assert row["spectrum_snr"] == pytest.approx(spectrum_of(known.matrix), rel=1e-9)
    assert row["largest"] == pytest.approx(nu[-1], rel=1e-9)


def test_noise_has_a_ratio_of_zero_and_spectrums_number_is_that_of_noise():
    layers = {f"{shape} {i}": ensembles.gaussian(shape, [i, *shape]) for shape in ((150, 150), (200, 100)) for i in range(20)}
    table = scan(layers)
    assert (table["snr"] > 0).mean() <= 0.05
    assert (table["snr_biwhitened"] > 0).mean() <= 0.05
    assert table["spectrum_snr"].min() > 0.0
    for _, part in table.groupby("levels"):
        assert part["spectrum_snr_noise"].mean() == pytest.approx(part["spectrum_snr"].mean(), rel=0.1)
    deviation = (table["alpha"] - table["alpha_noise"]) / table["alpha_noise_sd"]
    assert abs(deviation.mean()) < 0.5
    assert 0.6 < deviation.std() < 1.5


def test_sizes_of_neurons_make_signal_of_noise_until_they_are_taken_out():
    rng = np.random.default_rng(0)
    W = np.exp(0.6 * rng.standard_normal(300))[:, None] * rng.standard_normal((300, 200))
    row = scan({"fc": W}).iloc[0]
    assert row["outliers"] > 5
    assert row["snr"] > 0
    assert (row["outliers_biwhitened"], row["snr_biwhitened"], row["sizes_settled"]) == (0, 0.0, True)
    assert row["row_spread"] > 0.5 > 0.1 > row["column_spread"]
    plain = scan({"fc": W}, biwhiten=False).iloc[0]
    assert plain["snr"] == row["snr"]
    assert "outliers_biwhitened" not in plain


def test_the_ratio_is_in_inverse_units_of_the_weights():
    W = ensembles.spiked((300, 200), 0, strengths=[4.0]).matrix
    once, tenfold = (scan({"fc": unit * W}).iloc[0] for unit in (1, 10))
    for column in ("snr", "snr_biwhitened", "spectrum_snr", "spectrum_snr_noise"):
        assert once[column] == pytest.approx(10 * tenfold[column], rel=1e-6)


def test_what_cannot_be_said_is_named():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((200, 100))
    low, empty, sparse = (
        rng.standard_normal((200, 20)) @ rng.standard_normal((20, 100)),
        W.copy(),
        W * (rng.random(W.shape) < 0.3),
    )
    empty[:5] = 0
    layers = {
        "low rank": low,
        "empty rows": empty,
        "sparse": sparse,
        "constant": np.ones((50, 40)),
        "nan": W * np.nan,
        "few": W[:12],
    }
    table = scan(layers).set_index("layer")
    told = table["missing"]
    assert "the matrix has rank 20 of 100" in told["low rank"]
    assert np.isnan(table.loc["low rank", "snr"])
    assert table.loc["low rank", "rank"] == 20
    assert told["empty rows"].startswith("rows of zeros: 5 left out")
    assert table.loc["empty rows", "outliers"] == 0
    assert "70% of the entries are zero" in told["sparse"].replace(" %", "%")
    assert told["constant"] == "not scanned: W is constant (every entry is 1): it has rank 1 and no spectrum to scan"
    assert "W must be finite" in told["nan"]
    assert "at least 16 levels" in told["few"]
    assert list(table.columns[:4]) == ["kind", "shape", "levels", "rank"]


def test_the_definitions_of_the_two_ratios():
    assert signal_to_noise([1.0, 2.0, 3.0, 10.0], 5.0) == 10 / 6 / 10
    assert signal_to_noise([2.0, 3.0], 1.0) == np.inf
    with pytest.raises(ValueError, match="nu must have a level above 0"):
        signal_to_noise([0.0, 0.0], 1.0)
    for shape in ((200, 200), (300, 150)):
        W = ensembles.gaussian(shape, 0)
        assert spectrum_ratio(levels(W), shape[::-1]) == pytest.approx(spectrum_of(W), rel=1e-9)
    assert spectrum_ratio(levels(ensembles.gaussian((400, 100), 0)), (400, 100)) == np.inf


def test_a_scan_writes_a_table_the_same_as_json_and_spectrums_form(network, tmp_path, capsys):
    snr = tmp_path / "snr.json"
    assert main(["scan", str(network), "-o", str(tmp_path / "out"), "--snr-json", str(snr), "--workers", "2"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "7 layers scanned; 6 with levels above noise; 6 once the sizes of neurons are taken out"
    assert printed[1:] == [str(tmp_path / name) for name in ("out.csv", "out.json", "snr.json")]
    table = scan(rmtlib.load_weights(network))
    content = json.loads((tmp_path / "out.json").read_text())
    assert (content["schema"], content["rmtlib"], content["file"]["name"]) == (1, rmtlib.__version__, "net.safetensors")
    assert [row["layer"] for row in content["layers"]] == table["layer"].tolist()
    assert [row["snr"] for row in content["layers"]] == table["snr"].tolist()
    assert content["skipped"] == [{"tensor": "model.norm", "shape": [100], "reason": "normalisation vector"}]
    written = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_array_equal(written["snr"], table["snr"])

    # What axolotl's plug-in makes of it: the better half of every type.
    by_type: dict = {}
    for name, info in json.loads(snr.read_text()).items():
        by_type.setdefault(info["type"], []).append((name, info["snr"]))
    best = {kind: max(found, key=lambda pair: pair[1])[0] for kind, found in by_type.items()}
    assert best["self_attn.q_proj"] == "model.layers.2.self_attn.q_proj"
    assert set(best) == {"self_attn.q_proj", "self_attn.v_proj", EVIL}


@pytest.mark.parametrize("resume", [[], ["--resume", "--no-sizes"]], ids=["anew", "resumed"])
@pytest.mark.parametrize("finished", [0, 2])
def test_older_files_stay_until_there_is_a_new_table_and_no_longer(finished, resume, network, tmp_path, monkeypatch):
    command = ["scan", str(network), "-o", str(tmp_path / "out"), "--snr-json", str(tmp_path / "snr.json")]
    assert main(command) == 0
    older = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def stopped(work, weights, *, workers, names):
        yield from ((name, work(name, weights[name])) for name in names[:finished])
        raise KeyboardInterrupt

    monkeypatch.setattr(parallel, "as_they_finish", stopped)
    assert main(command + resume) == 130
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    if finished:
        assert sorted(left) == ["net.safetensors", "out.csv"]
        assert left["out.csv"] != older["out.csv"]
    else:
        assert left == older


def test_names_stay_text_in_every_file_and_in_the_terminal(network, tmp_path, capsys):
    main(["scan", str(network), "-o", str(tmp_path / "out")])
    cell = pd.read_csv(tmp_path / "out.csv")["layer"][0]
    assert cell == "'=cmd|' /C calc'!A0\\n\\x1b[31m<script>alert(1)</script>"
    assert json.loads((tmp_path / "out.json").read_text())["layers"][0]["layer"] == EVIL
    main(["scan", str(network), "--dry-run"])
    main(["scan", str(network), "--layers", "nowhere"])
    output = capsys.readouterr()
    assert not re.search(r"\x1b(?!\[A)", output.out + output.err)  # a progress bar below another one moves up
    assert "layers must be found in the name of a layer; 'nowhere' is in none of the 7: =cmd" in output.err


def test_a_dry_run_lists_time_and_memory_and_reads_nothing(network, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Weights, "__getitem__", lambda *arguments: pytest.fail("read a tensor"))
    monkeypatch.chdir(tmp_path)
    for command, networks in (("scan", [network]), ("report", [network]), ("compare", [network, network])):
        assert main([command, *map(str, networks), "--dry-run", "--layers", "q_proj"]) == 0
        *rows, total = capsys.readouterr().out.splitlines()
        assert [row.split()[0] for row in rows] == [f"model.layers.{i}.self_attn.q_proj" for i in range(3)]
        assert all(row.endswith(" GB") for row in rows)
        assert total.startswith("3 layers: about ")
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("shape", [(3000, 400), (900, 900)])
def test_memory_is_what_was_estimated_and_one_matrix_at_a_time(shape, tmp_path):
    noise = {f"fc{i}.weight": np.random.default_rng(i).standard_normal(shape, dtype=np.float32) for i in range(3)}
    save_file(noise, tmp_path / "net.safetensors")
    weights = rmtlib.load_weights(tmp_path / "net.safetensors")
    del noise
    expected = costs.estimate(weights)["gigabytes"].max() * 1e9
    scan({"warm up": ensembles.gaussian((100, 80), 0)})
    tracemalloc.start()
    scan(weights, workers=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.7 * expected < peak < 1.3 * expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.safetensors"], "no.safetensors does not exist"),
        (["net.safetensors", "--layers", "["], "layers must be a regular expression, such as 'attn|mlp'; got '['"),
        (["net.safetensors", "--workers", "0"], "workers must be an integer of at least 1; got 0"),
        (["net.safetensors", "-o", "net.safetensors/x"], "output must be in a folder that can be made; got 'net.safetensors/x'"),
        (["net.safetensors", "--snr-json", "no/such/snr.json"], "snr must be a file in a folder that exists"),
        (["empty.safetensors"], "empty.safetensors holds no matrix to analyse"),
    ],
)
def test_a_scan_that_cannot_be_made_gives_one_sentence(arguments, message, network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_file({"norm.weight": np.ones(7, np.float32)}, "empty.safetensors")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["scan", *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"rmtlib scan: {message}")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_table_without_ratios_has_no_file_for_spectrum(tmp_path):
    with pytest.raises(ValueError, match="table has no layer with a signal-to-noise ratio"):
        write_snr(scan({"fc": np.ones((50, 40))}), tmp_path / "snr.json")


def test_half_precision_is_scanned_as_the_numbers_that_it_holds(network, tmp_path):
    halves = {name: tensor.astype("float16") for name, tensor in load_file(network).items()}
    save_file(halves, tmp_path / "half.safetensors")
    table, files = write_scan(rmtlib.load_weights(tmp_path / "half.safetensors"), tmp_path, progress=False)
    assert [path.name for path in files] == ["scan.csv", "scan.json"]
    expected = [levels(tensor)[-1] for name, tensor in sorted(halves.items()) if tensor.ndim == 2]
    np.testing.assert_allclose(sorted(table["largest"]), sorted(expected), rtol=1e-9)


@pytest.mark.parametrize("dependent", ["centred rows", "ten columns"])
def test_sizes_of_a_layer_without_full_rank_are_taken_out_as_the_analysis_does(dependent):
    W = ensembles.gaussian((300, 150), 0)
    if dependent == "centred rows":
        W -= W.mean(axis=1, keepdims=True)
    else:
        W[:, :10] = W[:, 10:60] @ ensembles.gaussian((50, 10), 1)
    row, whole = rmtlib.scan({"fc": W}, progress=False).iloc[0], rmtlib.analyse(W).biwhitened
    assert row["rank"] < 150
    assert row["outliers_below_biwhitened"] == whole.bulk.n_outliers_below
    assert row["outliers_biwhitened"] == whole.bulk.n_outliers
