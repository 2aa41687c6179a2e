"""Every number we export, as data: the one list behind /metrics and the statistics tool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from researchflow_runners.hybrid.result import DEGRADATION_CODES
from researchflow_runners.hybrid.statistics import RunnerStatistics
from researchflow_runners.speed.change import Outcome
from researchflow_runners.speed.redis_client import CacheStatistics
from researchflow_server.metrics.snapshot import Reconciled, Snapshot
from researchflow_server.metrics.tally import RefreshState

HIT_OR_MISS = {True: "hit", False: "miss"}
WRITE_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
ROUTES = ("materialized", "direct")
#: Why a query can be refused; each is counted from 0, or a rate would not see the first one.
REFUSALS = (
    "aggregate_type", "anchor_before_view", "anchor_expired", "anchor_unknown", "busy",
    "column_mismatch", "column_missing", "column_name", "column_type", "columns_with_groups",
    "composed_view_broken", "composed_view_fails", "cursor_invalid", "definition_outdated",
    "duplicate_column", "filter_too_large", "freshness_conflict", "instant_without_zone",
    "invalid_argument", "operator_not_allowed", "parameter_missing", "parameter_type",
    "parameter_unused", "pin_unknown", "pooler_unfit", "postgres_conflict", "postgres_refused",
    "postgres_resources", "postgres_unavailable", "relation_missing", "resource_not_computable",
    "result_too_large", "source_unavailable", "sql_alias", "sql_clock", "sql_construct",
    "sql_function", "sql_operator", "sql_reads_no_view", "sql_rejected", "sql_statement",
    "sql_syntax", "sql_too_costly", "sql_too_large", "sql_type", "sql_unordered",
    "staleness_exceeded", "statement_rejected", "statement_timeout", "text_empty",
    "text_too_long", "too_many_columns", "units_mixed", "unknown_column", "unknown_parameter",
    "unknown_patient", "unknown_relation", "unknown_view", "url_invalid", "value_never_matches",
    "value_type", "view_fails", "view_not_materialised", "view_not_published", "view_set_aside",
    "view_takes_parameters",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its samples are label values and a number."""

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    samples: tuple[tuple[tuple[str, ...], float], ...]


def counter_families(
    statistics: RunnerStatistics,
    cache: CacheStatistics,
    writes: Mapping[Outcome, int],
    *,
    views: Sequence[str],
) -> list[Family]:
    """What this process counted since it started; closed label sets begin at 0."""
    answers = Counter({(view, route): 0 for view in views for route in ROUTES})
    answers.update(statistics.answers)
    overlay = Counter({(view, hit): 0 for view in views for hit in HIT_OR_MISS})
    overlay.update(statistics.overlay_lookups)
    refused: Counter[str] = Counter(dict.fromkeys(REFUSALS, 0))
    refused.update(statistics.refused)
    degraded: Counter[str] = Counter(dict.fromkeys(DEGRADATION_CODES, 0))
    degraded.update(statistics.degraded)
    return [
        _counter(
            "researchflow_answers", "Answers by view and route.", ("view", "route"),
            answers.items(),
        ),
        _counter(
            "researchflow_answers_refused", "Queries answered with an error, by code.", ("code",),
            ((_one(code), count) for code, count in refused.items()),
        ),
        _counter(
            "researchflow_overlay_lookups",
            "Merged answers by whether a change was waiting.", ("view", "outcome"),
            (((view, HIT_OR_MISS[hit]), count) for (view, hit), count in overlay.items()),
        ),
        _counter(
            "researchflow_resource_cache_requests", "Looks for a resource in Redis.",
            ("outcome",), [(("hit",), cache.hits), (("miss",), cache.misses)],
        ),
        _counter(
            "researchflow_view_existence_cache_requests",
            "Looks at which views are published.", ("outcome",),
            ((_one(word), statistics.existence_lookups[hit]) for hit, word in HIT_OR_MISS.items()),
        ),
        _counter(
            "researchflow_degraded_answers", "Answers that were less than asked for.",
            ("reason",), ((_one(reason), count) for reason, count in degraded.items()),
        ),
        _counter(
            "researchflow_overlay_writes", "Changes handed in, by what became of them.",
            ("outcome",), ((_one(word), writes.get(word, 0)) for word in WRITE_OUTCOMES),
        ),
    ]  # fmt: skip


def state_families(snapshot: Snapshot) -> list[Family]:
    """What the stores told at the last look; no ages without a warehouse that answers.

    A look that is too old says nothing of now: neither store is known to answer.
    """
    recent = snapshot.is_recent(datetime.now(UTC))
    warehouse_up = recent and snapshot.warehouse_up
    up = [
        _gauge("researchflow_warehouse_up", "Whether PostgreSQL answered a look just now.", (),
               [((), warehouse_up)]),
        _gauge("researchflow_redis_up", "Whether Redis answered a look just now.", (),
               [((), recent and snapshot.redis_up)]),
    ]  # fmt: skip
    if not warehouse_up:
        return up
    return [
        *up,
        *_view_families(snapshot),
        _set_aside(snapshot),
        *_overlay_families(snapshot),
        *_feed_families(snapshot),
        *_refresh(snapshot),
    ]


def _view_families(snapshot: Snapshot) -> list[Family]:
    gauges: tuple[tuple[str, str, str], ...] = (
        ("data_as_of_timestamp_seconds", "Source instant up to which the view is complete.",
         "data_as_of"),
        ("checked_timestamp_seconds", "Last look at the source for changes.", "checked_at"),
        ("pending_resources", "Changes seen in the source and not in the view.", "pending"),
        ("oldest_pending_timestamp_seconds", "Oldest of these changes; absent without one.",
         "oldest_pending_at"),
        ("dead_letters", "Resources whose rows could not be computed.", "dead_letters"),
    )  # fmt: skip
    return [
        _gauge(
            f"researchflow_view_{name}",
            text,
            ("view",),
            (
                (_one(state.view), state.number(attribute))
                for state in snapshot.views
                if getattr(state, attribute) is not None
            ),
        )
        for name, text, attribute in gauges
    ]


def _set_aside(snapshot: Snapshot) -> Family:
    """1 for a view that cannot be computed for now, 0 for the others."""
    aside = {one.view for one in snapshot.set_aside}
    names = sorted(aside | {state.view for state in snapshot.views})
    return _gauge(
        "researchflow_view_set_aside",
        "Whether the view cannot be computed for now and answers as of an earlier anchor.",
        ("view",),
        ((_one(name), float(name in aside)) for name in names),
    )


def _overlay_families(snapshot: Snapshot) -> list[Family]:
    samples = (
        ((part.resource_type, part.origin), float(part.entries)) for part in snapshot.overlay
    )
    return [
        _gauge("researchflow_overlay_entries", "Changes that wait and count.",
               ("resource_type", "origin"), samples),
    ]  # fmt: skip


def _feed_families(snapshot: Snapshot) -> list[Family]:
    """By reader: how far it is, when everything was compared last, and whether it is told."""
    read = [(_one(one.reader), one.seen_at.timestamp()) for one in snapshot.feeds]
    compared = [
        (_one(one.reader), one.compared_at.timestamp()) for one in snapshot.feeds if one.compared_at
    ]
    told = [(_one(one.reader), float(one.feed == "outbox")) for one in snapshot.feeds]
    return [
        *_reconciled(snapshot.reconciled),
        _gauge("researchflow_feed_left_to_refresh",
               "Whether more changed than the tail takes at once, so that a refresh has to.", (),
               [((), snapshot.left_at is not None)]),
        _gauge("researchflow_feed_read_timestamp_seconds", "Instant up to which it is read.",
               ("reader",), read),
        _gauge("researchflow_feed_compared_timestamp_seconds",
               "Last time that everything was compared.", ("reader",), compared),
        _gauge("researchflow_feed_outbox", "Whether an outbox tells the changes.",
               ("reader",), told),
    ]  # fmt: skip


def _reconciled(state: Reconciled | None) -> list[Family]:
    if state is None:
        return []
    missing = _gauge("researchflow_feed_reconciliation_missing",
                     "Whether the last refresh that was to sum source and ledger could not.", (),
                     [((), state.is_missing)])  # fmt: skip
    if state.counted_at is None:
        return [missing]
    return [
        missing,
        _gauge("researchflow_feed_differing_types",
               "Resource types whose versions or tags differed between source and ledger.", (),
               [((), state.differing)]),
        _gauge("researchflow_feed_reconciled_timestamp_seconds",
               "Last time that source and ledger were summed.", (),
               [((), state.counted_at.timestamp())]),
    ]  # fmt: skip


def _refresh(snapshot: Snapshot) -> list[Family]:
    state = snapshot.refresh
    if state is None:
        return []
    families = [
        _counter("researchflow_refresh_runs", "Refreshes that ended, of any process.",
                 ("outcome",), [(_one(word), runs) for word, runs in state.outcomes.items()]),
        _counter("researchflow_refresh_changed_resources", "Resources that refreshes absorbed.",
                 (), [((), state.changed)]),
    ]  # fmt: skip
    if state.last_success_at is not None:
        families.append(_last_success(state))
    return families


def _last_success(state: RefreshState) -> Family:
    assert state.last_success_at is not None
    return _gauge(
        "researchflow_refresh_last_success_timestamp_seconds",
        "End of the last refresh that published.",
        (),
        [((), state.last_success_at.timestamp())],
    )


def _one(value: str) -> tuple[str, ...]:
    return (value,)


def _counter(
    name: str,
    text: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[tuple[str, ...], float]],
) -> Family:
    return Family(name, text, "counter", labels, tuple(samples))


def _gauge(
    name: str,
    text: str,
    labels: tuple[str, ...],
    samples: Iterable[tuple[tuple[str, ...], float]],
) -> Family:
    found = tuple((values, float(number)) for values, number in samples)
    return Family(name, text, "gauge", labels, found)
