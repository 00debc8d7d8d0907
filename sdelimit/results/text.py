"""Tables as aligned text."""

import numpy as np

from sdelimit.noise.gaussian import NoNoise
from sdelimit.problem.linear_regression import LinearRegression

BAND = (0.1, 0.9)
LINEAR = "LinearRegression()"
"""What files and tables call linear regression beside other models."""


def align(rows) -> str:
    """Rows of strings in columns as wide as their widest entry."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def rule_labels(optimizers) -> dict:
    """What to call each of these rules beside the others: its name, with its numbers where two share a name."""
    different = {repr(rule): rule for rule in optimizers}
    names = [rule.name for rule in different.values()]
    return {text: text if names.count(rule.name) > 1 else rule.name for text, rule in different.items()}


def describe_model(problem) -> str:
    """'' for linear regression; otherwise the class and its loss, 'LogisticRegression(labels='hard')'."""
    return "" if isinstance(problem, LinearRegression) else problem.model


def describe_noise(problem) -> str:
    """A problem's label noise, or what its rows and labels come from."""
    return problem.data_name or repr(problem.noise)


def describe_panel(problem) -> str:
    """The title of a problem's panel: its label noise, and above it its model unless that is linear regression.

    Of a problem made of data its name, rows and columns.
    """
    if problem.longest_run(1) < np.inf:
        model = "" if isinstance(problem, LinearRegression) else ", logistic"
        return f"{problem.data_name or 'data'}{model}: n = {problem.n}, d = {problem.d}"
    model, noise = describe_model(problem), repr(problem.noise)
    if not model:
        return noise
    return model if isinstance(problem.noise, NoNoise) else f"{model}\n{noise}"
