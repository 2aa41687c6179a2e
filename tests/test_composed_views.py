"""Composed views answer like any view: the right rows of the asked state, dated, page by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from clinic import Clinic, condition, lab, open_clinic, patient
from composed import OVER, WOMEN_LABS, drop, keep, sql_view
from researchflow_runners.errors import FreshnessError, QueryError
from researchflow_runners.hybrid.answerable import answerable_views, relation_of
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.sql import compose
from researchflow_runners.store.relations import anchored_relation
from researchflow_server.embedded import Services

TEMPLATE = "composed_template"
COPY = "composed_copy"


@pytest_asyncio.fixture(scope="module")
async def template(services: Services) -> str:
    """Three patients with labs and conditions, refreshed; a database to copy."""
    connection = await asyncpg.connect(services.postgres_dsn)
    await connection.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE hapi_template")
    async with open_clinic(services.postgres.dsn_of(TEMPLATE), services.redis_url) as clinic:
        await clinic.put(
            patient("a", birthDate="1970-06"),
            patient("b", gender="male"),
            patient("c", birthDate="1950"),
        )
        await clinic.put(condition("1", "a"), condition("2", "b"), condition("3", "c", "I10"))
        await clinic.put(lab("x", "a", 7.50), lab("y", "b", 9), lab("z", "a", 6.1))
        await clinic.refresh()
        await keep(clinic.database, sql_view("women_labs", WOMEN_LABS))
    await connection.close()
    return TEMPLATE


@pytest_asyncio.fixture
async def clinic(services: Services, template: str, redis_url: str) -> AsyncIterator[Clinic]:
    """A clinic of its own with the patients of `template`."""
    connection = await asyncpg.connect(services.postgres_dsn)
    await connection.execute(f"CREATE DATABASE {COPY} TEMPLATE {template} STRATEGY file_copy")
    async with open_clinic(services.postgres.dsn_of(COPY), redis_url) as opened:
        yield opened
    await connection.execute(f"DROP DATABASE {COPY} WITH (FORCE)")
    await connection.close()


async def lab_ids(clinic: Clinic, view: str = "women_labs", **asked: Any) -> list[str]:
    answer: Answer = await clinic.ask(view, columns=["lab_id"], **asked)
    return sorted(row[0] for row in answer.rows)


# Rows


async def test_rows_are_those_of_the_sql_with_the_meaning_of_their_columns(clinic: Clinic) -> None:
    answer: Answer = await clinic.ask("women_labs", order_by=[{"column": "lab_id"}])
    rows = [(r["lab_id"], str(r["value"]), r["shouted"], r["labs"]) for r in answer.as_dicts()]
    assert rows == [("x", "7.5", "FEMALE", 2), ("z", "6.1", "FEMALE", 2)]
    columns = {column.name: column for column in answer.columns}
    assert {name: column.type for name, column in columns.items()} == {
        "patient_id": "string",
        "birth_date": "date",
        "gender": "code",
        "lab_id": "string",
        "value": "decimal",
        "taken": "dateTime",
        "shouted": "string",
        "labs": "integer64",
    }
    assert columns["gender"].system == "http://hl7.org/fhir/administrative-gender"
    assert str(columns["birth_date"].description).startswith("Date of birth")
    assert columns["shouted"].system is None


async def test_an_answer_is_dated_by_the_views_it_reads(clinic: Clinic) -> None:
    answer: Answer = await clinic.ask("women_labs")
    plain: Answer = await clinic.ask("patient_simple")
    assert (answer.route, answer.freshness, answer.anchor) == ("materialized", "live", 1)
    assert (answer.data_as_of, answer.pending) == (plain.data_as_of, 0)
    assert (answer.speed.enabled, answer.speed.entries) == (True, 0)
    assert (answer.speed.rows_added, answer.speed.rows_removed) == (0, 0)


async def test_partial_dates_filter_and_sort_as_periods(clinic: Clinic) -> None:
    within = {"column": "birth_date", "op": "eq", "value": "1970"}
    assert await lab_ids(clinic, where=within) == ["x", "z"]
    day = {"column": "birth_date", "op": "eq", "value": "1970-06-12"}
    assert await lab_ids(clinic, where=day) == []
    after = {"column": "taken", "op": "gt", "value": "2024-02"}
    assert await lab_ids(clinic, where=after) == ["x", "z"]


async def test_groups_and_aggregates_work(clinic: Clinic) -> None:
    answer: Answer = await clinic.ask(
        "women_labs",
        group_by=["patient_id"],
        aggregates=[{"fn": "count"}, {"fn": "max", "column": "value"}],
    )
    assert [(row[0], row[1], str(row[2])) for row in answer.rows] == [("a", 2, "7.5")]


async def test_numbers_keep_their_unit_and_codes_their_display_under_other_names(
    clinic: Clinic,
) -> None:
    text = (
        "SELECT l.value_quantity AS amount, l.value_unit AS measured_in, l.code AS test,"
        " l.code_display AS called FROM l"
    )
    await keep(clinic.database, sql_view("amounts", text, l="observation_labs"))
    unit = {"value": 58, "unit": "mmol/mol"}
    await clinic.put(lab("w", "a", valueQuantity=unit))
    await clinic.refresh()
    with pytest.raises(QueryError, match="several units") as caught:
        await clinic.ask("amounts", aggregates=[{"fn": "avg", "column": "amount"}])
    assert caught.value.allowed == ("measured_in",)
    by_unit: Answer = await clinic.ask(
        "amounts", group_by=["measured_in"], aggregates=[{"fn": "count"}]
    )
    assert by_unit.rows == (("%", 3), ("mmol/mol", 1))
    by_code: Answer = await clinic.ask("amounts", group_by=["test", "called"])
    assert [row[0] for row in by_code.rows] == ["4548-4"]


async def test_semi_joins_go_both_ways(clinic: Clinic) -> None:
    women = {"column": "id", "query": {"view": "women_labs", "column": "patient_id"}}
    assert await clinic.ids("patient_simple", where=women) == ["a"]
    known = {"column": "patient_id", "query": {"view": "condition_simple", "min_rows": 2}}
    assert await lab_ids(clinic, where=known) == []


async def test_columns_of_every_kind_are_shown(clinic: Clinic) -> None:
    sql = """
    SELECT 1::int2 AS small, 2 AS whole, 3::int8 AS big, 4.50 AS exact, 0.5::float8 AS float,
           true AS flag, date '2024-02-29' AS day, timestamp '2024-01-02 03:04:05' AS moment,
           timestamptz '2024-01-02 03:04:05+02' AS instant, time '08:30' AS clock,
           '{"a": [1.10]}'::json AS element, ARRAY['x', 'y'] AS list, NULL AS nothing,
           'é'::varchar(3) AS letter
    FROM patients WHERE id = 'a'
    """
    await keep(clinic.database, sql_view("kinds", sql))
    answer: Answer = await clinic.ask("kinds")
    (row,) = answer.as_dicts()
    shown = {name: str(value) for name, value in row.items()}
    assert shown == {
        "small": "1",
        "whole": "2",
        "big": "3",
        "exact": "4.50",
        "float": "0.5",
        "flag": "True",
        "day": "2024-02-29",
        "moment": "2024-01-02 03:04:05",
        "instant": "2024-01-02 01:04:05+00:00",
        "clock": "08:30:00",
        "element": "{'a': [Decimal('1.10')]}",
        "list": "['x', 'y']",
        "nothing": "None",
        "letter": "é",
    }
    assert [column.name for column in answer.columns if column.is_list] == ["list"]
    days = {"column": "day", "op": "ge", "value": "2024-02"}
    assert len((await clinic.ask("kinds", where=days)).rows) == 1


# States


async def test_changes_show_live_and_not_at_the_anchor(clinic: Clinic) -> None:
    await clinic.cache(lab("x", "b", 7.5), lab("new", "a", 8), patient("c", gender="male"))
    assert await lab_ids(clinic) == ["new", "z"]
    assert await lab_ids(clinic, freshness="anchored") == ["x", "z"]
    answer: Answer = await clinic.ask("women_labs")
    assert answer.speed.entries == 3
    assert (answer.speed.rows_added, answer.speed.rows_removed) == (None, None)
    await clinic.cache("Patient/a")
    assert await lab_ids(clinic) == []


async def test_an_earlier_anchor_gives_its_rows(clinic: Clinic) -> None:
    await clinic.delete("Observation/x")
    await clinic.put(condition("4", "c"), lab("w", "c", 5))
    await clinic.refresh()
    assert await lab_ids(clinic, as_of=1) == ["x", "z"]
    assert await lab_ids(clinic) == ["w", "z"]
    earlier: Answer = await clinic.ask("women_labs", as_of=1)
    assert (earlier.anchor, earlier.freshness) == (1, "anchored")


async def test_live_rows_equal_those_after_the_next_refresh(clinic: Clinic) -> None:
    changes = [lab("x", "c", 1), condition("9", "c"), patient("b", birthDate="2001-01-01")]
    await clinic.put(*changes)
    await clinic.cache(*changes, "Condition/1")
    await clinic.delete("Condition/1")
    live: Answer = await clinic.ask("women_labs")
    await clinic.refresh()
    rebuilt: Answer = await clinic.ask("women_labs", freshness="anchored")
    assert live.rows == rebuilt.rows
    assert sorted(row[3] for row in live.rows) == ["x", "y"]


async def test_resources_missing_from_a_view_it_reads_are_told(clinic: Clinic) -> None:
    await clinic.put(patient("bad", birthDate="not a date"))
    await clinic.refresh()
    answer: Answer = await clinic.ask("women_labs")
    assert answer.missing_resources == 1
    await clinic.cache(patient("bad"))
    assert (await clinic.ask("women_labs")).missing_resources == 0
    assert (await clinic.ask("women_labs", freshness="anchored")).missing_resources == 1


# Pages


async def test_pages_give_every_row_once_equal_rows_included(clinic: Clinic) -> None:
    sql = """
    SELECT gender, 1.0 AS n FROM patients
    UNION ALL SELECT 'x', v FROM (VALUES (1.00), (1.0), (1.0), (1.00)) AS t (v)
    """
    await keep(clinic.database, sql_view("repeated", sql, patients="patient_simple"))
    rows: list[tuple[Any, ...]] = []
    cursor = None
    while True:
        answer: Answer = await clinic.ask("repeated", limit=2, cursor=cursor)
        rows += [(row[0], str(row[1])) for row in answer.rows]
        cursor = answer.next_cursor
        if cursor is None:
            break
    assert Counter(rows) == {
        ("female", "1.0"): 2,
        ("male", "1.0"): 1,
        ("x", "1.0"): 2,
        ("x", "1.00"): 2,
    }


async def test_rows_are_numbered_alike_in_whatever_order_they_are_found(clinic: Clinic) -> None:
    async def numbered(values: str) -> set[tuple[Any, ...]]:
        sql = f"SELECT v, count(*) AS n FROM patients, (VALUES {values}) AS t (v, w) GROUP BY v, w"
        view = await keep(clinic.database, sql_view("numbers", sql, patients="patient_simple"))
        async with clinic.database.snapshot() as session:
            views = await answerable_views(session)
            relation = relation_of(view.name, [], views, anchored_relation)
            rows = await session.fetch(compose("SELECT v::text, _id, _ord FROM {} AS r", relation))
            return {tuple(row) for row in rows}

    first = await numbered("(1.0, 1), (1.00, 2), (1.000, 3)")
    assert len(first) == 3
    for values in ("(1.00, 1), (1.0, 2), (1.000, 3)", "(1.000, 1), (1.00, 2), (1.0, 3)"):
        assert await numbered(values) == first


async def test_a_cursor_ends_with_the_definition_it_was_made_for(clinic: Clinic) -> None:
    page: Answer = await clinic.ask("women_labs", limit=1)
    same = sql_view("women_labs", WOMEN_LABS + " AND true")
    await keep(clinic.database, same)
    with pytest.raises(QueryError) as caught:
        await clinic.ask("women_labs", limit=1, cursor=page.next_cursor)
    assert caught.value.code == "cursor_invalid"


# Definitions


async def test_a_composed_view_may_stand_on_another(clinic: Clinic) -> None:
    sql = "SELECT w.patient_id, max(w.value) AS worst FROM women_labs w GROUP BY w.patient_id"
    await keep(clinic.database, sql_view("worst", sql, women_labs="women_labs"))
    answer: Answer = await clinic.ask("worst")
    assert [(row[0], str(row[1])) for row in answer.rows] == [("a", "7.5")]
    await clinic.cache(lab("x", "a", 11))
    answer = await clinic.ask("worst")
    assert [(row[0], str(row[1])) for row in answer.rows] == [("a", "11")]
    assert answer.speed.entries == 1


async def test_labels_read_the_same_view_twice_and_in_any_case(clinic: Clinic) -> None:
    sql = """SELECT First.id AS one, "Second".id AS other FROM First JOIN "Second"
             ON first.gender = "Second".gender AND first.id < "Second".id"""
    definition = sql_view("pairs", sql, First="patient_simple", Second="patient_simple")
    await keep(clinic.database, definition)
    answer: Answer = await clinic.ask("pairs")
    assert answer.rows == (("a", "c"),)


async def test_every_runner_sees_a_change_of_composed_views_at_once(clinic: Clinic) -> None:
    other = clinic.another_runner()
    await clinic.ask("women_labs")
    await keep(clinic.database, sql_view("women_labs", "SELECT id AS lab_id FROM labs"))
    assert await lab_ids(clinic) == ["x", "y", "z"]
    await drop(clinic.database, "women_labs")
    for runner in (clinic.runner, other):
        with pytest.raises(QueryError) as caught:
            await runner.execute("women_labs")
        assert caught.value.code == "unknown_view"


async def test_nobody_can_put_a_function_in_the_place_of_postgresqls(clinic: Clinic) -> None:
    await keep(
        clinic.database,
        sql_view("joined", "SELECT concat_ws('-', id, gender) AS c FROM p", p="patient_simple"),
    )
    async with clinic.database.session() as session:
        await session.execute(
            "CREATE FUNCTION public.concat_ws(text, text, text) RETURNS text LANGUAGE sql"
            " AS $$SELECT 'taken over'$$"
        )
    answer: Answer = await clinic.ask("joined", limit=1, order_by=[{"column": "c"}])
    assert answer.rows == (("a-female",),)


async def test_a_restarted_server_answers_as_before(
    clinic: Clinic, services: Services, redis_url: str
) -> None:
    before: Answer = await clinic.ask("women_labs", freshness="anchored")
    async with open_clinic(services.postgres.dsn_of(COPY), redis_url) as again:
        after: Answer = await again.ask("women_labs", freshness="anchored")
    assert after.rows == before.rows
    assert after.columns == before.columns


async def test_a_row_that_the_sql_cannot_compute_names_the_view(clinic: Clinic) -> None:
    sql = "SELECT id, 1 / (CASE gender WHEN 'male' THEN 0 ELSE 1 END) AS n FROM patients"
    await keep(clinic.database, sql_view("fragile", sql, patients="patient_simple"))
    with pytest.raises(QueryError) as caught:
        await clinic.ask("fragile")
    assert caught.value.code == "composed_view_fails"
    assert '"fragile"' in caught.value.message
    women = {"column": "id", "op": "ne", "value": "b"}
    assert len((await clinic.ask("fragile", columns=["id"], where=women)).rows) == 2


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("date '0044-03-15 BC'", "date '0001-01-01'"),
        ("'infinity'::date", "date '9999-12-31'"),
        ("'-infinity'::timestamp", "timestamp '0001-01-01'"),
        ("'infinity'::timestamptz", "timestamptz '9999-12-31 23:59:59.999999Z'"),
        ("time '24:00'", "time '23:59:59.999999'"),
        ("'NaN'::float8", "1e308::float8"),
    ],
)
async def test_a_value_that_no_answer_can_tell_is_refused(
    value: str, kept: str, clinic: Clinic
) -> None:
    sql = f"SELECT id, CASE gender WHEN 'male' THEN {value} ELSE {kept} END AS v FROM patients"
    await keep(clinic.database, sql_view("edges", sql, patients="patient_simple"))
    for asked in ({}, {"aggregates": [{"fn": "count_distinct", "column": "v"}]}):
        with pytest.raises(QueryError) as caught:
            await clinic.ask("edges", **asked)
        assert caught.value.code == "composed_view_fails"
    others = {"column": "id", "op": "ne", "value": "b"}
    assert len((await clinic.ask("edges", where=others)).rows) == 2


async def test_a_row_beyond_its_bound_is_refused_before_it_is_fetched(clinic: Clinic) -> None:
    wide = ", ".join(f"replace(id || '{'x' * 9_000}', 'x', repeats.w) AS c{n}" for n in range(2))
    sql = f"SELECT {wide} FROM patients, (VALUES ('{'y' * 60}')) AS repeats (w)"
    await keep(clinic.database, sql_view("wide", sql, patients="patient_simple"))
    with pytest.raises(QueryError) as caught:
        await clinic.ask("wide")
    assert caught.value.code == "composed_view_fails"
    assert "1048576" in caught.value.hint


async def test_the_statistics_count_an_answer_by_its_view(clinic: Clinic) -> None:
    await clinic.ask("women_labs")
    assert clinic.runner.statistics.answers[("women_labs", "materialized")] == 1


async def test_a_promise_of_freshness_looks_at_the_sources_of_every_view(clinic: Clinic) -> None:
    await clinic.put(lab("late", "a", 3), condition("late", "a"))
    with pytest.raises(FreshnessError) as caught:
        await clinic.ask("women_labs", max_staleness_s=1e-6)
    assert caught.value.code == "staleness_exceeded"
    answer: Answer = await clinic.ask("women_labs", max_staleness_s=3600)
    assert answer.pending == 2


def test_the_labels_of_these_tests_name_shipped_views() -> None:
    assert set(OVER.values()) == {"patient_simple", "observation_labs", "condition_simple"}
