"""What went wrong in systems like this one does not go wrong here."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from clinic import CURSOR_KEY, Clinic, compiled, condition, lab, open_clinic, patient
from researchflow_runners.batch.run import RUNS_MAX
from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import QueryError, StoreError
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.speed.change import Change
from researchflow_runners.speed.projector import Projector

#: What went wrong in systems like this one, and the tests that would catch it here.
CAUGHT_BY = {
    "select blocks concatenated instead of joined": ["test_compiled_rows_are_the_oracles"],
    "the view's own filter not applied to changes": [
        "test_every_view_of_the_type_gets_its_rows",
        "test_live_equals_rebuilt_and_anchors_repeat",
    ],
    "filters dropped on the speed side": ["test_filter_matches_exactly_on_both_layers"],
    "filter before merge": ["test_patient_who_left_the_filter_is_gone"],
    "deletes never merged": [
        "test_cached_delete_takes_the_row_away",
        "test_changes_of_every_kind_reach_the_next_anchor",
    ],
    "male found in female": [
        "test_gender_filter_is_exact",
        "test_comparison_keeps_exactly_the_rows_for_which_it_is_true",
    ],
    "old entry hides newer batch row": [
        "test_covered_overlay_entries_leave_with_the_refresh",
        "test_late_version_that_the_batch_covers_does_not_stay_cached",
    ],
    "limit per layer, no order": ["test_limit_and_pages_apply_once_to_both_layers_together"],
    "count without the speed layer": [
        "test_count_rows_and_groups_agree_while_changes_of_every_kind_wait"
    ],
    "references with versions or urn": ["test_case", "test_official_case"],
    "types drift between layers": ["test_decimals_keep_their_scale_on_both_layers"],
    "unsupported expression becomes null or true": ["test_refusal_names_code_and_position"],
    "exclusion becomes inclusion": [
        "test_values_that_are_missing_are_neither_in_nor_out",
        "test_conditions_together_and_excluded",
    ],
    "alive counted as dead": ["test_view_gives_the_rows_written_by_hand"],
    "error returned as 0": [
        "test_direct_answer_that_one_resource_spoils_names_the_way_out",
        "test_stopped_postgresql_is_a_retryable_error_and_recovers",
    ],
    "poll limit loses changes": [
        "test_writes_during_refreshes_are_all_there",
        "test_changes_of_every_kind_are_pending_until_the_refresh",
    ],
    "late commit lost": ["test_transaction_that_commits_late_is_found"],
    "rows vanish by expiry": [
        "test_version_that_the_source_has_becomes_its_own_text_without_expiry",
        "test_provisional_change_over_a_confirmed_one_gives_way_to_it_when_it_ends",
    ],
    "redis evicts": ["test_evicting_redis_is_refused"],
    "write retried counts twice": ["test_any_order_with_repeats_ends_in_one_state"],
    "hints lost": ["test_changes_of_every_kind_reach_the_next_anchor"],
    "expunged and made again": [
        "test_version_of_a_resource_made_again_is_newer_than_what_was_expunged",
        "test_expunged_version_leaves_the_cache_and_hides_no_later_one",
    ],
    "anchor newer than the data": [
        "test_entry_that_arrives_while_computing_is_kept",
        "test_source_whose_clock_is_ahead_dates_nothing_in_the_future",
    ],
    "anchor shared between calls": ["test_concurrent_reads_never_mix_their_anchors"],
    "formal read falls back to live": [
        "test_anchor_that_cannot_be_read_is_refused",
        "test_direct_route_has_no_anchors_and_says_what_it_leaves_out",
    ],
    "old anchors unreadable": ["test_earlier_anchor_gives_its_own_rows_whatever_came_later"],
    "unknown age shown as 0": ["test_unlooked_source_leaves_staleness_unknown"],
    "collector exports its last value": ["test_without_a_warehouse_no_age_is_exported"],
    "readers see a missing or empty view": [
        "test_reader_across_a_refresh_keeps_its_anchor",
        "test_reader_across_a_redefinition_gets_old_rows_or_an_error",
    ],
    "failed refresh exits 0": [
        "test_refresh_that_fails_while_publishing_leaves_no_trace",
        "test_an_unreachable_database_has_its_own_exit_code",
    ],
    "load misses rows": ["test_every_resource_of_the_data_is_there"],
    "one bad resource stops the rest": [
        "test_resource_that_fails_in_one_view_is_missing_there_only_until_it_is_mended"
    ],
    "names in files called de-identified": ["test_no_identifier_of_a_patient_is_exported"],
    "cohort cut without a word": [
        "test_files_hold_every_row_of_the_cohort_exactly",
        "test_cut_answers_together_hold_every_row_once",
    ],
    "estimate from another engine": ["test_attrition_counts_what_the_raw_records_say"],
    "unknown arguments ignored": ["test_an_unknown_argument_runs_nothing"],
    "results too large": [
        "test_limit_and_cut_are_told_apart",
        "test_a_row_larger_than_a_result_is_refused",
    ],
    "patients in logs and errors": [
        "test_rejected_statement_keeps_its_state_and_no_value",
        "test_a_fault_of_ours_shows_nothing_of_itself",
    ],
    "collector queries within the scrape": ["test_a_scrape_reads_memory_only"],
}
#: Longer than a provisional change lives.
LATER = """
UPDATE researchflow.overlay_entry
SET valid_from = valid_from - interval '25 h', valid_until = valid_until - interval '25 h'
"""
TEST = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)

ONE_GIVEN: dict[str, Any] = {
    "resourceType": "ViewDefinition",
    "name": "one_given",
    "status": "active",
    "resource": "Patient",
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()"},
                {"name": "given", "path": "name.given"},
            ]
        }
    ],
}
FIRST_GIVEN: dict[str, Any] = {
    **ONE_GIVEN,
    "select": [
        {
            "column": [
                {"name": "id", "path": "getResourceKey()"},
                {"name": "given", "path": "name.given.first()"},
            ]
        }
    ],
}


@pytest_asyncio.fixture
async def clinic(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """One database for source and warehouse; nothing in it."""
    async with open_clinic(postgres_dsn, redis_url) as opened:
        yield opened


@pytest_asyncio.fixture
async def apart(postgres_dsn: str, source_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """Source and warehouse in two databases."""
    async with open_clinic(postgres_dsn, redis_url, source_dsn=source_dsn) as opened:
        yield opened


async def take_away(clinic: Clinic) -> None:
    """Lets nobody into the source any more."""
    async with clinic.source.database.session() as session:
        name = await session.fetchval("SELECT current_database()")
    async with clinic.database.session() as session:
        await session.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )


def two_given(name: str) -> dict[str, Any]:
    return {**patient(name), "name": [{"given": ["Ann", "Eve"]}]}


def test_every_pitfall_has_its_tests() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    tests = {name for file in files for name in TEST.findall(file.read_text("utf-8"))}
    named = {name for names in CAUGHT_BY.values() for name in names}
    assert named - tests == set()


async def test_count_rows_and_groups_agree_while_changes_of_every_kind_wait(
    clinic: Clinic,
) -> None:
    await clinic.put(*(patient(name) for name in "abcd"))
    await clinic.refresh()
    await clinic.cache(patient("b", gender="male"), "Patient/c", patient("e"), patient("f"))
    female = {"column": "gender", "op": "eq", "value": "female"}
    assert await clinic.ids("patient_simple", where=female) == ["a", "d", "e", "f"]
    counted = await clinic.ask("patient_simple", where=female, aggregates=[{"fn": "count"}])
    grouped = await clinic.ask("patient_simple", group_by=["gender"])
    assert counted.rows == ((4,),)
    assert grouped.rows == (("female", 4), ("male", 1))


async def test_limit_and_pages_apply_once_to_both_layers_together(clinic: Clinic) -> None:
    await clinic.put(*(patient(f"{number}") for number in range(0, 10, 2)))
    await clinic.refresh()
    await clinic.cache(*(patient(f"{number}") for number in range(1, 10, 2)))
    first = await clinic.ask("patient_simple", columns=["id"], limit=5)
    assert [row[0] for row in first.rows] == list("01234")
    rest = await clinic.ask("patient_simple", columns=["id"], limit=5, cursor=first.next_cursor)
    assert [row[0] for row in rest.rows] == list("56789")
    assert rest.next_cursor is None


async def test_pages_of_a_live_answer_go_on_across_inserts_and_a_refresh(clinic: Clinic) -> None:
    await clinic.put(*(lab(name, "p", 5) for name in "bdf"), lab("z", "p", None))
    await clinic.refresh()
    asked: dict[str, Any] = {
        "columns": ["id", "value_quantity"],
        "order_by": [{"column": "value_quantity"}],
        "limit": 2,
    }
    first = await clinic.ask("observation_labs", **asked)
    assert [row[0] for row in first.rows] == ["b", "d"]
    await clinic.cache(lab("a", "p", 5), lab("e", "p", 5), lab("y", "p", None))
    await clinic.put(lab("g", "p", 6))
    await clinic.refresh()
    second = await clinic.ask("observation_labs", **asked, cursor=first.next_cursor)
    third = await clinic.ask("observation_labs", **asked, cursor=second.next_cursor)
    fourth = await clinic.ask("observation_labs", **asked, cursor=third.next_cursor)
    found = [row[0] for page in (second, third, fourth) for row in page.rows]
    assert found == ["e", "f", "g", "y", "z"]


async def test_values_that_are_missing_are_neither_in_nor_out(clinic: Clinic) -> None:
    await clinic.put(patient("a"), patient("b"), patient("c"))
    await clinic.put(condition("1", "a"), {**condition("2", "b"), "subject": {"display": "?"}})
    await clinic.refresh()
    diabetic = {
        "column": "id",
        "query": {
            "view": "condition_simple",
            "where": {"column": "icd10_code", "op": "eq", "value": "E11"},
        },
    }
    assert await clinic.ids("patient_simple", where=diabetic) == ["a"]
    assert await clinic.ids("patient_simple", where={**diabetic, "op": "not_in"}) == ["b", "c"]
    assert await clinic.ids("patient_simple", where={"not": diabetic}) == ["b", "c"]
    listed = {
        "column": "patient_id",
        "query": {"view": "patient_simple", "column": "id"},
    }
    assert await clinic.ids("condition_simple", where=listed) == ["1"]
    assert await clinic.ids("condition_simple", where={**listed, "op": "not_in"}) == []
    assert await clinic.ids("condition_simple", where={"not": listed}) == []


async def test_direct_answer_that_one_resource_spoils_names_the_way_out(clinic: Clinic) -> None:
    await clinic.put(patient("a"), two_given("b"))
    await clinic.refresh()
    with pytest.raises(QueryError) as caught:
        await clinic.runner.execute(ONE_GIVEN)
    assert (caught.value.code, caught.value.field) == ("resource_not_computable", "view")
    assert "one_given" in caught.value.message
    assert "refresh_views" in caught.value.hint


async def test_resource_that_fails_in_one_view_is_missing_there_only_until_it_is_mended(
    postgres_dsn: str, redis_url: str
) -> None:
    views = (compile_view(ONE_GIVEN), *compiled("patient_simple"))
    async with open_clinic(postgres_dsn, redis_url, views=views) as clinic:
        await clinic.put(patient("a"), two_given("b"))
        await clinic.refresh()

        async def shown() -> list[tuple[list[str], int]]:
            answers = [await clinic.ask(view.name, columns=["id"]) for view in views]
            return [([row[0] for row in one.rows], one.missing_resources) for one in answers]

        assert await shown() == [(["a"], 1), (["a", "b"], 0)]
        await clinic.cache(patient("b"))
        assert await shown() == [(["a", "b"], 0), (["a", "b"], 0)]
        await clinic.put({**patient("b"), "name": [{"given": ["Eve"]}]})
        await clinic.refresh()
        assert await shown() == [(["a", "b"], 0), (["a", "b"], 0)]
        await clinic.put(two_given("b"))
        await clinic.refresh()
        assert await shown() == [(["a"], 1), (["a", "b"], 0)]
        await clinic.delete("Patient/b")
        await clinic.refresh()
        assert await shown() == [(["a"], 0), (["a"], 0)]


async def test_confirmed_change_that_fails_is_missing_again_when_the_one_above_it_expires(
    postgres_dsn: str, redis_url: str
) -> None:
    async with open_clinic(postgres_dsn, redis_url, views=[compile_view(ONE_GIVEN)]) as clinic:
        await clinic.put(patient("a"))
        await clinic.refresh()
        await clinic.put(two_given("a"))
        (confirmed,) = await clinic.cache({**two_given("a"), "meta": {"versionId": "2"}})
        (above,) = await clinic.cache({**two_given("a"), "meta": {"versionId": "3"}})
        assert (confirmed.origin, above.origin) == ("source", "provisional")
        assert (await clinic.ask("one_given")).missing_resources == 1
        async with clinic.database.session() as session:
            await session.execute(
                "UPDATE researchflow.overlay_entry SET valid_until = now() - interval '1 s'"
                " WHERE origin = 'provisional';"
                "UPDATE researchflow.overlay_entry SET valid_from = '-infinity'"
            )
        await clinic.projector.forget_covered()
        answer = await clinic.ask("one_given")
        assert (answer.row_count, answer.missing_resources) == (0, 1)


async def test_view_defined_anew_shows_waiting_changes_that_failed_in_the_old_one(
    postgres_dsn: str, redis_url: str
) -> None:
    async with open_clinic(postgres_dsn, redis_url, views=[compile_view(ONE_GIVEN)]) as clinic:
        await clinic.put(patient("a"))
        await clinic.refresh()
        await clinic.cache(two_given("b"))
        before = await clinic.ask("one_given")
        assert (before.row_count, before.missing_resources) == (1, 1)
        mended = compile_view(FIRST_GIVEN)
        await clinic.refresh([mended])
        after = await clinic.another_runner(views=[mended]).execute(FIRST_GIVEN)
        assert after.rows == (("a", None), ("b", "Ann"))
        assert after.missing_resources == 0
        await clinic.cache(patient("c"))
        later = await clinic.another_runner(views=[mended]).execute(FIRST_GIVEN)
        assert later.rows == (("a", None), ("b", "Ann"), ("c", None))


async def test_change_written_before_a_redefinition_is_applied_by_who_knows_it(
    postgres_dsn: str, redis_url: str
) -> None:
    async with open_clinic(postgres_dsn, redis_url, views=[compile_view(ONE_GIVEN)]) as clinic:
        await clinic.put(patient("a"))
        await clinic.refresh()
        await clinic.redis.set_fhir_resource("Patient", "b", two_given("b"), version=1)
        mended = compile_view(FIRST_GIVEN)
        await clinic.refresh([mended])
        await Projector(clinic.database, clinic.redis, [mended]).drain()
        runner = clinic.another_runner(views=[mended])
        assert (await runner.execute("one_given")).rows == (("a", None), ("b", "Ann"))


async def test_known_version_with_another_content_is_a_conflict_and_told(clinic: Clinic) -> None:
    await clinic.refresh()
    first, other = await clinic.writer.apply(
        [
            Change.put(patient("a"), version=3),
            Change.put(patient("a", gender="male"), version=3),
        ],
        provenance="test",
    )
    assert (first.outcome, first.conflict) == ("stored", False)
    assert (other.outcome, other.conflict) == ("duplicate", True)
    again = [
        Change.put(patient("a"), version=3),
        Change.put(b'{ "id":"a", "gender":"female", "resourceType":"Patient"}', version=3),
        Change.put(patient("a", gender="male"), version=3),
        Change.delete("Patient", "a", version=3),
    ]
    outcomes = await clinic.writer.apply(again, provenance="test")
    assert [one.outcome for one in outcomes] == ["duplicate"] * 4
    assert [one.conflict for one in outcomes] == [False, False, True, True]
    assert await clinic.ids("patient_simple") == ["a"]


@pytest.mark.failure("source-down")
async def test_source_that_goes_away_leaves_dated_answers_and_refuses_the_rest(
    apart: Clinic,
) -> None:
    await apart.put(patient("a"))
    published = await apart.refresh()
    await apart.put(patient("b"))
    await apart.cache(patient("c"))
    await take_away(apart)
    answer = await apart.ask("patient_simple", columns=["id"])
    assert answer.rows == (("a",), ("c",))
    assert (answer.anchor, answer.data_as_of) == (published.anchor, published.data_as_of)
    for refused in (
        apart.ask("patient_simple", max_staleness_s=0.001),
        apart.cache(patient("d")),
        apart.refresh(),
    ):
        with pytest.raises(StoreError) as caught:
            await refused
        assert caught.value.code == "postgres_unavailable"
    runner = HybridRunner(apart.database, apart.redis, views=apart.views, cursor_key=CURSOR_KEY)
    assert (await runner.execute("patient_simple")).row_count == 2


async def test_provisional_change_over_a_confirmed_one_gives_way_to_it_when_it_ends(
    clinic: Clinic,
) -> None:
    await clinic.put(patient("a"))
    await clinic.refresh()
    await clinic.put(patient("a", gender="other"))
    await clinic.writer.apply([Change.put(patient("a"), version=2)], provenance="hint")
    await clinic.cache("Patient/a")
    assert await clinic.ids("patient_simple") == []
    async with clinic.database.session() as session:
        await session.execute(LATER)
    answer = await clinic.ask("patient_simple", columns=["id", "gender"])
    assert answer.rows == (("a", "other"),)
    await clinic.refresh()
    await clinic.projector.forget_covered()
    answer = await clinic.ask("patient_simple", columns=["id", "gender"])
    assert answer.rows == (("a", "other"),)
    assert (answer.speed.entries, answer.speed.provisional) == (0, 0)


async def test_old_attempts_to_refresh_go_and_the_last_success_stays(clinic: Clinic) -> None:
    await clinic.refresh()
    async with clinic.database.session() as session:
        await session.execute(
            "INSERT INTO researchflow.refresh_run (finished_at, outcome)"
            " SELECT now(), 'failed' FROM generate_series(1, $1)",
            RUNS_MAX + 50,
        )
    await clinic.refresh()
    async with clinic.database.session() as session:
        kept = await session.fetchrow(
            "SELECT count(*), count(*) FILTER (WHERE outcome <> 'failed')"
            " FROM researchflow.refresh_run"
        )
    assert tuple(kept) == (RUNS_MAX + 2, 2)


async def test_direct_answer_counts_what_the_source_cannot_show(clinic: Clinic) -> None:
    await clinic.put(patient("a"), patient("b"))
    async with clinic.database.session() as session:
        await session.execute(
            "DELETE FROM hfj_res_ver AS v USING hfj_resource AS r"
            " WHERE r.res_id = v.res_id AND r.fhir_id = 'b'"
        )
    answer = await clinic.ask("patient_simple", columns=["id"])
    assert (answer.route, answer.rows, answer.missing_resources) == ("direct", (("a",),), 1)
    await clinic.refresh()
    answer = await clinic.ask("patient_simple", columns=["id"])
    assert (answer.route, answer.rows, answer.missing_resources) == ("materialized", (("a",),), 1)


async def test_change_that_fails_is_missing_again_when_the_one_above_it_ends(
    postgres_dsn: str, redis_url: str
) -> None:
    async with open_clinic(postgres_dsn, redis_url, views=[compile_view(ONE_GIVEN)]) as clinic:
        await clinic.put(patient("a"))
        await clinic.refresh()
        await clinic.put(two_given("a"))
        hint = Change.put(two_given("a"), version=2)
        (heard,) = await clinic.writer.apply([hint], provenance="hint")
        assert heard.failed_views == ("one_given",)
        (above,) = await clinic.cache(patient("a"))
        assert above.failed_views == ()
        answer = await clinic.ask("one_given")
        assert (answer.row_count, answer.missing_resources) == (1, 0)
        async with clinic.database.session() as session:
            await session.execute(LATER)
        for _look in range(2):
            answer = await clinic.ask("one_given")
            assert (answer.row_count, answer.missing_resources) == (0, 1)
            await clinic.projector.forget_covered()


async def test_what_a_refresh_dropped_does_not_come_back_with_the_next_change(
    clinic: Clinic,
) -> None:
    await clinic.put(patient("a", gender="female"))
    await clinic.cache({**patient("a", gender="female"), "meta": {"versionId": "1"}})
    await clinic.expunge("Patient/a")
    await clinic.put(patient("a", gender="male"))
    await clinic.refresh()
    await clinic.cache(patient("a", gender="other"))
    async with clinic.database.session() as session:
        held = await session.fetch("SELECT origin, version FROM researchflow.overlay_entry")
    assert [tuple(row) for row in held] == [("provisional", 2)]
    async with clinic.database.session() as session:
        await session.execute(LATER)
    answer = await clinic.ask("patient_simple", columns=["gender"])
    assert answer.rows == (("male",),)
