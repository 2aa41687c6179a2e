"""Kaplan–Meier: a published example, and a plain Python product over everyone at risk."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import exp, log, sqrt
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_server.pictures.kaplan_meier import at_risk_at, kaplan_meier

Subjects: TypeAlias = list[tuple[Decimal, bool]]

#: Weeks in remission of Freireich et al., Blood 1963, as Cox and Oakes tell them; + is censored.
MERCAPTOPURINE = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"
#: time, at risk, events, survival, standard error: the table that textbooks print.
MERCAPTOPURINE_TABLE = [
    (6, 21, 3, 0.857, 0.0764), (7, 17, 1, 0.807, 0.0869), (10, 15, 1, 0.753, 0.0963),
    (13, 12, 1, 0.690, 0.1068), (16, 11, 1, 0.627, 0.1141), (22, 7, 1, 0.538, 0.1282),
    (23, 6, 1, 0.448, 0.1346),
]  # fmt: skip
PLACEBO_TABLE = [
    (1, 21, 2, 0.905, 0.0641), (2, 19, 2, 0.810, 0.0857), (3, 17, 1, 0.762, 0.0929),
    (4, 16, 2, 0.667, 0.1029), (5, 14, 2, 0.571, 0.1080), (8, 12, 4, 0.381, 0.1060),
    (11, 8, 2, 0.286, 0.0986), (12, 6, 2, 0.190, 0.0857), (15, 4, 1, 0.143, 0.0764),
    (17, 3, 1, 0.095, 0.0641), (22, 2, 1, 0.048, 0.0465), (23, 1, 1, 0.0, None),
]  # fmt: skip


def subjects(text: str) -> Subjects:
    return [(Decimal(part.rstrip("+")), not part.endswith("+")) for part in text.split()]


@pytest.mark.parametrize(
    ("text", "table"), [(MERCAPTOPURINE, MERCAPTOPURINE_TABLE), (PLACEBO, PLACEBO_TABLE)]
)
def test_the_published_table_comes_out(text: str, table: list[tuple[float, ...]]) -> None:
    steps = [step for step in kaplan_meier(subjects(text)) if step.events]
    assert [(int(step.time), step.at_risk, step.events) for step in steps] == [
        row[:3] for row in table
    ]
    for step, (*_numbers, survival, error) in zip(steps, table, strict=True):
        assert step.survival == pytest.approx(survival, abs=0.0005)
        if error is None:
            assert (step.lower, step.upper) == (None, None)
            continue
        spread = 1.959963984540054 * error / (survival * log(survival))
        assert step.lower == pytest.approx(survival ** exp(-spread), abs=0.002)
        assert step.upper == pytest.approx(survival ** exp(spread), abs=0.002)


def test_the_censored_of_an_event_time_were_at_risk_of_it() -> None:
    steps = kaplan_meier(subjects("5 5+ 7"))
    assert [(step.at_risk, step.events, step.censored) for step in steps] == [
        (3, 0, 0), (3, 1, 1), (1, 1, 0),
    ]  # fmt: skip
    assert [step.survival for step in steps] == pytest.approx([1, 2 / 3, 0])


def test_nobody_has_no_curve_and_an_event_at_the_start_counts() -> None:
    assert kaplan_meier([]) == []
    (step,) = kaplan_meier(subjects("0 0+"))
    assert (step.at_risk, step.events, step.censored, step.survival) == (2, 1, 1, 0.5)


def test_numbers_at_risk_are_those_before_the_time() -> None:
    steps = kaplan_meier(subjects("2 4 4+ 9"))
    assert [at_risk_at(steps, time) for time in (0, 1, 2, 3, 4, 5, 9, 10)] == [
        4, 4, 4, 3, 3, 1, 1, 0,
    ]  # fmt: skip


def plainly(followed: Subjects, time: Decimal) -> tuple[Fraction, float]:
    """Survival just after the time and Greenwood's sum, counted anew for every event time."""
    survival, greenwood = Fraction(1), 0.0
    for event_time in sorted({end for end, is_event in followed if is_event and end <= time}):
        at_risk = sum(1 for end, _is_event in followed if end >= event_time)
        events = sum(1 for end, is_event in followed if is_event and end == event_time)
        survival *= Fraction(at_risk - events, at_risk)
        if events < at_risk:
            greenwood += events / (at_risk * (at_risk - events))
    return survival, greenwood


@given(
    st.lists(
        st.tuples(st.decimals(min_value=0, max_value=12, places=1, allow_nan=False), st.booleans()),
        max_size=40,
    )
)
def test_curves_equal_the_plain_product(followed: Subjects) -> None:
    steps = kaplan_meier(followed)
    assert {step.time for step in steps} == ({Decimal(0)} if followed else set()) | {
        time for time, _is_event in followed
    }
    for step in steps:
        survival, greenwood = plainly(followed, step.time)
        assert step.survival == pytest.approx(float(survival), abs=1e-12)
        assert step.at_risk == sum(1 for time, _is_event in followed if time >= step.time)
        if 0 < survival < 1:
            spread = 1.959963984540054 * sqrt(greenwood) / log(survival)
            assert step.lower == pytest.approx(float(survival) ** exp(-spread), abs=1e-9)
            assert step.upper == pytest.approx(float(survival) ** exp(spread), abs=1e-9)
        else:
            assert (step.lower, step.upper) == (None, None)
