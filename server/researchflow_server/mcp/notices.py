"""Tells clients that views or anchors changed, whichever server of the warehouse changed them.

In the era of 2026-07-28 a client listens on a stream that it opens for that; in the handshake era
it hears on its own connection, over HTTP on the stream of its session. While nobody can hear,
nothing is looked at.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from researchflow_runners.errors import ResearchFlowError
from researchflow_server.fault import place_of
from researchflow_server.mcp.anchors import ANCHORS_URI
from researchflow_server.mcp.resources import VIEWS_URI, require_views
from researchflow_server.runtime import Runtime
from researchflow_server.runtime.changes import Changes, Look, changes_between, look

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0
#: A client that listens hears of what comes after the first look, if that is this fast.
FIRST_LOOK_TIMEOUT_S = 5.0
#: One client that takes nothing holds the others up no longer.
SEND_TIMEOUT_S = 5.0
STREAMS_MAX = 64
SUBSCRIPTIONS_MAX = 256
_SUBSCRIBED = "researchflow.subscribed"


class Notices:
    """The clients of one server that hear of changes."""

    def __init__(self, runtime: Runtime, *, interval_s: float = LOOK_INTERVAL_S) -> None:
        self._runtime = runtime
        self._interval_s = interval_s
        self._bus = InMemorySubscriptionBus()
        self._handler = ListenHandler(self._bus, max_subscriptions=STREAMS_MAX)
        self._connections: list[Connection] = []
        self._listening = 0
        self._watch: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self.ended = asyncio.Event()

    def end(self) -> None:
        """Ends every stream that stands: the server is about to stop."""
        self.ended.set()
        self._handler.close()

    async def listen(
        self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """One stream of the era of 2026-07-28, until the client leaves."""
        await self._check([str(uri) for uri in params.notifications.resource_subscriptions or ()])
        async with self._watching():
            return await self._handler(ctx, params)

    def join(self, connection: Connection) -> None:
        """A connection of the handshake era hears of changes until it is closed."""
        if connection in self._connections:
            return
        self._connections.append(connection)
        connection.exit_stack.callback(self._leave, connection)
        self._begin()

    async def subscribe(
        self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams
    ) -> EmptyResult:
        """A connection of the handshake era hears when this resource has changed."""
        subscribed = _subscribed(ctx.session._connection)
        await self._check([*subscribed, str(params.uri)])
        self.join(ctx.session._connection)
        await self._first_look()
        subscribed.add(str(params.uri))
        return EmptyResult()

    async def unsubscribe(
        self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        """It no longer does."""
        _subscribed(ctx.session._connection).discard(str(params.uri))
        return EmptyResult()

    async def _check(self, uris: Sequence[str]) -> None:
        """MCPError for too many addresses, and for one of ours that has nothing: it would never be
        told as changed."""
        if len(uris) > SUBSCRIPTIONS_MAX:
            raise MCPError(
                code=INVALID_PARAMS,
                message=f"a client subscribes to at most {SUBSCRIPTIONS_MAX} resources",
            )
        await require_views(self._runtime, [uri for uri in uris if uri.startswith(f"{VIEWS_URI}/")])

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        self._listening += 1
        try:
            self._begin()
            await self._first_look()
            yield
        finally:
            self._listening -= 1
            self._rest()

    def _leave(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
        self._rest()

    def _begin(self) -> None:
        if self._watch is None:
            self._looked.clear()
            self._watch = asyncio.create_task(self._look_on())

    def _rest(self) -> None:
        """Nobody hears any more."""
        if self._watch is not None and not self._listening and not self._connections:
            self._watch.cancel()
            self._watch = None

    async def _first_look(self) -> None:
        """Returns when changes from here on will be noticed, or when the warehouse is away."""
        try:
            await asyncio.wait_for(self._looked.wait(), FIRST_LOOK_TIMEOUT_S)
        except TimeoutError:
            return

    async def _look_on(self) -> None:
        """Looks again and again; what happened during an outage is told after it."""
        seen: Look | None = None
        while True:
            try:
                now = await look(self._runtime.stores.warehouse)
                if seen is not None:
                    await self._tell(changes_between(seen, now))
                seen = now
                self._looked.set()
            except ResearchFlowError as error:
                logger.info("changes of views are not seen: %s", error.code)
            except Exception as error:  # noqa: BLE001  the outermost edge
                logger.error("changes of views could not be told: %s", place_of(error))
            await asyncio.sleep(self._interval_s)

    async def _tell(self, changes: Changes) -> None:
        for event in _events(changes):
            await self._bus.publish(event)
            for connection in tuple(self._connections):
                if not await _sent(connection, event):
                    logger.warning("a client takes no notices and gets no more")
                    self._connections.remove(connection)


def _events(changes: Changes) -> Iterator[ServerEvent]:
    if changes.catalogue:
        # The schemas of tools name the views.
        yield ToolsListChanged()
    if changes.catalogue or changes.anchors:
        yield ResourcesListChanged()
    for name in changes.views:
        yield ResourceUpdated(uri=f"{VIEWS_URI}/{name}")
    if changes.views or changes.anchors:
        yield ResourceUpdated(uri=VIEWS_URI)
    if changes.anchors:
        yield ResourceUpdated(uri=ANCHORS_URI)


async def _sent(connection: Connection, event: ServerEvent) -> bool:
    """Sends to a connection of the handshake era what it hears of; False when it took nothing."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            if isinstance(event, ToolsListChanged):
                await connection.send_tool_list_changed()
            elif isinstance(event, ResourcesListChanged):
                await connection.send_resource_list_changed()
            elif isinstance(event, ResourceUpdated) and event.uri in _subscribed(connection):
                await connection.send_resource_updated(event.uri)
    except TimeoutError:
        return False
    return True


def _subscribed(connection: Connection) -> set[str]:
    """The addresses that the connection has subscribed to."""
    found: set[str] = connection.state.setdefault(_SUBSCRIBED, set())
    return found
