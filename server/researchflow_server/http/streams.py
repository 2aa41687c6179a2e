"""Streams that stand: a client's GET, on which it hears what no call of its own asked for."""

from __future__ import annotations

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Each holds one of the connections that an address may open; a client without lacks notices alone.
STREAMS_MAX = 64


class StandingStreams:
    """Bounds the GETs of one address, and ends them all when the server is about to stop."""

    def __init__(self, app: ASGIApp, *, path: str, ended: asyncio.Event) -> None:
        self._app = app
        self._path = path
        self._ended = ended
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 405 beyond STREAMS_MAX, as a server may that has no such streams."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        if self._open >= STREAMS_MAX or self._ended.is_set():
            refusal = Response(status_code=405, headers={"Allow": "POST, DELETE"})
            await refusal(scope, receive, send)
            return
        self._open += 1
        try:
            await self._app(scope, self._until_ended(receive), send)
        finally:
            self._open -= 1

    def _until_ended(self, receive: Receive) -> Receive:
        """What the client sends; at the end of the server, that it has left."""

        async def received() -> Message:
            message = asyncio.ensure_future(receive())
            ended = asyncio.ensure_future(self._ended.wait())
            try:
                await asyncio.wait((message, ended), return_when=asyncio.FIRST_COMPLETED)
                return message.result() if message.done() else {"type": "http.disconnect"}
            finally:
                message.cancel()
                ended.cancel()

        return received
