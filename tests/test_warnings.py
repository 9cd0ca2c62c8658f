"""What is deprecated is an error where our own code does it, and not where a library does it inside."""

import warnings

import pandas as pd
import pytest

OURS = ["rmtlib.spectra", "studies.text", "tools.record", "tests.test_laws"]
KINDS = [DeprecationWarning, PendingDeprecationWarning, FutureWarning, pd.errors.PerformanceWarning]


def warn(module, kind, text="old"):
    warnings.warn_explicit(text, kind, "some.py", 1, module=module)


@pytest.mark.parametrize("module", OURS)
def test_our_own_code_does_nothing_that_is_deprecated(module):
    for kind in KINDS:
        with pytest.raises(kind, match="old"):
            warn(module, kind)
    with pytest.raises(UserWarning, match="deprecated"):
        warn(module, UserWarning, "f is deprecated")


def test_a_library_may_until_it_is_renewed():
    with warnings.catch_warnings(record=True) as found:
        warn("keras.src.backend", DeprecationWarning)
    assert [str(warning.message) for warning in found] == ["old"]
