"""Cases and views over resources at hand, through the product's own conformance runner."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg

from researchflow_runners import conformance
from researchflow_runners.compiler import CompiledView
from researchflow_runners.conformance import Case, Suite, multiset
from researchflow_runners.store.database import Session

__all__ = ["check_case", "multiset", "rows_of"]

Json = Mapping[str, Any]


async def rows_of(
    connection: asyncpg.Connection, view: CompiledView, resources: Iterable[Json]
) -> list[dict[str, Any]]:
    """The view's public columns over the resources, JSON values as Python has them."""
    await connection.execute("SET TIME ZONE 'UTC'")
    return await conformance.rows_of(Session(connection), view, _document(resources))


async def check_case(connection: asyncpg.Connection, resources: Iterable[Json], case: Json) -> None:
    """Fails unless the case's view gives what it expects."""
    await connection.execute("SET TIME ZONE 'UTC'")
    judged = Case.model_validate(case)
    suite = Suite(file="", document=_document(resources), cases=(judged,))
    reason = await conformance.judge(Session(connection), suite, judged)
    assert reason is None, reason


def _document(resources: Iterable[Json]) -> str:
    return json.dumps({"resources": list(resources)})
