"""Contents that HAPI before 7.0 kept in large objects, read and unpacked by Python.

They go to a temporary table of the snapshot's own session: PostgreSQL cannot unpack gzip, and one
object that is missing or not UTF-8 would stop every statement that touches it.
"""

from __future__ import annotations

import zlib

import orjson

from researchflow_runners.errors import SourceDataError, StatementError
from researchflow_runners.source.layout import LEGACY_TABLE, HapiLayout, narrowed
from researchflow_runners.sql import Sql, compose, fixed, param
from researchflow_runners.store.database import Session

BATCH_ROWS = 500
CONTENT_BYTES_MAX = 256 * 1024 * 1024
_NAME = LEGACY_TABLE.removeprefix("pg_temp.")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_NO_RIGHTS_STATE = "42501"

CREATE_LEGACY_TABLE = f"""
CREATE TEMPORARY TABLE {_NAME}
    (res_id bigint, res_ver bigint, text text, reason text, PRIMARY KEY (res_id, res_ver))
    ON COMMIT DROP
"""

#: The version a reader may need: the head's, or the newest below it.
_PENDING = """
SELECT v.res_id, v.res_ver, v.res_encoding,
       CASE WHEN EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.oid = v.res_text)
            THEN lo_get(v.res_text, 0, {bytes_max}) END AS packed
  FROM hfj_resource r
 CROSS JOIN LATERAL (
       SELECT h.* FROM hfj_res_ver h
        WHERE h.res_id = r.res_id AND h.res_ver <= r.res_ver{same_partition}
        ORDER BY h.res_ver DESC LIMIT 1) v
 WHERE r.res_type = {type} AND r.res_deleted_at IS NULL AND v.res_encoding IN ('JSON', 'JSONC')
   AND v.res_text IS NOT NULL{without_text}{own}{only}
   AND NOT EXISTS (SELECT FROM {table} l WHERE l.res_id = v.res_id AND l.res_ver = v.res_ver)
 LIMIT {rows}
"""


class _Unreadable(Exception):
    """A content that cannot be read; the argument says why, and nothing of what is in it."""


async def stage_large_objects(
    session: Session, layout: HapiLayout, resource_type: str, only: Sql | None
) -> None:
    """LEGACY_TABLE holds every such content that `current_relation` would read."""
    if not layout.has_large_objects:
        return
    query = compose(
        _PENDING,
        type=param(resource_type, "text"),
        without_text=fixed(" AND v.res_text_vc IS NULL" if layout.has_text_vc else ""),
        same_partition=layout.same_partition("h"),
        own=layout.own(),
        only=narrowed(only),
        table=Sql((LEGACY_TABLE,)),
        rows=param(BATCH_ROWS, "bigint"),
        bytes_max=param(CONTENT_BYTES_MAX, "int"),
    )
    while rows := await _fetch(session, query):
        read = [(row["res_id"], row["res_ver"], *_read(row["res_encoding"], row["packed"]))
                for row in rows]  # fmt: skip
        columns = ["res_id", "res_ver", "text", "reason"]
        await session.copy_records(_NAME, columns=columns, records=read)


async def _fetch(session: Session, query: Sql) -> list[dict[str, object]]:
    try:
        return [dict(row) for row in await session.fetch(query)]
    except StatementError as error:
        if error.sqlstate != _NO_RIGHTS_STATE:
            raise
        raise SourceDataError(
            "the source's role may not read the large objects that hold resources",
            code="source_rights_missing",
            hint="as their owner run GRANT SELECT ON LARGE OBJECT for each, or as superuser "
            "ALTER ROLE … SET lo_compat_privileges = on",
            field="hfj_res_ver.res_text",
        ) from error


def _read(encoding: object, packed: object) -> tuple[str | None, str | None]:
    """The JSON text, or why there is none."""
    try:
        if not isinstance(packed, bytes):
            raise _Unreadable("its large object is missing")
        text = _decoded(_unpacked(packed) if encoding == "JSONC" else packed)
    except _Unreadable as error:
        return None, str(error)
    return text, None


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        content = unpacker.decompress(packed, CONTENT_BYTES_MAX)
    except zlib.error as error:
        raise _Unreadable("its large object is not gzip") from error
    if unpacker.unconsumed_tail:
        raise _Unreadable(f"it unpacks to more than {CONTENT_BYTES_MAX} bytes")
    if not unpacker.eof:
        raise _Unreadable("its large object ends within the gzip")
    return content


def _decoded(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _Unreadable("its large object is not UTF-8") from error
    try:
        orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _Unreadable("its large object is not JSON") from error
    if "\x00" in text:
        raise _Unreadable("its large object holds a character that PostgreSQL refuses")
    return text
