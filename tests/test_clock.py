"""Views that read the clock run where nothing is kept, and are refused where rows are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from clinic import Clinic, open_clinic
from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.sql import compose, param
from warehouse import PEOPLE, patient

IS_ADULT = "birthDate <= today() - 18 years"
ADULTS = {**PEOPLE, "name": "adults", "where": [{"path": IS_ADULT}]}
ONE_PATIENT = compose(
    "(SELECT 1::bigint AS res_id, 'p' AS id, {} AS text, NULL::jsonb AS meta)",
    param('{"resourceType": "Patient", "id": "p", "name": [{"family": "A"}]}', "text"),
)
WRITTEN_NOW = """
SELECT to_char(t, 'YYYY-MM-DD'), to_char(t, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
       to_char(t, 'HH24:MI:SS.MS')
FROM (SELECT now() AT TIME ZONE 'UTC' AS t) AS n
"""


def view_of(*paths: str, **more: Any) -> CompiledView:
    """A view over Patient of one column for each path."""
    columns = [{"name": f"c{number}", "path": path} for number, path in enumerate(paths)]
    return compile_view({"resource": "Patient", "select": [{"column": columns}], **more})


@pytest_asyncio.fixture
async def clinic(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """A clinic that publishes `people`: an adult and one who will not be born for long."""
    async with open_clinic(postgres_dsn, redis_url, views=[compile_view(PEOPLE)]) as opened:
        await opened.put(patient("adult", birthDate="1980-05"), patient("child", birthDate="2999"))
        await opened.refresh()
        yield opened


@pytest.mark.parametrize(
    "view",
    [
        view_of("today()"),
        view_of("iif(birthDate > now(), 'unborn', 'born')"),
        view_of("name.where(period.end < now()).family"),
        view_of("id", where=[{"path": IS_ADULT}]),
        compile_view(
            {
                "resource": "Patient",
                "select": [
                    {
                        "forEach": "name.where(period.start < today())",
                        "column": [{"name": "c", "path": "family"}],
                    }
                ],
            }
        ),
    ],
)
def test_view_that_reads_the_clock_is_volatile(view: CompiledView) -> None:
    assert view.volatile


def test_view_of_data_alone_is_not_volatile() -> None:
    assert not view_of("birthDate + 18 years", "'transaction_timestamp()'").volatile


async def test_every_call_is_the_start_of_the_transaction_in_utc(
    connection: asyncpg.Connection,
) -> None:
    text, arguments = (
        view_of("today()", "now()", "timeOfDay()", "name.select(now()).first()", "now() = now()")
        .select(ONE_PATIENT)
        .render()
    )
    async with connection.transaction():
        await connection.execute("SET LOCAL TIME ZONE 'Pacific/Kiritimati'")
        row = await connection.fetchrow(text, *arguments)
        day, moment, time = await connection.fetchrow(WRITTEN_NOW)
    assert [row[f"c{number}"] for number in range(5)] == [day, moment, time, moment, True]


async def test_view_that_reads_the_clock_is_computed_for_one_answer(clinic: Clinic) -> None:
    answer = await clinic.runner.execute(ADULTS)
    assert (answer.route, answer.column_values("id")) == ("direct", ["adult"])


async def test_refresher_refuses_a_view_that_reads_the_clock(clinic: Clinic) -> None:
    with pytest.raises(ViewDefinitionError) as caught:
        Refresher(clinic.database, clinic.source, [*clinic.views, compile_view(ADULTS)])
    assert (caught.value.code, caught.value.field) == ("view_not_repeatable", "name")
    assert '"adults"' in caught.value.message
    assert "birthDate" in caught.value.hint


async def test_view_that_reads_the_clock_is_not_registered(clinic: Clinic) -> None:
    refresher = Refresher(clinic.database, clinic.source, clinic.views)
    with pytest.raises(ViewDefinitionError) as caught:
        await refresher.refresh(change=CatalogueChange(register=compile_view(ADULTS)))
    assert caught.value.code == "view_not_repeatable"
    assert await clinic.ids("people") == ["adult", "child"]
