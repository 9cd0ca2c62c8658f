"""Random matrix theory as the zero-information hypothesis for the weights of a neural network.

``import rmtlib`` needs neither torch nor tensorflow, and loads ``scipy.stats`` and matplotlib only when they are used.
"""

__version__ = "0.1.0"
