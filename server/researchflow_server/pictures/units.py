"""Numbers of several units stand in no box, line or bins together."""

from __future__ import annotations

from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.result import Answer
from researchflow_server.contract import Chart, DrawInput
from researchflow_server.pictures.table import Table

#: Of each chart the column of its numbers, and the one that keeps them apart.
_PLACES: dict[Chart, tuple[str, str]] = {
    "bar": ("y", "by"),
    "line": ("y", "by"),
    "histogram": ("x", "by"),
    "box": ("y", "x"),
}


def number_column(asked: DrawInput) -> str | None:
    """The column whose numbers are drawn; None where they have no unit to differ in."""
    places = _PLACES.get(asked.chart)
    return getattr(asked, places[0]) if places else None


def check_units(asked: DrawInput, answer: Answer, unit: str) -> None:
    """QueryError `units_mixed` where the numbers of one group have several in the column `unit`."""
    value, apart = _PLACES[asked.chart]
    table = Table(answer)
    numbers = table.column(getattr(asked, value), field=value)
    units = table.column(unit, field=value)
    group = getattr(asked, apart)
    groups = table.column(group, field=apart).labels() if group else [""] * table.row_count
    first: dict[str, object] = {}
    for name, cell, number in zip(groups, units.cells, numbers.cells, strict=True):
        if number is not None and first.setdefault(name, cell) != cell:
            raise QueryError(
                f'values of column "{numbers.name}" have several units in "{unit}"',
                code="units_mixed",
                hint=f'keep one unit with a filter on "{unit}", or give it as {apart}',
                field=value,
                allowed=(unit,),
            )
