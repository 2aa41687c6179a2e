"""A view over the cached resources alone: what changed, before any refresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import asyncpg
from pydantic import ValidationError

from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.errors import QueryError, StatementError
from researchflow_runners.query.columns import AnswerColumn, answer_column
from researchflow_runners.query.comparison import any_truth, compare_truth
from researchflow_runners.query.model import Compare
from researchflow_runners.speed.entry import Entry
from researchflow_runners.speed.redis_client import SCAN_RESOURCES_MAX, RedisClient
from researchflow_runners.speed.search import (
    conditions,
    parameters_of,
    patient_path,
    unknown_parameter,
)
from researchflow_runners.sql import Sql, compose, fixed, ident, join, param
from researchflow_runners.store.data_faults import is_data_error
from researchflow_runners.store.database import Database, Session

RESOURCES_MAX = 5_000
PARAMETERS_MAX = 50


@dataclass(frozen=True, slots=True)
class SpeedResult:
    """The cached resources that a view has rows for, newest first, and those rows.

    `total_count` counts distinct patients, not resources; it is 0 for types without a patient.
    `truncated` says that more resources were cached than were looked at or given.
    `failed_ids` are cached resources whose rows could not be computed.
    """

    view_name: str
    source: Literal["speed_layer"]
    total_count: int
    patient_ids: tuple[str, ...]
    resources: tuple[dict[str, Any], ...]
    columns: tuple[AnswerColumn, ...]
    rows: tuple[tuple[Any, ...], ...]
    since: datetime | None
    query_timestamp: datetime
    truncated: bool
    failed_ids: tuple[str, ...]


class SpeedLayerRunner:
    """Runs views over what Redis holds; PostgreSQL computes, its tables are not read."""

    def __init__(self, redis_client: RedisClient, database: Database) -> None:
        self._redis = redis_client
        self._database = database

    async def execute(
        self,
        view_definition: Mapping[str, Any],
        search_params: Mapping[str, Any] | None = None,
        max_resources: int = 1000,
        since: datetime | None = None,
    ) -> SpeedResult:
        """The view's rows of the cached resources that meet all parameters.

        A parameter names a column of the view, else a FHIR search parameter of its resource
        type; it equals its value, or one of its values. `since` is aware and inclusive.
        ViewDefinitionError, FhirPathError, QueryError for what cannot be honoured; StoreError.
        """
        _check_bounds(search_params, max_resources)
        view, matching = _narrowed(view_definition, search_params or {})
        asked_at = datetime.now(UTC)
        scan_max = SCAN_RESOURCES_MAX if search_params else max_resources + 1
        entries = await self._redis.scan_recent_resources(view.resource, since, scan_max)
        looked_at = entries if search_params else entries[:max_resources]
        async with self._database.session() as session:
            found, failed = await _compute(session, view, looked_at, matching)
        matched = list(dict.fromkeys(row["_position"] for row in found))
        kept = matched[:max_resources]
        rows = [row for row in found if row["_position"] <= kept[-1]] if kept else []
        patients = dict.fromkeys(row["_patient"] for row in rows if row["_patient"] is not None)
        return SpeedResult(
            view_name=view.name,
            source="speed_layer",
            total_count=len(patients),
            patient_ids=tuple(patients),
            resources=tuple(_body(looked_at[position]) for position in kept),
            columns=tuple(answer_column(column) for column in view.columns),
            rows=tuple(tuple(row[column.name] for column in view.columns) for row in rows),
            since=since,
            query_timestamp=asked_at,
            truncated=len(entries) >= scan_max or len(kept) < len(matched),
            failed_ids=tuple(failed),
        )


def _narrowed(
    definition: Mapping[str, Any], search_params: Mapping[str, Any]
) -> tuple[CompiledView, Sql]:
    """The view narrowed by the search parameters, and the condition on its columns."""
    view = compile_view(definition)
    by_column = {name: value for name, value in search_params.items() if view.column(name)}
    others = {name: value for name, value in search_params.items() if name not in by_column}
    offered = parameters_of(view.resource)
    for name in others:
        if name not in offered:
            allowed = tuple(sorted({*offered, *(column.name for column in view.columns)}))
            raise unknown_parameter(view.resource, name, allowed)
    if others:
        view = compile_view(conditions(view.resource, others).added_to(definition))
    tests = [_column_test(view, name, value) for name, value in by_column.items()]
    return view, join(" AND ", [fixed("true"), *tests])


def _column_test(view: CompiledView, name: str, value: Any) -> Sql:
    """The column equals the value or one of the values; a missing value where it is None."""
    column = view.column(name)
    assert column is not None
    several = isinstance(value, list | tuple | set | frozenset)
    truths = []
    for one in value if several else [value]:
        try:
            compare = Compare(column=name, op="is_null" if one is None else "eq", value=one)
        except ValidationError as error:
            raise _value_type(name) from error
        truths.append(compare_truth(compare, column, fixed("v"), field=f"search_params.{name}"))
    if not truths:
        raise _value_type(name)
    return any_truth(truths).holds


async def _compute(
    session: Session, view: CompiledView, entries: Sequence[Entry], matching: Sql
) -> tuple[list[asyncpg.Record], list[str]]:
    """Rows in the order of the entries, and the ids of those whose rows cannot be computed."""
    rows: list[asyncpg.Record] = []
    failed: list[str] = []
    pending = [(0, entries)] if entries else []
    while pending:
        offset, part = pending.pop()
        try:
            rows += await session.fetch(_statement(view, part, offset, matching))
        except StatementError as error:
            if not is_data_error(error):
                raise
            half = len(part) // 2
            if half:
                pending += [(offset + half, part[half:]), (offset, part[:half])]
            else:
                failed.append(part[0].resource_id)
    return rows, failed


def _statement(view: CompiledView, entries: Sequence[Entry], offset: int, matching: Sql) -> Sql:
    """The view over the entries' texts, each row with its entry's position and its patient."""
    source = compose(
        "(SELECT n + {offset} AS res_id, id, text, NULL::jsonb AS meta"
        " FROM unnest({ids}, {texts}) WITH ORDINALITY AS u (id, text, n))",
        offset=param(offset - 1, "bigint"),
        ids=param([entry.resource_id for entry in entries], "text[]"),
        texts=param([entry.text for entry in entries], "text[]"),
    )
    columns = [fixed("v._res_id AS _position"), fixed("p.patient AS _patient")]
    columns += [compose("v.{}", ident(column.name)) for column in view.columns]
    return compose(
        "SELECT {columns} FROM ({view}) AS v JOIN {patients} AS p USING (_res_id)"
        " WHERE {matching} ORDER BY v._res_id, v._ord",
        columns=join(", ", columns),
        view=view.select(source),
        patients=_patients(view.resource, source),
        matching=matching,
    )


def _patients(resource_type: str, source: Sql) -> Sql:
    """Each resource's patient, null where it has none."""
    path = patient_path(resource_type)
    if path is None:
        return compose("(SELECT res_id AS _res_id, NULL::text AS patient FROM {} AS s)", source)
    key = compile_view(
        {
            "resourceType": "ViewDefinition",
            "status": "active",
            "name": "patient_of",
            "resource": resource_type,
            "select": [{"column": [{"name": "patient", "path": path, "type": "string"}]}],
        }
    )
    return compose("({})", key.select(source))


def _body(entry: Entry) -> dict[str, Any]:
    body = entry.resource
    assert body is not None
    return body


def _check_bounds(search_params: Mapping[str, Any] | None, max_resources: int) -> None:
    if not 1 <= max_resources <= RESOURCES_MAX:
        raise QueryError(
            f'max_resources "{max_resources}" is out of range',
            code="max_resources_invalid",
            hint=f"ask for 1 to {RESOURCES_MAX}",
            field="max_resources",
        )
    if search_params and len(search_params) > PARAMETERS_MAX:
        raise QueryError(
            "too many search parameters",
            code="too_many_parameters",
            hint=f"give at most {PARAMETERS_MAX}",
            field="search_params",
        )


def _value_type(name: str) -> QueryError:
    return QueryError(
        f'column "{name}" cannot be compared with that value',
        code="value_type",
        hint="give text, a number, a boolean, None, or a list of them",
        field=f"search_params.{name}",
    )
