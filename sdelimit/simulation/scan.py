"""The plain path of ``simulate``: every rule on one stream of samples, as a ``jax.lax.scan`` over steps."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sdelimit.numerics import normals
from sdelimit.numerics.jit import jit
from sdelimit.numerics.sums import dot, products
from sdelimit.problem.losses import Loss
from sdelimit.problem.regression import excess_risk
from sdelimit.problem.sample_stream import Stream


def chunk(e, start, length, block, group, stream, state):
    """One group's state after ``length`` steps, and for each optimizer what was recorded, each (steps, n_runs, m)."""
    index, take, rate = (_in_blocks(part, block) for part in e.inputs(start, length))
    rules = tuple(o.rule(e.problem, e.batch_size) for o in e.optimizers)
    theta_star = e.problem.stacked(e.problem.theta_star).astype(e.dtype)
    state, measured = _advance(
        rules=rules, batch_size=e.batch_size, sharpness=e.sharpness, covariance=e.problem.covariance,
        loss=e.problem.loss, K_target=e.problem.target_image(e.dtype), stream=stream.of_features,
        eps=_label_noise(stream, index, e.batch_size, e.dtype), theta_star=theta_star,
        per_unit=tuple(np.asarray(1 / unit, e.dtype) for unit in e.units), state=state,
        index=index, take=take, rate=rate,
    )  # fmt: skip

    def at_recorded_steps(value):
        return group.gather(value).reshape(length, group.n_runs, -1)[take.ravel()]

    return state, [[at_recorded_steps(value) for value in values] for values in measured]


def _in_blocks(tree, block):
    return jax.tree.map(lambda part: part.reshape(-1, block, *part.shape[1:]), tree)


def start(e, group, block):
    """The stream of a group, and its state: for each rule (delta, optimizer state), each with leading axes (runs, m),
    and the random numbers of the first block of steps.
    """
    keys = jax.vmap(partial(normals.run_key, e.seed))(np.arange(group.rows, dtype=np.uint32) + np.uint32(group.first))
    stream = e.problem.stream(keys, (e.slots - 1) * e.batch_size, e.generator).on_devices(group.place)
    ends = e.problem.theta_star, e.problem.delta0
    theta_star, delta0 = (e.problem.stacked(v).astype(e.dtype) for v in ends)

    def initial(optimizer, eta):
        rule = optimizer.rule(e.problem, e.batch_size)
        lead = (group.rows, np.atleast_2d(eta).shape[0])
        one = (jnp.asarray(delta0), rule.init(jnp.asarray(delta0 + theta_star)))
        return group.place(jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*lead, *jnp.shape(leaf))), one))

    random = _random(stream, np.arange(block, dtype=np.uint32), e.batch_size)
    return stream, (tuple(map(initial, e.optimizers, e.etas)), random)


@jit
def _label_noise(stream, index, batch_size, dtype):
    """eps of each step, (blocks, steps, runs, batch_size), a program of its own: ``_advance`` serves all noise laws."""
    return _in_blocks(stream.noise(index.reshape(-1), batch_size, dtype), index.shape[1])


@jit
def _random(stream, index, batch_size):
    return stream.random(index, batch_size)


@jit
def _advance(
    rules, batch_size, sharpness, covariance, loss, K_target, stream, eps, theta_star, per_unit, state,
    index, take, rate,
):  # fmt: skip
    """Advance every rule by blocks of steps; ``per_unit`` multiplies the gradients that each is given.

    Gives the new state and for each rule what is measured: delta' K delta / 2 before each step, delta' K theta* if
    ``K_target`` = K theta* is given, and if asked u' K u and |u|^2 of the step, each (blocks, steps, runs, m), where
    ``take``; zero elsewhere.
    """
    dtype, block = theta_star.dtype, index.shape[1]
    step = partial(_step, rules, loss, partial(_measure, covariance, K_target, sharpness), stream, theta_star, per_unit)

    def advance(state, random, inputs):
        eps, index, take, rate = inputs
        state, measured = jax.lax.scan(step, state, (stream.features(random, dtype), eps, index, take, rate))
        return state, stream.random(index + np.uint32(block), batch_size), measured

    return _scan_drawing_ahead(advance, state, (eps, index, take, rate))


def _scan_drawing_ahead(advance, carry, inputs):
    """``jax.lax.scan`` over blocks of steps, with the random numbers of each block drawn at the end of the one before.

    ``advance(state, random, inputs)`` gives the new state, the random numbers of the next block and what is recorded;
    ``carry`` is (state, random). Numbers that are carried are in memory. Drawn where they are used, XLA would fuse the
    drawing into every use of the samples and repeat it there: "simulate / its own draws" in benchmarks/simulate.py.
    """

    def body(carry, inputs):
        state, random, measured = advance(*carry, inputs)
        return (state, random), measured

    return jax.lax.scan(body, carry, inputs)


def _measure(covariance, K_target, sharpness, delta, direction):
    """delta' K delta / 2, delta' K theta* where it is asked for, and if asked u' K u and |u|^2."""
    if K_target is not None and K_target.ndim == 2:
        return _measure_outputs(covariance, K_target, delta)
    overlaps = excess_risk(covariance, delta), *(() if K_target is None else (dot(delta, K_target),))
    if not sharpness:
        return overlaps
    return *overlaps, dot(direction, covariance.apply(direction)), dot(direction, direction)


def _measure_outputs(covariance, K_target, delta):
    """tr(S) / 2, S_ab for a <= b and X_ab for all, of S = Delta' K Delta and X = Delta' K Theta*."""
    m = K_target.shape[0]
    rows = delta.reshape(*delta.shape[:-1], m, -1)
    images = covariance.apply(rows)
    S = {(a, b): dot(rows[..., a, :], images[..., b, :]) for a in range(m) for b in range(a, m)}
    X = [dot(rows[..., a, :], K_target[b]) for a in range(m) for b in range(m)]
    return sum(S[a, a] for a in range(m)) / 2, *S.values(), *X


def _step(rules, loss, measure, stream, theta_star, per_unit, state, inputs):
    """One step of every rule; ``state`` holds (delta, rule state) of each."""
    x, eps, index, take, rate = inputs
    sample = _Sample(x, eps, theta_star, stream, index, loss)
    moved, measured = [], []
    for rule, scale, (delta, rule_state), r in zip(rules, per_unit, state, rate, strict=True):
        direction, rule_state = _direction(rule, scale, sample, delta, rule_state)
        nothing = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), jax.eval_shape(measure, delta, direction))
        values = jax.lax.cond(take, measure, lambda *_, nothing=nothing: nothing, delta, direction)
        measured.append(values)
        moved.append((delta - _rate_after_measuring(values[0], r)[..., None] * direction, rule_state))
    return tuple(moved), tuple(measured)


def _rate_after_measuring(risk, rate):
    """``rate`` of runs of finite risk, zero for the others, which have diverged and stay where they are.

    It also makes the update of delta depend on the risk. Without that XLA may update delta before the risk is measured,
    for which it copies delta at every step: "simulate / its own draws" in benchmarks/simulate.py.
    """
    return jnp.where(jnp.isfinite(risk), rate, np.zeros((), rate.dtype))


class _Sample(NamedTuple):
    """One step's samples: x (runs, b, d), eps (runs, b), and the stream for random numbers of a rule's own."""

    x: jax.Array
    eps: jax.Array
    theta_star: jax.Array
    stream: Stream
    index: jax.Array
    loss: Loss


def _direction(rule, scale, sample, delta, rule_state):
    """u_k and the new state of one rule at ``scale`` times the gradients, for delta of shape (runs, m, d)."""
    x, eps, theta_star = sample.x, sample.eps, sample.theta_star
    residual = scale * sample.loss.slopes_of(x, eps, theta_star, delta)
    gradient = residual * x if x.shape[1] == 1 else products(residual, jnp.swapaxes(x, 1, 2)) / x.shape[1]
    gradient = gradient.reshape(delta.shape)
    if not isinstance(rule, optax.GradientTransformationExtraArgs):
        return jax.vmap(jax.vmap(rule.update))(gradient, rule_state, delta + theta_star)

    def update(gradient, rule_state, theta, x, eps, key):
        """Rules that ask for more get the loss on this step's samples and a key."""

        def loss_fn(theta):
            return sample.loss.mean_value(x, eps, theta_star, theta)

        return rule.update(gradient, rule_state, theta, loss_fn=loss_fn, key=key)

    own = jax.vmap(lambda key: jax.random.fold_in(normals.step_key(key, sample.index), 2))(sample.stream.keys)
    over_rates = jax.vmap(update, in_axes=(0, 0, 0, None, None, None))
    return jax.vmap(over_rates)(gradient, rule_state, delta + theta_star, x, eps, own)
