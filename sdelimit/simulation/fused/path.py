"""``simulate`` by the fused kernel: what happens between its calls."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from sdelimit.numerics import normals
from sdelimit.numerics.integers import ceil_div
from sdelimit.numerics.jit import jit
from sdelimit.problem.linear_regression import excess_risk
from sdelimit.simulation.fused.kernel import advance
from sdelimit.simulation.fused.rules import fused_rule
from sdelimit.simulation.fused.samplers import fused_sampler


def start(e, group, block):
    """The stream of a group, and its state: for each rule the halves of delta and of the rule's own arrays."""
    del block
    keys = jax.vmap(partial(normals.run_key, e.seed))(np.arange(group.rows, dtype=np.uint32) + np.uint32(group.first))
    stream = e.problem.stream(keys, e.slots - 1, e.generator).on_devices(group.place)
    half, length = ceil_div(e.problem.d, 2), _sampler(e.problem).half
    delta0 = [np.pad(part, (0, length - part.size)) for part in np.split(e.problem.delta0.astype(np.float32), [half])]

    def initial(optimizer, eta):
        parts = [*delta0, *[np.zeros(length, np.float32)] * (2 * fused_rule(optimizer).n_state)]
        lead = (group.rows, np.atleast_2d(eta).shape[0])
        return group.place([jnp.broadcast_to(part, (*lead, length)) for part in parts])

    return stream, [*map(initial, e.optimizers, e.etas)]


def chunk(e, start, length, block, group, stream, state):
    """One group's state after ``length`` steps, and for each optimizer the recorded risk, (steps, n_runs, m)."""
    del block
    index, take, rates = e.inputs(start, length)
    keys, eps = _words_and_noise(stream, index)
    sampler = _sampler(e.problem)
    interpret = group.device.platform == "cpu"
    # The last step recorded is not taken.
    end = min(length, e.slots - 1 - start)
    stops = sorted({0, end, *np.flatnonzero(take).tolist()})
    moved, measured = [], []
    for optimizer, unit, rate, own in zip(e.optimizers, e.units, rates, state, strict=True):
        rule, risks = fused_rule(optimizer), [np.zeros((0, group.n_runs, rate.shape[1]))]
        corrections = np.array([1 - b ** (index + 1.0) for b in rule.decays or (0.0,)], np.float32)
        for first, last in itertools.pairwise([*stops, stops[-1]]):
            if first < length and take[first]:
                risks.append(group.gather(_risk(e.problem.covariance, e.problem.d, *own[:2]))[None])
            span = np.array([start, first, last - first], np.int32)
            own = _advance(
                rule=rule, sample=sampler.sample, several=sampler.several, generator=e.generator, interpret=interpret,
                mesh=group.mesh, span=span, keys=keys, eps=eps, rate=rate,
                scale=np.full(1, 1 / unit, np.float32), corrections=corrections, tables=sampler.tables, state=own,
            )  # fmt: skip
        moved.append(own)
        measured.append([np.concatenate(risks)])
    return moved, measured


def _sampler(problem):
    return problem.cached("fused_sampler", lambda: fused_sampler(problem.covariance))


@jit
def _words_and_noise(stream, index):
    return jax.random.key_data(stream.keys), stream.noise(index, 1, jnp.float32)[..., 0]


@jit
def _risk(covariance, d, first, second):
    """R = delta' K delta / 2, (runs, m), of the halves of delta."""
    half = ceil_div(d, 2)
    delta = jnp.concatenate([first[..., :half], second[..., : d - half]], axis=-1)
    return excess_risk(covariance, delta)


@partial(jax.jit, static_argnames=("rule", "sample", "several", "generator", "interpret", "mesh"))
def _advance(
    rule, sample, several, generator, interpret, mesh, span, keys, eps, rate, scale, corrections, tables, state
):
    """The kernel, on each device for the runs that are there."""
    run = partial(advance, rule, sample, several, generator, interpret)
    if mesh.size > 1:
        specs = (P(), P("runs"), P(None, "runs"), P(), P(), P(), P(), P("runs"))
        run = jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=P("runs"), check_vma=False)
    return run(span, keys, eps, rate, scale, corrections, tables, state)
