"""docs/types.md shows the compiler's own table of types."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from researchflow_runners.compiler.column import RANGE_TYPES, Column, carried
from researchflow_runners.compiler.sql_types import DEFAULT_TYPES, HELD, NAMED_TYPES
from researchflow_runners.compiler.types import LATER_PRIMITIVES
from researchflow_runners.fhir import model

DOCUMENT = Path(__file__).parents[1] / "docs" / "types.md"
HEADER = "| Asked for by | FHIR types | PostgreSQL | Python | JSON Schema |"
NUMBERS = ("", "(n)", "(p,s)")


def test_document_shows_the_table_of_the_code() -> None:
    written = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("|")]
    assert written == [HEADER, "|---|---|---|---|---|", *rendered()]


def rendered() -> Iterator[str]:
    """The rows of the table: FHIR's own types, then the names that a tag may give."""
    primitives = {name for name in model().type_names() if model().is_primitive(name)}
    primitives |= LATER_PRIMITIVES
    for pg_type in dict.fromkeys(DEFAULT_TYPES.values()):
        names = [name for name, found in DEFAULT_TYPES.items() if found == pg_type]
        yield row("no tag", coded(names), Column("c", names[0], pg_type))
    dates = coded(sorted(RANGE_TYPES))
    yield row("no tag", dates, Column("c", "date", "text"))
    others = sorted(primitives - RANGE_TYPES - DEFAULT_TYPES.keys())
    yield row("no tag", coded(others), Column("c", "string", "text"))
    yield row("no tag", "every other type", Column("c", "Period", "jsonb"))
    yield row("`collection: true`", "every type", Column("c", "code", "jsonb", collection=True))
    for named in dict.fromkeys(NAMED_TYPES.values()):
        number = NUMBERS[named.numbers_max]
        names = [numbered(name, number) for name, found in NAMED_TYPES.items() if found == named]
        is_sized = named.pg_type not in ("bytea", "double precision")
        column = Column("c", "code", named.pg_type + (number if is_sized else ""))
        held = HELD.get(named.pg_type)
        yield row(f"tag {coded(names)}", coded(sorted(held)) if held else "every primitive", column)


def row(asked: str, types: str, column: Column) -> str:
    value = carried(column)
    stored = ", ".join(f"`{part.removeprefix('c')} {kind}`" for part, kind in column.physical[1:])
    return (
        f"| {asked} | {types} | `{column.pg_type}`{' and ' + stored if stored else ''}"
        f" | `{value.python}` | `{json.dumps(dict(value.json_schema))}` |"
    )


def numbered(name: str, number: str) -> str:
    """The name with its numbers, which stand before a zone."""
    words, zone, rest = name.partition(" WITH TIME ZONE")
    return words + number + zone + rest


def coded(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
