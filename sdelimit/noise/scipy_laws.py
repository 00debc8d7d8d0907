"""Noise laws from SciPy's frozen distributions."""

import numbers
import warnings
from dataclasses import dataclass

import numpy as np

from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.bounded import Uniform
from sdelimit.noise.density import Density
from sdelimit.noise.gaussian import Gaussian
from sdelimit.noise.scale_mixtures import Cauchy, Laplace, StudentT
from sdelimit.support import arguments as check

NAMED = {"norm": Gaussian, "t": StudentT, "laplace": Laplace, "cauchy": Cauchy}
"""Laws of ours with SciPy's shape parameters and scale, by SciPy's names."""
SLOW = ("levy_stable", "studentized_range")
"""Distributions of which SciPy integrates the density at each number."""
PLACES = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)
"""Levels of the quantiles at which quadrature looks for the mass of a density."""


def as_noise(noise, name: str = "noise") -> NoiseLaw:
    """A noise law, as it is, or that of a frozen continuous distribution of SciPy, such as ``scipy.stats.t(3)``.

    ``norm``, ``t``, ``laplace`` and ``cauchy`` around 0 and ``uniform`` on [-a, a] become ``Gaussian``, ``StudentT``,
    ``Laplace``, ``Cauchy`` and ``Uniform``; all others a ``Density`` with their pdf, support and second moment.

    Raises TypeError or ValueError that names the argument ``name`` for anything else, a discrete distribution among it,
    for one whose parameters have not been given or are arrays, and for one that ``Density`` cannot integrate.
    """
    if isinstance(noise, NoiseLaw) and type(noise) is not NoiseLaw:
        return noise
    if type(noise).__module__.startswith("scipy.stats"):
        from scipy import stats

        if isinstance(noise, (stats.rv_continuous, stats.rv_discrete)):
            raise TypeError(f"{name} must have its parameters, as scipy.stats.t(3), got scipy.stats.{noise.name}")
        if isinstance(getattr(noise, "dist", None), stats.rv_continuous):
            return _from_scipy(noise, name)
        if isinstance(getattr(noise, "dist", None), stats.rv_discrete):
            raise TypeError(
                f"{name} must be continuous, got the discrete scipy.stats.{noise.dist.name}: sl.noise.TwoPoint, "
                "GaussianMixture (stds of 0) and Empirical have atoms"
            )
    raise TypeError(
        f"{name} must be a noise law from sdelimit.noise, or a frozen distribution of SciPy as scipy.stats.t(3), got "
        f"{check.describe(noise)}"
    )


def _from_scipy(frozen, name) -> NoiseLaw:
    shapes, loc, scale = frozen.dist._parse_args(*frozen.args, **frozen.kwds)
    given = (*shapes, loc, scale)
    if not all(isinstance(value, numbers.Real) or np.shape(value) == () for value in given):
        raise ValueError(f"{name} must have one number for each parameter, got {check.describe(given)}")
    shapes, loc, scale = tuple(map(float, shapes)), float(loc), float(scale)
    from scipy import stats

    own = type(frozen.dist) is not type(getattr(stats, frozen.dist.name, None))
    pdf = frozen.pdf if own else ScipyPdf(frozen.dist.name, shapes, loc, scale)
    try:
        if own:
            return _density(frozen, pdf)
        if loc == 0 and frozen.dist.name in NAMED:
            return NAMED[frozen.dist.name](*shapes, scale)
        if loc == -scale / 2 and frozen.dist.name == "uniform":
            return Uniform(scale / 2)
        return _density(frozen, pdf)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {pdf!r}: {error}") from error


def _density(frozen, pdf) -> Density:
    low, high = map(float, frozen.support())
    if not low < high:
        raise ValueError("its parameters must be those of a distribution")
    if getattr(pdf, "dist", None) in SLOW:
        raise ValueError("its density is an integral for each number, too slow: give Density a function of your own")
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what SciPy finds doubtful about a moment, Density checks
        places = [float(place) for place in frozen.ppf(PLACES) if np.isfinite(place)]
        second = float(frozen.moment(2))
    return Density(pdf, (low, high), None if np.isnan(second) else second, places)


@dataclass(frozen=True)
class ScipyPdf:
    """The density of the distribution ``dist`` of scipy.stats: equal for equal parameters."""

    dist: str
    shapes: tuple[float, ...]
    loc: float
    scale: float

    def __call__(self, e):
        from scipy import stats

        family = getattr(stats, self.dist, None)
        if not isinstance(family, stats.rv_continuous):  # of a file that was edited
            raise ValueError(f"scipy.stats must have the distribution {self.dist!r}")
        with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
            return family(*self.shapes, loc=self.loc, scale=self.scale).pdf(e)

    def __repr__(self):
        named = [("loc", self.loc, 0.0), ("scale", self.scale, 1.0)]
        parts = [f"{value:g}" for value in self.shapes]
        parts += [f"{name}={value:g}" for name, value, default in named if value != default]
        return f"scipy.stats.{self.dist}({', '.join(parts)})"
