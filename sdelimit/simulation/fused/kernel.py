"""The kernel: a few runs of one rule and one learning rate, for a number of steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from sdelimit.numerics import normals
from sdelimit.simulation.fused.rules import FusedRule

ELEMENTS = 256
"""Pairs of coordinates that one warp works on; a program has up to 16 warps."""


def advance(
    rule: FusedRule, sample, several, generator, interpret, span, keys, eps, rate, scale, corrections, tables, state
):  # fmt: skip
    """``state`` after ``span[2]`` steps, the first of which is number ``span[1]`` of a chunk that starts at step
    ``span[0]``.

    keys (runs, 2); eps (steps, runs), rate (steps, m), corrections (decays, steps) of the whole chunk; scale (1,)
    multiplies gradients; ``state`` holds
    both halves of delta and of each array of the rule, each (runs, m, H). ``sample``, ``several``, ``tables``: see
    ``FusedSampler``.
    """
    runs, m, half = state[0].shape
    rows = _rows(runs, half) if several else 1
    own = pl.BlockSpec((rows, None, half), lambda i, j: (i, j, 0))
    kernel = partial(_kernel, rule, sample, normals.ROUNDS[generator], len(tables))
    return pl.pallas_call(
        kernel,
        grid=(runs // rows, m),
        in_specs=[
            _whole(span),
            pl.BlockSpec((rows, 2), lambda i, j: (i, 0)),
            pl.BlockSpec((eps.shape[0], rows), lambda i, j: (0, i)),
            pl.BlockSpec((rate.shape[0], 1), lambda i, j: (0, j)),
            _whole(scale),
            _whole(corrections),
            *map(_whole, tables),
            *[own] * len(state),
        ],
        out_specs=[own] * len(state),
        out_shape=[jax.ShapeDtypeStruct(part.shape, part.dtype) for part in state],
        compiler_params=triton.CompilerParams(num_warps=int(np.clip(rows * half // ELEMENTS, 1, 16)), num_stages=1),
        interpret=interpret,
    )(span, keys, eps, rate, scale, corrections, *tables, *state)


def _whole(array):
    return pl.BlockSpec(array.shape, lambda i, j: (0,) * array.ndim)


def _rows(runs, half):
    """Runs of one program: a power of two that divides ``runs``, as many as keep one warp busy."""
    rows = max(ELEMENTS // half, 1)
    while runs % rows:
        rows //= 2
    return rows


def _kernel(rule, sample, rounds, n_tables, span, keys, eps, rate, scale, corrections, *rest):
    """Refs in, then refs out; everything in between stays in registers."""
    tables, rest = rest[:n_tables], rest[n_tables:]
    inputs, outputs = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    shape = inputs[0].shape
    key0, key1 = keys[:, 0][:, None], keys[:, 1][:, None]
    position = jax.lax.broadcasted_iota(jnp.uint32, shape, 1)

    def step(k, state):
        count = (span[0] + k + 1).astype(jnp.uint32)
        z = normals.box_muller(*normals.threefry(key0, key1, jnp.broadcast_to(count, shape), position, rounds))
        x = sample(z, tables)
        delta, own = state[:2], state[2:]
        residual = scale[0] * (jnp.sum(delta[0] * x[0] + delta[1] * x[1], axis=1) - eps[k, :])
        corrected = tuple(corrections[i, k] for i in range(len(rule.decays)))
        moved, states = [], []
        for i in range(2):
            gradient = residual[:, None] * x[i]
            direction, new = rule.direction(gradient, own[i::2], corrected, *rule.settings)
            moved.append(delta[i] - rate[k, 0] * direction)
            states.append(new)
        return (*moved, *(part for pair in zip(*states, strict=True) for part in pair))

    state = jax.lax.fori_loop(span[1], span[1] + span[2], step, tuple(part[...] for part in inputs))
    for out, part in zip(outputs, state, strict=True):
        out[...] = part
