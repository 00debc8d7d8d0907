"""Room analysis."""

import numpy as np

import sdelimit as sl
from bad_input.rows import CAUCHY, FLAT, NAN, SGD, SIGN, K, P, kind, value

noise = sl.noise
EFFECTS = ("learning_rate", "preconditioning", "noise_compression", "noise_reshaping")
LOGIT = sl.LogisticRegression(np.ones(8))
AT_REST = sl.LinearRegression(np.ones(3), theta_star=np.zeros(3))


def SIZES(d):
    """A family of problems."""
    return sl.LinearRegression(np.ones(d), noise.Gaussian(0.3))


def AT_TARGET(d):
    """The same, without anything to learn."""
    return sl.LinearRegression(np.ones(d), noise.Gaussian(0.3), theta_star=np.zeros(d))


COEFFICIENTS = sl.limit_coefficients(SIGN, noise.NoNoise())

TABLE = [
    kind(sl.limit_coefficients, "noise must be a noise law", SIGN, "gaussian"),
    kind(sl.limit_coefficients, "optimizer must be an optimizer", "sgd", noise.NoNoise()),
    kind(sl.limit_coefficients, "batch_size must be an integer", SIGN, noise.NoNoise(), "one"),
    value(sl.limit_coefficients, "noise must have finite variance for SGD", SGD, noise.Cauchy(1.0)),
    value(sl.limit_coefficients, "noise must have finite variance for SGD", SGD, noise.StudentT(2.0, 0.3)),
    value(sl.limit_coefficients, "optimizer must act alike.*clip_coordinate", sl.clip_coordinate(1.0), noise.NoNoise()),
    kind(sl.scaling_law, "family must be a function", P, SGD, [10, 20]),
    kind(sl.scaling_law, "problem must be a LinearRegression", lambda d: d, SGD, [10, 20]),
    value(sl.scaling_law, "family must give a problem of the dimension", lambda d: P, SGD, [10, 20]),
    kind(sl.scaling_law, "optimizer must be an optimizer", SIZES, "sgd", [10, 20]),
    value(sl.scaling_law, "ds must be two or more different sizes", SIZES, SGD, [10]),
    value(sl.scaling_law, "ds must be two or more different sizes", SIZES, SGD, [10, 10]),
    value(sl.scaling_law, "ds must be whole numbers", SIZES, SGD, [10.5, 20]),
    kind(sl.scaling_law, "ds must", SIZES, SGD, "large"),
    value(sl.scaling_law, "horizon must pay for at least 10 steps", SIZES, SGD, [10, 20], horizon=150.0),
    value(sl.scaling_law, "horizon must be > 0", SIZES, SGD, [10, 20], horizon=0.0),
    value(sl.scaling_law, "lrs must be > 0", SIZES, SGD, [10, 20], lrs=[0.1, -0.1]),
    kind(sl.scaling_law, "lrs must", SIZES, SGD, [10, 20], lrs="fast"),
    value(sl.scaling_law, "schedule: unknown value 'wds'.*did you mean 'wsd'", SIZES, SGD, [10, 20], schedule="wds"),
    kind(sl.scaling_law, "compute_per_step must be a function", SIZES, SGD, [10, 20], compute_per_step=2.0),
    value(sl.scaling_law, r"compute_per_step\(d\) must be > 0", SIZES, SGD, [10, 20], compute_per_step=lambda d: -d),
    value(sl.scaling_law, "noise must have finite variance", lambda d: CAUCHY, SGD, [2, 4]),
    value(sl.scaling_law, "family must have label noise of finite variance", lambda d: CAUCHY, SIGN, [2, 4]),
    value(sl.scaling_law, "lrs must be given where the initial risk is 0", AT_TARGET, SGD, [10, 20]),
    kind(sl.scaling_law, "out must be a path", SIZES, SGD, [10, 20], out=3),
    value(COEFFICIENTS.phi, "R must be > 0", 0.0),
    value(COEFFICIENTS.phi, "R must be finite", [1.0, NAN]),
    value(COEFFICIENTS.kappa, "rho must lie in", 1.5, 1.0),
    value(COEFFICIENTS.kappa, "rho and R must broadcast", [0.1, 0.2], [1.0, 2.0, 3.0]),
    kind(COEFFICIENTS.kappa, "rho must", "all", 1.0),
    value(COEFFICIENTS.phi_standard_error, "R must be > 0", -1.0),
    value(COEFFICIENTS.kappa_standard_error, "rho must lie in", 2.0, 1.0),
    value(COEFFICIENTS.figure_of_merit, "R must be > 0", 0.0),
    kind(sl.stationary_risk, "aligned must be True, False or None", P, SGD, 0.1, aligned=1),
    value(sl.stationary_risk, "aligned must be None or False for clip_norm", P, sl.clip_norm(1.0), 0.1, aligned=True),
    *(
        row
        for ask in (sl.stationary_risk, sl.convergence_rate)
        for row in (
            kind(ask, "problem must be a LinearRegression", "problem", SGD, 0.1),
            kind(ask, "optimizer must be .* call it", P, sl.sgd, 0.1),
            value(ask, "lr must be > 0", P, SGD, 0.0),
            value(ask, "lr must be > 0", P, SGD, [0.1, -1.0]),
            value(ask, "lr must be finite", P, SGD, NAN),
            kind(ask, "lr must", P, SGD, "fast"),
            kind(ask, "lr must be a number or an array", P, SGD, lambda t: 0.1),
            value(ask, "batch_size must be >= 1", P, SGD, 0.1, batch_size=0),
            value(ask, "noise must have finite var", CAUCHY, SGD, 0.1),
        )
    ),
    kind(sl.max_stable_lr, "problem must be a LinearRegression", np.eye(2), SGD),
    kind(sl.max_stable_lr, "optimizer must be an optimizer", P, None),
    value(sl.max_stable_lr, "batch_size must be >= 1", P, SGD, -1),
    kind(sl.directional_sharpness, "problem must be a LinearRegression", K, SIGN),
    value(sl.directional_sharpness, "risk must be > 0", P, SIGN, risk=0.0),
    kind(sl.directional_sharpness, "risk must", P, SIGN, risk="low"),
    kind(sl.directional_sharpness, "batch_size must be an integer", P, SIGN, batch_size=[1]),
    value(sl.directional_sharpness, "overlaps must be None on a LinearRegression", P, SIGN, overlaps=[1.0, 1.0, 1.0]),
    value(sl.directional_sharpness, "risk must be None on a LogisticRegression", LOGIT, SIGN, risk=1.0),
    value(sl.directional_sharpness, "overlaps must be rows", LOGIT, SIGN, overlaps=[1.0, 1.0]),
    value(sl.directional_sharpness, "overlaps must have", LOGIT, SIGN, overlaps=[0.1, 9.0, LOGIT.target_variance]),
    value(sl.best_constant_lr, "t_max or target_risk must be given", P, SGD),
    value(sl.best_constant_lr, "t_max or target_risk must be given, and not", P, SGD, t_max=1.0, target_risk=0.1),
    value(sl.best_constant_lr, "t_max must be > 0", P, SGD, t_max=0.0),
    value(sl.best_weight_decay, "lr must be > 0", P, SGD, 0.0),
    value(sl.best_weight_decay, "t_max must be > 0", P, SGD, 0.1, t_max=-1.0),
    value(sl.best_weight_decay, "must have no weight decay of its own, got adamw", P, sl.adamw(), 0.1),
    value(sl.best_constant_lr, "target_risk must be > 0", P, SGD, target_risk=-1.0),
    value(sl.best_constant_lr, "target_risk must be below the initial risk", P, SGD, target_risk=1e3),
    value(sl.best_constant_lr, "problem must start at a positive risk", AT_REST, SGD, t_max=1.0),
    kind(sl.best_constant_lr, "optimizer must be an optimizer", P, "sgd", t_max=1.0),
    kind(sl.best_constant_lr, "problem must be", np.eye(2), SGD, t_max=1.0),
    value(sl.best_constant_lr, "optimizer must be a rule or a list of one or more", P, [], t_max=1.0),
    kind(sl.best_constant_lr, "optimizer must be an optimizer", P, [SGD, "sgd"], t_max=1.0),
    kind(sl.recommend, "problem must be", np.eye(2), SGD, horizon=1.0),
    kind(sl.recommend, "optimizer must be an optimizer", P, ["sgd"], horizon=1.0),
    value(sl.recommend, "optimizers must hold one or more rules", P, [], horizon=1.0),
    value(sl.recommend, "horizon must be given for a problem of endless samples", P, SGD),
    value(sl.recommend, "horizon must be > 0", P, SGD, horizon=0.0),
    value(sl.recommend, "batch_size must be >= 1", P, SGD, horizon=1.0, batch_size=0),
    kind(sl.recommend, "progress must be", P, SGD, horizon=1.0, progress="yes"),
    value(sl.best_constant_lr, "batch_size must be >= 1", P, SGD, t_max=1.0, batch_size=0),
    kind(sl.optimize_schedule, "problem must be", "P", SGD, 1.0),
    kind(sl.optimize_schedule, "lr must be a real number", P, SGD, 1.0, lr="fast"),
    value(sl.optimize_schedule, "t_max must be > 0", P, SGD, -1.0),
    value(sl.optimize_schedule, "n_knots must be >= 2", P, SGD, 1.0, n_knots=1),
    value(sl.optimize_schedule, "n_knots must be < 2147483648", P, SGD, 1.0, n_knots=1e300),
    value(sl.optimize_schedule, "iterations must be >= 1", P, SGD, 1.0, iterations=0),
    value(sl.optimize_schedule, "lr must be > 0 at every knot", P, SGD, 1.0, lr=0.0),
    kind(sl.optimize_schedule, "progress must be True, False or None", P, SGD, 1.0, progress="no"),
    kind(sl.match_schedule, "to_optimizer must be an optimizer", P, SGD, "sign", 0.1, 1.0),
    kind(sl.match_schedule, "from_optimizer must be .* call it", P, sl.sgd, SIGN, 0.1, 1.0),
    value(sl.match_schedule, "lr must be >= 0", P, SGD, SIGN, -0.1, 1.0),
    value(sl.match_schedule, "t_max must be > 0", P, SGD, SIGN, 0.1, 0.0),
    kind(sl.match_schedule, "batch_size must be an integer", P, SGD, SIGN, 0.1, 1.0, batch_size=1.5),
    value(sl.match_schedule, "match: unknown value 'drift'", P, SGD, SIGN, 0.1, 1.0, match="drift"),
    kind(sl.match_schedule, "match must be a text", P, SGD, SIGN, 0.1, 1.0, match=np.ones(2)),
    kind(sl.optimal_clipping, "problem must be", "P", 0.1, 1.0),
    kind(sl.optimal_clipping, "lr must be a real number", P, [0.1, 0.2], 1.0),
    value(sl.optimal_clipping, "lr must be >= 0", P, -0.1, 1.0),
    value(sl.optimal_clipping, "t_max must be > 0", P, 0.1, 0.0),
    value(sl.optimal_clipping, "n_knots must be >= 2", P, 0.1, 1.0, n_knots=1),
    kind(sl.optimal_clipping, "batch_size must be an integer", P, 0.1, 1.0, batch_size=1.5),
    value(sl.optimal_clipping, "problem must start at a positive risk", AT_REST, 0.1, 1.0),
    kind(sl.effects, "problem must be a LinearRegression", "problem"),
    kind(sl.effects, "optimizer must be an optimizer", P, "sign_sgd"),
    kind(sl.effects, "optimizer must be .* call it", P, sl.sign_sgd),
    value(sl.effects, "lr must be >= 0", P, lr=-1.0),
    value(sl.effects, "lr must be finite", P, lr=NAN),
    kind(sl.effects, "lr must be a real number", P, lr=[0.1, 0.2]),
    value(sl.effects, "sgd_lr must be >= 0", P, sgd_lr=-0.1),
    kind(sl.effects, "sgd_lr must be a real number", P, sgd_lr="x"),
    value(sl.effects, "t_max must be > 0", P, t_max=0.0),
    value(sl.effects, "t must be >= 0 and strictly increasing", P, t=[2.0, 1.0]),
    value(sl.effects, "batch_size must be >= 1", P, batch_size=0),
    value(sl.effects, "order must begin with 'noise_compression'", CAUCHY, order=EFFECTS),
    value(sl.effects, "noise must have finite variance for SGD", CAUCHY, SGD),
    value(sl.effects, "sgd_lr must be finite and >= 0", P, sgd_lr=lambda t: -t - 1.0),
    kind(sl.effects, "order must be a sequence", P, order="learning_rate"),
    kind(sl.effects, "order must be a sequence", P, order=np.array("x")),
    value(sl.effects, "order: unknown value 'learning_rat'.*did you mean", P, order=["learning_rat"]),
    value(sl.effects, "order must name each of", P, order=["learning_rate"]),
    value(sl.effects, "covariance must have positive variance", FLAT),
]
