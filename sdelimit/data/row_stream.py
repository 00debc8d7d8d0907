"""Samples that are the rows of a data set, each used once by a run."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from sdelimit.problem.sample_stream import Stream

FEWEST_COLUMNS = 25
"""Columns that a data set may have without a warning."""
PERMUTATION = 3
"""Folded into a run's key for the order of its rows."""


class OfRows:
    """What problems made from rows have beside their loss; a class with it has ``X``, ``name``, ``label_of_rows``.

    Attributes:
        X: (n, d) features.
        name: what to call them, or None.
    """

    X: Float[np.ndarray, "n d"]
    name: str | None

    @property
    def n(self) -> int:
        """Rows."""
        return self.X.shape[0]

    @property
    def label_of_rows(self) -> Float[np.ndarray, " n"]:
        """What makes the label of each row, as the loss's ``label`` takes it."""
        raise NotImplementedError

    @property
    def data_name(self) -> str | None:
        """``name``."""
        return self.name

    @property
    def doubts(self) -> tuple[str, ...]:
        """Whether there are few columns."""
        if self.d >= FEWEST_COLUMNS:
            return ()
        return (
            f"d = {self.d} columns are few: theory is a limit of large d, its mean is off by about 1/d of itself or "
            "more, and single runs scatter widely around it",
        )

    def longest_run(self, batch_size: int) -> float:
        """n / (d batch_size): each row is used once."""
        return self.n / (self.d * batch_size)

    def require_rows(self, t_max: float, batch_size: int):
        """ValueError if a run to ``t_max`` needs more rows than there are."""
        if np.rint(t_max * self.d) * batch_size > self.n:
            raise ValueError(
                f"t_max must be at most n / (d batch_size) = {self.longest_run(batch_size):.4g} for n = {self.n} rows "
                f"of d = {self.d}, which a run uses at most once, got {t_max:g}"
            )

    def stream(self, keys, n_samples: int, generator: str = "threefry") -> "RowStream":
        """The rows, in an order of its own for every run. ValueError if a run needs more than there are.

        No normals are drawn, whatever the ``generator``.
        """
        del generator
        self.require_rows(n_samples / self.d, 1)
        with jax.ensure_compile_time_eval():
            order = jax.lax.map(lambda key: _order(key, self.n), keys)[:, :n_samples]
        return RowStream(keys, self.X, self.label_of_rows, order)


def _order(key, n):
    return jax.random.permutation(jax.random.fold_in(key, PERMUTATION), jnp.arange(n, dtype=jnp.int32))


class RowStream(Stream):
    """Rows of a data set in a fixed order for each run, ``order`` of shape (runs, samples)."""

    X: Float[np.ndarray, "n d"]
    labels: Float[np.ndarray, " n"]
    order: jax.Array
    per_run = ("keys", "order")

    def random(self, index, batch_size):
        """The rows of the steps ``index``; steps past the last row repeat it."""
        slots = index[:, None] * batch_size + jnp.arange(batch_size, dtype=index.dtype)
        rows = self.order.T[jnp.minimum(slots, self.order.shape[1] - 1)]
        return jnp.moveaxis(rows, -1, 1)

    def features(self, random, dtype):
        return jnp.asarray(self.X, dtype)[random]

    def noise(self, index, batch_size, dtype):
        return jnp.asarray(self.labels, dtype)[self.random(index, batch_size)]
