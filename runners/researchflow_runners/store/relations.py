"""A published view as a relation: one anchor's rows, or the rows merged with the overlay.

Every relation gives HIDDEN_COLUMNS, the view's physical columns and `_layer` ('batch' or
'speed'), parenthesised, to stand in a FROM. The SQL views and HybridRunner use the same ones.
They are right inside one snapshot: read the catalogue, the anchor and the rows in one REPEATABLE
READ transaction.
"""

from __future__ import annotations

from researchflow_runners.sql import EMPTY, Sql, compose, fixed, ident, join, param
from researchflow_runners.store.published import PublishedView

SCHEMA = "researchflow"

#: An entry counts from valid_from (a provisional entry may cover it until then) to its expiry.
COUNTING = "e.valid_from <= now() AND now() < e.valid_until"
_OF_COUNTING = (
    " WHERE EXISTS (SELECT FROM researchflow.overlay_entry AS e"
    f" WHERE e.entry_id = o._entry AND {COUNTING})"
)


def anchored_relation(published: PublishedView) -> Sql:
    """The rows of the current anchor."""
    return compose(
        "(SELECT {columns}, 'batch'::text AS _layer FROM {base} AS b)",
        columns=table_columns(published, "b"),
        base=ident(SCHEMA, published.base_table),
    )


def historical_relation(published: PublishedView, anchor: int) -> Sql:
    """The rows of an earlier anchor; resolve it first, an expired one would lack rows."""
    return compose(
        "(SELECT {base_columns}, 'batch'::text AS _layer FROM {base} AS b"
        " WHERE b._since <= {anchor}"
        " UNION ALL"
        " SELECT {history_columns}, 'batch'::text FROM {history} AS h"
        " WHERE h._since <= {anchor} AND h._until > {anchor})",
        base_columns=table_columns(published, "b"),
        base=ident(SCHEMA, published.base_table),
        history_columns=table_columns(published, "h"),
        history=ident(SCHEMA, published.history_table),
        anchor=param(anchor, "bigint"),
    )


def live_relation(published: PublishedView, *, all_count: bool = False) -> Sql:
    """The rows of the current anchor, those of changed resources replaced by the overlay's.

    EXISTS on both sides lets PostgreSQL probe by index for a few rows and hash for many; NOT IN
    and scalar subqueries lost on one or the other, and joins pulled up less. `all_count` says that
    in this transaction every entry of the view's resource type counts, so that none is asked.
    """
    return compose(
        "(SELECT {base_columns}, 'batch'::text AS _layer FROM {base} AS b"
        " WHERE NOT EXISTS (SELECT FROM researchflow.overlay_entry AS e"
        " WHERE e.base_res_id = b._res_id{and_counting})"
        " UNION ALL"
        " SELECT {overlay_columns}, 'speed'::text FROM {overlay} AS o{where_counting})",
        base_columns=table_columns(published, "b"),
        base=ident(SCHEMA, published.base_table),
        and_counting=EMPTY if all_count else fixed(f" AND {COUNTING}"),
        overlay_columns=table_columns(published, "o"),
        overlay=ident(SCHEMA, published.overlay_table),
        where_counting=EMPTY if all_count else fixed(_OF_COUNTING),
    )


def table_columns(published: PublishedView, alias: str) -> Sql:
    """What a table of the view gives: its stored columns, and the keys from `_id`."""
    stored = (ident(alias, name) for name, _type in published.stored_columns)
    keys = (column.name for column in published.columns if column.is_key)
    named = (compose("{} AS {}", ident(alias, "_id"), ident(name)) for name in keys)
    return join(", ", (*stored, *named))
