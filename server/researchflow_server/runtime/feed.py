"""The feed in words."""

from __future__ import annotations

from researchflow_runners.feed.state import Reason

#: Why the source was compared as a whole, and what to do where something can be done.
REASONS: dict[Reason, str] = {
    "not_installed": "no outbox is installed; `researchflow source prepare` shows how",
    "replica": "the source is a replica, whose snapshots leave out what is in progress",
    "no_rights": "the role may not read researchflow_outbox.change; "
    "`researchflow source prepare --show --role ROLE` shows the grants",
    "triggers_missing": "triggers of the outbox are not there, as after an upgrade that made "
    "tables anew; run `researchflow source prepare --install`",
    "first_read": "the outbox was read for the first time",
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
