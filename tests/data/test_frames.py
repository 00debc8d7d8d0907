"""Problems from data frames and from tables with a header."""

import warnings

import numpy as np
import pytest

import sdelimit as sl
from sdelimit.experiments.comparison_run import experiment_of

pd = pytest.importorskip("pandas")
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(RNG.standard_normal((60, 4)), columns=["rooms", "area", "age", "price"])
FEATURES = TABLE.drop(columns="price")
EXPECTED = sl.data.from_arrays(FEATURES.to_numpy(), TABLE["price"].to_numpy()).theta_star


@pytest.mark.parametrize(
    "y", [TABLE["price"], TABLE[["price"]], TABLE[["price"]].to_numpy(), list(TABLE["price"])], ids=repr
)
def test_labels_may_be_a_series_a_frame_or_a_column(y):
    np.testing.assert_allclose(sl.data.from_arrays(FEATURES, y).theta_star, EXPECTED)


@pytest.mark.parametrize("kind", ["Float64", "float32", object])
def test_numbers_of_any_kind_are_numbers(kind):
    problem = sl.data.from_arrays(FEATURES.astype(kind), TABLE["price"].astype(kind))
    np.testing.assert_allclose(problem.theta_star, EXPECTED, rtol=1e-5)
    flags = pd.DataFrame({"new": FEATURES["age"] > 0, "area": FEATURES["area"]})
    expected = sl.data.from_arrays(flags.to_numpy(float), TABLE["price"]).theta_star
    np.testing.assert_allclose(sl.data.from_arrays(flags, TABLE["price"]).theta_star, expected)


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (FEATURES.assign(colour="red"), TABLE["price"], TypeError, "X, column 'colour' must hold real numbers"),
        (
            FEATURES.assign(day=pd.Timestamp("2020-01-01")),
            TABLE["price"],
            TypeError,
            "X, column 'day' must hold real numbers, got datetime",
        ),
        (
            FEATURES.assign(kind=pd.Categorical(["a", "b"] * 30)),
            TABLE["price"],
            TypeError,
            "X, column 'kind' must hold real numbers, got 'a'",
        ),
        (FEATURES.assign(flat=2.0), TABLE["price"], ValueError, "constant column.*: column 'flat' is"),
        (
            FEATURES.drop(index=7).reindex(TABLE.index),
            TABLE["price"],
            ValueError,
            "X, column 'rooms' must not miss .* row 7",
        ),
        (FEATURES.assign(area=np.inf), TABLE["price"], ValueError, "X, column 'area' must be finite"),
        (FEATURES[[]], TABLE["price"], ValueError, "X must not be empty"),
        (FEATURES, TABLE["price"].astype("Float64").where(TABLE.index != 3), ValueError, "y, column 'price' .* row 3"),
        (FEATURES, TABLE["price"].astype(str), TypeError, "y, column 'price' must hold real numbers"),
        (FEATURES, TABLE[["age", "price"]], ValueError, r"y must have one column, got the columns \['age', 'price'\]"),
        (FEATURES, TABLE["price"][:-1], ValueError, r"y must have shape \(60,\)"),
    ],
)
def test_what_is_wrong_is_said_with_the_name_of_the_column(X, y, error, message):
    with pytest.raises(error, match=message):
        sl.data.from_arrays(X, y)


@pytest.mark.parametrize("name", ["homes.csv", "homes.tsv", "homes.txt.gz", "homes.parquet"])
def test_the_target_is_a_column_by_its_name_or_number(name, tmp_path):
    path = tmp_path / name
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
        TABLE.to_parquet(path)
    else:
        TABLE[["price", *FEATURES]].to_csv(path, index=False, sep=";" if "csv" in name else "\t")
    column = 3 if name.endswith("parquet") else 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for target in ("price", column, str(column)):
            problem = sl.data.from_file(path, target)
            np.testing.assert_allclose(problem.theta_star, EXPECTED, rtol=1e-9)
            assert problem.name == name
    for target, message in [
        ("prise", r"no column 'prise' \(did you mean 'price'\?\); the table has "),
        (4, "target must be a column of the table, -1 or 0 to 3, got 4"),
        ("4", "target must be a column of the table, -1 or 0 to 3, got 4"),
    ]:
        with pytest.raises(ValueError, match=message):
            sl.data.from_file(path, target)


def test_a_name_that_two_columns_have_or_none_could_have_is_refused(tmp_path):
    (tmp_path / "twice.csv").write_text("y,x,y\n1,2,3\n4,5,7\n")
    with pytest.raises(ValueError, match="target must be the name of one column, got 'y', which 2 have"):
        sl.data.from_file(tmp_path / "twice.csv", "y")
    (tmp_path / "bare.csv").write_text("1,2,3\n4,5,7\n")
    with pytest.raises(ValueError, match="the data have no header to find a column of this name in"):
        sl.data.from_file(tmp_path / "bare.csv", "y")
    (tmp_path / "flat.csv").write_text("1,2,3\n1,5,7\n")
    with pytest.raises(ValueError, match="constant column, which no rule can learn from: column 1 is"):
        sl.data.from_file(tmp_path / "flat.csv", -1)


def test_the_command_line_takes_the_label_by_name(tmp_path):
    TABLE[["price", *FEATURES]].to_csv(tmp_path / "homes.csv", index=False)
    settings = {
        "data": str(tmp_path / "homes.csv"), "label": "price", "t_max": 2.0, "points": 3, "n_runs": 1, "n_paths": 1,
        "optimizer": ("sgd",), "lr": ("0.1",), "batch_size": 1, "seed": 0,
    }  # fmt: skip
    (problem,) = experiment_of(settings).problems
    np.testing.assert_allclose(problem.theta_star, EXPECTED, rtol=1e-9)
