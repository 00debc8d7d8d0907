"""The modes of covariances with structure, without (d, d) matrices (theory: section 3).

``structured_modes`` gives, for S = D^(-p/2) K D^(-p/2) = Q diag(lambda) Q',

    lambda,    w0 = Q' D^(p/2) delta0,    c_q = diag(Q' D^(1-p/2) b_q(Khat) D^(1-p/2) Q).

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
    """lambda_i and w_i(0), (d,), and c_qi, (p, d)."""

    decay: Float[np.ndarray, " d"]
    w0: Float[np.ndarray, " d"]
    forcing: Float[np.ndarray, "p d"]


@singledispatch
def structured_modes(
    covariance: Covariance, power: int, basis: tuple[str, ...], delta0: Float[np.ndarray, " d"]
) -> ModeArrays | None:
    """The modes for M = D^-power and the kernels ``basis``; None if only the (d, d) matrix gives them."""
    return None


def in_eigenvectors(covariance, power, basis, delta0, decay, vectors) -> ModeArrays:
    """The modes from lambda and Q."""
    w0 = vectors.T @ (covariance.std ** (power / 2) * delta0)
    return ModeArrays(decay, w0, dense.forcing_of(covariance, power, basis, vectors))


@structured_modes.register
def _diagonal(covariance: Diagonal, power, basis, delta0):
    decay = covariance.std ** (2 - power)
    return ModeArrays(decay, covariance.std ** (power / 2) * delta0, np.stack([decay] * len(basis)))


@structured_modes.register
def _block(covariance: Block, power, basis, delta0):
    """Blocks are coupled through the risk only: Khat is zero between them, and so is b(Khat)."""
    parts = np.split(delta0, np.cumsum([block.d for block in covariance.blocks])[:-1])
    each = [_of_block(block, power, basis, part) for block, part in zip(covariance.blocks, parts, strict=True)]
    return ModeArrays(*(np.concatenate(arrays, axis=-1) for arrays in zip(*each, strict=True)))


def _of_block(block, power, basis, delta0):
    found = structured_modes(block, power, basis, delta0)
    return found or in_eigenvectors(block, power, basis, delta0, *dense.eigenpairs(block, power))


@structured_modes.register
def _ar1_modes(covariance: AR1, power, basis, delta0):
    rho = float(covariance.rho)
    sines = ar1.sines(covariance.d, abs(rho))
    forcing = np.stack([ar1.forcing(sines, abs(rho), name) for name in basis])
    return ModeArrays(sines.eigenvalues, ar1.coordinates(sines, rho, delta0), forcing)


@structured_modes.register
def _spiked_modes(covariance: Spiked, power, basis, delta0):
    if not spiked.is_accurate(covariance, power, basis):
        return None
    return ModeArrays(*spiked.modes(covariance, power, basis, delta0))


@structured_modes.register
def _scaled(covariance: Scaled, power, basis, delta0):
    base, s = covariance.base, covariance.s
    if np.all(s == s[0]):  # S and D^(1-p/2) b(Khat) D^(1-p/2) are s^(2-p) times those of the base
        found = structured_modes(base, power, basis, delta0)
        if found is None:
            return None
        decay, w0, forcing = found
        return ModeArrays(decay * s[0] ** (2 - power), w0 * s[0] ** (power / 2), forcing * s[0] ** (2 - power))
    if isinstance(base, Block):
        parts = np.split(s, np.cumsum([block.d for block in base.blocks])[:-1])
        blocks = tuple(block.scaled(part) for block, part in zip(base.blocks, parts, strict=True))
        return structured_modes(Block(blocks), power, basis, delta0)
    return None
