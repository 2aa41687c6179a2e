"""The command line: exit codes tell the truth, errors name the thing, JSON is JSON."""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import asyncpg
import pytest
from rich.console import Console

from clinic import condition, patient
from composed import sql_view
from researchflow_runners.errors import StoreError
from researchflow_runners.feed.state import Reason
from researchflow_runners.store.locks import REFRESH_LOCK_KEY
from researchflow_server.cli import COMMANDS, main
from researchflow_server.cli.outcome import (
    BUSY,
    FAILED,
    FULL,
    OK,
    PARTIAL,
    PORT_UNAVAILABLE,
    REFUSED,
    TRY_AGAIN,
    UNREACHABLE,
    USAGE,
    exit_code,
)
from researchflow_server.console import rows_shown
from researchflow_server.runtime import Runtime
from researchflow_server.runtime.feed import REASONS
from researchflow_server.settings import VARIABLES

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; gives its exit code, stdout and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def stores(
    postgres_dsn: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An environment that points to real stores; gives an empty directory."""
    monkeypatch.setenv("RESEARCHFLOW_DATABASE_URL", postgres_dsn)
    monkeypatch.setenv("RESEARCHFLOW_REDIS_URL", redis_url)
    monkeypatch.setenv("RESEARCHFLOW_HOME", str(tmp_path / "home"))
    return tmp_path


def done(run: Run, *arguments: object) -> None:
    """Runs a command that what follows stands on: it must go well."""
    code, _out, err = run(*arguments)
    assert code == OK, err


def ndjson(path: Path, *lines: dict[str, Any] | str) -> Path:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(texts) + "\n")
    return path


def test_view_is_registered_listed_asked_and_dropped(run: Run, stores: Path) -> None:
    file = stores / "own.json"
    column = {"path": "getResourceKey()", "name": "id"}
    view = {"name": "own", "resource": "Patient", "select": [{"column": [column]}]}
    file.write_text(json.dumps(view))
    assert run("load", ndjson(stores / "p.ndjson", patient("ada")))[0] == OK
    code, out, _err = run("view", "register", file)
    assert (code, "built: " in out) == (OK, True)
    assert json.loads(run("query", "own", "--json")[1])["rows"] == [["ada"]]
    listed = {one["view"]: one for one in json.loads(run("view", "list", "--json")[1])}
    assert listed["own"]["materialized"]
    assert "own" in run("view", "list")[1]
    code, out, _err = run("view", "drop", "own")
    assert (code, "dropped: own" in out) == (OK, True)
    code, _out, err = run("view", "drop", "own", "--json")
    assert (code, json.loads(err)["error"]["code"]) == (FAILED, "unknown_view")


def test_every_reason_to_compare_is_explained() -> None:
    assert set(REASONS) == set(get_args(Reason))


def test_status_names_the_feed_and_why_everything_was_compared(run: Run, stores: Path) -> None:
    assert run("load", ndjson(stores / "p.ndjson", patient("ada")))[0] == OK
    assert run("refresh")[0] == OK
    assert "feed of the refresh: scan" in run("status")[1]
    assert run("source", "prepare", "--install")[0] == OK
    assert run("refresh")[0] == OK
    told = json.loads(run("status", "--json")[1])["feeds"]
    assert [(one["reader"], one["feed"], one["reason"]) for one in told] == [
        ("refresh", "outbox", "first_read")
    ]


def test_source_is_prepared_checked_and_left_as_it_was(run: Run, stores: Path) -> None:
    assert run("source", "prepare", "--check")[0] == FAILED
    code, out, _err = run("source", "prepare", "--role", "reader")
    assert (code, "CREATE TRIGGER" in out, 'TO "reader"' in out) == (OK, True, True)
    assert run("source", "prepare", "--install")[:2] == (OK, "feed: outbox\n")
    found = json.loads(run("source", "prepare", "--check", "--json")[1])
    assert (found["feed"], found["missing"]) == ("outbox", [])
    assert (
        run("source", "prepare", "--install", "--json")[1].count(found["identity"]["triggers"]) == 1
    ), "a healthy outbox is not made anew"
    assert run("source", "prepare", "--remove")[0] == OK
    code, out, _err = run("source", "prepare", "--check")
    assert (code, "no outbox is installed" in out) == (FAILED, True)


def test_a_view_that_reads_the_clock_is_valid_for_running_only(run: Run, stores: Path) -> None:
    file = stores / "young.json"
    column = {"path": "birthDate > today() - 1 year", "name": "young"}
    view = {"name": "young", "resource": "Patient", "select": [{"column": [column]}]}
    file.write_text(json.dumps(view))
    assert "can be run and not registered" in run("view", "validate", file)[1]
    assert not json.loads(run("view", "validate", file, "--json")[1])["repeatable"]
    assert "[view_not_repeatable]" in run("view", "register", file)[2]


def test_sql_over_views_is_validated_registered_asked_and_dropped(run: Run, stores: Path) -> None:
    file = stores / "born.json"
    sql = "SELECT p.id FROM people AS p WHERE p.birth_date < '1970'"
    file.write_text(json.dumps(sql_view("born_early", sql, people="patient_simple")))
    old, young = patient("ada", birthDate="1960"), patient("bea", birthDate="1990")
    assert run("load", ndjson(stores / "p.ndjson", old, young))[0] == OK
    assert run("refresh")[0] == OK
    assert '"born_early" is valid: 1 columns' in run("view", "validate", file)[1]
    for action in ("run", "compile"):
        code, _out, err = run("view", action, file)
        assert (code, "is SQL over views" in err) == (USAGE, True)
    assert run("view", "register", file)[0] == OK
    assert json.loads(run("query", "born_early", "--json")[1])["rows"] == [["ada"]]
    assert "born_early" in run("view", "list")[1]
    assert run("view", "drop", "born_early") == (OK, "dropped: born_early\n", "")
    assert run("query", "born_early")[0] == FAILED


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(run: Run, command: str) -> None:
    code, out, _err = run(command, "--help")
    assert code == OK
    assert f"researchflow {command}" in out.partition("example")[2]


def test_serve_help_lists_every_setting(run: Run) -> None:
    listed = run("serve", "--help")[1]
    assert [variable for variable in VARIABLES.values() if variable not in listed] == []


def test_every_anchor_action_has_help_with_an_example(run: Run) -> None:
    for action in ("list", "describe", "pin", "unpin", "expire", "verify"):
        code, out, _err = run("anchor", action, "--help")
        assert (code, f"researchflow anchor {action}" in out.split("examples:")[1]) == (OK, True)


def test_every_view_action_has_help_with_an_example(run: Run) -> None:
    for action in ("compile", "run", "validate", "register", "drop", "list"):
        code, out, _err = run("view", action, "--help")
        assert code == OK
        assert f"researchflow view {action}" in out.partition("example")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["lod"],
        [],
        ["query"],
        ["query", "patient_simple", "--lim", "3"],
        ["view", "compile"],
        ["draw", "{"],
        ["draw", "[]"],
        ["draw", "@no/such/file.json"],
        ["sql"],
        ["sql", "SELECT 1", "-p", "low"],
        ["sql", "SELECT 1", "-p", "low:=x"],
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (USAGE, "")
    first, second = err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: ")


def test_load_refresh_query_and_status_follow_one_another(run: Run, stores: Path) -> None:
    file = ndjson(stores / "clinic.ndjson", patient("ada"), patient("bo", gender="male"))
    code, out, err = run("load", file, "--json")
    assert (code, json.loads(out)["created"], err) == (OK, 2, "")

    code, out, _err = run("refresh", "--json")
    assert (code, json.loads(out)["anchor"], json.loads(out)["changed"]) == (OK, 1, 2)

    grouped = ("--group-by", "gender", "--aggregate", "count", "--order-by", "gender:desc")
    code, out, _err = run("query", "patient_simple", *grouped, "--json")
    assert (code, json.loads(out)["rows"]) == (OK, [["male", 1], ["female", 1]])

    code, out, _err = run("codes", "femal", "--view", "patient_simple", "--json")
    (found,) = json.loads(out)["rows"]
    assert (code, found[0], found[3:7]) == (OK, "female", ["patient_simple", "gender", 1, 1])

    code, out, _err = run("status", "--json")
    status = json.loads(out)
    assert (code, status["warehouse_up"], status["redis_up"]) == (OK, True, True)
    assert {view["pending"] for view in status["views"]} == {0}


def test_sql_is_answered_with_parameters_and_pages(run: Run, stores: Path) -> None:
    done(run, "load", ndjson(stores / "clinic.ndjson", patient("7"), patient("8"), patient("9")))
    assert run("refresh")[0] == OK
    text = "SELECT id FROM patient_simple WHERE id <> :not AND :n = 1 ORDER BY id DESC"
    given = ("-p", "not=8", "--parameter", "n:=1")
    code, out, _err = run("sql", text, *given, "--limit", "1", "--json")
    first = json.loads(out)
    assert (code, first["rows"], first["truncated"], first["anchor"]) == (OK, [["9"]], True, 1)
    out = run("sql", text, *given, "--limit", "1", "--json", "--cursor", first["next_cursor"])[1]
    assert json.loads(out)["rows"] == [["7"]]
    assert "anchor 1" in " ".join(run("sql", text, *given)[1].split())
    code, _out, err = run("sql", "SELECT idd FROM patient_simple")
    assert (code, "unknown_column" in err or "idd" in err) == (FAILED, True)


def test_a_picture_of_an_answer_is_written(run: Run, stores: Path) -> None:
    done(run, "load", ndjson(stores / "clinic.ndjson", patient("7"), patient("8", gender="male")))
    done(run, "refresh")
    query = {"view": "patient_simple", "group_by": ["gender"], "aggregates": [{"fn": "count"}]}
    call = json.dumps({"chart": "bar", "query": query, "x": "gender", "y": "count"})
    file = stores / "picture.png"
    code, out, _err = run("draw", call, "--output", file)
    assert (code, "count by gender" in out, "anchor 1" in out) == (OK, True, True)
    assert file.read_bytes().startswith(b"\x89PNG")
    (stores / "call.json").write_text(call)
    code, out, _err = run("draw", f"@{stores / 'call.json'}", "--output", file, "--json")
    assert (code, json.loads(out)["rows"]) == (OK, [["female", 1], ["male", 1]])
    code, _out, err = run("draw", call, "--output", stores / "nowhere" / "picture.png")
    assert (code, "cannot be written" in err) == (USAGE, True)


def test_anchor_is_pinned_described_verified_backed_up_and_freed(run: Run, stores: Path) -> None:
    assert run("anchor", "describe")[:2] == (FAILED, "")
    done(run, "load", ndjson(stores / "a.ndjson", patient("a")))
    done(run, "refresh")
    assert run("anchor", "pin", "paper")[0] == OK
    done(run, "load", ndjson(stores / "b.ndjson", patient("b")))
    done(run, "refresh")
    (second, first) = json.loads(run("anchor", "list", "--json")[1])
    assert (second["anchor"], second["pins"], first["pins"]) == (2, [], ["paper"])
    assert len(json.loads(run("anchor", "list", "--pinned", "--json")[1])) == 1
    described = json.loads(run("anchor", "describe", "paper", "--json")[1])
    verdict = json.loads(run("anchor", "verify", "1", "--json")[1])
    assert verdict["holds"]
    assert verdict["content"] == described
    saved = json.loads(run("backup", stores / "saved", "--json")[1])
    assert (saved["anchors"], saved["pins"]) == (1, 1)
    assert "warehouse_not_empty" in run("restore", stores / "saved")[2]
    assert "anchor_pinned" in run("anchor", "expire", "paper")[2]
    assert json.loads(run("anchor", "expire", "--json")[1]) == {"anchors": 0, "rows": 0}
    assert run("anchor", "unpin", "paper")[0] == OK
    assert json.loads(run("anchor", "expire", "1", "--json")[1])["anchors"] == 1
    assert "anchor_expired" in run("anchor", "verify", "1")[2]
    assert "every row" in run("anchor", "verify")[1]
    assert run("anchor", "describe", "?")[0] == USAGE


def test_refresh_by_a_scheduler_keeps_to_the_retention(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCHFLOW_RETENTION_ANCHORS", "1")
    for name in ("a", "b"):
        done(run, "load", ndjson(stores / f"{name}.ndjson", patient(name)))
        assert run("refresh")[0] == OK
    assert [one["anchor"] for one in json.loads(run("anchor", "list", "--json")[1])] == [2]


def test_anchor_commands_name_their_own_argument(run: Run, stores: Path) -> None:
    assert run("refresh")[0] == OK
    for words in (["pin", "mine"], ["expire"], ["verify"], ["describe"]):
        for which, code in (
            ("7", "anchor_unknown"),
            ("nobodys", "pin_unknown"),
            ("2026-01-31T00:00:00", "instant_without_zone"),
        ):
            ended, _out, err = run("anchor", *words, which, "--json")
            error = json.loads(err)["error"]
            assert (ended, error["code"], error["field"]) == (FAILED, code, "anchor")
            assert "as_of" not in err


def test_verification_that_finds_a_difference_fails(run: Run, stores: Path) -> None:
    done(run, "load", ndjson(stores / "a.ndjson", patient("a")))
    done(run, "refresh")
    asyncio.run(in_database("DELETE FROM researchflow.content WHERE view_name = 'patient_simple'"))
    code, out, _err = run("anchor", "verify")
    assert code == FAILED
    assert "not proved: patient_simple" in out


async def in_database(statement: str) -> None:
    connection = await asyncpg.connect(os.environ["RESEARCHFLOW_DATABASE_URL"])
    await connection.execute(statement)
    await connection.close()


def test_refresh_of_an_unchanged_source_keeps_the_anchor(run: Run, stores: Path) -> None:
    done(run, "load", ndjson(stores / "clinic.ndjson", patient("ada")))
    done(run, "refresh")
    code, out, _err = run("refresh", "--json")
    told = json.loads(out)
    assert (code, told["published"], told["anchor"], told["changed"]) == (OK, False, 1, 0)
    assert "nothing has changed" in run("refresh")[1]


def test_refresh_and_status_say_that_the_comparison_is_missing(run: Run, stores: Path) -> None:
    done(run, "load", ndjson(stores / "clinic.ndjson", patient("ada")))
    done(run, "refresh")
    asyncio.run(in_database("ALTER TABLE researchflow.source_count ADD CHECK (false) NOT VALID"))
    code, out, _err = run("refresh")
    assert (code, "were not compared" in out) == (OK, True)
    assert "were not compared" in run("status")[1]
    assert json.loads(run("status", "--json")[1])["counts_missing"]
    asyncio.run(
        in_database("ALTER TABLE researchflow.source_count DROP CONSTRAINT source_count_check")
    )
    assert "were not compared" not in run("refresh")[1]
    assert "were not compared" not in run("status")[1]


def test_status_names_an_objective_of_a_view_that_is_not_there(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run, "load", ndjson(stores / "clinic.ndjson", patient("ada")))
    given = "patient_simpel=30,patient_simple=30"
    monkeypatch.setenv("RESEARCHFLOW_REFRESH_OBJECTIVES", given)
    told = json.loads(run("status", "--json")[1])
    assert told["unknown_objectives"] == ["patient_simpel"]
    assert 'OBJECTIVES: there is no view "patient_simpel"' in run("status")[1]


@pytest.mark.parametrize("command", ["refresh", "status"])
def test_partition_without_a_resource_is_refused_by_name(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    done(run, "load", ndjson(stores / "clinic.ndjson", patient("ada")))
    monkeypatch.setenv("RESEARCHFLOW_SOURCE_PARTITIONS", "9")
    code, _out, err = run(command, "--json")
    error = json.loads(err)["error"]
    assert (code, error["code"]) == (FAILED, "source_partition_unknown")
    assert error["allowed"] == ["default"]


def test_refresh_beside_another_has_its_own_exit_code(run: Run, stores: Path) -> None:
    assert run("refresh")[0] == OK
    with asyncio.Runner() as runner:
        dsn = os.environ["RESEARCHFLOW_DATABASE_URL"]
        connection = runner.run(asyncpg.connect(dsn))
        runner.run(connection.execute(f"SELECT pg_advisory_lock({REFRESH_LOCK_KEY})"))
        code, _out, err = run("refresh")
        runner.run(connection.close())
    assert (code, "[refresh_running]" in err) == (BUSY, True)


def test_cancelling_without_a_refresh_is_done(run: Run, stores: Path) -> None:
    assert run("refresh", "--cancel") == (OK, "no refresh is running\n", "")


def test_people_get_tables(run: Run, stores: Path) -> None:
    done(run, "load", ndjson(stores / "clinic.ndjson", patient("ada"), condition("c", "ada")))
    assert "anchor 1" in run("refresh")[1]
    shown = run("query", "patient_simple")[1]
    assert "ada" in shown
    assert "materialized" in shown
    assert "patient_simple" in run("status")[1]
    assert "row 1" in run("view", "run", "patient_demographics")[1]


def test_an_answer_says_when_the_source_was_looked_at(run: Run, stores: Path) -> None:
    done(run, "load", ndjson(stores / "clinic.ndjson", patient("ada")))
    anchor = json.loads(run("refresh", "--json")[1])
    done(run, "load", ndjson(stores / "later.ndjson", patient("bo")))
    answer = json.loads(run("query", "patient_simple", "--json")[1])
    assert (answer["row_count"], answer["pending"]) == (1, 0)
    assert answer["checked_at"] == anchor["data_as_of"]
    seen_at = answer["checked_at"][:19].replace("T", " ")
    assert f"stale 0 s at {seen_at}" in " ".join(run("query", "patient_simple")[1].split())


def test_people_see_the_warnings_of_an_answer(run: Run, stores: Path) -> None:
    done(
        run,
        "load",
        ndjson(stores / "clinic.ndjson", patient("ada"), patient("bo", birthDate="soon")),
    )
    assert "patient_simple 1, patient_demographics 1" in run("refresh")[1]
    shown = run("query", "patient_simple")[1]
    assert "warning: 1 resources could not be computed and are missing" in shown


def test_bad_lines_are_named_and_the_rest_is_loaded(run: Run, stores: Path) -> None:
    file = ndjson(stores / "mixed.ndjson", patient("ada"), "{broken", patient("bo"))
    code, out, _err = run("load", file)
    assert code == FAILED
    assert "2 created" in out
    assert "mixed.ndjson" in out
    assert "2" in out.partition("mixed.ndjson")[2]


def test_missing_file_fails(run: Run, stores: Path) -> None:
    code, out, err = run("load", stores / "absent.ndjson")
    assert (code, out) == (FAILED, "")
    assert "absent.ndjson" in err


def test_unknown_view_names_the_nearest(run: Run, stores: Path) -> None:
    code, _out, err = run("query", "patient_simpel")
    assert code == FAILED
    assert 'did you mean "patient_simple"' in err
    assert "allowed: allergies, care_plans" in err


def test_errors_are_json_where_json_is_asked(run: Run, stores: Path) -> None:
    code, out, err = run("query", "nothing", "--json")
    assert (code, out) == (FAILED, "")
    assert json.loads(err)["error"]["code"] == "unknown_view"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--where", "{broken"], USAGE),
        (["--order-by", "id:down"], USAGE),
        (["--where", '{"colum": "id", "op": "eq"}'], FAILED),
        (["--aggregate", "mode:id"], FAILED),
    ],
)
def test_wrong_questions_fail_before_anything_runs(
    run: Run, stores: Path, arguments: list[str], code: int
) -> None:
    assert run("query", "patient_simple", *arguments)[0] == code


def test_an_unreachable_database_has_its_own_exit_code(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCHFLOW_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    code, _out, err = run("status")
    assert code == UNREACHABLE
    assert "Traceback" not in err


def test_a_database_that_refuses_the_role_has_its_own_exit_code(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = os.environ["RESEARCHFLOW_DATABASE_URL"].replace("//postgres@", "//nobody@", 1)
    monkeypatch.setenv("RESEARCHFLOW_DATABASE_URL", url)
    code, _out, err = run("refresh", "--json")
    assert (code, json.loads(err)["error"]["code"]) == (REFUSED, "postgres_refused")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("postgres_unavailable", UNREACHABLE),
        ("source_unavailable", UNREACHABLE),
        ("redis_unavailable", UNREACHABLE),
        ("redis_eviction_enabled", REFUSED),
        ("redis_refused", REFUSED),
        ("postgres_resources", FULL),
        ("redis_out_of_memory", FULL),
        ("statement_timeout", TRY_AGAIN),
        ("postgres_conflict", TRY_AGAIN),
    ],
)
def test_exit_code_tells_what_a_store_did(code: str, expected: int) -> None:
    assert exit_code(StoreError("told", code=code, hint="read it")) == expected


def test_refresh_that_published_says_so_when_anchors_cannot_be_given_up(
    run: Run, stores: Path
) -> None:
    done(run, "load", ndjson(stores / "clinic.ndjson", patient("ada")))
    assert run("refresh")[0] == OK
    done(run, "load", ndjson(stores / "more.ndjson", patient("bea")))
    asyncio.run(in_database(REFUSES_TO_EXPIRE))
    code, out, err = run("refresh", "--json")
    told = json.loads(out)
    assert (code, told["published"], told["anchor"]) == (PARTIAL, True, 2)
    assert json.loads(err)["error"]["code"] == "postgres_resources"


#: Retention's last word is refused as by a disk that is full.
REFUSES_TO_EXPIRE = """
CREATE FUNCTION public.no_space() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER no_space BEFORE UPDATE ON researchflow.retention
    FOR EACH STATEMENT EXECUTE FUNCTION public.no_space()
"""


def test_an_unreachable_source_is_told_apart_from_the_warehouse(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCHFLOW_SOURCE_URL", "postgresql://user:geheim@127.0.0.1:1/none")
    code, _out, err = run("refresh", "--json")
    error = json.loads(err)["error"]
    assert (code, error["code"], error["retryable"]) == (UNREACHABLE, "source_unavailable", True)
    assert "RESEARCHFLOW_SOURCE_URL" in error["hint"]
    assert "geheim" not in err


def test_materialised_views_answer_while_the_source_is_away(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(run, "load", "--synthetic")
    done(run, "refresh")
    monkeypatch.setenv("RESEARCHFLOW_SOURCE_URL", "postgresql://127.0.0.1:1/none")
    code, out, _err = run("query", "patient_simple", "--aggregate", "count", "--json")
    assert (code, json.loads(out)["rows"]) == (OK, [[105]])
    code, out, _err = run("status", "--json")
    assert (code, json.loads(out)["source_up"]) == (UNREACHABLE, False)


def test_status_lists_what_views_lack(run: Run, stores: Path, tmp_path: Path) -> None:
    file = tmp_path / "patients.ndjson"
    file.write_text('{"resourceType":"Patient","id":"a","birthDate":"2020-02-30"}')
    done(run, "load", file)
    done(run, "refresh")
    code, out, _err = run("status")
    assert code == OK
    assert "Patient/a" in out
    assert "birth_date" in out
    assert "a date or time that does not exist" in out


def test_a_wrong_setting_is_a_usage_error(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USE_SPEED_LAYER", "perhaps")
    code, _out, err = run("status")
    assert code == USAGE
    assert "USE_SPEED_LAYER" in err


def test_a_port_in_use_is_named_with_the_way_out(run: Run, stores: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = run("serve", "--http", "--port", port, "--metrics-port", 0)
    assert (code, out) == (PORT_UNAVAILABLE, "")
    assert f'port "{port}" is in use' in err
    assert "RESEARCHFLOW_HTTP_PORT" in err


def test_shipped_views_compile_and_validate(run: Run) -> None:
    code, out, _err = run("view", "compile", "patient_simple")
    assert (code, "SELECT" in out) == (OK, True)
    code, out, _err = run("view", "compile", "patient_simple", "--stage", "columns", "--json")
    assert json.loads(out)["rows"][0][0] == "id"
    assert run("view", "validate", "observation_labs")[0] == OK


def test_a_view_of_ones_own_runs_from_the_source(run: Run, stores: Path) -> None:
    definition = {
        "resourceType": "ViewDefinition",
        "name": "my_patients",
        "status": "draft",
        "resource": "Patient",
        "select": [{"column": [{"name": "key", "path": "getResourceKey()"}]}],
    }
    file = stores / "my_patients.json"
    file.write_text(json.dumps(definition))
    done(run, "load", ndjson(stores / "clinic.ndjson", patient("ada")))
    code, out, _err = run("view", "run", file, "--json")
    assert (code, json.loads(out)["rows"], json.loads(out)["route"]) == (OK, [["ada"]], "direct")


@pytest.mark.parametrize("text", ["[]", "{", '{"resourceType": "ViewDefinition"}'])
def test_a_broken_view_file_is_refused(run: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text)
    code, _out, err = run("view", "validate", file)
    assert code == FAILED
    assert err.startswith("error: ")


def test_a_wrong_path_in_a_view_is_refused_with_its_place(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "wrong.json"
    column = {"name": "x", "path": "gendre"}
    file.write_text(
        json.dumps(
            {
                "resourceType": "ViewDefinition",
                "name": "wrong",
                "status": "draft",
                "resource": "Patient",
                "select": [{"column": [column]}],
            }
        )
    )
    code, _out, err = run("view", "validate", file, "--json")
    assert code == FAILED
    assert json.loads(err)["error"]["span"] == [0, 6]


def test_a_fault_of_ours_is_a_place_and_no_traceback(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object) -> None:
        raise ValueError("John Smith 1960-05-01")

    monkeypatch.setattr(Runtime, "check_source", broken)
    code, out, err = run("status")
    assert (code, out) == (FAILED, "")
    assert "ValueError at" in err
    assert "John Smith" not in err
    assert "Traceback" not in err


def test_wide_rows_are_shown_one_under_the_other() -> None:
    columns = [f"column_{number}" for number in range(20)]
    shown = io.StringIO()
    Console(file=shown, width=100).print(rows_shown(columns, [tuple(range(20))], 100))
    lines = shown.getvalue().splitlines()
    assert lines[0] == "row 1"
    assert [line.split() for line in lines[1:]] == [[name, name[7:]] for name in columns]


def test_refused_expression_is_told_with_its_place(run: Run, tmp_path: Path) -> None:
    column = {"name": "c", "path": "name.famly"}
    view = {"resource": "Patient", "select": [{"column": [column]}]}
    file = tmp_path / "view.json"
    file.write_text(json.dumps(view))
    code, _out, err = run("view", "validate", file)
    assert code == FAILED
    assert "in select[0].column[0].path at characters 0 to 10" in err
    assert 'did you mean "family"' in err


PATIENT = {
    "resourceType": "Patient",
    "id": "p",
    "name": [{"given": [None, "Ann"], "_given": [{"id": "g"}, None]}],
    "multipleBirthInteger": 2,
}


def test_expression_is_evaluated_over_files_with_types(run: Run, stores: Path) -> None:
    file = ndjson(stores / "p.ndjson", PATIENT, {"resourceType": "Patient", "id": "q"})
    code, out, _err = run("fhirpath", "name.given.combine(id.upper())", file)
    assert code == OK
    first, second = map(json.loads, out.splitlines())
    assert first == {
        "resource": "Patient/p",
        "items": [
            {"type": "string", "value": None},
            {"type": "string", "value": "Ann"},
            {"type": "System.String", "value": "P"},
        ],
    }
    assert second["items"] == [{"type": "System.String", "value": "Q"}]
    code, out, _err = run("fhirpath", "multipleBirth", file)
    assert json.loads(out.splitlines()[0])["items"] == [{"type": "integer", "value": 2}]


def test_expression_shows_its_tree_and_its_sql(run: Run) -> None:
    code, out, _err = run("fhirpath", "Patient.name.given", "--tree", "--sql")
    assert (code, "Child types=string" in out, "SELECT" in out) == (OK, True, True)


def test_expression_that_is_wrong_is_an_error_with_its_place(run: Run, stores: Path) -> None:
    code, _out, err = run("fhirpath", "Patient.nmae")
    assert (code, "unknown_element" in err, "characters" in err) == (FAILED, True, True)
    assert run("fhirpath")[0] == USAGE


def test_resource_that_makes_an_expression_fail_hides_no_other(run: Run, stores: Path) -> None:
    two = {**PATIENT, "id": "two", "name": [{"family": "A"}, {"family": "B"}]}
    file = ndjson(stores / "p.ndjson", two, PATIENT)
    code, out, _err = run("fhirpath", "name.single().family", file)
    first, second = map(json.loads, out.splitlines())
    assert (code, first["error"]["code"], second["items"]) == (FAILED, "several_items", [])


def test_batch_answers_every_line_in_order(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [
        '{"expression": "multipleBirth / 2.0 * 1.50", "resource": '
        '{"resourceType": "Patient", "multipleBirthInteger": 1}}',
        '{"expression": "extension.value", "resource": {"resourceType": "Patient", '
        '"extension": [{"url": "u", "valueDecimal": 1.50}]}}',
        "no json",
        json.dumps({"expression": "name.(", "resource": PATIENT}),
        json.dumps({"expression": "name", "resource": {"resourceType": "Nothing"}}),
        json.dumps({"expression": "name.given", "resource": PATIENT}),
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(asked)))
    code, out, _err = run("fhirpath", "--batch")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == OK
    assert '"items": [1.50]' in out.splitlines()[1]
    assert [one.get("error", {}).get("code") for one in answers] == [
        None if place in (1, 5) else code
        for place, code in enumerate(
            ["not_a_number", None, "invalid_json", "syntax", "unknown_resource_type", None]
        )
    ]
    assert answers[3]["error"]["span"] == [5, 6]
    assert answers[5] == {"items": [None, "Ann"]}


def test_batch_line_that_is_too_long_is_one_error(
    run: Run, stores: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting = json.dumps({"expression": "1 + 1", "resource": {"resourceType": "Patient"}})
    monkeypatch.setattr("researchflow_server.cli.fhirpath.LINE_CHARS_MAX", len(fitting) + 1)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{fitting[:-1]}{' ' * 500}}}\n{fitting}\n"))
    _code, out, _err = run("fhirpath", "--batch")
    first, second = map(json.loads, out.splitlines())
    assert (first["error"]["code"], second) == ("invalid_json", {"items": [2]})
