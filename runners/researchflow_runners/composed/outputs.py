"""The columns of a composed view: what PostgreSQL says of them, and what their origin adds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from researchflow_runners.compiler.column import RELATION_TAGS, Column, related
from researchflow_runners.compiler.definition import SQL_NAME_LENGTH_MAX, SQL_NAME_PATTERN
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.sql import Sql, compose, fixed, ident, join

COLUMNS_MAX = 200
#: SQL can make values as large as PostgreSQL takes; whoever fetches rows holds many at once.
ROW_BYTES_MAX = 1_048_576
#: SQLSTATE of a value or row beyond that, and of one beyond what PostgreSQL takes.
TOO_LARGE = "54000"
_NAME = re.compile(SQL_NAME_PATTERN)


@dataclass(frozen=True, slots=True)
class _Shown:
    """How a type of PostgreSQL's catalogue stands in a view: FHIR type and column type."""

    fhir_type: str
    pg_type: str


#: By the name in PostgreSQL's catalogue.
_SHOWN = {
    "text": _Shown("string", "text"),
    "varchar": _Shown("string", "text"),
    "bpchar": _Shown("string", "text"),
    "uuid": _Shown("string", "text"),
    "bool": _Shown("boolean", "boolean"),
    "int2": _Shown("integer", "integer"),
    "int4": _Shown("integer", "integer"),
    "int8": _Shown("integer64", "bigint"),
    "numeric": _Shown("decimal", "numeric"),
    "float4": _Shown("decimal", "double precision"),
    "float8": _Shown("decimal", "double precision"),
    "date": _Shown("date", "date"),
    "time": _Shown("time", "time"),
    "timestamp": _Shown("dateTime", "timestamp"),
    "timestamptz": _Shown("dateTime", "timestamptz"),
    "bytea": _Shown("base64Binary", "bytea"),
    "json": _Shown("Element", "jsonb"),
    "jsonb": _Shown("Element", "jsonb"),
}
#: Column types of which one value may be large.
_UNBOUNDED = frozenset({"text", "jsonb", "bytea"})
#: Column types whose name in PostgreSQL's catalogue is another.
_CATALOGUE_NAMES = {
    "boolean": "bool",
    "smallint": "int2",
    "integer": "int4",
    "bigint": "int8",
    "double precision": "float8",
}
#: Which values of a type answers can tell: no infinity, no year before 1 or after 9999.
_TOLD = {
    "date": "{0} BETWEEN '0001-01-01' AND '9999-12-31'",
    "time": "{0} < '24:00'",
    "timestamp": "{0} >= '0001-01-01' AND {0} < '10000-01-01'",
    "timestamptz": "{0} >= '0001-01-01 00:00Z' AND {0} < '10000-01-01 00:00Z'",
    "double precision": "abs({0}) < 'Infinity'",
}
_HINTS = {
    "interval": "Give its length as a number: extract(epoch from …).",
    "record": "Select the columns one by one instead of a whole row.",
    "timetz": "Cast it to time.",
}


def output_columns(
    described: Sequence[tuple[str, str]], origins: Mapping[str, Column], *, field: str
) -> tuple[Column, ...]:
    """The columns for these names and PostgreSQL types; `origins` as origins.py finds them.

    Raises ViewDefinitionError `column_name`, `duplicate_column`, `column_type` or
    `too_many_columns`.
    """
    if not 1 <= len(described) <= COLUMNS_MAX:
        raise _refused(
            f"the SQL gives {len(described)} columns",
            "too_many_columns",
            field,
            f"Give 1 to {COLUMNS_MAX} columns.",
        )
    columns = tuple(
        _column(name, catalogue_type, origins.get(name), field)
        for name, catalogue_type in described
    )
    _check_unique(columns, field)
    return tuple(_related(column, columns, origins) for column in columns)


def _related(column: Column, columns: Sequence[Column], origins: Mapping[str, Column]) -> Column:
    """The column with what it says of other columns under their names here, of those there are."""
    names: dict[str, str | None] = {}
    for relation in RELATION_TAGS.values():
        theirs = getattr(column, relation)
        found = [one.name for one in columns if _is_origin(origins.get(one.name), theirs)]
        names[relation] = found[0] if len(found) == 1 else None
    return related(column, names)


def _is_origin(origin: Column | None, name: str | None) -> bool:
    return name is not None and origin is not None and origin.name == name


def cast(value: Sql, column: Column) -> Sql:
    """A value of the SQL in the type of its column; one that no answer can tell is a data error."""
    if column.collection and column.pg_type == "jsonb":
        return compose("to_jsonb({})", value)
    if column.is_text:
        return compose('{}::text COLLATE "C"', value)
    whole = compose("{}::{}", value, fixed(column.pg_type))
    told = _TOLD.get(column.base_type)
    if told is None:
        return whole
    # A text of the value keeps PostgreSQL from computing the error before there is a row.
    return compose(
        "CASE WHEN {value} IS NULL OR {told} THEN {whole}"
        " ELSE substring({value}::text, 1, -1)::{type} END",
        value=value,
        told=compose(told, value),
        whole=whole,
        type=fixed(column.pg_type),
    )


def fits(columns: Sequence[Column], alias: Sql) -> Sql:
    """True for a row of at most ROW_BYTES_MAX; computing it for a larger one is TOO_LARGE."""
    sizes = [
        compose(
            "coalesce({}({}.{}), 0)",
            fixed("octet_length" if column.base_type == "text" else "pg_column_size"),
            alias,
            ident(column.name),
        )
        for column in columns
        if column.base_type in _UNBOUNDED
    ]
    if not sizes:
        return fixed("true")
    return compose(
        "lpad('', CASE WHEN {size} > {most} THEN 2147483647 ELSE 0 END) = ''",
        size=join(" + ", (compose("{}::bigint", size) for size in sizes)),
        most=fixed(str(ROW_BYTES_MAX)),
    )


def columns_sql(columns: Sequence[Column], alias: Sql) -> list[Sql]:
    """Each column of the SQL, cast and named."""
    return [
        compose("{} AS {}", cast(compose("{}.{}", alias, ident(one.name)), one), ident(one.name))
        for one in columns
    ]


def _column(name: str, catalogue_type: str, origin: Column | None, field: str) -> Column:
    if not _NAME.fullmatch(name) or len(name) > SQL_NAME_LENGTH_MAX:
        raise _refused(
            f"the SQL gives a column named '{name[:SQL_NAME_LENGTH_MAX]}'",
            "column_name",
            field,
            "Name each column with AS: a letter, then letters, digits and underscores,"
            f" {SQL_NAME_LENGTH_MAX} at most.",
        )
    if origin is not None:
        base = origin.base_type
        if _CATALOGUE_NAMES.get(base, base) == catalogue_type:
            return replace(origin, name=name, pg_type=base, is_key=False, known_as=None)
    element = catalogue_type.removesuffix("[]")
    shown = _SHOWN.get(element)
    if shown is None:
        raise _refused(
            f"column '{name}' has the type '{element}', which no column of a view has",
            "column_type",
            field,
            _HINTS.get(element, "Cast it to text, a number, a date or jsonb."),
        )
    if element != catalogue_type:
        return Column(name, shown.fhir_type, "jsonb", collection=True)
    return Column(name, shown.fhir_type, shown.pg_type)


def _check_unique(columns: Sequence[Column], field: str) -> None:
    """Names are unique, those of the companions of dates included."""
    seen: set[str] = set()
    for column in columns:
        for name, _type in column.physical:
            if name in seen:
                raise _refused(
                    f"the SQL gives two columns named '{name}'",
                    "duplicate_column",
                    field,
                    "Name each column with AS; a.* and b.* may share names.",
                )
            seen.add(name)


def _refused(message: str, code: str, field: str, hint: str) -> ViewDefinitionError:
    return ViewDefinitionError(message, code=code, field=field, hint=hint)
