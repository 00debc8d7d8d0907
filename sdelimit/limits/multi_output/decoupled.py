"""Linear regression with several outputs: every output by itself, but for the noise in common (theory: section 22).

The mean step of output a depends on its own residual alone, so that Phi1 is diagonal, with the coefficients of a linear
regression with the noise of that output, and so is the noise of each. What two outputs have in common only moves what
their errors have in common, E w_ia w_ib, on which neither the risk nor any coefficient depends.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.limits.law import ScalarLaw
from sdelimit.limits.multi_output.law import OutputsLaw
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.limits.noise_kernel import GENERAL_BASIS
from sdelimit.limits.response import Aside
from sdelimit.limits.weight_decay import DecayedLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.noise.multivariate import MultivariateGaussian
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.problem.output_scores import standard_normals

BATCHES = 2**10
"""Pairs of quasi-random batches of which noise in common is a mean."""
TAYLOR = 2 / np.pi * np.array([1.0, 1 / 6, 3 / 40])
"""Of (2/pi) arcsin x: coefficients of x, x^3 and x^5."""


class DecoupledLaw(OutputsLaw):
    """The law of a rule on a linear regression with m outputs.

    Attributes:
        laws: of each output by itself.
        stacked: the same as one law with a leading axis, for a short program; None if they are too different.
        common: (S, law's own noise coefficients) -> what noise outputs have in common; None if it is not known, and
            overlaps of different outputs then are not.
    """

    laws: tuple[ScalarLaw, ...]
    stacked: ScalarLaw | None
    common: "GradientNoise | SignNoise | None"
    per_step: int = eqx.field(static=True)

    @property
    def outputs(self):
        return len(self.laws)

    @property
    def power(self):
        return self.laws[0].power

    @property
    def basis(self):
        return self.laws[0].basis if not isinstance(self.common, SignNoise) else GENERAL_BASIS

    @property
    def errors(self):
        return self.laws[0].errors

    @property
    def batch_size(self) -> int:
        """Samples of a step."""
        return self.per_step

    @property
    def nonlinearity(self):
        known = getattr(self.laws[0], "correlated", Aside(None)).value
        return self.per_step * max(0.25, known.rule.steps / 6 if known else 0.0) if self.power else 0.0

    @property
    def needs_fourth_moment(self):
        return any(law.needs_fourth_moment for law in self.laws)

    def known_overlaps(self, rows):
        """Not a number for S_ab, a < b, where the noise in common is not known."""
        if self.common is not None:
            return rows
        m = self.outputs
        pairs = [a < b for a in range(m) for b in range(a, m)] + [False] * m**2
        return np.where(pairs, np.nan, rows)

    def matrices(self, q, m):
        S, none = self.covariance_of(q), jnp.zeros(0)
        risks = jnp.maximum(jnp.diag(S) / 2, TINY)

        def coefficients(law, R):
            return law.drift_coefficients(R, none)[0], law.noise_coefficients(R, none)

        if self.stacked is not None:
            phi, psi = jax.vmap(coefficients)(self.stacked, risks)
        else:
            phi, psi = map(jnp.stack, zip(*map(coefficients, self.laws, risks), strict=True))
        own = jnp.eye(self.outputs) * psi.T[:, None]
        return jnp.diag(phi), jnp.zeros_like(S), own if self.common is None else self.common(S, own)

    def drift_at_start(self, problem):
        """Phi1 and Phi0 at theta0."""
        risks = np.maximum(np.diag(problem.initial_overlaps[0]) / 2, TINY)
        each = zip(self.laws, risks, strict=True)
        phi = [evaluate_in_float64(lambda R, law=law: law.drift_coefficients(R, jnp.zeros(0))[0], R) for law, R in each]
        return np.diag(phi), np.zeros((self.outputs, self.outputs))


class GradientNoise(eqx.Module):
    """SGD: E[r r'] / b."""

    covariance: Float[np.ndarray, "m m"]
    batch_size: float

    def __call__(self, S, own):
        return ((S + self.covariance) / self.batch_size)[None]


class SignNoise(eqx.Module):
    """signSGD under Gaussian noise: (2/pi) E arcsin(rho c), c the cosine between a batch's residuals of two outputs.

    The terms in rho, rho^3 and rho^5 are exact for all rho, the rest at rho = 1.
    """

    covariance: Float[np.ndarray, "m m"]
    first: Float[np.ndarray, "n b"]
    second: Float[np.ndarray, "n b"]

    def __call__(self, S, own):
        total, m = S + self.covariance, len(self.covariance)
        length = jnp.sqrt(jnp.maximum(jnp.diag(total), TINY))
        psi = jnp.zeros((len(GENERAL_BASIS), m, m)).at[GENERAL_BASIS.index("arcsin")].set(jnp.eye(m))
        for a in range(m):
            for b in range(a + 1, m):
                rows = self._in_common(jnp.clip(total[a, b] / (length[a] * length[b]), -1.0, 1.0))
                psi = psi.at[:, a, b].set(rows).at[:, b, a].set(rows)
        return psi

    def _in_common(self, correlation):
        """Weights of the basis, for residuals of this correlation."""
        if self.first.shape[1] == 1:
            return 2 / jnp.pi * jnp.arcsin(correlation) * (np.array(GENERAL_BASIS) == "arcsin")
        x = self.first
        y = correlation * x + jnp.sqrt(jnp.maximum(1 - correlation**2, 0.0)) * self.second
        cosine = jnp.sum(x * y, axis=1) / jnp.sqrt(jnp.sum(x**2, axis=1) * jnp.sum(y**2, axis=1))
        terms = [c * jnp.mean(cosine ** (2 * k + 1)) for k, c in enumerate(TAYLOR)]
        rest = jnp.mean(2 / jnp.pi * jnp.arcsin(jnp.clip(cosine, -1.0, 1.0))) - sum(terms)
        weights = dict(zip(("rho", "rho3", "rho5", "rho9"), [*terms, rest], strict=True))
        return jnp.stack([weights.get(name, jnp.zeros(())) for name in GENERAL_BASIS])


def decoupled_law(name: str, limit, problem, batch_size: int) -> DecoupledLaw | DecayedLaw:
    """The law of the rule ``name`` on a linear regression with several outputs, from its ``limit`` on one.

    NoLimitError for a rule whose memory is comparable to d, or that does not act on each coordinate by itself.
    """
    laws = [limit(_one_output(problem, a), batch_size).without_memory for a in range(problem.outputs)]
    if isinstance(laws[0], DecayedLaw):
        rules = DecoupledLaw(*_parts(name, [law.rule for law in laws], problem, batch_size))
        return DecayedLaw(rules, laws[0].rate)  # decay that SGD adds to its gradient is decoupled
    return DecoupledLaw(*_parts(name, laws, problem, batch_size))


def _parts(name, laws, problem, batch_size):
    """What makes a ``DecoupledLaw``."""
    if not all(isinstance(law, ScalarLaw) and law.power is not None and not law.has_scalars for law in laws):
        raise _no_limit(name, problem)
    if len({(law.power, law.basis) for law in laws}) > 1 or (problem.outputs > 1 and not acts_on_coordinates(laws[0])):
        raise _no_limit(name, problem)
    return tuple(laws), _stacked(laws), _common_noise(laws[0], problem, batch_size), batch_size


def _stacked(laws):
    if len({jax.tree.structure(law) for law in laws}) > 1:
        return None
    leaves = [[np.asarray(leaf) for leaf in jax.tree.leaves(law)] for law in laws]
    if len({tuple(leaf.shape for leaf in own) for own in leaves}) > 1:
        return None
    return jax.tree.unflatten(jax.tree.structure(laws[0]), [np.stack(same) for same in zip(*leaves, strict=True)])


def _no_limit(name, problem):
    return NoLimitError(
        f"optimizer must be a rule of short memory that acts on each coordinate by itself on {type(problem).__name__}, "
        f"got {name}",
        "its limit for several outputs is not known here; simulate runs it",
    )


def acts_on_coordinates(law) -> bool:
    """Whether outputs decouple: scale-free rules and SGD, but no rule that divides by the length of a gradient."""
    return law.power == 1 or law.gradient_batch is not None


def _common_noise(law, problem, batch_size):
    noise = problem.loss.noise
    covariance = noise.covariance
    if law.gradient_batch is not None and np.all(np.isfinite(covariance)):
        return GradientNoise(covariance, float(batch_size))
    gaussian = isinstance(noise, MultivariateGaussian) or isinstance(noise.law, NoNoise | Gaussian)
    if law.basis == ("arcsin",) and gaussian and problem.outputs > 1:
        return SignNoise(covariance, *_batches(batch_size))
    return None


@memoized
def _batches(batch_size):
    z = standard_normals(2 * batch_size, BATCHES)
    return z[:, :batch_size], z[:, batch_size:]


def _one_output(problem, index: int) -> LinearRegression:
    """One output as a problem of its own."""
    given = problem.loss.noise.marginals()[index], problem.theta0[:, index], problem.theta_star[:, index], problem.seed
    return problem.cached(("output", index), lambda: LinearRegression(problem.covariance, *given))
