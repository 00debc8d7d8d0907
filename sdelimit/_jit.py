"""jit over arguments that mix numbers, arrays and functions."""

import functools

import equinox as eqx
import jax
import numpy as np


def is_number(leaf) -> bool:
    """True for the leaves that are traced: arrays, NumPy scalars and floats."""
    return eqx.is_array(leaf) or isinstance(leaf, (np.ndarray, np.generic, float))


def jit(function):
    """Like ``jax.jit``, but every array or float leaf of the arguments is traced and all else is static.

    A covariance, a noise law or a schedule can be passed as it is: another scale or another matrix
    reuses the compiled code; another class, integer, flag or user function compiles anew.
    """

    @functools.partial(jax.jit, static_argnums=1)
    def compiled(numbers, static):
        leaves, treedef = static
        rest = jax.tree.unflatten(treedef, leaves)
        return function(*eqx.combine(numbers, rest))

    @functools.wraps(function)
    def call(*arguments):
        numbers, rest = eqx.partition(arguments, is_number)
        leaves, treedef = jax.tree.flatten(rest)
        return compiled(numbers, (tuple(leaves), treedef))

    return call
