"""The server's own registry in the state of a server that has worked, without its stores."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from researchflow_runners.hybrid.result import DEGRADATION_CODES
from researchflow_runners.hybrid.statistics import RunnerStatistics
from researchflow_runners.speed.redis_client import CacheStatistics
from researchflow_server.metrics.core import Metrics
from researchflow_server.metrics.families import ROUTES, WRITE_OUTCOMES, Family, counter_families
from researchflow_server.metrics.snapshot import (
    REFRESH_BUCKETS_S,
    OverlayState,
    RefreshState,
    Snapshot,
    ViewState,
)

STALE_VIEW = "patient_demographics"
IDLE_VIEW = "condition_diagnoses"
VIEWS = (STALE_VIEW, IDLE_VIEW)
STALENESS_S = 7200


class WorkedServer:
    """Metrics whose every counter has moved; `work` moves each of them once more."""

    def __init__(self) -> None:
        self._started_at = datetime.now(UTC)
        self._rounds = 0
        self._statistics = RunnerStatistics()
        self._writes: Counter[str] = Counter()
        self.metrics = Metrics(self._counted)
        self.work()

    def work(self) -> None:
        """One round of answers, refusals, writes, tool calls and refreshes."""
        self._rounds += 1
        for view in VIEWS:
            self._statistics.answers.update((view, route) for route in ROUTES)
            self._statistics.overlay_lookups.update([(view, True), (view, False)])
        self._statistics.refuse("column_unknown")
        self._statistics.degraded.update(DEGRADATION_CODES)
        for hit in (True, False):
            self._statistics.existence(hit=hit)
        self._writes.update(WRITE_OUTCOMES)
        for error in ("", "column_unknown"):
            self.metrics.operations.observe(
                "tools/call", "query_view", error, "tcp", "2025-11-25", 0.02
            )
        self.metrics.snapshot = self._snapshot()

    def samples(self) -> dict[str, list[dict[str, str]]]:
        """What a scrape shows: sample name → the labels of its samples."""
        found: dict[str, list[dict[str, str]]] = {}
        for family in text_string_to_metric_families(self.exposition()):
            for sample in family.samples:
                found.setdefault(sample.name, []).append(sample.labels)
        return found

    def exposition(self) -> str:
        """What a scrape gives."""
        return generate_latest(self.metrics.registry).decode()

    def _counted(self) -> list[Family]:
        cache = CacheStatistics(hits=self._rounds, misses=self._rounds)
        return counter_families(self._statistics, cache, self._writes, views=VIEWS)

    def _snapshot(self) -> Snapshot:
        now = datetime.now(UTC)
        return Snapshot(
            taken_at=now,
            seen_at=now,
            warehouse_up=True,
            redis_up=True,
            views=(self._view(STALE_VIEW, pending=3), self._view(IDLE_VIEW, pending=0)),
            overlay=(
                OverlayState("Patient", "source", 3),
                OverlayState("Patient", "provisional", 1),
            ),
            refresh=self._refresh(),
        )

    def _view(self, name: str, *, pending: int) -> ViewState:
        since = self._started_at - timedelta(seconds=STALENESS_S)
        return ViewState(
            view=name,
            resource_type="Patient",
            anchor=1,
            data_as_of=since,
            checked_at=self._started_at,
            pending=pending,
            oldest_pending_at=since if pending else None,
            dead_letters=0,
        )

    def _refresh(self) -> RefreshState:
        return RefreshState(
            published=self._rounds,
            failed=self._rounds,
            changed=10 * self._rounds,
            seconds=0.2 * self._rounds,
            bucket_counts=(0, 2 * self._rounds, *(0 for _ in REFRESH_BUCKETS_S[1:])),
            last_success_at=self._started_at,
        )
