"""The risk ODE as one operation that JAX can differentiate, batch and compile."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from sdelimit.numerics.jit import is_number
from sdelimit.numerics.precision import is_traced, x64


def as_jax_operation(solve, schedule, prepare):
    """``solve(schedule, prepare(schedule))`` as one operation that JAX can differentiate, batch and compile.

    ``prepare`` sees the numbers of the schedule, and nothing is differentiated through it. The solve needs float64
    whatever the surrounding precision is, so it runs as a unit with its own derivative rule: eagerly under ``grad``,
    as a host callback under ``jit`` and ``vmap``.
    """
    parameters, rebuild = _parameters(schedule)
    outer = jax.dtypes.canonicalize_dtype(np.float64)

    def forward(numbers):
        return jax.tree.map(lambda x: np.asarray(x).astype(outer), solve(rebuild(numbers), prepare(rebuild(numbers))))

    def backward(numbers, cotangents):
        prepared = prepare(rebuild(numbers))
        with x64():
            _, pull = jax.vjp(lambda n: _floats(solve(rebuild(n), prepared)), jax.tree.map(jnp.asarray, numbers))
            (gradient,) = pull(jax.tree.map(lambda c: jnp.asarray(c, jnp.float64), _floats(cotangents)))
        return jax.tree.map(lambda g, n: np.asarray(g).astype(n.dtype), gradient, numbers)

    def run(function, shapes, *arguments):
        if is_traced(arguments):
            return jax.pure_callback(function, shapes, *arguments, vmap_method="sequential")
        return jax.tree.map(jnp.asarray, function(*jax.tree.map(np.asarray, arguments)))

    with x64():
        shapes = jax.eval_shape(lambda n: solve(rebuild(n), prepare(None)), jax.tree.map(_shape, parameters))
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, outer), shapes)

    @jax.custom_vjp
    def operation(numbers):
        return run(forward, shapes, numbers)

    def operation_backward(numbers, cotangents):
        return (run(backward, jax.tree.map(_shape, numbers), numbers, cotangents),)

    operation.defvjp(lambda numbers: (operation(numbers), numbers), operation_backward)
    return operation(parameters)


def _parameters(schedule):
    """The numbers a schedule depends on, and how to rebuild it from them.

    A pytree schedule gives its leaves; a function, or a schedule that holds one, the traced values it closes over.
    """
    numbers, rest = eqx.partition(schedule, is_number)
    if not any(callable(leaf) for leaf in jax.tree.leaves(rest)):
        return jax.tree.map(jnp.asarray, numbers), lambda n: eqx.combine(n, rest)
    with x64():
        function, closed_over = jax.closure_convert(schedule, jnp.zeros((), jnp.float64))
    return closed_over, lambda n: lambda t: function(t, *n)


def _shape(x):
    return jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x))


def _floats(out):
    return {name: value for name, value in out.items() if name not in ("finished", "blown_up")}
