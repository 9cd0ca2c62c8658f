"""The wheel installs and works with its declared dependencies alone, and every extra has its smoke test."""

import shutil
import subprocess
import sys
import tomllib
import venv
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from . import builders

ROOT = Path(__file__).parents[1]
ANALYSE = """
import sys
from pathlib import Path
import rmtlib
assert not {"torch", "tensorflow", "matplotlib.pyplot", "scipy.stats"} & set(sys.modules), "a plain import loads too much"
W = rmtlib.ensembles.glorot_uniform((200, 160), 0)
s = rmtlib.spectrum(W)
xi = rmtlib.unfold(s.nu)
assert rmtlib.spacing_test(xi).pvalue > 0.01
assert 0 < rmtlib.number_variance(xi, 2.0) < 1
assert rmtlib.fit_marchenko_pastur(s.nu, s.shape).n_outliers == 0
assert rmtlib.porter_thomas(s.output_vectors).pvalue.mean() > 0.3
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
rmtlib.figures.set_style()
rmtlib.figures.spectrum_panel(plt.gca(), s.nu)
assert rmtlib.__file__.startswith(sys.prefix), rmtlib.__file__
assert Path(rmtlib.__file__).with_name("py.typed").exists()
"""


def test_wheel_works_with_its_declared_dependencies_alone(tmp_path):
    source = tmp_path / "source"
    shutil.copytree(ROOT / "rmtlib", source / "rmtlib", ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("rmtlib_command.py", "pyproject.toml", "PYPI.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    pip_wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source]
    subprocess.run(pip_wheel, check=True, cwd=tmp_path)
    [wheel] = tmp_path.glob("rmtlib-*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True, cwd=tmp_path)
    subprocess.run([python, "-c", ANALYSE], check=True, cwd=tmp_path)
    missing = subprocess.run([python, "-c", "import torch"], cwd=tmp_path, capture_output=True, text=True)
    assert "No module named 'torch'" in missing.stderr

    def rmtlib(*arguments):
        return subprocess.run([python.with_name("rmtlib"), *arguments], cwd=tmp_path, capture_output=True, text=True)

    builders.safetensors(tmp_path / "some.safetensors", builders.state_dict(100, 90))
    reported = rmtlib("report", "some.safetensors")
    assert (reported.returncode, reported.stdout) == (0, "report.html\nreport.csv\nreport.json\n"), reported.stderr
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert rmtlib("filter", "some.safetensors", "filtered.safetensors").stdout.endswith("filtered.safetensors\n")
    for command in ("run", "sweep"):
        refused = rmtlib(command, "some.file")
        assert refused.returncode == 2
        assert refused.stderr.endswith('is not installed; get it with: pip install "rmtlib[notebooks]"\n')


def test_every_extra_has_something_to_be_tried_by():
    spec = spec_from_file_location("smoke", ROOT / "tools" / "smoke.py")
    smoke = module_from_spec(spec)
    spec.loader.exec_module(smoke)
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert smoke.PARTS.keys() == {"plain", *declared}
