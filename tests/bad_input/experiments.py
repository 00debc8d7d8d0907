"""Room experiments."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import sdelimit as sl
from bad_input.rows import NAN, SGD, P, kind, value

GRID = {"optimizer": "sgd", "lr": 0.1, "t_max": 1.0, "d": 8}


def swept(row, message, **changed):
    return row(sl.sweep, message, "out", **{**GRID, **changed})


TABLE = [
    swept(kind, "optimizer must be a text", optimizer=SGD),
    swept(value, "optimizer must hold at least one value", optimizer=[]),
    swept(value, "did you mean 'sgd'", optimizer="sdg"),
    swept(value, "data brings its own d", data="cars.csv"),
    swept(value, "label is the column of labels in data", label="price"),
    swept(value, "data: .*nowhere.csv|cannot read nowhere.csv", data="nowhere.csv", d=None),
    swept(kind, "d must be given", d=None),
    swept(value, "noise must be a law, got 'rows'", noise="rows"),
    swept(kind, "noise must be a text", noise=np.array("none")),
    swept(value, "lr must be finite", lr=[NAN]),
    swept(value, "lr must be numbers, or a table", lr={"from": 1.0}),
    swept(kind, "d must be an integer", d="many"),
    swept(value, "t_max must reach one step", t_max=0.01),
    swept(kind, "force must be True or False", force="no"),
    swept(kind, "retry_failed must be True or False", retry_failed=1),
    swept(kind, "parquet must be True or False", parquet="yes"),
    swept(kind, "workers must be an integer", workers="two"),
    swept(value, "workers must be >= 1", workers=0),
    swept(kind, "executor must have submit", executor=3),
    swept(value, "workers must be None with an executor", workers=2, executor=ThreadPoolExecutor(1)),
    swept(kind, "progress must be True, False or None", progress="no"),
    kind(sl.enable_cache, "folder must be a path", 3),
    value(sl.enable_cache, "folder must be a path", ""),
    kind(sl.sweep, "out must be a path", 3, **GRID),
    kind(sl.explore, "problem must be", np.eye(2)),
    kind(sl.explore, "optimizer must be an optimizer", P, ["sgd"]),
    value(sl.explore, r"lr must lie in \[0.001, 10\], got 20", P, lr=20.0),
    value(sl.explore, "t_max must be > 0", P, t_max=0.0),
    value(sl.explore, "n_runs must be >= 1", P, n_runs=0),
    kind(sl.Explorer, "missing .* required positional argument"),
    kind(sl.read_sweep, "folder must be a path", None),
    value(sl.read_sweep, "folder: .* holds no sweep", "nowhere"),
    kind(sl.rerun, "file must be a path", 3),
    value(sl.rerun, "file: .* is not a result", "bad.npy"),
    value(sl.rerun, "file: cannot read nowhere.npz: No such file", "nowhere.npz"),
    value(sl.rerun, "file: cannot read", "folder"),
    swept(value, "did you mean 'sign_sgd'", optimizer="sgn_sgd"),
    swept(value, "optimizer must hold different values, got 'sgd' twice", optimizer=["sgd", "sgd"]),
    swept(value, "lr must be >= 0", lr=-1.0),
    swept(value, "did you mean 'cosine'", lr="cosin:1"),
    swept(value, "lr must be numbers, or a table of from, to and points", lr={"from": 1.0, "to": 2.0}),
    swept(value, "lr must be numbers, or a table of from", lr={"sgd": {1: 2, "from": 1.0}}),
    swept(value, "lr.from must be > 0", lr={"from": 0.0, "to": 2.0, "points": 3}),
    swept(value, "lr.points must be >= 1", lr={"from": 1.0, "to": 2.0, "points": 0}),
    swept(value, "did you mean 'sgd'", lr={"sdg": 1.0}),
    swept(value, "none for 'sign_sgd'", optimizer=["sgd", "sign_sgd"], lr={"sgd": 1.0}),
    swept(kind, "lr must have optimizers as its keys, got 1", lr={1: 2}),
    swept(value, "lr: unknown value 'lr=0.5'", lr="lr=0.5"),
    swept(value, r"lr must be <= 3.4e\+38", lr=1e308),
    swept(value, "d must be >= 1", d=0),
    swept(value, "did you mean 'ar1'", covariance="ar:0.5"),
    swept(kind, "covariance must be a text", covariance=np.eye(8)),
    swept(value, "cannot read nowhere.npy", covariance="nowhere.npy"),
    swept(value, "std must be > 0", noise="gaussian:-1"),
    swept(value, "noise: 'gaussian:1e200': std must lie between", noise="gaussian:1e200"),
    swept(kind, "model must be a text", model=sl.LogisticRegression),
    swept(value, "did you mean 'hard'", model=["linear", "logistic:hrd"]),
    swept(value, "noise must be none for the model 'poisson'", model=["linear", "poisson"], noise="laplace:1"),
    swept(value, "model must hold different values", model=["linear", "linear"]),
    swept(value, "batch_size must be >= 1", batch_size=0),
    swept(value, "seed must be >= 0", seed=-1),
    swept(value, "n_runs must be >= 0", n_runs=-1),
    swept(value, "points must be >= 2", points=1),
    swept(value, "t_max must be > 0", t_max=0.0),
    swept(value, r"t_max times d must be < 2147483648 steps, got 1e\+308 times 8", t_max=1e308),
]
