"""Cases and views over resources at hand, through the product's own conformance runner."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from researchflow_runners import conformance
from researchflow_runners.compiler import CompiledView
from researchflow_runners.conformance import Case, Malformed, Suite, multiset, read_suites
from researchflow_runners.store.database import Session

__all__ = ["check_case", "multiset", "params_of", "rows_of", "rows_of_document"]

Json = Mapping[str, Any]
CASES = Path(__file__).parent / "cases"


def params_of(directory: Path) -> Iterator[Any]:
    """A pytest parameter for each case of the suites in a directory: (suite, case)."""
    for suite in read_suites(directory) if directory.is_dir() else ():
        for case in suite.cases:
            title = " ".join(case.title.split())
            yield pytest.param(suite, case, id=f"{suite.file.removesuffix('.json')}: {title}")


async def rows_of(
    connection: asyncpg.Connection, view: CompiledView, resources: Iterable[Json]
) -> list[dict[str, Any]]:
    """The view's public columns over the resources, JSON values as Python has them."""
    return await rows_of_document(connection, view, json.dumps({"resources": list(resources)}))


async def rows_of_document(
    connection: asyncpg.Connection, view: CompiledView, document: str
) -> list[dict[str, Any]]:
    """The same over the `resources` of a JSON text, whose decimals stay as written."""
    await connection.execute("SET TIME ZONE 'UTC'")
    return await conformance.rows_of(Session(connection, "warehouse"), view, document)


async def check_case(connection: asyncpg.Connection, suite: Suite, case: Case | Malformed) -> None:
    """Fails unless the case's view gives what it expects."""
    await connection.execute("SET TIME ZONE 'UTC'")
    reason = await conformance.judge(Session(connection, "warehouse"), suite, case)
    assert reason is None, reason
