"""The registry behind /metrics: latencies that are measured, and numbers that are copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from researchflow_server.metrics.deliveries import Deliveries
from researchflow_server.metrics.families import Family, state_families
from researchflow_server.metrics.operations import OperationLatency
from researchflow_server.metrics.snapshot import Snapshot
from researchflow_server.metrics.tally import REFRESH_BUCKETS_S, RefreshState


class Metrics:
    """All metrics of one process; `counted` gives its counters when asked."""

    def __init__(self, counted: Callable[[], list[Family]]) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.operations = OperationLatency(self.registry)
        self.deliveries = Deliveries()
        self.snapshot: Snapshot | None = None
        self._counted = counted
        self.registry.register(_Copier(self))

    def families(self) -> list[Family]:
        """Every counter and gauge as of now and the last look at the stores."""
        state = state_families(self.snapshot) if self.snapshot else []
        return [*self._counted(), self.deliveries.family(), *state]


class _Copier(Collector):
    """Gives a scrape what is already in memory."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """The families, none of which waits for a store."""
        yield from (_metric(family) for family in self._metrics.families())
        snapshot = self._metrics.snapshot
        if snapshot is None or snapshot.refresh is None:
            return
        if snapshot.is_recent(datetime.now(UTC)):
            yield _durations(snapshot.refresh)


def _metric(family: Family) -> Metric:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for values, number in family.samples:
        metric.add_metric(values, number)
    return metric


def _durations(state: RefreshState) -> Metric:
    metric = HistogramMetricFamily(
        "researchflow_refresh_duration_seconds", "Duration of finished refreshes.", labels=()
    )
    bounds = [*(f"{bound:g}" for bound in REFRESH_BUCKETS_S), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, state.bucket_counts, strict=True):
        total += count
        buckets.append((bound, total))
    metric.add_metric((), buckets, sum_value=state.seconds)
    return metric
