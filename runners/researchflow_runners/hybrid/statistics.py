"""What the serving layer did since it started: plain counters, copied by the metrics.

All counting happens on the event loop's thread between two awaits, so no lock is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from researchflow_runners.hybrid.result import Answer, Route
from researchflow_runners.naming import is_unlisted

#: What all views are counted as whose names are not listed.
UNLISTED = "unlisted"


@dataclass(slots=True)
class RunnerStatistics:
    """Counters of one HybridRunner.

    Every answer is counted once in `answers`, by view and route; every refusal once in `refused`,
    by error code. `overlay_lookups` counts merged answers by whether a change was waiting.
    """

    answers: Counter[tuple[str, Route]] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    overlay_lookups: Counter[tuple[str, bool]] = field(default_factory=Counter)
    existence_lookups: Counter[bool] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)

    def answered(self, answer: Answer) -> None:
        """Counts one answer; `view` of an answer is always a known view."""
        view = _counted_as(answer.view)
        self.answers[(view, answer.route)] += 1
        if answer.speed.enabled:
            self.overlay_lookups[(view, answer.speed.hit)] += 1
        for degradation in answer.degradations:
            self.degraded[degradation.code] += 1

    def streamed(self, view: str, route: Route, degradations: Iterable[str]) -> None:
        """Counts rows of a known view that were given whole, outside of any query."""
        self.answers[(_counted_as(view), route)] += 1
        self.degraded.update(degradations)

    def refuse(self, code: str) -> None:
        """Counts one query that was answered with an error."""
        self.refused[code] += 1

    def existence(self, *, hit: bool) -> None:
        """Counts one look at which views are published."""
        self.existence_lookups[hit] += 1

    def as_dict(self) -> dict[str, Any]:
        """The counters by the names that users of the classic runner know, and more.

        total_queries = materialized_queries + postgres_queries; refused ones are counted apart.
        speed_layer_queries are the materialised ones to which changes were waiting.
        """
        materialized = self._routed("materialized")
        direct = self._routed("direct")
        total = materialized + direct
        return {
            "total_queries": total,
            "materialized_queries": materialized,
            "postgres_queries": direct,
            "speed_layer_queries": self._overlay(hit=True),
            "materialized_percentage": 100.0 * materialized / total if total else 0.0,
            "refused_queries": self.refused.total(),
            "refused_by_code": dict(self.refused),
            "overlay_hits": self._overlay(hit=True),
            "overlay_misses": self._overlay(hit=False),
            "existence_cache_hits": self.existence_lookups[True],
            "existence_cache_misses": self.existence_lookups[False],
            "degraded_by_reason": dict(self.degraded),
        }

    def _routed(self, route: Route) -> int:
        return sum(count for (_view, way), count in self.answers.items() if way == route)

    def _overlay(self, *, hit: bool) -> int:
        return sum(count for (_view, found), count in self.overlay_lookups.items() if found == hit)


def _counted_as(view: str) -> str:
    """The label of a view: a name that is not listed is none, and there may be many."""
    return UNLISTED if is_unlisted(view) else view
