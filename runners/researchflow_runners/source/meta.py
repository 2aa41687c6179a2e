"""A resource's meta as the server gives it: from the tables, over what its text holds."""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_runners.sql import Sql, compose, fixed, ident, join, param

#: What the tables know: always versionId and lastUpdated, tags where the tables have some. Tags
#: in HAPI's order, which puts a missing system first.
_META = """(jsonb_strip_nulls(jsonb_build_object(
              'versionId', v.res_ver::text,
              'lastUpdated', to_char(v.res_updated AT TIME ZONE {zone} AT TIME ZONE 'UTC',
                                     'YYYY-MM-DD"T"HH24:MI:SS.MS"+00:00"'),
              'source', {source}))
        || CASE WHEN r.has_tags THEN (
             SELECT jsonb_strip_nulls(jsonb_build_object(
                      'profile', jsonb_agg(t.tag_code ORDER BY t.tag_code COLLATE "C", t.tag_id)
                                 FILTER (WHERE t.tag_type = 1),
                      'security', jsonb_agg({coding} ORDER BY {order})
                                  FILTER (WHERE t.tag_type = 2),
                      'tag', jsonb_agg({coding} ORDER BY {order})
                             FILTER (WHERE t.tag_type = 0)))
               FROM hfj_res_tag rt JOIN hfj_tag_def t ON t.tag_id = rt.tag_id
              WHERE rt.res_id = r.res_id{same_partition}) ELSE '{{}}' END)"""
_CODING = """jsonb_build_object('system', nullif(t.tag_system, ''), 'code', t.tag_code,
                      'display', t.tag_display, 'version', t.tag_version,
                      'userSelected', t.tag_user_selected)"""
_CODING_WITHOUT_VERSION = """jsonb_build_object('system', nullif(t.tag_system, ''),
                      'code', t.tag_code, 'display', t.tag_display)"""
_ORDER = """nullif(t.tag_system, '') COLLATE "C" NULLS FIRST, t.tag_code COLLATE "C", t.tag_id"""
#: What stands in the text stays, save for what the tables say. A text rarely has a meta.
_MERGED = """(SELECT {columns},
       CASE WHEN s.meta IS NOT NULL AND strpos(s.text, '"meta"') > 0
            THEN coalesce(s.text::jsonb -> 'meta', '{{}}')
                 - CASE WHEN s.meta ?| '{{profile,security,tag}}'
                        THEN '{{profile,security,tag}}'::text[] ELSE '{{}}' END
                 || s.meta
            ELSE s.meta END AS meta
  FROM {rows} AS s)"""


def meta_of_tables(*, zone: str, source: str, same_partition: Sql, has_tag_versions: bool) -> Sql:
    """The tables' part of meta, of `r` (hfj_resource) in its version `v` (hfj_res_ver)."""
    return compose(
        _META,
        zone=param(zone, "text"),
        source=fixed(source),
        coding=fixed(_CODING if has_tag_versions else _CODING_WITHOUT_VERSION),
        order=fixed(_ORDER),
        same_partition=same_partition,
    )


def with_meta_of_text(rows: Sql, columns: Sequence[str]) -> Sql:
    """These columns of the rows, and their meta with what the own meta of their text adds.

    It parses texts, so it belongs where a text that is no JSON harms its own resource only.
    """
    names = join(", ", (ident("s", name) for name in columns))
    return compose(_MERGED, rows=rows, columns=names)
