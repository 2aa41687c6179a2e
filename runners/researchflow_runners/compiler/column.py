"""A column of a view: its FHIR type and how PostgreSQL holds it (sql_types.py says which way).

Dates, dateTimes and instants keep the text they were written with. Where a filter or a sort needs
order, two companions hold the period that the text means, `[lo, hi)` in UTC: `2024-06` is the
whole month, a time without seconds the whole minute. Decimals are `numeric`, which keeps scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from researchflow_runners.compiler.sql_types import CARRIED, TEXT_TYPES, Carried, base_type

RANGE_TYPES = frozenset({"date", "dateTime", "instant"})
LOW_SUFFIX = "__lo"
HIGH_SUFFIX = "__hi"

#: Columns that every compiled SELECT gives before the view's own.
#: `_res_id` bigint (null when the relation has none), `_id` the FHIR id, `_ord` the row's number
#: within its resource, from 1.
HIDDEN_COLUMNS = (("_res_id", "bigint"), ("_id", "text"), ("_ord", "integer"))

#: What a row has room for, however long its values are: PostgreSQL moves values above 24 bytes out
#: of a row that is larger than a page, and 8,160 bytes are a page's. The rest is for the header,
#: the hidden columns and the anchors.
ROW_ROOM_BYTES = 7_900
_VALUE_BYTES_MAX = 24
_INSTANT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Column:
    """One public column; `system` names the code system whose codes it carries.

    `unit`, `display_of`, `system_of`, `died_at` and `died` name other columns of the view, told by
    tags: the unit of this number, the code that this text displays, the code whose system this is,
    and for a date of birth the date of death and whether the person is known to be dead. `is_key`
    says that it always equals the hidden `_id`; tables then hold that alone. `key_of` is the type
    of the resources whose keys it holds, where it can hold no others. `size_max` is the most
    characters or bytes that a tag `ansi/type` allows a value. `event` ranks the dates that say
    when what the row tells happened: of a row, the first that has a value. `known_as`, on a key,
    is the word by which rows of other views reach the columns of the row whose key they hold.
    `element` is the element of FHIR whose value it is, such as `Patient.gender`, where FHIR lists
    its codes.
    """

    name: str
    fhir_type: str
    pg_type: str
    collection: bool = False
    description: str | None = None
    system: str | None = None
    is_key: bool = False
    key_of: str | None = None
    size_max: int | None = None
    unit: str | None = None
    display_of: str | None = None
    system_of: str | None = None
    died_at: str | None = None
    died: str | None = None
    event: int | None = None
    known_as: str | None = None
    element: str | None = None

    @property
    def base_type(self) -> str:
        """The PostgreSQL type without its numbers."""
        return base_type(self.pg_type)

    @property
    def is_text(self) -> bool:
        """Whether the value is the text as it was written."""
        return self.base_type in TEXT_TYPES

    @property
    def has_range(self) -> bool:
        """Whether the companions `<name>__lo` and `<name>__hi` exist."""
        return self.fhir_type in RANGE_TYPES and self.is_text and not self.collection

    @property
    def physical(self) -> tuple[tuple[str, str], ...]:
        """Name and PostgreSQL type of the column and its companions."""
        public = ((self.name, self.pg_type),)
        if not self.has_range:
            return public
        return (
            *public,
            (self.name + LOW_SUFFIX, "timestamptz"),
            (self.name + HIGH_SUFFIX, "timestamptz"),
        )

    @property
    def room_bytes(self) -> int:
        """The most that the column takes of a row that is larger than a page."""
        instants = len(self.physical) - 1
        return _VALUE_BYTES_MAX + instants * _INSTANT_BYTES


#: The tags of a column that name another column of the view, and the field that keeps each.
RELATION_TAGS = {
    "researchflow/unit": "unit",
    "researchflow/display-of": "display_of",
    "researchflow/system-of": "system_of",
    "researchflow/died-at": "died_at",
    "researchflow/died": "died",
}


def related(column: Column, names: Mapping[str, str | None]) -> Column:
    """The column with these relations, by field, and no other."""
    return replace(
        column,
        unit=names.get("unit"),
        display_of=names.get("display_of"),
        system_of=names.get("system_of"),
        died_at=names.get("died_at"),
        died=names.get("died"),
    )


def carried(column: Column) -> Carried:
    """What the column's values are in Python and in JSON."""
    value = CARRIED[column.base_type]
    if column.collection:
        return Carried("list", {"type": "array"})
    if column.size_max is not None and column.is_text:
        return Carried(value.python, {**value.json_schema, "maxLength": column.size_max})
    return value


def stored_columns(columns: Iterable[Column]) -> tuple[tuple[str, str], ...]:
    """Name and type of every column of a view's tables: HIDDEN_COLUMNS and all but the keys."""
    kept = (part for column in columns if not column.is_key for part in column.physical)
    return (*HIDDEN_COLUMNS, *kept)
