"""A server whose zone is not the one that is set makes no answer look fresher than it is."""

from __future__ import annotations

from datetime import datetime

import pytest

from clinic import compiled, open_clinic, patient
from hapi_rows import add_head
from researchflow_runners.batch.pending import check_source
from researchflow_runners.errors import FreshnessError
from researchflow_runners.query.model import Query
from researchflow_runners.source import HapiSource, SourceOptions
from researchflow_runners.store.database import Database

EAST = "UPDATE hfj_resource SET res_updated = res_updated + interval '2 h'"
HOUR_OLD = """
UPDATE hfj_resource SET res_updated = res_updated - interval '1 h';
UPDATE researchflow.anchor SET data_as_of = data_as_of - interval '90 min';
UPDATE researchflow.source_check SET checked_at = checked_at - interval '90 min',
    complete_at = complete_at - interval '90 min'
"""


@pytest.mark.failure("source-zone-wrong")
async def test_answers_say_that_the_zone_is_wrong_and_claim_no_freshness(
    postgres_dsn: str, redis_url: str
) -> None:
    async with open_clinic(postgres_dsn, redis_url) as clinic:
        await clinic.put(patient("a"))
        await clinic.refresh()
        await clinic.put(patient("b"))
        async with clinic.database.session() as session:
            await session.execute(HOUR_OLD)
            await session.execute(EAST)
        await check_source(clinic.database, clinic.source, ["Patient"])
        query = Query(view="patient_simple", columns=("id",))
        answer = await clinic.runner.query(query)
        assert [one.code for one in answer.degradations] == ["source_zone_wrong"]
        assert answer.staleness_s is not None
        assert answer.staleness_s >= 5_400
        with pytest.raises(FreshnessError) as caught:
            await clinic.runner.query(query.model_copy(update={"max_staleness_s": 60.0}))
        assert caught.value.code == "staleness_exceeded"
        (other,) = compiled("patient_demographics")
        direct = await clinic.another_runner(views=[other]).query(
            Query(view=other.name, columns=("id",))
        )
        assert [one.code for one in direct.degradations] == ["source_zone_wrong"]


@pytest.mark.parametrize(
    ("local", "newest"),
    [
        ("2025-10-26 02:30:00", None),
        ("2025-10-26 03:00:00", "2025-10-26 02:00:00+00:00"),
        ("2025-03-30 03:00:00", "2025-03-30 01:00:00+00:00"),
        ("2099-01-01 00:00:00", None),
    ],
)
async def test_local_time_that_comes_twice_is_no_evidence(
    postgres_dsn: str, local: str, newest: str | None
) -> None:
    database = await Database.connect(postgres_dsn)
    async with database.transaction() as session:
        await add_head(session, 1, 1, fhir_id="a", res_updated=local)
    async with HapiSource(database, SourceOptions(zone="Europe/Berlin")).snapshot() as snapshot:
        found = await snapshot.newest_at()
    await database.close()
    assert found == (datetime.fromisoformat(newest) if newest else None)
