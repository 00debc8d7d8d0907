"""What a solver needs to know of a rule."""

from collections.abc import Callable

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float


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


class Limit(eqx.Module):
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
        fluctuations: R -> ``Fluctuation``, what the spread of R has beyond that equation; None where it is not known.
    """

    phi: Callable[[Float[Array, ""]], Float[Array, ""]]
    psi: Callable[[Float[Array, ""]], Float[Array, " p"]]
    power: int = eqx.field(static=True)
    basis: tuple[str, ...] = eqx.field(static=True)
    errors: CoefficientErrors | None = None
    fluctuations: Callable | None = None


class MemoryLimit(eqx.Module):
    """A limit whose coefficients also depend on a few scalars that relax, each at rate ``rate`` to ``target(R)``:

        dm/dt = rate (target(R) - m),   phi = phi(R, m),   psi = psi(R, m).

    ``power`` and ``basis`` as in ``Limit``.
    """

    rate: float
    power: eqx.AbstractVar[int]
    basis: eqx.AbstractVar[tuple[str, ...]]

    def initial(self) -> Float[np.ndarray, " k"]:
        """m(0)."""
        raise NotImplementedError

    def target(self, R) -> Float[Array, " k"]:
        """What m relaxes to while the risk is R."""
        raise NotImplementedError

    def phi(self, R, memory) -> Float[Array, ""]:
        """Drift coefficient."""
        raise NotImplementedError

    def psi(self, R, memory) -> Float[Array, " p"]:
        """Noise coefficients, one for each entry of ``basis``."""
        raise NotImplementedError
