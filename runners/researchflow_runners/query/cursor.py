"""Where the next page of an answer begins, as an opaque signed text.

A cursor belongs to one query (all of it but `cursor` and `limit`), the definitions of its views
and one principal. Of an anchored answer it pins the anchor, so the pages together are the rows of
that anchor. A live answer goes on after the last sort key seen: a row that changes between two
pages may be missed or seen twice when its sort key moves over that point; none else is.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_runners.query.model import Asking

CURSOR_LIFE_MAX = timedelta(hours=24)
CURSOR_CHARS_MAX = 8_192
KEY_BYTES_MIN = 16
_SIGNATURE_BYTES = 16

_READERS: dict[str, Callable[[Any], Any]] = {
    "text": str,
    "boolean": bool,
    "smallint": int,
    "integer": int,
    "bigint": int,
    "numeric": Decimal,
    "timestamptz": str,
    "timestamp": str,
    "date": str,
    "time": str,
}


@dataclass(frozen=True, slots=True)
class Position:
    """A point in an answer's order: `keys` are the sort keys of the last row given.

    `anchor` is None for live answers; `on` is the day ages are told for, `newest` the newest day of
    each column, by view and name, of which the question asked it.
    """

    anchor: int | None
    on: date
    keys: tuple[Any, ...]
    key_types: tuple[str, ...]
    newest: Mapping[tuple[str, str], date | None] = field(default_factory=dict)


def query_fingerprint(query: Asking, digests: Mapping[str, str], principal: str) -> str:
    """What a cursor is bound to: the question, its views' definitions, and who asks."""
    asked = query.model_dump(mode="json", by_alias=True, exclude={"cursor", "limit"})
    whole = json.dumps([asked, dict(digests), principal], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(whole.encode()).hexdigest()


def encode_cursor(position: Position, *, fingerprint: str, key: bytes, now: datetime) -> str:
    """The cursor's text; `now` is the database's clock."""
    payload = json.dumps(
        {
            "a": position.anchor,
            "d": position.on.isoformat(),
            "n": [[*place, day and day.isoformat()] for place, day in position.newest.items()],
            "t": int(now.timestamp()),
            "k": [
                [pg_type, _written(value)]
                for pg_type, value in zip(position.key_types, position.keys, strict=True)
            ],
        },
        separators=(",", ":"),
    ).encode()
    return base64.urlsafe_b64encode(_sign(payload, fingerprint, key) + payload).decode()


def decode_cursor(text: str, *, fingerprint: str, key: bytes, now: datetime) -> Position:
    """The position, or QueryError `cursor_invalid` for a cursor that is not of this query."""
    signed = _bytes(text)
    signature, payload = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _sign(payload, fingerprint, key)):
        raise _invalid("the cursor does not belong to this query")
    parts = json.loads(payload)
    if now - datetime.fromtimestamp(parts["t"], now.tzinfo) > CURSOR_LIFE_MAX:
        raise _invalid("the cursor is too old")
    return Position(
        anchor=parts["a"],
        on=date.fromisoformat(parts["d"]),
        keys=tuple(
            None if value is None else _READERS[pg_type](value) for pg_type, value in parts["k"]
        ),
        key_types=tuple(pg_type for pg_type, _value in parts["k"]),
        newest={
            (view, column): day and date.fromisoformat(day)
            for view, column, day in parts.get("n", ())
        },
    )


def _written(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value


def _bytes(text: str) -> bytes:
    if len(text) > CURSOR_CHARS_MAX:
        raise _invalid("the cursor is damaged")
    try:
        return base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise _invalid("the cursor is damaged") from error


def _sign(payload: bytes, fingerprint: str, key: bytes) -> bytes:
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(f"a cursor key has at least {KEY_BYTES_MIN} bytes")
    whole = hmac.new(key, fingerprint.encode() + b"\n" + payload, hashlib.sha256)
    return whole.digest()[:_SIGNATURE_BYTES]


def _invalid(message: str) -> QueryError:
    return QueryError(
        message,
        code="cursor_invalid",
        hint="repeat the query that gave it unchanged, or ask again without cursor",
        field="cursor",
    )
