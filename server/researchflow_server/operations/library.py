"""Rows of SQL over views: a SQLQuery or SQLView in the request, or a registered SQLView.

The SQL is checked as that of every composed view is, and reads the published views in one
snapshot, merged with the changes that wait. Values of parameters are bound, never written out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from researchflow_runners.compiler import CompiledView
from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.definition import SqlLibrary
from researchflow_runners.composed.dependencies import views_behind
from researchflow_runners.composed.describe import describe
from researchflow_runners.composed.outputs import columns_sql, fits
from researchflow_runners.composed.parameters import types_of
from researchflow_runners.composed.sql_check import check_sql
from researchflow_runners.composed.stored import known_identities
from researchflow_runners.composed.view import ComposedView, Source, users_sql, with_sql
from researchflow_runners.hybrid.answerable import (
    AnswerableViews,
    answerable_views,
    materialised,
    relation_of,
)
from researchflow_runners.hybrid.facts import read_facts
from researchflow_runners.sql import Sql, compose, fixed, join
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView
from researchflow_server.operations.asked import Asked
from researchflow_server.operations.filters import Filters
from researchflow_server.operations.outcome import OperationError, placed
from researchflow_server.operations.patients import check_in_views
from researchflow_server.operations.rows import OpenRows, selected
from researchflow_server.operations.sql_parameters import parameter_values, require
from researchflow_server.operations.stored import StoredRows, dated_by, require_newest

#: What runs: SQL of the request, or a view that is registered.
SqlSubject: TypeAlias = SqlLibrary | ComposedView
UNNAMED = "sql"


@asynccontextmanager
async def library_rows(
    stored: StoredRows, subject: SqlSubject, asked: Asked
) -> AsyncIterator[OpenRows]:
    """The rows; ViewDefinitionError as `views_behind`, `check_sql` and `describe`.

    OperationError `parameter_invalid`, `parameter_missing` or `patient_not_applicable`;
    QueryError `composed_view_fails`, `composed_view_broken` or `view_set_aside`.
    """
    name = subject.name or UNNAMED
    compiled = await stored.runtime.known_views()
    redis_is_up = await stored.redis_is_up()
    async with stored.snapshot() as session:
        views = await answerable_views(session)
        with placed(asked.named_by):
            behind = await _behind(session, subject, views)
        read = materialised(tuple(behind.values()), views)
        require_newest(read)
        await check_in_views(session, stored.runtime.source, asked.filters.patients)
        facts = await read_facts(
            session,
            views=[view.name for view in read],
            types={view.resource_type for view in read},
            own_type=None,
        )
        reading = _Reading(views, behind, compiled, asked.filters, stored.state(facts))
        async with stored.runtime.hybrid.materialized.places.one(session):
            with users_sql(name), placed(asked.named_by):
                columns, rows = await _opened(session, subject, asked, reading)
                where = compose(" WHERE {}", fits(columns, fixed("r")))
                statement = selected(columns, rows, where=where, limit=asked.limit)
                stream = await session.stream(statement)
            dated = dated_by(facts, name, asked, is_live=stored.merges, redis_is_up=redis_is_up)
            yield OpenRows(dated, columns, stream, partial(users_sql, name))


@dataclass(frozen=True, slots=True)
class _Reading:
    """How the views below the SQL are read: `behind` gives the view of each label, `state` a
    published view's rows."""

    views: AnswerableViews
    behind: Mapping[str, str]
    compiled: Mapping[str, CompiledView]
    filters: Filters
    state: Callable[[PublishedView], Sql]

    def relation(self, name: str, columns: Collection[str]) -> Sql:
        """The rows of a view with at least these columns."""
        return relation_of(name, columns, self.views, self._published)

    def _published(self, narrowed: PublishedView) -> Sql:
        if not self.filters.patients:
            return self.state(narrowed)
        whole = self.views[narrowed.name]
        compiled = self.compiled.get(narrowed.name)
        where = None
        if compiled is not None and compiled.digest == whole.digest:
            where = self.filters.over_published(compiled)
        if where is None:
            raise _no_patients(narrowed.name)
        assert isinstance(whole, PublishedView)
        return compose("(SELECT r.* FROM {} AS r{})", self.state(whole), where)


async def _opened(
    session: Session, subject: SqlSubject, asked: Asked, reading: _Reading
) -> tuple[tuple[Column, ...], Sql]:
    """The columns of the subject, and its rows as a relation."""
    values = parameter_values(subject.parameters, asked.parameters)
    if isinstance(subject, ComposedView):
        require(subject.parameters, {one.name for one in subject.parameters}, values)
        return subject.columns, replace(subject, values=values).relation(reading.relation)
    relations = {label: reading.views[view].columns for label, view in reading.behind.items()}
    names = {label: [column.name for column in columns] for label, columns in relations.items()}
    field = subject.sql_field
    types = types_of(subject.parameters)
    checked = check_sql(subject.sql, relations=names, parameters=types, field=field)
    require(subject.parameters, set(checked.syntax.parameters.values()), values)
    columns = await describe(session, checked, relations, field=field, values=values)
    sources = {label: Source(view, tuple(names[label])) for label, view in reading.behind.items()}
    rows = compose(
        "({}SELECT {} FROM ({}) AS u)",
        with_sql(checked, sources, reading.relation),
        join(", ", columns_sql(columns, fixed("u"))),
        checked.sql(values),
    )
    return columns, rows


async def _behind(session: Session, subject: SqlSubject, views: AnswerableViews) -> dict[str, str]:
    """The view behind each label; ViewDefinitionError as `views_behind`."""
    if isinstance(subject, ComposedView):
        return subject.depends_on
    identities = await known_identities(session)
    return views_behind(subject, {name: identities[name] for name in views})


def _no_patients(view: str) -> OperationError:
    return OperationError(
        f'the rows of view "{view}" do not tell whose they are',
        status=400,
        issue="not-supported",
        code="patient_not_applicable",
        field="patient",
        hint="leave patient out, or read views that have the patient's key as a column",
    )
