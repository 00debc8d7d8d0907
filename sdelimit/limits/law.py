"""The one law of all limits (theory: sections 1, 3, 9 and 11), and what makes it an equation on one problem.

When d is large every rule here moves a few numbers v_i (the state) of each mode i of the problem by

    dv_i = (A0 + sum_p rate_pi A_p) v_i dt + d^(-1/2) dM_i,      d<M_i> = sum_q c_qi B_q dt,

with k x k matrices A0, A_p and B_q that depend on the learning rate eta, on the overlaps
q = sum_i lambda_i E[v_i v_i'] and on a few scalars m that relax, dm/dt = r (target(q) - m). The first entry of v_i is
the mode w_i of theta - theta*, so R = q_00 / 2. Solvers know nothing else of a rule.

A rule states its ``Law``; ``Law.on(problem)`` gives its ``Operators``, the rates and noise matrices that go with the
coefficients there.
"""

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.noise_kernel import kernel_basis
from sdelimit.support import arguments as check

CLOCK = 1e-12
"""Rate at which the scalar t of a law whose coefficients change with time relaxes to 1 / CLOCK: dt/dt = 1 - CLOCK t.

So time is a scalar like any other; where a law settles it is 1 / ``CLOCK``, later than any change.
"""


def operators_of(problem, limit) -> "Operators":
    """``limit.on(problem)``, of a law without its response: so laws share compiled code.

    Raises TypeError if ``limit`` is no law, or one with a single number a mode that is not a ``ScalarLaw``.
    """
    check_law(limit)
    operators = limit.on(problem)
    if operators.law.size == 1 and not isinstance(operators.law, ScalarLaw):
        raise TypeError(f"a law with one number a mode must be a ScalarLaw, got {type(operators.law).__name__}")
    return operators


def check_law(limit) -> None:
    """TypeError if ``limit`` is no law."""
    if not callable(getattr(limit, "on", None)):
        raise TypeError(f"optimizer.limit(problem, batch_size) must return a Law, got {check.describe(limit)}")


def without_memory(limit):
    """``limit.without_memory``; what is no law as it is, for ``operators_of`` to refuse."""
    return getattr(limit, "without_memory", limit)


def reads_overlaps(limit) -> bool:
    """``limit.reads_overlaps``; not of what is no law, for ``operators_of`` to refuse."""
    return getattr(limit, "reads_overlaps", False)


def moment_pairs(size: int) -> list[tuple[int, int]]:
    """The entries (a, b), a <= b, of a symmetric matrix, in the order of the rows of moments and overlaps."""
    return [(a, b) for a in range(size) for b in range(a, size)]


class Law(eqx.Module):
    """How a rule moves the state of every mode; a pytree of its numbers, JAX-traceable.

    Moments Y_i = E[v_i v_i'] and overlaps q = sum_i lambda_i Y_i are arrays with one row for each of
    ``moment_pairs(size)``; k stands for ``size``, s for the number of scalars.

    A law with one number a mode is a ``ScalarLaw``. Where a law with several settles is found for coefficients that see
    the overlaps through the risk q_00 / 2 alone.

    Attributes:
        size: k, how many numbers a mode carries.
        power: p where the drift is preconditioned by M = D^-p; None where M changes with the risk.
        basis: names of the kernels b_q whose noise matrices are N_q = D^(1-p) b_q(Khat) D^(1-p); empty if ``power``
            is None.
        errors: relative standard errors of sampled coefficients, None where they are exact.
        fluctuations: R -> ``Fluctuation``, the part of the spread of R between runs that B_q lacks; None if unknown,
            or before ``with_spread``.
        resolves_memory: whether the law holds for memories comparable to d, from the first step on.
        has_target: whether the last number of a mode is w*_i, the mode of theta*, which stays as it is.
        reads_overlaps: whether coefficients depend on theta' K theta* too (theory: section 20): the risk is then the
            problem's own function of both overlaps, and q_00 / 2 that of least squares.
        reaches_all: whether coefficients that read overlaps are known everywhere, without tables that end.
        rounds: how often coefficients that are rough are computed anew along a curve.
        weight_decay: omega of decoupled decay, the rate at which eta pulls theta to zero; 0 without.
        kurtosis: of the signal over features, where the law accounts for mean steps that fall as it grows; 0 where it
            takes them to be linear.
        needs_fourth_moment: whether the mean risk approaches the limit slowly unless E[eps^4] is finite.
    """

    size: ClassVar[int] = 1
    needs_fourth_moment: ClassVar[bool] = False
    resolves_memory: ClassVar[bool] = False
    has_target: ClassVar[bool] = False
    reads_overlaps: ClassVar[bool] = False
    reaches_all: ClassVar[bool] = False
    rounds: ClassVar[int] = 8
    # Not annotated: fields of some laws, which a dataclass would otherwise order among those of this class.
    errors = None
    fluctuations = None
    kurtosis = 0.0
    weight_decay = 0.0

    @property
    def outputs(self) -> int:
        """How many of a mode's numbers, the first ones, are modes of theta - theta*: one for each column of theta."""
        return 1

    @property
    def risk_rows(self) -> list[int]:
        """The rows of moments that make the risk of least squares, half their sum."""
        pairs = moment_pairs(self.size)
        return [pairs.index((a, a)) for a in range(self.outputs)]

    @property
    def observed_rows(self) -> Float[np.ndarray, " rows"]:
        """The rows of overlaps from which a problem makes its risk, of a law that ``reads_overlaps``."""
        return np.array([0, self.size - 1])

    def known_overlaps(self, rows: Float[np.ndarray, "... k"]) -> Float[np.ndarray, "... k"]:
        """The overlaps in these rows, not a number where the law does not know them."""
        return rows

    def drift(self, eta, q, m) -> tuple[Float[Array, "k k"] | None, Float[Array, "p k k"]]:
        """A0 (None for zero) and A_p."""
        raise NotImplementedError

    def noise(self, eta, q, m) -> Float[Array, "q k k"]:
        """B_q, positive semidefinite."""
        raise NotImplementedError

    def effective_rates(self, q, m) -> Float[Array, " p"]:
        """What a risk curve reports as phi, for each of the rates: the effective learning rate is eta times this."""
        raise NotImplementedError

    def initial_state(self, w0: Float[np.ndarray, " d"], target=None) -> Float[np.ndarray, "k d"]:
        """v_i at t = 0 from the modes of theta_0 - theta*; all but w_i starts at zero unless a law says otherwise.

        ``target`` are the modes of theta* for laws that have them.
        """
        return np.concatenate([w0[None], np.zeros((self.size - 1, w0.size))])

    def initial_scalars(self) -> Float[np.ndarray, " s"]:
        """m(0)."""
        return np.zeros(0)

    def relaxation(self, q) -> tuple[Float[Array, " s"], Float[Array, " s"]]:
        """r and target(q) of dm/dt = r (target - m)."""
        return jnp.zeros(0), jnp.zeros(0)

    def gradient_noise(self, eta, q, m) -> Float[Array, ""]:
        """N of laws with several numbers a mode that know their ``fluctuations``.

        Those are then of gradients: the first kernel is "rho", and its B_q is N f f' with f = ``entry``.
        """
        raise NotImplementedError

    def fluctuations_at(self, R, m):
        """``fluctuations`` at the scalars m."""
        return self.fluctuations(R)

    def with_spread(self) -> "Law":
        """This law with its ``fluctuations``, where they are known but computed when asked for only."""
        return self

    @property
    def has_scalars(self) -> bool:
        """Whether the coefficients depend on more than the overlaps of the moment."""
        return self.initial_scalars().size > 0

    def response(self, risks: tuple[float, float]):
        """How the rule answers features correlated with the residual, between two risks; None if that is not known."""
        return None

    @property
    def responds(self) -> bool:
        """Whether ``response`` is the rule's own, not an estimate."""
        return True

    def with_response(self, risks: tuple[float, float]) -> tuple["Law", Any]:
        """The law and the response of which the equations of correlated features are made; None if not known."""
        short = self.without_memory
        return short, short.response(risks) if short.power == 1 and short.responds else None

    @property
    def response_remembers(self) -> bool:
        """Whether that response holds for memories comparable to d, from the first step on."""
        return False

    @property
    def gradient_batch(self) -> int | None:
        """b if steps are linear in the gradients of batches of b, so that ``step`` is exact (theory: section 15)."""
        return None

    def step(self, g, t) -> "LinearStep":
        """One step theta <- theta - g u at time t, of laws with a ``gradient_batch``."""
        raise NotImplementedError

    @property
    def linear_in_gradient(self) -> bool:
        """Whether steps are linear in the gradients, so that what is added to them has a limit."""
        return self.gradient_batch is not None

    def entry(self, eta, q, m) -> Float[Array, " k"]:
        """f: what a unit of gradient adds to the state in unit time."""
        return self.drift(eta, q, m)[1][0, :, 0]

    def settled_gain(self, eta: float, decay: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
        """Weight of a gradient in all updates of each mode once the law has settled, with a ``gradient_batch``."""
        return np.ones_like(decay)

    def stability_edge(self, decay: Float[np.ndarray, " d"], d: int, t: float) -> float:
        """The learning rate from which on the risk grows without bounds; infinite if none is known.

        Where coefficients change with time the larger of that at ``t`` and where they settle. Asked of laws with
        several numbers a mode; for one number a mode the coefficients tell.
        """
        return np.inf

    def risk_noise(self, eta, q, m) -> Float[Array, " q"]:
        """b_q of what noise adds to w_i in unit time from the start: a size, for tolerances."""
        return self.noise(eta, q, m)[:, 0, 0]

    def faded(self) -> tuple["ScalarLaw", float] | None:
        """The law of w alone where all else follows at once, and the rate at which it does; None if it may not."""
        return None

    @property
    def nonlinearity(self) -> float:
        """n with |G(r) / (c r) - 1| <= min(1, n r^2) about, G the mean update at the correlation r; 0 if linear."""
        return 0.0

    def saturation(self, q, m) -> Float[Array, ""]:
        """The signal in what a rule averages, over its noise."""
        return jnp.zeros(())

    def widened(self, largest: float) -> "Law":
        """This law, or one whose tables reach to q_00 = ``largest``^2."""
        return self

    @property
    def undecayed(self) -> "Law":
        """The law of the same rule without decoupled weight decay."""
        return self

    @property
    def without_memory(self) -> "Law":
        """The law of the same rule where its memory is short and has lasted for ever."""
        return self

    def on(self, problem) -> "Operators":
        """The law on ``problem``."""
        return PowerOperators(self, problem.covariance.std)


class LinearStep(NamedTuple):
    """v_i <- (constant + lambda_i linear) v_i + kick nu_i: one step of a rule that is linear in the gradient.

    The gradient is lambda_i w_i + nu_i in mode i, nu_i its noise.
    """

    constant: Float[Array, "k k"]
    linear: Float[Array, "k k"]
    kick: Float[Array, " k"]


class ScalarLaw(Law):
    """A law with one number for each mode, in proportion to the learning rate (theory: sections 1 and 9):

        dw_i = -eta sum_p a_p rate_pi w_i dt + eta sqrt(1/d) dM_i,      d<M_i> = sum_q b_q c_qi dt,

    where the coefficients a_p and b_q depend on the risk R and on the scalars m.
    """

    def drift_coefficients(self, R, m) -> Float[Array, " p"]:
        """a_p."""
        raise NotImplementedError

    def noise_coefficients(self, R, m) -> Float[Array, " q"]:
        """b_q."""
        raise NotImplementedError

    def gradient_noise(self, eta, q, m):
        return self.noise_coefficients(q[0] / 2, m)[0]

    def drift(self, eta, q, m):
        return None, -eta * self.drift_coefficients(q[0] / 2, m)[:, None, None]

    def noise(self, eta, q, m):
        return eta**2 * self.noise_coefficients(q[0] / 2, m)[:, None, None]

    def effective_rates(self, q, m):
        return self.drift_coefficients(q[0] / 2, m)


class Operators:
    """What a law acts with on one problem: Phi = sum_p a_p M_p and N = sum_q b_q N_q (theory: sections 1 and 9).

    Attributes:
        law: the coefficients.
        key: what identifies the arrays among all limits on the same problem.
    """

    law: Law
    key: tuple

    def of_law(self, change) -> "Operators":
        """The same of the law ``change(law)``."""
        raise NotImplementedError

    def preconditioners(self) -> Float[np.ndarray, "p d"]:
        """The diagonals of M_p."""
        raise NotImplementedError

    def noise_diagonals(self) -> Float[np.ndarray, "q d"]:
        """The diagonals of N_q."""
        raise NotImplementedError

    def noise_matrices(self, khat: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "q d d"]:
        """N_q, for the correlation matrix ``khat``."""
        raise NotImplementedError


class PowerOperators(Operators):
    """M = D^-p and N_q = D^(1-p) b_q(Khat) D^(1-p), whatever the risk."""

    def __init__(self, law: Law, std: Float[np.ndarray, " d"]):
        self.law, self.std, self.key = law, std, (law.power, law.basis)

    def of_law(self, change):
        return PowerOperators(change(self.law), self.std)

    def preconditioners(self):
        return (np.ones_like(self.std) if self.law.power == 0 else 1 / self.std**self.law.power)[None]

    def noise_diagonals(self):
        return np.stack([self.std ** (2 - 2 * self.law.power)] * len(self.law.basis))

    def noise_matrices(self, khat):
        outer = self.std ** (1 - self.law.power)
        return np.stack([kernel_basis(name, khat) * outer[:, None] * outer[None, :] for name in self.law.basis])
