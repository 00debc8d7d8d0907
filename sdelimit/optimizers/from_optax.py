"""Any coordinatewise optax rule."""

import dataclasses

import numpy as np
import optax

from sdelimit.limits.measured.forgetting_time import TOLERANCE
from sdelimit.limits.measured.rule_checks import check_rule, inspect_rule, scale_free_from
from sdelimit.limits.measured.scale_dependent import SLOW_GROWTH, probed_sizes_limit
from sdelimit.limits.measured.scale_free import probed_limit
from sdelimit.limits.measured.step_counts import StartUp, require_no_schedule, steady_rule
from sdelimit.limits.measured.weight_decay import weight_decay_of
from sdelimit.numerics.memo import memoized
from sdelimit.optimizers.adaptive import smallest_gradient
from sdelimit.optimizers.optimizer import Optimizer
from sdelimit.optimizers.recognized import Recognized, advice, recognize
from sdelimit.support import arguments as check

MEASURED = 64
"""Rules, and limits of rules under one noise law, that are remembered."""
LOWEST_RISK = 1e-4
"""Without label noise the eps of a rule may be felt once the risk has fallen by that factor."""
EXPLAINED = 3.0
"""A start that lacks or exceeds the noise of so many averaging times is nothing beside what ``memory`` warns of."""


def from_optax(
    transform: optax.GradientTransformation, name: str | None = None, relative_error: float = 3e-3, seed: int = 0
) -> Optimizer:
    """The optimizer whose direction u is what ``transform`` makes of the gradient; its limit is known or measured.

    A transformation that computes what a named rule does, whatever its name, has that rule's limit. For others the
    rule's own update is run on simulated scalar histories g_j = l_j sigma xi_j. A scale-free rule (u unchanged when
    all gradients of a coordinate are multiplied by a constant) has the limit of theory section 6,

        phi = (1/s) d/dh E[F(l_j (xi_j + h z_j))],    kappa(rho) = sum over lags m of E[F_t F'_{t+m}];

    one that is homogeneous of degree 1 (momentum) has M = I and the same phi and kappa times (2P)^(1/2) and 2P; and
    for any other (clipping, a large eps) both depend on the coordinates' sigma, theory section 9,

        phi_i = (1 / (s sigma_i)) d/dh E[F(l_j sigma_i (xi_j + h z_j))],
        N_ij = sum over lags m of E[F_t(sigma_i) F'_{t+m}(sigma_j)],    corr(xi, xi') = Khat_ij,

    sampled at gradient sizes from 1e-5 to 1e5, closely where the rule changes its behaviour, and taken to be powers
    of the size beyond. A rule that acts at every k-th step is averaged over its period; one that changes with the
    step count is refused. How long it averages gradients and remembers their size, and how its first steps differ, is
    measured too, and results warn where that is too much for d. Weight decay (``optax.add_decayed_weights`` at the end
    of a chain, or before a rule that is linear in the gradient) is found, and the rest of the rule measured by itself;
    see ``Optimizer.with_weight_decay``. The first use takes about ten seconds for Gaussian
    label noise or none, up to a minute for other laws; results stay in memory, the last 64 of them.

    Args:
        transform: ``optax.scale_by_...`` or a chain of them, or an ``optax.MultiSteps``: the direction, without
            learning rate or sign. A rule that is scale free for gradients from 0.1 to 1000 is taken to be so for all,
            but where a problem's smallest gradients (as in ``sl.adam``) feel its eps.
        name: what tables and legends call it; default the name of the optax function.
        relative_error: of a limit that is measured: Monte-Carlo standard error of phi and kappa(1), relative. Twice
            that is accepted at each of the risks at which a scale-dependent rule is tabulated under noise that is not
            Gaussian. A ``ProbeWarning`` says if it was not reached.
        seed: seed of the simulated histories.

    Raises:
        TypeError: if ``transform`` is not an optax transformation.
        ValueError: with the reason and what to write instead, if the rule asks for more than the gradient, mixes
            coordinates, looks at the parameters, is random, is not odd, grows faster than the gradient, takes steps of
            infinite variance, changes with the step count (schedules), never forgets (AdaGrad), or points against the
            gradient (a full optimizer).

    >>> import optax
    >>> import sdelimit as sl
    >>> sl.from_optax(optax.scale_by_sign()).name
    'scale_by_sign'
    """
    relative_error = check.real("relative_error", relative_error, positive=True)
    seed = check.seed("seed", seed)
    transform = _transformation(transform)
    name = _name(transform) if name is None else check.text("name", name)
    return _from_optax(transform, name, relative_error, seed)


@memoized(size=MEASURED)
def _from_optax(transform, name, relative_error, seed):
    decay = weight_decay_of(transform, seed)
    if decay is not None:
        rule = _from_optax(decay.rest, name, relative_error, seed).with_weight_decay(decay.rate, coupled=decay.coupled)
        return dataclasses.replace(rule, name=name, transform=transform)
    try:
        counters = _checked(transform, seed)
        known = recognize(transform)
        if known is not None:
            return _as_named(transform, name, known, counters, relative_error, seed)
        return measured_optimizer(transform, name, relative_error, seed)
    except ValueError as error:
        hint = advice(transform)
        raise ValueError(f"{error}. {hint}" if hint else str(error)) from error


def _as_named(transform, name, known: Recognized, counters, relative_error, seed) -> Optimizer:
    """The named rule with the transformation in its place, if the one is the other at all step counts."""
    rule, steady = known.optimizer, steady_rule(transform, counters)
    longest = max(rule.memory, rule.size_memory)
    burn_in = int(np.ceil(np.log(1 / TOLERANCE) * longest)) if longest > 1 else 0
    require_no_schedule(steady, counters, burn_in, seed)
    size = 0.0 if rule.size_memory == 1 or "eps" in rule.hyperparameters else scale_free_from(steady, burn_in, seed)

    def limit(problem, batch_size):
        if _too_small(problem, batch_size, size):
            return _measured_limit(transform, relative_error, seed, problem.noise, batch_size, small=True)
        return rule.limit(problem, batch_size)

    by_model = dataclasses.replace(rule.limit, linear=limit)
    return dataclasses.replace(rule, name=name, transform=transform, limit=by_model, start_up=known.start_up)


def measured_optimizer(transform, name: str, relative_error: float = 3e-3, seed: int = 0) -> Optimizer:
    """The optimizer with a measured limit, also where the rule is one that has a name."""
    report = _inspected(transform, seed)
    drift, noise = report.start_up
    start = StartUp(drift, noise if abs(noise) > EXPLAINED * report.averaging else 0.0)

    def limit(problem, batch_size):
        small = _too_small(problem, batch_size, report.scale_free_from)
        return _measured_limit(transform, relative_error, seed, problem.noise, batch_size, small)

    return Optimizer(
        name,
        transform,
        limit,
        memory=report.averaging,
        size_memory=report.memory.size,
        start_up=start,
        needs_variance=report.growth > SLOW_GROWTH,
    )


def _too_small(problem, batch_size, size) -> bool:
    """Whether gradients of ``problem`` are so small that the eps of a rule, which counts below ``size``, is felt."""
    return size > 0 and np.isfinite(problem.d) and smallest_gradient(problem, batch_size, LOWEST_RISK) < size


_checked = memoized(check_rule, size=MEASURED)
_inspected = memoized(inspect_rule, size=MEASURED)

LIMITS = {"scale_free": probed_limit, "degree_1": probed_limit, "scale_dependent": probed_sizes_limit}
"""kind of rule -> (transform, report, noise, batch_size, relative_error, seed) -> limit."""


@memoized(size=MEASURED)
def _measured_limit(transform, relative_error, seed, noise, batch_size, small=False):
    report = _inspected(transform, seed)
    measure = LIMITS["scale_dependent" if small else report.kind]
    return measure(report.rule, report, noise, batch_size, relative_error=relative_error, seed=seed)


def _transformation(given) -> optax.GradientTransformation:
    """``given`` if it is an optax transformation, or the one that a ``MultiSteps`` has; otherwise a TypeError."""
    if isinstance(given, optax.MultiSteps):
        return given.gradient_transformation()
    if not isinstance(given, optax.GradientTransformation):
        raise TypeError(f"transform must be an optax.GradientTransformation, got {check.describe(given)}")
    return given


def _name(transform):
    names = [getattr(function, "__qualname__", "") for function in (transform.init, transform.update)]
    return next((name.split(".")[0] for name in names if "<locals>" in name), "custom")
