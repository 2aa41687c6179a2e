"""The counted codes are those of the rows, whatever came, went, was refreshed or waits."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, compiled, open_clinic, patient
from researchflow_runners.codes.index import indexed_tables
from researchflow_runners.codes.query import CodeQuery
from researchflow_runners.hybrid.code_ground import read_ground, settled
from researchflow_runners.sql import Sql, compose
from researchflow_runners.store.published import PublishedView, published_views
from researchflow_runners.store.relations import anchored_relation, live_relation

VIEWS = ("patient_simple", "condition_codes", "condition_simple", "observation_labs")
#: By view: each coded column with the column of its system, of its display and of the patient.
CODED = {
    "patient_simple": {"gender": ("http://hl7.org/fhir/administrative-gender", None, "id")},
    "condition_codes": {
        "code": (None, "display", "patient_id"),
        "clinical_status": (
            "http://terminology.hl7.org/CodeSystem/condition-clinical",
            None,
            "patient_id",
        ),
    },
    "condition_simple": {"snomed_code": ("http://snomed.info/sct", "snomed_display", "patient_id")},
    "observation_labs": {"code": ("http://loinc.org", "code_display", "patient_id")},
}
CODINGS = [
    ("http://snomed.info/sct", "38341003", "Hypertensive disorder"),
    ("http://snomed.info/sct", "38341003", "High blood pressure"),
    ("http://snomed.info/sct", "44054006", None),
    ("http://hl7.org/fhir/sid/icd-10-cm", "I10", "Essential hypertension"),
    (None, "local-1", "Ours"),
]

Counted = dict[tuple[str, str, str, str], tuple[int, int, str | None]]


@pytest_asyncio.fixture
async def clinic(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """Three patients, nothing refreshed."""
    async with open_clinic(postgres_dsn, redis_url, views=compiled(*VIEWS)) as opened:
        await opened.put(*(patient(one) for one in "abc"))
        yield opened


def condition_of(rng: random.Random, name: str) -> dict[str, Any]:
    codings = rng.sample(CODINGS, rng.randint(1, 3))
    shown = [
        {key: value for key, value in zip(("system", "code", "display"), one, strict=True) if value}
        for one in codings
    ]
    status = {"coding": [{"code": rng.choice(["active", "resolved"])}]}
    return {
        "resourceType": "Condition",
        "id": name,
        "clinicalStatus": status,
        "subject": {"reference": f"Patient/{rng.choice('abc')}"},
        "code": {"coding": shown},
    }


def lab_of(rng: random.Random, name: str) -> dict[str, Any]:
    display = rng.choice(["HbA1c", "Hemoglobin A1c", None])
    coding = {"system": "http://loinc.org", "code": rng.choice(["4548-4", "2345-7"])}
    return {
        "resourceType": "Observation",
        "id": name,
        "status": rng.choice(["final", "preliminary"]),
        "category": [{"coding": [{"code": "laboratory"}]}],
        "subject": {"reference": f"Patient/{rng.choice('abc')}"},
        "code": {"coding": [{**coding, "display": display} if display else coding]},
    }


async def rows_of(session: Any, view: PublishedView, relation: Sql) -> list[dict[str, Any]]:
    return [dict(row) for row in await session.fetch(compose("SELECT * FROM {} AS r", relation))]


async def recounted(clinic: Clinic, *, live: bool) -> Counted:
    """The codes by plain counting of rows."""
    rows: Counter[tuple[str, str, str, str]] = Counter()
    patients = defaultdict(set)
    displays: dict[tuple[str, str, str, str], Counter[str]] = defaultdict(Counter)
    async with clinic.database.snapshot() as session:
        for view in (await published_views(session)).values():
            relation = live_relation(view) if live else anchored_relation(view)
            for row in await rows_of(session, view, relation):
                for column, (system, display, who) in CODED[view.name].items():
                    if row[column] is None:
                        continue
                    told = system or row["system"] or ""
                    key = (view.name, column, told, row[column])
                    rows[key] += 1
                    patients[key].add(row[who])
                    if display and row[display]:
                        displays[key][row[display]] += 1
    return {
        key: (
            count,
            len(patients[key] - {None}),
            min(displays[key], key=lambda one: (-displays[key][one], one), default=None),
        )
        for key, count in rows.items()
    }


def chosen(counted: Counted) -> Counted:
    return {key: value for key, value in counted.items() if key[1] in CODED[key[0]]}


async def indexed(clinic: Clinic, *, live: bool) -> Counted:
    """The codes as the product has them."""
    async with clinic.database.snapshot() as session:
        names = {number: name for name, number in (await indexed_tables(session)).items()}
        views = {view.base_table: view.name for view in (await published_views(session)).values()}
        found = {
            (views[names[row[0]]], *row[1:4]): tuple(row[4:7])
            for row in await session.fetch(
                "SELECT table_id, column_name, system, code, row_count, patient_count, display"
                " FROM researchflow.code"
            )
            if names[row[0]] in views
        }
        if live:
            ground = await read_ground(session, clinic.runner.materialized, None)
            for one in await settled(session, ground, ground.moved):
                place = (ground.places[one.table_id].view, *one.key[1:])
                found.pop(place, None)
                if one.rows:
                    found[place] = (one.rows, one.patients, one.display)
    return chosen(found)


@pytest.mark.parametrize("seed", range(3))
async def test_counts_are_those_of_the_rows_after_any_history(clinic: Clinic, seed: int) -> None:
    rng = random.Random(seed)
    await clinic.refresh()
    for _step in range(10):
        for _change in range(rng.randint(1, 4)):
            name = f"r{rng.randint(0, 6)}"
            kind = rng.choice([condition_of, lab_of])
            reference = f"{'Condition' if kind is condition_of else 'Observation'}/{name}"
            door = rng.choice([clinic.put, clinic.put, clinic.cache])
            if rng.random() < 0.8:
                await door(kind(rng, name))
            elif door == clinic.cache:
                await clinic.cache(reference)
        if rng.random() < 0.5:
            await clinic.refresh()
        assert await indexed(clinic, live=False) == await recounted(clinic, live=False)
        assert await indexed(clinic, live=True) == await recounted(clinic, live=True)


async def test_deleted_code_leaves_the_index_with_its_words(clinic: Clinic) -> None:
    await clinic.put(condition_of(random.Random(1), "x"))
    await clinic.refresh()
    assert any(key[0] == "condition_codes" for key in await indexed(clinic, live=False))
    await clinic.delete("Condition/x")
    await clinic.refresh()
    assert not any(key[0] == "condition_codes" for key in await indexed(clinic, live=False))
    async with clinic.database.session() as session:
        left = await session.fetchval(
            "SELECT count(*) FROM researchflow.code_display AS d"
            " WHERE NOT EXISTS (SELECT FROM researchflow.code AS k WHERE k.code_id = d.code_id)"
        )
    assert left == 0


async def test_without_the_speed_layer_only_the_anchor_is_answered_for(clinic: Clinic) -> None:
    await clinic.refresh()
    await clinic.cache(condition_of(random.Random(1), "x"))
    asked = CodeQuery(text="ours")
    assert (await clinic.runner.find_codes(asked)).rows
    answer = await clinic.another_runner(use_speed_layer=False).find_codes(asked)
    assert (answer.rows, answer.freshness) == ((), "anchored")
    assert [one.code for one in answer.degradations] == ["speed_layer_disabled"]
