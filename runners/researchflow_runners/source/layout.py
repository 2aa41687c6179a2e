"""What the HAPI tables of one database look like, and SQL that reads them alike.

HAPI's tables changed over the years and a migrated database keeps the traces, so columns are
looked up, never inferred from a version. `HapiLayout` is pure: it turns those findings into
relations; `reader.py` makes the findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param

#: Longer numbers cannot be a bigint key.
KEY_DIGITS_MAX = 18
#: Filled by `legacy.py` with the contents that only Python can decompress.
LEGACY_TABLE = "pg_temp.researchflow_legacy_text"

_KEYS = """(SELECT r.res_id, r.res_type::text COLLATE "C" AS res_type, {id} AS id, r.res_ver,
       r.res_deleted_at IS NOT NULL AS deleted, r.res_updated AT TIME ZONE {zone} AS updated_at
  FROM hfj_resource r{forced}
 WHERE r.res_type = ANY ({types}){only})"""

#: The equality join misses heads whose history row was never written (HAPI 8.4 to 8.8); HAPI
#: then serves the next lower version, and so does `b`, which is looked for only then.
_CURRENT = """(SELECT r.res_id, {id} AS id, r.res_ver AS version, {text} AS text, {meta} AS meta
  FROM hfj_resource r
  LEFT JOIN hfj_res_ver e ON e.res_id = r.res_id AND e.res_ver = r.res_ver{partition_exact}
            AND e.res_type = {type}
  LEFT JOIN LATERAL (
       SELECT h.* FROM hfj_res_ver h
        WHERE e.res_id IS NULL AND h.res_id = r.res_id AND h.res_ver < r.res_ver{partition_before}
        ORDER BY h.res_ver DESC LIMIT 1) b ON e.res_id IS NULL
 CROSS JOIN LATERAL (SELECT {version}) v{joins}
 WHERE r.res_type = {type} AND r.res_deleted_at IS NULL AND v.res_encoding <> 'DEL'{only})"""
#: Faster over a whole type, and louder: a head without content of its own is an empty text.
_STRICT = """(SELECT r.res_id, {id} AS id, r.res_ver AS version, {text} AS text, {meta} AS meta
  FROM hfj_resource r
  LEFT JOIN hfj_res_ver v ON v.res_id = r.res_id AND v.res_ver = r.res_ver{same_partition}
            AND v.res_type = {type} AND v.res_encoding <> 'DEL'{joins}
 WHERE r.res_type = {type} AND r.res_deleted_at IS NULL{only})"""

#: Tags of the tables win; a resource without any there keeps the ones in its own text.
_META = """(coalesce(CASE WHEN NOT r.has_tags AND strpos({text}, '"meta"') > 0
                          THEN ({text})::jsonb -> 'meta' END, '{{}}')
        || jsonb_strip_nulls(jsonb_build_object(
             'versionId', v.res_ver::text,
             'lastUpdated', to_char(v.res_updated AT TIME ZONE {zone} AT TIME ZONE 'UTC',
                                    'YYYY-MM-DD"T"HH24:MI:SS.MS"+00:00"'),
             'source', {source}))
        || CASE WHEN r.has_tags THEN (
             SELECT jsonb_strip_nulls(jsonb_build_object(
                      'profile', jsonb_agg(t.tag_code ORDER BY t.tag_code COLLATE "C")
                                 FILTER (WHERE t.tag_type = 1),
                      'security', jsonb_agg({coding} ORDER BY t.tag_system COLLATE "C",
                                                              t.tag_code COLLATE "C")
                                  FILTER (WHERE t.tag_type = 2),
                      'tag', jsonb_agg({coding} ORDER BY t.tag_system COLLATE "C",
                                                         t.tag_code COLLATE "C")
                             FILTER (WHERE t.tag_type = 0)))
               FROM hfj_res_tag rt JOIN hfj_tag_def t ON t.tag_id = rt.tag_id
              WHERE rt.res_id = r.res_id) ELSE '{{}}' END)"""
_LARGE_OBJECT = "CASE v.res_encoding WHEN 'JSON' THEN convert_from(lo_get(v.res_text), 'UTF8') END"
_CODING = "jsonb_build_object('system', t.tag_system, 'code', t.tag_code, 'display', t.tag_display)"


@dataclass(frozen=True, slots=True)
class HapiLayout:
    """The findings about one database, and the relations that follow from them.

    `has_fhir_id` says that every resource has its id in the column of that name; else
    `has_fhir_id_column` and `has_forced_id` say where to look, and what is in neither is named
    by its key. `has_compressed` says that some contents are gzip in large objects:
    `current_relation` then reads LEGACY_TABLE, which must hold them (`SourceSnapshot.current` sees
    to that).
    `zone` is the zone in which the server writes its timestamps.
    """

    has_fhir_id: bool = True
    has_fhir_id_column: bool = True
    has_forced_id: bool = False
    has_text_vc: bool = True
    has_large_objects: bool = False
    has_compressed: bool = False
    has_source_uri: bool = True
    has_request_id: bool = True
    is_partitioned: bool = False
    zone: str = "UTC"

    def keys_relation(self, resource_types: Iterable[str], *, only: Sql | None = None) -> Sql:
        """One row per resource of these types, deleted ones too.

        Columns: res_id, res_type, id, res_ver, deleted, updated_at (timestamptz). `only` is
        a relation with a column res_id that narrows it.
        """
        return compose(
            _KEYS,
            id=self._id(),
            zone=param(self.zone, "text"),
            forced=self._forced_join(),
            types=param(sorted(set(resource_types)), "text[]"),
            only=narrowed(only),
        )

    def current_relation(
        self,
        resource_type: str,
        *,
        with_meta: bool,
        only: Sql | None = None,
        is_strict: bool = False,
    ) -> Sql:
        """The newest content of each resource of the type that is not deleted.

        Columns: res_id, id, version (as in `keys_relation`), text, meta. `only` is a relation
        with a column res_id that narrows it. A content that is not in the database is an empty
        text, so that parsing it fails rather than yielding nulls. `is_strict` reads
        faster: a resource whose newest version has no content of its own is an empty text too,
        instead of falling back to the version before.
        """
        text = self._text()
        return compose(
            _STRICT if is_strict else _CURRENT,
            id=self._id(),
            text=text,
            meta=self._meta(text) if with_meta else fixed("NULL::jsonb"),
            type=param(resource_type, "text"),
            joins=compose("{}{}", self._forced_join(), self._legacy_join()),
            only=narrowed(only),
            version=self._version(),
            same_partition=self._same_partition("v"),
            partition_before=self._same_partition("h"),
            partition_exact=self._same_partition("e"),
        )

    def candidates(self, ids: Sequence[str]) -> Sql:
        """A relation of res_id, found by index, with every resource of one of these ids."""
        named = param(list(ids), "text[]")
        places: list[Sql] = []
        if self.has_fhir_id_column:
            places.append(
                compose("SELECT res_id FROM hfj_resource WHERE fhir_id = ANY ({})", named)
            )
        if self.has_forced_id:
            places.append(
                compose(
                    "SELECT resource_pid AS res_id FROM hfj_forced_id WHERE forced_id = ANY ({})",
                    named,
                )
            )
        if not self.has_fhir_id:
            numbers = [int(one) for one in ids if one.isdecimal() and len(one) <= KEY_DIGITS_MAX]
            places.append(compose("SELECT unnest({}) AS res_id", param(numbers, "bigint[]")))
        return compose("({})", join(" UNION ALL ", places))

    def _id(self) -> Sql:
        if self.has_fhir_id:
            return fixed('r.fhir_id::text COLLATE "C"')
        known = ["r.fhir_id"] * self.has_fhir_id_column + ["f.forced_id"] * self.has_forced_id
        return fixed(f'coalesce({", ".join([*known, "r.res_id::text"])})::text COLLATE "C"')

    def _forced_join(self) -> Sql:
        if not self.has_forced_id:
            return EMPTY
        return fixed("\n  LEFT JOIN hfj_forced_id f ON f.resource_pid = r.res_id")

    def _legacy_join(self) -> Sql:
        if not self.has_compressed:
            return EMPTY
        return fixed(
            f"\n  LEFT JOIN {LEGACY_TABLE} l ON l.res_id = v.res_id AND l.res_ver = v.res_ver"
        )

    def _same_partition(self, alias: str) -> Sql:
        if not self.is_partitioned:
            return EMPTY
        return fixed(f" AND {alias}.partition_id = r.partition_id")

    def _version(self) -> Sql:
        """The columns of the version to serve: the newest's, else those of the one before."""
        names = ["res_id", "res_ver", "res_updated", "res_encoding"]
        names += ["res_text_vc"] * self.has_text_vc + ["res_text"] * self.has_large_objects
        names += ["source_uri"] * self.has_source_uri + ["request_id"] * self.has_request_id
        return fixed(", ".join(f"coalesce(e.{name}, b.{name}) AS {name}" for name in names))

    def _text(self) -> Sql:
        places = ["v.res_text_vc"] * self.has_text_vc
        if self.has_compressed:
            places.append("l.text")
        if self.has_large_objects:
            places.append(_LARGE_OBJECT)
        return fixed("coalesce(" + ", ".join([*places, "''"]) + ")")

    def _meta(self, text: Sql) -> Sql:
        source = "NULL::text"
        if self.has_source_uri:
            source = "v.source_uri"
            if self.has_request_id:
                source = "v.source_uri || coalesce('#' || v.request_id, '')"
        return compose(
            _META,
            text=text,
            zone=param(self.zone, "text"),
            source=fixed(source),
            coding=fixed(_CODING),
        )


def narrowed(only: Sql | None) -> Sql:
    """The condition that keeps only the resources of the relation; none when it is None."""
    if only is None:
        return EMPTY
    return compose(" AND r.res_id IN (SELECT o.res_id FROM {} AS o)", only)
