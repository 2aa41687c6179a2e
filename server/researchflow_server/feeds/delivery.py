"""What one request of a subscription says.

PUT {Type}/{id}      the resource as it is now; If-Match names its version
DELETE {Type}/{id}   it is deleted; no version, no body
POST                 with a resource or a Bundle; without a body: something changed
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.source.resource import BadResource, parse_json
from researchflow_runners.speed.change import Change
from researchflow_runners.speed.known import Key
from researchflow_runners.speed.resource import check_id, check_type

PUT, DELETE, POST = "PUT", "DELETE", "POST"
METHODS = (PUT, DELETE, POST)
#: HAPI sends W/"3", its documents say "3"; both name the version.
_IF_MATCH = re.compile(r'(?:W/)?"([0-9]{1,15})"')
JSON_TYPES = ("application/fhir+json", "application/json", "application/json+fhir")


class DeliveryError(ResearchFlowError):
    """A delivery that cannot be taken; `status` is the HTTP status of the answer."""

    def __init__(self, message: str, *, status: int, code: str, hint: str, field: str = "") -> None:
        super().__init__(message, code=code, hint=hint, field=field or None)
        self.status = status


@dataclass(frozen=True, slots=True)
class Delivery:
    """`changes` are told with their content, `keys` named without; `looks`: something changed."""

    changes: tuple[Change, ...] = ()
    keys: tuple[Key, ...] = ()
    looks: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A delivery as it came; `path` is what follows the endpoint's own address."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def key_of(request: Request) -> Key | None:
    """The (type, id) that the path names, None for none; DeliveryError `address_unknown`."""
    if not request.path:
        return None
    resource_type, _slash, resource_id = request.path.partition("/")
    try:
        return check_type(resource_type), check_id(resource_id)
    except ResearchFlowError as error:
        raise DeliveryError(
            "the address names no resource",
            status=404,
            code="address_unknown",
            hint="deliver to this endpoint, or to {Type}/{id} below it",
        ) from error


def version_of(headers: Mapping[str, str]) -> int | None:
    """The version in If-Match, None without one; DeliveryError `version_invalid`."""
    given = headers.get("if-match")
    if given is None:
        return None
    found = _IF_MATCH.fullmatch(given.strip())
    if found is None:
        raise DeliveryError(
            "If-Match names no version",
            status=400,
            code="version_invalid",
            field="If-Match",
            hint='send W/"3" or "3"',
        )
    return int(found.group(1))


def check_media_type(request: Request) -> None:
    """DeliveryError `media_type_unsupported` unless the body is JSON."""
    name = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if name not in JSON_TYPES:
        raise DeliveryError(
            "the delivery is of a media type that is not taken",
            status=415,
            code="media_type_unsupported",
            field="Content-Type",
            hint="give the Subscription the payload application/fhir+json",
        )


def check_has_type(request: Request) -> None:
    """DeliveryError `resource_invalid` for an object that says nothing of what it is.

    What is no JSON object is refused where the resource is read.
    """
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return
    if isinstance(body, dict) and body.get("resourceType") is None:
        raise DeliveryError(
            "the resource has no resourceType",
            status=400,
            code="resource_invalid",
            field="resourceType",
            hint="send the whole resource as it is now",
        )


def parsed(request: Request) -> dict[str, Any]:
    """The JSON object in the body, numbers as they were written; DeliveryError `body_invalid`."""
    try:
        body = parse_json(request.body)
    except BadResource as error:
        raise _invalid() from error
    if not isinstance(body, dict):
        raise _invalid()
    return body


def _invalid() -> DeliveryError:
    return DeliveryError(
        "the delivery is not a FHIR resource in JSON",
        status=400,
        code="body_invalid",
        hint="send one resource in UTF-8",
    )
