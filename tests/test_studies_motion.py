"""The spectra of a layer after every epoch are read as they were written."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from studies import motion


def test_what_was_written_is_read(tmp_path):
    values = np.arange(1, 7, dtype=float)
    p_input, p_output = values / 10, values / 20
    columns = {"nu": values, "input_pvalue": p_input, "output_pvalue": p_output}
    table = pd.DataFrame({"layer": "dense2", "epoch": [0, 0, 0, 1, 1, 1]} | columns)
    motion.write(tmp_path / "motion.safetensors", table, SimpleNamespace(config={"laziness": 0.5}))

    config, nu, p = motion.read(tmp_path / "motion.safetensors")

    assert config == {"laziness": 0.5}
    np.testing.assert_array_equal(nu, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_allclose(p["input"], p_input.reshape(2, 3), rtol=1e-6)
    np.testing.assert_allclose(p["output"], p_output.reshape(2, 3), rtol=1e-6)
