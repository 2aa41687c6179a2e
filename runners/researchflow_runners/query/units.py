"""Numbers of several units are never put together."""

from __future__ import annotations

from researchflow_runners.compiler.column import Column
from researchflow_runners.query.columns import value_sql
from researchflow_runners.query.outputs import Units
from researchflow_runners.query.rows import Rows
from researchflow_runners.sql import compose

_OF_GROUP = """\
(min({unit}) FILTER (WHERE {value} IS NOT NULL)\
 <> max({unit}) FILTER (WHERE {value} IS NOT NULL)\
 OR count({value}) FILTER (WHERE {unit} IS NULL) BETWEEN 1 AND count({value}) - 1)\
"""
_OVER_GROUPS = """\
(min(min({unit}) FILTER (WHERE {value} IS NOT NULL)) OVER ()\
 <> max(max({unit}) FILTER (WHERE {value} IS NOT NULL)) OVER ()\
 OR sum(count({value}) FILTER (WHERE {unit} IS NULL)) OVER ()\
 BETWEEN 1 AND sum(count({value})) OVER () - 1)\
"""


def units_of(column: Column, rows: Rows, *, at: str, over_groups: bool = False) -> Units | None:
    """Whether a group's values are of several units, an unnamed one among them.

    `over_groups` asks it of all groups together: where the numbers themselves make the groups.
    """
    if column.unit is None:
        return None
    unit = value_sql(rows.alias, rows.column(column.unit, at=at))
    template = _OVER_GROUPS if over_groups else _OF_GROUP
    mixed = compose(template, unit=unit, value=value_sql(rows.alias, column))
    return Units(mixed, column.name, column.unit, over_groups)
