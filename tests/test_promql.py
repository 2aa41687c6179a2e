"""The reader of expressions that the dashboard's and rules' tests rely on."""

from __future__ import annotations

from promql import Selector, grouping_labels, selectors


def test_functions_groupings_and_durations_are_no_metrics() -> None:
    expression = 'sum by (view, le) (rate(a_total{view=~"x{y}", outcome="hit"}[5m] offset 1h)) > 2'
    assert selectors(expression) == {
        Selector("a_total", frozenset({("view", ""), ("outcome", "hit")}))
    }
    assert grouping_labels(expression) == {"view", "le"}


def test_matchers_other_than_equality_ask_for_no_value() -> None:
    (found,) = selectors('a{b="1", c!="2", d=~"3"}')
    assert found.matchers == {("b", "1"), ("c", ""), ("d", "")}


def test_both_sides_of_a_set_operation_are_read() -> None:
    assert {
        found.metric for found in selectors("max(a) unless on (job) time() - job:b:c <= 3")
    } == {
        "a",
        "job:b:c",
    }
