"""The all-events view equals plain Python over the raw resources, live and after a refresh."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from conftest import SHARED
from plain_events import events
from researchflow_runners.query.model import LIMIT_MAX, Query
from researchflow_runners.source.synthetic import hospital
from researchflow_runners.views import EVENTS_KINDS, EVENTS_VIEW, shipped_libraries
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

Json = dict[str, Any]

SYNTHEA_PATIENTS = 5
SUBJECT = {"reference": "Patient/edge"}
SCT = "http://snomed.info/sct"
#: What neither the hospital nor Synthea has.
EDGE: list[Json] = [
    {"resourceType": "Patient", "id": "edge", "deceasedBoolean": True},
    {"resourceType": "Patient", "id": "eventless"},
    {
        "resourceType": "Observation", "id": "local", "status": "final", "subject": SUBJECT,
        "category": [{"coding": [{"code": "laboratory"}, {"code": "vital-signs"}]}],
        "code": {"coding": [{"system": "urn:local", "code": "GLU"}], "text": "glucose"},
        "valueString": "high",
    },
    {
        "resourceType": "Observation", "id": "half", "status": "amended", "subject": SUBJECT,
        "category": [{"coding": [{"code": "vital-signs"}]}], "issued": "2020-01-02T03:04:05Z",
        "code": {"coding": [{"system": "http://loinc.org", "code": "85354-9"}]},
        "component": [
            {"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]},
             "valueQuantity": {"value": 120, "unit": "mm[Hg]"}},
        ],
    },
    {
        "resourceType": "Condition", "id": "quiet", "subject": SUBJECT, "recordedDate": "2019",
        "clinicalStatus": {"coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/condition-clinical",
            "code": "inactive"}]},
        "code": {"coding": [{"system": "urn:a", "code": "1"}, {"system": SCT, "code": "38341003"}]},
    },
    {
        "resourceType": "Immunization", "id": "told", "status": "completed", "patient": SUBJECT,
        "vaccineCode": {"text": "flu"}, "occurrenceString": "last winter",
    },
    {
        "resourceType": "Procedure", "id": "shared", "status": "completed", "subject": SUBJECT,
        "performedDateTime": "2020-05", "code": {"text": "talk"},
        "performer": [{"actor": {"reference": "Practitioner/1"}},
                      {"actor": {"reference": "Practitioner/2"}}],
    },
]  # fmt: skip
CHANGES: list[Json] = [
    {**EDGE[2], "valueString": "low", "meta": {"versionId": "2"}},
    {**EDGE[5], "status": "not-done", "meta": {"versionId": "2"}},
    {"resourceType": "Patient", "id": "eventless", "deceasedDateTime": "2021",
     "meta": {"versionId": "2"}},
]  # fmt: skip


def synthea(patients: int) -> list[Json]:
    """Everything about the first patients of the shared data; nothing where it is not there."""
    folder = SHARED / "data" / "synthea"
    found: list[Json] = []
    known: set[str] = set()
    for kind in ("Patient", "Condition", "Observation", "MedicationRequest", "Procedure",
                 "Encounter", "Immunization", "AllergyIntolerance", "DiagnosticReport",
                 "CarePlan") if folder.is_dir() else ():  # fmt: skip
        with gzip.open(folder / f"{kind}.ndjson.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                one = json.loads(line)
                owner = (one.get("subject") or one.get("patient") or {}).get("reference")
                if kind == "Patient" and len(known) < patients:
                    known.add(f"Patient/{one['id']}")
                    found.append(one)
                elif owner in known:
                    found.append(one)
    return found


RESOURCES = [*hospital(14, 60), *EDGE, *synthea(SYNTHEA_PATIENTS)]


@pytest_asyncio.fixture(scope="module")
async def server(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    home: Path = tmp_path_factory.mktemp("events")
    async with (
        module_stores(services, number=10) as (dsn, redis_url),
        tool_server(dsn, redis_url, home) as opened,
    ):
        await opened.put(*RESOURCES)
        await opened.call("refresh_views")
        yield opened


async def rows(server: ToolServer, **more: Any) -> list[Json]:
    """Every row of the view."""
    query = Query(view=EVENTS_VIEW, limit=LIMIT_MAX, **more)
    answer = await server.runtime.hybrid.query(query)
    assert not answer.truncated
    names = [column.name for column in answer.columns]
    return [dict(zip(names, row, strict=True)) for row in answer.rows]


def bag(found: list[Json]) -> Counter[str]:
    return Counter(json.dumps(one, sort_keys=True) for one in found)


def told(resources: list[Json]) -> list[Json]:
    """What plain Python tells; a code of another system stands there without one."""
    local = {"urn:local"}
    return [
        one | {"system": None if one["system"] in local else one["system"]}
        for one in events(resources)
    ]


async def test_every_event_of_every_kind_equals_plain_python(server: ToolServer) -> None:
    found = await rows(server, freshness="anchored")
    assert bag(found) == bag(told(RESOURCES))
    assert {one["kind"] for one in found} == set(EVENTS_KINDS)
    assert sum(one["id"] == "shared" for one in found) == 1


async def test_dates_sort_as_periods_whatever_type_they_came_from(server: ToolServer) -> None:
    found = await rows(
        server,
        where={"column": "patient_id", "op": "eq", "value": "edge"},
        order_by=[{"column": "date", "descending": True}],
    )
    dates = [one["date"] for one in found]
    assert dates == ["2020-05", "2020-01-02T03:04:05Z", "2019", None, None, None, None]


async def test_changes_show_live_as_plain_python_tells_them_and_after_a_refresh(
    server: ToolServer,
) -> None:
    newest = {(one["resourceType"], one["id"]): one for one in [*RESOURCES, *CHANGES]}
    before = await rows(server, freshness="anchored")
    await server.call("cache_resources", resources=CHANGES)
    live = await rows(server)
    assert bag(live) == bag(told(list(newest.values())))
    assert bag(await rows(server, freshness="anchored")) == bag(before)
    await server.put(*CHANGES)
    refreshed = await server.call("refresh_views")
    assert bag(await rows(server, freshness="anchored")) == bag(live)
    assert bag(await rows(server, as_of=refreshed["anchor"] - 1)) == bag(before)


async def test_view_is_in_psql_and_listed_like_any(server: ToolServer) -> None:
    async with server.runtime.stores.warehouse.session() as session:
        (counted,) = await session.fetch(f"SELECT count(*) FROM sqlonfhir.{EVENTS_VIEW}")
    assert counted[0] == len(await rows(server, freshness="anchored"))
    listed = await server.call("list_views")
    assert EVENTS_VIEW in [row[0] for row in listed["rows"]]


@pytest.mark.parametrize("tool", ["drop_view", "register_view", "validate_view"])
async def test_shipped_sql_view_is_neither_dropped_nor_replaced(
    server: ToolServer, tool: str
) -> None:
    (library,) = shipped_libraries()
    given = {"view": EVENTS_VIEW} if tool == "drop_view" else {"definition": library}
    error = await server.error(tool, **given)
    assert (error["code"], EVENTS_VIEW in error["message"]) == ("view_is_shipped", True)
