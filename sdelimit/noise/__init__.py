"""Label-noise laws.

With residual l = s z - eps, z ~ N(0, 1) and s = sqrt(2R), everything a limit needs from the law of eps
is its *Gaussian factor*

    G(a) = E[exp(-a eps^2)],        a > 0,

because the density of the residual at zero is p_l(0) = G(1 / (2 s^2)) / (s sqrt(2 pi)) and
E[exp(-t l^2)] = G(t / (1 + 2 t s^2)) / sqrt(1 + 2 t s^2) (theory: sections 2, 6 and 10). Each law gives
G in closed form or as a table made once by quadrature.
"""

from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.bounded import TwoPoint, Uniform
from sdelimit.noise.density import Density
from sdelimit.noise.empirical import Empirical
from sdelimit.noise.gaussian import Gaussian, GaussianMixture, NoNoise
from sdelimit.noise.multivariate import MultivariateGaussian
from sdelimit.noise.scale_mixtures import Cauchy, Laplace, StudentT

__all__ = [
    "Cauchy",
    "Density",
    "Empirical",
    "Gaussian",
    "GaussianMixture",
    "Laplace",
    "MultivariateGaussian",
    "NoNoise",
    "NoiseLaw",
    "StudentT",
    "TwoPoint",
    "Uniform",
]


def __dir__():
    return __all__
