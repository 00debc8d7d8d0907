"""Tables over the states of a single-index problem (theory: section 20).

The states are s = sd(u - u*) and c = corr(u - u*, u*): polar coordinates about theta*, in which coefficients are smooth
where theta meets theta* too. Values are splines in log s and Chebyshev series in c.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.polynomial import chebyshev
from scipy.interpolate import make_interp_spline

from sdelimit.numerics.piecewise_polynomial import PiecewisePolynomial, quintic

STEP = 0.3
"""Spacing of nodes in log s."""
ANGLES = 14
"""Nodes in c."""
SMALLEST = 1e-4
"""Smallest s tabulated, in units of the smaller of sd(u*) and 1, the scale of losses; constant below."""
SHARED_CELLS = 8
"""Cells are a multiple of this many, so that tables share compiled code."""


class Grid(eqx.Module):
    """The states (s_i, c_j) of a table.

    Attributes:
        log_s: (n,) equally spaced.
        c: (a,) Chebyshev points; only 0 where nothing depends on u*.
    """

    log_s: Float[np.ndarray, " n"]
    c: Float[np.ndarray, " a"]

    @property
    def states(self):
        """s and c of all states, (n a,) each."""
        s, c = np.meshgrid(np.exp(self.log_s), self.c, indexing="ij")
        return s.ravel(), c.ravel()


def grid_to(largest: float, sd_target: float, depends_on_target: bool, step=STEP, angles=ANGLES) -> Grid:
    """States up to s of ``largest`` at least."""
    low = np.log(SMALLEST * min(sd_target if sd_target > 0 else 1.0, 1.0))
    cells = SHARED_CELLS * int(np.ceil((np.log(largest) - low) / step / SHARED_CELLS))
    c = np.cos(np.pi * (np.arange(angles) + 0.5) / angles) if depends_on_target else np.zeros(1)
    return Grid(low + step * np.arange(max(cells, SHARED_CELLS) + 1), c)


class StateTable(eqx.Module):
    """Functions of (S2, X), S2 = s^2 and X = c s sd(u*): (S2 + origin)^(power / 2) times what is tabulated.

    Attributes:
        of_log_s: log s -> (functions, angles) Chebyshev coefficients in c.
        powers: (functions,).
        origin: E l^2 at theta*, near which functions bend.
        sd_target: sd(u*).
    """

    of_log_s: PiecewisePolynomial
    powers: Float[np.ndarray, " f"]
    origin: float
    sd_target: float

    def __call__(self, S2: Float[Array, ""], X: Float[Array, ""], added=0.0) -> Float[Array, " f"]:
        s = jnp.sqrt(S2)
        c = jnp.clip(X / jnp.maximum(s * self.sd_target, 1e-290), -1.0, 1.0)
        coefficients = self.of_log_s(jnp.log(s))
        before, now = jnp.zeros_like(coefficients[:, 0]), jnp.zeros_like(coefficients[:, 0])
        for k in range(coefficients.shape[1] - 1, 0, -1):  # Clenshaw
            before, now = now, 2 * c * now - before + coefficients[:, k]
        series = c * now - before + coefficients[:, 0]
        return (series + added) * (S2 + self.origin) ** (self.powers / 2)

    @property
    def largest(self) -> float:
        """The largest s tabulated."""
        cells = self.of_log_s.coefficients.shape[1]
        return float(np.exp(self.of_log_s.start + cells * self.of_log_s.step))


def state_table(grid: Grid, values: Float[np.ndarray, "f n a"], powers, origin: float, sd_target: float) -> StateTable:
    """The table of functions with ``values`` at the states of a grid."""
    powers = np.asarray(powers, np.float64)
    scale = (np.exp(2 * grid.log_s) + origin) ** (powers[:, None] / 2)
    series = np.moveaxis(_chebyshev(grid.c, values / scale[..., None]), 1, 0)
    pieces, _ = quintic(grid.log_s, series)
    return StateTable(pieces, powers, float(origin), float(sd_target))


def _chebyshev(c, values):
    """Coefficients along the last axis."""
    if c.size == 1:
        return values
    transform = np.linalg.inv(chebyshev.chebvander(c, c.size - 1))
    return values @ transform.T


def resampled(grid: Grid, values: Float[np.ndarray, "f n a"], log_s, c) -> Float[np.ndarray, "f m b"]:
    """Values at other states: cubic in log s, and by the series in c."""
    degree = min(3, grid.log_s.size - 1)
    series = make_interp_spline(grid.log_s, np.moveaxis(_chebyshev(grid.c, values), 1, 0), k=degree)(log_s)
    return np.moveaxis(series @ chebyshev.chebvander(c, grid.c.size - 1).T, 0, 1)


def at_states(grid: Grid, values: Float[np.ndarray, "f n a"], log_s, c) -> Float[np.ndarray, "f m"]:
    """The same at states (log_s, c), (m,) each; beyond the grid in s the values at its edge."""
    degree = min(3, grid.log_s.size - 1)
    inside = np.clip(log_s, grid.log_s[0], grid.log_s[-1])
    series = make_interp_spline(grid.log_s, np.moveaxis(_chebyshev(grid.c, values), 1, 0), k=degree)(inside)
    return np.einsum("mfa,ma->fm", series, chebyshev.chebvander(np.clip(c, -1, 1), grid.c.size - 1))


class PositiveTable(eqx.Module):
    """Nonnegative functions of the state, linear between nodes of log s and of the angle arccos c.

    Attributes:
        start, step: of the nodes of log s.
        values: (n, a, functions).
        sd_target: sd(u*).
    """

    start: float
    step: float
    values: Float[np.ndarray, "n a f"]
    sd_target: float

    def __call__(self, S2: Float[Array, ""], X: Float[Array, ""]) -> Float[Array, " f"]:
        values = jnp.asarray(self.values)
        n, a, _ = values.shape
        s = jnp.sqrt(S2)
        c = jnp.clip(X / jnp.maximum(s * self.sd_target, 1e-290), -1.0, 1.0)
        i, u = _cell((jnp.log(s) - self.start) / self.step, n)
        if a == 1:
            return (1 - u) * values[i, 0] + u * values[i + 1, 0]
        # arccos has no slope at its ends; 1e-12 away from them it has.
        angle = jnp.arccos(jnp.clip(c, -1 + 1e-12, 1 - 1e-12))
        j, v = _cell(angle / np.pi * (a - 1), a)
        rows = (1 - u) * values[i] + u * values[i + 1]
        return (1 - v) * rows[j] + v * rows[j + 1]


def _cell(x, n):
    x = jnp.clip(x, 0.0, n - 1.0)
    i = jnp.clip(jnp.floor(x), 0, n - 2).astype(jnp.int32)
    return i, x - i
