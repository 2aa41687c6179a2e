"""Parameters that a SQL text declares, and values for them as the driver binds them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from researchflow_runners.compiler.constants import LEXICAL
from researchflow_runners.errors import QueryError
from researchflow_runners.naming import nearest

#: Parameter types and the PostgreSQL type their values are bound as.
PARAMETER_TYPES = {
    "string": "text",
    "code": "text",
    "id": "text",
    "uri": "text",
    "integer": "integer",
    "decimal": "numeric",
    "boolean": "boolean",
    "date": "text",
    "dateTime": "text",
}
FIELD = "parameters"
INTEGER_BITS = 31
TEXT_CHARS_MAX = 10_000
#: Characters of an unknown name that are told.
NAME_SHOWN_MAX = 64


@dataclass(frozen=True, slots=True)
class SqlParameter:
    """A parameter `:name` of the SQL; `documentation` is what its author says of it."""

    name: str
    fhir_type: str
    documentation: str | None = None

    @property
    def pg_type(self) -> str:
        """The PostgreSQL type that its value is bound as; dates are compared as their text."""
        return PARAMETER_TYPES[self.fhir_type]


def types_of(parameters: Iterable[SqlParameter]) -> dict[str, str]:
    """The PostgreSQL type of each parameter."""
    return {parameter.name: parameter.pg_type for parameter in parameters}


def value_of_type(parameter: SqlParameter, value: Any) -> Any:
    """The value as the driver takes it; None when it is of another type than declared."""
    kind = parameter.pg_type
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind == "integer":
        fits = type(value) is int and value.bit_length() <= INTEGER_BITS
        return value if fits else None
    if kind == "numeric":
        return _decimal(value)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX:
        return None
    pattern = LEXICAL.get(parameter.fhir_type)
    return value if pattern is None or re.fullmatch(pattern, value) else None


def values_of(
    view: str, declared: Sequence[SqlParameter], given: Mapping[str, Any]
) -> dict[str, Any]:
    """One value for each declared parameter of the view.

    QueryError `unknown_parameter`, `parameter_missing` or `parameter_type` names the first that
    does not fit, and never tells a value.
    """
    takes = {parameter.name: parameter.fhir_type for parameter in declared}
    for name in given:
        if name not in takes:
            raise _unknown(view, name, takes)
    found = {}
    for parameter in declared:
        if parameter.name not in given:
            raise _refused(
                f'view "{view}" takes a value for "{parameter.name}"',
                "parameter_missing",
                parameter,
            )
        found[parameter.name] = value_of_type(parameter, given[parameter.name])
        if found[parameter.name] is None:
            raise _refused(
                f'the value for "{parameter.name}" is no {parameter.fhir_type}',
                "parameter_type",
                parameter,
            )
    return found


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool | str | list | dict) or value is None:
        return None
    try:
        return Decimal(orjson.dumps(value).decode())
    except InvalidOperation:
        return None


def _unknown(view: str, name: str, takes: Mapping[str, str]) -> QueryError:
    shown = name[:NAME_SHOWN_MAX]
    told = ", ".join(f"{one} ({kind})" for one, kind in takes.items())
    return QueryError(
        f'view "{view}" takes no parameter "{shown}"',
        code="unknown_parameter",
        field=f"{FIELD}.{shown}",
        allowed=tuple(takes),
        did_you_mean=nearest(shown, takes),
        hint=f"it takes {told}" if takes else "it takes none: filter its rows by where",
    )


def _refused(message: str, code: str, parameter: SqlParameter) -> QueryError:
    return QueryError(
        message,
        code=code,
        field=f"{FIELD}.{parameter.name}",
        hint=f'give "{FIELD}" a value of type {parameter.fhir_type} under "{parameter.name}"',
    )
