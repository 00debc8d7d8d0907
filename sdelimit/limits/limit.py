"""The law of a rule whose preconditioner does not change with the risk, given by phi(R) and psi(R)."""

from collections.abc import Callable
from dataclasses import replace

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.law import ScalarLaw
from sdelimit.limits.response import Aside
from sdelimit.limits.sampled.spread_along_mean import ScaledFluctuations


class CoefficientErrors(eqx.Module):
    """Relative standard errors of coefficients estimated by sampling, at the risks exp(log_R)."""

    log_R: Float[np.ndarray, " k"]
    phi: Float[np.ndarray, " k"]
    rho: Float[np.ndarray, " r"]
    kappa: Float[np.ndarray, "k r"]

    def at(self, R: float) -> tuple[float, Float[np.ndarray, " r"]]:
        """Relative standard errors of phi(R) and of kappa(rho; R) at ``rho``, interpolated."""
        x = np.log(R)
        return np.interp(x, self.log_R, self.phi), np.array([np.interp(x, self.log_R, k) for k in self.kappa.T])


class Limit(ScalarLaw):
    """The homogenized dynamics of a rule (theory: section 1),

        d delta = -eta phi(R) D^-power K delta dt + eta sqrt(sum_p psi_p(R) N_p / d) dB,
        N_p = D^(1-power) b_p(Khat) D^(1-power),

    with D = diag(sigma). ``power = 1`` for scale-free coordinatewise rules (M = D^-1), ``power = 0`` for
    SGD-like rules (M = I).

    Attributes:
        phi: R -> drift coefficient, JAX-traceable, R > 0.
        psi: R -> (p,) noise coefficients, one for each entry of ``basis``.
        power: 0 or 1.
        basis: names of the kernels b_p in ``BASIS``.
        errors: of phi and kappa, where they were sampled.
        fluctuations: R -> ``Fluctuation``, the part of the spread of R between runs that psi lacks; None if unknown,
            or before ``with_spread``.
        correlated: the rule's ``Correlated`` response, where it is known.
    """

    phi: Callable[[Float[Array, ""]], Float[Array, ""]]
    psi: Callable[[Float[Array, ""]], Float[Array, " p"]]
    power: int = eqx.field(static=True)
    basis: tuple[str, ...] = eqx.field(static=True)
    errors: CoefficientErrors | None = None
    fluctuations: Callable | None = None
    correlated: Aside = eqx.field(static=True, default=Aside(None))

    def on(self, problem):
        law = replace(self, correlated=Aside(None))
        return super(Limit, law).on(problem)

    def with_spread(self):
        known = self.correlated.value
        if self.fluctuations is not None or known is None or not (known.rule.scale_free and known.rule.responds):
            return self
        return replace(self, fluctuations=ScaledFluctuations(self.phi, known.relative_spread()))

    def response(self, risks):
        return None if self.correlated.value is None else self.correlated.value.table(risks)

    @property
    def responds(self):
        return self.correlated.value is not None and self.correlated.value.rule.responds

    @property
    def nonlinearity(self):
        return 0.0 if self.correlated.value is None else self.correlated.value.nonlinearity

    def drift_coefficients(self, R, m):
        return self.phi(R)[None]

    def noise_coefficients(self, R, m):
        return self.psi(R)
