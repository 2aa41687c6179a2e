"""The names of a SQL text: relations are resolved, columns are held against what can be meant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from researchflow_runners.composed.refusal import Refusals

Fields = Mapping[str, Any]

#: Names that PostgreSQL gives to columns without one of their own.
_GIVEN = frozenset(
    {
        *("array", "case", "coalesce", "exists", "greatest", "grouping", "least", "nullif", "row"),
        *("key", "value", "ordinality"),
    }
)


class Names:
    """What one text calls things; `labels` are the declared labels by the name they are read as."""

    def __init__(self, relations: Mapping[str, Collection[str]], refusals: Refusals) -> None:
        self.labels: dict[str, str] = {}
        self._refusals = refusals
        self._relations = relations
        self._exact = {label: label for label in relations}
        self._folded = {label.lower(): label for label in relations}
        self._aliases: set[str] = set()
        self._defined: set[str] = set(_GIVEN)
        self._used: set[str] = set()
        self._references: list[tuple[list[str], int | None]] = []
        self._reads_all = False

    def relation(self, fields: Fields, visible: Collection[str]) -> None:
        """Resolves a relation: a WITH query in scope hides a label of its name."""
        name = fields["relname"]
        self._aliases.add(name)
        if "colnames" in fields.get("alias", {}):
            self._reads_all = True
        if name in visible:
            return
        label = self._exact.get(name) or self._folded.get(name)
        if label is None:
            raise self._refusals.word(
                "relation",
                name,
                "unknown_relation",
                fields.get("location"),
                {*self._exact, *visible},
                hint="Declare the view as relatedArtifact and read it by its label.",
            )
        self.labels[name] = label

    def note(self, kind: str, fields: Fields) -> None:
        """Collects what the node defines and what it refers to."""
        if kind == "ColumnRef":
            self._column(fields)
        elif kind in ("FuncCall", "TypeName"):
            self._defined.add(_last(fields["funcname" if kind == "FuncCall" else "names"]))
        elif kind == "ResTarget" and "name" in fields:
            self._defined.add(fields["name"])
        elif kind == "Alias":
            self._aliases.add(fields["aliasname"])
            self._defined.update(_strings(fields.get("colnames", ())))
        elif kind == "RangeFunction" and "alias" in fields:
            self._defined.add(fields["alias"]["aliasname"])
        elif kind == "CommonTableExpr":
            self._aliases.add(fields["ctename"])
            self._defined.update(_strings(fields.get("aliascolnames", ())))
        elif kind == "JoinExpr":
            self._used.update(_strings(fields.get("usingClause", ())))
            # Both go by place or by every name: a column left out would change what they mean.
            self._reads_all |= "isNatural" in fields or "colnames" in fields.get("alias", {})
        elif kind == "SelectStmt" and fields.get("valuesLists"):
            width = len(fields["valuesLists"][0]["List"]["items"])
            self._defined.update(f"column{number + 1}" for number in range(width))

    def check_columns(self) -> None:
        """Refuses a column that neither a declared view nor the text itself can have.

        PostgreSQL would take `alias.name` for a call of a function where no column has the name.
        """
        known = self._defined.union(*self._relations.values())
        for words, location in self._references:
            name = words[-1]
            if len(words) > 2:
                raise self._refusals.construct("RangeVar.schemaname", location)
            if name in known or (len(words) == 1 and name in self._aliases):
                continue
            raise self._refusals.word(
                "column",
                name,
                "unknown_column",
                location,
                set().union(*self._relations.values()),
                hint="Use a column of the declared views; one with capitals goes in double quotes.",
                words=len(words),
            )

    def columns_read(self) -> frozenset[str] | None:
        """The names of all columns that are read, or None when that may be every one."""
        whole_rows = any(len(words) == 1 and words[0] in self._aliases for words in self._words())
        return None if self._reads_all or whole_rows else frozenset(self._used)

    def _words(self) -> Iterable[list[str]]:
        return (words for words, _location in self._references)

    def _column(self, fields: Fields) -> None:
        if "A_Star" in fields["fields"][-1]:
            self._reads_all = True
            if len(fields["fields"]) > 2:
                raise self._refusals.construct("RangeVar.schemaname", fields.get("location"))
            return
        words = _strings(fields["fields"])
        self._used.add(words[-1])
        self._references.append((words, fields.get("location")))


def _last(nodes: Collection[Fields]) -> str:
    return _strings(nodes)[-1]


def _strings(nodes: Iterable[Fields]) -> list[str]:
    return [node["String"]["sval"] for node in nodes]
