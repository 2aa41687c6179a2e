"""Answers are right, dated and say what they are made of, whatever the layers hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from clinic import Clinic, compiled, condition, lab, open_clinic, patient
from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import FreshnessError, QueryError, ResearchFlowError, StoreError
from researchflow_runners.hybrid.contribution import REMOVED_ENTRIES_MAX
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.query.model import LIMIT_MAX, Query, SqlQuery
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.speed.redis_connection import RedisConnection
from researchflow_server.embedded import Services

FEMALE = {"column": "gender", "op": "eq", "value": "female"}
DIABETIC = {
    "column": "id",
    "query": {
        "view": "condition_simple",
        "where": {"column": "icd10_code", "op": "eq", "value": "E11"},
    },
}


@pytest_asyncio.fixture
async def clinic(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """One database for source and warehouse; nothing in it."""
    async with open_clinic(postgres_dsn, redis_url) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module")
async def template(services: Services) -> str:
    """Three patients, two of them diabetic, refreshed; a database to copy."""
    async with _administration(services) as connection:
        await connection.execute("CREATE DATABASE staffed TEMPLATE hapi_template")
    async with open_clinic(services.postgres.dsn_of("staffed"), services.redis_url) as clinic:
        await clinic.put(patient("a"), patient("b", gender="male"), patient("c", birthDate="1950"))
        await clinic.put(condition("1", "a"), condition("2", "b"), condition("3", "a", "I10"))
        await clinic.put(lab("x", "a", 7.50), lab("y", "b", 9))
        await clinic.refresh()
    return "staffed"


@pytest_asyncio.fixture
async def staffed(services: Services, template: str, redis_url: str) -> AsyncIterator[Clinic]:
    """A clinic of its own with the patients of `template`."""
    async with _administration(services) as connection:
        await connection.execute(
            f"CREATE DATABASE staffed_copy TEMPLATE {template} STRATEGY file_copy"
        )
        async with open_clinic(services.postgres.dsn_of("staffed_copy"), redis_url) as clinic:
            yield clinic
        await connection.execute("DROP DATABASE staffed_copy WITH (FORCE)")


@asynccontextmanager
async def _administration(services: Services) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(services.postgres_dsn)
    yield connection
    await connection.close()


async def refused(answer: Any, code: str) -> ResearchFlowError:
    with pytest.raises(ResearchFlowError) as caught:
        await answer
    assert caught.value.code == code
    assert caught.value.hint
    return caught.value


# Rows of a materialised view, dated


async def test_rows_come_from_the_materialised_view_with_their_date(staffed: Clinic) -> None:
    answer: Answer = await staffed.ask("patient_simple")
    assert answer.as_dicts() == [
        {"id": "a", "patient_id": "a", "active": None, "birth_date": None, "gender": "female"},
        {"id": "b", "patient_id": "b", "active": None, "birth_date": None, "gender": "male"},
        {"id": "c", "patient_id": "c", "active": None, "birth_date": "1950", "gender": "female"},
    ]
    assert (answer.route, answer.freshness, answer.anchor) == ("materialized", "live", 1)
    types = [column.type for column in answer.columns]
    assert types == ["string", "string", "boolean", "date", "code"]
    assert answer.columns[4].system == "http://hl7.org/fhir/administrative-gender"
    assert answer.data_as_of is not None
    assert answer.age_s == (answer.computed_at - answer.data_as_of).total_seconds()
    assert (answer.staleness_s, answer.pending) == (0, 0)
    assert (answer.speed.enabled, answer.speed.entries, answer.speed.rows_removed) == (True, 0, 0)
    assert answer.degradations == ()
    assert answer.missing_resources == 0
    assert not answer.truncated
    assert answer.next_cursor is None


async def test_decimals_keep_their_scale_on_both_layers(staffed: Clinic) -> None:
    def written(name: str, value: str) -> bytes:
        return json.dumps(lab(name, "c", 123.25)).replace("123.25", value).encode()

    await staffed.put(written("x", "7.50"))
    await staffed.refresh()
    await staffed.cache(written("z", "8.100"))
    answer = await staffed.ask("observation_labs", columns=["id", "value_quantity"])
    assert [str(row[1]) for row in answer.rows] == ["7.50", "9", "8.100"]


# Merging


async def test_cached_changes_appear_in_the_rows(staffed: Clinic) -> None:
    await staffed.cache(patient("d", gender="male"), patient("a", gender="other"))
    answer = await staffed.ask("patient_simple", columns=["id", "gender"])
    assert answer.rows == (("a", "other"), ("b", "male"), ("c", "female"), ("d", "male"))
    speed = answer.speed
    assert (speed.entries, speed.provisional) == (2, 2)
    assert (speed.rows_added, speed.rows_removed) == (2, 1)


async def test_cached_delete_takes_the_row_away(staffed: Clinic) -> None:
    await staffed.cache("Patient/b")
    answer = await staffed.ask("patient_simple", columns=["id"])
    assert answer.rows == (("a",), ("c",))
    assert (answer.speed.rows_added, answer.speed.rows_removed) == (0, 1)


async def test_patient_who_left_the_filter_is_gone(staffed: Clinic) -> None:
    assert await staffed.ids("patient_simple", where=FEMALE) == ["a", "c"]
    await staffed.cache(patient("a", gender="male"))
    answer = await staffed.ask("patient_simple", where=FEMALE, columns=["id"])
    assert answer.rows == (("c",),)
    assert (answer.speed.rows_added, answer.speed.rows_removed) == (0, 1)
    male = {**FEMALE, "value": "male"}
    assert await staffed.ids("patient_simple", where=male) == ["a", "b"]


async def test_filter_matches_exactly_on_both_layers(staffed: Clinic) -> None:
    await staffed.cache(patient("m", gender="male"), patient("f"))
    for gender, expected in (("male", ["b", "m"]), ("female", ["a", "c", "f"]), ("other", [])):
        where = {"column": "gender", "op": "eq", "value": gender}
        assert await staffed.ids("patient_simple", where=where) == expected


async def test_counts_see_the_speed_layer_as_rows_do(staffed: Clinic) -> None:
    await staffed.cache(patient("d"), patient("b"), "Patient/c")
    answer = await staffed.ask("patient_simple", group_by=["gender"])
    assert answer.rows == (("female", 3),)
    assert (answer.speed.rows_added, answer.speed.rows_removed) == (2, 2)


async def test_limit_and_order_apply_after_the_merge(staffed: Clinic) -> None:
    await staffed.cache(patient("0"), patient("bb"), "Patient/a")
    answer = await staffed.ask("patient_simple", columns=["id"], limit=3)
    assert answer.rows == (("0",), ("b",), ("bb",))
    assert answer.truncated
    assert answer.speed.rows_added == 2
    down = {"column": "id", "descending": True}
    assert await staffed.ids("patient_simple", order_by=[down], limit=2) == ["c", "bb"]


async def test_cohort_over_several_views_merges_each_of_them(staffed: Clinic) -> None:
    assert await staffed.ids("patient_simple", where=DIABETIC) == ["a", "b"]
    await staffed.cache(condition("4", "c"), "Condition/1")
    answer = await staffed.ask("patient_simple", where=DIABETIC, columns=["id"])
    assert answer.rows == (("b",), ("c",))
    assert answer.views == ("patient_simple", "condition_simple")
    assert answer.speed.entries == 2
    assert (answer.speed.rows_added, answer.speed.rows_removed) == (0, None)
    none = {"not": DIABETIC}
    assert await staffed.ids("patient_simple", where=none) == ["a"]


async def test_refresh_moves_rows_from_speed_to_batch_without_changing_them(
    staffed: Clinic,
) -> None:
    changed = patient("a", gender="other")
    await staffed.put(changed)
    await staffed.cache({**changed, "meta": {"versionId": "2"}})
    before = await staffed.ask("patient_simple")
    await staffed.refresh()
    after = await staffed.ask("patient_simple")
    assert before.rows == after.rows
    assert (before.anchor, before.speed.rows_added) == (1, 1)
    assert (after.anchor, after.speed.entries, after.speed.rows_added) == (2, 0, 0)


async def test_removed_rows_are_uncounted_beyond_the_bound(
    staffed: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REMOVED_ENTRIES_MAX > 100
    monkeypatch.setattr("researchflow_runners.hybrid.contribution.REMOVED_ENTRIES_MAX", 1)
    await staffed.cache(patient("a", gender="male"))
    assert (await staffed.ask("patient_simple")).speed.rows_removed == 1
    await staffed.cache("Patient/b")
    assert (await staffed.ask("patient_simple")).speed.rows_removed is None


async def test_resource_that_cannot_be_computed_is_counted_as_missing(staffed: Clinic) -> None:
    await staffed.put(patient("bad", birthDate="not a date"))
    await staffed.refresh()
    answer = await staffed.ask("patient_simple", columns=["id"])
    assert answer.rows == (("a",), ("b",), ("c",))
    assert answer.missing_resources == 1
    await staffed.cache(patient("bad"))
    answer = await staffed.ask("patient_simple", columns=["id"])
    assert answer.rows[2] == ("bad",)
    assert answer.missing_resources == 0
    assert (await staffed.ask("patient_simple", freshness="anchored")).missing_resources == 1


# Freshness


async def test_anchored_read_excludes_the_speed_layer(staffed: Clinic) -> None:
    await staffed.cache(patient("d"), "Patient/a")
    answer = await staffed.ask("patient_simple", columns=["id"], freshness="anchored")
    assert answer.rows == (("a",), ("b",), ("c",))
    assert (answer.freshness, answer.speed.enabled) == ("anchored", False)
    assert answer.degradations == ()


async def test_switched_off_speed_layer_is_said_in_the_answer(staffed: Clinic) -> None:
    await staffed.cache(patient("d"))
    runner = staffed.another_runner(use_speed_layer=False)
    answer = await runner.execute("patient_simple")
    assert [row[0] for row in answer.rows] == ["a", "b", "c"]
    assert (answer.freshness, answer.speed.enabled) == ("anchored", False)
    assert [one.code for one in answer.degradations] == ["speed_layer_disabled"]
    anchored = await runner.execute("patient_simple", freshness="anchored")
    assert anchored.degradations == ()
    assert runner.get_statistics()["speed_layer_enabled"] is False


async def test_earlier_anchor_gives_its_own_rows_whatever_came_later(staffed: Clinic) -> None:
    first = await staffed.ask("patient_simple", as_of=1)
    await staffed.put(patient("a", gender="other"), patient("d"))
    await staffed.delete("Patient/b")
    await staffed.refresh()
    await staffed.cache("Patient/c")
    again = await staffed.ask("patient_simple", as_of=1)
    assert again.rows == first.rows
    assert (again.anchor, again.freshness, again.data_as_of) == (1, "anchored", first.data_as_of)
    assert (again.staleness_s, again.pending) == (None, None)
    by_instant = await staffed.ask("patient_simple", as_of=first.data_as_of)
    assert by_instant.rows == first.rows
    current = await staffed.ask("patient_simple", as_of=2, columns=["id", "gender"])
    assert current.rows == (("a", "other"), ("c", "female"), ("d", "female"))
    assert current.staleness_s == 0


async def test_anchor_that_cannot_be_read_is_refused(staffed: Clinic) -> None:
    error = await refused(staffed.ask("patient_simple", as_of=9), "anchor_unknown")
    assert isinstance(error, FreshnessError)
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    await refused(staffed.ask("patient_simple", as_of=long_ago), "anchor_unknown")
    conflict = staffed.ask("patient_simple", as_of=1, freshness="live")
    await refused(conflict, "freshness_conflict")


async def test_unlooked_source_leaves_staleness_unknown(staffed: Clinic) -> None:
    async with staffed.database.transaction() as session:
        await session.execute("DELETE FROM researchflow.source_check WHERE res_type = 'Condition'")
    answer = await staffed.ask("patient_simple", where=DIABETIC)
    assert (answer.staleness_s, answer.pending, answer.checked_at) == (None, None, None)
    assert (await staffed.ask("patient_simple")).staleness_s == 0


async def test_staleness_counts_from_the_oldest_pending_change(staffed: Clinic) -> None:
    async with staffed.database.transaction() as session:
        await session.execute(
            "UPDATE researchflow.source_check SET pending = 2,"
            " oldest_pending_at = now() - interval '1 hour' WHERE res_type = 'Condition'"
        )
    answer = await staffed.ask("patient_simple", where=DIABETIC)
    assert answer.pending == 2
    assert answer.staleness_s == pytest.approx(3600, abs=30)
    assert (await staffed.ask("patient_simple")).staleness_s == 0


async def _age_the_check(clinic: Clinic) -> None:
    async with clinic.database.transaction() as session:
        await session.execute(
            "UPDATE researchflow.source_check SET checked_at = now() - interval '1 hour'"
        )


async def test_missed_staleness_bound_leads_to_a_new_look_at_the_source(staffed: Clinic) -> None:
    await _age_the_check(staffed)
    answer = await staffed.ask("patient_simple", max_staleness_s=60)
    assert answer.staleness_s == 0
    assert answer.checked_at > answer.computed_at - timedelta(seconds=60)


@pytest.mark.failure("staleness-exceeded")
async def test_staleness_bound_that_cannot_be_met_is_refused(staffed: Clinic) -> None:
    await staffed.put(patient("late"))
    async with staffed.database.transaction() as session:
        await session.execute(
            "UPDATE hfj_resource SET res_updated = now() AT TIME ZONE 'UTC' - interval '1 hour'"
            " WHERE fhir_id = 'late'"
        )
    await _age_the_check(staffed)
    error = await refused(staffed.ask("patient_simple", max_staleness_s=60), "staleness_exceeded")
    assert (error.field, error.retryable) == ("max_staleness_s", False)
    assert (await staffed.ask("patient_simple", max_staleness_s=7200)).pending == 1
    await staffed.refresh()
    assert (await staffed.ask("patient_simple", max_staleness_s=60)).staleness_s == 0


async def test_staleness_of_an_earlier_anchor_is_bounded_by_its_age(staffed: Clinic) -> None:
    await staffed.put(patient("later"))
    await staffed.refresh()
    assert (await staffed.ask("patient_simple", as_of=1, max_staleness_s=600)).anchor == 1
    async with staffed.database.transaction() as session:
        await session.execute(
            "UPDATE researchflow.anchor SET data_as_of = now() - interval '1 hour' WHERE anchor = 1"
        )
    await refused(staffed.ask("patient_simple", as_of=1, max_staleness_s=600), "staleness_exceeded")


async def test_concurrent_reads_never_mix_their_anchors(staffed: Clinic) -> None:
    await staffed.put(patient("d"))
    await staffed.refresh()
    asked = [staffed.ask("patient_simple", as_of=1 + number % 2) for number in range(20)]
    for number, answer in enumerate(await asyncio.gather(*asked)):
        assert answer.anchor == 1 + number % 2
        assert answer.row_count == 3 + number % 2


# Paging


async def test_pages_of_an_anchored_read_stay_at_its_anchor(staffed: Clinic) -> None:
    asked: dict[str, Any] = {"columns": ["id"], "freshness": "anchored", "limit": 2}
    page = await staffed.ask("patient_simple", **asked)
    await staffed.put(patient("bb"), patient("d"))
    await staffed.refresh()
    rest = await staffed.ask("patient_simple", **asked, cursor=page.next_cursor)
    assert (rest.rows, rest.anchor, rest.truncated) == ((("c",),), 1, False)


async def test_pages_of_a_live_read_go_on_after_the_last_key(staffed: Clinic) -> None:
    asked: dict[str, Any] = {"columns": ["id"], "limit": 2}
    page = await staffed.ask("patient_simple", **asked)
    await staffed.cache(patient("aa"), patient("d"))
    rest = await staffed.ask("patient_simple", **asked, cursor=page.next_cursor)
    assert rest.rows == (("c",), ("d",))
    assert rest.next_cursor is None


async def test_cut_answer_goes_on_where_it_was_cut(staffed: Clinic) -> None:
    answer = await staffed.ask("patient_simple", columns=["id"])
    cut = answer.cut(1)
    assert (cut.rows, cut.truncated, cut.row_count) == ((("a",),), True, 1)
    rest = await staffed.ask("patient_simple", columns=["id"], cursor=cut.next_cursor)
    assert rest.rows == (("b",), ("c",))
    assert answer.cut(3) is answer


async def test_cursor_of_another_question_or_principal_is_refused(staffed: Clinic) -> None:
    query = Query(view="patient_simple", limit=1)
    page = await staffed.runner.query(query, principal="ann")
    following = query.model_copy(update={"cursor": page.next_cursor})
    assert (await staffed.runner.query(following, principal="ann")).rows[0][0] == "b"
    await refused(staffed.runner.query(following, principal="bob"), "cursor_invalid")
    await refused(
        staffed.ask("patient_simple", where=FEMALE, cursor=page.next_cursor), "cursor_invalid"
    )
    await refused(staffed.ask("patient_simple", cursor="nonsense"), "cursor_invalid")


# Routes


async def test_view_without_tables_is_computed_from_the_source(clinic: Clinic) -> None:
    await clinic.put(patient("a"), patient("b", gender="male"), condition("1", "a"))
    answer = await clinic.ask("patient_simple", where=DIABETIC)
    assert [row[0] for row in answer.rows] == ["a"]
    assert (answer.route, answer.freshness, answer.anchor) == ("direct", "live", None)
    assert (answer.staleness_s, answer.pending, answer.age_s) == (0, 0, 0)
    assert answer.data_as_of == answer.computed_at
    assert answer.degradations == ()
    page = await clinic.ask("patient_simple", columns=["id"], limit=1)
    rest = await clinic.ask("patient_simple", columns=["id"], limit=1, cursor=page.next_cursor)
    assert (page.rows, rest.rows) == ((("a",),), (("b",),))


async def test_direct_route_has_no_anchors_and_says_what_it_leaves_out(clinic: Clinic) -> None:
    await clinic.put(patient("a"))
    await refused(clinic.ask("patient_simple", freshness="anchored"), "view_not_materialised")
    await refused(clinic.ask("patient_simple", as_of=1), "view_not_materialised")
    await clinic.cache(patient("b"))
    answer = await clinic.ask("patient_simple", columns=["id"])
    assert answer.rows == (("a",),)
    assert [one.code for one in answer.degradations] == ["overlay_excluded"]


async def test_source_in_another_database_answers_both_routes(
    postgres_dsn: str, source_dsn: str, redis_url: str
) -> None:
    async with open_clinic(postgres_dsn, redis_url, source_dsn=source_dsn) as clinic:
        await clinic.put(patient("a"), condition("1", "a"))
        direct = await clinic.ask("patient_simple", where=DIABETIC)
        await clinic.refresh()
        materialized = await clinic.ask("patient_simple", where=DIABETIC)
        assert direct.rows == materialized.rows
        assert direct.row_count == 1
        assert (direct.route, materialized.route) == ("direct", "materialized")
        await clinic.cache(patient("b"), condition("2", "b"))
        assert await clinic.ids("patient_simple", where=DIABETIC) == ["a", "b"]
        await _age_the_check(clinic)
        assert (await clinic.ask("patient_simple", max_staleness_s=60)).staleness_s == 0


async def test_unknown_view_is_refused_with_the_nearest_name(staffed: Clinic) -> None:
    error = await refused(staffed.ask("patient_simpel"), "unknown_view")
    assert (error.field, error.did_you_mean) == ("view", "patient_simple")
    where = {"column": "id", "query": {"view": "condition"}}
    error = await refused(staffed.ask("patient_simple", where=where), "unknown_view")
    assert error.field == "where.query.view"


async def test_published_view_without_definition_cannot_join_the_direct_route(
    clinic: Clinic,
) -> None:
    await clinic.refresh(compiled("condition_simple"))
    runner = clinic.another_runner(views=compiled("patient_simple"))
    query = Query.model_validate({"view": "patient_simple", "where": DIABETIC})
    await refused(runner.query(query), "view_not_published")
    await refused(
        clinic.another_runner(source=None).execute("patient_simple"), "view_not_published"
    )


async def test_definition_given_with_the_question_is_answered(staffed: Clinic) -> None:
    published = next(view for view in staffed.views if view.name == "patient_simple")
    answer = await staffed.runner.execute(published.definition, {"gender": "male"})
    assert (answer.route, answer.column_values("id")) == ("materialized", ["b"])
    other = {
        **published.definition,
        "select": [{"column": [{"name": "key", "path": "getResourceKey()", "type": "string"}]}],
    }
    answer = await staffed.runner.execute(other)
    assert (answer.route, answer.rows) == ("direct", (("a",), ("b",), ("c",)))
    assert compile_view(other).digest != published.digest
    again = await staffed.runner.execute("patient_simple", {"id": "a"})
    assert (again.route, again.row_count) == ("materialized", 1)


# The classic door


async def test_search_params_are_equalities_on_columns(staffed: Clinic) -> None:
    execute = staffed.runner.execute
    await staffed.cache(patient("d", birthDate="1950-02-01", active=True))
    assert (await execute("patient_simple", {"gender": "female"})).column_values("id") == [
        "a", "c", "d",
    ]  # fmt: skip
    assert (await execute("patient_simple", {"id": ["a", "b", "z"]})).row_count == 2
    both = {"gender": "female", "birth_date": "1950"}
    assert (await execute("patient_simple", both)).column_values("id") == ["c", "d"]
    assert (await execute("patient_simple", {"active": True})).column_values("id") == ["d"]
    assert (await execute("patient_simple", {"active": None})).row_count == 3
    limited = await execute("patient_simple", max_resources=2)
    assert (limited.row_count, limited.truncated) == (2, True)


async def test_classic_arguments_that_cannot_be_honoured_are_refused(staffed: Clinic) -> None:
    execute = staffed.runner.execute
    error = await refused(execute("patient_simple", {"patientId": "a"}), "unknown_column")
    assert isinstance(error, QueryError)
    await refused(execute("patient_simple", {"gender": {"eq": "male"}}), "value_type")
    await refused(execute("patient_simple", {"gender": []}), "value_type")
    error = await refused(execute("patient_simple", max_resources=0), "value_type")
    assert error.field == "max_resources"
    await refused(execute("patient_simple", max_resources=LIMIT_MAX + 1), "value_type")
    await refused(execute("patient_simple", freshness="fresh"), "value_type")  # type: ignore[arg-type]


# Existence cache


async def test_existence_is_remembered_for_yes_and_no(staffed: Clinic) -> None:
    runner = staffed.another_runner()
    lookups = runner.statistics.existence_lookups
    await runner.execute("patient_simple")
    assert (lookups[False], lookups[True]) == (1, 0)
    assert runner.get_statistics()["views_cached"] == 3
    await runner.execute("patient_simple")
    await refused(runner.execute("nowhere"), "unknown_view")
    await refused(runner.execute("nowhere"), "unknown_view")
    assert lookups[False] == 1
    runner.clear_cache()
    assert runner.get_statistics()["views_cached"] == 0
    assert (await runner.execute("patient_simple")).row_count == 3
    assert lookups[False] == 2


async def test_existence_cache_never_outlives_create_refresh_or_drop(clinic: Clinic) -> None:
    await clinic.put(patient("a"))
    only_tables = clinic.another_runner(source=None)
    await refused(only_tables.execute("patient_simple"), "view_not_published")
    await refused(only_tables.execute("patient_simple"), "view_not_published")
    await clinic.refresh()
    assert (await only_tables.execute("patient_simple")).row_count == 1
    await clinic.put(patient("b"))
    await clinic.refresh()
    assert (await only_tables.execute("patient_simple")).row_count == 2
    await clinic.refresh(compiled("condition_simple"))
    await refused(only_tables.execute("patient_simple"), "view_not_published")
    assert (await clinic.ask("patient_simple")).route == "direct"
    await clinic.refresh()
    assert (await only_tables.execute("patient_simple")).row_count == 2


async def test_sql_reads_a_view_that_came_since_the_runner_last_looked(clinic: Clinic) -> None:
    await clinic.refresh(compiled("patient_simple"))
    runner = clinic.another_runner()
    await runner.query_sql(SqlQuery(sql="SELECT id FROM patient_simple"))
    await clinic.refresh()
    answer = await runner.query_sql(SqlQuery(sql="SELECT id FROM condition_simple"))
    assert answer.columns[0].name == "id"


async def test_runner_without_cache_looks_each_time(staffed: Clinic) -> None:
    runner = staffed.another_runner(enable_cache=False)
    await runner.execute("patient_simple")
    await runner.execute("patient_simple")
    assert runner.statistics.existence_lookups[False] == 2
    assert runner.get_statistics()["views_cached"] == 0


# Statistics


async def test_statistics_add_up(staffed: Clinic) -> None:
    runner = staffed.another_runner()
    empty = runner.get_statistics()
    assert (empty["total_queries"], empty["materialized_percentage"]) == (0, 0.0)
    await runner.execute("patient_simple")
    await staffed.cache(patient("d"))
    await runner.execute("patient_simple")
    await runner.execute("condition_simple")
    await runner.execute("patient_simple", freshness="anchored")
    definition = next(v.definition for v in staffed.views if v.name == "patient_simple")
    await runner.execute({**definition, "where": [{"path": "active"}]})
    await refused(runner.execute("patient_simple", as_of=77), "anchor_unknown")
    await refused(runner.execute("nowhere"), "unknown_view")
    told = runner.get_statistics()
    assert told["runner_type"] == "hybrid"
    assert (told["total_queries"], told["materialized_queries"], told["postgres_queries"]) == (
        5, 4, 1,
    )  # fmt: skip
    assert told["materialized_percentage"] == 80.0
    assert told["speed_layer_queries"] == told["overlay_hits"] == 1
    assert told["overlay_misses"] == 2
    assert told["refused_queries"] == 2
    assert told["refused_by_code"] == {"anchor_unknown": 1, "unknown_view": 1}
    assert told["speed_layer_enabled"] is True
    assert runner.statistics.answers[("patient_simple", "materialized")] == 3


# Stores that are away


async def test_answers_go_on_without_redis_and_say_so(staffed: Clinic) -> None:
    await staffed.cache(patient("d"))
    away = RedisClient(RedisConnection.open("redis://127.0.0.1:1/0"))
    runner = staffed.another_runner(redis_client=away)
    answer = await runner.execute("patient_simple")
    assert answer.column_values("id") == ["a", "b", "c", "d"]
    assert [one.code for one in answer.degradations] == ["redis_unavailable"]
    assert (await runner.execute("patient_simple", freshness="anchored")).degradations == ()
    assert runner.get_statistics()["degraded_by_reason"] == {"redis_unavailable": 1}
    await away.close()


async def test_stopped_postgresql_is_a_retryable_error_and_recovers(
    own_services: Services,
) -> None:
    async with open_clinic(own_services.postgres_dsn, own_services.redis_url) as clinic:
        await clinic.put(patient("a"))
        await clinic.refresh()
        assert (await clinic.ask("patient_simple")).row_count == 1
        await own_services.postgres.kill()
        error = await refused(clinic.ask("patient_simple"), "postgres_unavailable")
        assert isinstance(error, StoreError)
        assert error.retryable
        await own_services.postgres.start()
        assert (await clinic.ask("patient_simple")).row_count == 1
        await own_services.redis.kill()
        answer = await clinic.ask("patient_simple")
        assert [one.code for one in answer.degradations] == ["redis_unavailable"]


async def test_times_without_an_offset_are_counted_where_they_matter(clinic: Clinic) -> None:
    named = {"column": "effective_datetime", "op": "ge", "value": "2020"}
    await clinic.put(patient("a"))
    await clinic.put(lab("x", "a", 1, effectiveDateTime="2020-01-01T10:00:00"))
    await clinic.put(lab("y", "a", 2, effectiveDateTime="2020-01-01T10:00:00Z"))
    await clinic.put(lab("z", "a", 3, effectiveDateTime="2020-01-01"))
    await clinic.refresh()
    filtered = await clinic.ask("observation_labs", columns=["id"], where=named)
    (warning,) = filtered.warnings
    assert ("times without an offset, 1 at" in warning, "UTC" in warning) == (True, True)
    sub = {"column": "id", "op": "in", "query": {"view": "observation_labs", "where": named}}
    for asked in (
        {"view": "observation_labs", "order_by": [{"column": "effective_datetime"}]},
        {"view": "observation_labs", "where": {"not": {"any_of": [{"all_of": [named]}]}}},
        {"view": "patient_simple", "where": sub},
        {
            "view": "observation_labs",
            "group_by": [{"column": "effective_datetime", "bucket": "year"}],
        },
        {"view": "observation_labs", "aggregates": [{"fn": "max", "column": "effective_datetime"}]},
        {"view": "observation_labs", "aggregates": [{"fn": "last", "column": "value_quantity"}]},
        {
            "view": "observation_labs",
            "aggregates": [{"fn": "span_days", "column": "effective_datetime"}],
        },
    ):
        assert (await clinic.ask(**asked)).warnings == (warning,), asked
    assert (await clinic.ask("observation_labs", columns=["id"])).warnings == ()
    await clinic.put(lab("x", "a", 1, effectiveDateTime="2020-01-01T10:00:00+01:00"))
    await clinic.refresh()
    assert (await clinic.ask("observation_labs", columns=["id"], where=named)).warnings == ()
