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
        self._functions: dict[str, frozenset[str]] = {}
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
                hint="Read a view by its name; a Library reads what it declares as relatedArtifact,"
                " by label.",
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
        elif kind == "RangeFunction":
            self._function(fields)
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
            if len(words) == 2 and words[0] in self._functions:
                self._check_of_function(words, location)
            if name in known or (len(words) == 1 and name in self._aliases):
                continue
            raise self._refusals.word(
                "column",
                name,
                "unknown_column",
                location,
                set().union(*self._relations.values()),
                hint=self._refusals.quoted_hint(location)
                or "Use a column of the declared views; one with capitals goes in double quotes.",
                words=len(words),
            )

    def columns_read(self) -> frozenset[str] | None:
        """The names of all columns that are read, or None when that may be every one."""
        whole_rows = any(len(words) == 1 and words[0] in self._aliases for words in self._words())
        return None if self._reads_all or whole_rows else frozenset(self._used)

    def _words(self) -> Iterable[list[str]]:
        return (words for words, _location in self._references)

    def _function(self, fields: Fields) -> None:
        """Notes a function in FROM: by which name it goes there, and its columns.

        Its whole row may be a plain text or number, which every function takes that PostgreSQL
        has. So under this name nothing passes but the columns that it has for certain.
        """
        kind, call = next(iter(fields["functions"][0]["List"]["items"][0].items()))
        alias = fields.get("alias", {})
        if kind != "FuncCall" and not alias:
            raise self._refusals.at(
                "what stands in FROM has no name of its own",
                "sql_alias",
                call.get("location"),
                "Name it: FROM … AS name.",
            )
        function = _last(call["funcname"]) if kind == "FuncCall" else ""
        name = alias.get("aliasname", function)
        columns = set(_strings(alias.get("colnames", ()))) or _function_columns(function, name)
        if "ordinality" in fields:
            columns.add("ordinality")
        self._defined.add(name)
        self._functions[name] = self._functions.get(name, frozenset(columns)) & columns

    def _check_of_function(self, words: list[str], location: int | None) -> None:
        columns = self._functions[words[0]]
        if words[1] not in columns:
            raise self._refusals.word(
                "column",
                words[1],
                "unknown_column",
                location,
                columns,
                hint="Name the columns of a function in its alias, AS name (column), and give no"
                " other relation that name.",
                words=len(words),
            )

    def _column(self, fields: Fields) -> None:
        if "A_Star" in fields["fields"][-1]:
            self._reads_all = True
            if len(fields["fields"]) > 2:
                raise self._refusals.construct("RangeVar.schemaname", fields.get("location"))
            return
        words = _strings(fields["fields"])
        self._used.add(words[-1])
        self._references.append((words, fields.get("location")))


def _function_columns(function: str, name: str) -> set[str]:
    """The columns of a function in FROM that goes by that name and does not rename them."""
    kind = function.removesuffix("_text")
    if kind.endswith("_array_elements"):
        return {"value"}
    return {"key", "value"} if kind.endswith("_each") else {name}


def _last(nodes: Collection[Fields]) -> str:
    return _strings(nodes)[-1]


def _strings(nodes: Iterable[Fields]) -> list[str]:
    return [node["String"]["sval"] for node in nodes]
