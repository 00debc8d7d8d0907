"""The numbers of the four effects along a rule's risk curve (theory: section 5; the formulas are in ``effects``)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from sdelimit.analysis.effects.parts import EffectiveLearningRate, NoiseCompression, NoiseReshaping, Preconditioning
from sdelimit.analysis.effects.second_moments import Dynamics
from sdelimit.numerics.floors import TINY_RISK
from sdelimit.numerics.precision import evaluate_in_float64, x64
from sdelimit.ode.equations import system_on
from sdelimit.results.curves import RiskCurve
from sdelimit.support import arguments as check


class Factors:
    """a, Mhat, chi and Nhat from the coefficients a_p and b_q, along the rule's curve and at other risks."""

    def __init__(self, rule: Dynamics, batch_size: int, curve: RiskCurve, scalars):
        self.rule, self.curve, self.batch_size = rule, curve, batch_size
        self.noise_variance = float(rule.problem.noise.second_moment)
        self.trace = float(rule.problem.covariance.trace)
        self.trace_of_square = float(np.sum(rule.covariance**2))
        self.risk = np.maximum(curve.risk, TINY_RISK)
        self.drift, self.noise = self.coefficients(self.risk, scalars)

    def coefficients(self, R, scalars):
        """a_p, (n, p), and b_q, (n, q), at the risks (n,) and scalars (n, s) of the law."""
        functions = self.rule.law.drift_coefficients, self.rule.law.noise_coefficients
        return [evaluate_in_float64(jax.vmap(f), R, scalars) for f in functions]

    def rate(self, drift):
        """a."""
        return np.sqrt(np.einsum("np,pq,nq->n", drift, self.rule.coefficients.gram, drift))

    def preconditioner(self, drift):
        """The diagonal of Mhat, (n, d)."""
        return drift @ self.rule.members / self.rate(drift)[:, None]

    def matched_noise(self, drift, noise):
        """tr N / (a^2 tr K)."""
        return noise @ self.rule.coefficients.noise_trace / (self.rate(drift) ** 2 * self.trace)

    def sgd_noise(self, R):
        """2P/b."""
        return (2 * R + self.noise_variance) / self.batch_size

    def ratio(self, noise):
        """[tr(K N) / tr N] / [tr(K^2) / tr K]."""
        sharpness = noise @ self.rule.noise_curvature / (noise @ self.rule.coefficients.noise_trace)
        return sharpness / (self.trace_of_square / self.trace)

    def learning_rate(self, sgd_lr) -> EffectiveLearningRate:
        """The first effect."""
        at = AtAnyRisk(self, _rate)
        curve = self.curve
        return EffectiveLearningRate(curve.t, curve.risk, curve.lr, curve.phi, self.rate(self.drift), sgd_lr, at)

    def preconditioning(self) -> Preconditioning:
        """The second, at the last risk of the curve."""
        Mhat, K = self.preconditioner(self.drift[-1:])[0], self.rule.covariance
        root = np.sqrt(Mhat)
        preconditioned = K * Mhat if K.ndim == 1 else K * root[:, None] * root[None, :]
        return Preconditioning(float(self.risk[-1]), Mhat, _spectrum(K), _spectrum(preconditioned))

    def noise_compression(self) -> NoiseCompression:
        """The third."""
        at = AtAnyRisk(self, _compression)
        matched, sgd = self.matched_noise(self.drift, self.noise), self.sgd_noise(self.risk)
        return NoiseCompression(self.curve.t, self.curve.risk, matched / sgd, matched, sgd, at)

    def noise_reshaping(self) -> NoiseReshaping:
        """The fourth; spectra at the last risk of the curve."""
        at = AtAnyRisk(self, _reshaping)
        N = np.tensordot(self.noise[-1], self.rule.noise, axes=1)
        spectra = [s / s.mean() for s in map(_spectrum, (self.rule.covariance, N))]
        ratio = self.ratio(self.noise)
        return NoiseReshaping(self.curve.t, self.curve.risk, ratio, float(self.risk[-1]), *spectra, at)


@dataclass(frozen=True, eq=False)
class AtAnyRisk:
    """``compute(factors, R, drift, noise)`` as a function of any risk."""

    factors: Factors
    compute: Callable

    def __call__(self, R):
        R = check.array("R", R)
        if np.any(R <= 0):
            raise ValueError(f"R must be > 0, got a smallest value of {R.min():g}")
        if self.factors.rule.law.has_scalars:
            raise ValueError(
                "R does not determine the effects of a rule with long memory, or with a number that is a function of "
                "t: see their values along the curve"
            )
        flat = R.ravel()
        return self.compute(self.factors, flat, *self.factors.coefficients(flat, np.zeros((R.size, 0)))).reshape(
            R.shape
        )


def _rate(factors, R, drift, noise):
    return factors.rate(drift)


def _compression(factors, R, drift, noise):
    return factors.matched_noise(drift, noise) / factors.sgd_noise(R)


def _reshaping(factors, R, drift, noise):
    return factors.ratio(noise)


def identity_error(factors: Factors, weight_decay: float = 0.0) -> float:
    """See ``Effects.identity_error``: at the start of every rule, and along the curve where its ODE has modes."""
    curve = factors.curve
    errors = [_error_at_start(factors, weight_decay)]
    energies = _dissipation(factors) if weight_decay == 0 else None
    if energies is not None:
        errors.append(_mismatch(factors, factors.drift, factors.noise, curve.lr, energies, curve.slope))
    return float(max(np.max(e, initial=0.0) for e in errors))


def _error_at_start(factors, weight_decay):
    """dR/dt at theta0, in the original coordinates against the rule's own system of equations."""
    rule, problem, curve = factors.rule, factors.rule.problem, factors.curve
    if problem.initial_risk == 0:
        return np.zeros(1)
    system = system_on(problem, rule.operators, rule.coordinates, curve.t, 1e-6, None, curve.lr)
    drift, noise = factors.coefficients(np.array([problem.initial_risk]), rule.law.initial_scalars()[None])
    with x64():
        slope = np.asarray(system.observe(curve.lr[0], system.initial(), False)["slope"])
    gradient = evaluate_in_float64(problem.covariance.apply, problem.delta0)
    dissipation = factors.preconditioner(drift) @ gradient**2
    errors = _mismatch(factors, drift, noise, curve.lr[:1], dissipation, slope)
    if weight_decay == 0 or curve.t[0] > 0:
        return errors
    own = curve.slope[0] + curve.lr[0] * weight_decay * gradient @ problem.theta0
    return np.maximum(errors, _mismatch(factors, drift, noise, curve.lr[:1], dissipation, own))


def _dissipation(factors):
    """tr(K Mhat K V) along the curve from the energies of its modes; None without modes."""
    rule, curve = factors.rule, factors.curve
    if curve.modes is None:
        return None
    if rule.law.power is None:  # the modes are E[delta_i^2]
        return np.sum(factors.preconditioner(factors.drift) * curve.decay**2 * curve.modes, axis=1)
    return factors.drift[:, 0] / factors.rate(factors.drift) * (curve.modes @ curve.decay**2)


def _mismatch(factors, drift, noise, lr, dissipation, slope):
    """|dR/dt of the four effects - slope| relative to the two terms of dR/dt; dissipation is tr(K Mhat K V)."""
    effective = lr * factors.rate(drift)
    level = factors.matched_noise(drift, noise) * factors.ratio(noise) * factors.trace_of_square
    down, up = effective * dissipation, effective**2 / (2 * factors.rule.problem.d) * level
    gap, size = np.abs(up - down - slope), up + down
    return np.divide(gap, size, out=np.zeros_like(gap), where=size > 0)


def _spectrum(matrix):
    """Eigenvalues, ascending, of a matrix or of a diagonal."""
    values = np.sort(matrix) if matrix.ndim == 1 else np.linalg.eigvalsh(matrix)
    return np.maximum(values, 0.0)
