"""Which PostgreSQL type a column has, and what its values are in Python and in JSON.

By default the FHIR type decides (`DEFAULT_TYPES`). A tag `ansi/type` on a column names another SQL
type (`NAMED_TYPES`). docs/types.md shows these tables and says why they are so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.naming import nearest

#: FHIR primitive → PostgreSQL type of its column; every other primitive is text, the rest jsonb.
DEFAULT_TYPES = {
    "boolean": "boolean",
    "integer": "integer",
    "positiveInt": "integer",
    "unsignedInt": "integer",
    "integer64": "bigint",
    "decimal": "numeric",
}
TEXT_TYPES = frozenset({"text", "varchar"})
WHOLE_TYPES = frozenset({"smallint", "integer", "bigint"})
#: Types of one moment or day, as opposed to the period that a FHIR date means.
MOMENT_TYPES = frozenset({"date", "timestamp", "timestamptz"})

VARCHAR_LENGTH_MAX = 10_485_760
BINARY_LENGTH_MAX = 1_073_741_823
NUMERIC_DIGITS_MAX = 1_000
FLOAT_BITS_MAX = 53
SECOND_DIGITS_MAX = 6


@dataclass(frozen=True, slots=True)
class Carried:
    """What values of a PostgreSQL type are in an answer: the Python class and the JSON Schema.

    The JSON is that of the tools and the command line.
    """

    python: str
    json_schema: Mapping[str, str | int]


CARRIED: dict[str, Carried] = {
    "text": Carried("str", {"type": "string"}),
    "varchar": Carried("str", {"type": "string"}),
    "boolean": Carried("bool", {"type": "boolean"}),
    "smallint": Carried("int", {"type": "integer"}),
    "integer": Carried("int", {"type": "integer"}),
    "bigint": Carried("int", {"type": "integer"}),
    "numeric": Carried("Decimal", {"type": "string", "format": "decimal"}),
    "double precision": Carried("float", {"type": "number", "format": "double"}),
    "date": Carried("date", {"type": "string", "format": "date"}),
    # JSON Schema's formats time and date-time ask for an offset, which these two do not have.
    "time": Carried("time", {"type": "string"}),
    "timestamp": Carried("datetime", {"type": "string"}),
    "timestamptz": Carried("datetime", {"type": "string", "format": "date-time"}),
    "bytea": Carried("bytes", {"type": "string", "contentEncoding": "base64"}),
    "jsonb": Carried("dict", {"type": "object"}),
}

_NUMBERS = frozenset({"integer", "positiveInt", "unsignedInt", "integer64", "decimal"})
#: PostgreSQL type → the FHIR types whose values it may hold; text holds every primitive.
HELD: dict[str, frozenset[str]] = {
    "boolean": frozenset({"boolean"}),
    "smallint": _NUMBERS,
    "integer": _NUMBERS,
    "bigint": _NUMBERS,
    "numeric": _NUMBERS,
    "double precision": _NUMBERS,
    "date": frozenset({"date", "dateTime"}),
    "time": frozenset({"time"}),
    "timestamp": frozenset({"dateTime", "instant"}),
    "timestamptz": frozenset({"dateTime", "instant"}),
    "bytea": frozenset({"base64Binary"}),
}


@dataclass(frozen=True, slots=True)
class NamedType:
    """What an ANSI name stands for, how many numbers may follow it, and the largest first one."""

    pg_type: str
    numbers_min: int = 0
    numbers_max: int = 0
    first_max: int = 0


_VARYING = NamedType("varchar", 0, 1, VARCHAR_LENGTH_MAX)
_FIXED = NamedType("varchar", 1, 1, VARCHAR_LENGTH_MAX)
_BINARY = NamedType("bytea", 0, 1, BINARY_LENGTH_MAX)
_DECIMAL = NamedType("numeric", 0, 2, NUMERIC_DIGITS_MAX)
NAMED_TYPES: dict[str, NamedType] = {
    "CHARACTER VARYING": _VARYING,
    "CHAR VARYING": _VARYING,
    "VARCHAR": _VARYING,
    "CHARACTER": _FIXED,
    "CHAR": _FIXED,
    "CHARACTER LARGE OBJECT": NamedType("text"),
    "CHAR LARGE OBJECT": NamedType("text"),
    "CLOB": NamedType("text"),
    "TEXT": NamedType("text"),
    "BOOLEAN": NamedType("boolean"),
    "SMALLINT": NamedType("smallint"),
    "INTEGER": NamedType("integer"),
    "INT": NamedType("integer"),
    "BIGINT": NamedType("bigint"),
    "DECIMAL": _DECIMAL,
    "DEC": _DECIMAL,
    "NUMERIC": _DECIMAL,
    "DOUBLE PRECISION": NamedType("double precision"),
    "FLOAT": NamedType("double precision", 0, 1, FLOAT_BITS_MAX),
    "REAL": NamedType("double precision"),
    "DATE": NamedType("date"),
    "TIME": NamedType("time", 0, 1, SECOND_DIGITS_MAX),
    "TIMESTAMP": NamedType("timestamp", 0, 1, SECOND_DIGITS_MAX),
    "TIMESTAMP WITH TIME ZONE": NamedType("timestamptz", 0, 1, SECOND_DIGITS_MAX),
    "BINARY": _BINARY,
    "BINARY VARYING": _BINARY,
    "VARBINARY": _BINARY,
    "BINARY LARGE OBJECT": NamedType("bytea"),
    "BLOB": NamedType("bytea"),
}
#: Names that SQL knows and no column here can have, and what to do instead.
REFUSED_TYPES = {
    "DECFLOAT": "Use DECIMAL, which keeps every digit; PostgreSQL has no DECFLOAT.",
    "TIME WITH TIME ZONE": "Use TIME; a FHIR time has no zone.",
}

_WRITTEN = re.compile(
    r"(?P<name>[A-Z]+(?: [A-Z]+)*?)(?: \( ?(?P<numbers>[0-9]{1,10}(?: ?, ?[0-9]{1,10})*) ?\))?"
    r"(?: (?P<zone>WITH|WITHOUT) TIME ZONE)?"
)
_DIGITS = re.compile("[0-9]+")
TAG_LENGTH_MAX = 100


@dataclass(frozen=True, slots=True)
class SqlType:
    """A PostgreSQL type; `size_max` bounds the characters or bytes of a value."""

    pg_type: str
    size_max: int | None = None

    @property
    def base_type(self) -> str:
        """The type without its numbers."""
        return base_type(self.pg_type)


def base_type(pg_type: str) -> str:
    """The type without its numbers: `numeric` of `numeric(10,2)`."""
    return pg_type.partition("(")[0]


def named_type(written: str) -> SqlType:
    """The type that the value of a tag `ansi/type` names, in any case and spacing.

    Raises ViewDefinitionError `column_type` when it names none.
    """
    text = " ".join(written.upper().replace("(", " (").replace(")", ") ").split())
    found = _WRITTEN.fullmatch(text) if len(text) <= TAG_LENGTH_MAX else None
    if found is None:
        raise _refused(text, "is not a SQL type", "Write one such as VARCHAR(20) or DECIMAL(10,2).")
    name = f"{found['name']} WITH TIME ZONE" if found["zone"] == "WITH" else found["name"]
    if name in REFUSED_TYPES:
        raise _refused(name, "is not a type that a column can have", REFUSED_TYPES[name])
    known = NAMED_TYPES.get(name)
    if known is None or (found["zone"] == "WITHOUT" and name not in ("TIME", "TIMESTAMP")):
        raise _refused(text, "is not a known SQL type", "Use one of the allowed names.")
    return _typed(name, known, [int(number) for number in _DIGITS.findall(found["numbers"] or "")])


def _typed(name: str, known: NamedType, numbers: list[int]) -> SqlType:
    first, second = (*numbers, 0, 0)[:2]
    least = 0 if known.first_max == SECOND_DIGITS_MAX else 1
    counted = known.numbers_min <= len(numbers) <= known.numbers_max
    if not counted or (numbers and not (least <= first <= known.first_max and second <= first)):
        raise _refused(name, "has no such numbers in parentheses", _numbers_hint(name, least))
    if known.pg_type == "varchar":
        return SqlType(f"varchar({first})", first) if numbers else SqlType("text")
    if known.pg_type == "bytea":
        return SqlType("bytea", first or None)
    if known.pg_type == "double precision" or not numbers:
        return SqlType(known.pg_type)
    if known.pg_type == "numeric":
        return SqlType(f"numeric({first},{second})")
    return SqlType(f"{known.pg_type}({first})")


def _numbers_hint(name: str, least: int) -> str:
    known = NAMED_TYPES[name]
    if known.numbers_max == 0:
        return f"Write {name} alone."
    if known.numbers_max == 2:
        return f"Write {name}(p,s) with s <= p <= {known.first_max}."
    return f"Write {name} with one number from {least} to {known.first_max}."


def _refused(written: str, why: str, hint: str) -> ViewDefinitionError:
    shown = written[:TAG_LENGTH_MAX]
    return ViewDefinitionError(
        f"'{shown}' {why}",
        code="column_type",
        allowed=tuple(NAMED_TYPES),
        did_you_mean=None if shown in NAMED_TYPES else nearest(shown, NAMED_TYPES),
        hint=hint,
    )
