"""Which views can be asked, remembered for as long as the catalogue stays as it was.

Every answer reads the catalogue's state in its own snapshot, together with its other facts. What
is remembered counts only while that state is the same, so neither a "yes" nor a "no" can outlive
a create, drop or refresh, whichever process did it.
"""

from __future__ import annotations

from researchflow_runners.hybrid.answerable import AnswerableViews, answerable_views
from researchflow_runners.hybrid.facts import Facts
from researchflow_runners.hybrid.statistics import RunnerStatistics
from researchflow_runners.store.database import Session


class ExistenceCache:
    """The views by name, absent ones included: a name that is missing is a "no"."""

    def __init__(self, statistics: RunnerStatistics, *, enabled: bool) -> None:
        self._statistics = statistics
        self._enabled = enabled
        self._held: tuple[object, AnswerableViews] | None = None

    def __len__(self) -> int:
        return len(self._held[1]) if self._held else 0

    def guess(self) -> AnswerableViews:
        """What was there when last seen; confirm it with `views`."""
        return self._held[1] if self._held else {}

    async def views(self, session: Session, facts: Facts) -> AnswerableViews:
        """The views in the session's snapshot, whose facts these are."""
        held = self._held
        if held is not None and held[0] == facts.catalogue_state:
            self._statistics.existence(hit=True)
            return held[1]
        self._statistics.existence(hit=False)
        found = await answerable_views(session)
        if self._enabled:
            self._held = (facts.catalogue_state, found)
        return found

    def clear(self) -> None:
        """Forgets everything."""
        self._held = None
