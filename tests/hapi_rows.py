"""Rows of HAPI's tables by hand, as servers of several ages write them, for tests."""

from __future__ import annotations

import json
from typing import Any

from researchflow_runners.source import SourceSnapshot
from researchflow_runners.sql import compose, param
from researchflow_runners.store.database import Session

UPDATED = "2024-05-01 10:00:00.125"
#: Tables as a migration from HAPI 5.7 to 6.2 left them: no fhir_id, contents in large objects.
OLD_TABLES = """
ALTER TABLE hfj_resource DROP COLUMN fhir_id, DROP COLUMN search_url_present,
                         DROP COLUMN res_type_id;
ALTER TABLE hfj_res_ver DROP COLUMN source_uri, DROP COLUMN request_id, DROP COLUMN res_type_id;
CREATE TABLE hfj_forced_id (
    pid bigint PRIMARY KEY, partition_id integer, partition_date date,
    forced_id varchar(100) NOT NULL, resource_pid bigint NOT NULL, resource_type varchar(100));
"""
#: Where HAPI before 6.8 kept meta.source.
PROVENANCE = """
CREATE TABLE hfj_res_ver_prov (
    res_ver_pid bigint PRIMARY KEY, partition_id integer, partition_date date,
    request_id varchar(16), res_pid bigint NOT NULL, source_uri varchar(768));
"""
#: Tables of a server in database partition mode.
PARTITIONED_TABLES = """
ALTER TABLE hfj_res_ver DROP CONSTRAINT fk_resource_history_resource;
ALTER TABLE hfj_res_tag DROP CONSTRAINT fk_restag_resource;
ALTER TABLE hfj_resource DROP CONSTRAINT hfj_resource_pkey, ALTER partition_id SET NOT NULL,
    ADD PRIMARY KEY (res_id, partition_id), DROP CONSTRAINT idx_res_type_fhir_id,
    ADD CONSTRAINT idx_res_type_fhir_id UNIQUE (partition_id, res_type, fhir_id);
ALTER TABLE hfj_res_ver DROP CONSTRAINT idx_resver_id_ver, ALTER partition_id SET NOT NULL,
    ADD CONSTRAINT idx_resver_id_ver UNIQUE (partition_id, res_id, res_ver);
"""


async def add_head(
    session: Session,
    res_id: int,
    version: int,
    *,
    fhir_id: str | None = None,
    deleted: bool = False,
    **more: Any,
) -> None:
    """A row of hfj_resource."""
    values: dict[str, Any] = {
        "res_id": res_id,
        "res_type": "Patient",
        "res_ver": version,
        "has_tags": False,
        "res_deleted_at": UPDATED if deleted else None,
        **dict.fromkeys(("res_published", "res_updated"), UPDATED),
        **dict.fromkeys(
            [f"sp_{kind}_present" for kind in (
                "coords", "date", "number", "quantity_nrml", "quantity", "string", "token", "uri"
            )],
            False,
        ),
        "sp_has_links": False,
        **({"fhir_id": fhir_id} if fhir_id else {}),
        **more,
    }  # fmt: skip
    await insert(session, "hfj_resource", values)


async def add_version(
    session: Session, res_id: int, version: int, *, encoding: str = "JSON", **more: Any
) -> None:
    """A row of hfj_res_ver."""
    values = {
        "pid": res_id * 100 + version,
        "res_id": res_id,
        "res_type": "Patient",
        "res_ver": version,
        "has_tags": False,
        "res_published": UPDATED,
        "res_updated": UPDATED,
        "res_encoding": encoding,
        **more,
    }
    await insert(session, "hfj_res_ver", values)


async def insert(session: Session, table: str, values: dict[str, Any]) -> None:
    """One row."""
    await session.execute(
        f"INSERT INTO {table} ({', '.join(values)}) "
        f"SELECT {', '.join(values)} FROM json_populate_record(NULL::{table}, $1::json)",
        json.dumps(values),
    )


async def add_tag(
    session: Session, tag_id: int, code: str, *, kind: int = 0, on: int | None = None, **more: Any
) -> None:
    """A row of hfj_tag_def, and one of hfj_res_tag for the Patient `on`."""
    await insert(
        session,
        "hfj_tag_def",
        {"tag_id": tag_id, "tag_type": kind, "tag_code": code, **more},
    )
    if on is not None:
        await tag(session, on, tag_id)


async def tag(session: Session, res_id: int, tag_id: int) -> None:
    """Puts a tag on a Patient as $meta-add does: no version, no date."""
    row = {"pid": res_id * 100 + tag_id, "res_id": res_id, "res_type": "Patient", "tag_id": tag_id}
    await insert(session, "hfj_res_tag", row)
    await session.execute("UPDATE hfj_resource SET has_tags = true WHERE res_id = $1", res_id)


async def current(
    snapshot: SourceSnapshot, *, with_meta: bool = False, only: int | None = None
) -> dict[str, tuple[int, str, Any]]:
    """Version, text and meta of each current Patient by id."""
    narrowed = compose("(SELECT {} AS res_id)", param(only, "bigint")) if only else None
    relation = await snapshot.current("Patient", with_meta=with_meta, only=narrowed)
    rows = await snapshot.session.fetch(compose("SELECT * FROM {} AS c", relation))
    return {
        row["id"]: (row["version"], row["text"], json.loads(row["meta"]) if row["meta"] else None)
        for row in rows
    }
