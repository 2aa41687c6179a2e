"""A call's arguments as a typed model, or an error that names the argument and the nearest name.

The SDK drops unknown arguments silently, so the tools validate the raw arguments themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from researchflow_runners.errors import QueryError
from researchflow_runners.naming import as_clause, nearest
from researchflow_runners.query.model import (
    AllOf,
    AnyOf,
    AtLeast,
    Compare,
    InQuery,
    Not,
    Within,
)

InputT = TypeVar("InputT", bound=BaseModel)
ECHO_MAX = 60
NO_AGGREGATE = (
    "use one of the allowed values; any other aggregate of PostgreSQL, such as corr(x, y), works "
    "in query_sql"
)
_BOUNDS = 'write two filters in "all_of", one with ge and one with lt; a partial date is a period'
#: Words of other languages for what a filter or an aggregate is called here, and what to write.
OTHER_WORDS: dict[str, tuple[str | None, str | None]] = {
    "average": ("avg", None),
    "mean": ("avg", None),
    "total": ("sum", None),
    "minimum": ("min", None),
    "maximum": ("max", None),
    "std": ("stddev", None),
    "quantile": ("percentile", None),
    "nunique": ("count_distinct", None),
    "distinct": ("count_distinct", None),
    "equals": ("eq", None),
    "=": ("eq", None),
    "==": ("eq", None),
    "!=": ("ne", None),
    "<>": ("ne", None),
    "<": ("lt", None),
    "<=": ("le", None),
    ">": ("gt", None),
    ">=": ("ge", None),
    "like": ("contains", 'use "contains" or "starts_with" with plain text, without % and _'),
    "ilike": ("contains", 'use "contains" or "starts_with" with plain text, without % and _'),
    "between": (None, _BOUNDS),
}
FILTERS: tuple[type[BaseModel], ...] = (Compare, InQuery, Within, AtLeast, AnyOf, AllOf, Not)


def parse_arguments(model: type[InputT], arguments: Mapping[str, Any], *, tool: str) -> InputT:
    """The arguments as `model`.

    Raises QueryError `unknown_argument`, `missing_argument` or `invalid_argument`; `field` is the
    dotted path of the argument at fault.
    """
    try:
        _check_text(arguments)
        return model.model_validate(_unquoted(model, arguments))
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise _argument_error(model, details, tool=tool) from None
    except RecursionError:
        raise QueryError(
            f'the arguments of "{tool}" are nested too deeply',
            code="invalid_argument",
            hint="flatten the filter: all_of and any_of take lists",
        ) from None


def _check_text(arguments: Mapping[str, Any]) -> None:
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


def _unquoted(model: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
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


def _most_telling(details: Sequence[ErrorDetails]) -> ErrorDetails:
    """A misspelt name first, since it causes the missing one; then what lies deepest."""
    rank = {"extra_forbidden": 2, "missing": 1}
    return max(details, key=lambda detail: (rank.get(detail["type"], 0), len(detail["loc"])))


def _argument_error(
    model: type[BaseModel], details: Sequence[ErrorDetails], *, tool: str
) -> QueryError:
    detail = _most_telling(details)
    path = _readable(detail["loc"])
    kind = detail["type"]
    if kind == "extra_forbidden":
        return _unknown_argument(model, detail, path=path, tool=tool)
    if kind == "missing":
        return QueryError(
            f'"{tool}" needs the argument "{path}"',
            code="missing_argument",
            field=path,
            hint=f'call again with "{path}"',
        )
    if kind == "literal_error":
        return _not_a_choice(detail, path=path)
    alternatives = [other for other in details if _readable(other["loc"]) == path]
    reason = _plain(detail) if len(alternatives) == 1 else "none of the types it may have fits"
    return QueryError(
        f'the argument "{path}" is not valid: {reason}',
        code="invalid_argument",
        field=path or None,
        hint="correct the argument; the tool's input schema lists what it takes",
    )


def _unknown_argument(
    model: type[BaseModel], detail: ErrorDetails, *, path: str, tool: str
) -> QueryError:
    name = str(detail["loc"][-1])
    owner = _model_at(model, detail["loc"][:-1])
    allowed = _names_of(owner)
    if owner in FILTERS:
        return _unknown_in_filter(name, allowed, path=path, tool=tool)
    guess = nearest(name, allowed)
    hint = f'use "{guess}"' if guess else "use one of the allowed names; nothing was run"
    return _no_argument(tool, path, allowed=allowed, guess=guess, hint=hint)


def _unknown_in_filter(name: str, allowed: Sequence[str], *, path: str, tool: str) -> QueryError:
    """Filters are told apart by their names, so a wrong name may be one of another kind."""
    every = list(dict.fromkeys(known for kind in FILTERS for known in _names_of(kind)))
    if name in every:
        hint = f'a filter is of one kind: wrap "{name}" and the other one in "all_of"'
        return _no_argument(tool, path, allowed=allowed, guess=None, hint=hint)
    guess = nearest(name, allowed) or nearest(name, every)
    hint = f'use "{guess}"' if guess else "use one of the allowed names; nothing was run"
    return _no_argument(tool, path, allowed=every, guess=guess, hint=hint)


def _no_argument(
    tool: str, path: str, *, allowed: Sequence[str], guess: str | None, hint: str
) -> QueryError:
    return QueryError(
        f'"{tool}" has no argument "{path[:ECHO_MAX]}"',
        code="unknown_argument",
        field=path[:ECHO_MAX],
        allowed=allowed,
        did_you_mean=guess,
        hint=hint,
    )


def _names_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _not_a_choice(detail: ErrorDetails, *, path: str) -> QueryError:
    expected = str(detail.get("ctx", {}).get("expected", ""))
    allowed = [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]
    given = str(detail["input"])[:ECHO_MAX]
    guess, hint = _meant(given, allowed, path.rpartition(".")[2])
    return QueryError(
        f'"{given}" is not a value of "{path}"',
        code="invalid_argument",
        field=path,
        allowed=allowed,
        did_you_mean=guess,
        hint=hint or (f'use "{guess}"' if guess else "use one of the allowed values"),
    )


def _meant(given: str, allowed: Sequence[str], argument: str) -> tuple[str | None, str | None]:
    """The allowed word of that meaning, and what else there is to say.

    An aggregate is never guessed by its spelling: median is as near to min as to nothing.
    """
    guess, hint = OTHER_WORDS.get(given.casefold(), (None, None))
    if guess not in allowed:
        guess = None
    if argument == "fn" or hint is not None:
        return guess, hint or (NO_AGGREGATE if guess is None else None)
    return guess or nearest(given, allowed), None


def _plain(detail: ErrorDetails) -> str:
    """Pydantic's words without the value, which is the caller's data."""
    if detail["type"] in ("union_tag_invalid", "model_type", "model_attributes_type"):
        return "an object is expected"
    return as_clause(detail["msg"])


def _readable(location: tuple[int | str, ...]) -> str:
    """`where.all_of.0.column`: without the class names that pydantic puts between."""
    return ".".join(str(part) for part in location if not _is_type_name(part))


def _is_type_name(part: int | str) -> bool:
    if not isinstance(part, str):
        return False
    return part[:1].isupper() or part in ("str", "int", "float", "bool", "datetime") or "[" in part


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that owns a location, found through field annotations and union tags."""
    owner = model
    candidates: dict[str, type[BaseModel]] = {}
    for part in location:
        if isinstance(part, str) and part in candidates:
            owner = candidates[part]
            continue
        names = {field.alias or name: field for name, field in owner.model_fields.items()}
        if isinstance(part, str) and part in names:
            found = _models_in(names[part].annotation)
            candidates = {found_model.__name__: found_model for found_model in found}
            owner = found[0] if len(found) == 1 else owner
    return owner


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for part in get_args(annotation) for model in _models_in(part)]
