"""Sliders in Jupyter that redraw a risk curve and the four effects as they move."""

import asyncio
import contextlib
import html
import io
import warnings

import numpy as np

from sdelimit.analysis.effects.four_effects import Effects, effects
from sdelimit.covariance.ar1 import AR1, ar1
from sdelimit.covariance.diagonal import Diagonal, identity
from sdelimit.noise.bounded import TwoPoint, Uniform
from sdelimit.noise.gaussian import Gaussian
from sdelimit.noise.scale_mixtures import Cauchy, Laplace, StudentT
from sdelimit.ode.solve import solve_ode
from sdelimit.optimizers.adaptive import adam, rmsprop
from sdelimit.optimizers.optimizer import Optimizer, as_optimizer
from sdelimit.optimizers.sgd import sgd
from sdelimit.optimizers.sign import lion, sign_sgd, signum
from sdelimit.problem.linear_regression import LinearRegression, check_problem
from sdelimit.problem.regression import Regression
from sdelimit.problem.single_index import SingleIndex
from sdelimit.results.curves import RiskCurve, RiskCurves
from sdelimit.results.plot import COLOURS
from sdelimit.results.summary import describe_lr
from sdelimit.results.trust import DivergenceWarning, LimitWarning
from sdelimit.simulation.simulate import simulate
from sdelimit.support import arguments as check

RULES = {
    "sign_sgd": lambda beta: sign_sgd(),
    "sgd": lambda beta: sgd(),
    "sgd with momentum": lambda beta: sgd(momentum=beta),
    "signum": lambda beta: signum(beta),
    "lion": lambda beta: lion(beta, 0.99),
    "adam": lambda beta: adam(beta, 0.99),
    "rmsprop": lambda beta: rmsprop(beta),
}
BETAS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
BATCHES = (1, 2, 4, 8, 16, 32)
SCALES = {
    Gaussian: lambda law, s: Gaussian(s), StudentT: lambda law, s: StudentT(float(law.df), s),
    Laplace: lambda law, s: Laplace(s), Cauchy: lambda law, s: Cauchy(s),
    Uniform: lambda law, s: Uniform(s), TwoPoint: lambda law, s: TwoPoint(s),
}  # fmt: skip
"""Laws whose scale, half-width or magnitude a slider can move."""
SCALE_NAMES = ("std", "scale", "half_width", "magnitude")
SOON = 0.01
"""Seconds after which all that has moved meanwhile is drawn at once."""
REST = 0.2
"""Seconds without a move after which the effects are drawn."""
EFFECT_ORDER = ("learning_rate", "preconditioning", "noise_compression", "noise_reshaping")


class Explorer:
    """What ``explore`` returns: widgets that Jupyter shows, and their state.

    Attributes:
        controls: the sliders by name: "optimizer", "lr", "noise", "batch_size", "correlation", "beta", "t_max" (those
            that the problem has). Setting ``controls["lr"].value`` moves one.
        problem, optimizer, lr, batch_size: what they are at.
        curve: the risk curve that is drawn; None where there is none, for the reason in ``message``.
        effects: the four effects, in one order; None where they are not known.
        runs: the simulated runs of the button; None after something has moved.
        message: what is wrong or to be doubted, "" if nothing.
        widget: all of it, an ipywidgets box.
    """

    def __init__(self, problem, optimizers, lr, t_max, n_runs):
        self._base, self._n_runs, self._own = problem, n_runs, {repr(rule): rule for rule in optimizers}
        self.curve: RiskCurve | None = None
        self.effects: Effects | None = None
        self.runs: RiskCurves | None = None
        self.message = ""
        self._kept: list[RiskCurve] = []
        self._pending, self._resting = False, None
        self._risk = _Risk((5.1, 3.9), left=0.165, right=0.98, bottom=0.13, top=0.91)
        self._bars = _Effects((3.7, 3.9), left=0.4, right=0.97, bottom=0.13, top=0.91)
        self._build(lr, t_max)
        self._redraw()

    def __repr__(self):
        return f"<explorer of {self._base!r}: {self.state}>"

    def _repr_mimebundle_(self, **options):
        return self.widget._repr_mimebundle_(**options)

    @property
    def state(self) -> dict:
        """The values of the sliders, with the optimizer as the call that makes it."""
        values = {name: control.value for name, control in self.controls.items()}
        return values | {"optimizer": repr(self.optimizer)}

    @property
    def optimizer(self) -> Optimizer:
        """The rule that is chosen."""
        name = self.controls["optimizer"].value
        return self._own[name] if name in self._own else RULES[name](self.controls["beta"].value)

    @property
    def lr(self) -> float:
        """The learning rate eta."""
        return float(self.controls["lr"].value)

    @property
    def batch_size(self) -> int:
        """Samples per step."""
        return int(self.controls["batch_size"].value)

    @property
    def problem(self) -> Regression:
        """The problem, with the noise and the correlation of the sliders."""
        if not {"noise", "correlation"} & set(self.controls):
            return self._base
        base, noise, covariance = self._base, self._base.noise, self._base.covariance
        if "noise" in self.controls:
            noise = SCALES[type(noise)](noise, float(self.controls["noise"].value))
        if "correlation" in self.controls:
            rho = float(self.controls["correlation"].value)
            covariance = ar1(base.d, rho) if rho else identity(base.d)
        return LinearRegression(covariance, noise, base.theta0, base.theta_star, base.seed)

    def _build(self, lr, t_max):
        import ipywidgets as w

        base, wide = self._base, {"description_width": "90px"}
        made = {
            "optimizer": w.Dropdown(options=[*self._own, *RULES], description="optimizer"),
            "lr": w.FloatLogSlider(value=lr, min=-3, max=1, step=0.02, description="learning rate"),
            "beta": w.SelectionSlider(options=BETAS, value=0.9, description="momentum"),
            "batch_size": w.SelectionSlider(options=BATCHES, value=1, description="batch"),
            "t_max": w.FloatSlider(
                value=t_max, min=min(0.5, t_max), max=max(20.0, 2 * t_max), step=0.5, description="horizon t"
            ),
        }
        plain = type(base) is LinearRegression
        if plain and type(base.noise) in SCALES:
            scale = float(next(getattr(base.noise, name) for name in SCALE_NAMES if hasattr(base.noise, name)))
            ends = np.log10(scale) - 1.5, np.log10(scale) + 1
            made["noise"] = w.FloatLogSlider(value=scale, min=ends[0], max=ends[1], step=0.02, description="noise")
        if plain and (rho := _correlation(base.covariance)) is not None:
            made["correlation"] = w.FloatSlider(
                value=rho, min=min(-0.95, rho), max=max(0.95, rho), step=0.05, description="correlation"
            )
        self.controls = made
        for name, control in made.items():
            control.style, control.layout.width = wide, "330px"
            control.observe(self._moved, names="value")
            if name in ("beta", "batch_size"):
                control.continuous_update = False
        self._images = w.Image(format="png"), w.Image(format="png")
        self._status = w.HTML()
        buttons = {
            "Add runs": self.add_runs,
            "Keep curve": self.keep_curve,
            "Clear": self.clear,
        }
        self.buttons = {name: w.Button(description=name, layout=w.Layout(width="107px")) for name in buttons}
        for name, act in buttons.items():
            self.buttons[name].on_click(lambda _, act=act: act())
        side = w.VBox([*made.values(), w.HBox([*self.buttons.values()])])
        self.widget = w.VBox([w.Box([side, *self._images], layout=w.Layout(flex_flow="row wrap")), self._status])
        self.widget.add_class("sdelimit-explorer")

    def _moved(self, change):
        """Something has moved: draw soon, once for all that moves meanwhile; at once where no event loop runs."""
        self.runs = None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._redraw()
            return
        if not self._pending:
            self._pending = True
            loop.call_later(SOON, self._redraw_pending, loop)

    def _redraw_pending(self, loop):
        self._pending = False
        self._solve()
        self._show()
        if self._resting is not None:
            self._resting.cancel()
        self._resting = loop.call_later(REST, self._effects_if_idle)

    def _effects_if_idle(self):
        """The curve comes first; effects when the sliders rest."""
        if not self._pending:
            self._show_effects()

    def _redraw(self):
        self._solve()
        self._show()
        self._show_effects()

    def _solve(self):
        self.controls["beta"].disabled = self.controls["optimizer"].value in {"sign_sgd", "sgd", *self._own}
        self.curve, self.effects, self.message = None, None, ""
        with _quietly():
            try:
                self.curve = solve_ode(
                    self.problem, self.optimizer, self.lr, t_max=self.controls["t_max"].value,
                    batch_size=self.batch_size,
                )  # fmt: skip
            except (ValueError, RuntimeError) as error:
                self.message = str(error)
                return
        self.message = "\n".join(dict.fromkeys(map(str, self.curve.warnings)))

    def _show_effects(self):
        self._compute_effects()
        self._images[1].value = self._bars.png(self.effects)
        self._show_message()

    def _compute_effects(self):
        if self.curve is None or not isinstance(self._base, LinearRegression):
            return
        order = ("noise_compression", *(name for name in EFFECT_ORDER if name != "noise_compression"))
        with _quietly():
            try:
                self.effects = effects(
                    self.problem, self.optimizer, self.lr, t=self.curve.t, batch_size=self.batch_size, order=order
                )
            except (ValueError, RuntimeError) as error:
                self.message = f"{self.message}\n{error}".strip()

    def add_runs(self):
        """Simulate runs at what the sliders are at, and draw them."""
        with _quietly():
            try:
                self.runs = simulate(
                    self.problem, self.optimizer, self.lr, t_max=self.controls["t_max"].value, n_runs=self._n_runs,
                    batch_size=self.batch_size,
                )  # fmt: skip
            except (ValueError, RuntimeError) as error:
                self.message = str(error)
        self._show()

    def keep_curve(self):
        """Keep the curve in the figure, in grey, while the sliders move on."""
        if self.curve is not None:
            self._kept.append(self.curve)
            self._show()

    def clear(self):
        """Remove kept curves and runs."""
        self._kept, self.runs = [], None
        self._show()

    def _show(self):
        self._images[0].value = self._risk.png(self.curve, self.runs, self._kept)
        self._show_message()

    def _show_message(self):
        style = "white-space:pre-wrap;max-width:740px;color:#a33"
        self._status.value = f'<div style="{style}">{html.escape(self.message)}</div>' if self.message else ""


@contextlib.contextmanager
def _quietly():
    """What warns is in ``.warnings``, and shown below the figure."""
    with warnings.catch_warnings():
        for category in (LimitWarning, DivergenceWarning):
            warnings.simplefilter("ignore", category)
        yield


def _correlation(covariance) -> float | None:
    """rho of an AR(1) covariance, 0 of the identity; None of any other."""
    if isinstance(covariance, AR1):
        return float(covariance.rho)
    if isinstance(covariance, Diagonal) and np.all(covariance.std == 1):
        return 0.0
    return None


class _Picture:
    """A figure of one panel as bytes of a PNG file: of fixed layout, so that it is drawn in less than 0.1 s."""

    def __init__(self, size, **margins):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=size, dpi=80)
        FigureCanvasAgg(self.figure)
        self.axis = self.figure.subplots()
        self.figure.subplots_adjust(**margins)

    def png(self, *shown) -> bytes:
        """The picture of ``shown``, which ``draw`` takes."""
        self.axis.clear()
        self.draw(self.axis, *shown)
        file = io.BytesIO()
        self.figure.savefig(file, format="png", pil_kwargs={"compress_level": 1})
        return file.getvalue()


class _Risk(_Picture):
    """Risk curves against time."""

    def draw(self, axis, curve, runs, kept):
        from matplotlib.ticker import LogFormatterSciNotation

        for old in kept:
            axis.plot(old.t, _positive(old.risk), color="0.6", linewidth=1.2)
        if curve is not None:
            axis.plot(curve.t, _positive(curve.risk), color=COLOURS[0], linewidth=2, label="theory (ODE)")
            title = f"{curve.optimizer!r}, lr {describe_lr(curve.lr)}: R = {curve.risk[-1]:.4g} at the end"
            axis.set_title(title, fontsize=10)
        if runs is not None:
            low, middle, high = map(_positive, runs.quantile((0.1, 0.5, 0.9)))
            axis.fill_between(runs.t, low, high, color=COLOURS[1], alpha=0.2, linewidth=0)
            axis.plot(runs.t, middle, color=COLOURS[1], linewidth=1, label=f"{len(runs)} runs: median, 10-90%")
        axis.set(xlabel="time t = steps / d", ylabel="excess risk R(t)", yscale="log")
        for ticks in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            ticks(LogFormatterSciNotation(minor_thresholds=(1.2, 0.5)))
        axis.grid(alpha=0.25, which="both", linewidth=0.5)
        if curve is not None or runs is not None:
            axis.legend(frameon=False, fontsize=9)


class _Effects(_Picture):
    """The four effects as bars, in units of SGD's; grey where they are not known."""

    def draw(self, axis, found):
        names = ("effective lr", "condition number", "noise level", "noise in stiff modes")
        axis.set_title("four effects, relative to SGD", fontsize=10)
        values = np.ones(4) if found is None else _relative(found)
        lengths = np.log10(np.clip(values, 0.06, 16.0))  # chi is 0 where SGD's noise is infinite
        axis.barh(names, lengths, color=COLOURS[:4], height=0.5)
        for i, value in enumerate(values if found is not None else ()):
            axis.text(np.clip(lengths[i], -1, 1), i - 0.42, f"{value:.3g}", fontsize=9, ha="center", va="center")
        axis.axvline(0, color="0.3", linewidth=0.8)
        axis.set_xticks([-1, -0.5, 0, 0.5, 1], ["0.1", "0.3", "1", "3", "10"], fontsize=8)
        axis.set(xlim=(-1.2, 1.2), ylim=(3.6, -0.7))
        axis.tick_params(axis="y", labelsize=9)


def _relative(found: Effects) -> np.ndarray:
    """The four effects at the end of the curve, each as a ratio to SGD's."""
    pre, rate = found.preconditioning, found.learning_rate
    return np.array([
        rate.effective[-1] / rate.sgd_lr[-1],
        pre.condition_number / pre.sgd_condition_number,
        found.noise_compression.chi[-1],
        found.noise_reshaping.ratio[-1],
    ])  # fmt: skip


def _positive(values):
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def explore(problem: Regression | None = None, optimizers=(), *, lr=0.3, t_max=4.0, n_runs: int = 16) -> Explorer:
    """Sliders that redraw the risk curve and the four effects as they move; for Jupyter.

    Optimizer, learning rate, momentum, batch size and horizon, and for a ``LinearRegression`` the scale of its noise
    and, if its covariance is the identity or AR(1), the correlation. A button adds simulated runs, another keeps the
    curve in the figure. What the sliders are at can be read back: ``.state``, ``.problem``, ``.optimizer``, ``.lr``,
    ``.curve``, ``.effects``, ``.runs``.

    The first curve of a rule takes seconds, the following ones some hundredths of a second; another batch size or
    momentum may take seconds again.

    Args:
        problem: any problem; default 200 AR(1) features of correlation 0.5, Gaussian noise of standard deviation 0.5.
        optimizers: rules of one's own to choose from, beside signSGD, SGD, Signum, Lion, Adam and RMSprop.
        lr: learning rate to begin with, in [0.001, 10].
        t_max: horizon to begin with, in t = steps/d.
        n_runs: runs that the button adds.

    Returns:
        ``Explorer``, which Jupyter shows.

    Raises:
        TypeError, ValueError: naming the argument. ImportError without ipywidgets (``pip install
            "sdelimit[notebooks]"``).
    """
    if problem is None:
        problem = LinearRegression(ar1(200, 0.5), Gaussian(0.5))
    problem = check_problem(problem, (LinearRegression, SingleIndex))
    rules = [as_optimizer(rule) for rule in (optimizers if isinstance(optimizers, list | tuple) else [optimizers])]
    lr = check.real("lr", lr, positive=True)
    if not 1e-3 <= lr <= 10:
        raise ValueError(f"lr must lie in [0.001, 10], got {lr:g}")
    t_max = check.real("t_max", t_max, positive=True)
    n_runs = check.integer("n_runs", n_runs, minimum=1)
    return Explorer(problem, rules, lr, t_max, n_runs)
