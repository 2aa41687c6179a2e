"""The classic arguments of `execute` as a typed query."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from researchflow_runners.errors import QueryError
from researchflow_runners.query.model import LIMIT_MAX, AllOf, AnyOf, Compare, Filter, Query

SEARCH_PARAMS_MAX = 50


def query_of(
    view: str,
    search_params: Mapping[str, Any],
    *,
    max_resources: int | None,
    freshness: str | None,
    as_of: int | datetime | str | None,
    max_staleness_s: float | None,
    cursor: str | None,
) -> Query:
    """All columns of the view where each column equals its value, or one of its values.

    Raises QueryError `value_type`; whether the columns exist is checked with the query.
    """
    if len(search_params) > SEARCH_PARAMS_MAX:
        raise _refusal("search_params", f"give at most {SEARCH_PARAMS_MAX} columns")
    try:
        filters = [_equals(column, value) for column, value in search_params.items()]
    except ValidationError as error:
        raise _refusal("search_params", "give texts, numbers, booleans or lists of them") from error
    asked: dict[str, Any] = {
        "limit": LIMIT_MAX if max_resources is None else max_resources,
        "as_of": as_of,
        "max_staleness_s": max_staleness_s,
        "cursor": cursor,
    }
    if freshness is not None:
        asked["freshness"] = freshness
    try:
        return Query(view=view, where=AllOf(all_of=filters) if filters else None, **asked)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        hint = f"give 1 to {LIMIT_MAX}" if field == "limit" else "see the documentation of Query"
        raise _refusal("max_resources" if field == "limit" else field, hint) from error


def _equals(column: str, value: Any) -> Filter:
    if value is None:
        return Compare(column=column, op="is_null")
    if isinstance(value, list | tuple | set | frozenset):
        if not value:
            raise _refusal("search_params", f'give column "{column}" at least one value')
        return AnyOf(any_of=[_equals(column, each) for each in value])
    return Compare(column=column, op="eq", value=value)


def _refusal(field: str, hint: str) -> QueryError:
    return QueryError(
        f'argument "{field}" is not usable', code="value_type", hint=hint, field=field
    )
