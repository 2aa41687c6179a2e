"""Each stage of the compiler can be printed: syntax, typed nodes, SQL, columns and the plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from researchflow_runners.compiler import compile_view
from researchflow_runners.compiler.explain import syntax_of, typed_nodes_of
from researchflow_runners.errors import FhirPathError
from researchflow_runners.views import shipped_views
from researchflow_server.cli import main
from researchflow_server.cli.outcome import FAILED, OK, UNREACHABLE

Run = Callable[..., tuple[int, str, str]]

VIEW: dict[str, Any] = {
    "resourceType": "ViewDefinition",
    "name": "shown",
    "resource": "Patient",
    "constant": [{"name": "use", "valueCode": "official"}],
    "select": [
        {"column": [{"name": "id", "path": "id"}]},
        {
            "forEachOrNull": "name.where(use = %use)",
            "column": [{"name": "family", "path": "family"}],
            "select": [
                {"forEach": "given", "column": [{"name": "given", "path": "$this"}]},
            ],
        },
        {
            "unionAll": [
                {"repeat": ["link.other"], "column": [{"name": "x", "path": "identifier.exists()"}]}
            ]
        },
    ],
    "where": [{"path": "active and 1 < 2"}],
}
PLACES = [
    "select[0].column[0].path",
    "select[1].forEachOrNull",
    "select[1].column[0].path",
    "select[1].select[0].forEach",
    "select[1].select[0].column[0].path",
    "select[2].unionAll[0].repeat[0]",
    "select[2].unionAll[0].column[0].path",
    "where[0].path",
]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `view compile`; gives its exit code, stdout and stderr."""

    def command(*arguments: object) -> tuple[int, str, str]:
        code = main(["view", "compile", *(str(argument) for argument in arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The view as a file."""
    written = tmp_path / "shown.json"
    written.write_text(json.dumps(VIEW))
    return written


def column(path: str) -> dict[str, Any]:
    return {"resource": "Patient", "select": [{"column": [{"name": "c", "path": path}]}]}


def test_every_expression_of_a_view_is_shown_at_its_place() -> None:
    assert [one.place for one in syntax_of(VIEW)] == PLACES
    assert [one.place for one in typed_nodes_of(VIEW)] == PLACES


def test_syntax_is_shown_as_a_tree_with_positions() -> None:
    (shown,) = syntax_of(column("name.where(use = 'old').given[0]"))
    assert shown.lines() == [
        "select[0].column[0].path: name.where(use = 'old').given[0]",
        "  Index span=0,32",
        "    target: Member span=0,29 name=given",
        "      target: Call span=0,23 name=where",
        "        target: Member span=0,4 name=name",
        "        arguments[0]: Binary span=11,22 operator='='",
        "          left: Member span=11,14 name=use",
        "          right: Literal span=17,22 kind=string text=old",
        "    index: Literal span=30,31 kind=integer text='0'",
    ]


def test_typed_nodes_tell_class_types_many_and_form() -> None:
    (shown,) = typed_nodes_of(column("name.where(use = 'old').given[0]"))
    assert shown.lines() == [
        "select[0].column[0].path: name.where(use = 'old').given[0]",
        "  At types=string many=false form=json",
        "    source: Child types=string many=true form=json keys=given:string element_many=true",
        "      source: Filtered types=HumanName many=true form=json"
        """ predicate='(@."use" == "old")' requirement=old""",
        "        source: Child types=HumanName many=true form=json keys=name:HumanName"
        " element_many=true",
        "          source: Resource types=Patient many=false form=json alias=d",
        "    index: Constant types=System.Integer many=false form=integer type_name=System.Integer"
        " text_value='0'",
    ]


def test_a_node_under_two_roles_is_shown_once() -> None:
    (shown,) = typed_nodes_of(column("active.exists()"))
    assert (
        shown.lines()[1]
        == "  Exists types=System.Boolean many=false form=boolean probe='as source'"
    )
    assert list(shown.tree.children) == ["source"]


def test_nodes_of_repeat_have_every_type_of_the_walk() -> None:
    questions = {
        "resource": "Questionnaire",
        "select": [{"repeat": ["item"], "column": [{"name": "c", "path": "linkId"}]}],
    }
    walk = typed_nodes_of(questions)[0].tree
    assert walk.children["source"].facts["types"] == ["Questionnaire.item"]


def test_syntax_is_shown_even_where_types_are_wrong() -> None:
    wrong = column("nothing.here")
    assert syntax_of(wrong)[0].tree.name == "Member"
    with pytest.raises(FhirPathError) as caught:
        typed_nodes_of(wrong)
    assert caught.value.code == "unknown_element"


def test_syntax_that_does_not_parse_is_refused_at_its_place() -> None:
    with pytest.raises(FhirPathError) as caught:
        syntax_of(column("name."))
    assert caught.value.field == "select[0].column[0].path"


@pytest.mark.parametrize("view", shipped_views(), ids=lambda view: view["name"])
def test_what_is_shown_is_the_same_each_time(view: dict[str, Any]) -> None:
    for stage in (syntax_of, typed_nodes_of):
        first, second = ([one.lines() for one in stage(view)] for _again in range(2))
        assert first == second
        assert all(" at 0x" not in line for lines in first for line in lines)
        json.dumps([one.as_dict() for one in stage(view)])


@pytest.mark.parametrize("stage", ["ast", "ir"])
def test_a_stage_is_printed_for_people_and_as_json(run: Run, file: Path, stage: str) -> None:
    code, out, _err = run(file, "--stage", stage)
    assert (code, [one for one in PLACES if f"\n{one}: " in f"\n{out}"]) == (OK, PLACES)
    code, out, _err = run(file, "--stage", stage, "--json")
    expressions = json.loads(out)["expressions"]
    assert [one["place"] for one in expressions] == PLACES
    root = expressions[0]["tree"]
    assert root["node"] == {"ast": "Member", "ir": "ResourceId"}[stage]
    assert ("many" in root, "span" in root) == (stage == "ir", stage == "ast")


def test_sql_is_printed_as_before(run: Run, file: Path) -> None:
    code, out, _err = run(file, "--json")
    shown = json.loads(out)
    assert (code, shown["digest"], "plan" in shown) == (OK, compile_view(VIEW).digest, False)


def test_a_view_that_is_refused_shows_its_syntax_only(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(column("nothing")))
    assert run(wrong, "--stage", "ast")[0] == OK
    assert run(wrong, "--stage", "ir")[0] == FAILED


@pytest.fixture
def stores(
    postgres_dsn: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment that points to real stores."""
    monkeypatch.setenv("RESEARCHFLOW_DATABASE_URL", postgres_dsn)
    monkeypatch.setenv("RESEARCHFLOW_REDIS_URL", redis_url)
    monkeypatch.setenv("RESEARCHFLOW_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("stage", ["ast", "ir", "sql", "columns"])
def test_the_plan_over_the_source_follows_any_stage(run: Run, file: Path, stage: str) -> None:
    code, out, _err = run(file, "--stage", stage, "--plan")
    assert code == OK
    assert "hfj_resource" in out.partition("-- plan")[2]
    code, out, _err = run(file, "--stage", stage, "--plan", "--json")
    assert any("hfj_resource" in line for line in json.loads(out)["plan"])


def test_the_plan_needs_a_database(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCHFLOW_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    monkeypatch.setenv("RESEARCHFLOW_REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("RESEARCHFLOW_HOME", str(tmp_path / "home"))
    code, out, _err = run(file, "--plan")
    assert (code, out) == (UNREACHABLE, "")
