"""Casts of a view's text columns in a SQL text: a row may hold what the type does not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.composed.vocabulary import DATE_TYPES

#: A message names no more.
CASTS_MAX = 16
#: Types as they are written, by the name that the parser gives them.
_WRITTEN = {
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
}
_TEXTS = frozenset({"text", "varchar", "bpchar"})

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ColumnCast:
    """A cast of one text column of the relation with a label to a type."""

    label: str
    column: str
    type: str

    @property
    def text(self) -> str:
        """The cast as it is written."""
        return f"{self.column}::{self.type}"

    @property
    def guard(self) -> str:
        """The cast where it can be made, null elsewhere."""
        pattern = r"^\d{4}-\d{2}-\d{2}" if self.is_date else r"^-?\d+(\.\d+)?$"
        return f"CASE WHEN {self.column} ~ '{pattern}' THEN {self.text} END"

    @property
    def is_date(self) -> bool:
        """Whether a date or time is read."""
        return self.type in DATE_TYPES


def column_casts(
    checked: CheckedSql, relations: Mapping[str, Sequence[Column]]
) -> tuple[ColumnCast, ...]:
    """The casts, each once; those of a column that several relations have are left out."""
    nodes = list(_nodes(checked.tree))
    aliases = _aliases(nodes, checked.labels)
    found: dict[ColumnCast, None] = {}
    for kind, fields in nodes:
        if kind == "TypeCast" and (words := _column(fields["arg"])) is not None:
            type_ = _last(fields["typeName"]["names"])
            label = _label(words, aliases, checked, relations)
            if label is not None and type_ not in _TEXTS:
                found[ColumnCast(label, words[-1], _WRITTEN.get(type_, type_))] = None
    return tuple(found)[:CASTS_MAX]


def _label(
    words: Sequence[str],
    aliases: Mapping[str, str],
    checked: CheckedSql,
    relations: Mapping[str, Sequence[Column]],
) -> str | None:
    """The one relation whose text column is meant."""
    named = aliases.get(words[0]) if len(words) == 2 else None
    labels = {named} if named else set(checked.labels.values())
    having = [
        label
        for label in labels
        if any(column.name == words[-1] and column.is_text for column in relations[label])
    ]
    return having[0] if len(having) == 1 else None


def _aliases(nodes: Sequence[tuple[str, Fields]], labels: Mapping[str, str]) -> dict[str, str]:
    """The label behind each name that a relation goes by."""
    return {
        fields.get("alias", {}).get("aliasname", fields["relname"]): labels[fields["relname"]]
        for kind, fields in nodes
        if kind == "RangeVar" and fields["relname"] in labels
    }


def _column(wrapped: Fields) -> list[str] | None:
    """The words of a column, also of one that is cast to text first."""
    kind, fields = next(iter(wrapped.items()))
    if kind == "TypeCast" and _last(fields["typeName"]["names"]) in _TEXTS:
        return _column(fields["arg"])
    if kind != "ColumnRef" or "A_Star" in fields["fields"][-1]:
        return None
    return [part["String"]["sval"] for part in fields["fields"]]


def _nodes(tree: Any) -> Iterator[tuple[str, Fields]]:
    """Every node of a parse tree with its kind."""
    pending: list[Any] = [tree]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending.extend(part)
        elif isinstance(part, Mapping):
            for name, value in part.items():
                if name[:1].isupper() and isinstance(value, Mapping):
                    yield name, value
                pending.append(value)


def _last(names: Sequence[Fields]) -> str:
    return str(names[-1]["String"]["sval"])
