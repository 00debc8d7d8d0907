"""x from white noise inside the kernel, on the two halves of the coordinates, padded to a power of two each."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.covariance.ar1 import AR1
from sdelimit.covariance.base import Covariance, Scaled
from sdelimit.covariance.diagonal import Diagonal
from sdelimit.numerics.integers import ceil_div

AR1_LEAST = 256
"""Least H of an AR(1): its matrix products need 16 rows and 16 columns."""


class FusedSampler(NamedTuple):
    """``sample(z, tables)`` gives the two halves of x from those of z, each (runs, H); ``tables`` are what it reads.

    ``half`` is H; ``several``: whether one program may hold more than one run.
    """

    sample: Callable
    tables: tuple[np.ndarray, ...]
    half: int
    several: bool


def fused_sampler(covariance: Covariance) -> FusedSampler | None:
    """The sampler of ``covariance``, if it is one of those that the kernel knows."""
    if isinstance(covariance, Diagonal):
        return FusedSampler(_diagonal, (_halves(covariance.std),), _padded_half(covariance.d), True)
    base = covariance.base if isinstance(covariance, Scaled) else covariance
    if isinstance(base, AR1):
        return FusedSampler(_ar1, _ar1_tables(base, covariance.std), _padded_half(base.d, AR1_LEAST), False)
    return None


def _padded_half(d: int, least: int = 16) -> int:
    """H: the power of two that holds half of d coordinates."""
    return max(1 << (ceil_div(d, 2) - 1).bit_length(), least)


def _halves(values, least=16):
    """(d,) values as (2, H): the two halves of the coordinates, filled up with zeros."""
    d, half = values.size, ceil_div(values.size, 2)
    halves = np.zeros((2, _padded_half(d, least)), np.float32)
    halves[0, :half], halves[1, : d - half] = values[:half], values[half:]
    return halves


def _diagonal(z, tables):
    (std,) = tables
    return tuple(std[i, :][None, :] * z[i] for i in range(2))


def _ar1_tables(ar1, std):
    """Powers of rho for the blocked recursion below: each half is n rows of m coordinates, m n = H."""
    half = _padded_half(ar1.d, AR1_LEAST)
    m = 1 << ceil_div(half.bit_length() - 1, 2)
    n = half // m
    innovations = np.full(ar1.d, ar1.innovation)
    innovations[0] = 1.0
    last = np.zeros(half)
    last[ceil_div(ar1.d, 2) - 1] = 1.0

    def powers(exponent):
        return np.where(exponent >= 0, float(ar1.rho) ** np.maximum(exponent, 0), 0.0)

    return tuple(
        np.asarray(table, np.float32)
        for table in (
            _halves(innovations, AR1_LEAST).reshape(2, n, m),
            powers(np.arange(m)[None, :] - np.arange(m)[:, None]),
            powers(m * (np.arange(n)[:, None] - 1 - np.arange(n)[None, :])),
            powers(1 + np.arange(half)).reshape(n, m),
            last.reshape(n, m),
            _halves(std, AR1_LEAST),
        )
    )


def _ar1(z, tables):
    """x_i = rho x_{i-1} + sqrt(1 - rho^2) z_i for one run: matrix products within rows, then carries between them."""
    innovations, within, between, along, last, std = tables
    rows, columns = along.shape
    final = jax.lax.broadcasted_iota(jnp.int32, (rows, columns), 1) == columns - 1

    def recursion(w):
        y = jnp.dot(w, within[...], precision=jax.lax.Precision.HIGHEST)
        ends = jnp.sum(jnp.where(final, y, 0.0), axis=1)
        incoming = jnp.sum(between[...] * ends[None, :], axis=1)
        return y + incoming[:, None] * along[0, :][None, :]

    first, second = (recursion(innovations[i, :, :] * z[i].reshape(rows, columns)) for i in range(2))
    # The second half goes on where the first one ends.
    second = second + jnp.sum(first * last[...]) * along[...]
    return tuple(std[i, :][None, :] * half.reshape(1, rows * columns) for i, half in enumerate((first, second)))
