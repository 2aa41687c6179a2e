"""The numbers of /metrics, for a reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from mcp_types import ToolAnnotations

from researchflow_server import contract
from researchflow_server.contract import GetStatisticsInput
from researchflow_server.metrics.snapshot import Snapshot, ViewState
from researchflow_server.metrics.tally import RefreshState
from researchflow_server.runtime import Runtime
from researchflow_server.tools.budget import CUT_BYTES
from researchflow_server.tools.result import dumped
from researchflow_server.tools.spec import Call, ToolSpec

#: A concise answer names no more views, refusals and degradations than this.
NAMED_MAX = 8
VIEW_COLUMNS = ("view", "anchor", "data_as_of", "checked_at", "pending", "oldest_pending_at",
                "staleness_s", "dead_letters", "set_aside")  # fmt: skip
TOLD_COLUMNS = ("view", "data_as_of", "pending", "staleness_s", "dead_letters", "set_aside")
COUNTED_BY_NAME = ("refused_by_code", "degraded_by_reason")


async def run(call: Call, arguments: GetStatisticsInput) -> dict[str, Any]:
    """A new look at the stores, then the same numbers that a scrape would give now."""
    snapshot = await call.runtime.fresh_snapshot()
    payload: dict[str, Any] = {
        "at": snapshot.taken_at,
        "runner": call.runtime.hybrid.get_statistics(),
        "view_count": len(snapshot.views),
        "refresh": _refresh(snapshot.refresh),
        "warehouse_up": snapshot.warehouse_up,
        "redis_up": snapshot.redis_up,
    }
    if arguments.detail == "concise":
        return payload | _concise(snapshot, payload["runner"])
    return _cut(payload | _full(call.runtime, snapshot), call.bytes_max)


def _full(runtime: Runtime, snapshot: Snapshot) -> dict[str, Any]:
    counters = [
        [f"{family.name}_total", dict(zip(family.labels, values, strict=True)), number]
        for family in runtime.metrics.families()
        if family.kind == "counter"
        for values, number in family.samples
        if number
    ]
    overlay = [[part.resource_type, part.origin, part.entries] for part in snapshot.overlay]
    return {
        "views": _views(snapshot, snapshot.views, VIEW_COLUMNS),
        "counters": _table(("metric", "labels", "value"), counters),
        "overlay": _table(("resource_type", "origin", "entries"), overlay),
    }


def _concise(snapshot: Snapshot, runner: dict[str, Any]) -> dict[str, Any]:
    """Of the views those that are not as they should be, of names and origins the counts."""
    at = snapshot.taken_at
    odd = [state for state in snapshot.views if state.pending or state.dead_letters
           or state.set_aside or state.data_as_of is None]  # fmt: skip
    odd.sort(key=lambda state: (-(state.staleness_s(at) or 0), state.view))
    entries: Counter[str] = Counter()
    for part in snapshot.overlay:
        entries[part.origin] += part.entries
    left_out = len(odd) - NAMED_MAX
    return {
        "runner": {**runner, **{name: _most(runner[name]) for name in COUNTED_BY_NAME}},
        "data_as_of": min((s.data_as_of for s in snapshot.views if s.data_as_of), default=None),
        "views": _views(snapshot, odd[:NAMED_MAX], TOLD_COLUMNS),
        "overlay": _table(("origin", "entries"), [list(item) for item in entries.items()]),
        "warnings": [f'{left_out} more such views: ask with detail "full"'] if left_out > 0 else [],
    }


def _most(counts: dict[str, int]) -> dict[str, int]:
    """The largest of the counts, and the sum of the others."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    rest = sum(count for _name, count in ordered[NAMED_MAX:])
    return dict(ordered[:NAMED_MAX]) | ({"others": rest} if rest else {})


def _cut(payload: dict[str, Any], bytes_max: int) -> dict[str, Any]:
    """The numbers within so many bytes: counters are left out before views are."""
    rows = {name: payload[name].pop("rows") for name in ("views", "counters")}
    payload["warnings"] = []
    room_bytes = bytes_max - CUT_BYTES - len(dumped(payload))
    for name, given in rows.items():
        sizes = accumulate(len(dumped(row)) + 1 for row in given)
        kept = sum(size <= room_bytes for size in sizes)
        payload[name]["rows"] = given[:kept]
        room_bytes -= len(dumped(given[:kept]))
        if kept < len(given):
            payload["warnings"].append(f"{name} cut to {kept} of {len(given)} rows")
    return payload


def _views(
    snapshot: Snapshot, states: Sequence[ViewState], columns: Sequence[str]
) -> dict[str, Any]:
    rows = []
    for state in states:
        facts = {"staleness_s": state.staleness_s(snapshot.taken_at)}
        rows.append([facts[c] if c in facts else getattr(state, c) for c in columns])
    return _table(columns, rows)


def _table(columns: Sequence[str], rows: list[list[Any]]) -> dict[str, Any]:
    return {"columns": list(columns), "rows": rows}


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
    description="Staleness, hit rates, overlay, refreshes, health of stores.",
    arguments=GetStatisticsInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
