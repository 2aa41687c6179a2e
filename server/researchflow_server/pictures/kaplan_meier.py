"""The Kaplan–Meier estimate of survival, from how long each subject was followed and what ended it.

Kaplan and Meier 1958; the variance is Greenwood's, the interval that of log(-log S), which stays
between 0 and 1. Subjects censored at the time of an event were at risk of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from math import exp, log, sqrt

#: Of the normal distribution, for an interval of 95 %.
Z = 1.959963984540054
ORIGIN = Decimal(0)


@dataclass(frozen=True, slots=True)
class Step:
    """What is known at one time: `at_risk` just before it, the rest just after it.

    `lower` and `upper` are None where the interval is not defined: before the first event, and
    where nobody survives.
    """

    time: Decimal
    at_risk: int
    events: int
    censored: int
    survival: float
    lower: float | None
    upper: float | None


def kaplan_meier(subjects: Iterable[tuple[Decimal, bool]]) -> list[Step]:
    """The curve of (time, whether the event came then), from time 0, one step a time.

    Times are not negative; without subjects there is no step.
    """
    ended: Counter[Decimal] = Counter()
    happened: Counter[Decimal] = Counter()
    for time, is_event in subjects:
        (happened if is_event else ended)[time] += 1
    at_risk = ended.total() + happened.total()
    survival, variance = 1.0, 0.0
    steps = []
    for time in sorted({ORIGIN, *ended, *happened} if at_risk else ()):
        events, censored = happened[time], ended[time]
        survival *= (at_risk - events) / at_risk
        if 0 < events < at_risk:
            variance += events / (at_risk * (at_risk - events))
        bounds = _interval(survival, variance)
        steps.append(Step(time, at_risk, events, censored, survival, *bounds))
        at_risk -= events + censored
    return steps


def at_risk_at(steps: Iterable[Step], time: float) -> int:
    """How many were still followed just before the time."""
    return next((step.at_risk for step in steps if step.time >= time), 0)


def _interval(survival: float, variance: float) -> tuple[float | None, float | None]:
    if not 0 < survival < 1:
        return None, None
    spread = Z * sqrt(variance) / log(survival)
    return survival ** exp(-spread), survival ** exp(spread)
