"""The record of one patient as a question: its events, newest first, and what to count of them.

A date stands where the period that its text means begins: `2024` at 1 January 2024, in UTC. Of
several that begin together the longer period comes first, then kinds and keys by letter. A period
that is asked for holds the dates all of which lie in it, as in any filter. A time without an offset
is read as UTC.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from researchflow_runners.query.group_model import Aggregate
from researchflow_runners.query.model import AllOf, AnyOf, Asking, Compare, Filter, Order, Query
from researchflow_runners.views import EVENTS_KINDS, EVENTS_VIEW, EventKind

COLUMNS = (
    "date", "kind", "code", "display", "value", "unit", "status", "system", "view", "id",
)  # fmt: skip
ORDER = ("kind", "view", "id")
_PLACE = re.compile(r"where\.all_of\[(\d)\]")
#: A comparison that holds a date in the period, and the one that is true of a date beyond it.
_BEYOND: dict[str, Any] = {"ge": "lt", "le": "gt"}


class Timeline(Asking):
    """One patient's events; `since` and `until` are dates of any precision, both included."""

    patient: str = Field(min_length=1, description="patient_id")
    kinds: Annotated[
        list[EventKind] | None, WithJsonSchema({"type": "array", "items": {"type": "string"}})
    ] = Field(default=None, min_length=1, description="lab, procedure ..")
    since: str | None = None
    until: str | None = None

    def query(self) -> Query:
        """The events as a question to the view that holds them."""
        asking = self.model_fields_set & Asking.model_fields.keys()
        return Query(
            view=EVENTS_VIEW,
            columns=list(COLUMNS),
            where=AllOf(all_of=[*self._kept(), *self._dated()]),
            order_by=[
                Order(column="date", descending=True),
                *(Order(column=name) for name in ORDER),
            ],
            **{name: getattr(self, name) for name in asking},
        )

    def _kept(self) -> list[Filter]:
        key = self.patient.removeprefix("Patient/")
        found: list[Filter] = [Compare(column="patient_id", op="eq", value=key)]
        if self.kinds is not None:
            found.append(Compare(column="kind", op="in", value=list(self.kinds)))
        return found

    def _dated(self) -> list[Filter]:
        found: list[Filter] = []
        if self.since is not None:
            found.append(Compare(column="date", op="ge", value=self.since))
        if self.until is not None:
            found.append(Compare(column="date", op="le", value=self.until))
        return found or [Compare(column="date", op="not_null")]

    def field_of(self, path: str | None) -> str | None:
        """The argument that a path of the question comes from."""
        given = ["patient", *(name for name in ("kinds", "since", "until") if getattr(self, name))]
        place = _PLACE.match(path or "")
        return given[int(place[1])] if place else path


def counts_of(asked: Query) -> Query:
    """By kind, how many events there are and how many have a date, whatever the period."""
    kept = [node for node in _nodes(asked) if not _is_of_date(node)]
    return _grouped(kept, Aggregate(fn="count"), Aggregate(fn="count", column="date"))


def counts_within(asked: Query) -> Query:
    """By kind, how many events lie in the period."""
    return _grouped(_nodes(asked), Aggregate(fn="count"))


def counts_beyond(asked: Query) -> Query | None:
    """By kind, how many events lie beyond the period for certain; None without a period."""
    beyond: list[Filter] = [
        node.model_copy(update={"op": _BEYOND[node.op]})
        for node in _nodes(asked)
        if isinstance(node, Compare) and _is_of_date(node) and node.op in _BEYOND
    ]
    if not beyond:
        return None
    kept = [node for node in _nodes(asked) if not _is_of_date(node)]
    return _grouped([*kept, AnyOf(any_of=beyond)], Aggregate(fn="count"))


def _nodes(asked: Query) -> list[Filter]:
    assert isinstance(asked.where, AllOf)
    return asked.where.all_of


def _is_of_date(node: Filter) -> bool:
    return isinstance(node, Compare) and node.column == "date"


def _grouped(nodes: list[Filter], *aggregates: Aggregate) -> Query:
    return Query(
        view=EVENTS_VIEW,
        where=AllOf(all_of=nodes),
        group_by=["kind"],
        aggregates=list(aggregates),
        limit=len(EVENTS_KINDS),
    )
