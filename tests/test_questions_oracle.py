"""Random questions with chosen rows and groups, live and anchored, equal plain Python."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from clinic import Clinic, compiled, lab, open_clinic, patient
from oracle_filters import World
from oracle_questions import Asker, Found, UnitsMixed
from question_generators import LABS, PEOPLE, questions
from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.result import Answer
from researchflow_runners.query.model import Query
from researchflow_server.embedded import Services
from tool_server import module_stores

Json = dict[str, Any]
PERSONS = 14
RESULTS = 70
DATED = frozenset(
    {"birth_date", "deceased_date", "effective_datetime", "issued", "patient.birth_date",
     "patient.deceased_date"}
)  # fmt: skip
EVENTS = {LABS: ("effective_datetime", "issued")}
CODES = [("a", "A"), ("a", "A"), ("a", "Á"), ("b", "B"), ("b", None), ("c", "C")]


def a_date(chance: random.Random, begin: date, span_days: int) -> str | None:
    day = begin + timedelta(days=chance.randint(0, span_days))
    shapes = [
        f"{day}", f"{day}", f"{day}T12:00:00Z", f"{day}T23:30:00-05:00", f"{day}T00:30:00+02:00",
        f"{day}"[:7], f"{day}"[:4], None,
    ]  # fmt: skip
    return chance.choice(shapes)


def a_person(chance: random.Random, name: str) -> Json:
    """A patient as the view shows it."""
    born = a_date(chance, date(1930, 1, 1), 30_000)
    dead = chance.choice([None, None, None, True, False])
    died = a_date(chance, date(2015, 1, 1), 2_500) if dead else None
    return {
        "id": name,
        "gender": chance.choice(["female", "male", None]),
        "birth_date": born[:10] if born else None,
        "deceased": True if died else dead,
        "deceased_date": died,
    }


def a_result(chance: random.Random, name: str) -> Json:
    """A laboratory result as the view shows it."""
    code, display = chance.choice(CODES)
    value = chance.choice([None, "1", "2.50", "2.5", "3", "4.25", "7", "10"])
    unit = {"a": ["%"], "b": ["mg/dL", "mmol/L"], "c": [None]}[code]
    return {
        "id": name,
        "patient_id": f"p{chance.randint(0, PERSONS)}",
        "code": code,
        "code_display": display,
        "effective_datetime": a_date(chance, date(2018, 1, 1), 900),
        "issued": chance.choice([None, "2019-07-01T08:00:00Z", "2020-06-30T22:00:00-04:00"]),
        "value_quantity": None if value is None else Decimal(value),
        "value_unit": None if value is None else chance.choice(unit),
    }


def person_resource(row: Json) -> Json:
    death = {"deceasedDateTime": row["deceased_date"]} if row["deceased_date"] else {}
    if not death and row["deceased"] is not None:
        death = {"deceasedBoolean": row["deceased"]}
    given = {"gender": row["gender"], "birthDate": row["birth_date"], **death}
    return {name: value for name, value in patient(row["id"], **given).items() if value is not None}


def result_resource(row: Json) -> Json:
    coding = {"system": "http://loinc.org", "code": row["code"]}
    if row["code_display"] is not None:
        coding["display"] = row["code_display"]
    given = {
        "code": {"coding": [coding]},
        "effectiveDateTime": row["effective_datetime"],
        "issued": row["issued"],
        "valueQuantity": None
        if row["value_quantity"] is None
        else {"value": float(row["value_quantity"])}
        | ({"unit": row["value_unit"]} if row["value_unit"] else {}),
    }
    made = lab(row["id"], row["patient_id"], **given)
    return {name: value for name, value in made.items() if value is not None}


def asker_of(people: dict[str, Json], results: dict[str, Json], today: date) -> Asker:
    """The rows of both views; each result with its patient's columns."""
    nobody = dict.fromkeys(("gender", "birth_date", "deceased", "deceased_date"))
    labs = [
        {
            **row,
            **{f"patient.{name}": people.get(row["patient_id"], nobody)[name] for name in nobody},
        }
        for row in results.values()
    ]
    return Asker(World({PEOPLE: list(people.values()), LABS: labs}, DATED, today), EVENTS)


class Ward:
    """A clinic, and what its answers must be in either state; no dataclass, whose every row a
    failure would show."""

    def __init__(self, clinic: Clinic, askers: dict[str, Asker]) -> None:
        self.clinic = clinic
        self.askers = askers


@pytest_asyncio.fixture(scope="module")
async def ward(services: Services) -> AsyncIterator[Ward]:
    """Half of the changes are in the anchor, the others wait."""
    chance = random.Random(11)
    people = {one: a_person(chance, one) for one in (f"p{n}" for n in range(PERSONS))}
    results = {one: a_result(chance, one) for one in (f"r{n}" for n in range(RESULTS))}
    today = datetime.now(UTC).date()
    async with (
        module_stores(services, number=13) as (dsn, redis_url),
        open_clinic(dsn, redis_url, views=compiled(PEOPLE, LABS)) as clinic,
    ):
        await clinic.put(*map(person_resource, people.values()))
        await clinic.put(*map(result_resource, results.values()))
        await clinic.refresh()
        anchored = asker_of(people, results, today)
        people |= {one: a_person(chance, one) for one in ("p0", "p3", f"p{PERSONS}")}
        del results["r1"], results["r2"]
        results |= {one: a_result(chance, one) for one in ("r5", "r6", "r7", "s1", "s2", "s3")}
        changed = [result_resource(results[one]) for one in ("r5", "r6", "r7", "s1", "s2", "s3")]
        changed += [person_resource(people[one]) for one in ("p0", "p3", f"p{PERSONS}")]
        await clinic.cache(*changed, "Observation/r1", "Observation/r2")
        live = asker_of(people, results, today)
        yield Ward(clinic, {"anchored": anchored, "live": live})


def exact(value: Any) -> Any:
    """Numbers by value; those that no computer has exactly to nine digits."""
    if isinstance(value, Decimal | Fraction | float | int) and not isinstance(value, bool):
        return f"{float(value):.9g}"
    return value


def comparable(rows: list[Json]) -> list[tuple[str, ...]]:
    return sorted(tuple(repr((name, exact(row[name]))) for name in row) for row in rows)


async def answered(clinic: Clinic, asked: Json) -> Answer | None:
    """The answer; None where numbers of several units would be put together."""
    try:
        answer: Answer = await clinic.runner.query(Query.model_validate({"limit": 1_000, **asked}))
    except QueryError as error:
        if error.code != "units_mixed":
            raise
        return None
    return answer


def expected(asker: Asker, asked: Json) -> Found | None:
    try:
        return asker.answer(asked)
    except UnitsMixed:
        return None


@settings(deadline=None)
@given(asked=questions(), freshness=st.sampled_from(["live", "anchored"]))
async def test_a_question_is_answered_as_plain_python_answers_it(
    ward: Ward, asked: Json, freshness: str
) -> None:
    found = await answered(ward.clinic, {**asked, "freshness": freshness})
    wanted = expected(ward.askers[freshness], asked)
    if found is None or wanted is None:
        assert (found, wanted) == (None, None)
        return
    assert comparable(found.as_dicts()) == comparable(wanted.rows)
    assert found.ties == wanted.ties


@settings(deadline=None)
@given(asked=questions(), data=st.data())
async def test_pages_of_an_ordered_answer_join_to_the_whole(
    ward: Ward, asked: Json, data: st.DataObject
) -> None:
    whole = await answered(ward.clinic, {**asked, "freshness": "anchored"})
    if whole is None or not whole.rows:
        return
    name = data.draw(st.sampled_from([column.name for column in whole.columns]))
    order = [{"column": name, "descending": data.draw(st.booleans())}]
    asked = {**asked, "freshness": "anchored", "order_by": order}
    ordered = await answered(ward.clinic, asked)
    assert ordered is not None
    assert sorted(map(repr, ordered.rows)) == sorted(map(repr, whole.rows))
    limit = max(1, len(whole.rows) // 3)
    paged: list[Any] = []
    cursor: str | None = None
    while cursor is not None or not paged:
        page = await answered(ward.clinic, {**asked, "limit": limit, "cursor": cursor})
        assert page is not None
        paged += page.rows
        cursor = page.next_cursor
    assert tuple(paged) == ordered.rows


@pytest.mark.parametrize("freshness", ["live", "anchored"])
async def test_the_questions_meet_both_answers_and_refusals(ward: Ward, freshness: str) -> None:
    asked = {"view": LABS, "aggregates": [{"fn": "median", "column": "value_quantity"}]}
    assert await answered(ward.clinic, {**asked, "freshness": freshness}) is None
    apart = {**asked, "group_by": ["value_unit"], "freshness": freshness}
    assert await answered(ward.clinic, apart) is not None
