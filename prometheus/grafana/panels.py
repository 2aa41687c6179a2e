"""What the dashboard shows, row by row.

Warehouse figures are the same on every server and are therefore never added up (`max by`); counters
of a server's own work are (`sum by`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

STAT_HEIGHT = 4
GRAPH_HEIGHT = 8

JOB = 'job="$job"'
VIEW = f'{JOB}, view=~"$view"'
CALLS = f'{JOB}, mcp_method_name="tools/call"'


@dataclass(frozen=True)
class Panel:
    """One panel: `targets` pairs an expression with the legend of its series."""

    title: str
    description: str
    unit: str
    targets: tuple[tuple[str, str], ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    width: int = 8
    stacked: bool = False
    bad: Literal["", "zero", "above_zero"] = ""

    @property
    def height(self) -> int:
        return STAT_HEIGHT if self.kind == "stat" else GRAPH_HEIGHT


def rate(metric: str, labels: str, by: str) -> str:
    """Events per second of a counter, summed over the servers."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def share(metric: str, labels: str, outcome: str, by: str = "job") -> str:
    """The part of a counter's events that had this outcome, from 0 to 1.

    An outcome that never happened has no series: its part is 0 where there are events at all.
    """
    everything = rate(metric, labels, by)
    return f"({rate(metric, f'{labels}, {outcome}', by)} or 0 * {everything}) / {everything}"


def quantile(q: float, metric: str, labels: str, *, by: str, window: str) -> str:
    """A quantile of a histogram over the window."""
    buckets = f"sum by ({by}) (rate({metric}_bucket{{{labels}}}[{window}]))"
    return f"histogram_quantile({q}, {buckets})"


def warehouse(metric: str, labels: str, by: str) -> str:
    """A figure that every server reads from the same warehouse."""
    return f"max by ({by}) ({metric}{{{labels}}})"


def age(metric: str, labels: str, by: str) -> str:
    """Seconds since an exported timestamp."""
    return f"time() - {warehouse(metric, labels, by)}"


def tool_latency(q: float, by: str) -> str:
    return quantile(
        q,
        "mcp_server_operation_duration_seconds",
        CALLS,
        by=by,
        window="$__rate_interval",
    )


def refresh_duration(q: float) -> str:
    """Over the dashboard's range, since refreshes are rare."""
    return quantile(q, "researchflow_refresh_duration_seconds", JOB, by="le", window="$__range")


ROWS: dict[str, tuple[Panel, ...]] = {
    "Can I trust the answer?": (
        Panel(
            "Server",
            "1 when the metrics port answers.",
            "none",
            ((f"max(up{{{JOB}}})", "server"),),
            kind="stat",
            width=4,
            bad="zero",
        ),
        Panel(
            "Warehouse",
            "1 when PostgreSQL answers; while it is 0 no ages are known.",
            "none",
            ((f"min(researchflow_warehouse_up{{{JOB}}})", "warehouse"),),
            kind="stat",
            width=4,
            bad="zero",
        ),
        Panel(
            "Redis",
            "1 when Redis answers; while it is 0 inserts are refused and answers are degraded.",
            "none",
            ((f"min(researchflow_redis_up{{{JOB}}})", "redis"),),
            kind="stat",
            width=4,
            bad="zero",
        ),
        Panel(
            "Worst staleness",
            "How long the oldest change of any view has been waiting.",
            "s",
            ((f"max(view:researchflow_staleness:seconds{{{VIEW}}})", "staleness"),),
            kind="stat",
            width=4,
        ),
        Panel(
            "Since the last refresh",
            "Time since a refresh was last published.",
            "s",
            ((age("researchflow_refresh_last_success_timestamp_seconds", JOB, "job"), "age"),),
            kind="stat",
            width=4,
        ),
        Panel(
            "Dead letters",
            "Resources that the views go on without because their rows could not be computed.",
            "short",
            ((f"sum({warehouse('researchflow_view_dead_letters', VIEW, 'view')})", "resources"),),
            kind="stat",
            width=4,
            bad="above_zero",
        ),
        Panel(
            "Staleness by view",
            "How long the oldest waiting change has been waiting; 0 when none waits, no line when "
            "it is not known.",
            "s",
            ((f"view:researchflow_staleness:seconds{{{VIEW}}}", "{{view}}"),),
        ),
        Panel(
            "Pending changes by view",
            "Resources changed at the source that the batch layer lacks.",
            "short",
            ((warehouse("researchflow_view_pending_resources", VIEW, "view"), "{{view}}"),),
        ),
        Panel(
            "Age by view",
            "Time since the instant up to which the view is complete; grows while the source is "
            "idle and no refresh runs.",
            "s",
            ((age("researchflow_view_data_as_of_timestamp_seconds", VIEW, "view"), "{{view}}"),),
        ),
        Panel(
            "Time since the source was looked at",
            "Pending changes are only as true as this is short.",
            "s",
            ((age("researchflow_view_checked_timestamp_seconds", VIEW, "view"), "{{view}}"),),
            width=12,
        ),
        Panel(
            "Degraded answers",
            "Answers marked as degraded, by reason.",
            "ops",
            ((rate("researchflow_degraded_answers_total", JOB, "reason"), "{{reason}}"),),
            width=12,
        ),
    ),
    "Answers and hit rates": (
        Panel(
            "Answers by route",
            "Materialised tables, or the view computed over the source.",
            "ops",
            ((rate("researchflow_answers_total", VIEW, "route"), "{{route}}"),),
            stacked=True,
        ),
        Panel(
            "Share answered from materialised views",
            "By view; the rest was computed over the source.",
            "percentunit",
            (
                (
                    share("researchflow_answers_total", VIEW, 'route="materialized"', "view"),
                    "{{view}}",
                ),
            ),
        ),
        Panel(
            "Overlay hit rate by view",
            "Share of live answers to which the speed layer had something to add or remove.",
            "percentunit",
            (
                (
                    share("researchflow_overlay_lookups_total", VIEW, 'outcome="hit"', "view"),
                    "{{view}}",
                ),
            ),
        ),
        Panel(
            "Cache hit rates",
            "Resources found in Redis; views found in the catalogue cache.",
            "percentunit",
            (
                (
                    share("researchflow_resource_cache_requests_total", JOB, 'outcome="hit"'),
                    "resources",
                ),
                (
                    share("researchflow_view_existence_cache_requests_total", JOB, 'outcome="hit"'),
                    "view existence",
                ),
            ),
            width=12,
        ),
        Panel(
            "Refused answers",
            "By error code.",
            "ops",
            ((rate("researchflow_answers_refused_total", JOB, "code"), "{{code}}"),),
            width=12,
        ),
    ),
    "Tools": (
        Panel(
            "Tool latency",
            "All tool calls.",
            "s",
            tuple((tool_latency(q, "le"), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)),
        ),
        Panel(
            "p95 by tool",
            "95 of 100 calls were faster.",
            "s",
            ((tool_latency(0.95, "le, gen_ai_tool_name"), "{{gen_ai_tool_name}}"),),
        ),
        Panel(
            "p99 by tool",
            "99 of 100 calls were faster.",
            "s",
            ((tool_latency(0.99, "le, gen_ai_tool_name"), "{{gen_ai_tool_name}}"),),
        ),
        Panel(
            "Calls by tool",
            "Calls per second.",
            "ops",
            (
                (
                    rate("mcp_server_operation_duration_seconds_count", CALLS, "gen_ai_tool_name"),
                    "{{gen_ai_tool_name}}",
                ),
            ),
        ),
        Panel(
            "Error rate by tool",
            "Share of calls that ended in an error.",
            "percentunit",
            (
                (
                    share(
                        "mcp_server_operation_duration_seconds_count",
                        CALLS,
                        'error_type!=""',
                        "gen_ai_tool_name",
                    ),
                    "{{gen_ai_tool_name}}",
                ),
            ),
        ),
        Panel(
            "Errors by type",
            "Errors per second.",
            "ops",
            (
                (
                    rate(
                        "mcp_server_operation_duration_seconds_count",
                        f'{CALLS}, error_type!=""',
                        "error_type",
                    ),
                    "{{error_type}}",
                ),
            ),
        ),
    ),
    "Refresh": (
        Panel(
            "Refresh duration",
            "Quantiles over the shown range.",
            "s",
            tuple((refresh_duration(q), f"p{q * 100:.0f}") for q in (0.5, 0.95)),
        ),
        Panel(
            "Refreshes in the last hour",
            "By outcome.",
            "short",
            (
                (
                    f"max by (outcome) (increase(researchflow_refresh_runs_total{{{JOB}}}[1h]))",
                    "{{outcome}}",
                ),
            ),
        ),
        Panel(
            "Resources refreshed in the last hour",
            "Created, updated or deleted since the anchor before.",
            "short",
            (
                (
                    "max by (job) "
                    f"(increase(researchflow_refresh_changed_resources_total{{{JOB}}}[1h]))",
                    "changed",
                ),
            ),
        ),
    ),
    "Speed layer": (
        Panel(
            "Overlay entries",
            "Changes that the batch layer has not absorbed, by type and origin.",
            "short",
            (
                (
                    warehouse("researchflow_overlay_entries", JOB, "resource_type, origin"),
                    "{{resource_type}} {{origin}}",
                ),
            ),
            width=12,
            stacked=True,
        ),
        Panel(
            "Overlay writes",
            "By outcome.",
            "ops",
            ((rate("researchflow_overlay_writes_total", JOB, "outcome"), "{{outcome}}"),),
            width=12,
        ),
    ),
}
