"""SQL as a value: text whose constants travel beside it as parameters.

Every generated statement is composed of `Sql` fragments, so a constant cannot become text by
accident: `compose` accepts nothing but fragments, and the only ways to make one are fixed text,
a quoted identifier and a parameter.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from string import Formatter
from typing import Any

IDENTIFIER_BYTES_MAX = 63


@dataclass(frozen=True, slots=True)
class Param:
    """One constant and the PostgreSQL type it is cast to."""

    value: Any
    pg_type: str


@dataclass(frozen=True, slots=True)
class Slot:
    """Stands for the value of a parameter that a prepared statement is given at each run."""

    name: str


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL; rendering numbers its parameters from left to right."""

    parts: tuple[str | Param, ...]

    def render(self) -> tuple[str, list[Any]]:
        """The statement's text with `$1…` and its arguments in order, equal ones shared."""
        texts: list[str] = []
        values: list[Any] = []
        numbers: dict[tuple[str, str], int] = {}
        for part in self.parts:
            if isinstance(part, str):
                texts.append(part)
                continue
            key = (part.pg_type, repr(part.value))
            if key not in numbers:
                values.append(part.value)
                numbers[key] = len(values)
            texts.append(f"${numbers[key]}::{part.pg_type}")
        return "".join(texts), values

    def __bool__(self) -> bool:
        return bool(self.parts)


EMPTY = Sql(())


def fixed(text: str) -> Sql:
    """Text written by the programmer; never call it with anything a caller supplied."""
    return Sql((text,)) if text else EMPTY


def ident(*names: str) -> Sql:
    """A quoted, dotted identifier; PostgreSQL would silently cut names above 63 bytes."""
    for name in names:
        if not name or "\x00" in name or len(name.encode()) > IDENTIFIER_BYTES_MAX:
            raise ValueError(f"not a PostgreSQL identifier: {name!r}")
    return Sql((".".join('"' + name.replace('"', '""') + '"' for name in names),))


def param(value: Any, pg_type: str) -> Sql:
    """A constant as a parameter, cast to `pg_type`."""
    return Sql((Param(value, pg_type),))


def slot(name: str, pg_type: str) -> Sql:
    """A parameter whose value a prepared statement is given at each run."""
    return param(Slot(name), pg_type)


def compose(template: str, *args: Sql, **named: Sql) -> Sql:
    """`template` with its `{}`, `{0}` and `{name}` replaced by fragments; `{{` is a brace."""
    parts: list[str | Param] = []
    position = 0
    for text, field, _spec, _conversion in Formatter().parse(template):
        if text:
            parts.append(text)
        if field is None:
            continue
        if field == "":
            fragment = args[position]
            position += 1
        else:
            fragment = args[int(field)] if field.isdigit() else named[field]
        parts.extend(fragment.parts)
    return Sql(tuple(parts))


def join(separator: str, fragments: Iterable[Sql]) -> Sql:
    """The fragments with fixed text between them."""
    parts: list[str | Param] = []
    for number, fragment in enumerate(fragments):
        if number and separator:
            parts.append(separator)
        parts.extend(fragment.parts)
    return Sql(tuple(parts))
