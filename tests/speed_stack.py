"""The speed layer as a server has it: warehouse, source, Redis, projector, writer, refresher."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from researchflow_runners.batch.refresher import Refresher
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.source.options import SourceOptions
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.speed.known import Key
from researchflow_runners.speed.projector import Projector
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.speed.writer import ChangeWriter
from researchflow_runners.store.database import Database
from researchflow_runners.views import shipped_views

_RES_ID = "SELECT res_id FROM hfj_resource WHERE res_type = $1 AND fhir_id = $2"
_NEXT = "SELECT coalesce(max(res_id), 0) + 1 FROM hfj_resource"
_HEAD = """
INSERT INTO hfj_resource (res_id, res_type, fhir_id, res_ver, res_deleted_at, res_published,
    res_updated, has_tags, sp_has_links, sp_coords_present, sp_date_present, sp_number_present,
    sp_quantity_nrml_present, sp_quantity_present, sp_string_present, sp_token_present,
    sp_uri_present)
VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN now() END, now(), now(), false, false, false, false,
    false, false, false, false, false, false)
ON CONFLICT (res_id) DO UPDATE
SET res_ver = excluded.res_ver, res_deleted_at = excluded.res_deleted_at
"""
_VERSION = """
INSERT INTO hfj_res_ver (pid, res_id, res_type, res_ver, res_deleted_at, res_published,
    res_updated, has_tags, res_encoding, res_text_vc)
SELECT coalesce(max(pid), 0) + 1, $1, $2, $3, CASE WHEN $4::text IS NULL THEN now() END, now(),
    now(), false, CASE WHEN $4::text IS NULL THEN 'DEL' ELSE 'JSON' END, $4
FROM hfj_res_ver
"""


@dataclass
class SpeedStack:
    """Everything connected to one database, which is warehouse and source at once."""

    database: Database
    redis: RedisClient
    views: list[CompiledView]
    projector: Projector
    writer: ChangeWriter
    refresher: Refresher

    async def at_source(
        self,
        resource_type: str,
        resource_id: str,
        version: int,
        resource: Mapping[str, Any] | None,
    ) -> None:
        """Makes this the source's newest state; None deletes."""
        await store_version(self.database, (resource_type, resource_id), version, resource)

    async def live(self, view: str, columns: str) -> list[tuple[Any, ...]]:
        """Sorted rows of the merged view."""
        async with self.database.session() as session:
            rows = await session.fetch(f"SELECT {columns} FROM sqlonfhir_live.{view} ORDER BY 1")
        return [tuple(row) for row in rows]

    async def let_a_day_pass(self) -> None:
        """Moves every entry into the past by more than the time that a provisional one lives."""
        await self.value(
            "UPDATE researchflow.overlay_entry SET valid_from = valid_from - interval '25 h',"
            " valid_until = valid_until - interval '25 h'"
        )

    async def value(self, statement: str, *args: Any) -> Any:
        async with self.database.session() as session:
            return await session.fetchval(statement, *args)


@asynccontextmanager
async def speed_stack(
    dsn: str,
    redis_url: str,
    views: list[CompiledView],
    options: SourceOptions | None = None,
) -> AsyncIterator[SpeedStack]:
    """A connected stack whose views are not yet published."""
    database = await Database.connect(dsn)
    await database.install_schema()
    redis = await RedisClient.connect(redis_url)
    projector = Projector(database, redis, views)
    source = HapiSource(database, options or SourceOptions())
    writer = ChangeWriter(database=database, redis=redis, projector=projector, source=source)
    refresher = Refresher(database, source, views)
    try:
        yield SpeedStack(database, redis, views, projector, writer, refresher)
    finally:
        await redis.close()
        await database.close()


async def store_version(
    source: Database, key: Key, version: int, resource: Mapping[str, Any] | None
) -> None:
    """Makes this the source's newest state; None deletes."""
    resource_type, resource_id = key
    text = None
    if resource is not None:
        kept = {key: value for key, value in resource.items() if key not in ("id", "meta")}
        text = json.dumps(kept)
    async with source.transaction() as session:
        res_id = await session.fetchval(_RES_ID, resource_type, resource_id)
        res_id = res_id or await session.fetchval(_NEXT)
        await session.execute(_HEAD, res_id, resource_type, resource_id, version, resource is None)
        await session.execute(_VERSION, res_id, resource_type, version, text)


def definition(name: str) -> dict[str, Any]:
    """The shipped ViewDefinition of that name."""
    return next(view for view in shipped_views() if view["name"] == name)


def compiled(name: str) -> CompiledView:
    """The shipped view of that name."""
    return compile_view(definition(name))


def patient(patient_id: str, gender: str = "female", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": patient_id, "gender": gender, **more}
