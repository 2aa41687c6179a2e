"""Contents that HAPI before 7.0 kept as gzip in large objects, unpacked by Python.

They go to a temporary table of the snapshot's own session; PostgreSQL cannot unpack them.
"""

from __future__ import annotations

import zlib

from researchflow_runners.errors import SourceDataError
from researchflow_runners.source.layout import LEGACY_TABLE, HapiLayout, narrowed
from researchflow_runners.sql import Sql, compose, param
from researchflow_runners.store.database import Session

BATCH_ROWS = 500
CONTENT_BYTES_MAX = 256 * 1024 * 1024
_NAME = LEGACY_TABLE.removeprefix("pg_temp.")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS

CREATE_LEGACY_TABLE = f"""
CREATE TEMPORARY TABLE {_NAME}
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
    session: Session, layout: HapiLayout, resource_type: str, only: Sql | None
) -> None:
    """LEGACY_TABLE holds every compressed content that `current_relation` would read."""
    if not layout.has_compressed:
        return
    query = compose(
        _PENDING,
        type=param(resource_type, "text"),
        only=narrowed(only),
        table=Sql((LEGACY_TABLE,)),
        rows=param(BATCH_ROWS, "bigint"),
    )
    while rows := await session.fetch(query):
        unpacked = [(row["res_id"], row["res_ver"], _unpack(row["packed"])) for row in rows]
        await session.copy_records(_NAME, columns=["res_id", "res_ver", "text"], records=unpacked)


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
