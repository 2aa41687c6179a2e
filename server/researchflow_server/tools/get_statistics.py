"""The numbers of /metrics, for a reader."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_server import contract
from researchflow_server.contract import GetStatisticsInput
from researchflow_server.metrics.snapshot import Snapshot
from researchflow_server.metrics.tally import RefreshState
from researchflow_server.tools.spec import Call, ToolSpec


async def run(call: Call, _arguments: GetStatisticsInput) -> dict[str, Any]:
    """A new look at the stores, then the same numbers that a scrape would give now."""
    snapshot = await call.runtime.fresh_snapshot()
    families = call.runtime.metrics.families()
    return {
        "at": snapshot.taken_at,
        "runner": call.runtime.hybrid.get_statistics(),
        "views": _views(snapshot),
        "counters": {
            "columns": ["metric", "labels", "value"],
            "rows": [
                [f"{family.name}_total", dict(zip(family.labels, values, strict=True)), number]
                for family in families
                if family.kind == "counter"
                for values, number in family.samples
                if number
            ],
        },
        "overlay": {
            "columns": ["resource_type", "origin", "entries"],
            "rows": [[part.resource_type, part.origin, part.entries] for part in snapshot.overlay],
        },
        "refresh": _refresh(snapshot.refresh),
        "warehouse_up": snapshot.warehouse_up,
        "redis_up": snapshot.redis_up,
    }


def _views(snapshot: Snapshot) -> dict[str, Any]:
    columns = ["view", "anchor", "data_as_of", "checked_at", "pending", "oldest_pending_at",
               "staleness_s", "dead_letters", "set_aside"]  # fmt: skip
    rows = [
        [
            state.view,
            state.anchor,
            state.data_as_of,
            state.checked_at,
            state.pending,
            state.oldest_pending_at,
            state.staleness_s(snapshot.taken_at),
            state.dead_letters,
            state.set_aside,
        ]
        for state in snapshot.views
    ]
    return {"columns": columns, "rows": rows}


def _refresh(state: RefreshState | None) -> dict[str, Any]:
    if state is None:
        return {}
    return {
        **state.outcomes,
        "changed_resources": state.changed,
        "seconds": round(state.seconds, 3),
        "last_success_at": state.last_success_at,
    }


GET_STATISTICS = ToolSpec(
    name=contract.GET_STATISTICS,
    title="Get statistics",
    description="Staleness, hit rates, overlay, refreshes and health of the stores.",
    arguments=GetStatisticsInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
