"""Comparisons of numbers with a constant where the numbers are of several units.

`value_quantity lt 60` means nothing over mL/min and mL/min/1.73m2 together. Aggregates refuse such
rows; a filter keeps them and the answer says so, with the units of the rows it is asked of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date

from researchflow_runners.hybrid.absent import in_time
from researchflow_runners.hybrid.comparisons import Compared, Remembered
from researchflow_runners.query.columns import Catalogue, value_sql
from researchflow_runners.query.model import Compare, Filter
from researchflow_runners.query.rows import FilterScope, Relations
from researchflow_runners.sql import Sql, compose, fixed, join, param
from researchflow_runners.store.database import Session

PROBES_MAX = 12
UNITS_SHOWN_MAX = 5
UNIT_CHARS_MAX = 40

_UNITS = """\
(SELECT {number} AS probe, u, sum(n)::bigint AS n, count(*) OVER () AS units FROM\
 (SELECT *, count(*) OVER (PARTITION BY k) AS several FROM\
 (SELECT {unit} AS u, {apart} AS k, count(*) AS n FROM {relation} AS {alias}\
 WHERE {value} IS NOT NULL{beside} GROUP BY 1, 2) AS counted) AS divided\
 WHERE several > 1 GROUP BY u ORDER BY n DESC, u LIMIT {most})\
"""


class ComparedUnits:
    """Says which comparisons are asked of several units; remembers it of states."""

    def __init__(self) -> None:
        self._found: Remembered[str] = Remembered()
        self._slow: Remembered[bool] = Remembered()

    async def warnings(
        self,
        session: Session,
        compared: Sequence[Compared],
        catalogue: Catalogue,
        relations: Relations,
        *,
        anchor: str | None,
        state: str | None,
        on: date,
    ) -> tuple[str, ...]:
        """A sentence for each; `anchor` tells the anchor's rows, `state` all rows that are read."""
        asked = [one for one in compared if _is_open(one)]
        scope = FilterScope(catalogue, relations, on=on)
        return await self.of(session, asked, scope, anchor=anchor, state=state)

    async def of(
        self,
        session: Session,
        asked: Sequence[Compared],
        scope: FilterScope,
        *,
        anchor: str | None,
        state: str | None,
    ) -> tuple[str, ...]:
        """A sentence for each of these whose rows have several units."""
        held = self._found if state else Remembered[str]()
        keys = {f"{anchor} {one.key}": one for one in asked}
        unknown = [key for key in keys if held.get(key) is None and not self._slow.get(key)]
        looked_at = [keys[key] for key in unknown[:PROBES_MAX]]
        found = await in_time(session, _look(session, looked_at, scope)) if looked_at else {}
        for key, one in zip(unknown, looked_at, strict=False):
            if found is not None:
                held.keep(key, found[one.key])
            elif anchor is not None:
                # A composed view would be computed again each time.
                self._slow.keep(key, True)
        told = {key: held.get(key) for key in keys}
        said = (_not_looked(keys[key]) if one is None else one for key, one in told.items())
        return tuple(dict.fromkeys(one for one in said if one))


def _is_open(one: Compared) -> bool:
    """Whether the column has a unit and the conjunction does not say which."""
    return one.column.unit is not None and not any(_fixes(part, one) for part in one.beside)


def _fixes(part: Filter, one: Compared) -> bool:
    if not isinstance(part, Compare) or part.column != one.column.unit:
        return False
    listed = part.value if isinstance(part.value, list) else [part.value]
    return part.op in ("eq", "in") and len(set(listed)) == 1


async def _look(session: Session, asked: Sequence[Compared], scope: FilterScope) -> dict[str, str]:
    """The sentence of each by its key, empty where there is one unit."""
    probes = [_probe(number, one, scope) for number, one in enumerate(asked)]
    records = await session.fetch(compose("{}{}", scope.with_sql(), join(" UNION ALL ", probes)))
    return {
        one.key: _told(one, [record for record in records if record["probe"] == number])
        for number, one in enumerate(asked)
    }


def _probe(number: int, one: Compared, scope: FilterScope) -> Sql:
    rows = one.rows(scope)
    assert one.column.unit is not None
    column = rows.column(one.column.name, at="where")
    unit = rows.column(one.column.unit, at="where")
    keys = [value_sql(rows.alias, rows.column(name, at="where")) for name in one.apart]
    beside = one.beside_sql(rows, scope)
    return compose(
        _UNITS,
        number=param(number, "integer"),
        unit=value_sql(rows.alias, unit),
        value=value_sql(rows.alias, column),
        beside=beside,
        apart=compose("ROW({})", join(", ", keys)) if keys else fixed("0"),
        relation=rows.relation(scope),
        alias=rows.alias,
        most=param(UNITS_SHOWN_MAX, "bigint"),
    )


def _told(one: Compared, records: Sequence[Mapping[str, object]]) -> str:
    if len(records) < 2:
        return ""
    units = int(str(records[0]["units"]))
    done = "compared" if one.own else "put together or compared"
    return (
        f'"{one.column.name}" of view "{one.view}" is {done} in {units} units of '
        f'"{one.column.unit}": {units_shown(records, units)}; keep to one: {_way_out(one, records)}'
    )


def units_shown(records: Sequence[Mapping[str, object]], units: int) -> str:
    """The units, most frequent first, each with its rows; those beyond are counted."""
    shown = [f"{_shown(record['u'])} ({record['n']:,} rows)" for record in records]
    more = [f"{units - len(shown)} more"] if units > len(shown) else []
    return ", ".join([*shown, *more])


def _shown(unit: object) -> str:
    return "no unit" if unit is None else str(unit)[:UNIT_CHARS_MAX]


def _way_out(one: Compared, records: Sequence[Mapping[str, object]]) -> str:
    if not one.own:
        return f'name "{one.column.unit}" in the SQL, in WHERE or in GROUP BY'
    named = next(str(record["u"]) for record in records if record["u"] is not None)
    added = {"column": one.column.unit, "op": "eq", "value": named}
    return f"add {json.dumps(added, ensure_ascii=False)} beside the comparison"


def _not_looked(one: Compared) -> str:
    return (
        f'whether "{one.column.name}" of view "{one.view}" is compared in one unit was not looked '
        f'into, it takes too long: name "{one.column.unit}" in it'
    )
