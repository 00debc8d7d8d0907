"""jit over arguments that mix numbers, arrays and functions."""

import functools
import gc
import re
from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.numerics.integers import ceil_div
from sdelimit.numerics.memo import Memo


def is_number(leaf) -> bool:
    """True for the leaves that are traced: arrays, NumPy scalars and floats."""
    return eqx.is_array(leaf) or isinstance(leaf, (np.ndarray, np.generic, float))


def by_computation(function):
    """``function`` of a number, with equality and hash by what it computes now: a static argument of ``jit``.

    A user's function may read variables that change between calls, and two lambdas of the same text differ for Python:
    its jaxpr and the constants in it are what compiled code depends on. A function with traced constants comes back as
    it is.
    """
    operations = jax.make_jaxpr(lambda x: function(x))(jnp.zeros(()))  # a new lambda: JAX caches traces by function
    if any(isinstance(value, jax.core.Tracer) for value in operations.consts):
        return function
    text = re.sub(r"0x[0-9a-f]+", "", str(operations.jaxpr))
    return _ByComputation(
        function, (text, *((c.shape, c.dtype.name, c.tobytes()) for c in map(np.asarray, operations.consts)))
    )


def by_computation_in(tree):
    """``tree`` with every function of a number in it ``by_computation``."""
    return jax.tree.map(lambda leaf: by_computation(leaf) if callable(leaf) else leaf, tree)


@dataclass(frozen=True)
class _ByComputation:
    """A function of a number and the jaxpr by which it is compared."""

    function: Callable
    computes: tuple

    def __call__(self, x):
        return self.function(x)


def shared_size(size: int, multiple: int) -> int:
    """``size`` rounded up to a multiple of ``multiple``: arrays of nearby sizes, padded to it, share compiled code.

    XLA compiles anew for every shape. That takes seconds where the program takes milliseconds: "cold" and "warm" in
    benchmarks/ode.py.
    """
    return multiple * ceil_div(size, multiple)


COMPILED, DROPPED = 256, 32
"""Programs kept compiled at most, of all functions together, and how many fewer are kept when there are more. One takes
up to a few hundred of the 65,530 memory maps that Linux gives a process, and compiling ends the process when they are
used up."""


class _Programs(Memo):
    """Compiled programs.

    A user's function names a program, and each new one needs its own: hundreds of rules or schedules in one process
    would keep hundreds of programs that nothing will call again.
    """

    def dispose(self, results):
        while results:
            results.pop().clear_cache()
        gc.collect()  # they are part of circles


PROGRAMS = _Programs(COMPILED, DROPPED)


def jit(function):
    """Like ``jax.jit``, but every array or float leaf of the arguments is traced and all else is static.

    A covariance, a noise law or a schedule can be passed as it is: another scale or another matrix
    reuses the compiled code; another class, integer, flag or user function compiles anew. Of all that is compiled
    for functions made so, what was not used for the longest is dropped (``COMPILED``).
    """

    def compute(numbers, rest, treedef):
        leaves = [r if n is None else n for n, r in zip(numbers, rest, strict=True)]
        arguments, named = jax.tree.unflatten(treedef, leaves)
        return function(*arguments, **named)

    def program():
        # Of a function of its own: what jax.jit makes of one function shares one cache.
        own = functools.wraps(function)(lambda *given: compute(*given))
        del own.__wrapped__  # whose signature is another
        return jax.jit(own, static_argnums=(1, 2))

    @functools.wraps(function)
    def call(*arguments, **named):
        leaves, treedef = jax.tree.flatten((arguments, named))
        traced = [is_number(leaf) for leaf in leaves]
        numbers = [leaf if t else None for leaf, t in zip(leaves, traced, strict=True)]
        rest = tuple(None if t else leaf for leaf, t in zip(leaves, traced, strict=True))
        shapes = tuple((n.shape, n.dtype) if hasattr(n, "dtype") else None for n in numbers)
        return PROGRAMS.get((function, rest, treedef, shapes), program)(numbers, rest, treedef)

    return call
