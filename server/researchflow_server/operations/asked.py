"""A request to an operation as one typed value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from researchflow_server.operations.body import read_body
from researchflow_server.operations.filters import Filters, filters_of
from researchflow_server.operations.negotiation import Format, choose_format
from researchflow_server.operations.outcome import OperationError
from researchflow_server.operations.parameters import (
    Operation,
    Values,
    in_body,
    in_query,
    merged,
)

LIMIT_MAX = 2**31 - 1
#: The parameter that names the subject when the address does.
INSTANCE = "id"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to run, over what, and how it is given.

    `subject` is the value of the parameter `named_by`: a reference, a canonical URL or a resource.
    `resources` are None for a run over what is stored; `parameters` are values for SQL.
    """

    named_by: str
    subject: str | dict[str, Any]
    resources: tuple[dict[str, Any], ...] | None
    parameters: dict[str, Any] | None
    filters: Filters
    limit: int | None
    format: Format
    header: bool


async def read_asked(operation: Operation, request: Request) -> Asked:
    """The request, read whole and checked; OperationError names what cannot be honoured."""
    query = in_query(operation, request.query_params.multi_items())
    body = await read_body(request) if request.method == "POST" else None
    values = merged(operation, query, _of_body(operation, body) if body is not None else {})
    named_by, subject = _subject(operation, values, request.path_params.get(INSTANCE))
    resources = values.get("resource")
    return Asked(
        named_by=named_by,
        subject=subject,
        resources=None if resources is None else tuple(resources),
        parameters=_one(values, "parameters"),
        filters=filters_of(values, is_inline=resources is not None),
        limit=_limit(values),
        format=choose_format(_one(values, "_format"), request.headers.get("accept")),
        header=_one(values, "header") is not False,
    )


def check_goes_with(asked: Asked, *, is_view: bool) -> None:
    """OperationError `parameter_conflict` for a parameter that says nothing about the subject."""
    if is_view and asked.parameters is not None:
        raise _conflict("parameters", "a ViewDefinition has no parameters", "invalid")
    if not is_view and asked.resources is not None:
        raise _conflict("resource", "SQL runs over stored views only", "invalid")
    if not is_view and asked.filters.since is not None:
        raise _conflict("_since", "views that are merged do not tell when", "not-supported")


def _of_body(operation: Operation, body: Mapping[str, Any]) -> Values:
    """The parameters in the body; a body that is no Parameters is the subject itself."""
    if body.get("resourceType") == "Parameters":
        return in_body(operation, body)
    inline = next(parameter for parameter in operation.subjects if parameter.is_resource)
    return {inline.name: [body]}


def _subject(
    operation: Operation, values: Values, instance: str | None
) -> tuple[str, str | dict[str, Any]]:
    names = [parameter.name for parameter in operation.subjects]
    given = [name for name in names if name in values]
    if instance is not None and not given:
        return INSTANCE, instance
    if instance is not None or len(given) > 1:
        both = "the address" if instance is not None else f'"{given[1]}"'
        raise _refused(f'"{given[0]}" and {both} both name what is to run', given[0], "invalid")
    if not given:
        raise _refused("nothing names what is to run", names[0], "required", names)
    return given[0], values[given[0]][0]


def _limit(values: Values) -> int | None:
    limit: int | None = _one(values, "_limit")
    if limit is None or 0 <= limit <= LIMIT_MAX:
        return limit
    raise OperationError(
        f'"_limit" is not between 0 and {LIMIT_MAX}',
        status=400,
        issue="value",
        code="parameter_invalid",
        field="_limit",
        hint="give a smaller limit, or leave it out for all rows",
    )


def _one(values: Values, name: str) -> Any:
    return values[name][0] if name in values else None


def _conflict(name: str, why: str, issue: str) -> OperationError:
    return OperationError(
        f'"{name}" does not apply to what is to run: {why}',
        status=400,
        issue=issue,
        code="parameter_conflict",
        field=name,
        hint="leave it out",
    )


def _refused(
    message: str, field: str, issue: str, allowed: list[str] | None = None
) -> OperationError:
    return OperationError(
        message,
        status=400,
        issue=issue,
        code="subject_required" if issue == "required" else "subject_ambiguous",
        field=field,
        allowed=allowed or (),
        hint="name what is to run in exactly one way",
    )
