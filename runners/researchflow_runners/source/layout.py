"""What the HAPI tables of one database look like, and SQL that reads them alike.

HAPI's tables changed over the years and a migrated database keeps the traces, so columns are
looked up, never inferred from a version. `HapiLayout` is pure: it turns those findings into
relations; `reader.py` makes the findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from researchflow_runners.source.meta import meta_of_tables
from researchflow_runners.source.options import DEFAULT_PARTITION, SourceOptions
from researchflow_runners.source.references import relative_sql
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param

#: Longer numbers cannot be a bigint key.
KEY_DIGITS_MAX = 18
#: Filled by `legacy.py` with the contents of large objects, and why one has none.
LEGACY_TABLE = "pg_temp.researchflow_legacy_text"

_KEYS = """(SELECT r.res_id, r.res_type::text COLLATE "C" AS res_type, {id} AS id, r.res_ver,
       r.res_deleted_at IS NOT NULL AS deleted, r.res_updated AT TIME ZONE {zone} AS updated_at,
       {tags} AS tags
  FROM hfj_resource r{forced}
 WHERE r.res_type = ANY ({types}){own}{only})"""
#: Differs for different sets of tags; a tag's definition never changes. By index for each resource:
#: an aggregate over the table took three times as long over a million.
_TAGS = """CASE WHEN r.res_deleted_at IS NULL AND r.res_type = ANY ({types})
            THEN CASE WHEN r.has_tags THEN coalesce((
                 SELECT bit_xor(hashint8extended(rt.tag_id, 0)) FROM hfj_res_tag rt
                  WHERE rt.res_id = r.res_id), 0) ELSE 0 END END"""

#: The equality join misses heads whose history row was never written (HAPI 8.4 to 8.8); HAPI
#: then serves the next lower version, and so does `b`, which is looked for only then.
_VERSIONS = """hfj_resource r
  LEFT JOIN hfj_res_ver e ON e.res_id = r.res_id AND e.res_ver = r.res_ver{partition_exact}
            AND e.res_type = {type}
  LEFT JOIN LATERAL (
       SELECT h.* FROM hfj_res_ver h
        WHERE e.res_id IS NULL AND h.res_id = r.res_id AND h.res_ver < r.res_ver{partition_before}
        ORDER BY h.res_ver DESC LIMIT 1) b ON e.res_id IS NULL
 CROSS JOIN LATERAL (SELECT {version}) v{joins}
 WHERE r.res_type = {type} AND r.res_deleted_at IS NULL{own}{only}"""
_CURRENT = """(SELECT r.res_id, {id} AS id, r.res_ver AS version, {text} AS text, {meta} AS meta
  FROM {versions} AND v.res_encoding <> 'DEL' AND {content} <> '')"""
#: Faster over a whole type, and louder: a head without content of its own is a data error.
_STRICT = """(SELECT r.res_id, {id} AS id, r.res_ver AS version, {text} AS text, {meta} AS meta
  FROM hfj_resource r
  LEFT JOIN hfj_res_ver v ON v.res_id = r.res_id AND v.res_ver = r.res_ver{same_partition}
            AND v.res_type = {type} AND v.res_encoding <> 'DEL'{joins}
 WHERE r.res_type = {type} AND r.res_deleted_at IS NULL{own}{only}
   AND CASE WHEN {content} <> '' THEN true ELSE left(r.res_type, 0)::jsonb IS NULL END)"""
_UNREADABLE = """(SELECT r.res_id,
       CASE WHEN v.res_encoding IS NULL THEN 'the source holds no version of the resource'
            WHEN v.res_encoding = 'DEL' THEN 'its newest version in the source is a deletion'
            WHEN v.res_encoding = 'ESR' THEN 'its content is kept outside the source database'
            ELSE {why} END AS reason
  FROM {versions} AND (v.res_encoding IS NULL OR v.res_encoding = 'DEL' OR {content} = ''))"""
_PROVENANCE = """(SELECT p.source_uri || coalesce('#' || p.request_id, '')
                   FROM hfj_res_ver_prov p WHERE p.res_ver_pid = v.pid)"""
_NO_OBJECT = "CASE WHEN v.res_text IS NOT NULL THEN 'its large object is missing' END"
_NO_CONTENT = "'its version in the source has no content'"


@dataclass(frozen=True, slots=True)
class HapiLayout:
    """The findings about one database, and the relations that follow from them.

    `has_fhir_id` says that every resource has its id in the column of that name; else
    `has_fhir_id_column` and `has_forced_id` say where to look, and what is in neither is named
    by its key. `has_large_objects` says that some contents are large objects:
    `current_relation` then reads LEGACY_TABLE, which must hold them (`SourceSnapshot.current` sees
    to that). `has_provenance` says that meta.source has a table of its own, as before
    HAPI 6.8. `is_partitioned` says that a key is one only within its partition.
    """

    has_fhir_id: bool = True
    has_fhir_id_column: bool = True
    has_forced_id: bool = False
    has_text_vc: bool = True
    has_large_object_column: bool = False
    has_large_objects: bool = False
    has_source_uri: bool = True
    has_request_id: bool = True
    has_provenance: bool = False
    has_tag_versions: bool = True
    is_partitioned: bool = False
    options: SourceOptions = field(default_factory=SourceOptions)

    def keys_relation(
        self,
        resource_types: Iterable[str],
        *,
        tag_types: Iterable[str] = (),
        only: Sql | None = None,
    ) -> Sql:
        """One row per resource of these types, deleted ones too.

        Columns: res_id, res_type, id, res_ver, deleted, updated_at (timestamptz), tags (a
        digest of its tags, null when it is deleted and outside of `tag_types`). `only` is a
        relation with a column res_id that narrows it.
        """
        tagged = param(sorted(set(tag_types)), "text[]")
        return compose(
            _KEYS,
            id=self._id(),
            zone=param(self.options.zone, "text"),
            forced=self._forced_join(),
            tags=compose(_TAGS, types=tagged) if tag_types else fixed("NULL::bigint"),
            types=param(sorted(set(resource_types)), "text[]"),
            own=self.own(),
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

        Columns: res_id, id, version (as in `keys_relation`), text, meta (what the tables know;
        see `with_meta_of_text`). `only` is a relation with a column res_id that narrows it.
        A resource whose content is not in the database is left out, and in
        `unreadable_relation`. `is_strict` reads faster: such a resource is a data error then, and
        so is one whose newest version has no content of its own.
        """
        content = self._content()
        return compose(
            _STRICT if is_strict else _CURRENT,
            id=self._id(),
            content=content,
            text=relative_sql(content, self.options.base_urls),
            meta=self._meta() if with_meta else fixed("NULL::jsonb"),
            versions=self._versions(resource_type, only),
            type=param(resource_type, "text"),
            joins=compose("{}{}", self._forced_join(), self._legacy_join()),
            own=self.own(),
            only=narrowed(only),
            same_partition=self.same_partition("v"),
        )

    def unreadable_relation(self, resource_type: str, *, only: Sql | None = None) -> Sql:
        """The resources of the type that `current_relation` leaves out, deleted ones apart.

        Columns: res_id, reason.
        """
        return compose(
            _UNREADABLE,
            versions=self._versions(resource_type, only),
            content=self._content(),
            why=self._why(),
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

    def own(self) -> Sql:
        """The condition that keeps the resources of the chosen partitions."""
        chosen = self.options.partitions
        if not chosen:
            return EMPTY
        places = [compose("r.partition_id = ANY ({})", param(self.options.partition_ids, "int[]"))]
        places += [fixed("r.partition_id IS NULL")] * (DEFAULT_PARTITION in chosen)
        return compose(" AND ({})", join(" OR ", places))

    def _versions(self, resource_type: str, only: Sql | None) -> Sql:
        """Each current resource `r` of the type with the version `v` that the server serves."""
        return compose(
            _VERSIONS,
            type=param(resource_type, "text"),
            version=self._version(),
            joins=compose("{}{}", self._forced_join(), self._legacy_join()),
            own=self.own(),
            only=narrowed(only),
            partition_before=self.same_partition("h"),
            partition_exact=self.same_partition("e"),
        )

    def _legacy_join(self) -> Sql:
        if not self.has_large_objects:
            return EMPTY
        return fixed(
            f"\n  LEFT JOIN {LEGACY_TABLE} l ON l.res_id = v.res_id AND l.res_ver = v.res_ver"
        )

    def same_partition(self, alias: str) -> Sql:
        """The condition that joins a table to `r` within the partition, where keys need it."""
        if not self.is_partitioned:
            return EMPTY
        return fixed(f" AND {alias}.partition_id = r.partition_id")

    def _version(self) -> Sql:
        """The columns of the version to serve: the newest's, else those of the one before."""
        names = ["res_id", "res_ver", "res_updated", "res_encoding"]
        names += ["res_text_vc"] * self.has_text_vc
        names += ["res_text"] * self.has_large_object_column
        names += ["source_uri"] * self.has_source_uri + ["request_id"] * self.has_request_id
        names += ["pid"] * self.has_provenance
        return fixed(", ".join(f"coalesce(e.{name}, b.{name}) AS {name}" for name in names))

    def _content(self) -> Sql:
        """The stored text, empty where the database holds none."""
        places = ["v.res_text_vc"] * self.has_text_vc + ["l.text"] * self.has_large_objects
        return fixed("coalesce(" + ", ".join([*places, "''"]) + ")")

    def _why(self) -> Sql:
        """Why a version has no content."""
        reasons = ["l.reason"] * self.has_large_objects
        if self.has_large_object_column:
            reasons.append(
                "CASE WHEN v.res_text IS NOT NULL THEN 'its large object is missing' END"
            )
        return fixed("coalesce(" + ", ".join([*reasons, _NO_CONTENT]) + ")")

    def _meta(self) -> Sql:
        source = _PROVENANCE if self.has_provenance else "NULL::text"
        if self.has_source_uri:
            source = "v.source_uri"
            if self.has_request_id:
                source = "v.source_uri || coalesce('#' || v.request_id, '')"
        return meta_of_tables(
            zone=self.options.zone,
            source=source,
            same_partition=self.same_partition("rt"),
            has_tag_versions=self.has_tag_versions,
        )


def narrowed(only: Sql | None) -> Sql:
    """The condition that keeps only the resources of the relation; none when it is None."""
    if only is None:
        return EMPTY
    return compose(" AND r.res_id IN (SELECT o.res_id FROM {} AS o)", only)
