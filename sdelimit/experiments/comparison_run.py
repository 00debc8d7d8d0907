"""What ``sdelimit compare`` computes, from its settings as a dictionary of texts and numbers."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sdelimit import data
from sdelimit.experiments import specs
from sdelimit.experiments.rows import rows_problem
from sdelimit.limits.no_limit import NoLimitError
from sdelimit.ode.solve import solve_ode
from sdelimit.optimizers import Optimizer
from sdelimit.problem.multi_output import MultiOutput
from sdelimit.problem.regression import Regression
from sdelimit.report.comparison import RunsOnly, compare
from sdelimit.report.theory import Limit
from sdelimit.sde.solve import solve_sde, theory_times
from sdelimit.simulation.simulate import simulate
from sdelimit.support.arguments import nearest
from sdelimit.support.progress import progress_bar


class Experiment(NamedTuple):
    """The settings as objects."""

    problems: list[Regression]
    optimizers: list[Optimizer]
    rates: list
    times: np.ndarray


def experiment_of(settings) -> Experiment:
    """The settings as objects. ValueError naming the option that is wrong."""
    t_max = settings["t_max"]
    if settings["points"] < 2 or not 0 < t_max < float("inf"):
        raise ValueError(f"--points must be >= 2 and --t-max > 0, got {settings['points']} and {t_max:g}")
    for option, name in (("--runs", "n_runs"), ("--paths", "n_paths")):
        if settings.get(name, 1) < 1:
            raise ValueError(f"{option} must be >= 1, got {settings[name]}")
    problems = _data_problem(settings) if settings["data"] else _made_up_problems(settings)
    if t_max * problems[0].d < 1:
        raise ValueError(f"--t-max must reach one step, 1/d = {1 / problems[0].d:g}, got {t_max:g}")
    return Experiment(
        problems,
        [specs.parse_optimizer(text) for text in settings["optimizer"]],
        _rates(settings["lr"], settings["optimizer"], t_max),
        np.linspace(0.0, t_max, settings["points"]),
    )


def _made_up_problems(settings):
    """One problem for each noise law."""
    for option in ("balance", "label"):
        if settings.get(option):
            raise ValueError(f"--{option} is of the rows of --data")
    model = model_of(settings)
    for text in settings["noise"]:
        model.require_noise("--noise", text)
    covariance = specs.parse_covariance(settings["covariance"], settings["d"])
    noises = [specs.parse_noise(text) for text in settings["noise"]]
    seed = settings["seed"]
    # Results of versions that had dense targets only do not name one.
    target = specs.parse_target(settings.get("target") or "dense", covariance.d, seed)
    return [model.problem(covariance, noise, theta_star=target, seed=seed) for noise in noises]


def model_of(settings) -> specs.Model:
    """The model of the settings; results of versions that had linear regression only do not name one."""
    return specs.parse_model(settings.get("model") or "linear")


def _data_problem(settings):
    """The problem of the data file, alone in a list."""
    given = settings["data"], settings.get("label"), model_of(settings), settings.get("balance", False)
    problem = rows_problem(*given, option="--")
    problem.require_rows(settings["t_max"], settings["batch_size"])
    return [problem]


def run_experiment(experiment: Experiment, settings, progress: bool | None = False) -> list:
    """Reports, one or two for each noise law and rule; ``progress`` as for ``progress_bar``, a step a stage.

    Theory first: it refuses what the problem cannot have before the simulation spends its time.
    """
    seed, batch_size, reports = settings["seed"], settings["batch_size"], []
    rules = list(zip(experiment.optimizers, experiment.rates, strict=True))
    stages = len(experiment.problems) * (2 * len(rules) + 1)
    with progress_bar(progress, stages, "stage", leave=False) as bar:
        for index, problem in enumerate(experiment.problems, 1):
            given = {"t": _times(experiment, problem), "batch_size": batch_size}
            of = f"problem {index} of {len(experiment.problems)}"
            theories = []
            for i, (rule, lr) in enumerate(rules, 1):
                which = f"{rule.name}, rule {i} of {len(rules)}, {of}"
                theories.append(_theory(problem, rule, lr, settings["n_paths"], seed, given, bar, which))
            bar.set_description(f"simulation of {len(rules)} rules, {of}")
            asked = {"n_runs": settings["n_runs"], "seed": seed}
            runs = simulate(problem, experiment.optimizers, experiment.rates, **asked, **given)
            bar.update()
            for theory, own, lr in zip(theories, runs, experiment.rates, strict=True):
                reports.append(RunsOnly(own, theory) if isinstance(theory, str) else compare(theory[0], own, theory[1]))
                if data.covers(problem, own.optimizer, batch_size):
                    reports.append(compare(data.solve_ode(problem, own.optimizer, lr, **given), own))
    return reports


def solve_limits(experiment: Experiment, settings) -> list[Limit]:
    """The theory alone, one or two for each noise law and rule."""
    limits = []
    for problem in experiment.problems:
        given = {"t": _times(experiment, problem), "batch_size": settings["batch_size"]}
        for rule, lr in zip(experiment.optimizers, experiment.rates, strict=True):
            reason = _no_limit(problem, rule, given)
            curve = None if reason else solve_ode(problem, rule, lr, save_modes=False, **given)
            limits.append(Limit(problem, rule, curve, reason or curve.status))
            if data.covers(problem, rule, settings["batch_size"]):
                curve = data.solve_ode(problem, rule, lr, **given)
                limits.append(Limit(problem, rule, curve, curve.status))
    return limits


def _times(experiment, problem):
    """Whole steps near the times of the experiment."""
    return np.unique(np.rint(experiment.times * problem.d)) / problem.d


def _no_limit(problem, rule, given) -> str | None:
    """The reason why the rule has no limit here, or None."""
    try:
        rule.limit(problem, given["batch_size"])
    except NoLimitError as error:
        return error.reason
    return None


def _theory(problem, rule, lr, n_paths, seed, given, bar, which):
    """(ODE, SDE paths), or the reason why the rule has no limit here."""
    bar.set_description(f"theory of {which}")
    reason = _no_limit(problem, rule, given)
    if reason:
        bar.update(2)
        return reason
    # At the times of what solve_sde solves first: it is the same program, and compiled once.
    curve = solve_ode(problem, rule, lr, **{**given, "t": theory_times(given["t"])}, save_modes=False)
    bar.update()
    bar.set_description(f"SDE of {which}")
    several = isinstance(problem, MultiOutput)  # of which there are no paths
    paths = None if several else solve_sde(problem, rule, lr, n_paths=n_paths, seed=seed, **given)
    bar.update()
    return _at(curve, given["t"]), paths


def _at(curve, times):
    """The curve at some of its times."""
    kept = np.searchsorted(curve.t, times)
    arrays = {name: getattr(curve, name)[kept] for name in ("t", "risk", "lr", "phi", "slope")}
    overlaps = None if curve.overlaps is None else curve.overlaps[kept]
    spread = None if curve.spread is None else replace(curve.spread, times=times, found={})
    return replace(curve, **arrays, overlaps=overlaps, spread=spread)


def _rates(texts, names, t_max):
    """One learning rate for each optimizer, from '0.5' (for all) and 'sgd=0.3' (for one)."""
    rates = dict.fromkeys(names, None)
    for text in sorted(texts, key=lambda text: _own(text, names)[0] is not None):
        name, own = _own(text, names)
        for key in [name] if name else names:
            rates[key] = specs.parse_schedule(own, t_max)
    missing = [name for name, value in rates.items() if value is None]
    if missing:
        raise ValueError(f"--lr: no learning rate for {missing[0]}; give one for all, or --lr {missing[0]}=0.5")
    return [rates[name] for name in names]


def _own(text, names):
    """(optimizer, rest) of 'OPTIMIZER=rest', by the optimizer's text or bare name; (None, text) otherwise."""
    known = {specs.canonical(key): name for name in names for key in (name.partition(":")[0], name)}
    said = specs.canonical(text)
    matches = [key for key in known if said.startswith(f"{key}=")]
    if matches:
        key = max(matches, key=len)
        return known[key], said[len(key) + 1 :]
    name, equals, _ = text.partition("=")
    if equals and ":" not in name:
        raise ValueError(f"--lr: {name!r} is not one of the optimizers{nearest(name, known)}")
    return None, text
