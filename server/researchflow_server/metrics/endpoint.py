"""/metrics and /healthz on a port of their own: no access to the tools, nothing to wait for.

/healthz/live answers while the process runs. /healthz answers 200 when both stores were up at the
last look, and that look was recent; otherwise 503 and what is wrong. Redis alone missing leaves
the server ready, since answers go on, and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from researchflow_server.metrics.snapshot import Snapshot


def metrics_app(registry: CollectorRegistry, snapshot: Callable[[], Snapshot | None]) -> Starlette:
    """The application of the metrics port."""

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def live(_request: Request) -> Response:
        return Response(b"ok\n", media_type="text/plain")

    async def ready(_request: Request) -> Response:
        status, problems = readiness(snapshot())
        body = {"status": "ready" if status == 200 else "unavailable", "problems": problems}
        return Response(orjson.dumps(body), status_code=status, media_type="application/json")

    return Starlette(
        routes=[
            Route("/metrics", metrics, methods=["GET"]),
            Route("/healthz", ready, methods=["GET"]),
            Route("/healthz/live", live, methods=["GET"]),
        ]
    )


def readiness(snapshot: Snapshot | None) -> tuple[int, list[str]]:
    """HTTP status and what is wrong."""
    if snapshot is None:
        return 503, ["the stores have not been looked at yet"]
    problems = []
    now = datetime.now(UTC)
    if not snapshot.is_recent(now):
        age_s = (now - snapshot.seen_at).total_seconds()
        problems.append(f"the last look at the stores is {age_s:.0f} s old")
    if not snapshot.warehouse_up:
        problems.append("the warehouse does not answer")
    unready = bool(problems)
    if not snapshot.redis_up:
        problems.append("redis does not answer: changes are refused, answers go on")
    return (503 if unready else 200), problems
