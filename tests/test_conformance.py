"""`researchflow conformance` judges strictly and reports in the official format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from conftest import SHARED
from researchflow_runners.conformance import Case, difference
from researchflow_server.cli import conformance, main
from researchflow_server.cli.outcome import FAILED, OK, UNREACHABLE, USAGE
from researchflow_server.embedded import Services

Run = Callable[..., tuple[int, str, str]]
OWN = Path(__file__).parent / "cases"
OFFICIAL = SHARED / "sql-on-fhir" / "tests"

PATIENTS = """[
  {"resourceType": "Patient", "id": "a", "active": true, "multipleBirthInteger": 1,
   "name": [{"family": "X"}, {"family": "Y"}],
   "extension": [{"url": "weight", "valueDecimal": 1.50}]},
  {"resourceType": "Patient", "id": "b", "active": false},
  {"resourceType": "Observation", "id": "o"}
]"""


def view(*columns: tuple[str, str]) -> dict[str, Any]:
    given = [{"name": name, "path": path} for name, path in columns]
    return {"resource": "Patient", "select": [{"column": given}]}


IDS = view(("id", "id"))
ACTIVE = view(("id", "id"), ("active", "active"))
BIRTH = view(("n", "multipleBirth.ofType(integer)"))
SEVERAL = view(("family", "name.family"))
UNKNOWN = view(("x", "nothing"))
UNTYPED = {"resource": "Nothing", "select": [{"column": [{"name": "id", "path": "id"}]}]}
WEIGHT = view(("text", "extension('weight').value.ofType(decimal).toString()"))


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str],
    services: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Runs the command, which writes no table; gives its exit code, stdout and stderr."""
    monkeypatch.setenv("RESEARCHFLOW_DATABASE_URL", services.postgres_dsn)
    monkeypatch.setenv("RESEARCHFLOW_HOME", str(tmp_path / "home"))

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main(["conformance", *(str(argument) for argument in arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty directory for suites."""
    made = tmp_path / "suites"
    made.mkdir()
    return made


def suite(path: Path, *cases: dict[str, Any]) -> Path:
    tests = json.dumps([{"title": f"case {n}", **case} for n, case in enumerate(cases)])
    path.write_text(f'{{"title": "{path.stem}", "resources": {PATIENTS}, "tests": {tests}}}')
    return path


def outcomes(report: Path) -> list[bool]:
    suites = json.loads(report.read_text()).values()
    return [test["result"]["passed"] for one in suites for test in one["tests"]]


@pytest.mark.parametrize(
    ("case", "passes"),
    [
        ({"view": IDS, "expect": [{"id": "b"}, {"id": "a"}]}, True),
        ({"view": IDS, "expect": [{"id": "a"}]}, False),
        ({"view": IDS, "expect": [{"id": "a"}, {"id": "b"}, {"id": "b"}]}, False),
        ({"view": IDS, "expect": [{"id": "a"}, {"id": "a"}]}, False),
        ({"view": IDS, "expect": [{"id": "a", "x": None}, {"id": "b"}]}, False),
        (
            {
                "view": ACTIVE,
                "expect": [{"id": "a", "active": True}, {"id": "b", "active": False}],
            },
            True,
        ),
        ({"view": ACTIVE, "expect": [{"id": "a", "active": 1}, {"id": "b", "active": 0}]}, False),
        ({"view": BIRTH, "expect": [{"n": 1}, {"n": None}]}, True),
        ({"view": BIRTH, "expect": [{"n": 1.0}, {}]}, True),
        ({"view": BIRTH, "expect": [{"n": True}, {"n": None}]}, False),
        ({"view": BIRTH, "expect": [{"n": "1"}, {"n": None}]}, False),
        ({"view": ACTIVE, "expectCount": 2, "expectColumns": ["id", "active"]}, True),
        ({"view": ACTIVE, "expectCount": 2, "expectColumns": ["active", "id"]}, False),
        ({"view": ACTIVE, "expectCount": 2, "expectColumns": ["id"]}, False),
        ({"view": ACTIVE, "expectCount": 3}, False),
        ({"view": SEVERAL, "expectError": True}, True),
        ({"view": SEVERAL, "expectCount": 2}, False),
        ({"view": UNKNOWN, "expectError": True}, True),
        ({"view": UNTYPED, "expectError": True}, True),
        ({"view": "none", "expectError": True}, True),
        ({"view": UNKNOWN, "expect": []}, False),
        ({"view": IDS, "expectError": True}, False),
        ({"view": IDS, "expectError": False}, False),
        ({"view": IDS}, False),
    ],
)
def test_a_case_passes_only_when_all_it_expects_is_so(
    run: Run, folder: Path, tmp_path: Path, case: dict[str, Any], passes: bool
) -> None:
    suite(folder / "one.json", case)
    code, out, err = run(folder, "--report", tmp_path / "report.json")
    assert (code, err) == (OK if passes else FAILED, "")
    assert out.splitlines()[-1] == ("1 passed, 0 failed" if passes else "0 passed, 1 failed")
    assert outcomes(tmp_path / "report.json") == [passes]


def test_report_has_the_official_shape_in_suite_order(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    suite(folder / "b.json", {"view": IDS, "expectCount": 2}, {"view": IDS, "expectCount": 1})
    suite(folder / "a.json", {"view": UNKNOWN, "expectCount": 0})
    (folder / "notes.txt").write_text("not a suite")
    code, out, _err = run(folder, "--report", tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text()
    found = json.loads(text)
    assert list(found) == ["a.json", "b.json"]
    assert found["b.json"]["tests"][0] == {"name": "case 0", "result": {"passed": True}}
    counted, refused = found["b.json"]["tests"][1], found["a.json"]["tests"][0]
    assert (counted["name"], counted["result"]["passed"]) == ("case 1", False)
    assert "2 rows" in counted["result"]["reason"]
    assert "unknown_element" in refused["result"]["reason"]
    assert (code, out.splitlines()[-1]) == (FAILED, "1 passed, 2 failed")
    assert any("b.json" in line and "case 1" in line for line in out.splitlines())


def test_a_report_among_the_suites_is_no_suite(run: Run, folder: Path) -> None:
    suite(folder / "one.json", {"view": IDS, "expectCount": 2})
    for _again in range(2):
        code, out, _err = run(folder, "--report", folder / "test_report.json")
        assert (code, out) == (OK, "1 passed, 0 failed\n")


def test_decimals_reach_the_view_as_they_are_written(run: Run, folder: Path) -> None:
    suite(folder / "one.json", {"view": WEIGHT, "expect": [{"text": "1.50"}, {"text": None}]})
    assert run(folder)[1] == "1 passed, 0 failed\n"


def test_decimals_stand_in_views_and_in_expected_rows(run: Run, folder: Path) -> None:
    heavier = view(("kg", "%kg"))
    heavier["constant"] = [{"name": "kg", "valueDecimal": 1.25}]
    suite(folder / "one.json", {"view": heavier, "expect": [{"kg": 1.25}, {"kg": 1.25}]})
    assert run(folder)[1] == "1 passed, 0 failed\n"


async def tables_of(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    count: int = await connection.fetchval(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
    )
    await connection.close()
    return count


async def test_nothing_is_written_to_the_database(empty_dsn: str) -> None:
    settings = conformance.Settings(home=Path("/nowhere"), database_url=empty_dsn)
    results = await conformance.results_of(conformance.read_suites(OWN), settings)
    assert results
    assert await tables_of(empty_dsn) == 0


def test_own_cases_all_pass(run: Run, tmp_path: Path) -> None:
    code, out, _err = run(OWN, "--report", tmp_path / "report.json")
    assert code == OK
    assert out == f"{len(outcomes(tmp_path / 'report.json'))} passed, 0 failed\n"


def test_shared_cases_all_pass(run: Run, shared_dir: Path, tmp_path: Path) -> None:
    report = tmp_path / "test_report.json"
    code, out, _err = run(OFFICIAL, "--report", report)
    files = sorted(OFFICIAL.glob("*.json"))
    titles = {one.name: [t["title"] for t in json.loads(one.read_text())["tests"]] for one in files}
    found = json.loads(report.read_text())
    assert {name: [t["name"] for t in one["tests"]] for name, one in found.items()} == titles
    assert list(found) == [one.name for one in files]
    assert (code, out) == (OK, f"{sum(map(len, titles.values()))} passed, 0 failed\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"title": "t", "resources": [], "tests": []}',
        '{"title": "t", "tests": [{"title": "c", "view": {}}]}',
        '{"title": "t", "resources": {}, "tests": [{"title": "c", "view": {}}]}',
        '{"title": "t", "resources": [NaN], "tests": [{"title": "c", "view": {}}]}',
    ],
)
def test_a_file_that_is_no_suite_fails_and_hides_no_other(
    run: Run, folder: Path, tmp_path: Path, text: str
) -> None:
    (folder / "broken.json").write_text(text)
    suite(folder / "one.json", {"view": IDS, "expectCount": 2})
    code, out, err = run(folder, "--report", tmp_path / "report.json")
    assert (code, err, outcomes(tmp_path / "report.json")) == (FAILED, "", [False, True])
    assert out.startswith("failed: broken.json: the file: it is not a test suite: ")
    assert out.endswith("\n1 passed, 1 failed\n")


@pytest.mark.parametrize(
    "case",
    [
        {"title": None},
        {"view": IDS, "expectCount": True},
        {"view": IDS, "expectCount": 1.5},
        {"view": IDS, "expectError": "true"},
        {"view": IDS, "expect": {"id": "a"}},
        {"view": IDS, "expect": ["a"]},
        {"view": IDS, "expectCount": 2, "expectColumns": "id"},
    ],
)
def test_a_case_that_breaks_the_format_fails_and_hides_no_other(
    run: Run, folder: Path, tmp_path: Path, case: dict[str, Any]
) -> None:
    suite(folder / "one.json", case, {"view": IDS, "expectCount": 2.0})
    code, _out, _err = run(folder, "--report", tmp_path / "report.json")
    assert (code, outcomes(tmp_path / "report.json")) == (FAILED, [False, True])


def test_suites_in_subdirectories_are_told_apart_by_their_path(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    (folder / "b").mkdir()
    for path in ("one.json", "b/one.json"):
        suite(folder / path, {"view": IDS, "expectCount": 2})
    assert run(folder, "--report", tmp_path / "report.json")[0] == OK
    assert list(json.loads((tmp_path / "report.json").read_text())) == ["b/one.json", "one.json"]


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({"resourceType": "Patient"}, [{"id": None}]),
        ({"resourceType": "Patient", "id": "a", "text": {"div": "\u00e9\u2028<>"}}, [{"id": "a"}]),
        ({"id": "a"}, []),
        ({"resourceType": None, "id": "a"}, []),
        ({"resourceType": ["Patient"], "id": "a"}, []),
        (5, []),
        (None, []),
        ([], []),
    ],
)
def test_resources_without_type_are_in_no_view_and_may_lack_an_id(
    run: Run, folder: Path, resource: Any, expected: list[dict[str, Any]]
) -> None:
    test = {"title": "c", "view": IDS, "expect": expected}
    (folder / "one.json").write_text(json.dumps({"resources": [resource], "tests": [test]}))
    assert run(folder) == (OK, "1 passed, 0 failed\n", "")


def test_titles_tags_and_other_keys_change_nothing(run: Run, folder: Path, tmp_path: Path) -> None:
    case = {"title": "a\nb", "tags": ["experimental"], "description": "d", "view": IDS}
    document = {"resources": [], "fhirVersion": ["4.0.1"], "tests": [{**case, "expect": []}] * 2}
    (folder / "one.json").write_text("\ufeff" + json.dumps(document), "utf-8")
    assert run(folder, "--report", tmp_path / "report.json")[0] == OK
    tests = json.loads((tmp_path / "report.json").read_text())["one.json"]["tests"]
    assert tests == [{"name": "a\nb", "result": {"passed": True}}] * 2


def test_a_folder_without_suites_is_no_success(run: Run, folder: Path) -> None:
    assert run(folder)[0] == FAILED
    assert run(folder / "absent")[0] == FAILED


def test_a_report_that_cannot_be_written_is_known_before_anything_runs(
    run: Run, folder: Path
) -> None:
    suite(folder / "one.json", {"view": IDS, "expectCount": 2})
    code, out, err = run(folder, "--report", folder / "absent" / "report.json")
    assert (code, out) == (USAGE, "")
    assert "absent" in err


def test_an_unreachable_database_is_no_expected_error(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCHFLOW_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    suite(folder / "one.json", {"view": SEVERAL, "expectError": True})
    code, out, _err = run(folder)
    assert (code, out) == (UNREACHABLE, "")


def test_a_fault_of_ours_fails_its_case_even_where_an_error_is_expected(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object) -> None:
        raise ValueError("within the case")

    monkeypatch.setattr(conformance, "judge", broken)
    suite(folder / "one.json", {"view": UNKNOWN, "expectError": True})
    code, out, _err = run(folder, "--report", tmp_path / "report.json")
    assert (code, outcomes(tmp_path / "report.json")) == (FAILED, [False])
    assert "ValueError" in out


def test_the_difference_names_a_row_of_each_side() -> None:
    case = Case(title="t", view={}, expect=[{"a": 1}, {"a": 2}])
    reason = difference(case, ["a"], [{"a": 2}, {"a": True}])
    assert reason is not None
    assert '{"a": 1}' in reason
    assert '{"a": true}' in reason
    assert '{"a": 2}' not in reason
