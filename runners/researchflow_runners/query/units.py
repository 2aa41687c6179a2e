"""Numbers of several units are never put together."""

from __future__ import annotations

from researchflow_runners.compiler.column import Column
from researchflow_runners.query.columns import value_sql
from researchflow_runners.query.notices import Notice
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
    value = value_sql(rows.alias, column)
    of_group, of_all = (
        compose(template, unit=unit, value=value) for template in (_OF_GROUP, _OVER_GROUPS)
    )
    mixed = of_all if over_groups else of_group
    return Units(mixed, column.name, column.unit, over_groups, differ=of_all)


def differing(units: Units) -> Notice:
    """That the groups of an answer, each of one unit, are of several, which it does not show."""
    told = f'numbers of "{units.value}" are of another unit in some groups than in others: add '
    count = compose("CASE WHEN {} THEN 1 ELSE 0 END", units.differ)
    return Notice(count, f'{told}"{units.unit}" to group_by')
