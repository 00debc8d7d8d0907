"""How much each of the four effects changes the risk: the risk curves between SGD's and a rule's."""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from sdelimit.analysis.effects.names import EFFECTS, NAMES, WEIGHT_DECAY
from sdelimit.results.text import align
from sdelimit.support import arguments as check
from sdelimit.support.brief import brief_fields


@dataclass(frozen=True, eq=False)
class Decomposition:
    """From SGD's risk curve to the rule's, one effect at a time.

    ``risks[frozenset(names)]`` is the risk curve of SGD with those effects switched on: an ODE of its own, which sees
    the effects at its own risk. None are SGD, all four are the rule. Along an order of the effects the changes of
    ln R from one curve to the next add up to the whole change exactly. What an effect contributes depends on what is
    on before it, so by default its share is the mean over all orders (its Shapley value).

    If SGD has no risk curve because the noise has infinite variance, its risk is infinite; noise compression is then
    first in every order, its share is -infinity, and the other three are compared with compressed SGD.

    Attributes:
        t: (n,) times, in steps / d.
        risks: risk curve (n,) of each combination of effects that was solved.
        order: the one order that was asked for; None for all of them.
        name: the rule's name.
    """

    t: Float[np.ndarray, " n"]
    risks: dict[frozenset, Float[np.ndarray, " n"]]
    order: tuple[str, ...] | None
    name: str

    __repr__ = brief_fields

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the four effects, and of weight decay if the rule has it."""
        every = frozenset().union(*self.risks)
        return tuple(name for name in (*EFFECTS, WEIGHT_DECAY) if name in every)

    @property
    def orders(self) -> tuple[tuple[str, ...], ...]:
        """The orders that are averaged over."""
        return possible_orders(self.names, self.order, np.isfinite(self.risks[frozenset()][0]))

    def log_shares(self, t: float | None = None, order=None) -> dict[str, float]:
        """Change of ln R at time ``t`` (default the last) that each effect makes; negative is better than without.

        The shares add up to ``ln R_rule - ln R_SGD``. Between saved times ln R is interpolated linearly.

        Args:
            t: time in [t[0], t[-1]].
            order: names of the four effects in the order of switching on; default the mean over ``orders``.

        Raises:
            ValueError: naming the argument; also if a combination on the way has diverged by then.
        """
        return self._shares(self._log_risk(t), order)

    def risk_shares(self, t: float | None = None, order=None) -> dict[str, float]:
        """The same for R itself: changes of risk that add up to R_rule - R_SGD."""
        return self._shares({on: np.exp(value) for on, value in self._log_risk(t).items()}, order)

    def log_range(self, t: float | None = None) -> dict[str, tuple[float, float]]:
        """Smallest and largest ``log_shares`` of each effect over ``orders``."""
        values = self._log_risk(t)
        every = [self._shares(values, order) for order in self.orders]
        return {name: (min(s[name] for s in every), max(s[name] for s in every)) for name in self.names}

    def path(self, order=None) -> list[tuple[str, Float[np.ndarray, " n"]]]:
        """The curves along one order, SGD's first: (what was switched on last, risk)."""
        order = self.orders[0] if order is None else self._check(order)
        steps = [("SGD", frozenset()), *((name, frozenset(order[: i + 1])) for i, name in enumerate(order))]
        return [(name, self.risks[on]) for name, on in steps]

    def undefined(self, t: float | None = None) -> str | None:
        """Why there are no shares at time ``t``, or None if there are."""
        infinite_sgd = not np.isfinite(self.risks[frozenset()][0])
        for on, value in self._log_risk_between(t).items():
            if not np.isfinite(value) and not (infinite_sgd and not on):
                what = " and ".join(["SGD", *(NAMES[name] for name in self.names if name in on)])
                state = "has diverged" if value > 0 else "has risk 0"
                return f"{what} {state} by t = {self.time(t):.4g}: take an earlier t, or a smaller lr or sgd_lr"
        return None

    def table(self, t: float | None = None) -> str:
        """Shares at time ``t`` (default the last) as an aligned text table."""
        t = self.time(t)
        header = ("effect", "factor on R", "change of ln R", "over orders", "change of R")
        reason = self.undefined(t)
        if reason:
            return f"no decomposition at t = {t:.4g}: {reason}"
        logs, changes, ranges = self.log_shares(t), self.risk_shares(t), self.log_range(t)
        changes = {n: change if abs(logs[n]) > 1e-13 else 0.0 for n, change in changes.items()}
        rows = [
            (NAMES[n], f"{np.exp(logs[n]):.4g}", _with_sign(logs[n], 4), _interval(*ranges[n]), f"{changes[n]:+.4g}")
            for n in self.names
        ]
        total = sum(logs.values())
        rows.append(
            (
                "all four" if len(self.names) == 4 else "all five",
                f"{np.exp(total):.4g}",
                f"{total:+.4f}",
                "",
                f"{sum(changes.values()):+.4g}",
            )
        )
        log_risk = self._log_risk_between(t)
        ends = [np.exp(log_risk[on]) for on in (frozenset(), frozenset(self.names))]
        way = "mean over orders" if len(self.orders) > 1 else "in the order " + ", ".join(NAMES[n] for n in self.order)
        title = f"from SGD (R = {ends[0]:.4g}) to {self.name} (R = {ends[1]:.4g}) at t = {t:.4g}, {way}"
        return title + "\n" + align([header, *rows])

    def plot(self, path=None):
        """Figure: the curves along the first order, and the shares at the last time."""
        from sdelimit.analysis.effects.plot import plot_decomposition

        return plot_decomposition(self, path)

    def time(self, t: float | None = None) -> float:
        """``t`` if it lies in the horizon, the last time if it is None."""
        t = float(self.t[-1]) if t is None else check.real("t", t)
        if not self.t[0] <= t <= self.t[-1]:
            raise ValueError(f"t must lie in [{self.t[0]:g}, {self.t[-1]:g}], got {t:g}")
        return t

    def _log_risk_between(self, t):
        """ln R of every combination; infinite if the risk is at one of the neighbouring times."""
        t = self.time(t)
        right = int(np.searchsorted(self.t, t))
        left = right if self.t[right] == t else right - 1
        fraction = 0.0 if left == right else (t - self.t[left]) / (self.t[right] - self.t[left])
        with np.errstate(divide="ignore"):
            ends = {on: np.log(risk[[left, right]]) for on, risk in self.risks.items()}
        return {
            on: float(e[0] + fraction * (e[1] - e[0])) if np.isfinite(e).all() else float(e[~np.isfinite(e)][0])
            for on, e in ends.items()
        }

    def _log_risk(self, t):
        reason = self.undefined(t)
        if reason:
            raise ValueError(f"t must be a time at which every curve is finite; {reason}")
        return self._log_risk_between(t)

    def _shares(self, values, order):
        orders = self.orders if order is None else (self._check(order),)
        shares = dict.fromkeys(self.names, 0.0)
        for one in orders:
            for i, name in enumerate(one):
                step = values[frozenset(one[: i + 1])] - values[frozenset(one[:i])]
                shares[name] += step / len(orders)
        return shares

    def _check(self, order):
        order = check_order(order, self.names)
        if order not in self.orders:
            raise ValueError(f"order must be one of those solved, got {order}: see .orders")
        return order


def check_order(order, names) -> tuple[str, ...]:
    """``order`` as a tuple of the effects' ``names``, each once."""
    if not isinstance(order, (tuple, list)):
        raise TypeError(f"order must be a sequence of the names {names}, got {check.describe(order)}")
    order = tuple(check.choice("order", name, names) for name in order)
    if sorted(order) != sorted(names):
        raise ValueError(f"order must name each of {names} once, got {order}")
    return order


def possible_orders(names, order, sgd_is_finite: bool) -> tuple[tuple[str, ...], ...]:
    """The given order, or all; compression comes first where SGD has no risk curve."""
    if order is not None:
        return (order,)
    return tuple(o for o in itertools.permutations(names) if sgd_is_finite or o[0] == "noise_compression")


def combinations(orders) -> list[frozenset]:
    """Every set of effects that is on at some point of one of the orders, small sets first."""
    sets = {frozenset(order[:k]) for order in orders for k in range(len(order) + 1)}
    return sorted(sets, key=lambda on: (len(on), sorted(on)))


def _interval(low, high):
    return f"{_with_sign(low, 3)} .. {_with_sign(high, 3)}"


def _with_sign(value, digits):
    """With its sign, and zero as +0."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"
