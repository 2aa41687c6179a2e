"""Rows over the resources that a request brings: nothing is stored, nothing stored is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import orjson

from researchflow_runners.compiler import CompiledView
from researchflow_runners.errors import StatementError
from researchflow_runners.source.resource import BadResource, checked
from researchflow_runners.sql import Sql, compose, param
from researchflow_runners.store.culprits import find_culprits
from researchflow_runners.store.data_faults import is_data_error
from researchflow_runners.store.database import Database, Session
from researchflow_server.operations.asked import Asked
from researchflow_server.operations.outcome import OperationError
from researchflow_server.operations.rows import BATCH_TIMEOUT_S, Dated, OpenRows, selected

RESOURCES_MAX = 5_000


@dataclass(frozen=True, slots=True)
class InlineResource:
    """A resource of the request; `place` is where it stands there."""

    place: str
    id: str | None
    text: str


def inline_resources(asked: Asked, resource_type: str) -> list[InlineResource]:
    """The resources of the type, Bundles taken apart one level.

    Of every resource the JSON shape is checked; OperationError `resource_invalid` names the first
    that is none, `too_many_resources` when there are more than RESOURCES_MAX.
    """
    found: list[InlineResource] = []
    for number, (place, value) in enumerate(_values(asked.resources or ())):
        if number >= RESOURCES_MAX:
            raise _too_many()
        try:
            resource = checked(value)
            text = orjson.dumps(resource).decode()
        except (BadResource, TypeError) as error:
            raise _invalid(place, error) from error
        if resource["resourceType"] == resource_type:
            found.append(InlineResource(place, resource.get("id"), text))
    return found


@asynccontextmanager
async def inline_rows(
    database: Database, view: CompiledView, asked: Asked
) -> AsyncIterator[OpenRows]:
    """The view's rows; OperationError `resource_not_computable` names the resource at fault."""
    resources = await anyio.to_thread.run_sync(inline_resources, asked, view.resource)
    narrowed = asked.filters.narrowed(view)
    source = _relation(resources)
    async with _snapshot(database) as session:
        dated = Dated(
            view=view.name,
            route="inline",
            computed_at=await session.fetchval("SELECT now()"),
            limit=asked.limit,
        )
        stream = await session.stream(
            selected(view.columns, compose("({})", narrowed.select(source)), limit=asked.limit)
        )
        try:
            yield OpenRows(dated, view.columns, stream)
        except StatementError as error:
            if not is_data_error(error):
                raise
            unfit = error
        else:
            return
    raise await _unfit(database, narrowed, resources, source) from unfit


def _values(values: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Each resource and its place; those of a Bundle stand for it."""
    for number, value in enumerate(values):
        place = f"resource[{number}]"
        if value.get("resourceType") != "Bundle":
            yield place, value
            continue
        entries = value.get("entry", [])
        if not isinstance(entries, list):
            raise _invalid(f"{place}.entry", BadResource("invalid_bundle"))
        for entry_number, entry in enumerate(entries):
            at = f"{place}.entry[{entry_number}]"
            if not isinstance(entry, dict):
                raise _invalid(at, BadResource("not_an_object"))
            if "resource" in entry:
                yield f"{at}.resource", entry["resource"]


def _relation(resources: Sequence[InlineResource]) -> Sql:
    return compose(
        "(SELECT n AS res_id, id, text, NULL::jsonb AS meta"
        " FROM unnest({ids}, {texts}) WITH ORDINALITY AS u (id, text, n))",
        ids=param([one.id for one in resources], "text[]"),
        texts=param([one.text for one in resources], "text[]"),
    )


def _snapshot(database: Database) -> AbstractAsyncContextManager[Session]:
    return database.transaction(
        isolation="repeatable read", readonly=True, statement_timeout_s=BATCH_TIMEOUT_S
    )


async def _unfit(
    database: Database, view: CompiledView, resources: Sequence[InlineResource], source: Sql
) -> OperationError:
    """The error that names the first resource at fault; its values are told to nobody."""
    async with _snapshot(database) as session:
        culprits = await find_culprits(session, view, source)
    place, why = "resource", "does not fit the view"
    if culprits:
        first = culprits[0]
        place = resources[first.res_id - 1].place
        why = (
            f'does not fit column "{first.column}": {first.reason}'
            if first.column
            else first.reason
        )
    return OperationError(
        f'"{place}" {why}',
        status=422,
        issue="processing",
        code="resource_not_computable",
        field=place,
        hint="correct the resource, or the ViewDefinition where it expects one value",
    )


def _invalid(place: str, error: Exception) -> OperationError:
    code = error.code if isinstance(error, BadResource) else "too_deep"
    element = error.element if isinstance(error, BadResource) else None
    return OperationError(
        f'"{place}" is not a FHIR R4 resource: "{code}"',
        status=400,
        issue="structure",
        code="resource_invalid",
        field=f"{place}.{element.partition('.')[2]}" if element else place,
        hint="send JSON with lists where FHIR has lists, and strings, numbers and booleans as such",
    )


def _too_many() -> OperationError:
    return OperationError(
        f"the request brings more than {RESOURCES_MAX} resources",
        status=413,
        issue="too-costly",
        code="too_many_resources",
        field="resource",
        hint="send fewer, or load them and run over what is stored",
    )
