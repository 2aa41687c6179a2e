"""What the source holds of some resources, read by its own keys in one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.errors import StatementError
from researchflow_runners.source.reader import SourceSnapshot
from researchflow_runners.sql import Sql, compose, param
from researchflow_runners.store.data_faults import is_data_error

_KEYS = "SELECT k.res_id, k.res_type, k.id, k.res_ver, k.deleted FROM {} AS k"
#: The text as the server would give it; jsonb keeps the digits of decimals.
_TEXTS = """
SELECT c.res_id, (c.text::jsonb || jsonb_build_object('id', c.id, 'meta', c.meta))::text AS text
FROM {} AS c
"""
_RAW = "SELECT c.res_id, c.text FROM {} AS c"


@dataclass(frozen=True, slots=True)
class ResourceState:
    """The newest state of one incarnation; `text` is None for a deletion.

    A content that cannot be read, or is no JSON, is given as it is stored: whoever computes rows
    of it finds out.
    """

    res_id: int
    resource_type: str
    id: str
    version: int
    text: str | None


async def read_states(
    source: SourceSnapshot, types: Sequence[str], res_ids: Sequence[int], *, guarded: bool
) -> list[ResourceState]:
    """The state of each that exists and is of one of these types.

    Unguarded, a content that is no JSON is an error (`is_data_error`) that spoils the transaction.
    """
    keys = source.keys(types, only=_these(res_ids))
    rows = await source.session.fetch(compose(_KEYS, keys))
    by_type: dict[str, list[int]] = {}
    for row in rows:
        if not row["deleted"]:
            by_type.setdefault(row["res_type"], []).append(row["res_id"])
    texts: dict[int, str] = {}
    for resource_type, present in by_type.items():
        read = _texts if guarded else _parsed
        texts |= await read(source, resource_type, present)
    return [
        ResourceState(
            row["res_id"],
            row["res_type"],
            row["id"],
            row["res_ver"],
            None if row["deleted"] else texts.get(row["res_id"], ""),
        )
        for row in rows
    ]


async def _texts(
    source: SourceSnapshot, resource_type: str, res_ids: Sequence[int]
) -> dict[int, str]:
    """The contents by key; halved where one of them is no JSON, until that one is alone."""
    try:
        async with source.session.savepoint():
            return await _parsed(source, resource_type, res_ids)
    except StatementError as error:
        if not is_data_error(error):
            raise
        if len(res_ids) > 1:
            half = len(res_ids) // 2
            first = await _texts(source, resource_type, res_ids[:half])
            return first | await _texts(source, resource_type, res_ids[half:])
        stored = await source.stored(resource_type, with_meta=False, only=_these(res_ids))
        rows = await source.session.fetch(compose(_RAW, stored))
        return {row["res_id"]: row["text"] for row in rows}


async def _parsed(
    source: SourceSnapshot, resource_type: str, res_ids: Sequence[int]
) -> dict[int, str]:
    current = await source.current(resource_type, with_meta=True, only=_these(res_ids))
    rows = await source.session.fetch(compose(_TEXTS, current))
    return {row["res_id"]: row["text"] for row in rows}


def _these(res_ids: Sequence[int]) -> Sql:
    return compose("(SELECT unnest({}) AS res_id)", param(list(res_ids), "bigint[]"))
