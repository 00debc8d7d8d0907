"""Covariances: sampling, applying, rescaling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sdelimit as sl

rng = np.random.default_rng(0)
FACTOR = rng.standard_normal((30, 30)) / np.sqrt(30)
COVARIANCES = {
    "identity": sl.covariance.identity(30),
    "diagonal": sl.covariance.diagonal(np.linspace(0.1, 3, 30)),
    "power law": sl.covariance.power_law(30, 0.7),
    "rotated power law": sl.covariance.power_law(30, 0.7, rotate=True),
    "ar1": sl.covariance.ar1(150, 0.8),
    "ar1 alternating": sl.covariance.ar1(64, -0.6),
    "ar1 uncorrelated": sl.covariance.ar1(65, 0.0),
    "spiked": sl.covariance.spiked(30, [4.0, -0.5]),
    "block": sl.covariance.block(sl.covariance.ar1(10, 0.5), np.array([1.0, 2.0]), FACTOR @ FACTOR.T),
    "dense": sl.covariance.dense(FACTOR @ FACTOR.T),
    "singular": sl.covariance.dense(FACTOR[:, :10] @ FACTOR[:, :10].T),
    "scaled ar1": sl.covariance.ar1(150, 0.8).scaled(np.linspace(0.5, 2, 150)),
    "scaled twice": sl.covariance.spiked(30, [4.0]).scaled(2.0).scaled(np.linspace(0.5, 2, 30)),
    "scaled dense": sl.covariance.dense(FACTOR @ FACTOR.T).scaled(np.linspace(0.5, 2, 30)),
    "scaled diagonal": sl.covariance.power_law(30, 0.7).scaled(np.linspace(0.5, 2, 30)),
}


@pytest.mark.parametrize("name", COVARIANCES)
def test_samples_have_covariance_k(name):
    """The linear map z -> x applied to the identity is a factor F of K = F F'."""
    covariance = COVARIANCES[name]
    with jax.enable_x64(True):
        factor = np.asarray(covariance.sample(jnp.eye(covariance.d))).T
    np.testing.assert_allclose(factor @ factor.T, covariance.to_dense(), atol=1e-12)


@pytest.mark.parametrize("name", COVARIANCES)
def test_apply_std_trace_and_correlation_agree_with_the_dense_matrix(name):
    covariance = COVARIANCES[name]
    k = covariance.to_dense()
    v = np.random.default_rng(1).standard_normal((3, covariance.d))
    with jax.enable_x64(True):
        np.testing.assert_allclose(np.asarray(covariance.apply(jnp.asarray(v))), v @ k, atol=1e-11)
    np.testing.assert_allclose(covariance.std, np.sqrt(np.diag(k)), rtol=1e-12)
    np.testing.assert_allclose(covariance.trace, np.trace(k), rtol=1e-12)
    std = np.sqrt(np.diag(k))
    np.testing.assert_allclose(covariance.correlation(), k / std[:, None] / std, atol=1e-12)
    assert covariance.is_diagonal == bool(np.all(k == np.diag(np.diag(k))) and "ar1" not in name)


def test_scaled_rescales_rows_and_columns():
    s = np.linspace(0.5, 2, 150)
    k = COVARIANCES["ar1"].to_dense()
    np.testing.assert_allclose(COVARIANCES["scaled ar1"].to_dense(), s[:, None] * k * s, rtol=1e-14)


def test_ar1_is_a_geometric_decay_of_correlations():
    i = np.arange(150)
    np.testing.assert_allclose(COVARIANCES["ar1"].to_dense(), 0.8 ** np.abs(i[:, None] - i), rtol=1e-13)


def test_rotated_power_law_keeps_the_spectrum():
    values = np.linalg.eigvalsh(COVARIANCES["rotated power law"].to_dense())
    np.testing.assert_allclose(np.sort(values)[::-1], np.arange(1, 31) ** -0.7, rtol=1e-10)


def test_spikes_are_eigenvalues_above_one():
    values = np.linalg.eigvalsh(COVARIANCES["spiked"].to_dense())
    np.testing.assert_allclose(values[[0, 1, -1]], [0.5, 1.0, 5.0], rtol=1e-10)


def test_from_data_is_the_empirical_covariance():
    data = np.random.default_rng(2).standard_normal((500, 6)) @ FACTOR[:6, :6] + 3.0
    np.testing.assert_allclose(sl.covariance.from_data(data).to_dense(), np.cov(data.T, bias=True), rtol=1e-10)
    raw = sl.covariance.from_data(data, center=False).to_dense()
    np.testing.assert_allclose(raw, data.T @ data / 500, rtol=1e-10)


def test_arrays_are_accepted_as_covariances():
    k = FACTOR @ FACTOR.T
    np.testing.assert_allclose(sl.LinearRegression(k).covariance.to_dense(), k)
    np.testing.assert_allclose(sl.LinearRegression([1.0, 2.0]).covariance.to_dense(), np.diag([1.0, 2.0]))
