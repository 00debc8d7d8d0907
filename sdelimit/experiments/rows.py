"""Problems of rows in a file, from texts: the file stands where the covariance does, and the noise is 'rows'.

'rows:price' says that the labels are the column "price"; 'rows' alone that they are the last.
"""

import numpy as np

from sdelimit import data
from sdelimit.experiments import specs
from sdelimit.problem.regression import Regression

ROWS = "rows"
FROM_ROWS = {"LinearRegression()": "linear", "LogisticRegression(labels='hard')": "logistic"}
"""Models of data."""


def are_rows(noise: str) -> bool:
    """Whether the text of the noise says that the covariance is a file of rows."""
    return noise.partition(":")[0] == ROWS


def input_texts(covariances, noises) -> list[str]:
    """The texts that may be names of input files: 'rows:y.csv' is none, but says what a column is called."""
    return [*covariances, *(noise for noise in noises if not are_rows(noise))]


def rows_text(label: str | None) -> str:
    """The text of the noise for labels in the column ``label``; None is the last."""
    return ROWS if label is None else f"{ROWS}:{label}"


def rows_problem(file: str, label: str | None, model: specs.Model, balance: bool = False, option="") -> Regression:
    """The problem of the rows in ``file``. ValueError, names after ``option``, if data cannot have the model."""
    kind = FROM_ROWS.get(model.problem(np.ones(1), None).model)
    if kind is None:
        raise ValueError(f"{option}model must be linear or logistic with {option}data, got {model.text!r}")
    try:
        return data.from_file(file, label, model=kind, balance=balance)
    except ImportError as error:
        raise ValueError(f"{option}data: {error}") from error


def problem_of_rows(file: str, model: str, noise: str) -> Regression:
    """The same from the texts of a sweep's cell."""
    return rows_problem(file, noise.partition(":")[2] or None, specs.parse_model(model))
