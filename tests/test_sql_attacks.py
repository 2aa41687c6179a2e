"""SQL that reaches for more than rows of views is refused or ended, and nobody else is harmed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from resource import RUSAGE_SELF, getrusage
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

import sql_attacks
from clinic import Clinic, lab, open_clinic, patient
from researchflow_runners.errors import (
    QueryError,
    ResearchFlowError,
    ViewDefinitionError,
)
from researchflow_runners.hybrid import materialized
from researchflow_runners.query.model import Query, SqlQuery
from researchflow_server.embedded import Services
from tool_server import module_stores

LABS = 200
TIMEOUT_S = 1.0
#: A statement is cancelled at its deadline, or its backend ended a little later.
GRACE_S = 12.0
CODES = frozenset(
    {
        "sql_clock", "sql_construct", "sql_function", "sql_operator", "sql_reads_no_view",
        "sql_statement", "sql_syntax", "sql_too_large", "sql_type", "sql_unordered",
        "too_many_columns", "unknown_column", "unknown_parameter", "unknown_relation",
    }
)  # fmt: skip
ENDED = frozenset({"composed_view_fails", "sql_too_costly", "sql_too_large", "statement_timeout"})
STATE = """
SELECT (SELECT array_agg(oid::text || relname || relacl::text ORDER BY oid)
        FROM pg_class WHERE relkind IN ('r', 'v', 'S', 'm')),
       (SELECT array_agg(proname::text ORDER BY oid) FROM pg_proc WHERE oid >= 16384),
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
       (SELECT array_agg(rolname || coalesce(rolpassword, '') ORDER BY rolname) FROM pg_authid),
       (SELECT count(*) FROM pg_prepared_xacts), (SELECT count(*) FROM pg_largeobject_metadata),
       (SELECT count(*) FROM pg_listening_channels())
"""


@pytest_asyncio.fixture(scope="module")
async def clinic(services: Services) -> AsyncIterator[Clinic]:
    """A patient with many results."""
    async with (
        module_stores(services, number=9) as (dsn, redis_url),
        open_clinic(dsn, redis_url) as opened,
    ):
        await opened.put(patient("a"), *(lab(f"l{number}", "a") for number in range(LABS)))
        await opened.refresh()
        yield opened


async def ask(clinic: Clinic, sql: str, **asked: Any) -> Any:
    return await clinic.runner.query_sql(SqlQuery(sql=sql, **asked))


async def state(clinic: Clinic) -> Any:
    """What no question may change."""
    async with clinic.database.session() as session:
        return tuple(await session.fetchrow(STATE))


def test_the_attacks_are_a_hundred_at_least() -> None:
    texts = [text for _kind, text in sql_attacks.refused()] + sql_attacks.COSTLY
    assert len(set(texts)) == len(texts) >= 150


async def test_every_attack_is_refused_by_a_code_and_nothing_changes(clinic: Clinic) -> None:
    before = await state(clinic)
    taken = []
    for kind, text in sql_attacks.refused():
        try:
            await ask(clinic, text)
        except (QueryError, ViewDefinitionError) as error:
            if error.code in CODES and error.field == "sql" and error.hint:
                continue
            taken.append((kind, text[:80], error.code))
        else:
            taken.append((kind, text[:80], "answered"))
    assert taken == []
    assert await state(clinic) == before


@pytest.mark.parametrize("number", range(len(sql_attacks.COSTLY)))
async def test_work_without_end_is_ended_and_leaves_the_server_as_it_was(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(materialized, "STATEMENT_TIMEOUT_S", TIMEOUT_S)
    began_s = time.monotonic()
    code = await code_of(clinic, sql_attacks.COSTLY[number], limit=10)
    assert code is None or code in ENDED
    assert time.monotonic() - began_s < TIMEOUT_S + GRACE_S
    assert (await clinic.ask("observation_labs", aggregates=[{"fn": "count"}])).rows == ((LABS,),)


async def code_of(clinic: Clinic, sql: str, **asked: Any) -> str | None:
    """The code of the error, which has a hint; None for an answer within its limit."""
    try:
        answer = await ask(clinic, sql, **asked)
    except ResearchFlowError as error:
        return error.code if error.hint else "without a hint"
    return None if answer.row_count <= asked["limit"] else "beyond its limit"


# What is too much of something else


async def test_a_result_of_too_many_bytes_is_one_error_and_takes_no_memory(
    clinic: Clinic,
) -> None:
    wide = ", ".join(f"rpad(a.id, 1000, 'x') AS c{number}" for number in range(190))
    huge = f"SELECT {wide} FROM observation_labs AS a, unnest(ARRAY[1, 2, 3]) AS b"
    before = getrusage(RUSAGE_SELF).ru_maxrss
    with pytest.raises(QueryError) as caught:
        await ask(clinic, huge, limit=10_000)
    assert (caught.value.code, caught.value.field) == ("result_too_large", "limit")
    assert getrusage(RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert (await ask(clinic, huge, limit=5)).row_count == 5


async def test_pages_of_many_rows_are_whole(clinic: Clinic) -> None:
    pairs = "SELECT a.id AS a, b.id AS b FROM observation_labs AS a, observation_labs AS b"
    answer = await ask(clinic, pairs, limit=10_000, freshness="anchored")
    rest = [answer]
    while rest[-1].next_cursor is not None:
        cursor = rest[-1].next_cursor
        rest.append(await ask(clinic, pairs, limit=10_000, freshness="anchored", cursor=cursor))
    rows = [row for part in rest for row in part.rows]
    assert len(rows) == len(set(rows)) == LABS**2
    assert rows == sorted(rows)


async def test_a_statement_of_a_megabyte_and_many_parameters_are_refused_at_once(
    clinic: Clinic,
) -> None:
    began_s = time.monotonic()
    with pytest.raises(ViewDefinitionError) as caught:
        await ask(clinic, "SELECT id FROM patient_simple WHERE id = '" + "x" * 1024**2 + "'")
    assert caught.value.code == "sql_too_large"
    with pytest.raises(ValidationError):
        SqlQuery(
            sql="SELECT id FROM patient_simple", parameters={f"p{n}": n for n in range(10_000)}
        )
    assert time.monotonic() - began_s < 2
    listed = await ask(
        clinic,
        "SELECT count(*) AS n FROM patient_simple WHERE id = ANY(:ids)",
        parameters={"ids": [f"x{number}" for number in range(10_000)] + ["a"]},
    )
    assert listed.rows == ((1,),)


@pytest.mark.parametrize("name", ["limit", "as_of", "max_staleness_s"])
def test_true_is_no_number(name: str) -> None:
    for model, asked in ((SqlQuery, {"sql": "SELECT 1"}), (Query, {"view": "patient_simple"})):
        with pytest.raises(ValidationError):
            model.model_validate({**asked, name: True})
