"""`today()`, `now()`, `timeOfDay()`: the start of the statement's transaction, in UTC.

One instant for every call and every resource of one run. What depends on it cannot be kept:
CompiledView.volatile says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Form
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types, system_type
from researchflow_runners.sql import Sql, compose, fixed

INSTANT = "transaction_timestamp()"
#: A subquery of its own, which PostgreSQL evaluates once for all rows.
WRITTEN = "(SELECT to_char({instant} AT TIME ZONE 'UTC', {format}))"
#: FHIR type → how to_char writes it.
FORMATS = {
    "date": "'YYYY-MM-DD'",
    "dateTime": """'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'""",
    "time": "'HH24:MI:SS.MS'",
}


@dataclass(frozen=True)
class Clock(Expr):
    """The instant as a date, a dateTime or a time."""

    written_as: str

    @property
    def types(self) -> Types:
        return (system_type(self.written_as),)

    @property
    def form(self) -> Form:
        return "text"

    def value(self) -> Sql:
        return compose(WRITTEN, instant=fixed(INSTANT), format=fixed(FORMATS[self.written_as]))


def reads_clock(statement: Sql) -> bool:
    """Whether the rows of a statement depend on when it runs."""
    return any(INSTANT in part for part in statement.parts if isinstance(part, str))


@function("today")
def today(call: Invocation) -> Expr:
    return Clock("date", span=call.span)


@function("now")
def now(call: Invocation) -> Expr:
    return Clock("dateTime", span=call.span)


@function("timeOfDay")
def time_of_day(call: Invocation) -> Expr:
    return Clock("time", span=call.span)
