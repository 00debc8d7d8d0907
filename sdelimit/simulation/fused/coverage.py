"""What the fused kernel covers."""

import numpy as np

from sdelimit.problem.linear_regression import LinearRegression
from sdelimit.simulation.fused.rules import fused_rule
from sdelimit.simulation.fused.samplers import fused_sampler
from sdelimit.simulation.run_plan import Experiment

MAX_D = 8192
"""Adam's six numbers a pair of coordinates still fit in the registers of one program."""


def obstacle(e: Experiment) -> str | None:
    """Why the fused path does not cover an experiment, in words that complete "path 'fused' needs"; None if it does."""
    uncovered = [o.name for o in e.optimizers if fused_rule(o) is None]
    needs = {
        "batch_size 1": e.batch_size != 1,
        "dtype float32": np.dtype(e.dtype) != np.float32,
        "sharpness=False": e.sharpness,
        "Gaussian features": type(e.problem).stream is not LinearRegression.stream,
        f"sgd, sign_sgd or adam as optimizer, not {uncovered}": bool(uncovered),
        "least squares": not isinstance(e.problem, LinearRegression),
        "a diagonal or AR(1) covariance": fused_sampler(e.problem.covariance) is None,
        f"d <= {MAX_D}": e.problem.d > MAX_D,
    }
    return next((text for text, missing in needs.items() if missing), None)
