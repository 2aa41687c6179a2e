"""The endpoint of subscriptions on a real port, and short ways to deliver to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from operations_server import operation_server
from researchflow_server.feeds.endpoint import FEED_PATH
from tool_server import ToolServer, tool_server

SECRET = "s3cret"


class FeedServer:
    """A server that a subscription delivers to."""

    def __init__(self, tools: ToolServer, http: httpx2.AsyncClient) -> None:
        self.tools = tools
        self.http = http

    async def deliver(
        self,
        method: str,
        path: str = "",
        body: Any = None,
        *,
        secret: str | None = SECRET,
        **headers: str,
    ) -> httpx2.Response:
        """One delivery; a body that is not bytes is sent as FHIR JSON."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        if content is not None:
            named.setdefault("content-type", "application/fhir+json; charset=UTF-8")
        if secret is not None:
            named["X-Secret"] = secret
        return await self.http.request(method, FEED_PATH + path, content=content, headers=named)

    async def put(self, resource: dict[str, Any], version: int = 1) -> httpx2.Response:
        """An update as HAPI delivers it."""
        told = {**resource, "meta": {"versionId": str(version)}}
        path = f"/{resource['resourceType']}/{resource['id']}"
        return await self.deliver("PUT", path, told, if_match=f'W/"{version}"')

    async def rows(self, view: str, *columns: str, **asked: Any) -> list[Any]:
        """What a live query gives."""
        answer = await self.tools.call("query_view", view=view, columns=list(columns), **asked)
        return [tuple(row) for row in answer["rows"]]

    async def value(self, statement: str) -> Any:
        async with self.tools.runtime.stores.warehouse.session() as session:
            return await session.fetchval(statement)

    def counted(self, outcome: str) -> float:
        """How many deliveries were answered so."""
        samples = self.tools.runtime.metrics.deliveries.family().samples
        return next(number for labels, number in samples if labels == (outcome,))


@asynccontextmanager
async def feed_server(
    dsn: str, redis_url: str, home: Path, **settings: Any
) -> AsyncIterator[FeedServer]:
    """A server of these stores that takes deliveries with SECRET."""
    chosen = {"webhook_secret": SECRET, **settings}
    async with (
        tool_server(dsn, redis_url, home, **chosen) as tools,
        operation_server(tools) as served,
    ):
        yield FeedServer(tools, served.http)
