"""Guessed names: a help for a slip of the pen, never another question."""

from __future__ import annotations

import pytest

from researchflow_runners.naming import nearest

OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "contains", "starts_with")


@pytest.mark.parametrize("name", ["gte", "lte", "like", "line"])
def test_an_ambiguous_short_name_is_not_guessed(name: str) -> None:
    assert nearest(name, OPERATORS) is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [("GE", "ge"), ("eqs", "eq"), ("startswith", "starts_with"), ("contain", "contains")],
)
def test_a_slip_of_the_pen_is_understood(name: str, meant: str) -> None:
    assert nearest(name, OPERATORS) == meant
