"""Room schedules."""

import jax.numpy as jnp
import numpy as np
import optax

import sdelimit as sl
from bad_input.rows import NAN, kind, value
from sdelimit.schedules import LearningRate

sched = sl.schedules
RATE = LearningRate.of
TRACE = "must be a number or a function of t that JAX can trace"

TABLE = [
    value(sched.constant, "value must be >= 0", -1.0),
    value(sched.cosine, "start must be >= 0", -1.0, 1.0),
    value(sched.cosine, "t_max must be > 0", 1.0, 0.0),
    value(sched.linear, "end must be finite", 1.0, 1.0, NAN),
    kind(sched.linear, "start must be a real number", [1.0], 1.0),
    value(sched.inverse_sqrt, "t_scale must be > 0", 1.0, 0.0),
    value(sched.wsd, "value must be >= 0", -1.0, 2.0),
    value(sched.wsd, "t_max must be > 0", 1.0, 0.0),
    value(sched.wsd, "decay must be at most 1", 1.0, 2.0, 1.5),
    value(sched.wsd, "decay must be > 0", 1.0, 2.0, 0.0),
    value(sched.piecewise_constant, "values must have shape", [1.0], [0.1]),
    value(sched.piecewise_constant, "boundaries must be > 0 and increasing", [2.0, 1.0], [0.1, 0.1, 0.1]),
    value(sched.piecewise_constant, "values must be >= 0", [1.0], [0.1, -0.1]),
    value(sched.log_linear, "times must be >= 0 and increasing", [0.0, 0.0], [1.0, 1.0]),
    value(sched.log_linear, "values must be > 0", [0.0, 1.0], [1.0, 0.0]),
    value(sched.log_linear, "values must have shape", [0.0, 1.0], [1.0]),
    value(sched.of_steps, "schedule must be >= 0, got a smallest value of -1", [0.1, -1.0], 10),
    value(sched.of_steps, "schedule must have 1 dimension", [[0.1]], 10),
    value(sched.of_steps, "d must be >= 1", [0.1], 0),
    kind(sched.of_steps, "d must be an integer", [0.1], 1.5),
    kind(sched.of_steps, f"schedule {TRACE}", lambda k: 0.1 if k < 1 else 0.2, 10),
    kind(RATE, "^sgd_lr must be a function of t = steps/d, got an optax", optax.linear_schedule(1.0, 0.0, 9), "sgd_lr"),
    kind(sched.warmup, "schedule must be a real number", "x", 1.0),
    value(sched.warmup, "t_warmup must be > 0", 0.1, 0.0),
    value(RATE, "^sgd_lr must be >= 0, got -0.1", -0.1, "sgd_lr"),
    value(RATE, "^sgd_lr must be finite, got nan", NAN, "sgd_lr"),
    kind(RATE, "^sgd_lr must be a real number, got True", True, "sgd_lr"),
    kind(RATE, "^sgd_lr must be a real number, got 'fast'", "fast", "sgd_lr"),
    kind(RATE, "^sgd_lr must be a real number, got None", None, "sgd_lr"),
    value(RATE, "^sgd_lr must be >= 0, got a smallest value of -0.2", [0.1, -0.2], "sgd_lr"),
    value(RATE, "^sgd_lr must be finite, got inf", [0.1, np.inf], "sgd_lr"),
    value(RATE, "^sgd_lr must have 1 dimension", [[0.1]], "sgd_lr"),
    value(RATE, "^sgd_lr must not be empty", [], "sgd_lr"),
    kind(RATE, "^sgd_lr must hold real numbers", ["a"], "sgd_lr"),
    kind(RATE, f"^sgd_lr {TRACE}", lambda t: 0.1 if t < 1 else 0.2, "sgd_lr"),
    kind(RATE, f"^sgd_lr {TRACE}", lambda: 0.1, "sgd_lr"),
    kind(
        RATE,
        "^sgd_lr must be a number or a function .* raised ZeroDivisionError: division by zero",
        lambda t: 1 / 0,
        "sgd_lr",
    ),
    kind(RATE, "^sgd_lr must return a real number, got shape .* int", lambda t: 1, "sgd_lr"),
    kind(RATE, "^sgd_lr must return a real number, got shape None and dtype tuple", lambda t: (t, t), "sgd_lr"),
    kind(RATE, r"^sgd_lr must return a real number, got shape \(3,\)", lambda t: jnp.ones(3) * t, "sgd_lr"),
]
