"""What all problems have in common: features x ~ N(0, K), a start and a target."""

import inspect
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
from jaxtyping import Array, Float

from sdelimit.covariance.base import Covariance
from sdelimit.covariance.dense import as_covariance
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import NoNoise
from sdelimit.noise.scipy_laws import as_noise
from sdelimit.numerics.jit import jit
from sdelimit.numerics.memo import Memo
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.numerics.sums import dot
from sdelimit.problem.sample_stream import GaussianStream, Stream
from sdelimit.support import arguments as check
from sdelimit.support.brief import brief
from sdelimit.support.html import as_html
from sdelimit.support.structure import ByContent

RESULTS = 32
"""Results that a problem caches: its modes, and matrices of the rules that were run on it."""


class Replaceable(ByContent):
    """A class whose call may give an object of another one.

    It is a class of its own so that the signature of those below is that of their ``__init__``.
    """

    def __new__(cls, *args, **kwargs):
        own = vars(cls).get("_instead")
        if own is not None:
            try:
                inspect.signature(cls._instead).bind(*args, **kwargs)
            except TypeError:  # for __init__ to name
                own = None
        found = None if own is None else cls._instead(*args, **kwargs)
        return object.__new__(cls) if found is None else found


@dataclass(frozen=True, eq=False, init=False)
class Regression(Replaceable):
    """Samples x ~ N(0, K) with labels that depend on <x, theta*>; see the subclasses."""

    covariance: Covariance
    noise: NoiseLaw
    theta0: Float[np.ndarray, " d"]
    theta_star: Float[np.ndarray, " d"]
    seed: int
    _cache: Memo = field(repr=False)

    def __init__(self, covariance, noise=None, theta0=None, theta_star=None, seed=0):
        covariance = as_covariance(covariance)
        noise = self._checked_noise(noise)
        with np.errstate(over="ignore"):
            trace = covariance.trace
        if not np.isfinite(trace):
            raise ValueError(f"covariance must have a finite trace, got tr K = {trace}")
        if trace <= 0:
            raise ValueError("covariance must not be zero, got tr K = 0")
        put = object.__setattr__
        put(self, "covariance", covariance)
        put(self, "noise", noise)
        seed, shape = check.seed("seed", seed), self._theta_shape()
        if theta0 is None:
            theta0 = np.zeros(shape)
        if theta_star is None:
            theta_star = np.random.default_rng(seed).standard_normal(shape) / np.sqrt(covariance.d)
        put(self, "theta0", check.read_only(check.array("theta0", theta0, shape=shape)))
        put(self, "theta_star", check.read_only(check.array("theta_star", theta_star, shape=shape)))
        put(self, "seed", seed)
        put(self, "_cache", Memo(RESULTS))
        start = self._half_norm(self.delta0)
        if not np.isfinite(start):
            raise ValueError(f"theta0 and theta_star must give a finite initial risk, got {start}")

    def _checked_noise(self, noise):
        """The law of the label noise; TypeError or ValueError if ``noise`` is none."""
        return NoNoise() if noise is None else as_noise(noise)

    def _theta_shape(self) -> tuple[int, ...]:
        return (self.covariance.d,)

    def __hash__(self):
        ends = self.theta0[[0, -1]] + 0.0, self.theta_star[[0, -1]] + 0.0  # -0 is 0
        return hash((type(self).__qualname__, self.d, self.seed, *map(bytes, ends)))

    @property
    def model(self) -> str:
        """The class and its own arguments, as 'RobustRegression(loss='huber', threshold=0.5)'."""
        return f"{type(self).__name__}({', '.join(f'{name}={value}' for name, value in self._arguments().items())})"

    def _noise_text(self) -> str:
        """', noise=...', nothing without noise: for texts of problems."""
        return "" if isinstance(self.noise, NoNoise) else f", noise={self.noise!r}"

    def _arguments(self) -> dict[str, str]:
        """The class's own arguments as texts."""
        return {}

    def _repr_html_(self) -> str:
        """What Jupyter shows: a table of what it is."""
        facts = {"model": self.model, "d": str(self.d), "covariance": brief(self.covariance), "noise": repr(self.noise)}
        return as_html({**facts, "data": self.data_name or "", "R(0)": f"{self.initial_risk:.4g}"})

    @property
    def d(self) -> int:
        """Dimension."""
        return self.covariance.d

    @property
    def delta0(self) -> Float[np.ndarray, " d"]:
        """Initial error theta0 - theta*."""
        return self.theta0 - self.theta_star

    @property
    def initial_risk(self) -> float:
        """The excess risk at theta0."""
        raise NotImplementedError

    def _half_norm(self, delta):
        """delta' K delta / 2."""
        with np.errstate(over="ignore", invalid="ignore"):
            risk = float(evaluate_in_float64(partial(_excess_risk, self.covariance), delta))
        return max(risk, 0.0)  # rounding

    def target_image(self, dtype):
        """K theta*, for problems whose risk is not a function of delta' K delta alone; None for the others."""
        return None

    def stacked(self, theta) -> Float[np.ndarray, " n"]:
        """The vector of theta's entries that an update rule sees."""
        return theta

    @property
    def followed(self) -> tuple[Float[np.ndarray, "*m d"], Float[np.ndarray, "*m d"]]:
        """theta0 - theta* and theta*, with features along the last axis."""
        return self.delta0, self.theta_star

    overlap_axis: ClassVar[int] = -1
    """Where a curve's ``overlaps`` hold theta' K theta, theta' K theta* and theta*' K theta*."""

    def observed(self, rows: Float[np.ndarray, "... k"]):
        """The risk and the ``overlaps`` of a curve, from the overlaps that its law reads."""
        raise NotImplementedError

    def recorded(self, values):
        """The risk, the ``overlaps`` of curves (None without) and the rest of what a simulation recorded."""
        return values[0], None, values[1:]

    @property
    def label_draws(self):
        """What a simulation draws beside features, with a method ``sample(key, shape, dtype)``."""
        return self.loss.draws(self.noise)

    def stream(self, keys, n_samples: int, generator: str = "threefry") -> Stream:
        """The samples of many runs, one random ``key`` a run, that simulations draw from.

        ``n_samples`` is how many one run will use; ``generator`` is that of the normals.
        """
        return GaussianStream(keys, self.covariance, self.label_draws, generator)

    def longest_run(self, batch_size: int) -> float:
        """The time t = steps/d up to which a run has fresh samples: without end, but for a finite data set."""
        return np.inf

    @property
    def data_name(self) -> str | None:
        """What the data are called that the problem is made of; None without."""
        return None

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons, seen from the problem alone, why theory may not describe its runs: of data sets."""
        return ()

    def require_isotropic(self, name: str, limit):
        """ValueError if the rule ``name`` with this limit depends on more of the problem than is known."""

    def cached(self, key, compute):
        """``compute()``, once for each hashable ``key``; the problem holds the last ``RESULTS`` results."""
        return self._cache.get(key, compute)


def excess_risk(covariance, delta: Float[Array, "... d"]) -> Float[Array, "..."]:
    """R = delta' K delta / 2 of errors delta = theta - theta*, in JAX."""
    return dot(delta, covariance.apply(delta)) / 2


_excess_risk = jit(excess_risk)
