"""The content hash: a short name for exactly these rows, whatever their order.

Each row's bytes give 1,024 bits, SHA-512 of them and SHA-512 of that, and the rows' 16 lanes of 64
bits are added modulo 2**64. So a refresh adds what came and takes away what went, without reading
the rest. Decision 0022 says why sums and why so wide. The bytes are PostgreSQL's binary wire form
of what a query can read of the row, the same on every supported version and in every session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import asyncpg

from researchflow_runners.sql import Sql, compose, fixed, ident, join
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView

LANES = 16
_LANE_BITS = 64
_LANE_BYTES = _LANE_BITS // 8
STATE_BYTES = LANES * _LANE_BYTES
#: Part of every digest: raise it when the same rows give other sums.
_VERSION = b"researchflow rows 1"

_LANE_SUMS = fixed(
    ", ".join(
        f"sum(substring(d.bits, {_LANE_BITS * lane + 1}, {_LANE_BITS})::bit({_LANE_BITS})::bigint)"
        for lane in range(LANES)
    )
)
#: The clock, which nobody reads, keeps the planner from computing a row's hash once for every lane,
#: as OFFSET 0 would; but below that no parallel worker may compute.
_SUMS = """
SELECT count(*), {lanes} FROM (
    SELECT ('x' || encode(r.hash || sha512(r.hash), 'hex'))::bit(1024) AS bits, clock_timestamp()
    FROM (SELECT sha512(record_send(ROW({columns}))) AS hash, clock_timestamp()
          FROM {relation} AS t) AS r) AS d
"""


@dataclass(frozen=True, slots=True)
class Content:
    """How many rows, and the sums of their lanes."""

    rows: int
    sums: tuple[int, ...] = (0,) * LANES

    @classmethod
    def of(cls, record: asyncpg.Record) -> Content:
        """From the one row that `content_sql` gives."""
        rows, *sums = record.values()
        return cls(rows, tuple(int(one or 0) % 2**_LANE_BITS for one in sums))

    @classmethod
    def from_state(cls, rows: int, state: bytes) -> Content:
        """As the warehouse keeps it."""
        lanes = range(0, STATE_BYTES, _LANE_BYTES)
        return cls(rows, tuple(int.from_bytes(state[at : at + _LANE_BYTES]) for at in lanes))

    @property
    def state(self) -> bytes:
        """The sums, STATE_BYTES long."""
        return b"".join(one.to_bytes(_LANE_BYTES) for one in self.sums)

    @property
    def hash(self) -> str:
        """What is cited: equal for equal rows."""
        parts = _VERSION + self.rows.to_bytes(8) + self.state
        return f"sha256:{hashlib.sha256(parts).hexdigest()}"

    def exchanged(self, *, gone: Content, added: Content) -> Content:
        """The content after these rows went and those came."""
        sums = zip(self.sums, gone.sums, added.sums, strict=True)
        return Content(
            self.rows - gone.rows + added.rows,
            tuple((mine - less + more) % 2**_LANE_BITS for mine, less, more in sums),
        )


async def read_content(session: Session, view: PublishedView, relation: Sql) -> Content:
    """The content of `relation`, which has the view's stored columns."""
    row = await session.fetchrow(content_sql(view, relation))
    assert row is not None
    return Content.of(row)


def content_sql(view: PublishedView, relation: Sql) -> Sql:
    """A query for the Content of `relation`, which has the view's stored columns.

    Without `_res_id`, the source's own key, which another warehouse of the same data may not share.
    """
    names = [name for name, _type in view.stored_columns if name != "_res_id"]
    columns = join(", ", (compose("t.{}", ident(name)) for name in names))
    return compose(_SUMS, lanes=_LANE_SUMS, columns=columns, relation=relation)


def joint_hash(hashes: Iterable[tuple[str, str, str]]) -> str:
    """One hash over (view name, digest of its definition, content hash), in any order."""
    lines = sorted("\t".join(one) for one in hashes)
    return f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"
