"""A criterion as two filters over patients: where it is true, and where it is false.

A patient whom neither keeps is undecided. `not` exchanges the two; no filter is ever negated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from researchflow_server.contract import AllOf, AnyOf, Compare, Filter, InQuery, Not, SubQuery

PATIENTS = "patient_demographics"
PATIENT_KEY = "id"
ROW_KEY = "id"
REFERENCE = "patient_id"

_OPPOSITE = {
    "eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "gt": "le", "le": "gt",
    "in": "not_in", "not_in": "in", "is_null": "not_null", "not_null": "is_null",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Truth:
    """`decided` tells that every patient is in one of the two."""

    holds: Filter
    fails: Filter
    decided: bool

    def opposite(self) -> Truth:
        """The truth of `not`."""
        return Truth(self.fails, self.holds, self.decided)


@dataclass(frozen=True, slots=True)
class Test:
    """When a record passes and when it does not; otherwise nobody can tell."""

    passes: Filter
    fails: Filter

    @classmethod
    def of(cls, passes: Filter) -> Test:
        """A filter that is false exactly where the record fails."""
        return cls(passes, denied(passes))


@dataclass(frozen=True, slots=True)
class Rows:
    """Records that count: those of `base` that pass every test, `rows_min` of them."""

    view: str
    base: tuple[Filter, ...]
    tests: tuple[Test, ...] = ()
    rows_min: int = 1


def every(truths: Sequence[Truth]) -> Truth:
    """True when all are, false when one is."""
    return Truth(
        all_of([truth.holds for truth in truths]),
        any_of([truth.fails for truth in truths]),
        all(truth.decided for truth in truths),
    )


def some(truths: Sequence[Truth]) -> Truth:
    """True when one is, false when all are."""
    return every([truth.opposite() for truth in truths]).opposite()


def patient_truth(tests: Sequence[Filter], *, decided: bool) -> Truth:
    """Tests of the patient's own row."""
    test = all_of(tests)
    return Truth(test, denied(test), decided)


def record_truth(rows: Rows) -> Truth:
    """True with enough records that count; false with too few even if the unknown ones counted."""
    counting = (*rows.base, *(test.passes for test in rows.tests))
    holds = _patients(rows, "in", counting)
    if not rows.tests:
        return Truth(holds, _patients(rows, "not_in", counting), decided=True)
    against = all_of((*rows.base, any_of([test.fails for test in rows.tests])))
    possible = InQuery(
        column=ROW_KEY,
        op="not_in",
        query=SubQuery(view=rows.view, column=ROW_KEY, where=against),
    )
    return Truth(holds, _patients(rows, "not_in", (*rows.base, possible)), decided=False)


def _patients(rows: Rows, op: Literal["in", "not_in"], where: Sequence[Filter]) -> InQuery:
    query = SubQuery(
        view=rows.view,
        column=REFERENCE,
        where=all_of(where) if where else None,
        min_rows=rows.rows_min,
    )
    return InQuery(column=PATIENT_KEY, op=op, query=query)


def all_of(parts: Sequence[Filter]) -> Filter:
    """The filters together; a nested all_of is taken apart, as depth is bounded."""
    flat: list[Filter] = []
    for part in parts:
        flat += part.all_of if isinstance(part, AllOf) else [part]
    return flat[0] if len(flat) == 1 else AllOf(all_of=flat)


def any_of(parts: Sequence[Filter]) -> Filter:
    """One of the filters; a nested any_of is taken apart, as depth is bounded."""
    flat: list[Filter] = []
    for part in parts:
        flat += part.any_of if isinstance(part, AnyOf) else [part]
    return flat[0] if len(flat) == 1 else AnyOf(any_of=flat)


def denied(part: Filter) -> Filter:
    """Kept where the filter is false; where it is unknown neither is kept.

    Told by opposite operators and not by `not`, because depth is bounded.
    """
    if isinstance(part, AllOf):
        return any_of([denied(each) for each in part.all_of])
    if isinstance(part, AnyOf):
        return all_of([denied(each) for each in part.any_of])
    if isinstance(part, Compare) and part.op in _OPPOSITE:
        return part.model_copy(update={"op": _OPPOSITE[part.op]})
    return Not.model_validate({"not": part})


def one_of(column: str, values: Sequence[str]) -> Compare:
    """The column is one of the values, exactly."""
    return Compare(column=column, op="in", value=list(values))
