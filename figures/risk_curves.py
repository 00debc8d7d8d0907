"""Risk of signSGD and SGD, theory and experiment, across label noise laws.

See: every circle (median of the runs) on its line and the error bars filling the band, also where the variance of the
noise is infinite and SGD has no risk at all.
Claim (arXiv:2411.12135): the risk of signSGD follows the ODE, its spread the SDE, for any label noise.
"""

import numpy as np
from style import correlated

import sdelimit as sl
from sdelimit.report.plot import plot_reports

NOISES = (
    sl.noise.Gaussian(0.5),
    sl.noise.Laplace(0.4),
    sl.noise.TwoPoint(0.5),
    sl.noise.StudentT(5.0, 0.4),
    sl.noise.StudentT(1.5, 0.3),
    sl.noise.Cauchy(0.2),
)


def draw(quick=False):
    d, n = (150, 24) if quick else (600, 96)
    rules = [sl.sign_sgd(), sl.sgd()]
    reports = []
    for noise in NOISES:
        problem = sl.LinearRegression(correlated(sl.covariance.ar1(d, 0.5)), noise)
        here = rules if np.isfinite(noise.second_moment) else rules[:1]
        for rule, runs in zip(here, sl.simulate(problem, here, 0.5, 4.0, n_runs=n), strict=True):
            theory = sl.solve_ode(problem, rule, 0.5, t=runs.t)
            reports.append(sl.compare(theory, runs, sl.solve_sde(problem, rule, 0.5, t=runs.t, n_paths=n)))
    return plot_reports(reports)
