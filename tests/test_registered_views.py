"""Views registered and dropped at run time: one commit each, for every process at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from clinic import Clinic, open_clinic
from researchflow_runners.batch.catalogue import REGISTERED_VIEWS_MAX, CatalogueChange
from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.batch.result import RefreshResult
from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import QueryError, RefreshError, ResearchFlowError
from warehouse import NAMES, PEOPLE, PEOPLE_ACTIVE, patient

OWN = {**NAMES, "name": "own_names"}
REGISTERED_AT = """
SELECT registered_at FROM researchflow.view_catalogue WHERE view_name = 'own_names'
"""


@pytest_asyncio.fixture
async def clinic(postgres_dsn: str, redis_url: str) -> AsyncIterator[Clinic]:
    """A clinic that ships the view `people`, with one patient."""
    async with open_clinic(postgres_dsn, redis_url, views=[compile_view(PEOPLE)]) as opened:
        await opened.put(patient("a", name=[{"family": "A"}], active=True))
        await opened.refresh()
        yield opened


async def register(clinic: Clinic, definition: dict[str, Any]) -> RefreshResult:
    refresher = Refresher(clinic.database, clinic.source, clinic.views)
    return await refresher.refresh(change=CatalogueChange(register=compile_view(definition)))


async def drop(clinic: Clinic, name: str) -> RefreshResult:
    refresher = Refresher(clinic.database, clinic.source, clinic.views)
    return await refresher.refresh(change=CatalogueChange(drop=name))


async def value(clinic: Clinic, statement: str) -> Any:
    async with clinic.database.session() as session:
        return await session.fetchval(statement)


async def refused(attempt: Any) -> str:
    with pytest.raises(ResearchFlowError) as caught:
        await attempt
    return caught.value.code


async def test_registered_view_is_answered_with_the_commit_that_built_it(clinic: Clinic) -> None:
    result = await register(clinic, OWN)
    assert [view.name for view in result.views if view.built] == ["own_names"]
    answer = await clinic.ask("own_names", freshness="anchored")
    assert answer.rows == (("a", "A", None),)
    assert answer.anchor == result.anchor
    assert answer.route == "materialized"


async def test_registered_view_outlives_refreshes_of_processes_that_do_not_ship_it(
    clinic: Clinic,
) -> None:
    await register(clinic, OWN)
    await clinic.put(patient("b", name=[{"family": "B"}]))
    result = await clinic.refresh()
    assert result.retired == ()
    assert [view.name for view in result.views if view.built] == []
    assert {row[1] for row in (await clinic.ask("own_names")).rows} == {"A", "B"}


async def test_change_shows_in_a_registered_view_that_the_projector_never_saw(
    clinic: Clinic,
) -> None:
    await register(clinic, OWN)
    await clinic.cache(patient("b", name=[{"family": "B"}]))
    answer = await clinic.ask("own_names")
    assert {row[1] for row in answer.rows} == {"A", "B"}
    assert answer.speed.rows_added == 1


async def test_registering_again_replaces_the_definition_and_waiting_changes_follow(
    clinic: Clinic,
) -> None:
    await register(clinic, {**PEOPLE, "name": "own"})
    await clinic.cache(patient("b", active=False))
    await register(clinic, {**PEOPLE_ACTIVE, "name": "own"})
    answer = await clinic.ask("own")
    assert [column.name for column in answer.columns] == ["id", "active"]
    assert set(answer.rows) == {("a", True), ("b", False)}


async def test_registering_the_same_definition_builds_nothing(clinic: Clinic) -> None:
    await register(clinic, OWN)
    before = await value(clinic, REGISTERED_AT)
    again = await register(clinic, dict(reversed(OWN.items())))
    assert [view.name for view in again.views if view.built] == []
    after = await value(clinic, REGISTERED_AT)
    assert before == after is not None


async def test_number_that_jsonb_writes_otherwise_keeps_its_digest(clinic: Clinic) -> None:
    large = {
        **OWN,
        "constant": [{"name": "large", "valueDecimal": 1e22}],
        "where": [{"path": "multipleBirth.ofType(integer).empty() or 1 < %large"}],
    }
    await register(clinic, large)
    result = await clinic.refresh()
    assert [view.name for view in result.views if view.built] == []
    await clinic.cache(patient("b", name=[{"family": "B"}]))
    assert {row[1] for row in (await clinic.ask("own_names")).rows} == {"A", "B"}


async def test_dropped_view_is_unknown_and_leaves_nothing_behind(clinic: Clinic) -> None:
    await register(clinic, OWN)
    result = await drop(clinic, "own_names")
    assert result.retired == ("own_names",)
    with pytest.raises(QueryError) as caught:
        await clinic.ask("own_names")
    assert caught.value.code in ("unknown_view", "view_not_published")
    await clinic.refresh()
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE '%own_names%'"
    assert await value(clinic, left) == 0


async def test_type_of_a_dropped_view_is_read_whole_when_a_view_needs_it_again(
    clinic: Clinic,
) -> None:
    own = {
        "resourceType": "ViewDefinition",
        "name": "stays",
        "resource": "Encounter",
        "status": "active",
        "select": [{"column": [{"path": "getResourceKey()", "name": "id"}]}],
    }
    encounter = {"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"}}
    await clinic.put({**encounter, "id": "e1"})
    await register(clinic, own)
    await drop(clinic, "stays")
    await clinic.put({**encounter, "id": "e2"})
    await clinic.refresh()
    await register(clinic, own)
    assert (await clinic.ask("stays")).rows == (("e1",), ("e2",))


async def test_view_that_cannot_be_built_is_not_registered_and_stops_nobody(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("researchflow_runners.store.culprits.CULPRITS_MAX", 0)
    several = {**OWN, "select": [{"column": [{"path": "name.family", "name": "family"}]}]}
    await clinic.put(patient("b", name=[{"family": "B"}, {"family": "C"}]))
    with pytest.raises(RefreshError) as caught:
        await register(clinic, several)
    assert caught.value.code == "view_fails"
    assert caught.value.field == "own_names"
    result = await clinic.refresh()
    assert {view.name for view in result.views} == {"people"}
    assert result.changed == 1


@pytest.mark.parametrize(
    ("definition", "code"),
    [
        ({**PEOPLE_ACTIVE}, "view_is_shipped"),
        ({key: part for key, part in OWN.items() if key != "name"}, "view_without_name"),
    ],
)
async def test_name_that_cannot_be_registered_is_refused(
    clinic: Clinic, definition: dict[str, Any], code: str
) -> None:
    assert await refused(register(clinic, definition)) == code
    assert (await clinic.refresh()).retired == ()


async def test_only_registered_views_can_be_dropped(clinic: Clinic) -> None:
    await register(clinic, OWN)
    assert await refused(drop(clinic, "people")) == "view_is_shipped"
    with pytest.raises(QueryError) as caught:
        await drop(clinic, "own_name")
    assert caught.value.code == "unknown_view"
    assert caught.value.did_you_mean == "own_names"


async def test_number_of_registered_views_is_bounded(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REGISTERED_VIEWS_MAX > 1
    monkeypatch.setattr("researchflow_runners.batch.catalogue.REGISTERED_VIEWS_MAX", 1)
    await register(clinic, OWN)
    assert await refused(register(clinic, {**OWN, "name": "other"})) == "too_many_views"
    await register(clinic, {**OWN, "title": "replaced all the same"})


async def test_earlier_anchor_of_a_replaced_view_is_refused_not_answered_anew(
    clinic: Clinic,
) -> None:
    first = await register(clinic, {**PEOPLE, "name": "own"})
    await register(clinic, {**PEOPLE_ACTIVE, "name": "own"})
    assert await refused(clinic.ask("own", as_of=first.anchor)) == "anchor_before_view"


async def test_definition_that_this_release_refuses_is_named_and_can_be_dropped(
    clinic: Clinic,
) -> None:
    await register(clinic, OWN)
    outdated = """
    UPDATE researchflow.view_catalogue
    SET definition = jsonb_set(definition, '{select,0,column,0,path}', '"noSuchElement"')
    WHERE view_name = 'own_names'
    """
    await value(clinic, outdated)
    (failure,) = (await clinic.refresh()).set_aside
    assert (failure.view, failure.code) == ("own_names", "definition_outdated")
    assert "noSuchElement" in failure.reason
    assert (await drop(clinic, "own_names")).retired == ("own_names",)
    await clinic.refresh()
