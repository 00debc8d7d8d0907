"""From estimates of phi and kappa at single risks to a ``Limit`` valid at every risk.

The coefficients of a scale-free rule depend on R only through s / (noise scale), s = sqrt(2R). Without noise, or with
Gaussian noise, the residuals are Gaussian and one estimate is enough: phi = c / sqrt(2P), kappa constant. Any other
noise is tabulated once over log R. The last ``memo.SIZE`` tables are cached in memory, and if a folder is given all of
them on disk.
"""

import hashlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import PchipInterpolator

from sdelimit.limits.limit import CoefficientErrors, Limit
from sdelimit.limits.noise_kernel import GENERAL_BASIS, RHO, Estimate, fit_kernel
from sdelimit.limits.response import Aside, Correlated
from sdelimit.noise.base import NoiseLaw
from sdelimit.noise.gaussian import Gaussian, NoNoise
from sdelimit.numerics.floors import TINY
from sdelimit.numerics.log_log_spline import LogLogTable
from sdelimit.numerics.memo import Memo, content_key
from sdelimit.numerics.piecewise_polynomial import PiecewisePolynomial, cubic_hermite
from sdelimit.support.compiled import named_folder
from sdelimit.support.files import FileError, read_npz, reading

FORMAT = 1
NODES = np.array([-24.0, -16.0, -10.0, -7.5, -5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0, 16.0, 24.0])
"""log(2R / noise scale^2) at which coefficients are estimated at first."""
MAX_NODES = 33
TOLERANCE = 2e-3
"""Largest relative interpolation error of phi and kappa aimed at."""
SINGLE_RISK_FACTOR = 4
"""Factor on the number of samples where one risk is enough."""
GRID = np.arange(-28.0, 28.25, 0.5)
"""log(2R / noise scale^2) at which the drift is computed and the kernel coefficients are resampled."""


class Rule(Protocol):
    """A rule with M = D^-1 whose coefficients can be estimated. Hashable; its repr names it in the cache."""

    samples: int
    scale_free: bool
    """Whether multiplying all gradients by a number leaves the direction as it is."""
    responds: bool
    """Whether what ``Correlated`` asks for is the rule's own, not that of a similar rule."""

    def unit(self, noise: NoiseLaw) -> float:
        """The residual around which coefficients change with R: log(2R) is measured from there."""

    def estimates(
        self, noise: NoiseLaw, R: Float[np.ndarray, " n"], batch_size: int, samples: int, seed: int
    ) -> list[Estimate]:
        """phi and kappa at each risk. The same seed must mean the same random numbers at every risk."""

    def drift(self, noise: NoiseLaw, R: Float[np.ndarray, " n"], batch_size: int) -> Float[np.ndarray, " n"]:
        """A positive function with phi / drift slowly varying in log R: phi itself where it is known exactly."""


class GaussianDrift(eqx.Module):
    """phi(R) = c / sqrt(2P(R)): residuals are Gaussian."""

    c: float
    noise_variance: float

    def __call__(self, R):
        return self.c / jnp.sqrt(2 * R + self.noise_variance)


class ConstantNoise(eqx.Module):
    """psi(R) = psi."""

    psi: Float[np.ndarray, " p"]

    def __call__(self, R):
        return jnp.asarray(self.psi, jnp.asarray(R).dtype)


class TabulatedNoise(eqx.Module):
    """psi(R), (p,), cubic in log R between uniform nodes and constant outside them."""

    of_log_R: PiecewisePolynomial

    def __call__(self, R: Float[Array, ""]) -> Float[Array, " p"]:
        return self.of_log_R(jnp.log(R))


class Coefficients(NamedTuple):
    """Estimates at the risks exp(log_R), (k,), and the rule's ``drift`` on the finer grid exp(log_R_drift), (n,)."""

    log_R: Float[np.ndarray, " k"]
    phi: Float[np.ndarray, " k"]
    phi_se: Float[np.ndarray, " k"]
    kappa: Float[np.ndarray, "k r"]
    kappa_se: Float[np.ndarray, "k r"]
    drift: Float[np.ndarray, " k"]
    log_R_drift: Float[np.ndarray, " n"]
    log_drift: Float[np.ndarray, " n"]


def tabulated_limit(
    rule: Rule,
    noise: NoiseLaw,
    batch_size: int,
    *,
    samples: int | None = None,
    seed: int = 0,
    cache=None,
    basis: tuple[str, ...] = GENERAL_BASIS,
) -> Limit:
    """The ``Limit`` of a rule with M = D^-1 under any noise.

    Args:
        rule: the rule.
        noise: law of the label noise.
        batch_size: samples per step.
        samples: gradients drawn to estimate the coefficients at one risk; default ``rule.samples``.
        seed: seed of the estimates.
        cache: folder that keeps tables between processes; default the environment variable SDELIMIT_CACHE,
            and none if that is unset or "off".
        basis: names of the kernels that kappa is a sum of.
    """
    samples = rule.samples if samples is None else samples
    gaussian = rule.scale_free and isinstance(noise, (NoNoise, Gaussian))
    table = _coefficients(rule, NoNoise() if gaussian else noise, batch_size, samples, seed, cache)
    relative = CoefficientErrors(table.log_R, table.phi_se / table.phi, RHO, _relative(table.kappa_se, table.kappa))
    if gaussian:
        psi = ConstantNoise(fit_kernel(RHO, table.kappa[0], basis))
        phi = GaussianDrift(float(table.phi[0]), float(noise.second_moment))
    else:
        phi, psi = _drift_table(table), _noise_table(table, basis)
    return Limit(phi, psi, 1, basis, relative, correlated=Aside(Correlated(rule, noise, batch_size)))


def _drift_table(table: Coefficients) -> LogLogTable:
    """phi = drift * (estimated phi / drift), the second factor interpolated and constant outside the nodes."""
    correction = PchipInterpolator(table.log_R, np.log(table.phi / table.drift))
    inside = np.clip(table.log_R_drift, table.log_R[0], table.log_R[-1])
    return LogLogTable(table.log_R_drift, table.log_drift + correction(inside))


def _noise_table(table: Coefficients, basis) -> TabulatedNoise:
    spline = PchipInterpolator(table.log_R, np.stack([fit_kernel(RHO, kappa, basis) for kappa in table.kappa]))
    grid = table.log_R_drift
    outside = (grid <= table.log_R[0]) | (grid >= table.log_R[-1])
    values = spline(np.clip(grid, table.log_R[0], table.log_R[-1]))
    slopes = np.where(outside[:, None], 0.0, spline(grid, nu=1))
    return TabulatedNoise(cubic_hermite(grid, np.maximum(values, 0.0), slopes))


def compute_coefficients(rule: Rule, noise: NoiseLaw, batch_size: int, samples: int, seed: int) -> Coefficients:
    """Estimates at the risks that interpolation needs; a single one, at R = 1/2, without noise."""
    if rule.scale_free and isinstance(noise, NoNoise):
        log_R = np.log([0.5])
        (only,) = rule.estimates(noise, np.exp(log_R), batch_size, SINGLE_RISK_FACTOR * samples, seed)
        return _collect({log_R[0]: only}, rule, noise, batch_size)
    origin = np.log(rule.unit(noise) ** 2 / 2)
    known, wanted = {}, NODES
    while len(wanted):
        known |= zip(wanted, rule.estimates(noise, np.exp(wanted + origin), batch_size, samples, seed), strict=True)
        wanted = np.array(_refinements(known)[: MAX_NODES - len(known)])
    return _collect({x + origin: known[x] for x in sorted(known)}, rule, noise, batch_size, GRID + origin)


def _collect(estimates, rule, noise, batch_size, grid=()):
    log_R = np.array(list(estimates))
    columns = (np.array(column) for column in zip(*estimates.values(), strict=True))
    drift = rule.drift(noise, np.exp(log_R), batch_size)
    log_drift = np.log(np.maximum(rule.drift(noise, np.exp(np.asarray(grid)), batch_size), TINY))
    return Coefficients(log_R, *columns, drift, np.asarray(grid, float), log_drift)


def _refinements(estimates) -> list[float]:
    """Midpoints next to the nodes that the others do not predict.

    Halving the spacing of a cubic interpolant divides its error by 8, so leaving a node out shows 8 times the
    error near it. Random errors hardly matter, because all nodes use the same random numbers.
    """
    x = np.array(sorted(estimates))
    kappa = np.log(np.array([estimates[node].kappa[1:] for node in x]))
    wanted = set()
    for i in range(1, x.size - 1):
        others = np.delete(np.arange(x.size), i)
        miss = np.max(np.abs(PchipInterpolator(x[others], kappa[others])(x[i]) - kappa[i]))
        if miss > 8 * TOLERANCE:
            wanted |= {(x[i - 1] + x[i]) / 2, (x[i] + x[i + 1]) / 2}
    return sorted(wanted - set(x))


def _relative(error, value):
    return np.divide(error, value, out=np.zeros_like(error), where=value > 0)


TABLES = Memo()
"""Coefficients by the content of rule, noise law and sample sizes."""


def _coefficients(rule, noise, batch_size, samples, seed, cache) -> Coefficients:
    """The coefficients from memory, else from the folder ``cache``, else computed and kept in both."""
    given = rule, noise, batch_size, samples, seed
    return TABLES.get(content_key(*given), lambda: _from_folder(*given, cache))


def _from_folder(rule, noise, batch_size, samples, seed, cache) -> Coefficients:
    """The coefficients from the folder ``cache``, or computed and saved there."""
    folder = named_folder() if cache is None else cache
    text = f"{FORMAT}|{(rule, _law_on_disk(noise), batch_size, samples, seed)!r}"
    path = None if not folder or _has_function(noise) else Path(folder) / f"{_digest(text.encode())}.npz"
    table = _load(path, text) if path is not None and path.exists() else None
    if table is None:
        table = compute_coefficients(rule, noise, batch_size, samples, seed)
        if path is not None:
            _save(path, text, table)
    return table


def _law_on_disk(noise):
    """What names the law in a folder, the same in every process: its class, its numbers and arrays."""
    leaves, structure = jax.tree.flatten(noise)
    numbers = tuple(_digest(np.asarray(leaf, np.float64).tobytes()) for leaf in leaves)
    return type(noise).__qualname__, structure, numbers


def _has_function(noise) -> bool:
    """A function has no name that outlives the process, so laws made from one are not kept on disk."""
    return any(callable(value) and not isinstance(value, eqx.Module) for value in vars(noise).values())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _save(path, text, table):
    """Written to a temporary file that then replaces ``path``, so that no reader gets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
        np.savez(file, text=np.array(text), **table._asdict())
    os.replace(file.name, path)


def _load(path, text):
    """The stored table, or None with a warning if the file is damaged or belongs to something else."""
    try:
        with reading("cache", path):
            stored = read_npz(path, ["text", *Coefficients._fields])
            if str(stored.pop("text")) != text:
                raise ValueError("it holds another table")
            return Coefficients(**stored)
    except FileError as error:
        warnings.warn(f"ignoring {path} ({error.problem}); its coefficients are computed again", stacklevel=2)
        return None
