"""Random matrix theory as the zero-information hypothesis for the weights of a neural network.

``import rmtlib`` needs neither torch nor tensorflow, and loads ``scipy.stats`` and matplotlib only when they are used.
"""

from . import claims, ensembles, figures, filtering, laws, tails
from .analysis import analyse
from .biwhitening import Biwhitened, BiwhitenError, biwhiten
from .comparison import Comparison, compare
from .ends import EndMeans, EndTests, end_means, end_tests
from .free import FreeAddition, free_addition
from .layer_analysis import LayerAnalysis
from .layer_comparison import LayerComparison
from .marchenko_pastur import MarchenkoPasturFit, fit_marchenko_pastur
from .network import analyse_network
from .network_summary import NetworkSummary, summarise_network
from .number_variance import NumberVariance, number_variance, number_variance_curve, rigidity
from .porter_thomas import PorterThomasTest, participation_ratio, porter_thomas
from .scan import scan
from .spacings import SpacingTest, spacing_ratios, spacing_test, spacings
from .spectra import Spectrum, spectrum
from .unfolding import unfold
from .weights import Layer, Weights, WeightsError, load_weights
from .weights import pretrained as pretrained

__version__ = "0.2.0"

__all__ = [
    "BiwhitenError",
    "Biwhitened",
    "Comparison",
    "EndMeans",
    "EndTests",
    "FreeAddition",
    "Layer",
    "LayerAnalysis",
    "LayerComparison",
    "MarchenkoPasturFit",
    "NetworkSummary",
    "NumberVariance",
    "PorterThomasTest",
    "SpacingTest",
    "Spectrum",
    "Weights",
    "WeightsError",
    "analyse",
    "analyse_network",
    "biwhiten",
    "claims",
    "compare",
    "end_means",
    "end_tests",
    "ensembles",
    "figures",
    "filtering",
    "fit_marchenko_pastur",
    "free_addition",
    "laws",
    "load_weights",
    "number_variance",
    "number_variance_curve",
    "participation_ratio",
    "porter_thomas",
    "rigidity",
    "scan",
    "spacing_ratios",
    "spacing_test",
    "spacings",
    "spectrum",
    "summarise_network",
    "tails",
    "unfold",
]
