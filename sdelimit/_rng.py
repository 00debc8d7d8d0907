"""Random streams that depend on (seed, run, step) and on nothing else."""

import jax

GENERATOR = "threefry2x32"


def run_key(seed, run):
    """Key of one run (or path): independent of how many others there are."""
    return jax.random.fold_in(jax.random.key(seed, impl=GENERATOR), run)


def step_key(key, step):
    """Key of one step of a run."""
    return jax.random.fold_in(key, step)
