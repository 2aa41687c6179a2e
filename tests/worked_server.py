"""A whole server at work, with its metrics on a port: what Prometheus sees in production."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import Client
from prometheus_client import generate_latest

from researchflow_runners.source.load import put_resource
from researchflow_server.http import Listener
from researchflow_server.mcp.app import ResearchFlowServer
from researchflow_server.metrics.endpoint import metrics_app
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.settings import read_settings

LOOK_S = 0.5
PATIENT = {"resourceType": "Patient", "id": "at-the-source", "gender": "female"}
INSERTED = {"resourceType": "Patient", "id": "inserted", "gender": "male"}


class WorkedServer:
    """`work` does one round of everything that metrics count."""

    def __init__(self, runtime: Runtime, client: Client, *, port: int) -> None:
        self.port = port
        self.runtime = runtime
        self._client = client
        self._rounds = 0

    async def work(self) -> None:
        """Leaves one patient changed at the source and one inserted, neither refreshed."""
        self._rounds += 1
        await self._call("refresh_views")
        inserted = INSERTED | {"meta": {"versionId": str(self._rounds)}}
        await self._call("cache_resources", resources=[inserted])
        await self._call("query_view", view="patient_demographics")
        await self._call("query_view", fails=True, view="unknown")
        changed = PATIENT | {"multipleBirthInteger": self._rounds}
        await put_resource(self.runtime.stores.source, changed)
        await self.runtime.check_source()
        await self.runtime.fresh_snapshot()

    async def _call(self, tool: str, *, fails: bool = False, **arguments: Any) -> None:
        result = await self._client.call_tool(tool, arguments)
        assert result.is_error == fails, result.structured_content

    def views_of_patients(self) -> set[str]:
        """The views that a changed patient leaves stale."""
        return {name for name, view in self.runtime.views.items() if view.resource == "Patient"}

    def exposition(self) -> str:
        """What a scrape gives."""
        return generate_latest(self.runtime.metrics.registry).decode()


@asynccontextmanager
async def worked_server(dsn: str, redis_url: str, home: Path) -> AsyncIterator[WorkedServer]:
    """A server after one round of work, with all its background work."""
    settings = read_settings(
        {},
        home=home,
        database_url=dsn,
        redis_url=redis_url,
        pending_check_s=LOOK_S,
        refresh_objective_s=0,
        snapshot_s=LOOK_S,
    )
    async with (
        open_runtime(settings, background=True) as runtime,
        _metrics_port(runtime) as port,
        Client(ResearchFlowServer(runtime)) as client,
    ):
        server = WorkedServer(runtime, client, port=port)
        await server.work()
        yield server


@asynccontextmanager
async def _metrics_port(runtime: Runtime) -> AsyncIterator[int]:
    app = metrics_app(runtime.metrics.registry, lambda: runtime.metrics.snapshot)
    with Listener(app, host="127.0.0.1", port=0, variable="RESEARCHFLOW_METRICS_PORT") as listener:
        serving = asyncio.create_task(listener.serve())
        try:
            yield listener.port
        finally:
            listener.stop()
            await serving
