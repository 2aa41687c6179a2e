"""A call's arguments as a typed model, or an error by which the call can be mended at once.

The SDK drops unknown arguments silently, so the tools validate the raw arguments themselves. An
error says what to write instead: the name used here (words.py), or an example (examples.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from researchflow_runners.errors import QueryError
from researchflow_runners.naming import as_clause
from researchflow_runners.query.model import AllOf, AnyOf, AtLeast, Compare, InQuery, Not, Within
from researchflow_server.tools import words
from researchflow_server.tools.examples import EMPTY, EXAMPLES, instead, named
from researchflow_server.tools.raw import check_text, unquoted
from researchflow_server.tools.words import Word

InputT = TypeVar("InputT", bound=BaseModel)
ECHO_MAX = 60
FILTERS: tuple[type[BaseModel], ...] = (Compare, InQuery, Within, AtLeast, AnyOf, AllOf, Not)
#: A filter's wrong name may be a column's, which is like none of its own.
ALIKE = 0.75
SEE_SCHEMA = "correct the argument; the tool's input schema lists what it takes"


def parse_arguments(model: type[InputT], arguments: Mapping[str, Any], *, tool: str) -> InputT:
    """The arguments as `model`.

    Raises QueryError `unknown_argument`, `missing_argument` or `invalid_argument`; `field` is the
    dotted path of the argument at fault.
    """
    try:
        check_text(arguments)
        return model.model_validate(unquoted(model, arguments))
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise _argument_error(model, details, tool=tool) from None
    except RecursionError:
        raise QueryError(
            f'the arguments of "{tool}" are nested too deeply',
            code="invalid_argument",
            hint="flatten the filter: all_of and any_of take lists",
        ) from None


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
    if (emptied := _emptied(detail, path)) is not None:
        return _leave_out(emptied)
    if kind == "missing" or detail["input"] is None:
        return _missing(detail, path=path, tool=tool)
    if kind == "literal_error":
        return _not_a_choice(detail, path=path)
    alternatives = [other for other in details if _readable(other["loc"]) == path]
    reason = _plain(detail) if len(alternatives) == 1 else "none of the types it may have fits"
    return QueryError(
        f'the argument "{path}" is not valid: {reason}',
        code="invalid_argument",
        field=path or None,
        hint=instead(path, detail["input"]) or SEE_SCHEMA,
    )


def _emptied(detail: ErrorDetails, path: str) -> str | None:
    """The path of what was given empty, an object or a list, and may be left out."""
    if detail["input"] not in ({}, []):
        return None
    owner = path.rpartition(".")[0] if detail["type"] == "missing" else path
    return owner if named(owner) in EMPTY else None


def _leave_out(path: str) -> QueryError:
    return QueryError(
        f'the argument "{path}" is empty',
        code="invalid_argument",
        field=path,
        hint=f"leave it out: {EMPTY[named(path)]}",
    )


def _missing(detail: ErrorDetails, *, path: str, tool: str) -> QueryError:
    return QueryError(
        f'"{tool}" needs the argument "{path}"',
        code="missing_argument",
        field=path,
        hint=_with_example(f'call again with "{path}"', path),
    )


def _with_example(hint: str, path: str) -> str:
    """The hint with an example of the object that lacks something, or of the argument itself."""
    owner = path.rpartition(".")[0]
    example = instead(path, None) if named(path) in EXAMPLES else instead(owner, None)
    return f"{hint}: {example}" if example else hint


def _unknown_argument(
    model: type[BaseModel], detail: ErrorDetails, *, path: str, tool: str
) -> QueryError:
    name = str(detail["loc"][-1])
    owner = _model_at(model, detail["loc"][:-1])
    allowed = _names_of(owner)
    if owner in FILTERS:
        return _unknown_in_filter(name, allowed, path=path, tool=tool)
    word = words.argument([kind.__name__ for kind in owner.__mro__], name, allowed)
    return _no_argument(tool, path, allowed=allowed, word=word)


def _unknown_in_filter(name: str, allowed: Sequence[str], *, path: str, tool: str) -> QueryError:
    """Filters are told apart by their names, so a wrong name may be one of another kind."""
    every = list(dict.fromkeys(known for kind in FILTERS for known in _names_of(kind)))
    if name in every:
        hint = f'a filter is of one kind: wrap "{name}" and the other one in "all_of"'
        return _no_argument(tool, path, allowed=allowed, word=Word(None, hint))
    word = words.argument(["Filter"], name, allowed, cutoff=ALIKE)
    if word == Word(None):
        word = words.argument(["Filter"], name, every, cutoff=ALIKE)
    example = instead("having" if path.startswith("having") else "where", None)
    simple = f'use "{word.name}"' if word.name else f"{example}; nothing was run"
    return _no_argument(tool, path, allowed=every, word=word._replace(hint=word.hint or simple))


def _no_argument(tool: str, path: str, *, allowed: Sequence[str], word: Word) -> QueryError:
    simple = f'use "{word.name}"' if word.name else "use one of the allowed names; nothing was run"
    return QueryError(
        f'"{tool}" has no argument "{path[:ECHO_MAX]}"',
        code="unknown_argument",
        field=path[:ECHO_MAX],
        allowed=allowed,
        did_you_mean=word.name,
        hint=word.hint or simple,
    )


def _names_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _not_a_choice(detail: ErrorDetails, *, path: str) -> QueryError:
    expected = str(detail.get("ctx", {}).get("expected", ""))
    allowed = [part.strip(" '") for part in expected.replace(" or ", ", ").split(",")]
    given = str(detail["input"])[:ECHO_MAX]
    word = words.value(named(path), given, allowed)
    simple = f'use "{word.name}"' if word.name else "use one of the allowed values"
    return QueryError(
        f'"{given}" is not a value of "{path}"',
        code="invalid_argument",
        field=path,
        allowed=allowed,
        did_you_mean=word.name,
        hint=word.hint or simple,
    )


def _plain(detail: ErrorDetails) -> str:
    """Pydantic's words without the value, which is the caller's data."""
    if detail["type"] in ("union_tag_invalid", "model_type", "model_attributes_type", "dict_type"):
        return "an object is expected"
    if detail["type"] == "list_type":
        return "a list is expected"
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
