"""Latency of MCP messages under OpenTelemetry's name for it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics

# A series of creation times beside each of ours tells nothing that we need.
disable_created_metrics()  # type: ignore[no-untyped-call]

BUCKETS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
LABELS = (
    "mcp_method_name",
    "gen_ai_tool_name",
    "error_type",
    "network_transport",
    "mcp_protocol_version",
)


class OperationLatency:
    """A histogram of every MCP message the server answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._histogram = Histogram(
            "mcp_server_operation_duration_seconds",
            "Duration of MCP messages by method, tool, error code, transport and protocol.",
            LABELS,
            buckets=BUCKETS_S,
            registry=registry,
        )

    def observe(
        self, method: str, tool: str, error: str, transport: str, version: str, seconds: float
    ) -> None:
        """Counts one message; every label must come from a closed set."""
        self._histogram.labels(method, tool, error, transport, version).observe(seconds)
