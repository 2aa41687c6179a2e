"""Contents that HAPI before 7.0 kept as gzip in large objects, unpacked by Python.

They go to a temporary table of the snapshot's own session; PostgreSQL cannot unpack them.
"""

from __future__ import annotations

import zlib

import asyncpg

from researchflow_runners.errors import SourceDataError
from researchflow_runners.source.layout import LEGACY_TABLE, HapiLayout
from researchflow_runners.sql import EMPTY, Sql, compose, param

BATCH_ROWS = 500
CONTENT_BYTES_MAX = 256 * 1024 * 1024
_GZIP_WINDOW = 16 + zlib.MAX_WBITS

CREATE_LEGACY_TABLE = f"""
CREATE TEMPORARY TABLE {LEGACY_TABLE.removeprefix("pg_temp.")}
    (res_id bigint, res_ver bigint, text text, PRIMARY KEY (res_id, res_ver)) ON COMMIT DROP
"""

#: The version a reader may need: the head's, or the newest below it.
_PENDING = """
SELECT v.res_id, v.res_ver, lo_get(v.res_text) AS packed
  FROM hfj_resource r
 CROSS JOIN LATERAL (
       SELECT h.* FROM hfj_res_ver h WHERE h.res_id = r.res_id AND h.res_ver <= r.res_ver
        ORDER BY h.res_ver DESC LIMIT 1) v
 WHERE r.res_type = {type} AND r.res_deleted_at IS NULL AND v.res_encoding = 'JSONC'
   AND v.res_text IS NOT NULL{only}
   AND NOT EXISTS (SELECT FROM {table} l WHERE l.res_id = v.res_id AND l.res_ver = v.res_ver)
 LIMIT {rows}
"""


async def stage_compressed(
    connection: asyncpg.Connection, layout: HapiLayout, resource_type: str, only: Sql | None
) -> None:
    """LEGACY_TABLE holds every compressed content that `current_relation` would read."""
    if not layout.has_compressed:
        return
    query, arguments = compose(
        _PENDING,
        type=param(resource_type, "text"),
        only=compose(" AND r.res_id IN ({})", only) if only is not None else EMPTY,
        table=Sql((LEGACY_TABLE,)),
        rows=param(BATCH_ROWS, "bigint"),
    ).render()
    while rows := await connection.fetch(query, *arguments):
        unpacked = [(row["res_id"], row["res_ver"], _unpack(row["packed"])) for row in rows]
        await connection.copy_records_to_table(
            LEGACY_TABLE.removeprefix("pg_temp."), records=unpacked
        )


def _unpack(packed: bytes) -> str:
    """The JSON text, or the empty text when it cannot be unpacked: then parsing it fails."""
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        content = unpacker.decompress(packed, CONTENT_BYTES_MAX)
        if unpacker.unconsumed_tail:
            raise SourceDataError(
                f"a compressed resource unpacks to more than {CONTENT_BYTES_MAX} bytes",
                code="resource_too_large",
                hint="remove that resource from the source, or raise the limit",
            )
        return content.decode()
    except (zlib.error, UnicodeDecodeError):
        return ""
