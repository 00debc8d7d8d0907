"""Rooms results and report."""

import dataclasses

import numpy as np

import sdelimit as sl
from bad_input.rows import INF, SIGN, P, kind, value

OTHER = sl.LinearRegression(np.ones(3))
T = np.linspace(0.0, 1.0, 5)
CURVE = sl.RiskCurve(T, np.ones(5), None, np.ones(2), np.full(5, 0.1), np.ones(5), np.zeros(5), INF, "ok", P, SIGN)
RUNS = sl.RiskCurves(T, np.ones((3, 5)), np.full(5, 0.1), np.full(3, INF), "ok", "simulation", P, SIGN)
PATHS = dataclasses.replace(RUNS, kind="sde")
MANY = dataclasses.replace(CURVE, risk=np.ones((2, 5)), lr=np.full((2, 5), 0.1), status=("ok", "ok"))

TABLE = [
    kind(sl.compare, "theory must be a RiskCurve", RUNS, RUNS),
    kind(sl.compare, "runs must be the RiskCurves of simulate", CURVE, CURVE),
    kind(sl.compare, "runs must be the RiskCurves of simulate", CURVE, PATHS),
    kind(sl.compare, "paths must be the RiskCurves of solve_sde", CURVE, RUNS, RUNS),
    value(sl.compare, "t must lie in", dataclasses.replace(CURVE, t=T / 2), RUNS),
    value(sl.compare, "runs must be of theory's", dataclasses.replace(CURVE, problem=OTHER), RUNS),
    value(sl.compare, "runs must have theory's batch_size 4", dataclasses.replace(CURVE, batch_size=4), RUNS),
    value(sl.compare, "runs must have theory's learning rate", dataclasses.replace(CURVE, lr=np.full(5, 0.3)), RUNS),
    value(sl.compare, "theory must hold one learning rate", MANY, RUNS),
    value(CURVE.at, "t must lie in", [2.0]),
    kind(CURVE.at, "t must", "later"),
    kind(CURVE.select, "select needs a result with an array", 0),
    value(MANY.select, "index must be < 2", 2),
    kind(MANY.select, "index must be an integer", "last"),
    value(RUNS.quantile, "q must lie in", 1.5),
    value(CURVE.quantile, "q must lie in", [0.1, 1.0]),
    kind(CURVE.quantile, "q must", "median"),
    value(CURVE.quantile, "spread of single runs is not known", 0.5),
    value(getattr, "spread of single runs is not known", CURVE, "std"),
    value(getattr, "spread of single runs is not known", CURVE, "exact_std"),
    kind(RUNS.quantile, "q must", "median"),
    kind(CURVE.save, "path must be a path", 3),
    value(CURVE.save, "path must end in .npz", "curve.csv"),
    value(CURVE.save, "path: cannot write to nowhere/curve.npz: No such file", "nowhere/curve.npz"),
    kind(sl.load, "path must be a path", None),
    value(sl.load, "path: cannot read nowhere.npz: No such file", "nowhere.npz"),
    value(sl.load, "path: bad.npy holds no result", "bad.npy"),
    kind(CURVE.__getitem__, "only curves of an array of them have parts", 0),
    kind(MANY.__getitem__, "index must be an integer", "last"),
    kind(len, "the curve of one learning rate has no length", CURVE),
    value(getattr, "sharpness was not recorded", RUNS, "mean_sharpness"),
    *(
        kind(made_here, "missing .* required positional argument")
        for made_here in (
            sl.BestLearningRate,
            sl.BestWeightDecay,
            sl.Effects,
            sl.OptimalClipping,
            sl.OptimizedSchedule,
            sl.Recommendation,
            sl.Report,
            sl.ScalingLaw,
            sl.Rerun,
            sl.RiskCurve,
            sl.RiskCurves,
            sl.Sweep,
        )
    ),
]
