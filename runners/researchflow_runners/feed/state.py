"""Which feed the source allows, and by what one state of the source is known again.

The outbox is read on a primary only: on a replica PostgreSQL's `pg_current_snapshot()` leaves out
the transactions in progress, and their changes would be passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Literal

from researchflow_runners.store.database import Session

FeedKind = Literal["outbox", "scan"]

#: Why the source is scanned. The first four say what the outbox lacks, the others why it cannot
#: go on from where it was read last.
Reason = Literal[
    "not_installed",
    "replica",
    "no_rights",
    "triggers_missing",
    "first_read",
    "view_built",
    "read_anew",
    "source_replaced",
    "tables_replaced",
    "triggers_replaced",
    "source_older",
    "changes_missing",
    "table_emptied",
    "reconciliation",
]
TRIGGERS = frozenset(
    {
        "hfj_resource.researchflow_rows",
        "hfj_resource.researchflow_updates",
        "hfj_resource.researchflow_truncate",
        "hfj_res_ver.researchflow_updates",
        "hfj_res_ver.researchflow_truncate",
        "hfj_res_tag.researchflow_rows",
        "hfj_res_tag.researchflow_truncate",
    }
)
_STATE = resources.files(__package__).joinpath("state.sql").read_text()
_NEWEST = """
SELECT c.xid::text AS number, c.seq, c.at FROM researchflow_outbox.change AS c
ORDER BY c.xid DESC, c.seq DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """What changes when the source is another one, is restored, or lost its triggers."""

    system: str
    timeline: str
    database: str
    tables: str
    outbox: str
    triggers: str

    def differs(self, other: Identity) -> Reason | None:
        """Why changes may have passed unseen between the two; None when none has."""
        if (self.system, self.timeline, self.database) != (
            other.system,
            other.timeline,
            other.database,
        ):
            return "source_replaced"
        if (self.tables, self.outbox) != (other.tables, other.outbox):
            return "tables_replaced"
        return "triggers_replaced" if self.triggers != other.triggers else None


@dataclass(frozen=True, slots=True)
class FeedState:
    """One look: the snapshot, and either the outbox's identity or why there is none to read.

    `witness` names the newest row of the outbox; a source that no longer has it is an older one.
    `missing` are triggers that are not there or do not fire.
    """

    snapshot: str
    identity: Identity | None
    reason: Reason | None
    witness: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def kind(self) -> FeedKind:
        """The feed that can be read."""
        return "outbox" if self.identity else "scan"


async def look_at_feed(session: Session) -> FeedState:
    """What the source allows; `session` is in the transaction whose snapshot is meant."""
    row = await session.fetchrow(_STATE)
    assert row is not None
    missing = tuple(sorted(TRIGGERS - set(row["firing"])))
    reason = _unusable(row["is_replica"], row["outbox"], row["readable"], missing)
    if reason is not None:
        return FeedState(row["snapshot"], None, reason, missing=missing)
    newest = await session.fetchrow(_NEWEST)
    identity = Identity(
        *(row[name] for name in ("system", "timeline", "database", "tables", "outbox", "triggers"))
    )
    if newest is None:
        return FeedState(row["snapshot"], identity, None)
    witness = f"{newest['number']} {newest['seq']} {newest['at'].isoformat()}"
    return FeedState(capped(row["snapshot"], int(newest["number"])), identity, None, witness)


def capped(snapshot: str, newest_xid: int) -> str:
    """The snapshot without what follows the newest change that it shows.

    That change is durable, so a server that crashes never gives its number, or one below it, to
    another transaction; a number above it that left no trace on disk may well be given again.
    """
    xmin, _xmax, running = snapshot.split(":")
    below = [xid for xid in running.split(",") if xid and int(xid) <= newest_xid]
    cap = newest_xid + 1
    return f"{min(int(xmin), cap)}:{cap}:{','.join(below)}"


def _unusable(
    is_replica: bool, outbox: str | None, readable: bool | None, missing: tuple[str, ...]
) -> Reason | None:
    """The first thing in the way of reading the outbox."""
    if is_replica:
        return "replica"
    if outbox is None:
        return "not_installed"
    if not readable:
        return "no_rights"
    return "triggers_missing" if missing else None
