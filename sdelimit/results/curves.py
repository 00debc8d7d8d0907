"""Immutable results: what was computed, and the inputs that made it."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import numpy as np
from jaxtyping import Bool, Float
from scipy.interpolate import CubicHermiteSpline
from scipy.special import ndtri

from sdelimit.numerics.floors import BLOW_UP, HUGE, TINY_RISK
from sdelimit.optimizers.optimizer import Optimizer
from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.results.stored import Stored
from sdelimit.results.summary import describe_result, summary
from sdelimit.results.trust import (
    DivergenceWarning,
    LimitWarning,
    run_warnings,
    theory_warnings,
    warnings_of,
    with_warnings,
)
from sdelimit.support import arguments as check

__all__ = ["DivergenceWarning", "LimitWarning", "RiskCurve", "RiskCurves", "mark_divergence", "with_limit_warnings"]


class Spread(Protocol):
    """How single runs spread around a curve, computed when it is asked for.

    ``covers_aligned`` says whether it is known where features are correlated with the residual.
    """

    covers_aligned: bool

    def std(self, exact: bool) -> Float[np.ndarray, "*m n"]:
        """The standard deviation of a single run's risk at each time."""

    def select(self, index: int) -> "Spread":
        """That of one learning rate of several."""


class Drawn(Stored):
    """Curves that can be drawn."""

    def plot(self, ax=None, *, label=None, band: bool = True, path=None):
        """Draw the risk against time: theory as a line with the band of single runs, paths as that band, runs as
        medians with bars from 10 to 90%.

        Args:
            ax: axes of matplotlib to draw into; default a new figure.
            label: what to call it in the legend, a list of texts for an array of learning rates.
            band: whether to draw the 10-90% range of single runs where it is known.
            path: file name(s) to save the figure to; the suffix chooses the format.

        Returns:
            A matplotlib ``Figure``, which Jupyter shows; with ``ax``, ``ax``.
        """
        return plot_result(self, ax, label, band, path)

    def _figure(self):
        return self.plot(band=False)


@dataclass(frozen=True, eq=False)
class RiskCurve(Drawn):
    """A deterministic risk curve R(t), with t = steps / d.

    With an array of m learning rates every array below but ``t``, ``decay`` has a leading axis of length m.

    Attributes:
        t: (n,) times.
        risk: (n,) risk; infinite after a divergence.
        modes: (n, d) mode energies E[w_i^2]; R = 1/2 sum_i decay_i modes_i. None if not saved.
        decay: (d,) mode decay rates lambda_i.
            A rule that is not scale-free has no modes: there decay is sigma_i^2, modes are E[delta_i^2] if K is
            diagonal and None otherwise, and phi is the mean of phi_i(R) weighted by sigma_i^2.
        lr: (n,) learning rate eta(t).
        phi: (n,) drift coefficient phi(R(t)); lr * phi is the effective learning rate.
        slope: (n,) dR/dt. Infinite, as phi and the modes are, after a divergence.
        diverged_at: time at which the risk passed all bounds, infinity if it did not.
        status: "ok", or what happened, when and at what value.
        warnings: the warnings issued: why the curve, or one of several, is not to be relied on.
        drift_error: the largest relative error that a drift linear in delta makes along the curve, because features
            are correlated with the residual; None where it was not estimated.
        saturation: largest share of the signal in what the rule averages, over that of the noise, for rules whose mean
            step saturates; the law keeps its first order.
        fluctuation: of curves that take correlated features into account, the largest variance of the risk of a run
            over the square of R + E[eps^2]/2, which the law takes to be small; 0 for others.
        aligned: whether the curve takes those correlations into account.
        kind: what tables and legends call the theory: "ODE", or "data ODE" from ``sl.data.solve_ode``.
        spread: what ``std`` and ``quantile`` are computed from; None where they are not known.
        overlaps: (n, 3) theta' K theta, theta' K theta* and theta*' K theta*, for losses whose limit needs more than
            the risk; None on a ``LinearRegression``.
    """

    t: Float[np.ndarray, " n"]
    risk: Float[np.ndarray, "*m n"]
    modes: Float[np.ndarray, "*m n d"] | None
    decay: Float[np.ndarray, " d"]
    lr: Float[np.ndarray, "*m n"]
    phi: Float[np.ndarray, "*m n"]
    slope: Float[np.ndarray, "*m n"]
    diverged_at: float | Float[np.ndarray, " m"]
    status: str | tuple[str, ...]
    problem: LinearRegression
    optimizer: Optimizer
    batch_size: int = 1
    kind: str = "ODE"
    warnings: tuple[str, ...] = ()
    drift_error: float | Float[np.ndarray, " m"] | None = None
    aligned: bool | Bool[np.ndarray, " m"] = False
    saturation: float | Float[np.ndarray, " m"] = 0.0
    fluctuation: float | Float[np.ndarray, " m"] = 0.0
    spread: Spread | None = field(default=None, repr=False)
    overlaps: Float[np.ndarray, "*m n 3"] | None = field(default=None, repr=False)
    is_theory: ClassVar[bool] = True

    def __repr__(self):
        return summary(self, f"{self.kind} curve")

    def __len__(self):
        """The number of learning rates of an array of them; TypeError for the curve of one."""
        if np.ndim(self.lr) < 2:
            raise TypeError("the curve of one learning rate has no length: .t.size is the number of its times")
        return len(self.risk)

    def __bool__(self):
        return True

    def __getitem__(self, index) -> "RiskCurve":
        """``select(index)``; a negative index counts from the last learning rate."""
        return _one_rate(self, index)

    def _variables(self):
        rates = ("rate",) if np.ndim(self.lr) > 1 else ()
        along = (*rates, "t")
        found = {"t": (("t",), self.t), "lr": (along, self.lr), "risk": (along, self.risk), "phi": (along, self.phi)}
        if self.modes is not None:
            found |= {"modes": ((*along, "mode"), self.modes), "decay": (("mode",), self.decay)}
        return found | _of_overlaps(self, along)

    def _attributes(self):
        return describe_result(self)

    def select(self, index: int) -> "RiskCurve":
        """The curve of one learning rate of an array of them."""
        names = ("risk", "modes", "lr", "phi", "slope", "diverged_at", "status", "drift_error", "aligned")
        names = (*names, "saturation", "fluctuation", *(() if self.overlaps is None else ("overlaps",)))
        chosen = _select(self, index, names)
        return chosen if self.spread is None else replace(chosen, spread=self.spread.select(index))

    @property
    def loss(self) -> Float[np.ndarray, "*m n"]:
        """risk + E[eps^2] / 2, half the mean squared residual, for least squares; ValueError for other losses."""
        return self.risk + _irreducible_risk(self.problem)

    @property
    def alignment(self) -> Float[np.ndarray, "*m n"]:
        """The cosine between theta and theta* in the metric of K; 0 where theta is 0."""
        return self.problem.alignment_of(*_about_target(self))

    @property
    def error_rate(self) -> Float[np.ndarray, "*m n"]:
        """P(sign(u) is not the label), for classifiers."""
        return self.problem.error_rate_of(*_about_target(self))

    @property
    def std(self) -> Float[np.ndarray, "*m n"]:
        """Standard deviation of the risk of a single run at each time: zero at t = 0, infinite after a divergence.

        That of ``solve_sde``'s paths to first order in 1/d, without paths (theory: section 18), computed at the first
        call. Correlations between different modes are left out, which costs up to 2% where noise mixes the modes
        (signSGD on a K that is not diagonal) and theta_0 - theta* is without structure; ``exact_std`` has them.

        Raises ValueError where it is not known: features correlated with the residual (``aligned``; SGD's paths are
        those of the limit all the same), a curve of ``finite_d=True``, of ``sl.data.solve_ode``, or traced by JAX.
        """
        return self._std(False)

    @property
    def exact_std(self) -> Float[np.ndarray, "*m n"]:
        """``std`` with the correlations between different modes, which are d x d numbers. Raises as ``std``."""
        return self._std(True)

    def _std(self, exact):
        self._require_spread()
        return np.where(np.isfinite(self.risk), self.spread.std(exact), np.inf)

    def quantile(self, q) -> Float[np.ndarray, "..."]:
        """Quantile(s) of the risk of a single run, lognormal with the mean ``risk`` and the deviation ``std``.

        The shape is that of ``q``, then (m,) for m learning rates, then (n,). Raises as ``std``, and ValueError unless
        0 < q < 1.
        """
        q = check.array("q", q, ndim=(0, 1))
        if np.any((q <= 0) | (q >= 1)):
            raise ValueError(f"q must lie in (0, 1), got {q}")
        std, known = self.std, np.isfinite(self.risk) & (self.risk > 0)
        relative = np.divide(std, self.risk, out=np.zeros_like(std), where=known)
        log_variance = np.log1p(relative**2)
        normal = ndtri(q).reshape(*q.shape, *[1] * std.ndim)
        return self.risk * np.exp(np.sqrt(log_variance) * normal - log_variance / 2)

    @property
    def has_spread(self) -> bool:
        """Whether ``std`` and ``quantile`` are known."""
        return self.spread is not None and (self.spread.covers_aligned or not np.any(self.aligned))

    def _require_spread(self):
        if self.has_spread:
            return
        if self.spread is not None:
            raise ValueError(
                f"the spread of single runs of {self.optimizer.name} is not known for a curve that takes features to "
                "be correlated with the residual (.aligned): solve_sde draws paths, aligned=False takes the other law"
            )
        raise ValueError(
            f"the spread of single runs is not known for this {self.kind} curve of {self.optimizer.name}: it comes "
            "with those of solve_ode for learning rates that JAX does not trace and one output (for losses other than "
            "least squares of SGD, and for single samples of clip_norm and sign_sgd)"
        )

    def at(self, t) -> Float[np.ndarray, "*m k"]:
        """R at other times in [t[0], t[-1]], by the cubic that matches R and dR/dt at the saved times."""
        t = np.atleast_1d(check.array("t", t))
        if t.min() < self.t[0] - 1e-12 or t.max() > self.t[-1] * (1 + 1e-12):
            raise ValueError(f"t must lie in [{self.t[0]:g}, {self.t[-1]:g}], got [{t.min():g}, {t.max():g}]")
        if t.shape == self.t.shape and np.array_equal(t, self.t):
            return self.risk
        rows = [_hermite(self.t, r, s, t) for r, s in zip(_rows(self.risk), _rows(self.slope), strict=True)]
        return np.array(rows).reshape(*self.risk.shape[:-1], t.size)


@dataclass(frozen=True, eq=False)
class RiskCurves(Drawn):
    """Many random risk curves: SDE paths or simulated runs.

    With an array of m learning rates ``risk`` has a leading axis of length m.

    Attributes:
        t: (n,) times, in steps / d.
        risk: (n_runs, n) risk of each run; infinite after that run diverged.
        lr: (n,) learning rate eta(t).
        diverged_at: (n_runs,) first saved time at which the run had left all bounds, infinity if none.
        status: "ok", or how many runs diverged, when and at what value; one for each learning rate of an array.
        warnings: the warnings issued: why the curves, or some of several, are not to be relied on.
        kind: "sde" or "simulation".
        overlaps: (n_runs, n, 3) as of a ``RiskCurve``.
        curvature, squared_length: (n_runs, n) u' K u and |u|^2 of the step taken at each time, if recorded.
    """

    t: Float[np.ndarray, " n"]
    risk: Float[np.ndarray, "*m runs n"]
    lr: Float[np.ndarray, "*m n"]
    diverged_at: Float[np.ndarray, "*m runs"]
    status: str | tuple[str, ...]
    kind: str
    problem: LinearRegression
    optimizer: Optimizer
    batch_size: int = 1
    seed: int = 0
    curvature: Float[np.ndarray, "*m runs n"] | None = None
    squared_length: Float[np.ndarray, "*m runs n"] | None = None
    overlaps: Float[np.ndarray, "*m runs n 3"] | None = field(default=None, repr=False)
    details: dict = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    is_theory: ClassVar[bool] = False

    def __repr__(self):
        return summary(self, f"{self.risk.shape[-2]} {'SDE paths' if self.kind == 'sde' else 'simulated runs'}")

    def __len__(self):
        """The number of runs, of learning rates if there is an array of them."""
        return len(self.risk)

    def __getitem__(self, index) -> "RiskCurves":
        """The runs of an index, a slice or an array; of an array of learning rates, ``select(index)``."""
        if np.ndim(self.lr) > 1:
            return _one_rate(self, index)
        chosen = np.atleast_1d(np.arange(len(self))[index])
        if chosen.ndim > 1 or not chosen.size:
            raise IndexError(f"index must choose one or more of {len(self)} runs, got {index!r}")
        names = ("risk", "diverged_at", "curvature", "squared_length", "overlaps")
        taken = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        found = replace(self, **{name: value[chosen] for name, value in taken.items()})
        diverged = int(np.isfinite(found.diverged_at).sum())
        noun = "paths" if self.kind == "sde" else "runs"
        first = f"{diverged} of {chosen.size} {noun} diverged, the first by t = {found.diverged_at.min():.4g}"
        return replace(found, status=first if diverged else "ok")

    def _variables(self):
        rates = ("rate",) if np.ndim(self.lr) > 1 else ()
        along = (*rates, "run", "t")
        found = {"t": (("t",), self.t), "lr": ((*rates, "t"), self.lr), "risk": (along, self.risk)}
        for name in ("curvature", "squared_length"):
            if getattr(self, name) is not None:
                found[name] = along, getattr(self, name)
        return found | _of_overlaps(self, along)

    def _attributes(self):
        return describe_result(self)

    def select(self, index: int) -> "RiskCurves":
        """The curves of one learning rate of an array of them."""
        names = ("risk", "lr", "diverged_at", "status", "curvature", "squared_length")
        return _select(self, index, names if self.overlaps is None else (*names, "overlaps"))

    @property
    def loss(self) -> Float[np.ndarray, "*m runs n"]:
        """risk + E[eps^2] / 2 of each run, for least squares; ValueError for other losses."""
        return self.risk + _irreducible_risk(self.problem)

    @property
    def alignment(self) -> Float[np.ndarray, "*m runs n"]:
        """The cosine between theta and theta* in the metric of K; 0 where theta is 0."""
        return self.problem.alignment_of(*_about_target(self))

    @property
    def error_rate(self) -> Float[np.ndarray, "*m runs n"]:
        """P(sign(u) is not the label) of a fresh sample, for classifiers."""
        return self.problem.error_rate_of(*_about_target(self))

    @property
    def mean(self) -> Float[np.ndarray, "*m n"]:
        """Mean over runs at each time (infinite once a run has diverged)."""
        return self.risk.mean(axis=-2)

    @property
    def sharpness(self) -> Float[np.ndarray, "*m runs n"]:
        """Directional sharpness u' K u / |u|^2 of every step that was recorded; zero where u = 0."""
        self._require_sharpness()
        return np.divide(
            self.curvature, self.squared_length, out=np.zeros_like(self.curvature), where=self.squared_length > 0
        )

    @property
    def mean_sharpness(self) -> Float[np.ndarray, "*m n"]:
        """E[u' K u] / E[|u|^2] over runs, which ``directional_sharpness`` predicts (theory: section 12)."""
        self._require_sharpness()
        return self.curvature.mean(axis=-2) / self.squared_length.mean(axis=-2)

    def _require_sharpness(self):
        if self.curvature is None:
            raise ValueError("sharpness was not recorded: call simulate(..., sharpness=True)")

    @property
    def standard_error(self) -> Float[np.ndarray, "*m n"]:
        """Monte-Carlo standard error of ``mean``: sample deviation / sqrt(runs). Infinite for one run."""
        runs = self.risk.shape[-2]
        if runs < 2:
            return np.full(self.mean.shape, np.inf)
        finite = np.isfinite(self.risk).all(axis=-2)
        deviation = np.where(np.isfinite(self.risk), self.risk, 0.0).std(axis=-2, ddof=1) / np.sqrt(runs)
        return np.where(finite, deviation, np.inf)

    def quantile(self, q) -> Float[np.ndarray, "..."]:
        """Quantile(s) over runs at each time: shape of ``q``, then (m,) for m learning rates, then (n,)."""
        q = check.array("q", q, ndim=(0, 1))
        if np.any((q < 0) | (q > 1)):
            raise ValueError(f"q must lie in [0, 1], got {q}")
        value = np.quantile(np.minimum(self.risk, HUGE), q, axis=-2)
        return np.where(value < HUGE / 1e10, value, np.inf)


def _of_overlaps(curve, along) -> dict:
    """Alignment and error rate of curves that have them, with the names of their dimensions."""
    if curve.overlaps is None:
        return {}
    names = ("alignment", "error_rate") if curve.problem.loss.classifies else ("alignment",)
    return {name: (along, getattr(curve, name)) for name in names}


def _one_rate(result, index):
    """``select(index)`` as sequences have it: from the end for index < 0, IndexError past the ends."""
    if np.ndim(result.lr) < 2:
        raise TypeError(f"this {result.kind} curve is of one learning rate: only curves of an array of them have parts")
    if not isinstance(index, int | np.integer):
        raise TypeError(f"index must be an integer, got {check.describe(index)}")
    return result.select(int(range(len(result.risk))[index]))


def plot_result(curves, ax, label, band, path):
    """``plot`` of curves: matplotlib is imported when something is drawn."""
    from sdelimit.results.plot import plot_curves, save_figure

    drawn = plot_curves(curves, ax, label if label is None or isinstance(label, list | tuple) else [label], band)
    save_figure(drawn if ax is None else ax.figure, path)
    return drawn


def _irreducible_risk(problem) -> float:
    if not isinstance(problem, LinearRegression):
        raise ValueError(f"loss is risk plus noise for least squares only, got a {type(problem).__name__}")
    return problem.irreducible_risk


def _select(result, index, names):
    if np.ndim(result.lr) < 2:
        raise TypeError("select needs a result with an array of learning rates, got one with a single learning rate")
    index = check.integer("index", index, minimum=0)
    if index >= len(result.status):
        raise ValueError(f"index must be < {len(result.status)}, the number of learning rates, got {index}")
    taken = {name: getattr(result, name) for name in names}
    chosen = {name: value if np.ndim(value) == 0 else value[index] for name, value in taken.items()}
    return replace(result, **chosen, warnings=warnings_of(result, index))


def with_limit_warnings(curve: RiskCurve, limit) -> RiskCurve:
    """The same curve with a warning, issued and in ``.warnings``, for each reason not to rely on it.

    Those texts that are already in ``.warnings`` are among them.
    """
    texts = (*curve.warnings, *theory_warnings(curve, limit))
    return with_warnings(curve, f"solve_ode({curve.optimizer.name})", texts)


def mark_divergence(curves: RiskCurves) -> RiskCurves:
    """The same curves with diverged runs made infinite from where they left all bounds.

    Divergence is named in ``.status``; that and all other warnings issued are in ``.warnings``.
    """
    problem = curves.problem
    largest, size = float(np.max(curves.lr)), problem.covariance.trace / problem.d
    variance = problem.noise.second_moment if np.isfinite(problem.noise.second_moment) else 0.0
    scale = max(problem.initial_risk, largest**2 * size * max(1.0, size * variance), TINY_RISK)
    gone = np.maximum.accumulate(~(curves.risk < BLOW_UP * scale), axis=-1)
    first = np.argmax(gone, axis=-1)
    diverged_at = np.where(gone.any(axis=-1), curves.t[first], np.inf)
    noun = "paths" if curves.kind == "sde" else "runs"
    value = np.take_along_axis(curves.risk, first[..., None], axis=-1)[..., 0]
    statuses = [_divergence_status(at, v, noun) for at, v in zip(_rows(diverged_at), _rows(value), strict=True)]
    texts = curves.warnings if curves.kind == "sde" else (*curves.warnings, *run_warnings(curves))
    marked = replace(
        curves,
        risk=np.where(gone, np.inf, curves.risk),
        diverged_at=diverged_at,
        status=tuple(statuses) if curves.risk.ndim == 3 else statuses[0],
    )
    return with_warnings(marked, f"{curves.kind} of {curves.optimizer.name}", texts)


def _divergence_status(diverged_at, value, noun):
    """ "ok", or how many runs diverged and where the first did."""
    if not np.isfinite(diverged_at).any():
        return "ok"
    first = int(np.argmin(diverged_at))
    size = f"risk {value[first]:.3g}" if np.isfinite(value[first]) else "a risk beyond the floating-point range"
    return (
        f"{np.isfinite(diverged_at).sum()} of {diverged_at.size} {noun} diverged, the first by "
        f"t = {diverged_at[first]:.4g} with {size}"
    )


def _rows(array):
    return array.reshape(-1, array.shape[-1])


def _about_target(curve):
    """delta' K delta and delta' K theta* of a curve that has overlaps; ValueError for one that has not."""
    if curve.overlaps is None:
        raise ValueError(
            "overlaps are those of problems such as LogisticRegression, and the limit on a LinearRegression needs the "
            f"risk alone: this is a curve of a {type(curve.problem).__name__} without"
        )
    axis = curve.problem.overlap_axis
    B11, B12, B22 = np.moveaxis(curve.overlaps, axis, 0)
    return B11 - B12 - (B12 if axis == -1 else np.swapaxes(B12, -1, -2)) + B22, B12 - B22


def _hermite(t, risk, slope, at):
    """Cubic Hermite interpolation up to the last finite value, infinity after it."""
    last = int(np.argmax(~np.isfinite(risk))) if not np.isfinite(risk).all() else risk.size
    if last < 2:
        return np.where(at <= t[0], risk[0], np.inf)
    inside = at <= t[last - 1] * (1 + 1e-12)
    values = np.full(at.shape, np.inf)
    values[inside] = CubicHermiteSpline(t[:last], risk[:last], slope[:last])(at[inside])
    return values
