"""SQL/JSON paths under construction: a base value and the steps to take from it.

Lax mode visits arrays the way FHIRPath flattens collections, so a whole navigation chain, `where`
filters included, can become one path that PostgreSQL evaluates in C. Constants become path
variables and travel as parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from researchflow_runners.sql import Sql, compose, fixed, param


@dataclass(frozen=True, slots=True)
class Variable:
    """A constant inside a path: a JSON scalar, as JSON text so that decimals stay exact."""

    json_text: str


PathParts: TypeAlias = tuple[str | Variable, ...]
#: What key_step() writes.
KEY_STEP = re.compile(r'\."(\w+)"')


def key_step(key: str) -> str:
    """The step to an object's member; `key` is an element name of the FHIR model."""
    if not key.replace("_", "a").isalnum() or not key.isascii():
        raise ValueError(f"not a FHIR element name: {key!r}")
    return f'."{key}"'


def render_path(parts: PathParts) -> tuple[str, dict[str, str]]:
    """The path's text and its variables, name → JSON text; equal constants share a name."""
    names: dict[str, str] = {}
    text = "$"
    for part in parts:
        if isinstance(part, str):
            text += part
        else:
            text += "$" + names.setdefault(part.json_text, f"c{len(names)}")
    return text, {name: value for value, name in names.items()}


def call(function: str, base: Sql, parts: PathParts) -> Sql:
    """A call of one of PostgreSQL's jsonb_path_* functions."""
    text, variables = render_path(parts)
    # The path holds element names and operators only; everything else is a variable.
    path = fixed(f"'{text}'")
    if not variables:
        return compose(f"{function}({{}}, {{}})", base, path)
    pairs = ", ".join(f'"{name}": {value}' for name, value in variables.items())
    return compose(f"{function}({{}}, {{}}, {{}})", base, path, param("{" + pairs + "}", "jsonb"))


def json_scalar(value: Any) -> str:
    """A Python scalar as JSON text."""
    return json.dumps(value)


def concatenated(*parts: str | PathParts) -> PathParts:
    """The parts one after the other."""

    def flat() -> Iterator[str | Variable]:
        for part in parts:
            if isinstance(part, str):
                yield part
            else:
                yield from part

    return tuple(flat())
