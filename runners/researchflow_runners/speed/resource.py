"""FHIR JSON checked where it enters: shape, type, id, version and size, nothing deeper.

The text is kept as it came, so decimals keep the form they were written in.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from researchflow_runners.errors import SourceDataError
from researchflow_runners.fhir import model
from researchflow_runners.fhir.shape import shape_fault
from researchflow_runners.naming import nearest
from researchflow_runners.speed.entry import VERSION_MAX

RESOURCE_BYTES_MAX = 1_048_576
RESOURCE_DEPTH_MAX = 100
SHAPE_HINT = "send lists where FHIR has lists, and strings, numbers and booleans as such"
ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
VERSION = re.compile(r"[0-9]{1,16}")
#: NUL and lone surrogates: PostgreSQL's text cannot hold them.
NOT_TEXT = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ParsedResource:
    """A resource's JSON and what identifies it; `version` is meta.versionId, None when absent."""

    resource_type: str
    resource_id: str
    version: int | None
    text: str


def parse_resource(
    resource: Mapping[str, Any] | str | bytes,
    *,
    resource_type: str | None = None,
    resource_id: str | None = None,
) -> ParsedResource:
    """The resource as text, checked; `resource_type` and `resource_id` must agree with it.

    SourceDataError: `resource_invalid`, `resource_too_large`, `resource_type_unknown`,
    `resource_id_invalid`, `resource_mismatch`, `version_invalid`.
    """
    body, text = _read(resource)
    _check_values(body)
    _check_shape(body)
    found_type = _agreed(body.get("resourceType"), resource_type, "resourceType")
    found_id = _agreed(body.get("id"), resource_id, "id")
    return ParsedResource(
        resource_type=check_type(found_type),
        resource_id=check_id(found_id),
        version=_version(body),
        text=text if text is not None else _dumps(body),
    )


def check_type(resource_type: object) -> str:
    """The name when it is a concrete R4 resource type."""
    names = _resource_types()
    if isinstance(resource_type, str) and resource_type in names:
        return resource_type
    if not isinstance(resource_type, str) or not resource_type:
        raise _invalid("the resource has no resourceType", "resourceType", "name a FHIR R4 type")
    shown = resource_type[:64]
    raise SourceDataError(
        f'resource type "{shown}" is not a FHIR R4 resource type',
        code="resource_type_unknown",
        hint="type names are case-sensitive, such as Patient or MedicationRequest",
        field="resourceType",
        did_you_mean=nearest(shown, names),
    )


def check_id(resource_id: object) -> str:
    """The id when FHIR allows it."""
    if isinstance(resource_id, str) and ID.fullmatch(resource_id):
        return resource_id
    raise SourceDataError(
        "the resource's id is missing or not a FHIR id",
        code="resource_id_invalid",
        hint="an id is 1 to 64 letters, digits, hyphens and dots",
        field="id",
    )


def check_version(version: object) -> int:
    """The version when it is a positive integer that every store holds exactly."""
    if isinstance(version, int) and not isinstance(version, bool) and 0 < version <= VERSION_MAX:
        return version
    raise SourceDataError(
        "the version is not a positive integer",
        code="version_invalid",
        hint="pass the server's integer version, or leave it out to follow the newest known",
        field="meta.versionId",
    )


def _check_shape(body: dict[str, Any]) -> None:
    element = shape_fault(body)
    if element not in (None, "resourceType"):
        raise _invalid(f'"{element}" has another JSON type than FHIR says', element, SHAPE_HINT)


@cache
def _resource_types() -> frozenset[str]:
    return frozenset(model().resource_names())


def _read(resource: Mapping[str, Any] | str | bytes) -> tuple[dict[str, Any], str | None]:
    """The resource as an object, and its text when it came as text."""
    if isinstance(resource, Mapping):
        return dict(resource), None
    text = resource
    check_size(len(text))
    try:
        if isinstance(text, bytes):
            text = text.decode()
        body = json.loads(text)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        hint = "send one JSON object in UTF-8"
        raise _invalid("the resource is not valid JSON", None, hint) from error
    if not isinstance(body, dict):
        raise _invalid("the resource is not a JSON object", None, "send one FHIR resource")
    check_size(len(text.encode(errors="surrogatepass")))
    return body, text


def _dumps(body: dict[str, Any]) -> str:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    check_size(len(text.encode()))
    return text


def check_size(size_bytes: int) -> None:
    """SourceDataError `resource_too_large` for more than RESOURCE_BYTES_MAX."""
    if size_bytes > RESOURCE_BYTES_MAX:
        raise SourceDataError(
            f'the resource has "{size_bytes}" bytes, more than "{RESOURCE_BYTES_MAX}"',
            code="resource_too_large",
            hint="store large attachments as Binary on the FHIR server; a refresh reads any size",
        )


def _check_values(body: dict[str, Any]) -> None:
    """Refuses what JSON or PostgreSQL cannot hold; walks without recursion."""
    level: Sequence[Any] = [body]
    for _depth in range(RESOURCE_DEPTH_MAX):
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                for key in value:
                    _check_leaf(key if isinstance(key, str) else math.nan)
                below.extend(value.values())
            elif isinstance(value, list | tuple):
                below.extend(value)
            else:
                _check_leaf(value)
        if not below:
            return
        level = below
    raise _too_deep()


def _check_leaf(value: object) -> None:
    if isinstance(value, str):
        if NOT_TEXT.search(value):
            hint = "FHIR strings hold neither NUL nor lone surrogates"
            raise _invalid("the resource holds text that is not Unicode", None, hint)
    elif isinstance(value, float):
        if not math.isfinite(value):
            hint = "numbers must be finite, keys must be text"
            raise _invalid("the resource holds a value that JSON lacks", None, hint)
    elif value is not None and not isinstance(value, bool | int):
        hint = "use text, numbers, true, false, null, lists and objects"
        raise _invalid("the resource holds a value that JSON lacks", None, hint)


def _agreed(found: object, expected: str | None, field: str) -> object:
    """The value in the resource, or the one given beside it; they may not differ."""
    if found is None or expected is None or found == expected:
        return expected if found is None else found
    raise SourceDataError(
        f'the resource\'s "{field}" differs from the one given beside it',
        code="resource_mismatch",
        hint=f'send the same "{field}" in both places, or leave it out of the resource',
        field=field,
    )


def _version(body: dict[str, Any]) -> int | None:
    meta = body.get("meta")
    if meta is None:
        return None
    if not isinstance(meta, Mapping):
        raise _invalid("meta is not a JSON object", "meta", "leave meta out or send an object")
    version = meta.get("versionId")
    if version is None:
        return None
    if isinstance(version, str) and VERSION.fullmatch(version):
        return check_version(int(version))
    return check_version(None)


def _too_deep() -> SourceDataError:
    hint = f"nest at most {RESOURCE_DEPTH_MAX} levels"
    return _invalid("the resource is nested too deeply", None, hint)


def _invalid(message: str, field: str | None, hint: str) -> SourceDataError:
    return SourceDataError(message, code="resource_invalid", hint=hint, field=field)
