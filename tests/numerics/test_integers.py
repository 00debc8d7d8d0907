"""Whole numbers."""

import pytest

from sdelimit.numerics.integers import ceil_div


@pytest.mark.parametrize(
    ("a", "b", "groups"), [(0, 3, 0), (1, 3, 1), (3, 3, 1), (4, 3, 2), (10**18 + 1, 2, 5 * 10**17 + 1)]
)
def test_groups_are_as_few_as_hold_all(a, b, groups):
    assert ceil_div(a, b) == groups
