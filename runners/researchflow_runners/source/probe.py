"""What the tables of one HAPI database look like: looked up, never inferred from a version."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_runners.errors import SourceDataError
from researchflow_runners.source.layout import HapiLayout
from researchflow_runners.source.options import DEFAULT_PARTITION, SourceOptions
from researchflow_runners.sql import compose
from researchflow_runners.store.database import Session

TABLES = ("hfj_resource", "hfj_res_ver", "hfj_res_tag", "hfj_tag_def")
#: Without these a table of that name is none of HAPI's; other columns come and go.
NEEDED = {
    "hfj_resource": ("res_id", "res_type", "res_ver", "res_deleted_at", "res_updated", "has_tags"),
    "hfj_res_ver": ("res_id", "res_type", "res_ver", "res_encoding", "res_updated"),
    "hfj_res_tag": ("res_id", "res_type", "tag_id"),
    "hfj_tag_def": ("tag_id", "tag_type", "tag_system", "tag_code", "tag_display"),
}
PARTITIONS_SHOWN_MAX = 20

_COLUMNS = """
SELECT c.relname AS table_name, a.attname AS column_name
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE a.attrelid = ANY (ARRAY[to_regclass('hfj_resource'), to_regclass('hfj_res_ver'),
                               to_regclass('hfj_forced_id'), to_regclass('hfj_res_tag'),
                               to_regclass('hfj_tag_def'),
                               to_regclass('hfj_res_ver_prov')]::oid[])
   AND a.attnum > 0 AND NOT a.attisdropped
"""
#: to_regclass finds nothing in a schema that the role may not use.
_HIDDEN = """
SELECT n.nspname AS schema, current_user AS role FROM pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname = 'hfj_resource' AND c.relkind IN ('r', 'p')
   AND n.nspname = ANY (string_to_array(replace(current_setting('search_path'), ' ', ''), ','))
   AND NOT has_schema_privilege(n.oid, 'USAGE') LIMIT 1
"""
_FORBIDDEN = """
SELECT t.name, n.nspname AS schema, current_user AS role
  FROM unnest($1::text[]) AS t (name)
  JOIN pg_class c ON c.oid = to_regclass(t.name) JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT has_table_privilege(c.oid, 'SELECT') ORDER BY t.name LIMIT 1
"""
#: Partition mode puts the partition into the primary key.
_PARTITIONED = """
SELECT EXISTS (SELECT FROM pg_index i
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                WHERE i.indrelid = to_regclass('hfj_resource') AND i.indisprimary
                  AND a.attname = 'partition_id')
"""
#: A unique index on these alone proves that no id stands twice.
_IS_UNIQUE = """
SELECT EXISTS (SELECT FROM pg_index i
                WHERE i.indrelid = to_regclass($1) AND i.indisunique AND i.indisvalid
                  AND i.indpred IS NULL AND i.indexprs IS NULL
                  AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text)
                         FROM pg_attribute a WHERE a.attrelid = i.indrelid
                          AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) = $2::text[])
"""
_REPEATED = """
SELECT k.res_type, array_agg(DISTINCT coalesce(r.partition_id::text, 'default')) AS partitions
  FROM (SELECT n.res_type, n.id FROM {keys} n WHERE NOT n.deleted
         GROUP BY n.res_type, n.id HAVING count(*) > 1 LIMIT 1) d
  JOIN {keys} k ON k.res_type = d.res_type AND k.id = d.id AND NOT k.deleted
  JOIN hfj_resource r ON r.res_id = k.res_id GROUP BY k.res_type
"""
#: The first chosen partition without a row; one stops at the first row of each that has any.
_WITHOUT_ROWS = """
SELECT p.name FROM unnest($1::text[]) WITH ORDINALITY AS p (name, place)
 WHERE CASE WHEN p.name = $2 THEN NOT EXISTS (SELECT FROM hfj_resource WHERE partition_id IS NULL)
                                  AND EXISTS (SELECT FROM hfj_resource)
            ELSE NOT EXISTS (SELECT FROM hfj_resource WHERE partition_id = p.name::int) END
 ORDER BY p.place LIMIT 1
"""
_PARTITIONS = """
SELECT coalesce(d.partition_id::text, $1)
  FROM (SELECT DISTINCT partition_id FROM hfj_resource) d ORDER BY d.partition_id LIMIT $2
"""
_TYPES = "SELECT DISTINCT res_type FROM hfj_resource"
_WITHOUT_FHIR_ID = "SELECT EXISTS (SELECT FROM hfj_resource WHERE fhir_id IS NULL)"
#: The first is cheap and false in every database that began with HAPI 7.
_LARGE_OBJECTS = "SELECT EXISTS (SELECT FROM pg_largeobject_metadata)"
_IN_LARGE_OBJECTS = "SELECT EXISTS (SELECT FROM hfj_res_ver WHERE res_text IS NOT NULL)"


async def probe(session: Session, options: SourceOptions) -> HapiLayout:
    """The layout of the HAPI tables on the session's search path.

    SourceDataError `source_tables_missing` when there are none, `source_schema_unknown` when
    they are not HAPI's, `source_rights_missing` when the role may not read them,
    `source_partition_unknown` when a chosen partition has no row, `source_ids_repeat` when one id
    stands for several resources.
    """
    found = {(row["table_name"], row["column_name"]) for row in await session.fetch(_COLUMNS)}
    await _require_tables(session, found)
    has_fhir_id_column = ("hfj_resource", "fhir_id") in found
    has_fhir_id = has_fhir_id_column and not await session.fetchval(_WITHOUT_FHIR_ID)
    has_large_object_column = ("hfj_res_ver", "res_text") in found
    layout = HapiLayout(
        has_fhir_id=has_fhir_id,
        has_fhir_id_column=has_fhir_id_column,
        has_forced_id=not has_fhir_id and ("hfj_forced_id", "forced_id") in found,
        has_text_vc=("hfj_res_ver", "res_text_vc") in found,
        has_large_object_column=has_large_object_column,
        has_large_objects=has_large_object_column
        and await session.fetchval(_LARGE_OBJECTS)
        and await session.fetchval(_IN_LARGE_OBJECTS),
        has_source_uri=("hfj_res_ver", "source_uri") in found,
        has_provenance=_has_provenance(found),
        has_request_id=("hfj_res_ver", "request_id") in found,
        has_tag_versions={("hfj_tag_def", "tag_version"), ("hfj_tag_def", "tag_user_selected")}
        <= found,
        is_partitioned=await session.fetchval(_PARTITIONED),
        options=options,
    )
    await _require_partitions(session, options)
    await _require_unique_ids(session, layout)
    return layout


async def _require_tables(session: Session, found: set[tuple[str, str]]) -> None:
    for table in TABLES:
        if not any(name == table for name, _column in found):
            hidden = await session.fetchrow(_HIDDEN)
            raise _no_schema(hidden["schema"], hidden["role"]) if hidden else _missing(table)
        for column in NEEDED[table]:
            if (table, column) not in found:
                raise _unknown(table, column)
    read = [*TABLES, *["hfj_forced_id"] * (("hfj_forced_id", "forced_id") in found)]
    read += ["hfj_res_ver_prov"] * _has_provenance(found)
    forbidden = await session.fetchrow(_FORBIDDEN, read)
    if forbidden is not None:
        raise _forbidden(forbidden["schema"], forbidden["name"], forbidden["role"], read)


def _has_provenance(found: set[tuple[str, str]]) -> bool:
    """Whether meta.source is kept there: since HAPI 6.8 it is in the version itself."""
    return ("hfj_res_ver_prov", "source_uri") in found and (
        "hfj_res_ver",
        "source_uri",
    ) not in found


async def _require_partitions(session: Session, options: SourceOptions) -> None:
    """A partition that is not there would be read as one without patients.

    A server that holds nothing yet has its default partition.
    """
    chosen = list(options.partitions)
    unknown = await session.fetchval(_WITHOUT_ROWS, chosen, DEFAULT_PARTITION) if chosen else None
    if unknown is None:
        return
    rows = await session.fetch(_PARTITIONS, DEFAULT_PARTITION, PARTITIONS_SHOWN_MAX)
    raise SourceDataError(
        f'the source has no resource in the partition "{unknown}"',
        code="source_partition_unknown",
        hint="set RESEARCHFLOW_SOURCE_PARTITIONS to partitions that have resources, or unset it "
        "to read all",
        field="RESEARCHFLOW_SOURCE_PARTITIONS",
        allowed=[row[0] for row in rows] or [DEFAULT_PARTITION],
    )


async def _require_unique_ids(session: Session, layout: HapiLayout) -> None:
    """One id in several partitions would be one row in a view for each, with nothing to tell."""
    if await _ids_are_unique(session, layout):
        return
    types = [row[0] for row in await session.fetch(_TYPES)]
    repeated = await session.fetchrow(compose(_REPEATED, keys=layout.keys_relation(types)))
    if repeated is None:
        return
    partitions = ", ".join(sorted(repeated["partitions"])[:PARTITIONS_SHOWN_MAX])
    raise SourceDataError(
        f'one id of "{repeated["res_type"]}" stands for several resources, '
        f"in partitions {partitions}",
        code="source_ids_repeat",
        hint="set RESEARCHFLOW_SOURCE_PARTITIONS to the one to read; a deployment per partition "
        "keeps them apart",
        field="RESEARCHFLOW_SOURCE_PARTITIONS",
        allowed=sorted(repeated["partitions"])[:PARTITIONS_SHOWN_MAX],
    )


async def _ids_are_unique(session: Session, layout: HapiLayout) -> bool:
    """Whether the tables' own keys prove it, without a look at the rows."""
    if layout.has_forced_id and not await _is_unique(
        session, "hfj_forced_id", "forced_id", "resource_type"
    ):
        return False
    if not layout.has_fhir_id_column:
        return True
    if await _is_unique(session, "hfj_resource", "fhir_id", "res_type"):
        return True
    # Unique within a partition says nothing where that is NULL.
    is_one = len(layout.options.partitions) == len(layout.options.partition_ids) == 1
    within = ("fhir_id", "partition_id", "res_type")
    return is_one and await _is_unique(session, "hfj_resource", *within)


async def _is_unique(session: Session, table: str, *columns: str) -> bool:
    return bool(await session.fetchval(_IS_UNIQUE, table, list(columns)))


def _missing(table: str) -> SourceDataError:
    return SourceDataError(
        f'the source database has no table "{table}"',
        code="source_tables_missing",
        hint="give the DSN of a HAPI FHIR JPA database, or fill the embedded one with "
        "`researchflow load`",
        field="source",
    )


def _unknown(table: str, column: str) -> SourceDataError:
    return SourceDataError(
        f'the table "{table}" of the source has no column "{column}", so it is no HAPI '
        "database that researchflow knows",
        code="source_schema_unknown",
        hint="check that RESEARCHFLOW_SOURCE_URL names the database of a HAPI FHIR JPA server of "
        "version 5 or later",
        field=f"{table}.{column}",
    )


def _forbidden(schema: str, table: str, role: str, read: Sequence[str]) -> SourceDataError:
    tables = ", ".join(f"{schema}.{name}" for name in read)
    return SourceDataError(
        f'the role "{role}" may not read the table "{table}" of the source',
        code="source_rights_missing",
        hint=f'as the tables\' owner run: GRANT SELECT ON {tables} TO "{role}"',
        field=table,
    )


def _no_schema(schema: str, role: str) -> SourceDataError:
    return SourceDataError(
        f'the role "{role}" may not use the schema "{schema}" of the source',
        code="source_rights_missing",
        hint=f'as the schema\'s owner run: GRANT USAGE ON SCHEMA {schema} TO "{role}"',
        field=schema,
    )
