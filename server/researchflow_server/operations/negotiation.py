"""Which format an answer has: `_format` first, else what the client accepts, else ndjson."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias, get_args

from researchflow_runners.naming import nearest
from researchflow_server.operations.outcome import FHIR_JSON, OperationError

Format: TypeAlias = Literal["json", "ndjson", "csv", "parquet", "fhir"]
FORMATS: tuple[Format, ...] = get_args(Format)
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "fhir": FHIR_JSON,
}
DEFAULT: Format = "ndjson"
BYTES = "application/octet-stream"
FHIR_TYPES = (FHIR_JSON, "application/fhir+xml")
ACCEPT_TYPES_MAX = 50

#: What a client may name instead of the media type itself.
_BY_TYPE: dict[str, Format] = {
    **{media_type: name for name, media_type in MEDIA_TYPES.items()},
    "application/ndjson": "ndjson",
    BYTES: "parquet",
}


def choose_format(asked: str | None, accept: str | None) -> Format:
    """The format; OperationError `format_unknown` (400) or `not_acceptable` (406)."""
    accepted = tuple(_accepted(accept or "*/*"))
    if asked is None:
        return _derived(accepted)
    chosen = asked if asked in FORMATS else _BY_TYPE.get(asked)
    if chosen is None:
        raise OperationError(
            f'the format "{asked[:64]}" is not supported',
            status=400,
            issue="not-supported",
            code="format_unknown",
            field="_format",
            allowed=FORMATS,
            did_you_mean=nearest(asked[:64], FORMATS),
            hint="ask for one of the allowed formats",
        )
    _check_wrapping(chosen, accepted)
    return chosen


def _accepted(header: str) -> Iterator[str]:
    """The media types and ranges of an Accept header, most wanted first."""
    weighed = []
    for part in header.split(",")[:ACCEPT_TYPES_MAX]:
        name, *settings = (piece.strip().lower() for piece in part.split(";"))
        quality = next((one[2:] for one in settings if one.startswith("q=")), "1")
        weight = _weight(quality)
        if name and weight > 0:
            weighed.append((-weight, name))
    return (name for _weight, name in sorted(weighed, key=lambda one: one[0]))


def _weight(quality: str) -> float:
    try:
        return min(1.0, float(quality))
    except ValueError:
        return 0.0


def _derived(accepted: tuple[str, ...]) -> Format:
    for name in accepted:
        if name in ("*/*", "application/*"):
            return DEFAULT
        if name == "text/*":
            return "csv"
        if name in _BY_TYPE:
            return _BY_TYPE[name]
    raise _not_acceptable("none of the media types that the request accepts is one of ours")


def _check_wrapping(chosen: Format, accepted: tuple[str, ...]) -> None:
    """Refuses to wrap a flat format into a Binary resource, which only a FHIR type asks for."""
    own = MEDIA_TYPES[chosen]
    general = ("*/*", BYTES, own, own.partition("/")[0] + "/*")
    if any(name in general for name in accepted):
        return
    if any(name in FHIR_TYPES for name in accepted):
        raise _not_acceptable(f'the format "{chosen}" is not given as a FHIR resource')


def _not_acceptable(message: str) -> OperationError:
    return OperationError(
        message,
        status=406,
        issue="not-supported",
        code="not_acceptable",
        field="Accept",
        allowed=tuple(MEDIA_TYPES.values()),
        hint="accept one of the allowed media types, or leave Accept out and give _format",
    )
