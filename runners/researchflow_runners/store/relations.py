"""A published view as a relation: one anchor's rows, or the rows merged with the overlay.

Every relation gives HIDDEN_COLUMNS, the view's physical columns and `_layer` ('batch' or
'speed'), parenthesised, to stand in a FROM. The SQL views and HybridRunner use the same ones.
They are right inside one snapshot: read the catalogue, the anchor and the rows in one REPEATABLE
READ transaction.
"""

from __future__ import annotations

import re

from researchflow_runners.sql import Sql, compose, fixed, ident, join, param
from researchflow_runners.store.published import PublishedView

SCHEMA = "researchflow"

#: An entry counts from valid_from (a provisional entry may cover it until then) to its expiry.
COUNTING = "e.valid_from <= now() AND now() < e.valid_until"

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def anchored_relation(published: PublishedView) -> Sql:
    """The rows of the current anchor."""
    return compose(
        "(SELECT {columns}, 'batch'::text AS _layer FROM {base} AS b)",
        columns=_columns(published, "b"),
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
        base_columns=_columns(published, "b"),
        base=ident(SCHEMA, published.base_table),
        history_columns=_columns(published, "h"),
        history=ident(SCHEMA, published.history_table),
        anchor=param(anchor, "bigint"),
    )


def live_relation(published: PublishedView) -> Sql:
    """The rows of the current anchor, those of changed resources replaced by the overlay's."""
    return compose(
        "(SELECT {base_columns}, 'batch'::text AS _layer FROM {base} AS b"
        " WHERE NOT EXISTS (SELECT FROM researchflow.overlay_entry AS e"
        " WHERE e.base_res_id = b._res_id AND e.res_type = {type} AND {counting})"
        " UNION ALL"
        " SELECT {overlay_columns}, 'speed'::text FROM {overlay} AS o"
        " JOIN researchflow.overlay_entry AS e ON e.entry_id = o._entry WHERE {counting})",
        base_columns=_columns(published, "b"),
        base=ident(SCHEMA, published.base_table),
        overlay_columns=_columns(published, "o"),
        overlay=ident(SCHEMA, published.overlay_table),
        type=word_literal(published.resource_type),
        counting=fixed(COUNTING),
    )


def word_literal(word: str) -> Sql:
    """A resource type, view name or digest as text: DDL takes no parameters."""
    if not _WORD.fullmatch(word):
        raise ValueError(f"not a word: {word!r}")
    return fixed(f"'{word}'")


def _columns(published: PublishedView, alias: str) -> Sql:
    prefix = fixed(f"{alias}.")
    return join(
        ", ",
        (compose("{}{}", prefix, ident(name)) for name, _type in published.physical_columns),
    )
