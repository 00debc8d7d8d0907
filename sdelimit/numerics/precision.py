"""Where 64-bit arithmetic is switched on: inside the theory, and nowhere else.

The package never touches JAX's process-wide x64 flag. Theory code runs inside ``with x64():``; the
simulator runs inside ``with precision(dtype):``, so that both give the same numbers whatever the
user's own setting is.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np


def x64():
    """Context manager: 64-bit JAX types for the code inside."""
    return jax.enable_x64(True)


def precision(dtype):
    """Context manager: 64-bit types if ``dtype`` is float64, 32-bit types otherwise."""
    return jax.enable_x64(np.dtype(dtype) == np.float64)


def evaluate_in_float64(function, *arguments) -> np.ndarray:
    """Evaluate a JAX function on NumPy input in float64 and return NumPy, also while JAX traces something else."""
    # Only then: it also makes JAX evaluate, one by one, the constants of programs that are compiled meanwhile.
    inside_a_trace = is_traced(jnp.zeros(()))
    with jax.ensure_compile_time_eval() if inside_a_trace else contextlib.nullcontext(), x64():
        return np.asarray(function(*[jnp.asarray(a, jnp.float64) for a in arguments]))


def is_traced(tree) -> bool:
    """True if any leaf is a JAX tracer, i.e. we are inside grad, vmap or jit."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))
