"""The modes of covariances with structure, without (d, d) matrices (theory: section 3).

``structured_modes`` gives, for S = D^(-p/2) K D^(-p/2) = Q diag(lambda) Q',

    lambda,    w = Q' D^(p/2) delta,    c_q = diag(Q' D^(1-p/2) b_q(Khat) D^(1-p/2) Q)

for one or several vectors delta, those that a law follows.

| covariance | how | work |
|---|---|---|
| diagonal | Q = I | d |
| block | each block by itself | that of its blocks |
| AR(1), also times a constant | sines, see ``modes/ar1.py`` | d log d |
| spiked, also times a constant | Rayleigh-Ritz and a narrow bulk, see ``modes/spiked.py`` | d k^2 |
| anything else | eigenvectors of the (d, d) matrix | d^3 |

AR(1) rescaled coordinate by coordinate is among the rest: S^-1 is tridiagonal, but d eigenvectors are needed for c_q.
"""

from functools import singledispatch
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sdelimit.covariance.ar1 import AR1
from sdelimit.covariance.base import Covariance, Scaled
from sdelimit.covariance.block import Block
from sdelimit.covariance.diagonal import Diagonal
from sdelimit.covariance.spiked import Spiked
from sdelimit.modes import ar1, dense, spiked


class ModeArrays(NamedTuple):
    """lambda_i, (d,), w_i of every vector, (v, d), and c_qi, (p, d)."""

    decay: Float[np.ndarray, " d"]
    w: Float[np.ndarray, "v d"]
    forcing: Float[np.ndarray, "p d"]


@singledispatch
def structured_modes(
    covariance: Covariance, power: int, basis: tuple[str, ...], vectors: Float[np.ndarray, "v d"]
) -> ModeArrays | None:
    """The modes for M = D^-power and the kernels ``basis``; None if only the (d, d) matrix gives them."""
    return None


def in_eigenvectors(covariance, power, basis, vectors, decay, Q) -> ModeArrays:
    """The modes from lambda and Q."""
    w = np.stack([Q.T @ (covariance.std ** (power / 2) * v) for v in vectors])
    return ModeArrays(decay, w, dense.forcing_of(covariance, power, basis, Q))


@structured_modes.register
def _diagonal(covariance: Diagonal, power, basis, vectors):
    decay = covariance.std ** (2 - power)
    return ModeArrays(decay, covariance.std ** (power / 2) * vectors, np.stack([decay] * len(basis)))


@structured_modes.register
def _block(covariance: Block, power, basis, vectors):
    """Blocks are coupled through the risk only: Khat is zero between them, and so is b(Khat)."""
    parts = np.split(vectors, np.cumsum([block.d for block in covariance.blocks])[:-1], axis=1)
    each = [_of_block(block, power, basis, part) for block, part in zip(covariance.blocks, parts, strict=True)]
    return ModeArrays(*(np.concatenate(arrays, axis=-1) for arrays in zip(*each, strict=True)))


def _of_block(block, power, basis, vectors):
    found = structured_modes(block, power, basis, vectors)
    return found or in_eigenvectors(block, power, basis, vectors, *dense.eigenpairs(block, power))


@structured_modes.register
def _ar1_modes(covariance: AR1, power, basis, vectors):
    rho = float(covariance.rho)
    sines = ar1.sines(covariance.d, abs(rho))
    forcing = np.stack([ar1.forcing(sines, abs(rho), name) for name in basis])
    return ModeArrays(sines.eigenvalues, np.stack([ar1.coordinates(sines, rho, v) for v in vectors]), forcing)


@structured_modes.register
def _spiked_modes(covariance: Spiked, power, basis, vectors):
    if not spiked.is_accurate(covariance, power, basis):
        return None
    return ModeArrays(*spiked.modes(covariance, power, basis, vectors))


@structured_modes.register
def _scaled(covariance: Scaled, power, basis, vectors):
    base, s = covariance.base, covariance.s
    if np.all(s == s[0]):  # S and D^(1-p/2) b(Khat) D^(1-p/2) are s^(2-p) times those of the base
        found = structured_modes(base, power, basis, vectors)
        if found is None:
            return None
        decay, w, forcing = found
        return ModeArrays(decay * s[0] ** (2 - power), w * s[0] ** (power / 2), forcing * s[0] ** (2 - power))
    if isinstance(base, Block):
        parts = np.split(s, np.cumsum([block.d for block in base.blocks])[:-1])
        blocks = tuple(block.scaled(part) for block, part in zip(base.blocks, parts, strict=True))
        return structured_modes(Block(blocks), power, basis, vectors)
    return None
