"""Standard normals as a function of (key, step, position): counter-based, the same on every device.

Threefry-2x32 hashes a 64-bit counter under a run's key to two 32-bit words; Box and Muller's transform turns
these into two normals. Only integer operations, multiplications, additions and one square root are used, no
library logarithm or cosine: that is several times faster on CPU than ``jax.random.normal``, works inside a Pallas
kernel, and gives the same numbers everywhere up to rounding.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011; Box & Muller 1958.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex64, Float32, UInt32

from sdelimit.numerics.integers import ceil_div

ROUNDS = {"threefry": 20, "fast": 13}
"""Rounds of Threefry for each generator. Its authors recommend 20, and report 13 as the fewest that pass all tests."""

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
SQRT_HALF_BITS = 0x3F3504F3
"""The bits of the float32 nearest sqrt(1/2)."""

LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
"""log(1+f) = f - f^2/2 + f^3 P(f) on [sqrt(1/2), sqrt 2], highest power first (the Cephes library's logf)."""
COS = tuple((-1) ** k / float(np.prod(np.arange(1, 2 * k + 1))) for k in range(5, -1, -1))
SIN = tuple((-1) ** k / float(np.prod(np.arange(1, 2 * k + 2))) for k in range(5, -1, -1))
"""Taylor series in the square of an angle up to pi/2; the first term left out is below 5e-7."""


def normal_pairs(keys: UInt32[Array, "runs 2"], index, batch_size: int, d: int, generator: str) -> Complex64[Array, ""]:
    """Normals of the steps ``index``, of shape (steps, runs, batch_size, ceil(d/2)), two in one complex number."""
    half = ceil_div(d, 2)
    # JAX's own fold_in and split count with a zero in the first word: no counter is used twice.
    step = (index.astype(jnp.uint32) + np.uint32(1))[:, None, None, None]
    position = jnp.arange(batch_size * half, dtype=jnp.uint32).reshape(batch_size, half)
    key = keys[:, :, None, None]
    return pack_pair(*box_muller(*threefry(key[:, 0], key[:, 1], step, position, ROUNDS[generator])))


def pack_pair(first: Float32[Array, "..."], second: Float32[Array, "..."]) -> Complex64[Array, "..."]:
    """Two arrays as one of complex numbers; ``unpack_pairs`` undoes it.

    XLA on CPU fuses what leads to an array into each of its uses, so that a computation with two results is done twice,
    once for each. With one result it is done once: "floor: simulate's own" of benchmarks/simulate.py.
    """
    return jax.lax.complex(first, second)


def unpack_pairs(pairs: Complex64[Array, "... half"], d: int) -> Float32[Array, "... d"]:
    """The normals of ``normal_pairs`` along the last axis: first all real parts, then the imaginary ones."""
    return jnp.concatenate([pairs.real, pairs.imag[..., : d // 2]], axis=-1)


def threefry(key0, key1, count0, count1, rounds: int):
    """Two uint32 words from a key and a counter of two words each, elementwise."""
    keys = (key0, key1, key0 ^ key1 ^ np.uint32(PARITY))
    x0, x1 = count0 + keys[0], count1 + keys[1]
    for i in range(rounds):
        x0 = x0 + x1
        x1 = _rotate(x1, ROTATIONS[i // 4 % 2][i % 4]) ^ x0
        if i % 4 == 3:
            group = i // 4 + 1
            x0 = x0 + keys[group % 3]
            x1 = x1 + keys[(group + 1) % 3] + np.uint32(group)
    return x0, x1


def box_muller(bits0, bits1):
    """Two independent float32 normals from two words: r cos a and r sin a, up to 6.7 in size.

    r^2 = -2 log u with u from the first word; a is in the quadrant named by two bits of the second word, at an angle
    given by its other 30.
    """
    r = jnp.sqrt(_minus_two_log(bits0))
    angle = (bits1 >> np.uint32(2)).astype(jnp.float32) * np.float32(np.pi / 2 * 2.0**-30)
    square = angle * angle
    real = r * _polynomial(COS, square)
    imag = r * angle * _polynomial(SIN, square)
    return _flip_sign(real, bits1 << np.uint32(31)), _flip_sign(imag, bits1 << np.uint32(30))


def _minus_two_log(bits):
    """-2 log((bits + 1/2) / 2^32) in float32."""
    u = bits.astype(jnp.float32) * np.float32(2.0**-32) + np.float32(2.0**-33)
    shifted = jax.lax.bitcast_convert_type(u, jnp.int32) - np.int32(SQRT_HALF_BITS)
    exponent = (shifted >> np.int32(23)).astype(jnp.float32)
    mantissa = jax.lax.bitcast_convert_type((shifted & np.int32(0x7FFFFF)) + np.int32(SQRT_HALF_BITS), jnp.float32)
    f = mantissa - np.float32(1)
    log = f - np.float32(0.5) * f * f + f * f * f * _polynomial(LOG, f) + exponent * np.float32(np.log(2))
    return jnp.maximum(np.float32(-2) * log, np.float32(0))


def _rotate(x, by):
    return (x << np.uint32(by)) | (x >> np.uint32(32 - by))


def _polynomial(coefficients, x):
    value = np.float32(coefficients[0])
    for coefficient in coefficients[1:]:
        value = value * x + np.float32(coefficient)
    return value


def _flip_sign(x, sign_bit):
    """x with its sign turned where the highest bit is set."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) ^ (sign_bit & np.uint32(0x80000000))
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


GENERATOR = "threefry2x32"


def run_key(seed, run):
    """Key of one run (or path): independent of how many others there are."""
    return jax.random.fold_in(jax.random.key(seed, impl=GENERATOR), run)


def step_key(key, step):
    """Key of one step of a run."""
    return jax.random.fold_in(key, step)
