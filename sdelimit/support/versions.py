"""Versions and device that a result depends on."""

import platform
from importlib import metadata

import jax

NAMES = ("sdelimit", "jax", "jaxlib", "numpy", "scipy", "diffrax", "optax")
NUMERIC = ("sdelimit", "jax", "jaxlib", "numpy", "optax")
"""What decides the numbers of a simulation."""


def version_info() -> dict:
    """Versions of the libraries and of Python, and the device."""
    versions = {name: metadata.version(name) for name in NAMES}
    return {"versions": versions, "python": platform.python_version(), "device": jax.devices()[0].device_kind}


def numeric_versions() -> dict[str, str]:
    """What must be equal for two halves of a computation to belong together: libraries and kind of device."""
    return {**{name: metadata.version(name) for name in NUMERIC}, "backend": jax.default_backend()}
