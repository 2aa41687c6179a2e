"""A call's arguments as they come: texts must be Unicode, JSON text may stand for an object."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, get_args, get_origin

import orjson
from pydantic import BaseModel

from researchflow_runners.errors import QueryError


def check_text(arguments: Mapping[str, Any]) -> None:
    """Refuses text that is not Unicode, but for resources: those are rejected one by one."""
    pending: list[tuple[str, Any]] = [
        (name, value) for name, value in arguments.items() if name != "resources"
    ]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{path}.{name}", part) for name, part in value.items()]
        elif isinstance(value, list):
            pending += [(f"{path}.{number}", part) for number, part in enumerate(value)]
        for text in (value, path.rpartition(".")[2]):
            if isinstance(text, str) and not text.isascii() and not _is_unicode(text):
                raise _not_unicode(path)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_unicode(path: str) -> QueryError:
    return QueryError(
        f'the argument "{path}" is not Unicode text',
        code="invalid_argument",
        field=path,
        hint="send text without lone surrogates, which are half of a character",
    )


def unquoted(model: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Objects and lists that a client sent as JSON text, as some do, become what they mean."""
    return {
        name: _parsed(value) if _takes_no_text(model, name) else value
        for name, value in arguments.items()
    }


@cache
def _takes_no_text(model: type[BaseModel], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and str not in _leaves(field.annotation)


def _parsed(value: Any) -> Any:
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def _leaves(annotation: Any) -> set[Any]:
    """The alternatives of a type, without looking into containers."""
    if get_origin(annotation) in (list, dict, tuple, Literal) or isinstance(annotation, type):
        return {annotation}
    return set().union(*(_leaves(part) for part in get_args(annotation)))
