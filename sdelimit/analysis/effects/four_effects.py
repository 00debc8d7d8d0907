"""The four effects in which a rule differs from SGD, and how much of the risk each explains (theory: section 5).

In d delta = -eta Phi(R) K delta dt + eta sqrt(N(R) / d) dB let, with SGD's drift K delta and noise (2P/b) K
for comparison,

    a(R)^2   = tr(Phi K Phi) / tr K             1. effective learning rate eta a(R)
    Mhat(R)  = Phi(R) / a(R)                    2. diagonal preconditioning, tr(Mhat K Mhat) = tr K
    chi(R)   = tr N / (a^2 (2P/b) tr K)         3. noise compression: noise at matched drift
    Nhat(R)  = N tr K / tr N                    4. noise reshaping, tr Nhat = tr K

Then Phi = a Mhat and N = a^2 chi (2P/b) Nhat, so the risk obeys, exactly and with V = E[delta delta'],

    dR/dt = -eta a tr(K Mhat K V) + (eta a)^2/(2d) chi (2P/b) tr(K Nhat),

which is SGD's equation where a = 1, Mhat = I, chi = 1, Nhat = K. (Weight decay omega adds a fifth term,
-eta omega E[delta' K theta].) The normalization by the trace of the noise that Mhat makes of SGD's is what gives
chi = kappa(1)/(phi^2 2P/b) for M = D^-1 whatever the scales of the coordinates.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np

from sdelimit.analysis.effects import parts
from sdelimit.analysis.effects.ablations import Intermediates
from sdelimit.analysis.effects.along_the_curve import Factors, identity_error
from sdelimit.analysis.effects.decomposition import Decomposition, check_order, combinations, possible_orders
from sdelimit.analysis.effects.names import effects_of
from sdelimit.analysis.effects.second_moments import dynamics
from sdelimit.limits.law import without_memory
from sdelimit.numerics.precision import x64
from sdelimit.ode.integrate import MAX_STEPS, Stepping, integrate
from sdelimit.ode.limit_curve import solve_limit
from sdelimit.optimizers import sign_sgd
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.results.curves import RiskCurve, with_limit_warnings
from sdelimit.results.stored import Stored
from sdelimit.results.text import align
from sdelimit.results.trust import LimitWarning
from sdelimit.schedules import LearningRate
from sdelimit.support import arguments as check
from sdelimit.support.arguments import time_grid

RTOL = 1e-8


@dataclass(frozen=True, eq=False)
class Effects(Stored):
    """The four effects of one rule on one problem. ``print(result.table())``; ``result.plot()``.

    Attributes:
        problem, optimizer, batch_size: what was compared with SGD.
        curve: the rule's own risk curve.
        learning_rate, preconditioning, noise_compression, noise_reshaping: the effects, each with its numbers,
            ``.table()`` and ``.plot()``.
        decomposition: what switching them on one at a time does to SGD's risk curve.
        identity_error: largest difference, over the curve, between dR/dt put together from the four effects in the
            original coordinates and dR/dt of the rule's own ODE, relative to the sizes of its two terms. With weight
            decay at the start only.
        weight_decay: omega, of rules with decoupled weight decay, which the decomposition then counts as a fifth.
    """

    problem: LinearRegression
    optimizer: Optimizer
    batch_size: int
    curve: RiskCurve
    learning_rate: parts.EffectiveLearningRate
    preconditioning: parts.Preconditioning
    noise_compression: parts.NoiseCompression
    noise_reshaping: parts.NoiseReshaping
    decomposition: Decomposition
    identity_error: float
    weight_decay: float = 0.0

    def __repr__(self):
        return self._numbers(self.decomposition.time(None))

    def _variables(self):
        rate = self.learning_rate
        found = {"t": rate.t, "risk": rate.risk, "lr": rate.lr, "phi": rate.phi, "effective_lr": rate.effective}
        found |= {"sgd_lr": rate.sgd_lr, "chi": self.noise_compression.chi, "trace_ratio": self.noise_reshaping.ratio}
        pre = {name: getattr(self.preconditioning, name) for name in ("preconditioner", "rates", "sgd_rates")}
        return {
            **{name: (("t",), values) for name, values in found.items()},
            **{name: (("mode",), values) for name, values in pre.items()},
        }

    def _attributes(self):
        return {"effects": self._numbers(self.decomposition.time(None)), "shares": self.decomposition.table()}

    def _figure(self):
        return self.plot()

    def table(self, t: float | None = None) -> str:
        """All effects at time ``t`` (default the last) of the rule's curve, and each one's share of the risk."""
        t = self.decomposition.time(t)
        return f"{self._numbers(t)}\n\n{self.decomposition.table(t)}"

    def numbers(self, t: float | None = None) -> dict:
        """What the table has, as plain numbers: of each effect, and ``log_shares``, None where there are none."""
        t = self.decomposition.time(t)
        at = int(np.argmin(np.abs(self.curve.t - t)))
        rate, pre = self.learning_rate, self.preconditioning
        known = self.decomposition.undefined(t) is None
        return {
            "t": float(self.curve.t[at]),
            "risk": float(self.curve.risk[at]),
            "sgd_lr": float(rate.sgd_lr[at]),
            "effective_lr": float(rate.effective[at]),
            "condition_number": float(pre.condition_number),
            "sgd_condition_number": float(pre.sgd_condition_number),
            "noise_compression": float(self.noise_compression.chi[at]),
            "noise_reshaping": float(self.noise_reshaping.ratio[at]),
            "weight_decay": float(self.weight_decay),
            "log_shares": self.decomposition.log_shares(t) if known else None,
            "identity_error": float(self.identity_error),
        }

    def _numbers(self, t) -> str:
        at = int(np.argmin(np.abs(self.curve.t - t)))
        rate, pre = self.learning_rate, self.preconditioning
        rows = [
            ("learning rate", "effective lr", f"{rate.sgd_lr[at]:.4g}", f"{rate.effective[at]:.4g}"),
            ("preconditioning", "condition number", f"{pre.sgd_condition_number:.4g}", f"{pre.condition_number:.4g}"),
            ("", "slowest rate / mean", f"{pre.sgd_rates[0]:.4g}", f"{pre.rates[0]:.4g}"),
            ("noise compression", "chi(R)", "1", f"{self.noise_compression.chi[at]:.4g}"),
            ("noise reshaping", "trace ratio", "1", f"{self.noise_reshaping.ratio[at]:.4g}"),
        ]
        if self.weight_decay > 0:
            rows.append(("weight decay", "rate eta omega", "0", f"{self.curve.lr[at] * self.weight_decay:.4g}"))
        title = f"{self.optimizer.name} on {self.problem.noise}, d = {self.problem.d}, "
        title += f"t = {self.curve.t[at]:.4g}, R = {self.curve.risk[at]:.4g}"
        return f"{title}\n{align([('effect', 'number', 'SGD', self.optimizer.name), *rows])}"

    def plot(self, path=None):
        """One figure of all effects; saved to ``path`` (a file name or several) if given."""
        from sdelimit.analysis.effects.plot import plot_effects

        return plot_effects(self, path)


def effects(
    problem: LinearRegression,
    optimizer: Optimizer = sign_sgd(),  # noqa: B008 - immutable
    lr=0.5,
    t_max=None,
    *,
    t=None,
    batch_size: int = 1,
    sgd_lr=None,
    order=None,
) -> Effects:
    """How a rule differs from SGD on ``problem``: step size, preconditioning, noise level and noise shape.

    With the rule's drift Phi(R) K delta and noise N(R), and SGD's K delta and (2P/b) K, the four effects are

        learning rate       a(R) = sqrt(tr(Phi K Phi) / tr K), which is phi(R) for M = D^-1 and unit variances
        preconditioning     Mhat = Phi / a
        noise compression   chi(R) = tr N / (a^2 (2P/b) tr K) = kappa(1; R) / (phi^2 2P/b) for M = D^-1
        noise reshaping     Nhat = N tr K / tr N

    and together they make up the rule's risk ODE exactly:

        dR/dt = -eta a tr(K Mhat K V) + (eta a)^2/(2d) chi (2P/b) tr(K Nhat),    V = E[delta delta'].

    The decomposition solves the ODEs in between. Every optimizer of the package is covered, also those whose
    coefficients differ between coordinates or depend on the past; those from R alone (``.at``) need no past.

    Args:
        problem: the regression problem.
        optimizer: the rule to compare with SGD.
        lr: eta of the rule, a number or a function of t = steps/d.
        t_max: horizon; default 10 if ``t`` is not given either.
        t: times to evaluate at; default 200 equally spaced ones in [0, t_max].
        batch_size: samples per step, the same for SGD.
        sgd_lr: eta of the SGD it is compared with; default ``lr``.
        order: the four names "learning_rate", "preconditioning", "noise_compression", "noise_reshaping" in the order
            in which the decomposition switches them on; default the mean over all orders (16 ODEs instead of 5).

    Returns:
        ``Effects``.

    Raises:
        TypeError, ValueError: naming the argument; also if the rule itself diverges.
        RuntimeError: if an ODE needs too many steps.

    Source: arXiv:2411.12135; theory: section 5.
    """
    problem, optimizer = check_problem(problem), as_optimizer(optimizer)
    batch_size = check.integer("batch_size", batch_size, minimum=1)
    times = time_grid(10.0 if t_max is None and t is None else t_max, t)
    lr = LearningRate.single(lr).require_concrete("effects")
    sgd_lr = lr if sgd_lr is None else LearningRate.single(sgd_lr, "sgd_lr").require_concrete("effects")
    doubts = [text for rate in (lr, sgd_lr) for text in rate.doubts(times[-1], problem.d)]
    doubts = tuple(dict.fromkeys([*doubts, *optimizer.doubts(times[-1], problem.d)]))
    sgd_eta = sgd_lr.at(times)
    finite = bool(np.isfinite(problem.noise.second_moment))
    limit = without_memory(optimizer.limit(problem, batch_size))
    names = effects_of(limit)
    order = None if order is None else _checked_order(order, names, finite, problem.noise)
    atol = 1e-10 * problem.initial_risk or None
    curve = solve_limit(problem, optimizer, limit, lr, times, batch_size=batch_size, rtol=RTOL, atol=atol)
    curve = with_limit_warnings(replace(curve, warnings=doubts), limit)
    if not np.isfinite(curve.risk).all():
        raise ValueError(f"lr must be one at which {optimizer.name} is stable until t = {times[-1]:g}: {curve.status}")
    rule = dynamics(problem, limit.undecayed)
    build = Intermediates(rule, limit.weight_decay, batch_size, times, RTOL, atol)
    orders = possible_orders(names, order, finite)
    risks, scalars, stopped = _solve_between(build, lr, sgd_lr, optimizer.scans(times), times, orders)
    for text in stopped:
        warnings.warn(f"effects({optimizer.name}): {text}", LimitWarning, stacklevel=2)
    curve = replace(curve, warnings=(*curve.warnings, *stopped))
    factors = Factors(rule, batch_size, curve, scalars)
    return Effects(
        problem=problem,
        optimizer=optimizer,
        batch_size=batch_size,
        curve=curve,
        learning_rate=factors.learning_rate(sgd_eta),
        preconditioning=factors.preconditioning(),
        noise_compression=factors.noise_compression(),
        noise_reshaping=factors.noise_reshaping(),
        decomposition=Decomposition(times, risks, order, optimizer.name),
        identity_error=identity_error(factors, limit.weight_decay),
        weight_decay=limit.weight_decay,
    )


def _checked_order(order, names, finite, noise):
    order = check_order(order, names)
    if not finite and order[0] != "noise_compression":
        raise ValueError(
            f"order must begin with 'noise_compression' under {noise}, whose variance is infinite and under which SGD "
            f"has no risk curve, got {order}"
        )
    return order


def _solve_between(build, lr, sgd_lr, scans, times, orders):
    """Risk curve of every combination on the way, the scalars of the rule's law along its own, (n, s), and warnings.

    A curve that is too stiff to be followed is infinite from where it was left on, like one that diverges, and is
    warned of.
    """
    used = [(rate, rate.scan(times)) for rate in (sgd_lr, lr)]
    risks, scalars, stopped = {}, np.zeros((times.size, 0)), []
    infinite = not np.isfinite(build.dynamics.problem.noise.second_moment)
    for on in combinations(orders):
        if infinite and not on:
            risks[on] = check.read_only(np.full(times.size, np.inf))
            continue
        current, scan = used["learning_rate" in on]
        system = build.system(on, scan.eta)
        with x64():
            out = integrate(current, system, Stepping.along(scan, *scans), False)
        if not (out["finished"] or out["blown_up"]):
            if len(on) == len(orders[0]):
                raise RuntimeError(f"effects: the rule took {MAX_STEPS} steps; take a smaller lr or horizon")
            stopped.append(
                f"SGD{' with ' if on else ''}{' and '.join(sorted(on))} is too stiff at this lr to be followed beyond "
                f"t = {float(out['end_time']):.4g}, in {MAX_STEPS} steps: its risk is given as infinite from there on"
            )
        risks[on] = check.read_only(np.where(np.isfinite(out["risk"]), out["risk"], np.inf))
        if len(on) == len(orders[0]):
            scalars = out.get("scalars", scalars)
    return risks, scalars, tuple(stopped)
