"""What a name that is no column was meant to be: a call of a function, all columns, another view's.

SQL takes these where a typed question has an argument of its own for each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import get_args

from researchflow_runners.naming import nearest
from researchflow_runners.query.group_model import AggregateFunction

_CALL = re.compile(r"(\w+)\s*\(\s*(distinct\s+)?(\*|\w*)\s*\)", re.IGNORECASE)
_NAME = re.compile(r"\w+\.(\w+)")
_INSTEAD_OF_AGE = (
    'ages are told from the date of birth: group_by {"age_at": "today", "width": 10}, or where '
    '{"column": "birth_date", "op": "le", "value": "today-65y"}'
)
PARTS_OF_DATES = ("year", "quarter", "month", "decade")


def meant(name: str, columns: Sequence[str]) -> tuple[str | None, str]:
    """The column that was meant, if it was one, and what to do."""
    called = _CALL.match(name.strip())
    if called is not None:
        return None, _instead_of_call(*called.groups())
    if name.strip() == "*":
        return None, "leave columns out: the answer shows all of them"
    qualified = _NAME.fullmatch(name.strip())
    if qualified is not None and qualified[1] in columns:
        return qualified[1], f'use "{qualified[1]}": a column is named without its view'
    guess = nearest(name, columns)
    if guess is None and name.strip().lower() == "age":
        return None, _INSTEAD_OF_AGE
    return guess, "use one of the view's columns"


def _instead_of_call(function: str, distinct: str | None, column: str) -> str:
    fn = function.lower()
    of = {"column": column} if column not in ("", "*") else {}
    if fn in PARTS_OF_DATES:
        return f"write in group_by {json.dumps({**of, 'bucket': fn})}"
    if fn == "count" and distinct:
        return f"write in aggregates {json.dumps({'fn': 'count_distinct', **of})}"
    if fn in get_args(AggregateFunction):
        return f"write in aggregates {json.dumps({'fn': fn, **of})}"
    return "columns are names; what is computed of them is asked with aggregates, or query_sql"
