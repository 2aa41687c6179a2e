"""What of the views and anchors changed between two looks at the warehouse, whoever changed it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from researchflow_runners.store.database import Database

#: A view's rows are those of its last content, of an anchor at which it was built or rows moved.
_LOOK = """
SELECT (SELECT json_build_array(max(a.anchor), count(*) FILTER (WHERE a.expired_at IS NULL))
        FROM researchflow.anchor AS a)::text AS anchors,
       (SELECT json_agg(json_build_array(p.name, p.anchor) ORDER BY p.name)
        FROM researchflow.pin AS p)::text AS pins,
       (SELECT json_agg(json_build_array(v.view_name, v.definition, v.rows, v.reads))
        FROM (SELECT c.view_name, c.digest AS definition, '[]'::json AS reads,
                     concat_ws(' ', c.base_table, s.after_anchor,
                               (SELECT max(k.anchor) FROM researchflow.content AS k
                                WHERE k.view_name = c.view_name)) AS rows
              FROM researchflow.view_catalogue AS c
              LEFT JOIN researchflow.set_aside AS s ON s.view_name = c.view_name
              UNION ALL
              SELECT o.view_name, o.digest,
                     (SELECT json_agg(source.value ->> 'view')
                      FROM jsonb_each(o.depends_on) AS source),
                     o.fault
              FROM researchflow.composed_view AS o) AS v)::text AS views
"""


@dataclass(frozen=True, slots=True)
class Look:
    """The views and anchors at one instant.

    `definitions` and `rows` have by view what differs when the definition, or the rows, do;
    `reads` the views that a composed one is made of.
    """

    anchors: str
    definitions: Mapping[str, str]
    rows: Mapping[str, str | None]
    reads: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Changes:
    """`views` have other rows or another definition, or came or went; `catalogue` tells that a
    definition did, `anchors` that an anchor came, went or was pinned."""

    views: tuple[str, ...]
    catalogue: bool
    anchors: bool


async def look(warehouse: Database) -> Look:
    """The warehouse as it is; StoreError."""
    async with warehouse.session() as session:
        row = await session.fetchrow(_LOOK)
    assert row is not None
    views = json.loads(row["views"] or "[]")
    return Look(
        anchors=f"{row['anchors']} {row['pins']}",
        definitions={name: definition for name, definition, _rows, _reads in views},
        rows={name: rows for name, _definition, rows, _reads in views},
        reads={name: tuple(reads or ()) for name, _definition, _rows, reads in views},
    )


def changes_between(before: Look, after: Look) -> Changes:
    """What differs; a composed view does when something that it reads does."""
    names = before.definitions.keys() | after.definitions.keys()
    found = {
        name
        for name in names
        if before.definitions.get(name) != after.definitions.get(name)
        or before.rows.get(name) != after.rows.get(name)
    }
    reached = found
    while reached:
        reached = {name for name, read in after.reads.items() if reached & set(read)} - found
        found = found | reached
    return Changes(
        tuple(sorted(found)),
        before.definitions != after.definitions,
        before.anchors != after.anchors,
    )
