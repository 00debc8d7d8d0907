"""The noise of SDE steps against its covariance written out."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import heteroscedastic

import sdelimit as sl
from sdelimit.limits.limit import Limit
from sdelimit.modes.decoupled import modes, noise_coordinates
from sdelimit.numerics.precision import x64
from sdelimit.sde.noise_increments import SPACING, noise_increments

pytestmark = pytest.mark.long

PSI = {
    "of one shape": lambda R: jnp.stack([2 * R + 0.1, 3 * (2 * R + 0.1)]),
    "of changing shape": lambda R: jnp.stack([0.1 + 0 * R, R]),
}


def increments_of(problem, limit, risks):
    """The noise of paths near those risks."""
    found = noise_coordinates(problem, limit.on(problem))
    return noise_increments(problem, limit, *found, SimpleNamespace(risk=np.array(risks)))


def covariance_of(increments, R, psi, d):
    """F F' of paths at the risk R: what their increments are for unit vectors."""
    with x64():
        factor = np.asarray(increments(jnp.full(d, R), jnp.tile(psi(jnp.asarray(R)), (d, 1)), jnp.eye(d)))
    return factor.T @ factor


@pytest.mark.parametrize("name", PSI)
@pytest.mark.parametrize("K", [heteroscedastic(sl.covariance.ar1(12, 0.7)), sl.covariance.power_law(12, 0.7)])
def test_increments_have_the_covariance_of_all_kernels_and_add_exactly_their_risk(name, K):
    problem, psi = sl.LinearRegression(K), PSI[name]
    limit = Limit(lambda R: 1.0 + 0 * R, psi, 1, ("rho", "arcsin"))
    Q, decay = modes(problem, limit).vectors, modes(problem, limit).decay
    rho, outer = K.correlation(), np.sqrt(np.outer(K.std, K.std))
    matrices = np.stack([rho * outer, 2 / np.pi * np.arcsin(rho) * outer])
    matrices = matrices if Q is None else Q.T @ matrices @ Q
    increments = increments_of(problem, limit, [1.0, 0.05])
    if K.is_diagonal:
        risks = ((0.7, 1e-12),)  # no mixing of modes: exact at every risk
    else:
        assert (len(increments.log_R) > 1) == (name == "of changing shape")
        at_knot, between = (np.exp(increments.log_R[0] + SPACING * x) for x in (3.0, 4.4))
        risks = (at_knot, 1e-5), (between, 0.1)
    for R, tolerance in risks:
        expected = np.tensordot(psi(R), matrices, axes=1)
        found = covariance_of(increments, R, psi, 12)
        np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
        np.testing.assert_allclose(np.trace(found * decay), np.trace(expected * decay), rtol=1e-5)


def test_paths_at_different_risks_get_their_own_shape():
    problem, psi = sl.LinearRegression(sl.covariance.ar1(8, 0.7)), PSI["of changing shape"]
    limit = Limit(lambda R: 1.0 + 0 * R, psi, 1, ("rho", "arcsin"))
    increments = increments_of(problem, limit, [10.0, 1e-3])
    risks = np.array([10.0, 0.1, 1e-3])
    with x64():
        z, weights = jnp.ones((3, 8)), jnp.stack([psi(R) for R in jnp.asarray(risks)])
        together = increments(jnp.asarray(risks), weights, z)
        alone = [increments(jnp.asarray(risks[i : i + 1]), weights[i : i + 1], z[:1])[0] for i in range(3)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
