"""The limit coefficients of a rule, for people: NumPy in, NumPy out."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from sdelimit.limits.limit import Limit
from sdelimit.limits.noise_kernel import kernel_basis
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.scipy_laws import as_noise
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.infinite import InfiniteProblem
from sdelimit.support import arguments as check


@dataclass(frozen=True)
class LimitCoefficients:
    """phi(R) and kappa(rho; R) of one rule under one noise law (theory: sections 1, 2 and 6)."""

    limit: Limit
    noise: NoiseLaw
    name: str

    def __repr__(self):
        return f"<limit coefficients of {self.name}, noise={self.noise!r}>"

    def phi(self, R) -> Float[np.ndarray, "..."]:
        """Drift coefficient at risk ``R`` > 0 (any shape): the effective learning rate is eta phi(R)."""
        R = _risk(R)
        flat = evaluate_in_float64(jax.vmap(self.limit.phi), R.ravel())
        return flat.reshape(R.shape)

    def kappa(self, rho, R) -> Float[np.ndarray, "..."]:
        """Noise kernel at correlation ``rho`` in [-1, 1] and risk ``R`` > 0, broadcast together.

        For SGD-like rules (M = I) this is the coefficient of sigma_i sigma_j, 2P(R) rho.
        """
        rho, R = _together(rho, R)
        psi = evaluate_in_float64(jax.vmap(self.limit.psi), R.ravel()).reshape(*R.shape, -1)
        basis = np.stack([kernel_basis(name, rho) for name in self.limit.basis], axis=-1)
        return np.sum(psi * basis, axis=-1)

    def phi_standard_error(self, R) -> Float[np.ndarray, "..."]:
        """Monte-Carlo standard error of ``phi(R)``: 0 where phi is exact."""
        phi = self.phi(R)
        if self.limit.errors is None:
            return np.zeros_like(phi)
        return phi * np.vectorize(lambda risk: self.limit.errors.at(risk)[0], otypes=[float])(_risk(R))

    def kappa_standard_error(self, rho, R) -> Float[np.ndarray, "..."]:
        """Monte-Carlo standard error of ``kappa(rho, R)``: 0 where kappa is exact."""
        kappa = self.kappa(rho, R)
        errors = self.limit.errors
        if errors is None:
            return np.zeros_like(kappa)
        pairs = zip(*(x.flat for x in _together(rho, R)), strict=True)
        relative = [np.interp(abs(r), errors.rho, errors.at(risk)[1]) for r, risk in pairs]
        return np.abs(kappa) * np.reshape(relative, kappa.shape)

    def figure_of_merit(self, R) -> Float[np.ndarray, "..."]:
        """phi^2 2P / kappa(1): drift squared per unit of noise, 1 for SGD. Infinite if P is (theory: section 6)."""
        P = _risk(R) + self.noise.second_moment / 2
        return self.phi(R) ** 2 * 2 * P / self.kappa(1.0, R)


def limit_coefficients(optimizer, noise: NoiseLaw, batch_size: int = 1) -> LimitCoefficients:
    """The coefficients phi(R) and kappa(rho; R) of ``optimizer`` under ``noise``.

    They describe the limit d -> infinity at fixed hyper-parameters.

    Raises ValueError where the rule has no limit under that noise (SGD with infinite variance), for a rule that
    is not scale-free: its coefficients differ from coordinate to coordinate, and for one whose coefficients depend on
    t or on earlier risks.
    """
    if not callable(getattr(optimizer, "limit", None)):
        raise TypeError(f"optimizer must be an optimizer such as sl.sign_sgd(), got {check.describe(optimizer)}")
    noise = as_noise(noise)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    limit = optimizer.limit(InfiniteProblem(noise), batch_size).undecayed
    if limit.power is None:
        raise ValueError(
            f"optimizer must act alike on every coordinate to have one phi(R) and kappa(rho; R), got {optimizer.name}, "
            "whose drift and noise depend on sigma_i: optimizer.limit(problem, batch_size) has .drift and .covariance"
        )
    if limit.has_scalars:
        raise ValueError(
            f"optimizer must have one phi(R) and kappa(rho; R) at all times, got {optimizer.name}, whose coefficients "
            "depend on t or on earlier risks: the curve of sl.solve_ode has phi along it"
        )
    return LimitCoefficients(limit, noise, optimizer.name)


def _together(rho, R):
    """rho and R of one shape."""
    rho, R = check.array("rho", rho), _risk(R)
    if np.any(np.abs(rho) > 1):
        raise ValueError(f"rho must lie in [-1, 1], got {rho.flat[np.argmax(np.abs(rho))]:g}")
    try:
        return np.broadcast_arrays(rho, R)
    except ValueError as error:
        raise ValueError(f"rho and R must broadcast together, got shapes {rho.shape} and {R.shape}") from error


def _risk(R):
    R = check.array("R", R)
    if np.any(R <= 0):
        raise ValueError(f"R must be > 0, got a smallest value of {R.min():g}")
    return R
