"""The gradient sizes at which a scale-dependent rule has to be known (theory: section 9).

A rule that looks at the scale of its gradients is homogeneous, F(c g) = c^p F(g), except where the scale crosses one of
its constants: clipping is linear (p = 1) far below the threshold and a sign (p = 0) far above it. Functions of
log size are nearly straight where the rule is homogeneous, and few nodes are needed there.
"""

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from sdelimit.limits.measured.forgetting_time import Memory, longest, measure_memory
from sdelimit.limits.measured.scalar_gradients import joint_trajectory, random_gradients
from sdelimit.noise.gaussian import NoNoise
from sdelimit.numerics.precision import precision

LOG_SIZES = np.log(10) * np.linspace(-5, 5, 41)
"""Logarithms of the gradient sizes at which a rule is run to see where its behaviour changes."""
EVERY = 4
"""Memory is measured at every fourth of them."""
CHAINS, STEPS = 128, 128
TOLERANCE = 1e-4
"""Interpolation error of log F aimed at, if its derivatives fall off like the second one."""
FLAT = 1e-4
"""A second derivative in log size that counts as none."""
MOST_NODES = 24


def memory_by_size(transform, seed: int = 0) -> dict[float, Memory]:
    """How long the rule remembers gradients of each size, from the smallest to the largest at which it forgets at all.

    At size one it must forget (ValueError). Yogi's denominator, for one, moves in steps of g^2 and never leaves
    its starting value when gradients are far smaller.
    """
    center = LOG_SIZES.size // 2
    found = {0.0: measure_memory(transform, NoNoise(), 0.5, 1, seed)}
    for side in (LOG_SIZES[center - EVERY :: -EVERY], LOG_SIZES[center + EVERY :: EVERY]):
        for log_size in side:
            try:
                found[log_size] = measure_memory(transform, NoNoise(), 0.5, 1, seed, (np.exp(log_size),))
            except ValueError:
                break
    if len(found) < 4:
        raise ValueError(
            f"transform must forget gradients of many sizes, but only does between {np.exp(min(found)):.2g} and "
            f"{np.exp(max(found)):.2g}"
        )
    return {float(np.exp(x)): found[x] for x in sorted(found)}


def size_nodes(transform, memories: dict[float, Memory], seed: int = 0) -> Float[np.ndarray, " s"]:
    """Logarithms of gradient sizes between the ends of ``memories``, dense where the rule changes its behaviour.

    Cubic interpolation of f errs by |f''''| spacing^4 / 384. In place of f'''' stands the change of the local degree
    p(log size) or the squared change of the shape of F, whichever is larger.
    """
    low, high = np.log(min(memories)), np.log(max(memories))
    x = LOG_SIZES[np.abs(LOG_SIZES - (low + high) / 2) < (high - low) / 2 + 1e-9]
    steps = 2 ** int(np.ceil(np.log2(longest(memories.values()).burn_in + STEPS)))
    gradients, params = random_gradients(seed, steps, CHAINS), np.zeros(CHAINS)
    with precision(np.float64):
        updates = np.array([np.asarray(joint_trajectory(transform, c * gradients, params))[-STEPS:] for c in np.exp(x)])
    rms = np.sqrt(np.mean(updates**2, axis=(1, 2)))
    step = x[1] - x[0]
    degree = np.gradient(np.log(rms), step)
    shape = np.diff(updates / rms[:, None, None], axis=0) / step
    shape = np.interp(x, (x[1:] + x[:-1]) / 2, np.mean(shape**2, axis=(1, 2)))
    bend = np.maximum(np.maximum(np.abs(np.gradient(degree, step)), shape), FLAT)
    density = (bend / (384 * TOLERANCE)) ** 0.25
    nodes_before = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * step)])
    count = min(MOST_NODES, 2 + int(np.ceil(nodes_before[-1])))
    return np.interp(np.linspace(0, nodes_before[-1], count), nodes_before, x)


def interpolation_matrices(nodes: Float[np.ndarray, " s"], x: Float[np.ndarray, " d"]):
    """Matrices from values at ``nodes`` to values at ``x``, (d, s): constant and straight beyond the nodes."""
    spline = CubicSpline(nodes, np.eye(nodes.size), bc_type="natural")
    inside = np.clip(x, nodes[0], nodes[-1])
    constant = spline(inside)
    return constant, constant + (x - inside)[:, None] * spline(inside, nu=1)
