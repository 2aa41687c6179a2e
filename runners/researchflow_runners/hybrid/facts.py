"""What the bookkeeping says about the views of one question, from the snapshot of its rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import resources

from researchflow_runners.hybrid.result import Degradation
from researchflow_runners.source.clock import Verdict
from researchflow_runners.store.database import Session

SOURCE_ZONE_WRONG = Degradation(
    "source_zone_wrong",
    "the FHIR server's times are not of the zone they are read in: meta.lastUpdated is off, and"
    " staleness counts from the last look that found nothing waiting; set RESEARCHFLOW_SOURCE_ZONE",
)

_FACTS = resources.files(__package__).joinpath("facts.sql").read_text()


@dataclass(frozen=True, slots=True)
class Facts:
    """One snapshot's bookkeeping; all instants are the database's.

    `catalogue_state` differs whenever a view was created, dropped, redefined or refreshed.
    `checked_at`, `pending` and `oldest_pending_at` are the last look at the source; `checked`
    tells whether every resource type involved was looked at. `entries` counts the waiting changes
    of those types, `waiting_types` are the types that have some, `all_count_types` those none of
    whose entries has expired or is yet to count. `own_entries` counts the waiting changes of the
    asked view's own type. `clock_verdict` tells that the source's dates are wrong.
    `missing_live` and `missing_batch` count the resources that the merged rows and the anchor's
    lack; None when that was not kept.
    `followed_at` is the instant up to which the tail has read these types; None when none does.
    """

    computed_at: datetime
    catalogue_state: tuple[int | None, str | None]
    anchor: int | None
    data_as_of: datetime | None
    checked: bool
    checked_at: datetime | None
    pending: int
    oldest_pending_at: datetime | None
    entries: int
    waiting_types: frozenset[str]
    all_count_types: frozenset[str]
    own_entries: int
    provisional: int
    missing_live: int
    missing_batch: int | None
    clock_verdict: Verdict | None = None
    followed_at: datetime | None = None

    def merged(self) -> Facts:
        """What they are to merged rows, which show all that the tail has read.

        A change that was seen and does not show is then no older than that.
        """
        followed_at = self.followed_at
        if followed_at is None:
            return self
        if not self.checked or self.checked_at is None or self.checked_at <= followed_at:
            return replace(
                self, checked=True, checked_at=followed_at, pending=0, oldest_pending_at=None
            )
        oldest_at = self.oldest_pending_at and max(self.oldest_pending_at, followed_at)
        return replace(self, oldest_pending_at=oldest_at)

    @property
    def degradations(self) -> tuple[Degradation, ...]:
        """What is wrong with the source, whatever the route."""
        return (SOURCE_ZONE_WRONG,) if self.clock_verdict else ()

    @property
    def staleness_s(self) -> float | None:
        """Seconds since the oldest change that is seen and not applied, 0 without one.

        None when the source was not looked at for every type.
        """
        if not self.checked:
            return None
        if self.oldest_pending_at is None:
            return 0.0
        return seconds(self.oldest_pending_at, self.computed_at)

    @property
    def staleness_bound_s(self) -> float | None:
        """Seconds beyond which no change can be missing; None when that cannot be told."""
        if not self.checked or self.checked_at is None:
            return None
        return seconds(self.oldest_pending_at or self.checked_at, self.computed_at)


def seconds(begin: datetime, end: datetime) -> float:
    """Seconds between two instants of the database, never below 0."""
    return max(0.0, (end - begin).total_seconds())


async def read_facts(
    session: Session, *, views: Sequence[str], types: Collection[str], own_type: str | None
) -> Facts:
    """The facts about these views, whose rows are made of these resource types."""
    row = await session.fetchrow(_FACTS, list(views), list(types), own_type)
    assert row is not None
    return Facts(
        computed_at=row["computed_at"],
        catalogue_state=(row["anchor"], row["catalogue_state"]),
        anchor=row["anchor"],
        data_as_of=row["data_as_of"],
        checked=row["checked_types"] == len(types),
        checked_at=row["checked_at"],
        pending=row["pending"] or 0,
        oldest_pending_at=row["oldest_pending_at"],
        entries=row["entries"],
        waiting_types=frozenset(row["types"]),
        all_count_types=frozenset(row["all_count_types"]),
        own_entries=row["own_entries"],
        provisional=row["provisional"],
        missing_live=row["missing_live"],
        missing_batch=row["missing_batch"],
        followed_at=row["followed_at"],
        clock_verdict=row["clock_verdict"],
    )
