"""The cases of the standard once more, asked over HTTP: what is sent is what the view gives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
import pytest_asyncio

from conformance import CASES
from operations_server import OperationServer, operation_server, parameters_of, subject
from researchflow_runners.conformance import Case, Suite, read_suites
from researchflow_runners.conformance.comparison import difference
from researchflow_runners.fhir.shape import shape_fault
from researchflow_runners.source.resource import parse_json
from researchflow_server.embedded import Services
from researchflow_server.operations.runs import RUNNING_MAX
from tool_server import module_stores, tool_server


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[OperationServer]:
    async with (
        module_stores(services, number=2) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as tools,
        operation_server(tools) as opened,
    ):
        yield opened


def _number(value: Decimal) -> orjson.Fragment:
    return orjson.Fragment(str(value))


async def judged(server: OperationServer, suite: Suite, case: Case) -> str | None:
    """Why the answer is not what the case expects; None when it is.

    Resources of another shape than FHIR's, which some cases are about, are refused at the door.
    """
    if not isinstance(case.view, dict):
        return None if case.expectError else "the view is no object"
    resources = parse_json(suite.document.encode())["resources"]
    well_formed = [one for one in resources if shape_fault(one) is None]
    response = await asked(server, case, well_formed)
    if case.expectError and response.status_code != 422:
        response = await asked(server, case, resources)
    if case.expectError:
        return None if response.status_code in (400, 422) else f"{response.status_code}"
    if response.status_code != 200:
        return response.text
    rows = [json.loads(line, parse_float=Decimal) for line in response.text.splitlines()]
    columns = list(rows[0]) if rows else case.expectColumns or []
    return difference(case, columns, rows)


async def asked(
    server: OperationServer, case: Case, resources: list[dict[str, Any]]
) -> httpx2.Response:
    carried = [{"name": "resource", "resource": one} for one in resources]
    parameters = parameters_of([subject(case.view), *carried])
    return await server.post(orjson.dumps(parameters, default=_number))


async def failures(server: OperationServer, directory: Path) -> list[str]:
    """Each case that is not answered as expected, and why; some are asked at once."""
    places = asyncio.Semaphore(RUNNING_MAX)

    async def ask(suite: Suite, case: Case) -> str | None:
        async with places:
            reason = await judged(server, suite, case)
        return reason and f"{suite.file}: {case.title}: {reason}"

    runs = [
        ask(suite, case)
        for suite in read_suites(directory)
        for case in suite.cases
        if isinstance(case, Case)
    ]
    assert len(runs) > 100
    return [found for found in await asyncio.gather(*runs) if found]


async def test_the_projects_cases_are_answered_as_expected(server: OperationServer) -> None:
    assert await failures(server, CASES) == []


async def test_the_official_cases_are_answered_as_expected(
    server: OperationServer, shared_dir: Path
) -> None:
    assert await failures(server, shared_dir / "sql-on-fhir" / "tests") == []
