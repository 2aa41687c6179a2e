"""A FHIR server by its tables, beside the plain truth of what it was told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from researchflow_runners.feed.prepare import install_outbox
from researchflow_runners.source.load import delete_resource, expunge, put_resource
from researchflow_runners.source.resource import Change, change_of
from researchflow_runners.source.tables import create_hapi_tables
from researchflow_runners.source.writer import Writer
from researchflow_runners.store.database import Database

#: In every name, and in no log and no metric.
PLANTED = "Unterhuberin"
TAG_IDS = {"vip": 1, "trial": 2}
DEFINE_TAG = """
INSERT INTO hfj_tag_def (tag_id, tag_type, tag_code) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING
"""
#: As $meta-add does: no version, no date, and no row of hfj_resource when it has tags already.
ADD_TAG = """
WITH one AS (SELECT res_id FROM hfj_resource WHERE fhir_id = $1 AND res_deleted_at IS NULL
             AND NOT EXISTS (SELECT FROM hfj_res_tag t
                             WHERE t.res_id = hfj_resource.res_id AND t.tag_id = $2)),
     said AS (UPDATE hfj_resource r SET has_tags = true FROM one
              WHERE r.res_id = one.res_id AND NOT has_tags)
INSERT INTO hfj_res_tag (pid, res_id, res_type, tag_id)
SELECT nextval('seq_restag_id'), res_id, 'Patient', $2 FROM one
"""
REMOVE_TAG = """
DELETE FROM hfj_res_tag t USING hfj_resource r
WHERE r.res_id = t.res_id AND r.fhir_id = $1 AND t.tag_id = $2
"""
TAGS = """
SELECT r.fhir_id, d.tag_code FROM hfj_resource r
JOIN hfj_res_tag t USING (res_id) JOIN hfj_tag_def d USING (tag_id)
"""
VERSION = "SELECT res_ver FROM hfj_resource WHERE fhir_id = $1"

#: Gender and date of birth; None is deleted.
State = tuple[str, str] | None


def resource_of(name: str, state: tuple[str, str]) -> dict[str, Any]:
    return {
        "resourceType": "Patient",
        "id": name,
        "gender": state[0],
        "birthDate": state[1],
        "name": [{"family": PLANTED, "given": [name]}],
    }


@dataclass
class Hospital:
    """`truth` is the newest state of each patient, `told` each that was, with its version."""

    database: Database
    truth: dict[str, State] = field(default_factory=dict)
    told: dict[str, list[tuple[State, int]]] = field(default_factory=dict)
    changes: int = 0

    async def put(self, name: str, state: tuple[str, str]) -> None:
        await put_resource(self.database, resource_of(name, state))
        await self._is_now(name, state)

    async def delete(self, name: str) -> None:
        await delete_resource(self.database, "Patient", name)
        await self._is_now(name, None)

    async def expunge(self, name: str) -> None:
        await expunge(self.database, "Patient", name)
        await self._is_now(name, None)

    @asynccontextmanager
    async def late(self, name: str, state: State) -> AsyncIterator[None]:
        """The change is made before what happens inside, and commits after it."""
        change = Change("Patient", name, None)
        if state is not None:
            change = change_of(resource_of(name, state), name)
        async with self.database.transaction() as session:
            await Writer().apply(session, [change])
            yield
        await self._is_now(name, state)

    async def add_tag(self, name: str, tag: str) -> None:
        await self._change_meta(ADD_TAG, name, tag)

    async def remove_tag(self, name: str, tag: str) -> None:
        await self._change_meta(REMOVE_TAG, name, tag)

    async def _change_meta(self, statement: str, name: str, tag: str) -> None:
        async with self.database.transaction() as session:
            await session.execute(statement, name, TAG_IDS[tag])
        self.changes += 1

    async def _is_now(self, name: str, state: State) -> None:
        self.truth[name] = state
        self.changes += 1
        async with self.database.session() as session:
            version = await session.fetchval(VERSION, name)
        self.told.setdefault(name, []).append((state, version or 0))

    @property
    def living(self) -> dict[str, State]:
        return {name: state for name, state in self.truth.items() if state}

    async def tags(self) -> dict[str, list[str | None]]:
        """Those of each patient that lives; one None where there are none."""
        async with self.database.session() as session:
            rows = await session.fetch(TAGS)
        return {name: [tag for on, tag in rows if on == name] or [None] for name in self.living}


async def open_hospital(dsn: str) -> Hospital:
    """That of the database, made with its outbox where there is none."""
    database = await Database.connect(dsn)
    await create_hapi_tables(database)
    await install_outbox(database)
    async with database.transaction() as session:
        for tag, number in TAG_IDS.items():
            await session.execute(DEFINE_TAG, number, tag)
    return Hospital(database)
