"""Random matrix theory as the zero-information hypothesis for the weights of a neural network.

The public functions live in one module for each idea and are loaded when first used, so that
``import rmtlib`` is quick and needs neither torch nor tensorflow.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "weights": ("Layer", "Weights", "load_weights"),
    "spectra": ("Spectrum", "spectrum"),
    "unfolding": ("unfold",),
    "spacings": ("SpacingTest", "spacing_ratios", "spacing_test", "spacings"),
    "number_variance": ("number_variance", "rigidity"),
    "marchenko_pastur": ("MarchenkoPasturFit", "fit_marchenko_pastur"),
    "porter_thomas": ("PorterThomasTest", "porter_thomas"),
}
_MODULES = ("claims", "ensembles", "figures", "laws", "learning")
_HOME = {name: module for module, names in _PUBLIC.items() for name in names}

__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        # Some functions bear the name of their module: importing the module must not hide the function.
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
