"""Which aggregates apply to which columns, and what each of them takes."""

from __future__ import annotations

from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import Kind
from researchflow_runners.query.group_model import Aggregate

_NUMBERS: tuple[Kind, ...] = ("integer", "decimal")
_ORDERED: tuple[Kind, ...] = (*_NUMBERS, "period", "time", "text")
_SINGLE: tuple[Kind, ...] = (*_NUMBERS, "time", "text", "boolean")
#: The kinds of columns that each function but the counts applies to.
APPLIES: dict[str, tuple[Kind, ...]] = {
    "min": _ORDERED,
    "max": _ORDERED,
    "avg": _NUMBERS,
    "sum": _NUMBERS,
    "stddev": _NUMBERS,
    "median": (*_NUMBERS, "period"),
    "percentile": (*_NUMBERS, "period"),
    "any_value": (*_ORDERED, "boolean"),
    "first": _SINGLE,
    "last": _SINGLE,
    "change": _NUMBERS,
    "span_days": ("period",),
}
#: Those that order the rows of a group by a date, and which way.
DATED = ("first", "last", "change")


def check_arguments(aggregate: Aggregate, *, at: str) -> None:
    """What goes with some functions only; QueryError `invalid_argument` or `value_type`."""
    if aggregate.p is not None and aggregate.fn != "percentile":
        raise _takes_none(aggregate, "p", '{"fn": "percentile", "column": c, "p": 0.25}', at=at)
    if aggregate.by is not None and aggregate.fn not in DATED:
        raise _takes_none(aggregate, "by", '{"fn": "last", "column": c, "by": date}', at=at)
    if aggregate.fn == "percentile" and (aggregate.p is None or not 0 <= aggregate.p <= 1):
        raise QueryError(
            'aggregate "percentile" needs p from 0 to 1',
            code="value_type",
            hint="write 0.25 for the 25th percentile, 0.5 for the median",
            field=f"{at}.p",
        )


def _takes_none(aggregate: Aggregate, argument: str, example: str, *, at: str) -> QueryError:
    return QueryError(
        f'aggregate "{aggregate.fn}" takes no {argument}',
        code="invalid_argument",
        hint=f"leave {argument} out, or ask for {example}",
        field=f"{at}.{argument}",
    )


def check_kind(aggregate: Aggregate, kind: Kind, column: str, *, at: str) -> None:
    """QueryError `aggregate_type` where the function does not apply to such a column."""
    allowed = APPLIES[aggregate.fn]
    if kind in allowed:
        return
    raise QueryError(
        f'aggregate "{aggregate.fn}" does not apply to column "{column}"',
        code="aggregate_type",
        hint=f"it takes a column of kind {' or '.join(allowed)}; the allowed ones take this kind",
        field=f"{at}.fn",
        allowed=("count", "count_distinct", *(fn for fn in APPLIES if kind in APPLIES[fn])),
    )
