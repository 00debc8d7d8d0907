"""Checks of whether a result can be relied on. What they find is in the result's ``.warnings``, and issued as warnings.

| check | of | by |
|---|---|---|
| risk beyond all bounds, or not finite | theory, paths, runs | ``.status`` |
| learning rate beyond the edge of stability | theory, paths | lr >= 4 d R phi / (psi tr K) as R grows (section 4) |
| momentum too long for d | theory, paths | fraction of the fastest mode's decay time (section 7) |
| sizes of gradients remembered too long for d | theory, paths | steps as a fraction of d (section 11) |
| first steps unlike later ones | theory, paths | what they do to the risk of the fastest mode |
| batch comparable to d | theory, paths | b / d (section 10) |
| a data set's rows used up | theory, paths | share of the rows used, d b t / n |
| a data set of few columns, or interpolated | theory, paths | d; residuals over labels |
| label noise without a moment | theory, paths, runs | second for SGD's mean risk, fourth for its spread, |
|  |  | and for Adam's second moment to settle over O(d) steps (section 11) |
| features correlated with the residual | theory, paths | error of the linear drift (theory: section 15) |
| averages of gradients made of signal | theory, paths | signal over noise in them (theory: section 17) |
| few directions whose fluctuations carry the risk | theory, paths | variance of the risk of a run (section 15) |
| steps whose variance along their mean is not known | paths, ``std`` | the law has no ``fluctuations`` (section 17) |
| coefficients sampled too crudely | theory, paths | standard errors of phi and kappa(1) along the curve (section 6) |

Section numbers are those of the theory. Noise without a second moment, where a rule has no limit at all, is an error.
"""

import warnings
from dataclasses import replace
from functools import partial

import jax
import numpy as np

from sdelimit.modes.alignment import drift_error, infinitesimal_error, overlap_drift_error, stationary_error
from sdelimit.modes.decoupled import modes
from sdelimit.numerics.jit import jit
from sdelimit.numerics.precision import evaluate_in_float64
from sdelimit.problem.linear_regression import LinearRegression

LONGEST_MEMORY = 0.25
"""Largest fraction of the fastest mode's decay time that a rule may average gradients over without a warning."""
FEWEST_SIZE_STEPS, LONGEST_SIZE_MEMORY = 20, 1 / 8
"""Steps, and fraction of d, over which a rule may remember the size of gradients without a warning."""
LARGEST_START_UP = 0.04
"""Fraction by which the start may move the risk of the fastest mode without a warning."""
LARGEST_BATCH = 0.1
"""Largest batch, as a fraction of d: the limit drops terms of that relative size."""
LARGEST_SHARE = 0.1
"""Fraction of the rows of a data set that a run may use without a warning."""
LARGEST_DRIFT_ERROR = 0.01
"""Largest relative error of a drift that is linear in delta."""
LARGEST_SATURATION = 1.0
"""Largest share of the signal in an average, over the noise's, of which a law may keep the first order."""
LARGEST_FLUCTUATION = 0.025
"""Largest variance of the risk of a run, over its square with the noise, that correlated features may have unwarned."""
LARGEST_ERROR = 0.01
"""Largest relative standard error of a sampled coefficient."""
FAR = 1e20
"""A risk this many times that of the problem, at which coefficients grow as they do at infinity."""


UNKNOWN_SPREAD = (
    "how the steps of this rule vary along their own mean is not in these numbers: the mean is right, and the risk of "
    "single runs may vary less than here, by up to a quarter, or by more if gradients are heavy-tailed"
)
"""Of laws without ``fluctuations``: signSGD's runs spread up to a quarter less without that, rules with memory less."""


def theory_warnings(curve, limit) -> tuple[str, ...]:
    """Reasons why ``limit`` may be inaccurate along a risk curve, one text each."""
    found = (
        _long_momentum(curve, limit),
        _long_size_memory(curve, limit),
        _long_start_up(curve),
        _large_batch(curve, limit),
        _used_rows(curve),
        *curve.problem.doubts,
        _beyond_stability(curve, limit),
        _slow_second_moment(curve, limit),
        _correlated_features(curve, limit),
        _saturated(curve),
        _fluctuating(curve),
    )
    return tuple(text for text in (*found, _imprecise_coefficients(curve, limit)) if text)


def path_warnings(curve, limit) -> tuple[str, ...]:
    """The same for SDE paths around that curve, and reasons why their spread may be wrong."""
    noise, texts = curve.problem.noise, theory_warnings(curve, limit)
    if limit.fluctuations is None and not np.any(curve.aligned):
        texts = (*texts, UNKNOWN_SPREAD)
    if limit.reads_overlaps:
        return texts
    if np.isfinite(noise.fourth_moment) or not np.isfinite(_edge(curve, limit)):
        return texts
    return (*texts, f"{noise} has no fourth moment: single runs have jumps that no diffusion shows, and spread wider")


def run_warnings(curves) -> tuple[str, ...]:
    """Reasons why the mean of simulated runs, or its standard error, may not be what it seems."""
    noise = curves.problem.noise
    least_squares = isinstance(curves.problem, LinearRegression)
    if not (curves.optimizer.needs_variance and least_squares) or np.isfinite(noise.fourth_moment):
        return ()
    if curves.problem.loss.needs_target:  # a step is not the label noise times x: Huber's is bounded
        return ()
    if not np.isfinite(noise.second_moment):
        return (f"{noise} has infinite variance, and so has each step: the mean risk is infinite; take quantiles",)
    return (f"{noise} has no fourth moment: the risk of a run has infinite variance, so no standard error is reliable",)


class DivergenceWarning(UserWarning):
    """A curve or run left every bound: the message says when and at what value."""


class LimitWarning(UserWarning):
    """A result is outside the range where it can be relied on: the message says why."""


class ResultWarning(str):
    """One text of a result's ``.warnings``, with what it is about.

    Attributes:
        category: the class of warning it was given as.
        learning_rate: index of the learning rate that it concerns, of an array of them; None if it concerns all.
    """

    def __new__(cls, text: str, category: type[Warning], learning_rate: int | None = None):
        self = super().__new__(cls, text)
        self.category, self.learning_rate = category, learning_rate
        return self

    def __getnewargs__(self):
        return str(self), self.category, self.learning_rate


def with_warnings(result, source: str, texts, stacklevel: int = 4):
    """``result`` with its divergence and ``texts`` in ``.warnings``, all also given to ``warnings.warn``.

    ``source`` begins each text; ``stacklevel`` 4 is the caller of the function that calls the one that calls this.
    """
    several = not isinstance(result.status, str)
    found = [
        ResultWarning(f"{source}: {status}", DivergenceWarning, index if several else None)
        for index, status in enumerate(result.status if several else [result.status])
        if status != "ok"
    ]
    found += [ResultWarning(f"{source}: {text}", LimitWarning) for text in texts]
    for text in found:
        warnings.warn(str(text), text.category, stacklevel=stacklevel)
    return replace(result, warnings=tuple(found))


def warnings_of(result, index: int) -> tuple[str, ...]:
    """The warnings of ``result`` that concern learning rate number ``index``."""
    return tuple(text for text in result.warnings if getattr(text, "learning_rate", None) in (None, index))


def _fastest_rate(curve):
    """The largest rate eta phi lambda_max along the curve."""
    return np.max(np.where(np.isfinite(curve.risk), curve.lr * curve.phi, 0.0)) * curve.decay.max()


def _resolves_memory(curve, limit):
    """Whether the law that gave the curve holds for memories of any length."""
    if not limit.resolves_memory or limit.gradient_batch is not None or not np.any(curve.aligned):
        return limit.resolves_memory
    return limit.response_remembers


def _long_momentum(curve, limit):
    if _resolves_memory(curve, limit):
        return None
    memory, d, fastest = curve.optimizer.memory, curve.problem.d, _fastest_rate(curve)
    if memory <= 1 or memory / d * fastest <= LONGEST_MEMORY:
        return None
    return (
        f"the rule averages about {memory:.3g} gradients, a time of {memory / d:.2g}, while the fastest mode decays in "
        f"{1 / fastest:.2g}; the limit needs d (1 - beta) large compared with eta phi lambda_max, and will be several "
        "percent off early on"
    )


def _long_size_memory(curve, limit):
    steps, d = curve.optimizer.size_memory, curve.problem.d
    if (
        _resolves_memory(curve, limit)
        or (limit.without_memory.has_scalars and not limit.reads_overlaps)  # of two overlaps it is the time
        or steps <= max(FEWEST_SIZE_STEPS, LONGEST_SIZE_MEMORY * d)
    ):
        return None
    return (
        f"the rule remembers the size of gradients for about {steps:.3g} steps, not few compared with d = {d}: its "
        "denominator lags behind the risk, the limit has it follow at once and will be several percent off (a "
        "smaller b2, or sl.adam, whose limit takes account of it)"
    )


def _long_start_up(curve):
    drift, noise = (abs(steps) / curve.problem.d for steps in curve.optimizer.start_up)
    fastest = _fastest_rate(curve)
    finite = curve.risk[np.isfinite(curve.risk)]
    # Near its lowest the risk gains from noise what it loses to drift, at twice the rate of its modes.
    if not finite.size:
        return None
    moved = 2 * fastest * (drift + noise * (finite.min() / finite.max() if finite.max() > 0 else 0.0))
    if moved <= LARGEST_START_UP:
        return None
    return (
        f"the first steps of the rule, together, differ from later ones by the drift of a time of {drift:.2g} and the "
        f"noise of a time of {noise:.2g}, which the limit leaves out; the fastest mode decays in {1 / fastest:.2g}, so "
        f"the risk may be off by some {min(moved, 1.0):.0%} early on (a bias correction helps where the rule has one)"
    )


def _large_batch(curve, limit):
    ratio = curve.batch_size / curve.problem.d
    step_by_step = limit.gradient_batch is not None and np.all(curve.aligned)
    if step_by_step or ratio <= LARGEST_BATCH or curve.batch_size == 1:
        return None
    return (
        f"batch_size {curve.batch_size} is {ratio:.0%} of d = {curve.problem.d}; the limit needs batches much smaller "
        "than d, and drops terms of up to about that relative size"
    )


def _used_rows(curve):
    d, b, longest, end = curve.problem.d, curve.batch_size, curve.problem.longest_run(curve.batch_size), curve.t[-1]
    share = end / longest
    if share <= LARGEST_SHARE:
        return None
    if np.rint(end * d) <= longest * d * (1 + 1e-12):
        return (
            f"a run to t = {end:.4g} uses {share:.0%} of the rows, each once, and theory takes fresh samples: what the "
            "used rows take from the rest cancels part of the noise, so that runs settle lower, their risk by up to "
            "about that share (sl.data.solve_ode takes account of it, for the rules that it covers)"
        )
    return (
        f"the rows last to t = {longest:.4g} (n = {longest * d * b:.0f} of d = {d}, {b} a step) and the curve goes to "
        f"t = {end:.4g}: from there on it is that of fresh samples of the rows' covariance, which no run over them has"
    )


def _beyond_stability(curve, limit):
    largest = float(np.max(curve.lr, where=np.isfinite(curve.lr), initial=0.0))  # not finite after a divergence
    edge = _edge(curve, limit)
    if largest < edge:
        return None
    return (
        f"lr reaches {largest:.4g}, and from {edge:.4g} on the risk grows without bounds if lr stays there "
        "(2 d b / tr K for SGD)"
    )


def with_drift_error(curve, limit):
    """``curve`` with its ``drift_error``, one number for each learning rate."""
    if limit.reads_overlaps:
        rows = zip(np.atleast_2d(curve.lr), np.atleast_2d(curve.phi), strict=True)
        errors = np.array([overlap_drift_error(curve.problem, limit, *row) for row in rows])
        return replace(curve, drift_error=errors if curve.risk.ndim == 2 else float(errors[0]))
    if limit.gradient_batch is not None:
        effective = np.where(np.isfinite(curve.lr) & np.isfinite(curve.phi), curve.lr * curve.phi, 0.0)
        g = np.max(effective, axis=-1) / curve.problem.d
        error = g * infinitesimal_error(modes(curve.problem, limit), limit.gradient_batch)
        return replace(curve, drift_error=error if np.ndim(error) else float(error))
    rows = [np.reshape(getattr(curve, name), (-1, curve.t.size)) for name in ("lr", "phi", "risk")]
    errors = [
        float(np.max(np.abs(drift_error(curve.problem, limit, curve.t, *row)))) for row in zip(*rows, strict=True)
    ]
    return replace(curve, drift_error=np.array(errors) if curve.risk.ndim == 2 else errors[0])


def stationary_drift_error(problem, limit, lr: float, R: float) -> float:
    """The relative error of a linear drift, or of infinitesimal steps, where the risk has settled at ``R``."""
    if not (np.isfinite(R) and R > 0):
        return 0.0
    if limit.gradient_batch is None:
        return abs(stationary_error(problem, limit, R))
    current = modes(problem, limit)
    gain = limit.settled_gain(lr, current.decay)
    return lr / problem.d * infinitesimal_error(current, limit.gradient_batch, gain)


def warn_of_correlations(optimizer, worst: float, tried: bool):
    """A LimitWarning where a stationary risk is that of a linear drift, which is off by up to ``worst``."""
    if worst > LARGEST_DRIFT_ERROR:
        text = (
            f"stationary_risk({optimizer.name}): few directions carry the risk, so that its linear drift is "
            f"up to {worst:.1%} off; "
            + ("what the risk is then is not known: simulate it" if tried else "aligned=True takes that into account")
        )
        warnings.warn(text, LimitWarning, stacklevel=3)


def _correlated_features(curve, limit):
    if curve.drift_error is None:
        curve = with_drift_error(curve, limit)
    concerned = ~np.asarray(curve.aligned) & ~np.isfinite(curve.diverged_at)
    worst = float(np.max(curve.drift_error, where=concerned, initial=0.0))
    if worst <= LARGEST_DRIFT_ERROR:
        return None
    if limit.reads_overlaps:
        return (
            f"few directions carry the gradient (a sparse target, or few dominant directions), or d is small: the "
            f"limit, for which features are nearly uncorrelated with the scores, is up to about {worst:.1%} off, and "
            "for this loss that stays so"
        )
    if limit.gradient_batch is not None:
        return (
            f"single steps change the risk along the directions of largest variance so much that the ODE, for which "
            f"they are infinitesimal, is up to {worst:.1%} off; solve_ode(..., aligned=True) takes them one by one"
        )
    return (
        f"features are correlated with the residual (a sparse target, or few dominant directions), so that the rule's "
        f"mean step is not linear in theta - theta*: the linear drift of the risk is up to {worst:.1%} off; "
        + ("solve_ode(..., aligned=True) takes that into account" if limit.responds else "for this rule that stays so")
    )


def _saturated(curve):
    worst = float(np.max(curve.saturation))
    if worst <= LARGEST_SATURATION:
        return None
    return (
        f"the signal in what the rule averages reaches {worst:.2g} times its noise, so that steps saturate: the law "
        "keeps the first order of that, and will be too fast later on (a larger d or a shorter memory helps)"
    )


def _fluctuating(curve):
    worst = float(np.max(curve.fluctuation))
    if worst <= LARGEST_FLUCTUATION:
        return None
    return (
        f"few directions carry the risk, which fluctuates by {worst**0.5:.0%} of itself between runs: with correlated "
        f"features it is taken to be what it is on average, which makes the mean about {worst:.0%} too low (a smaller "
        "lr helps)"
    )


def _edge(curve, limit) -> float:
    """The learning rate from which on the risk grows without bounds; infinite for rules whose steps are bounded.

    That is 4 d R phi / (psi tr K) where the coefficients grow as they do for SGD, phi / psi as 1 / R. Where they do
    not, or rounding at such a risk has left no number > 0 of them, no such learning rate is known: infinite too.
    """
    problem = curve.problem
    if limit.power != 0:
        return np.inf
    if limit.size > 1:
        return limit.stability_edge(modes(problem, limit).decay, problem.d, float(curve.t[-1]))
    variance = problem.noise.second_moment if np.isfinite(problem.noise.second_moment) else 0.0
    R = FAR * max(problem.initial_risk, variance, problem.covariance.trace / problem.d)
    rates = evaluate_in_float64(partial(_balancing_rates, limit), np.array([R, FAR * R]))
    if not (np.all(np.isfinite(rates)) and 0 < rates[0] / 2 <= rates[1] <= 2 * rates[0]):
        return np.inf
    return float(4 * problem.d * rates[1] / problem.covariance.trace)


@jit
def _balancing_rates(limit, risks):
    """R phi / psi: for large R proportional to the learning rate at which R is stationary."""

    def at(R):
        _, m = limit.relaxation(2 * R[None])
        return R * limit.drift_coefficients(R, m)[0] / limit.noise_coefficients(R, m).sum()

    return jax.vmap(at)(risks)


def _slow_second_moment(curve, limit):
    noise = curve.problem.noise
    if not limit.needs_fourth_moment or np.isfinite(noise.fourth_moment):
        return None
    return (
        f"{noise} has no fourth moment, so averages of squared gradients settle slowly: the limit will be several "
        "percent off at d of a thousand"
    )


def _imprecise_coefficients(curve, limit):
    worst = _sampling_error(limit, curve.risk[np.isfinite(curve.risk) & (curve.risk > 0)])
    if worst <= LARGEST_ERROR:
        return None
    return (
        f"coefficients of the limit were sampled with relative standard errors of up to {worst:.1%}, which the risk "
        "inherits; a smaller relative_error in from_optax, where the rule has one, needs more time"
    )


def _sampling_error(limit, risks) -> float:
    """The largest relative standard error of phi and kappa(1) between the smallest and the largest risk."""
    errors = getattr(limit, "errors", None)
    if errors is None or not risks.size:
        return float(getattr(limit, "relative_error", 0.0))
    nodes = errors.log_R[(errors.log_R > np.log(risks.min())) & (errors.log_R < np.log(risks.max()))]
    found = [errors.at(R) for R in (risks.min(), risks.max(), *np.exp(nodes))]
    return float(max(max(phi, kappa[-1]) for phi, kappa in found))
