"""The noise of SDE steps against its covariance written out."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl
from sdelimit.limits.limit import Limit
from sdelimit.modes.decoupled import modes
from sdelimit.numerics.precision import x64
from sdelimit.sde.noise_increments import SPACING, kicks_of

PSI = {
    "of one shape": lambda R: jnp.stack([2 * R + 0.1, 3 * (2 * R + 0.1)]),
    "of changing shape": lambda R: jnp.stack([0.1 + 0 * R, R]),
}


def covariance_of(kicks, R, psi, d):
    """F F' of paths at the risk R: what their kicks are for unit vectors."""
    with x64():
        factor = np.asarray(kicks(jnp.full(d, R), jnp.tile(psi(jnp.asarray(R)), (d, 1)), jnp.eye(d)))
    return factor.T @ factor


@pytest.mark.parametrize("name", PSI)
@pytest.mark.parametrize("K", [heteroscedastic(sl.covariance.ar1(12, 0.7)), sl.covariance.power_law(12, 0.7)])
def test_kicks_have_the_covariance_of_all_kernels_and_heat_exactly(name, K):
    problem, psi = sl.LinearRegression(K), PSI[name]
    limit = Limit(lambda R: 1.0 + 0 * R, psi, 1, ("rho", "arcsin"))
    Q, decay = modes(problem, limit).vectors, modes(problem, limit).decay
    rho, outer = K.correlation(), np.sqrt(np.outer(K.std, K.std))
    matrices = np.stack([rho * outer, 2 / np.pi * np.arcsin(rho) * outer])
    matrices = matrices if Q is None else Q.T @ matrices @ Q
    kicks = kicks_of(problem, limit, decay, SimpleNamespace(risk=np.array([1.0, 0.05])))
    assert (len(kicks.log_R) > 1) == (name == "of changing shape")
    at_knot, between = (np.exp(kicks.log_R[0] + SPACING * x) for x in (3.0, 4.4))
    for R, tolerance in ((at_knot, 1e-5), (between, 0.1)):
        expected = np.tensordot(psi(R), matrices, axes=1)
        found = covariance_of(kicks, R, psi, 12)
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
        np.testing.assert_allclose(np.trace(found * decay), np.trace(expected * decay), rtol=1e-5)


def test_paths_at_different_risks_get_their_own_shape():
    problem, psi = sl.LinearRegression(sl.covariance.ar1(8, 0.7)), PSI["of changing shape"]
    limit = Limit(lambda R: 1.0 + 0 * R, psi, 1, ("rho", "arcsin"))
    kicks = kicks_of(problem, limit, modes(problem, limit).decay, SimpleNamespace(risk=np.array([10.0, 1e-3])))
    risks = np.array([10.0, 0.1, 1e-3])
    with x64():
        z, weights = jnp.ones((3, 8)), jnp.stack([psi(R) for R in jnp.asarray(risks)])
        together = kicks(jnp.asarray(risks), weights, z)
        alone = [kicks(jnp.asarray(risks[i : i + 1]), weights[i : i + 1], z[:1])[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
