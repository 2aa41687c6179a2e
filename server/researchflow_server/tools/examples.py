"""What to write instead: one correct example of each argument that is no plain value, and words
for what a wrong value was meant to be.

A model corrects a call from an example in one go; from a type's name it guesses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, get_args

from researchflow_runners.query.group_model import AggregateFunction
from researchflow_runners.query.model import LIMIT_MAX

EXAMPLE_BYTES_MAX = 80
ECHO_MAX = 60

_FILTER: dict[str, Any] = {"column": "gender", "op": "eq", "value": "female"}
#: By the argument's name: a part of it where it is a list, else the whole.
EXAMPLES: dict[str, Any] = {
    "where": _FILTER,
    "not": _FILTER,
    "all_of": _FILTER,
    "any_of": _FILTER,
    "at_least.of": _FILTER,
    "at_least": {"n": 2, "of": ["filter", "filter", "filter"]},
    "within": {"days": 90, "side": "after", "of": {"view": "encounters"}},
    "within.of": {"view": "encounters", "which": "last"},
    "query": {"view": "encounters", "column": "patient_id"},
    "having": {"column": "count", "op": "ge", "value": 3},
    "draw.query": {"view": "encounters", "group_by": ["class_code"]},
    "latest_per": {"key": "patient_id", "by": "issued"},
    "first_per": {"key": "patient_id", "by": "issued"},
    "columns": "gender",
    "group_by": "gender",
    "aggregates": {"fn": "avg", "column": "value_quantity"},
    "order_by": {"column": "gender", "descending": True},
    "parameters": {"code": "4548-4"},
    "resources": {"resourceType": "Patient", "id": "12", "gender": "female"},
    "delete": "Patient/12",
    "definition": {"name": "women", "sql": "SELECT id FROM patient_simple"},
    "kinds": "lab",
}
LISTS = frozenset(
    {
        "all_of", "any_of", "at_least.of", "columns", "group_by", "aggregates", "order_by",
        "resources", "delete", "kinds",
    }
)  # fmt: skip
_ALL = "without it every row is kept"
#: What it means to leave out an argument that was given empty.
EMPTY = {
    "where": _ALL,
    "not": _ALL,
    "all_of": _ALL,
    "any_of": _ALL,
    "having": "without it every group is kept",
    "query": "a semi-join needs the view it looks into, a comparison has no query",
    "latest_per": "without it all rows of a key are kept",
    "first_per": "without it all rows of a key are kept",
}
FILTERS = frozenset({"where", "not", "all_of", "any_of", "at_least.of", "having"})

#: What an argument that is a plain value takes, where its name does not say.
VALUES = {
    "limit": f"give a whole number from 1 to {LIMIT_MAX}; next_cursor as cursor goes on after it",
    "as_of": "give an anchor's number, a pin's name, or an instant such as 2026-01-31T08:00:00Z",
    "max_staleness_s": "give seconds, more than 0",
    "cursor": "give next_cursor of the answer before, as it is",
    "value": "give a text, a number, true or false; for in and not_in a flat list of them:"
    ' {"op": "in", "value": ["a", "b"]}',
    "wait_s": "give seconds from 0 to 45",
    "expires_in_s": "give whole seconds from 60 to 2592000, which is 30 days",
    "min_rows": "give a whole number from 1 to 1000",
    "width": "give a number: 10",
    "p": "give a part of 1: 0.9 for the 90th percentile",
    "days": "give whole days from 0 to 36525",
    "n": "give a whole number, 1 at least",
    "age_brackets": "give the lower bounds as whole numbers: [18, 40, 65]",
}
_ORDER = re.compile(r"\s*([\w.]+)(?:\s+(asc|desc)(?:ending)?)?\s*", re.IGNORECASE)
_CALL = re.compile(r"\s*(\w+)\s*\(\s*(\*|\w*)\s*\)\s*")


def named(path: str) -> str:
    """The argument at a dotted path: its last name, with the one before where that decides."""
    if path == "query":
        return "draw.query"
    names = [part for part in path.split(".") if not part.isdigit()]
    last = ".".join(names[-2:])
    return last if last in EXAMPLES else names[-1] if names else ""


def instead(path: str, given: Any) -> str | None:
    """What to write at the path in place of what was given; None where no words are known."""
    name = named(path)
    if name == "value" and isinstance(given, dict) and "view" in given:
        return f'rows of another view stand under "query": {json.dumps(EXAMPLES["query"])}'
    if name not in EXAMPLES:
        return VALUES.get(name)
    is_whole = not path.rpartition(".")[2].isdigit()
    if name in FILTERS and not (name in LISTS and is_whole):
        return _filter(given, EXAMPLES[name])
    meant = _meant(name, given)
    if name in LISTS and is_whole:
        return f"give a list: {json.dumps(meant if isinstance(meant, list) else [meant])}"
    return f"write {json.dumps(meant)}"


def _filter(given: Any, example: dict[str, Any]) -> str:
    if isinstance(given, list):
        return f"put several filters into one object: {json.dumps({'all_of': [example]})}"
    hint = f"write {json.dumps(example)}"
    return f"{hint}; SQL goes to query_sql" if isinstance(given, str) else hint


def _meant(name: str, given: Any) -> Any:
    """What the given value says in the form that is taken, or the example."""
    if isinstance(given, dict) and name in LISTS and len(json.dumps(given)) <= EXAMPLE_BYTES_MAX:
        return given
    if not isinstance(given, str) or len(given) > ECHO_MAX:
        return EXAMPLES[name]
    if name == "order_by" and (ordered := _ORDER.fullmatch(given)):
        column, direction = ordered.groups()
        descending = {"descending": True} if (direction or "").lower() == "desc" else {}
        return {"column": column, **descending}
    if name == "aggregates":
        return aggregate(given) or EXAMPLES[name]
    return given if name in ("columns", "group_by", "delete", "kinds") else EXAMPLES[name]


def aggregate(given: str) -> dict[str, str] | None:
    """`avg(x)` or `count` as an aggregate; None when there is none of exactly that name."""
    called = _CALL.fullmatch(given)
    function, column = called.groups() if called else (given.strip(), "")
    if function.lower() not in aggregate_names():
        return None
    return {"fn": function.lower(), **({"column": column} if column not in ("", "*") else {})}


def aggregate_names() -> Sequence[str]:
    """Every aggregate there is."""
    return get_args(AggregateFunction)
