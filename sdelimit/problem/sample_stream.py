"""Where the samples of simulated runs come from."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp

from sdelimit.covariance.base import Covariance
from sdelimit.numerics import normals


class Stream(eqx.Module):
    """The samples of many runs, functions of a run's key and the step alone. Everything is JAX-traceable.

    Features are made in two stages so that a simulation can draw the random numbers of its next steps and turn them
    into features later.
    """

    keys: jax.Array
    """(runs,) one random key for each run."""

    def random(self, index, batch_size: int):
        """What the features of the steps ``index`` are made of: an array with axes (steps, runs, batch_size, ...)."""
        raise NotImplementedError

    def features(self, random, dtype):
        """x of shape (steps, runs, batch_size, d)."""
        raise NotImplementedError

    def noise(self, index, batch_size: int, dtype):
        """eps of shape (steps, runs, batch_size)."""
        raise NotImplementedError

    @property
    def of_features(self) -> "Stream":
        """The same stream for features alone: without what only ``noise`` reads, so that programs are shared."""
        return self

    per_run = ("keys",)
    """The arrays whose first axis counts the runs."""

    def on_devices(self, place):
        """The same stream with ``place`` called on the arrays that hold a row for each run."""
        return dataclasses.replace(self, **{name: place(getattr(self, name)) for name in self.per_run})

    def draw(self, index, batch_size: int, dtype):
        """x and eps of the steps ``index``."""
        return self.features(self.random(index, batch_size), dtype), self.noise(index, batch_size, dtype)


class GaussianStream(Stream):
    """x ~ N(0, K) and eps from its law, fresh at every step; the numbers are drawn in float32 whatever the dtype."""

    covariance: Covariance
    law: eqx.Module | None
    generator: str = "threefry"

    @property
    def of_features(self):
        return dataclasses.replace(self, law=None)

    def random(self, index, batch_size):
        words = jax.random.key_data(self.keys)
        return normals.normal_pairs(words, index, batch_size, self.covariance.d, self.generator)

    def features(self, random, dtype):
        return self.covariance.sample(normals.unpack_pairs(random, self.covariance.d).astype(dtype))

    def noise(self, index, batch_size, dtype):
        def one(step, key):
            own = jax.random.split(normals.step_key(key, step))[1]
            return self.law.sample(own, (batch_size,), jnp.float32).astype(dtype)

        return jax.vmap(jax.vmap(one, in_axes=(None, 0)), in_axes=(0, None))(index, self.keys)
