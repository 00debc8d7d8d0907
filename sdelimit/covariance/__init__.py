"""Structured covariance matrices K of the data x ~ N(0, K).

Each covariance can turn white noise z into x, apply K to a vector, give the standard deviations
sigma_i = sqrt(K_ii), and write itself out as a dense matrix. Only the dense one does d x d work per sample.
"""

from sdelimit.covariance.ar1 import ar1
from sdelimit.covariance.base import Covariance
from sdelimit.covariance.block import block
from sdelimit.covariance.dense import as_covariance, dense, from_data, power_law
from sdelimit.covariance.diagonal import diagonal, identity
from sdelimit.covariance.spiked import spiked

__all__ = [
    "Covariance",
    "ar1",
    "as_covariance",
    "block",
    "dense",
    "diagonal",
    "from_data",
    "identity",
    "power_law",
    "spiked",
]


def __dir__():
    return __all__
