"""The four effects on one problem, each with its numbers, table and figure (theory: section 5)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from sdelimit.results.text import align
from sdelimit.support.brief import brief_fields

ROWS = 8


@dataclass(frozen=True, eq=False)
class EffectiveLearningRate:
    """Effective learning rate eta a(R), a(R)^2 = tr(Phi K Phi) / tr K: the learning rate of SGD with the same drift.

    For a rule with M = D^-1 it is eta phi(R) / sqrt(mean of sigma_i^2), so eta phi(R) for coordinates of unit
    mean square; for M = I it is eta phi(R).

    Attributes:
        t, risk: (n,) times and risks along the rule's curve.
        lr: (n,) eta.
        phi: (n,) the rule's own drift coefficient (for a scale-dependent rule, the mean over coordinates).
        factor: (n,) a(R).
        sgd_lr: (n,) the learning rate of the SGD it is compared with.
        at: function of a risk R > 0, number or array, that gives a(R).
    """

    t: Float[np.ndarray, " n"]
    risk: Float[np.ndarray, " n"]
    lr: Float[np.ndarray, " n"]
    phi: Float[np.ndarray, " n"]
    factor: Float[np.ndarray, " n"]
    sgd_lr: Float[np.ndarray, " n"]
    at: Callable = field(repr=False)

    __repr__ = brief_fields

    @property
    def effective(self) -> Float[np.ndarray, " n"]:
        """eta a(R)."""
        return self.lr * self.factor

    def table(self) -> str:
        """A few times as an aligned text table."""
        columns = {"eta": self.lr, "phi(R)": self.phi, "effective lr": self.effective, "SGD's lr": self.sgd_lr}
        return "effective learning rate\n" + _along(self, columns)

    def plot(self, path=None):
        """Figure: effective learning rate against time, next to SGD's."""
        from sdelimit.analysis.effects.plot import plot_part

        return plot_part("learning_rate", self, path)


@dataclass(frozen=True, eq=False)
class NoiseCompression:
    """chi(R): the trace of the noise covariance at matched drift, relative to SGD's.

        chi = tr N / (a(R)^2 (2P/b) tr K),      = kappa(1; R) / (phi(R)^2 2P/b) for M = D^-1.

    Below 1 the rule is quieter than SGD, above 1 noisier; 0 if the label noise has infinite variance.

    Attributes:
        t, risk: (n,) times and risks along the rule's curve.
        chi: (n,) chi(R).
        matched_noise: (n,) tr N / (a^2 tr K), finite whatever the noise.
        sgd_noise: (n,) 2P(R)/b.
        at: function of a risk R > 0, number or array, that gives chi(R).
    """

    t: Float[np.ndarray, " n"]
    risk: Float[np.ndarray, " n"]
    chi: Float[np.ndarray, " n"]
    matched_noise: Float[np.ndarray, " n"]
    sgd_noise: Float[np.ndarray, " n"]
    at: Callable = field(repr=False)

    __repr__ = brief_fields

    def table(self) -> str:
        """A few times as an aligned text table."""
        columns = {"SGD 2P/b": self.sgd_noise, "matched noise": self.matched_noise, "chi(R)": self.chi}
        return "noise compression\n" + _along(self, columns)

    def plot(self, path=None):
        """Figure: chi against the risk along the curve."""
        from sdelimit.analysis.effects.plot import plot_part

        return plot_part("noise_compression", self, path)


@dataclass(frozen=True, eq=False)
class Preconditioning:
    """Mhat = Phi / a(R), diagonal with tr(Mhat K Mhat) = tr K, and what it does to the decay rates of the modes.

    Attributes:
        risk: the risk at which Mhat is taken (it does not depend on R for scale-free rules).
        preconditioner: (d,) diagonal of Mhat.
        sgd_spectrum: (d,) eigenvalues of K, ascending.
        spectrum: (d,) eigenvalues of Mhat^1/2 K Mhat^1/2 (for M = D^-1, S up to a constant), ascending.
    """

    risk: float
    preconditioner: Float[np.ndarray, " d"]
    sgd_spectrum: Float[np.ndarray, " d"]
    spectrum: Float[np.ndarray, " d"]

    __repr__ = brief_fields

    @property
    def sgd_condition_number(self) -> float:
        """Largest over smallest eigenvalue of K; infinite if K is singular."""
        return _condition(self.sgd_spectrum)

    @property
    def condition_number(self) -> float:
        """The same, preconditioned."""
        return _condition(self.spectrum)

    @property
    def sgd_rates(self) -> Float[np.ndarray, " d"]:
        """Eigenvalues of K divided by their mean: decay rates of the modes where the mean rate is 1."""
        return self.sgd_spectrum / self.sgd_spectrum.mean()

    @property
    def rates(self) -> Float[np.ndarray, " d"]:
        """The same, preconditioned."""
        return self.spectrum / self.spectrum.mean()

    def table(self) -> str:
        """Condition numbers and mean-normalized rates as an aligned text table."""
        pairs = {"condition number": (self.sgd_condition_number, self.condition_number)}
        for label, q in (("slowest", 0.0), ("10% of modes slower than", 0.1), ("median", 0.5), ("fastest", 1.0)):
            pairs[f"rate / mean rate, {label}"] = np.quantile(self.sgd_rates, q), np.quantile(self.rates, q)
        rows = [(name, f"{sgd:.4g}", f"{rule:.4g}", _ratio(rule, sgd)) for name, (sgd, rule) in pairs.items()]
        return "preconditioning\n" + align([("", "SGD (K)", "preconditioned", "ratio"), *rows])

    def plot(self, path=None):
        """Figure: mean-normalized decay rates of the modes, with and without."""
        from sdelimit.analysis.effects.plot import plot_part

        return plot_part("preconditioning", self, path)


@dataclass(frozen=True, eq=False)
class NoiseReshaping:
    """Where the noise lands: [tr(K N) / tr N] / [tr(K^2) / tr K], the noise's effect on the risk per unit of trace.

    Below 1 the rule's noise avoids the directions in which the risk is sharp. For a rule without memory tr(K N)/tr N
    is its directional sharpness. For one with memory N sums over lags, ``directional_sharpness`` does not.

    Attributes:
        t, risk: (n,) times and risks along the rule's curve.
        ratio: (n,) the trace ratio.
        spectrum_risk: the risk at which spectra are taken.
        sgd_spectrum: (d,) eigenvalues of K / (tr K / d), ascending.
        spectrum: (d,) eigenvalues of N / (tr N / d), ascending.
        at: function of a risk R > 0, number or array, that gives the ratio.
    """

    t: Float[np.ndarray, " n"]
    risk: Float[np.ndarray, " n"]
    ratio: Float[np.ndarray, " n"]
    spectrum_risk: float
    sgd_spectrum: Float[np.ndarray, " d"]
    spectrum: Float[np.ndarray, " d"]
    at: Callable = field(repr=False)

    __repr__ = brief_fields

    def table(self) -> str:
        """A few times, and the largest eigenvalues, as aligned text tables."""
        rows = [("largest eigenvalue / mean", f"{self.sgd_spectrum[-1]:.4g}", f"{self.spectrum[-1]:.4g}")]
        rows.append(("smallest eigenvalue / mean", f"{self.sgd_spectrum[0]:.4g}", f"{self.spectrum[0]:.4g}"))
        spectra = align([("", "SGD (K)", "rule (N)"), *rows])
        return "noise reshaping\n" + _along(self, {"trace ratio": self.ratio}) + "\n\n" + spectra

    def plot(self, path=None):
        """Figure: mean-normalized spectra of the noise covariances."""
        from sdelimit.analysis.effects.plot import plot_part

        return plot_part("noise_reshaping", self, path)


def _along(part, columns):
    """Columns at a few times of a curve."""
    some = np.unique(np.linspace(0, part.t.size - 1, ROWS).astype(int))
    columns = {"t": part.t, "R": part.risk, **columns}
    return align([tuple(columns), *[tuple(f"{values[i]:.4g}" for values in columns.values()) for i in some]])


def _condition(spectrum):
    """Eigenvalues below rounding error of the largest count as zero."""
    low, high = spectrum[0], spectrum[-1]
    return float(high / low) if low > spectrum.size * np.finfo(float).eps * high else np.inf


def _ratio(a, b):
    return f"{a / b:.4g}" if np.isfinite(a) and np.isfinite(b) and b > 0 else "-"
