"""JSON from a stranger, parsed into what HAPI would store; refused when that would lose a thing.

The stored text keeps every number as it was written. orjson is fast but turns numbers into
doubles and keeps the last of two equal keys, so its result counts only when writing it again
gives the same bytes; all other input takes the exact and slower way through `json`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

import orjson

from researchflow_runners.fhir import model
from researchflow_runners.fhir.shape import shape_fault

#: The most that PostgreSQL can hold as one jsonb.
INPUT_BYTES_MAX = 256 * 1024 * 1024
NUMBER_CHARS_MAX = 100
EXPONENT_MAX = 308
TAG_CHARS_MAX = 200
SOURCE_CHARS_MAX = 768
_TYPE = re.compile(r"[A-Z][A-Za-z]{0,39}")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TAG_KINDS = (("tag", 0), ("profile", 1), ("security", 2))
_TAG_KEYS = {"system", "code", "display"}
_META_KEYS = {"versionId", "lastUpdated", "source", "tag", "profile", "security"}


class BadResource(Exception):
    """Input that is no FHIR resource; `code` says why, and nothing says what was in it.

    `element` is the path of the element at fault, where one is.
    """

    def __init__(self, code: str, element: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.element = element


class Tag(NamedTuple):
    """A row of hfj_tag_def; `kind` is 0 tag, 1 profile, 2 security label."""

    kind: int
    system: str | None
    code: str
    display: str | None


class Change(NamedTuple):
    """A resource as HAPI stores it: `text` without id and meta, None for a deletion."""

    res_type: str
    id: str
    text: str | None
    tags: tuple[Tag, ...] = ()
    source: str | None = None

    @property
    def digest(self) -> str:
        """Equal for equal contents, tags included."""
        content = f"{self.text}\n{self.tags!r}\n{self.source!r}" if self._has_meta else self.text
        return hashlib.sha256((content or "").encode()).hexdigest()

    @property
    def _has_meta(self) -> bool:
        return bool(self.tags) or self.source is not None


def parse_json(raw: bytes) -> Any:
    """The value, its numbers written as in `raw`; BadResource when it cannot be kept exactly."""
    if len(raw) > INPUT_BYTES_MAX:
        raise BadResource("too_large")
    try:
        value = orjson.loads(raw)
        if orjson.dumps(value) == raw and rb"\u0000" not in raw:
            return value
    except (orjson.JSONDecodeError, TypeError):
        pass
    return _parse_exactly(raw)


def _parse_exactly(raw: bytes) -> Any:
    try:
        value = json.loads(
            raw.decode(),
            object_pairs_hook=_unique,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_not_json,
        )
    except RecursionError as error:
        raise BadResource("too_deep") from error
    except ValueError as error:
        raise BadResource("not_json") from error
    if _NUL.search(_written(value)):
        raise BadResource("nul_character")
    return value


def _written(value: Any) -> bytes:
    """JSON text; orjson refuses half a surrogate pair, and more than 254 levels."""
    try:
        return orjson.dumps(value)
    except TypeError as error:
        code = "lone_surrogate" if "surrogates" in str(error) else "too_deep"
        raise BadResource(code) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadResource("duplicate_key")
    return found


def _decimal(text: str) -> orjson.Fragment:
    if len(text) > NUMBER_CHARS_MAX or abs(Decimal(text).adjusted()) > EXPONENT_MAX:
        raise BadResource("number_out_of_range")
    return orjson.Fragment(text)


def _integer(text: str) -> int | orjson.Fragment:
    if len(text) > NUMBER_CHARS_MAX:
        raise BadResource("number_out_of_range")
    return int(text) if len(text) < 18 and text != "-0" else orjson.Fragment(text)


def _not_json(_constant: str) -> NoReturn:
    raise BadResource("not_json")


def checked(value: Any) -> dict[str, Any]:
    """The value as a resource; BadResource when its type, id or shape is none."""
    if not isinstance(value, dict):
        raise BadResource("not_an_object")
    res_type = value.get("resourceType")
    if not (isinstance(res_type, str) and model().is_resource(res_type)):
        raise BadResource("unknown_type" if _is(_TYPE, res_type) else "no_resource_type")
    if "id" in value and not _is(_ID, value["id"]):
        raise BadResource("invalid_id")
    element = shape_fault(value)
    if element is not None:
        raise BadResource("wrong_shape", element)
    return value


def _is(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def target(path: Any) -> tuple[str, str]:
    """Type and id of a relative URL; BadResource when it is not of that form."""
    if not isinstance(path, str):
        raise BadResource("invalid_request")
    res_type, _, resource_id = path.partition("/")
    if not (_is(_TYPE, res_type) and _is(_ID, resource_id)):
        raise BadResource("invalid_request")
    return res_type, resource_id


def change_of(resource: dict[str, Any], resource_id: str) -> Change:
    """What to store; takes id and meta out of `resource`.

    A meta that the tag tables cannot hold stays in the text, as HAPI's inline mode has it.
    """
    resource.pop("id", None)
    meta = resource.pop("meta", None)
    tags: tuple[Tag, ...] = ()
    source = None
    if meta is not None:
        held = _tags_of(_written(meta))
        if held is None:
            resource["meta"] = meta
        else:
            tags, source = held
    text = _written(resource).decode()
    return Change(resource["resourceType"], resource_id, text, tags, source)


@lru_cache(maxsize=1024)
def _tags_of(meta_json: bytes) -> tuple[tuple[Tag, ...], str | None] | None:
    """Tags and source; None when the tables cannot hold all of the meta."""
    meta = orjson.loads(meta_json)
    if not isinstance(meta, dict) or not meta.keys() <= _META_KEYS:
        return None
    source = meta.get("source")
    if source is not None and not _short(source, SOURCE_CHARS_MAX):
        return None
    tags: list[Tag] = []
    for name, kind in _TAG_KINDS:
        for entry in _entries(meta.get(name, [])):
            tag = _profile(entry) if kind == 1 else _coding(entry, kind)
            if tag is None:
                return None
            tags.append(tag)
    return tuple(dict.fromkeys(tags)), source


def _entries(value: Any) -> Iterator[Any]:
    yield from value if isinstance(value, list) else [None]


def _profile(entry: Any) -> Tag | None:
    return Tag(1, None, entry, None) if _short(entry, TAG_CHARS_MAX) else None


def _coding(entry: Any, kind: int) -> Tag | None:
    if not isinstance(entry, dict) or "code" not in entry or not entry.keys() <= _TAG_KEYS:
        return None
    if not all(_short(part, TAG_CHARS_MAX) for part in entry.values()):
        return None
    return Tag(kind, entry.get("system"), entry["code"], entry.get("display"))


def _short(value: Any, chars_max: int) -> bool:
    return isinstance(value, str) and len(value) <= chars_max
