"""What a source looks like, in figures for people; a bounded look, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.source.reader import HapiSource
from researchflow_runners.source.replay import replayed_at
from researchflow_runners.sql import compose, param

TIMEOUT_S = 20.0
#: So many rows of a table are looked at; of a larger one a sample of its pages.
SAMPLE_ROWS = 200_000

_SERVER = "SELECT current_setting('server_version')"
_ESTIMATE = """
SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = 'hfj_res_ver'::regclass
"""
_ENCODINGS = """
SELECT res_encoding AS name, count(*) AS n
  FROM hfj_res_ver TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1) GROUP BY 1 ORDER BY 2 DESC, 1
"""
_PARTITIONS = """
SELECT coalesce(r.partition_id::text, 'default') AS name, count(*) AS n
  FROM hfj_resource r TABLESAMPLE SYSTEM ({percent}) REPEATABLE (1) GROUP BY 1 ORDER BY 2 DESC, 1
"""
_TAGS = """
SELECT CASE tag_type WHEN 0 THEN 'tags' WHEN 1 THEN 'profiles' ELSE 'security labels' END AS name,
       count(*) AS n FROM hfj_tag_def GROUP BY tag_type ORDER BY tag_type
"""


@dataclass(frozen=True, slots=True)
class SourceFindings:
    """One database: how it keeps ids and contents, and how it is read.

    `encodings` and `partitions` count versions and resources, of a sample of `sampled_percent`.
    `tags` counts definitions. `contents` names the columns that hold contents.
    """

    server_version: str
    is_replica: bool
    ids: str
    contents: tuple[str, ...]
    is_partition_mode: bool
    encodings: dict[str, int]
    partitions: dict[str, int]
    tags: dict[str, int]
    sampled_percent: float
    zone: str
    base_urls: tuple[str, ...]
    read_partitions: tuple[str, ...]


async def look_at_source(source: HapiSource) -> SourceFindings:
    """The findings; errors as `probe`."""
    async with source.snapshot(statement_timeout_s=TIMEOUT_S) as snapshot:
        session, layout = snapshot.session, snapshot.layout
        estimate = await session.fetchval(_ESTIMATE)
        percent = min(100.0, 100.0 * SAMPLE_ROWS / estimate) if estimate else 100.0

        async def counted(statement: str) -> dict[str, int]:
            sampled = compose(statement, percent=param(percent, "float4"))
            return {row["name"]: row["n"] for row in await session.fetch(sampled)}

        return SourceFindings(
            server_version=str(await session.fetchval(_SERVER)).partition(" ")[0],
            is_replica=await replayed_at(session) is not None,
            ids=_ids(layout.has_fhir_id, layout.has_fhir_id_column, layout.has_forced_id),
            contents=("res_text_vc",) * layout.has_text_vc
            + ("res_text (large objects)",) * layout.has_large_objects,
            is_partition_mode=layout.is_partitioned,
            encodings=await counted(_ENCODINGS),
            partitions=await counted(_PARTITIONS),
            tags=await counted(_TAGS),
            sampled_percent=round(percent, 3),
            zone=source.options.zone,
            base_urls=source.options.base_urls,
            read_partitions=source.options.partitions,
        )


def _ids(has_fhir_id: bool, has_fhir_id_column: bool, has_forced_id: bool) -> str:
    if has_fhir_id:
        return "fhir_id"
    places = ["fhir_id"] * has_fhir_id_column + ["hfj_forced_id"] * has_forced_id
    return ", else ".join([*places, "res_id"])
