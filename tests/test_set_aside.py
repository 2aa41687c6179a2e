"""A view that cannot be computed is set aside: the others go on, and everybody is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from clinic import Clinic, open_clinic
from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.batch.result import RefreshResult
from researchflow_runners.codes.query import CodeQuery
from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import FreshnessError, RefreshError
from researchflow_runners.store.set_aside import RETRY_MIN_S, SetAside, views_set_aside
from warehouse import NAMES, PEOPLE, PEOPLE_ACTIVE, patient

OWN = {**NAMES, "name": "own_names"}
SEVERAL = [{"given": ["x", "y"]}]
MAKE_DUE = "UPDATE researchflow.set_aside SET retry_at = now()"


@pytest_asyncio.fixture
async def clinic(
    postgres_dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Clinic]:
    """It ships `people`, has registered `own_names`, and one failing resource is too many."""
    monkeypatch.setattr("researchflow_runners.store.culprits.CULPRITS_MAX", 0)
    async with open_clinic(postgres_dsn, redis_url, views=[compile_view(PEOPLE)]) as opened:
        await opened.put(patient("a", name=[{"family": "A"}]))
        await refresh(opened, CatalogueChange(register=compile_view(OWN)))
        yield opened


async def refresh(
    clinic: Clinic, change: CatalogueChange | None = None, **more: Any
) -> RefreshResult:
    refresher = Refresher(clinic.database, clinic.source, clinic.views)
    return await refresher.refresh(change=change or CatalogueChange(), **more)


async def aside(clinic: Clinic) -> dict[str, SetAside]:
    async with clinic.database.session() as session:
        return {one.view: one for one in await views_set_aside(session)}


async def fail(clinic: Clinic) -> RefreshResult:
    """A refresh in which `own_names` fails and `people` does not."""
    await clinic.put(patient("b", name=SEVERAL))
    return await refresh(clinic)


async def families(clinic: Clinic, **more: Any) -> list[Any]:
    return [row[1] for row in (await clinic.ask("own_names", **more)).rows]


@pytest.mark.failure("view-fails")
async def test_the_other_views_go_on(clinic: Clinic) -> None:
    result = await fail(clinic)
    assert (result.published, result.anchor) == (True, 2)
    assert [(one.view, one.code) for one in result.set_aside] == [("own_names", "view_fails")]
    answer = await clinic.ask("people", freshness="anchored")
    assert ({row[0] for row in answer.rows}, answer.degradations) == ({"a", "b"}, ())
    found = (await aside(clinic))["own_names"]
    assert (found.after_anchor, found.attempts, found.is_due) == (1, 1, False)
    assert "fails on more than 0 resources" in found.reason


@pytest.mark.failure("view-fails")
async def test_answer_of_a_view_set_aside_is_of_its_last_anchor_and_says_so(
    clinic: Clinic,
) -> None:
    before = await clinic.ask("own_names", freshness="anchored")
    await fail(clinic)
    for freshness in ("live", "anchored"):
        answer = await clinic.ask("own_names", freshness=freshness)
        assert answer.rows == before.rows
        assert (answer.anchor, answer.data_as_of) == (1, before.data_as_of)
        assert (answer.freshness, answer.staleness_s, answer.pending) == ("anchored", None, None)
        assert [one.code for one in answer.degradations] == ["view_set_aside"]
    with pytest.raises(FreshnessError) as caught:
        await clinic.ask("own_names", as_of=2)
    assert caught.value.code == "view_set_aside"
    assert await families(clinic, as_of=1) == ["A"]
    with pytest.raises(FreshnessError) as caught:
        await clinic.ask("own_names", max_staleness_s=0.001)
    assert caught.value.code == "staleness_exceeded"


async def test_question_over_several_views_is_answered_at_one_anchor(clinic: Clinic) -> None:
    await fail(clinic)
    within = {"column": "id", "op": "in", "query": {"view": "own_names", "column": "id"}}
    answer = await clinic.ask("people", where={"not": within})
    assert (answer.rows, answer.anchor) == ((), 1)
    assert [one.code for one in answer.degradations] == ["view_set_aside"]


async def test_sql_view_of_a_view_set_aside_refuses_to_answer(
    clinic: Clinic, postgres_dsn: str
) -> None:
    await fail(clinic)
    connection = await asyncpg.connect(postgres_dsn)
    for schema in ("sqlonfhir", "sqlonfhir_live"):
        assert len(await connection.fetch(f"SELECT * FROM {schema}.people")) == 2
        with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError):
            await connection.fetch(f"SELECT * FROM {schema}.own_names")
    await connection.close()


async def test_view_comes_back_when_it_can_be_computed_and_keeps_its_anchors(
    clinic: Clinic,
) -> None:
    await fail(clinic)
    await clinic.put(patient("c", name=[{"family": "C"}]))
    assert (await refresh(clinic)).anchor == 3
    await clinic.put(patient("b", name=[{"family": "B"}]))
    result = await refresh(clinic)
    assert (result.set_aside, [view.name for view in result.views if view.built]) == (
        (), ["own_names"],
    )  # fmt: skip
    assert await aside(clinic) == {}
    answer = await clinic.ask("own_names")
    assert ({row[1] for row in answer.rows}, answer.degradations) == ({"A", "B", "C"}, ())
    assert await families(clinic, as_of=1) == ["A"]
    for anchor in (2, 3):
        with pytest.raises(FreshnessError) as caught:
            await clinic.ask("own_names", as_of=anchor)
        assert caught.value.code == "anchor_before_view"


async def test_view_set_aside_is_left_alone_until_it_is_time(clinic: Clinic) -> None:
    await fail(clinic)
    await clinic.put(patient("b", name=[{"family": "B"}]))
    assert (await refresh(clinic, retry_all=False)).set_aside == ()
    assert list(await aside(clinic)) == ["own_names"]
    async with clinic.database.session() as session:
        await session.execute(MAKE_DUE)
    await refresh(clinic, retry_all=False)
    assert await aside(clinic) == {}


async def test_each_failure_doubles_the_time_to_the_next_try(clinic: Clinic) -> None:
    await fail(clinic)
    first = (await aside(clinic))["own_names"]
    assert not (await refresh(clinic)).published
    second = (await aside(clinic))["own_names"]
    assert (second.attempts, second.after_anchor, second.set_aside_at) == (
        2, 1, first.set_aside_at,
    )  # fmt: skip
    assert (second.retry_at - first.retry_at).total_seconds() > RETRY_MIN_S - 1


async def test_registered_anew_it_comes_back_and_dropped_it_is_forgotten(clinic: Clinic) -> None:
    await fail(clinic)
    corrected = {**PEOPLE_ACTIVE, "name": "own_names"}
    await refresh(clinic, CatalogueChange(register=compile_view(corrected)))
    assert await aside(clinic) == {}
    assert len((await clinic.ask("own_names")).rows) == 2
    await refresh(clinic, CatalogueChange(drop="own_names"))
    assert await aside(clinic) == {}


async def test_registration_that_fails_is_refused_and_sets_nothing_aside(clinic: Clinic) -> None:
    await clinic.put(patient("b", name=SEVERAL))
    with pytest.raises(RefreshError) as caught:
        await refresh(clinic, CatalogueChange(register=compile_view({**OWN, "name": "other"})))
    assert (caught.value.code, caught.value.field) == ("view_fails", "other")
    assert await aside(clinic) == {}


async def test_definition_that_no_longer_compiles_is_set_aside(clinic: Clinic) -> None:
    async with clinic.database.session() as session:
        await session.execute(
            "UPDATE researchflow.view_catalogue SET definition = definition - 'resource'"
            " WHERE view_name = 'own_names'"
        )
    await clinic.put(patient("b", name=[{"family": "B"}]))
    result = await refresh(clinic)
    assert [(one.view, one.code) for one in result.set_aside] == [
        ("own_names", "definition_outdated")
    ]
    assert len((await clinic.ask("people", freshness="anchored")).rows) == 2
    assert await families(clinic) == ["A"]
    await refresh(clinic, CatalogueChange(register=compile_view(OWN)))
    assert sorted(await families(clinic)) == ["A", "B"]


async def test_shipped_view_that_never_could_be_computed_stops_nobody(
    postgres_dsn: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("researchflow_runners.store.culprits.CULPRITS_MAX", 0)
    views = [compile_view(PEOPLE), compile_view(NAMES)]
    async with open_clinic(postgres_dsn, redis_url, views=views) as clinic:
        await clinic.put(patient("b", name=SEVERAL))
        assert [one.view for one in (await refresh(clinic)).set_aside] == ["people_names"]
        await clinic.put(patient("c"))
        assert (await refresh(clinic)).published
        assert len((await clinic.ask("people")).rows) == 2
        await clinic.put(patient("b"))
        assert (await refresh(clinic)).set_aside == ()
        assert (await clinic.ask("people_names")).route == "materialized"


async def test_codes_of_a_view_set_aside_are_of_its_last_anchor_and_say_so(
    clinic: Clinic,
) -> None:
    names: dict[str, Any] = {**OWN, "name": "own_codes"}
    names["select"] = [
        {"column": [{"path": "getResourceKey()", "name": "id"}]},
        {
            "forEach": "name",
            "column": [
                {
                    "path": "family",
                    "name": "family",
                    "tag": [{"name": "researchflow/system", "value": "urn:names"}],
                },
                {"path": "given", "name": "given"},
            ],
        },
    ]
    await refresh(clinic, CatalogueChange(register=compile_view(names)))
    before = await clinic.runner.find_codes(CodeQuery(text="A", view="own_codes"))
    assert (before.rows[0][:2], before.degradations) == (("A", "urn:names"), ())
    await fail(clinic)
    after = await clinic.runner.find_codes(CodeQuery(text="A", view="own_codes"))
    assert after.rows == before.rows
    assert [one.code for one in after.degradations] == ["view_set_aside"]
    # Another view is as fresh as ever.
    other = await clinic.runner.find_codes(CodeQuery(text="zz"))
    assert other.anchor == 3
