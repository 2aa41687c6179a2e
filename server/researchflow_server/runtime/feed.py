"""The feed in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from researchflow_runners.feed.round import CHANGES_MAX
from researchflow_runners.feed.state import Reason
from researchflow_server.metrics.snapshot import FeedReading

#: Why the source was compared as a whole, and what to do where something can be done.
REASONS: dict[Reason, str] = {
    "not_installed": "no outbox is installed; `researchflow source prepare` shows how",
    "replica": "the source is a replica, whose snapshots leave out what is in progress",
    "no_rights": "the role may not read researchflow_outbox.change; "
    "`researchflow source prepare --show --role ROLE` shows the grants",
    "triggers_missing": "triggers of the outbox are not there, as after an upgrade that made "
    "tables anew; run `researchflow source prepare --install`",
    "first_read": "the outbox was read for the first time since it is whole",
    "view_built": "a view was built anew",
    "read_anew": "the settings of the source have changed",
    "source_replaced": "the source is another cluster or database, or was recovered",
    "tables_replaced": "the source's tables were made anew",
    "triggers_replaced": "triggers of the outbox were made anew or switched off for a while",
    "source_older": "the source is older than what was read of it",
    "changes_missing": "the outbox no longer holds what was read of it, as after a restore",
    "table_emptied": "a table of the source was emptied",
    "reconciliation": "the source's checksums differed from the ledger's",
}


def feed_lines(feeds: Sequence[FeedReading], left_at: datetime | None) -> list[str]:
    """A line for each reader of the source; one when nothing was read yet.

    One more since `left_at`, when there is more than the tail takes.
    """
    lines = [_line(one) for one in feeds] or ["feed: the source was not read yet"]
    if left_at is not None:
        lines.append(
            f"since {left_at:%Y-%m-%d %H:%M:%S} UTC more than {CHANGES_MAX:,} changes wait for a "
            "refresh: live answers lack them"
        )
    return lines


def _line(one: FeedReading) -> str:
    words = f"feed of the {one.reader}: {one.feed}, read up to {one.seen_at:%Y-%m-%d %H:%M:%S} UTC"
    if one.reason is None:
        return words
    return f"{words}; everything was compared, because {REASONS[one.reason]}"
