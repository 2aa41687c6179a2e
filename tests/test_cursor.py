"""A cursor continues its own query, for its own principal, for a day, and nothing else."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from researchflow_runners.errors import QueryError
from researchflow_runners.query.cursor import (
    CURSOR_CHARS_MAX,
    CURSOR_LIFE_MAX,
    Position,
    decode_cursor,
    encode_cursor,
    query_fingerprint,
)
from researchflow_runners.query.model import Query

KEY = b"0123456789abcdef"
NOW = datetime(2024, 6, 15, 12, tzinfo=UTC)
QUERY = Query.model_validate({"view": "v", "where": {"column": "a", "op": "eq", "value": 1}})
MARK = query_fingerprint(QUERY, {"v": "d1"}, "ann")
POSITION = Position(
    anchor=7,
    on=date(2024, 6, 15),
    keys=(
        None,
        Decimal("1.10"),
        True,
        5,
        "Ä'; --",
        "2024-01-02 03:04:05.678901+00",
    ),
    key_types=("text", "numeric", "boolean", "bigint", "text", "timestamptz"),
)


def cursor(**changes: Any) -> str:
    given: dict[str, Any] = {"fingerprint": MARK, "key": KEY, "now": NOW} | changes
    return encode_cursor(POSITION, **given)


def refused(text: str, **changes: Any) -> QueryError:
    given: dict[str, Any] = {"fingerprint": MARK, "key": KEY, "now": NOW} | changes
    with pytest.raises(QueryError) as caught:
        decode_cursor(text, **given)
    assert (caught.value.code, caught.value.field) == ("cursor_invalid", "cursor")
    assert caught.value.hint
    return caught.value


def test_cursor_gives_back_the_position_exactly() -> None:
    back = decode_cursor(cursor(), fingerprint=MARK, key=KEY, now=NOW)
    assert back == POSITION
    assert str(back.keys[1]) == "1.10"


def test_fingerprint_ignores_page_size_and_cursor_only() -> None:
    def mark(**changes: Any) -> str:
        asked = {**QUERY.model_dump(by_alias=True, exclude_none=True), **changes}
        return query_fingerprint(Query.model_validate(asked), {"v": "d1"}, "ann")

    assert mark(limit=3, cursor="abc") == MARK
    others = [
        mark(where={"column": "a", "op": "eq", "value": True}),
        mark(where={"not": {"column": "a", "op": "eq", "value": 1}}),
        mark(order_by=[{"column": "a"}]),
        mark(columns=["a"]),
        mark(freshness="anchored"),
        query_fingerprint(QUERY, {"v": "d2"}, "ann"),
        query_fingerprint(QUERY, {"v": "d1"}, "bob"),
    ]
    assert len({MARK, *others}) == len(others) + 1


def test_cursor_of_another_query_principal_or_key_is_refused() -> None:
    refused(cursor(), fingerprint=query_fingerprint(QUERY, {"v": "d1"}, "bob"))
    refused(cursor(key=b"another key of 16"))


def test_every_changed_byte_is_noticed() -> None:
    signed = base64.urlsafe_b64decode(cursor())
    for position in range(len(signed)):
        changed = bytearray(signed)
        changed[position] ^= 1
        refused(base64.urlsafe_b64encode(changed).decode())


@pytest.mark.parametrize(
    "text", ["", "x", "é", "AAAA", "A" * 40, "=" * 8, "A" * CURSOR_CHARS_MAX * 2]
)
def test_damaged_text_is_refused(text: str) -> None:
    refused(text)


def test_cursor_ends_after_its_life() -> None:
    decode_cursor(cursor(), fingerprint=MARK, key=KEY, now=NOW + CURSOR_LIFE_MAX)
    refused(cursor(), now=NOW + CURSOR_LIFE_MAX + timedelta(seconds=1))


def test_short_key_is_a_mistake_of_the_deployment() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        cursor(key=b"short")
