"""Covariances of independent blocks of coordinates."""

import jax.numpy as jnp
import numpy as np
import scipy.linalg

from sdelimit.covariance.base import Covariance
from sdelimit.covariance.dense import as_covariance


class Block(Covariance):
    """Block-diagonal K."""

    blocks: tuple[Covariance, ...]

    @property
    def d(self):
        return sum(block.d for block in self.blocks)

    @property
    def is_diagonal(self):
        return all(block.is_diagonal for block in self.blocks)

    @property
    def std(self):
        return np.concatenate([block.std for block in self.blocks])

    def sample(self, z):
        return self._each(lambda block, part: block.sample(part), z)

    def apply(self, v):
        return self._each(lambda block, part: block.apply(part), v)

    def _each(self, function, v):
        edges = np.cumsum([block.d for block in self.blocks])[:-1].tolist()
        parts = jnp.split(v, edges, axis=-1)
        return jnp.concatenate([function(b, p) for b, p in zip(self.blocks, parts, strict=True)], axis=-1)

    def to_dense(self):
        return scipy.linalg.block_diag(*[block.to_dense() for block in self.blocks])


def block(*blocks) -> Covariance:
    """Block-diagonal K from covariances, (m, m) matrices or (m,) diagonals.

    Raises TypeError or ValueError that names the block, if it is not one of these, or if there is none.
    """
    if not blocks:
        raise ValueError("blocks must hold at least one covariance, got none")
    return Block(tuple(as_covariance(b, name=f"blocks[{i}]") for i, b in enumerate(blocks)))
