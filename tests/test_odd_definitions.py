"""What the compiler takes can be built: an odd view is refused with its place, or published."""

from __future__ import annotations

from typing import Any

from clinic import open_clinic, patient
from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import ResearchFlowError

COLUMN = "select[0].column[1]"
Json = dict[str, Any]


def view(*columns: Json) -> Json:
    key = {"name": "id", "path": "getResourceKey()"}
    return {"name": "odd", "resource": "Patient", "select": [{"column": [key, *columns]}]}


def named(name: str, path: str = "gender", **more: Any) -> Json:
    return view({"name": name, "path": path, **more})


def many(count: int, path: str) -> Json:
    return view(*({"name": f"c{number}", "path": path} for number in range(count)))


REFUSED: list[tuple[Json, str, str]] = [
    *((named(name), "invalid_name", f"{COLUMN}.name")
      for name in ("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "_since")),
    (many(1_700, "gender"), "too_many_columns", "select"),
    (many(250, "birthDate"), "too_many_columns", "select"),
    (named("n", "2147483648", type="integer"), "column_type", f"{COLUMN}.type"),
    (named("n", "name[2147483648].family"), "not_integer", f"{COLUMN}.path"),
    (named("n", "name.skip(2147483648).first().family"), "not_integer", f"{COLUMN}.path"),
    (named("n", "1.round(2147483648)"), "not_integer", f"{COLUMN}.path"),
    (named("n", "birthDate + 99999999999 years"), "duration_too_long", f"{COLUMN}.path"),
    (view({"name": "b", "path": "birthDate"}, {"name": "b__lo", "path": "gender"}),
     "duplicate_column", "select"),
]  # fmt: skip
BUILT = [
    many(300, "gender"), many(190, "birthDate"), named("select"), named("user"), named("CTID"),
    named("a" * 55, "birthDate"), named("n", "2147483648"), named("n", "-2147483648"),
    named("n", "2147483647 + 1"), named("n", "9223372036854775808"), named("n", "2.power(99999)"),
    named("n", "@9999-12-31 + 1 day"), named("n", "@0001-01-01 - 1 year"),
]  # fmt: skip


def test_what_cannot_be_built_is_refused_with_its_place() -> None:
    found = []
    for definition, _code, _field in REFUSED:
        try:
            compile_view(definition)
        except ResearchFlowError as error:
            found.append((error.code, error.field))
        else:
            found.append(("compiled", None))
    assert found == [(code, field) for _definition, code, field in REFUSED]


async def test_what_compiles_is_published(postgres_dsn: str, redis_url: str) -> None:
    async with open_clinic(postgres_dsn, redis_url) as clinic:
        await clinic.put({**patient("a", birthDate="1970-01-01"), "name": [{"family": "x"}]})
        for definition in BUILT:
            await clinic.refresh([compile_view(definition)])
            answer = await clinic.ask("odd", columns=["id"])
            assert answer.rows == (("a",),)
