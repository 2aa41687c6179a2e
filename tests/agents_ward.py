"""What the agents' tests share: a server over HTTP or in memory, a small ward, raw counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from clinic import lab, patient
from researchflow_agents.client import ToolClient
from researchflow_agents.phenotype import Phenotype, PhenotypeResult, parse_phenotype, run_phenotype
from researchflow_server.http import MCP_PATH, Listener, mcp_app
from researchflow_server.mcp.app import ResearchFlowServer
from tool_server import ToolServer

REFUTED = {"coding": [{"code": "refuted"}]}
ACTIVE = {"coding": [{"code": "active"}]}

#: The newest state of every resource, straight from the source's tables.
RAW = """
WITH r AS (
    SELECT r.res_type AS type, r.fhir_id AS id, v.res_text_vc::jsonb AS j
    FROM hfj_resource AS r
    JOIN hfj_res_ver AS v ON v.res_id = r.res_id AND v.res_ver = r.res_ver
    WHERE r.res_deleted_at IS NULL
), p AS (
    SELECT id, j FROM r WHERE type = 'Patient' AND coalesce(j ->> 'active', 'true') = 'true'
)
SELECT count(*) FROM p WHERE """


def has_condition(*codes: str) -> str:
    """SQL: the patient `p` has a condition with a code like one of these, not refuted."""
    listed = ", ".join(f"'{code}'" for code in codes)
    return f"""EXISTS (SELECT 1 FROM r, jsonb_array_elements(r.j -> 'code' -> 'coding') AS c
        WHERE r.type = 'Condition' AND r.j -> 'subject' ->> 'reference' = 'Patient/' || p.id
        AND c ->> 'code' LIKE ANY (ARRAY[{listed}])
        AND NOT coalesce(r.j -> 'verificationStatus' -> 'coding' -> 0 ->> 'code'
            IN ('refuted', 'entered-in-error'), false))
    """


async def raw_count(dsn: str, condition: str) -> int:
    """How many patients of the source meet the condition."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval(RAW + condition))
    finally:
        await connection.close()


def ward() -> list[dict[str, Any]]:
    """Patients on the edges: of an age, of what is known, of a threshold."""
    period = {"effectiveDateTime": None, "effectivePeriod": {"start": "2023-05-01"}}
    return [
        patient("leap", birthDate="1960-02-29"),
        patient("day", birthDate="1960-03-01", gender="male"),
        patient("year", birthDate="1960"),
        patient("unborn"),
        patient("gone", birthDate="1950-01-01", active=False),
        _condition("leap-e11", "leap", "E11.9", onsetDateTime="2020-06-01"),
        _condition("day-e11", "day", "E11.9", verificationStatus=REFUTED),
        _condition("year-e11", "year", "E11.9", onsetDateTime="2020"),
        _condition("unborn-e1", "unborn", "E119.X"),
        lab("leap-1", "leap", 8),
        lab("leap-2", "leap", 8.1),
        lab("day-1", "day", 8.01, effectiveDateTime="2020-01-01"),
        lab("day-2", "day", 5, **period),
        lab("year-1", "year", 5, valueQuantity=None, valueString="high"),
    ]


def _condition(name: str, of: str, code: str, **fields: Any) -> dict[str, Any]:
    icd10 = {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}
    snomed = {"system": "http://snomed.info/sct", "code": "44054006"}
    return {
        "resourceType": "Condition",
        "id": name,
        "subject": {"reference": f"Patient/{of}"},
        "clinicalStatus": ACTIVE,
        "code": {"coding": [snomed, icd10]},
        **fields,
    }


def stored(resources: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The resources without the fields that are None."""
    return [{k: v for k, v in each.items() if v is not None} for each in resources]


async def cohort(
    client: ToolClient, *criteria: dict[str, Any], on: str = "2025-06-15", **asked: Any
) -> PhenotypeResult:
    """The result for these criteria on a fixed day."""
    return await run_phenotype(client, phenotype(*criteria, on=on), **asked)


def phenotype(*criteria: dict[str, Any], on: str | None = "2025-06-15") -> Phenotype:
    """A phenotype of these criteria."""
    return parse_phenotype({"title": "test", "on": on, "all_of": list(criteria)})


@asynccontextmanager
async def over_http(server: ToolServer) -> AsyncIterator[str]:
    """The URL at which the server listens."""
    app = mcp_app(ResearchFlowServer(server.runtime), server.runtime.settings)
    with Listener(app, host="127.0.0.1", port=0, variable="RESEARCHFLOW_HTTP_PORT") as listener:
        serving = asyncio.create_task(listener.serve())
        try:
            yield f"http://127.0.0.1:{listener.port}{MCP_PATH}"
        finally:
            listener.stop()
            await serving


def examples(agent: str) -> list[Path]:
    """The example files of an agent."""
    root = Path(__file__).resolve().parents[1]
    return sorted((root / "agents/researchflow_agents" / agent / "examples").glob("*.json"))
