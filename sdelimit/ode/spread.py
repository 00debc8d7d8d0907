"""The spread of single runs around the mean curve, without sampling (theory: section 18).

A run's products v_i v_i' and scalars m obey the equation dy/dt = F(t, y) of their means, with noise of order d^-1/2
added. So deviations from the mean grow by its Jacobian, and with p(t) = dR/dy and

    -dp/ds = (dF/dy)' p,      Var R(t) = int_0^t p' N p ds,

where p' N p ds is the variance of p' dy in a time ds: with P_i = dp/dv_i, so that P_i v_i multiplies the noise of v_i,

    p' N p = (1/d) sum_q sum_ij N_q,ij tr(B_q P_j E[v_j v_i'] P_i) + (what ``Law.fluctuations`` adds).

The terms i = j need O(d) numbers; ``exact`` adds the others, which need d x d matrices. F couples modes through the
overlaps and scalars alone, so that over a step, with coefficients held at its middle, p of each mode has a closed form.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sdelimit.limits.law import Law, moment_pairs
from sdelimit.numerics.jit import jit
from sdelimit.numerics.matrices import exponentials
from sdelimit.ode.modes import ModeSystem

REACH = 0.25
"""Largest decay in the pieces from which steps are made by doubling."""
MOST_DOUBLINGS = 60


class Along(NamedTuple):
    """The mean solution over one step from ``t`` to ``t + h``.

    Attributes:
        h, eta: length of the step; the learning rate in its middle.
        Y: mean moments E[v_i v_i'], one row for each of ``moment_pairs``.
        m: mean scalars.
        beside: for laws of two overlaps, the covariance of (step along w, along w*, length) that single runs have
            beside the noise matrices; None for other laws, which know theirs.
    """

    h: Float[Array, ""]
    eta: Float[Array, ""]
    Y: Float[Array, "n d"]
    m: Float[Array, " s"]
    beside: Float[Array, "3 3"] | None = None


class Propagator(NamedTuple):
    """What a step of length h does to dR/dY of one mode, p, under a constant source lambda_i gamma.

    With Phi(u) = exp(G' u), G the Jacobian at fixed overlaps, phi = int_0^h Phi and chi = int_0^h int_0^u Phi,
    p -> Phi p + lambda phi gamma, and the integral of p is phi p + lambda chi gamma; that of p' N p is
    p' W p + 2 lambda p' X gamma + lambda^2 gamma' Z gamma. All are (n, n, d).
    """

    Phi: Float[Array, "n n d"]
    phi: Float[Array, "n n d"]
    chi: Float[Array, "n n d"]
    W: Float[Array, "n n d"]
    X: Float[Array, "n n d"]
    Z: Float[Array, "n n d"]


def matrix_of(rows: Float[Array, "*b n d"], size: int):
    """Symmetric matrices by entries, from one row for each of ``moment_pairs``: a list of lists of (*b, d)."""
    entry = {pair: rows[..., i, :] for i, pair in enumerate(moment_pairs(size))}
    return [[entry[min(a, b), max(a, b)] for b in range(size)] for a in range(size)]


def cotangent_matrix(p: Float[Array, "*b n d"], size: int):
    """P_i with p' d(v v') = v' P_i dv + dv' P_i v for symmetric P_i: entry (a, b) of p, twice the diagonal ones."""
    P = matrix_of(p, size)
    return [[P[a][b] * (2 if a == b else 1) for b in range(size)] for a in range(size)]


def _product(a, b):
    """a b of small matrices with modes along the last axis."""
    return jnp.sum(a[:, :, None] * b[None], axis=1)


def _transpose(a):
    return jnp.swapaxes(a, 0, 1)


def _applied(a: Float[Array, "e f d"], p: Float[Array, "o f d"]):
    """a p, a sum of products entry by entry, which XLA fuses as it does not a contraction of a few numbers a mode."""
    return jnp.stack([sum(a[e, f] * p[:, f] for f in range(a.shape[1])) for e in range(a.shape[0])], axis=1)


def propagator(generator: Float[Array, "n n d"], noise: Float[Array, "n n d"], h) -> Propagator:
    """Over a step h, of dp/du = ``generator`` p + lambda gamma and the quadratic form ``noise``, by doubling."""
    size = jnp.max(jnp.sum(jnp.abs(generator), axis=1)) * h
    doublings = jnp.clip(jnp.ceil(jnp.log2(jnp.maximum(size / REACH, 1.0))), 0, MOST_DOUBLINGS).astype(jnp.int32)
    tau = h / 2.0**doublings
    identity = jnp.broadcast_to(jnp.eye(generator.shape[0])[:, :, None], generator.shape)

    def series(u):
        """Phi, phi and chi at u, to rounding for u |G| <= ``REACH``."""
        term, sums = identity, [jnp.zeros_like(generator)] * 3
        for j in range(1, 12):
            scale = 1 / j, 1 / (j * (j + 1))
            sums = [sums[0] + term, sums[1] + u * scale[0] * term, sums[2] + u**2 * scale[1] * term]
            term = _product(generator, term) * (u / j)
        return sums

    first, middle, last = (identity, jnp.zeros_like(identity), None), series(tau / 2), series(tau)
    W = X = Z = 0.0
    for weight, (Phi, phi, _) in ((1 / 6, first), (4 / 6, middle), (1 / 6, last)):
        kept, made = _product(noise, Phi), _product(noise, phi)
        W = W + weight * tau * _product(_transpose(Phi), kept)
        X = X + weight * tau * _product(_transpose(Phi), made)
        Z = Z + weight * tau * _product(_transpose(phi), made)

    def double(i, now):
        tau, (Phi, phi, chi, W, X, Z) = now
        W_phi = _product(W, phi)
        cross = _product(_transpose(phi), X)
        later = Propagator(
            Phi=_product(Phi, Phi),
            phi=phi + _product(Phi, phi),
            chi=chi + tau * phi + _product(Phi, chi),
            W=W + _product(_transpose(Phi), _product(W, Phi)),
            X=X + _product(_transpose(Phi), W_phi + X),
            Z=2 * Z + _product(_transpose(phi), W_phi) + cross + _transpose(cross),
        )
        return 2 * tau, later

    return jax.lax.fori_loop(0, doublings, double, (tau, Propagator(*last, W, X, Z)))[1]


def _generators(system, along, q):
    """G_i, k x k by entries."""
    constant, linear = system.law.drift(along.eta, q, along.m)
    rates, k = jnp.asarray(system.rates), system.law.size
    G = [[linear[:, a, b] @ rates for b in range(k)] for a in range(k)]
    return G if constant is None else [[G[a][b] + constant[a, b] for b in range(k)] for a in range(k)]


def _slopes(system, along, qm):
    """dY_i/dt at given overlaps and scalars, (n, d)."""
    k, q, m = system.law.size, *qm
    at = along._replace(m=m)
    G, noise, Y = _generators(system, at, q), system.law.noise(along.eta, q, m), matrix_of(along.Y, k)

    def slope(a, b):
        moved = sum(G[a][c] * Y[c][b] + G[b][c] * Y[a][c] for c in range(k))
        return moved + noise[:, a, b] @ jnp.asarray(system.forcing)

    return jnp.stack([slope(a, b) for a, b in moment_pairs(k)])


def _overlaps(system, Y):
    q = Y @ jnp.asarray(system.decay)
    return q.at[0].set(2 * system.positive(q[0] / 2))


def _own_part(system, G):
    """The transpose of Y -> G Y + Y G' in rows of ``moment_pairs``, (n, n, d)."""
    k, pairs = system.law.size, moment_pairs(system.law.size)
    zero = jnp.zeros_like(G[0][0])
    columns = []
    for e in pairs:
        unit = [[1.0 * ((min(a, b), max(a, b)) == e) for b in range(k)] for a in range(k)]
        columns.append(
            jnp.stack([zero + sum(G[a][c] * unit[c][b] + G[b][c] * unit[a][c] for c in range(k)) for a, b in pairs])
        )
    return jnp.stack(columns)


def _noise_form(system, along, q):
    """The terms i = j of p' N p: a symmetric (n, n) form for each mode."""
    k, pairs = system.law.size, moment_pairs(system.law.size)
    N = jnp.einsum("qab,qd->abd", system.law.noise(along.eta, q, along.m), jnp.asarray(system.forcing))
    Y = matrix_of(along.Y, k)
    Y = jnp.stack([jnp.stack(row) for row in Y])
    unit = np.zeros((len(pairs), k, k))
    for i, (a, b) in enumerate(pairs):
        unit[i, a, b] += 1
        unit[i, b, a] += 1
    form = jnp.einsum("eab,bcd,fcg,gad->efd", unit, N, unit, Y)
    return (form + _transpose(form)) / 2


def _beside(system, law: Law, along, q, d):
    """(L, A): what single runs have beside the noise matrices, L' A L with L_r = sum_i L_ri p_i; None if nothing."""
    decay, k = jnp.asarray(system.decay), law.size
    Y, pairs = matrix_of(along.Y, k), moment_pairs(k)

    def moved(a, b=0):
        """What a step of v_ai by lambda_i v_bi, or by lambda_i w_i, does to the moments."""
        return jnp.stack([decay * ((a == e) * Y[f][b] + (a == f) * Y[e][b]) for e, f in pairs])

    if along.beside is not None:
        added = law.noise(along.eta, q, along.m)[:, 0, 0] @ jnp.asarray(system.forcing)
        L = jnp.stack([moved(0), moved(0, k - 1), jnp.zeros_like(along.Y).at[0].set(added)])
        scale = jnp.stack([-along.eta, -along.eta, jnp.ones_like(along.eta)])
        return L, scale[:, None] * scale * along.beside / d
    if law.reads_overlaps or law.fluctuations is None:
        return None
    gamma, length_variance, coupling = law.undecayed.fluctuations_at(q[0] / 2, along.m)
    noise, forcing = law.noise(along.eta, q, along.m), jnp.asarray(system.forcing)
    if k - law.has_target == 1:
        kick, added = jnp.zeros(k).at[0].set(along.eta), jnp.zeros_like(along.Y).at[0].set(noise[:, 0, 0] @ forcing)
    else:
        kick, added = -law.entry(along.eta, q, along.m), jnp.stack([noise[0, a, b] * forcing[0] for a, b in pairs])
    A = jnp.zeros((k + 1, k + 1)).at[:k, :k].set(gamma * jnp.outer(kick, kick))
    A = A.at[:k, k].set(-coupling * kick).at[k, :k].set(-coupling * kick).at[k, k].set(length_variance)
    return jnp.stack([*(moved(a) for a in range(k)), added]), A / d


def _of_parabola(A, start, end, mean):
    """int_0^1 L' A L of the parabola L with given ends and mean."""
    bend = 6 * (mean - (start + end) / 2)
    form = lambda x, y: jnp.einsum("or,rs,os->o", x, A, y)  # noqa: E731
    ends = (form(start, start) + form(start, end) + form(end, end)) / 3
    return ends + form(start + end, bend) / 6 + form(bend, bend) / 30


def _mean_decay(x):
    """(1 - exp(-x)) / x and (x - 1 + exp(-x)) / x^2."""
    small = x < 1e-3
    safe = jnp.where(small, 1.0, x)
    first = jnp.where(small, 1 - x / 2 + x**2 / 6, -jnp.expm1(-safe) / safe)
    return first, jnp.where(small, 0.5 - x / 6, (1 - first) / safe)


@jit
def spread_of_risk(system: ModeSystem, d, along: Along, starts, slopes, exact):
    """Var R at the ends of the steps ``starts`` (out,), (out,), and (steps, out, n, d) means of p where ``exact``.

    ``slopes`` (out, n) are the derivatives of R in the overlaps there. ``along`` has a leading axis of steps. Steps
    are taken backwards; output o starts at the end of step ``starts[o]``.
    """
    law, decay = system.law, jnp.asarray(system.decay)
    n, modes, scalars = along.Y.shape[1], decay.shape[0], along.m.shape[1]
    outputs = starts.shape[0]
    first = slopes[:, :, None] * decay

    def step(carry, inputs):
        index, along = inputs
        p, mu, variance = carry
        p = jnp.where((starts == index)[:, None, None], first, p)
        h, q = along.h, _overlaps(system, along.Y)
        own = _own_part(system, _generators(system, along, q))
        move = propagator(own, _noise_form(system, along, q), h)
        U, V = jax.jacfwd(lambda qm: _slopes(system, along, qm))((q, along.m))
        rate, _ = law.relaxation(q)
        T = jax.jacfwd(lambda q: law.relaxation(q)[0] * (law.relaxation(q)[1] - along.m))(q)
        once, twice = _mean_decay(rate * h)
        # Sources that are constant over the step: gamma of p, from p itself and from the scalars, nu of the scalars.
        free = _applied(move.phi, p) / h
        made = move.chi * decay / h
        gamma_free, nu_free = jnp.einsum("eda,oed->oa", U, free), jnp.einsum("eds,oed->os", V, free)
        gamma_made, nu_made = jnp.einsum("eda,efd->af", U, made), jnp.einsum("eds,efd->sf", V, made)
        system_of_gamma = jnp.eye(n) - gamma_made - T.T @ ((h * twice)[:, None] * nu_made)
        gamma = jnp.linalg.solve(system_of_gamma, (gamma_free + (once * mu + h * twice * nu_free) @ T).T).T
        nu = nu_free + gamma @ nu_made.T
        mean = free + _applied(made, gamma[..., None])
        end = _applied(move.Phi, p) + _applied(move.phi * decay, gamma[..., None])
        across = _applied(move.W, p) + 2 * _applied(move.X * decay, gamma[..., None])
        added = jnp.sum(p * across, axis=(1, 2))
        added += jnp.einsum("oe,ef,of->o", gamma, move.Z @ decay**2, gamma)
        beside = _beside(system, law, along, q, d)
        if beside is not None:
            L, A = beside
            at = [jnp.einsum("red,oed->or", L, x) for x in (p, end, mean)]
            added += h * _of_parabola(A, *at)
        mu = jnp.exp(-rate * h) * mu + h * once * nu
        return (end, mu, variance + added), mean if exact else None

    start = jnp.zeros((outputs, n, modes)), jnp.zeros((outputs, scalars)), jnp.zeros(outputs)
    inputs = jnp.arange(along.h.shape[0]), along
    (_, _, variance), means = jax.lax.scan(step, start, inputs, reverse=True)
    return variance, means


@jit
def spread_between_modes(system: ModeSystem, v0, along: Along, matrices, means):
    """The terms i != j of int p' N p ds from the means of p over steps, (out,).

    The moments E[v_i v_j'] follow their own linear equation, with the coefficients of the mean solution; ``matrices``
    are the N_q in the modes over d, (q, d, d).
    """
    law, k = system.law, system.law.size
    apart = ~jnp.eye(v0.shape[1], dtype=bool)

    def step(carry, inputs):
        V, variance = carry
        along, p = inputs
        q, h = _overlaps(system, along.Y), along.h
        G = _generators(system, along, q)
        half = exponentials(jnp.moveaxis(jnp.stack([jnp.stack(row) for row in G]), -1, 0) * h / 2)
        noise = jnp.einsum("qab,qij->abij", law.noise(along.eta, q, along.m), matrices)

        def move(V):
            return jnp.einsum("iac,jbe,ceij->abij", half, half, V)

        middle = move(V) + noise * h / 2
        P = cotangent_matrix(p, k)
        P = jnp.stack([jnp.stack(row) for row in P])  # (k, k, out, d)
        form = 0.0
        for a in range(k):  # tr(B P_j V_ji P_i): noise of v_a and v_b, moments of v_c and v_e
            for b in range(k):
                for c in range(k):
                    for e in range(k):
                        pairs = jnp.where(apart, noise[a, b] * middle[c, e], 0.0)
                        form += jnp.sum((P[a, c] @ pairs) * P[b, e], axis=-1)
        return (move(move(V) + noise * h), variance + h * form), None

    V = jnp.einsum("ai,bj->abij", v0, v0)
    (_, variance), _ = jax.lax.scan(step, (V, jnp.zeros(means.shape[1])), (along, means))
    return variance
