"""Answers what happened to one patient, and counts what the list does not show, in one snapshot."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.periods import without_offset
from researchflow_runners.composed.shipped import is_shipped
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.materialized import MaterializedViewRunner
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.hybrid.state import State
from researchflow_runners.query.model import Query
from researchflow_runners.query.sql import build_statement
from researchflow_runners.query.timeline import (
    Timeline,
    counts_beyond,
    counts_of,
    counts_within,
)
from researchflow_runners.sql import compose, ident, param
from researchflow_runners.views import EVENTS_KINDS, EVENTS_VIEW, shipped_libraries

PATIENTS_VIEW = "patient_simple"


@dataclass(frozen=True, slots=True)
class Record:
    """What a patient's record holds of the kinds asked for.

    `kinds` counts the events of the whole list, of all its pages, by kind. `undated` events have
    no date, and `undecided` ones a partial date that lies across an end of the period: neither are
    listed. `unplaced` ones, in or out of the period, have a time without an offset, read as UTC.
    """

    kinds: dict[str, int]
    undated: int
    undecided: int
    unplaced: int = 0

    @property
    def events(self) -> int:
        """The events of the whole list."""
        return sum(self.kinds.values())


async def read_timeline(views: MaterializedViewRunner, timeline: Timeline) -> tuple[Answer, Record]:
    """The page of events and what to know of the rest.

    QueryError `unknown_patient` where neither an event nor a patient has the key, and what any
    query of the view raises.
    """
    try:
        return await views.query_beside(timeline.query(), lambda state: _record(state, timeline))
    except QueryError as error:
        error.field = timeline.field_of(error.field)
        raise


async def _record(state: State, timeline: Timeline) -> Record:
    _require_ours(state)
    of_all = await _counted(state, counts_of(state.query))
    events = sum(counts[0] for counts in of_all.values())
    if not events:
        await _require_patient(state, timeline.patient.removeprefix("Patient/"))
    dated = {kind: counts[1] for kind, counts in of_all.items() if counts[1]}
    undated = events - sum(dated.values())
    unplaced = await _unplaced(state, timeline)
    beyond = counts_beyond(state.query)
    if beyond is None:
        return Record(dated, undated, 0, unplaced)
    within = {
        kind: counts[0]
        for kind, counts in (await _counted(state, counts_within(state.query))).items()
    }
    outside = sum(counts[0] for counts in (await _counted(state, beyond)).values())
    undecided = sum(dated.values()) - sum(within.values()) - outside
    return Record(within, undated, undecided, unplaced)


async def _unplaced(state: State, timeline: Timeline) -> int:
    """How many events of the kinds asked for have a time that no offset places."""
    kinds = list(timeline.kinds or EVENTS_KINDS)
    found = await state.session.fetchval(
        compose(
            "SELECT count(*) FROM {} AS e WHERE e.patient_id = {} AND e.kind = ANY ({}) AND {}",
            state.relations(EVENTS_VIEW, {"patient_id", "kind", "date"}),
            param(timeline.patient.removeprefix("Patient/"), "text"),
            param(kinds, "text[]"),
            without_offset(ident("e", "date")),
        )
    )
    return int(found)


async def _counted(state: State, query: Query) -> dict[str, tuple[int, ...]]:
    statement = build_statement(query, state.catalogue, state.relations, on=state.today)
    records = await state.session.fetch(statement.sql)
    page = statement.page([tuple(record.values()) for record in records])
    return {row[0]: tuple(row[1:]) for row in page.rows}


def _require_ours(state: State) -> None:
    """QueryError `view_not_published` where the view of that name is somebody else's."""
    view = state.views[EVENTS_VIEW]
    if isinstance(view, ComposedView) and is_shipped(view, shipped_libraries()):
        return
    raise QueryError(
        f'the view "{EVENTS_VIEW}" is not the one that comes with the product',
        code="view_not_published",
        hint="drop it, and the next refresh brings ours; or ask it with query_view",
        field="view",
    )


async def _require_patient(state: State, key: str) -> None:
    """Returns where the key is that of a patient; the error does not repeat it."""
    if PATIENTS_VIEW not in state.views:
        raise QueryError(
            f'whether there is such a patient is not known: view "{PATIENTS_VIEW}" is not there',
            code="view_not_published",
            hint="run refresh_views first",
            field="patient",
        )
    found = await state.session.fetchval(
        compose(
            "SELECT EXISTS (SELECT FROM {} AS p WHERE p.id = {})",
            state.relations(PATIENTS_VIEW, {"id"}),
            param(key, "text"),
        )
    )
    if not found:
        raise QueryError(
            "there is no patient of that key, and no event of one",
            code="unknown_patient",
            hint="give a patient_id as the views hold it; query_view of patient_demographics"
            " finds them by name, birth_date and gender",
            field="patient",
        )
