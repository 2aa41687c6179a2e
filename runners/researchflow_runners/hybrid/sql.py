"""Answers to SQL over views: checked, dated and merged like any, with nothing kept of it.

The views are found from the text itself. Rows come in the order that the text asks for; what it
leaves open is settled by the other columns, so the same state gives the same rows and pages.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any

from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.composed.describe import describe
from researchflow_runners.composed.order import ordered, tie_warnings
from researchflow_runners.composed.outputs import columns_sql, fits
from researchflow_runners.composed.sql_check import check_sql
from researchflow_runners.composed.syntax import relations_named
from researchflow_runners.composed.view import Source, users_sql, with_sql
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.absent import absent_among, is_nothing
from researchflow_runners.hybrid.answerable import AnswerableViews, materialised, relation_of
from researchflow_runners.hybrid.choice import (
    Choice,
    choose,
    facts_of,
    views_asked,
)
from researchflow_runners.hybrid.facts import Facts
from researchflow_runners.hybrid.materialized import MaterializedViewRunner, dated, digests
from researchflow_runners.hybrid.parameters import require_values
from researchflow_runners.hybrid.reading import Asked, Read, read_statement
from researchflow_runners.hybrid.result import Answer, SpeedContribution, Timings
from researchflow_runners.hybrid.sql_equalities import equalities
from researchflow_runners.hybrid.sql_units import measured
from researchflow_runners.hybrid.unfit import Casts, casts_below, casts_of, casts_told
from researchflow_runners.query.columns import answer_column
from researchflow_runners.query.model import ParameterValue, SqlQuery
from researchflow_runners.query.rows import FilterScope
from researchflow_runners.query.statement import Statement
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, ident, join, param
from researchflow_runners.store.database import Session

#: What statistics and errors call SQL that has no name.
SQL_VIEW = "sql"
FIELD = "sql"
#: Texts of which the check and the columns are remembered.
PREPARED_MAX = 256
INTEGER_BITS = 63
LIVE_PAGES = (
    "pages of a live answer may shift while changes arrive: ask for freshness anchored to page"
)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A text that passed, over views of these digests; `columns` are those of its result."""

    checked: CheckedSql
    views: Mapping[str, str]
    columns: tuple[Column, ...]

    def fits(self, views: AnswerableViews) -> bool:
        """Whether the views are still those that it was checked against."""
        return all(name in views and views[name].digest == self.views[name] for name in self.views)


class SqlRunner:
    """Answers SQL over the published and composed views of one warehouse."""

    def __init__(self, views: MaterializedViewRunner) -> None:
        self._views = views
        self._prepared: OrderedDict[tuple[Any, ...], _Prepared] = OrderedDict()

    async def query(self, query: SqlQuery, *, principal: str = "") -> Answer:
        """The answer; ViewDefinitionError as `check_sql` and `describe`, with `field` "sql".

        QueryError `composed_view_fails` for a row that the SQL cannot compute, `parameter_type`
        and `sql_reads_no_view`; FreshnessError as any answer.
        """
        types = {name: _type(name, value) for name, value in query.parameters.items()}
        return await self._views.promised(
            lambda views: tuple(_named(query.sql, types, views)),
            lambda: self._answer(query, types, principal),
        )

    async def _answer(self, query: SqlQuery, types: Mapping[str, str], principal: str) -> Answer:
        began_s = time.perf_counter()
        async with self._views.snapshot() as session:
            names, facts, views = await self._views.facts(
                session, partial(_named, query.sql, types)
            )
            views = await views_asked(session, query, facts, views)
            require_values(names, views, field=FIELD)
            read_views = materialised(names, views)
            asked = Asked.of(
                query,
                digests=digests(names, views, read_views),
                principal=principal,
                key=self._views.cursor_key,
                now=facts.computed_at,
            )
            choice = await choose(
                session, asked, facts, read_views, use_speed_layer=self._views.use_speed_layer
            )
            facts = await facts_of(session, query, choice, facts, read_views)
            facts_ms = (time.perf_counter() - began_s) * 1000
            async with self._views.places.one(session):
                with users_sql(SQL_VIEW, field=FIELD):
                    prepared = await self._prepare(session, query, types, names, views)
                    async with self._casts_told(prepared, views, choice):
                        read = await _read(session, asked, choice, facts, prepared, views)
                        read = await self._with_units(
                            session, read, asked, choice, facts, prepared, views
                        )
        timings = Timings((time.perf_counter() - began_s) * 1000, facts_ms, read.rows_ms)
        return dated(
            SQL_VIEW, names, asked, choice, facts, read, _contribution(choice, facts), timings
        )

    async def _with_units(
        self,
        session: Session,
        read: Read,
        asked: Asked[SqlQuery],
        choice: Choice,
        facts: Facts,
        prepared: _Prepared,
        views: AnswerableViews,
    ) -> Read:
        """The page, told of numbers of several units that the text puts together."""
        if asked.query.cursor is not None:
            return read
        catalogue = {name: view.columns for name, view in views.items()}

        def relations(name: str, columns: Collection[str]) -> Sql:
            return relation_of(name, columns, views, choice.relation)

        found = measured(prepared.checked, asked.query.parameters, catalogue, relations)
        anchor = f"{choice.anchor} {facts.catalogue_state}"
        changes = choice.freshness == "live" and facts.entries > 0
        told = await self._views.looks.units.of(
            session,
            found,
            FilterScope(catalogue, relations),
            anchor=anchor,
            state=None if changes else anchor,
        )
        warned = replace(read.statement, warnings=(*read.statement.warnings, *told))
        return replace(read, statement=warned)

    def _casts_told(
        self, prepared: _Prepared, views: AnswerableViews, choice: Choice
    ) -> AbstractAsyncContextManager[None]:
        """Says of a row that does not fit which cast it was, the text's own or a view's below."""
        names = tuple(prepared.views)

        def casts() -> Casts:
            own = casts_of(prepared.checked, {name: name for name in names}, views)
            return (*own, *casts_below(names, views))

        return casts_told(
            SQL_VIEW,
            casts,
            partial(relation_of, views=views, relation=choice.relation),
            field=FIELD,
            snapshot=self._views.snapshot,
        )

    async def _prepare(
        self,
        session: Session,
        query: SqlQuery,
        types: Mapping[str, str],
        names: Sequence[str],
        views: AnswerableViews,
    ) -> _Prepared:
        """The checked text with its columns, remembered while its views stay as they are."""
        key = (query.sql, tuple(sorted(types.items())))
        held = self._prepared.get(key)
        if held is not None and held.fits(views):
            self._prepared.move_to_end(key)
            return held
        relations = {name: views[name].columns for name in names}
        checked = _checked(query.sql, types, relations)
        columns = await describe(
            session, checked, relations, field=FIELD, values=_values(query, checked)
        )
        digested = {name: views[name].digest for name in names}
        made = _Prepared(ordered(checked, columns), digested, columns)
        self._prepared[key] = made
        while len(self._prepared) > PREPARED_MAX:
            self._prepared.popitem(last=False)
        return made


def _named(text: str, types: Mapping[str, str], views: AnswerableViews) -> tuple[str, ...]:
    """The views that the text reads, by name; a relation that is none is refused."""
    folded = {name.lower(): name for name in views}
    read, unknown = relations_named(text, frozenset(types), field=FIELD)
    found = tuple(sorted({folded[one.lower()] for one in read if one.lower() in folded}))
    if not found or any(one.lower() not in folded for one in unknown):
        _checked(text, types, {name: view.columns for name, view in views.items()})
    if not found:
        raise QueryError(
            "the SQL reads no view",
            code="sql_reads_no_view",
            hint="read one at least: SELECT … FROM patient_demographics; list_views names them",
            field=FIELD,
        )
    return found


def _checked(
    text: str, types: Mapping[str, str], relations: Mapping[str, Sequence[Column]]
) -> CheckedSql:
    names = {label: [column.name for column in found] for label, found in relations.items()}
    return check_sql(text, relations=names, parameters=types, field=FIELD)


async def _read(
    session: Session,
    asked: Asked[SqlQuery],
    choice: Choice,
    facts: Facts,
    prepared: _Prepared,
    views: AnswerableViews,
) -> Read:
    is_live = choice.freshness == "live"

    def relations(name: str, columns: Collection[str]) -> Sql:
        return relation_of(name, columns, views, choice.relation)

    sources = {
        name: Source(name, tuple(column.name for column in views[name].columns))
        for name in prepared.views
    }
    after = asked.position.keys[0] if asked.position else 0
    sql = _statement(asked.query, prepared, with_sql(prepared.checked, sources, relations), after)
    statement = Statement(
        sql=sql,
        columns=tuple(answer_column(column) for column in prepared.columns),
        json_columns=tuple(
            number for number, column in enumerate(prepared.columns) if column.pg_type == "jsonb"
        ),
        key_types=("bigint",),
        limit=asked.query.limit,
        grouped=True,
    )
    instant = facts.computed_at if is_live else choice.data_as_of
    anchor = None if is_live else choice.anchor
    read = await read_statement(session, asked, statement, anchor=anchor, on=instant.date())
    keys = {one.name for name in prepared.views for one in views[name].columns if one.is_key}
    warnings = tie_warnings(prepared.checked, keys)
    if is_live and read.page.truncated:
        warnings += (LIVE_PAGES,)
    if is_nothing(read.page, is_one_row=len(read.page.rows) == 1):
        catalogue = {name: view.columns for name, view in views.items()}
        asked_for = equalities(prepared.checked, asked.query.parameters, catalogue)
        warnings += await absent_among(session, asked_for, catalogue, relations)
    return replace(read, statement=replace(statement, warnings=warnings))


def _statement(query: SqlQuery, prepared: _Prepared, with_: Sql, after: int) -> Sql:
    """The rows after the first `after`, numbered in their order, one more than the limit."""
    columns = prepared.columns
    names = [ident(column.name) for column in columns]
    has_order = "sortClause" in prepared.checked.tree
    order = EMPTY if has_order else compose("ORDER BY {}", join(", ", names))
    return compose(
        "{with_}SELECT {names}, _n, 0 AS from_speed, NULL::integer AS mixed,"
        " NULL::bigint AS ties, NULL::bigint[] AS counted"
        " FROM (SELECT {names}, row_number() OVER ({order}) AS _n"
        " FROM (SELECT {columns} FROM ({sql}) AS u) AS q) AS w"
        " WHERE _n > {after} AND _n <= {last} AND {fits} ORDER BY _n",
        with_=with_,
        names=join(", ", names),
        order=order,
        columns=join(", ", columns_sql(columns, fixed("u"))),
        sql=prepared.checked.sql(_values(query, prepared.checked)),
        after=param(after, "bigint"),
        last=param(after + query.limit + 1, "bigint"),
        fits=fits(columns, fixed("w")),
    )


def _contribution(choice: Choice, facts: Facts) -> SpeedContribution:
    """What waits for the views that were read; which rows it made cannot be told."""
    if choice.freshness != "live":
        return SpeedContribution(enabled=False)
    counted = None if facts.entries else 0
    return SpeedContribution(
        enabled=True,
        entries=facts.entries,
        provisional=facts.provisional,
        rows_added=counted,
        rows_removed=counted,
    )


def _type(name: str, value: ParameterValue) -> str:
    """The PostgreSQL type in which a value is bound; QueryError `parameter_type`."""
    if isinstance(value, list):
        kinds = {_type(name, one) for one in value}
        if len(kinds) == 1:
            return f"{kinds.pop()}[]"
        if kinds == {"bigint", "numeric"}:
            return "numeric[]"
        raise _refused(name, "give a list of texts, of numbers, or of true and false")
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text"
    if isinstance(value, float):
        return "numeric"
    if value.bit_length() > INTEGER_BITS:
        raise _refused(name, "give a larger number as text and cast it to numeric")
    return "bigint"


def _refused(name: str, hint: str) -> QueryError:
    return QueryError(
        f'the value of parameter "{name}" cannot be bound',
        code="parameter_type",
        hint=hint,
        field=f"parameters.{name}",
    )


def _values(query: SqlQuery, checked: CheckedSql) -> dict[str, Any]:
    """The values as the driver takes them."""
    return {
        name: _bound(value, checked.parameter_types[name])
        for name, value in query.parameters.items()
    }


def _bound(value: Any, pg_type: str) -> Any:
    if isinstance(value, list):
        return [_bound(one, pg_type.removesuffix("[]")) for one in value]
    return Decimal(repr(value)) if pg_type == "numeric" else value
