"""Runs distributed over all devices, of this process and of the others of a ``jax.distributed`` job."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sdelimit.numerics.integers import ceil_div


class RunSharding:
    """Runs ``first`` to ``first + n_runs``, filled up to ``rows`` so that every device has as many.

    A run is computed on one device. One process uses at most as many devices as it has runs, and only JAX's
    default device where the user has set one.
    """

    def __init__(self, n_runs: int, first: int = 0, rows: int | None = None):
        devices = jax.devices() if jax.config.jax_default_device is None else list(jnp.zeros(()).devices())
        if jax.process_count() == 1:
            devices = devices[: rows or n_runs]
        self.mesh = Mesh(np.array(devices), ("runs",))
        self.n_runs, self.first = n_runs, first
        self.rows = rows or ceil_div(n_runs, len(devices)) * len(devices)

    @property
    def n_devices(self) -> int:
        return self.mesh.size

    @property
    def device(self) -> jax.Device:
        """One of the devices, which are all alike."""
        return self.mesh.devices.flat[0]

    @property
    def rows_per_device(self) -> int:
        return self.rows // self.n_devices

    def groups(self, largest: int) -> "list[RunSharding]":
        """The same runs in groups of at most ``largest`` a device, as equal as possible."""
        count = ceil_div(self.rows_per_device, max(largest, 1))
        rows = ceil_div(self.rows_per_device, count) * self.n_devices
        return [RunSharding(min(rows, self.n_runs - i), i, rows) for i in range(0, self.n_runs, rows)]

    def place(self, tree):
        """The arrays of ``tree``, whose first axis counts the runs, distributed over the devices."""
        return tree if self.n_devices == 1 else jax.tree.map(self._spread, tree)

    def _spread(self, leaf):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(self._spread(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        # From the host: other processes' devices cannot be written to.
        host, sharding = np.asarray(leaf), NamedSharding(self.mesh, PartitionSpec("runs"))
        return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

    def gather(self, value: jax.Array) -> np.ndarray:
        """An array (..., runs, m) in full and in every process, without the runs that filled up."""
        whole = value if value.is_fully_addressable else multihost_utils.process_allgather(value, tiled=True)
        return np.asarray(whole)[..., : self.n_runs, :]
