"""The words of a SQL text that are judged one by one: functions, types, operators, constants."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from researchflow_runners.composed.dialects import OPERATOR_HINTS, TYPE_HINTS
from researchflow_runners.composed.refusal import Refusals
from researchflow_runners.composed.vocabulary import (
    AGGREGATES,
    ARGUMENTS_MIN,
    CLOCK_HINT,
    CLOCK_WORD,
    CLOCK_WORDS,
    COLLATIONS,
    DATE_TYPES,
    FORMAT_WIDTH,
    FUNCTION_HINTS,
    FUNCTIONS,
    OPERATORS,
    ORDERED_AGGREGATES,
    ORDERED_WINDOW_FUNCTIONS,
    TIME_WORDS,
    TYPES,
    WIDTH_ARGUMENTS,
    WIDTH_MAX,
)
from researchflow_runners.errors import ViewDefinitionError

CATALOG = "pg_catalog"
_LIKE_KINDS = ("AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_OP_ALL", "AEXPR_LIKE", "AEXPR_ILIKE")
#: The bit of a window's frame that is counted in rows (FRAMEOPTION_ROWS).
FRAME_OF_ROWS = 4

Fields = Mapping[str, Any]


class WordCheck:
    """Refuses the words that the vocabulary lacks."""

    def __init__(self, refusals: Refusals, windows: Mapping[str, bool] | None = None) -> None:
        """`windows` tells of the windows named in this SELECT whether they are ordered."""
        self._refusals = refusals
        self._windows = windows or {}

    def within(self, select: Fields) -> WordCheck:
        """The check for what a SELECT holds."""
        windows: dict[str, bool] = {}
        for wrapped in select.get("windowClause", ()):
            window = wrapped["WindowDef"]
            windows[window["name"]] = _is_ordered(window, windows)
        return WordCheck(self._refusals, windows)

    def check(self, kind: str, fields: Fields) -> None:
        """Judges the node's own words."""
        if kind == "TypeCast":
            self._cast(fields)
        elif kind == "A_Const":
            self._constant(fields)
        elif kind == "A_Expr" and fields["kind"] in _LIKE_KINDS:
            self._operator(fields["name"], fields.get("location"))
        elif kind == "SubLink":
            self._subquery(fields)
        elif kind == "CollateClause":
            self._one_of("the collation", fields["collname"], COLLATIONS, "sql_type", fields)
        elif kind == "SelectStmt":
            self._limit(fields)
        elif kind == "A_Indirection":
            self._indirection(fields)

    def function(self, fields: Fields) -> None:
        """Judges the function of a call."""
        words = _strings(fields["funcname"])
        name, location = words[-1], fields.get("location")
        too_few = len(fields.get("args", ())) < ARGUMENTS_MIN.get(name, 0)
        if words[:-1] not in ([], [CATALOG]) or name not in FUNCTIONS or too_few:
            shown, instead = ".".join(words), FUNCTION_HINTS.get(name)
            if instead is not None:
                raise self._refusals.instead(shown, location, instead, words=len(words))
            raise self._refusals.word(
                "the function",
                shown,
                "sql_function",
                location,
                FUNCTIONS,
                words=len(words),
                unguessed=AGGREGATES,
            )
        self._order(name, fields)
        self._width(name, fields)

    def _order(self, name: str, fields: Fields) -> None:
        """Refuses a call whose result depends on an order of rows that nothing gives."""
        location, over = fields.get("location"), fields.get("over")
        if over is None:
            if name in ORDERED_AGGREGATES and "agg_order" not in fields:
                raise self._unordered(f"'{name}'", location, f"{name}(… ORDER BY …)")
            return
        by_place = name in ORDERED_AGGREGATES | ORDERED_WINDOW_FUNCTIONS
        by_place = by_place or bool(over["frameOptions"] & FRAME_OF_ROWS)
        if by_place and not _is_ordered(over, self._windows):
            raise self._unordered(f"'{name}'", location, "OVER (… ORDER BY …)")

    def _width(self, name: str, fields: Fields) -> None:
        """Refuses a call that could make a text of any size."""
        place, arguments = WIDTH_ARGUMENTS.get(name), fields.get("args", ())
        if place is None or (len(arguments) > place and _is_narrow(name, arguments[place])):
            return
        raise self._refusals.at(
            f"'{name}' may make a text of any width",
            "sql_too_large",
            fields.get("location"),
            f"Write the width as a number of at most {WIDTH_MAX}, and the format as a constant.",
        )

    def session_value(self, fields: Fields) -> ViewDefinitionError:
        """The refusal of a value that PostgreSQL takes from the clock or the session."""
        name = str(fields["op"]).removeprefix("SVFOP_").removesuffix("_N").lower()
        is_clock = "TIME" in fields["op"] or "DATE" in fields["op"]
        hint = CLOCK_HINT if is_clock else "Leave it out: who asks is no part of an answer."
        location = fields.get("location")
        return self._refusals.instead(name, location, hint)

    def _cast(self, fields: Fields) -> None:
        kind = fields["typeName"]
        self._one_of("the type", kind["names"], TYPES, "sql_type", kind)
        constant = fields.get("arg", {}).get("A_Const", {})
        text = constant.get("sval", {}).get("sval", "")
        if _strings(kind["names"])[-1] in DATE_TYPES and CLOCK_WORD.search(text):
            raise self._clock(text, constant)

    def _constant(self, fields: Fields) -> None:
        text = fields.get("sval", {}).get("sval", "")
        words = {word.lower() for word in re.findall("[A-Za-z]+", text)}
        if words & CLOCK_WORDS and words <= CLOCK_WORDS | TIME_WORDS:
            raise self._clock(text, fields)

    def _operator(self, name: Sequence[Fields], location: int | None) -> None:
        words = _strings(name)
        if words[:-1] not in ([], [CATALOG]) or words[-1] not in OPERATORS:
            raise self._refusals.word(
                "the operator",
                ".".join(words),
                "sql_operator",
                location,
                OPERATORS,
                hint=OPERATOR_HINTS.get(words[-1]),
            )

    def _subquery(self, fields: Fields) -> None:
        if "operName" in fields:
            self._operator(fields["operName"], fields.get("location"))
        rows = fields["subselect"].get("SelectStmt", {})
        if fields["subLinkType"] == "ARRAY_SUBLINK" and "sortClause" not in rows:
            location = fields.get("location")
            raise self._unordered("'ARRAY'", location, "ARRAY(SELECT … ORDER BY …)")

    def _limit(self, fields: Fields) -> None:
        """A part of the rows must be the same part each time."""
        for clause, name in (("limitCount", "LIMIT"), ("limitOffset", "OFFSET")):
            if clause in fields and "sortClause" not in fields:
                raise self._unordered(f"'{name}'", name, "ORDER BY … LIMIT")
        if any(fields.get("distinctClause", ())) and "sortClause" not in fields:
            raise self._unordered("'DISTINCT ON'", "distinct", "DISTINCT ON (…) … ORDER BY …")

    def _indirection(self, fields: Fields) -> None:
        """`(value).name` is also how PostgreSQL calls a function of that name."""
        for part in fields["indirection"]:
            kind = next(iter(part))
            if kind != "A_Indices":
                location = next(iter(fields["arg"].values())).get("location")
                raise self._refusals.construct(f"A_Indirection.{kind}", location)

    def _one_of(
        self, what: str, names: Sequence[Fields], allowed: frozenset[str], code: str, fields: Fields
    ) -> None:
        words = _strings(names)
        if words[:-1] not in ([], [CATALOG]) or words[-1] not in allowed:
            location = fields.get("location")
            hint = TYPE_HINTS.get(words[-1].lower())
            raise self._refusals.word(what, ".".join(words), code, location, allowed, hint=hint)

    def _clock(self, text: str, fields: Fields) -> ViewDefinitionError:
        return self._refusals.at(
            f"the text '{text.strip()}' means the time of the statement",
            "sql_clock",
            fields.get("location"),
            CLOCK_HINT,
        )

    def _unordered(self, what: str, place: int | str | None, instead: str) -> ViewDefinitionError:
        return self._refusals.at(
            f"{what} without an order gives other rows each time",
            "sql_unordered",
            place,
            f"Write {instead}, with an order that leaves no ties.",
        )


def _is_ordered(window: Fields, named: Mapping[str, bool]) -> bool:
    """Whether a window, or one of these that it refers to, has an order."""
    refers_to = (window.get("refname"), window.get("name"))
    return "orderClause" in window or any(named.get(name, False) for name in refers_to if name)


def _is_narrow(name: str, argument: Fields) -> bool:
    """Whether the argument is a constant that asks for no more than WIDTH_MAX characters."""
    constant = argument.get("A_Const", {})
    if name != "format":
        return "ival" in constant and int(constant["ival"].get("ival", 0)) <= WIDTH_MAX
    widths = FORMAT_WIDTH.findall(constant.get("sval", {}).get("sval", ""))
    return "sval" in constant and all(one != "*" and int(one) <= WIDTH_MAX for one in widths)


def _strings(nodes: Sequence[Fields]) -> list[str]:
    """The texts of a dotted name."""
    return [node["String"]["sval"] for node in nodes]
