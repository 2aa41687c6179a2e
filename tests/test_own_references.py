"""A reference to the server's own address means its own resource, on every way into a view."""

from __future__ import annotations

from researchflow_runners.hybrid.postgres import PostgresRunner
from researchflow_runners.query.model import Query
from researchflow_runners.source import HapiSource, SourceOptions
from researchflow_runners.speed.change import Change
from speed_stack import speed_stack
from warehouse import RESULTS, compiled, result

BASE = "https://fhir.example/fhir"


async def test_own_absolute_reference_names_the_patient_on_every_route(
    postgres_dsn: str, redis_url: str
) -> None:
    views = list(compiled(RESULTS))
    options = SourceOptions(base_urls=(BASE,))
    async with speed_stack(postgres_dsn, redis_url, views, options) as stack:
        absolute = {"reference": f"{BASE}/Patient/p1"}
        await stack.at_source("Observation", "a", 1, {**result("a", "p1", 1), "subject": absolute})
        await stack.refresher.refresh()
        inserted = {**result("b", "p1", 2), "subject": absolute}
        await stack.writer.apply([Change.put(inserted)], provenance="test")
        confirmed = {**result("c", "p1", 3), "subject": absolute}
        await stack.at_source("Observation", "c", 1, confirmed)
        await stack.writer.apply([Change.put(confirmed, version=1)], provenance="test")
        rows = await stack.live("results", "id, patient_id")
        runner = PostgresRunner(HapiSource(stack.database, options), cursor_key=b"k" * 32)
        direct = await runner.query(
            Query(view="results", columns=("id", "patient_id")), {"results": views[0]}
        )
    assert rows == [("a", "p1"), ("b", "p1"), ("c", "p1")]
    assert sorted(map(tuple, direct.rows)) == [("a", "p1"), ("c", "p1")]
