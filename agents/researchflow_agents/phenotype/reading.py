"""A phenotype from JSON, or an error that names the criterion at fault."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from researchflow_agents.errors import INPUT_INVALID, UNSUPPORTED, AgentError
from researchflow_agents.phenotype.criteria import (
    AllOf,
    AnyOf,
    Criterion,
    Demographics,
    Not,
    Phenotype,
)

FILE_BYTES_MAX = 1_000_000
_KINDS = ("demographics", "condition", "lab", "medication", "procedure")


def read_json(path: Path) -> Any:
    """The JSON of a file; AgentError `input_invalid` names the file and the line."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _unreadable(path, f"is larger than {FILE_BYTES_MAX} bytes")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        where = f"is not JSON at line {error.lineno}, column {error.colno}"
        raise _unreadable(path, where) from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(path, "is not JSON in UTF-8") from error


def parse_phenotype(raw: Any) -> Phenotype:
    """The phenotype; what it cannot express is AgentError `unsupported`, never left out."""
    try:
        return Phenotype.model_validate(raw)
    except ValidationError as error:
        raise criteria_error(raw, error.errors(include_url=False)) from None


def criteria_error(raw: Any, details: Sequence[ErrorDetails]) -> AgentError:
    """The first fault of an input, an unknown key before others."""
    detail = min(details, key=lambda each: each["type"] != "extra_forbidden")
    path, owner, label = _place(raw, detail["loc"])
    at = f' of "{label}"' if label else ""
    if detail["type"] == "extra_forbidden":
        return AgentError.of(
            UNSUPPORTED,
            f'"{detail["loc"][-1]}"{at} cannot be expressed',
            field=path,
            hint="use the documented fields only; windows relative to other events have none",
        )
    if detail["type"].startswith("union_tag"):
        kind = owner.get("kind") if isinstance(owner, Mapping) else None
        return AgentError.of(
            UNSUPPORTED,
            f'the criterion at "{path}" has no kind this agent knows: "{kind}"',
            field=path,
            allowed=(*_KINDS, "all_of", "any_of", "not"),
            hint="give kind, or one of all_of, any_of and not",
        )
    words = detail["msg"].removeprefix("Value error, ")
    return AgentError.of(
        INPUT_INVALID,
        f'"{path or "the input"}"{at} is not valid: {words[:1].lower() + words[1:]}',
        field=path or None,
        hint="correct the field; see the examples",
    )


def name_of(criterion: Criterion) -> str:
    """Its label, or what it looks for in a few words."""
    if criterion.label:
        return criterion.label
    if isinstance(criterion, Not):
        return f"not {name_of(criterion.not_)}"
    if isinstance(criterion, AllOf):
        return " and ".join(name_of(part) for part in criterion.all_of)
    if isinstance(criterion, AnyOf):
        return " or ".join(name_of(part) for part in criterion.any_of)
    if isinstance(criterion, Demographics):
        return "demographics"
    return f"{criterion.kind} {', '.join(criterion.codes) or 'any'}"


def _place(raw: Any, location: Sequence[int | str]) -> tuple[str, Any, str | None]:
    """The path in the reader's own words, what stands there, and the nearest label above it."""
    path: list[str] = []
    label: str | None = None
    for part in location:
        if isinstance(raw, Mapping):
            label = raw.get("label", label)
        if (isinstance(raw, Mapping) and part in raw) or (
            isinstance(raw, Sequence) and isinstance(part, int) and part < len(raw)
        ):
            raw = raw[part]  # type: ignore[index]  # one of the two, checked above
            path.append(str(part))
        elif part == location[-1]:
            path += [str(part)] if part not in _KINDS else []
    return ".".join(path), raw, label


def _unreadable(path: Path, why: str) -> AgentError:
    return AgentError.of(
        INPUT_INVALID,
        f'"{path}" {why}',
        field=str(path),
        hint="give a JSON file like those in the examples folder",
    )
