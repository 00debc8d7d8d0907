"""Powers of two in which the gradients of a run are given to its rules.

Rules square gradients, or raise them to higher powers, and float32 ends at 1e38: Adam stands still at gradients of 1e20
and of 1e-20. A scale-free rule takes the same steps whatever unit its gradients have, and a power of two changes no
digit of them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdelimit.limits.residual_law import typical_residual
from sdelimit.numerics.memo import memoized
from sdelimit.numerics.precision import precision
from sdelimit.optimizers.formula import is_scale_free
from sdelimit.optimizers.optimizer import Optimizer
from sdelimit.problem.multi_output import MultiOutputRegression, SoftmaxRegression
from sdelimit.problem.single_index import SingleIndex

ORDINARY = 10
"""Gradients within a factor of 2 to this power of 1 are near enough to 1 for any rule."""
LARGEST = 126
"""Units are normal numbers of float32, as are their reciprocals."""
STEPS, COORDINATES = 16, 64
AGREE = 0.05
"""Largest relative difference of the root mean square of directions in float32 and in float64."""


def gradient_units(problem, optimizers: tuple[Optimizer, ...], batch_size: int, dtype) -> tuple[float, ...]:
    """For each rule the unit of its gradients: a power of two near their size for one that is scale-free, else 1.

    ValueError if another rule's arithmetic leaves the range of ``dtype`` at gradients of the problem's size.
    """
    if isinstance(problem, SingleIndex | SoftmaxRegression):
        residual = problem.initial_slope
    elif isinstance(problem, MultiOutputRegression):
        risks = np.diag(problem.initial_overlaps[0]) / 2
        residual = max(map(typical_residual, problem.loss.noise.marginals(), risks))
    else:
        residual = typical_residual(problem.noise, problem.initial_risk)
    typical = np.sqrt(problem.covariance.mean_variance) * residual
    if not 0 < typical < np.inf:
        return (1.0,) * len(optimizers)
    exponent = int(np.clip(np.rint(np.log2(typical)), -LARGEST, LARGEST))
    return tuple(_unit(problem, rule, batch_size, dtype, exponent) for rule in optimizers)


def _unit(problem, optimizer, batch_size, dtype, exponent):
    if is_scale_free(optimizer.formula):
        return 2.0**exponent
    rule = optimizer.rule(problem, batch_size)
    if abs(exponent) <= ORDINARY or isinstance(rule, optax.GradientTransformationExtraArgs):
        return 1.0
    if _takes_the_same_steps(rule):
        return 2.0**exponent
    if not _is_in_range(rule, exponent, np.dtype(dtype).name):
        raise ValueError(
            f"problem must have gradients whose powers stay in the range of {np.dtype(dtype).name} under "
            f"{optimizer.name}, got gradients of about {2.0**exponent:.1g}: measure features or labels in other units, "
            f"with the rule's own scales{'' if np.dtype(dtype) == np.float64 else ', or take dtype=float64'}"
        )
    return 1.0


@memoized
def _takes_the_same_steps(rule) -> bool:
    """Whether a rule is scale-free, by its steps in float64 at gradients of 2^-60, 1 and 2^60."""
    steps = [_directions(rule, 2.0**k, "float64") for k in (-60, 0, 60)]
    return all(np.allclose(one, steps[1], rtol=1e-9, atol=0) for one in steps)


@memoized
def _is_in_range(rule, exponent: int, dtype: str) -> bool:
    """Whether directions at gradients of 2^exponent have the size that they have where powers never overflow."""
    sizes = []
    for kind in (dtype, "float64"):
        with np.errstate(all="ignore"):
            sizes.append(np.sqrt(np.mean(_directions(rule, 2.0**exponent, kind).astype(np.float64) ** 2)))
    return bool(np.isfinite(sizes).all() and abs(sizes[0] - sizes[1]) <= AGREE * sizes[1])


def _directions(rule, size, dtype):
    """The last of a few steps at normal gradients of one size, (COORDINATES,)."""
    gradients = size * np.random.default_rng(0).standard_normal((STEPS, COORDINATES))
    with precision(dtype):
        theta = jnp.zeros(COORDINATES, dtype)

        def step(state, gradient):
            direction, state = rule.update(gradient, state, theta)
            return state, direction

        return np.asarray(jax.lax.scan(step, rule.init(theta), jnp.asarray(gradients, dtype))[1][-1])
