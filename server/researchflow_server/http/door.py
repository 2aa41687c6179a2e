"""What every request must be, whatever it asks: one Host, a plain and whole body."""

from __future__ import annotations

import logging
from collections.abc import Collection

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from researchflow_server.feeds.body import is_encoded

logger = logging.getLogger(__name__)


class Door:
    """Lets requests of one meaning through to the application.

    At an address of `own_refusals`, and below it, the application itself refuses encoded bodies.
    """

    def __init__(self, app: ASGIApp, *, own_refusals: Collection[str] = ()) -> None:
        self._app = app
        self._own_refusals = tuple(f"{path}/" for path in own_refusals)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 400 or 415, or as the application does; a client that left is one log line."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        try:
            await (refusal or self._app)(scope, receive, send)
        except* ClientDisconnect:
            logger.warning("a client left before its request was whole")

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) > 1:
            return PlainTextResponse("more than one Host header\n", status_code=400)
        if is_encoded(headers) and not f"{scope['path']}/".startswith(self._own_refusals):
            return PlainTextResponse(
                "send the body without Content-Encoding\n",
                status_code=415,
                headers={"Accept-Encoding": "identity"},
            )
        return None


class WholeBody:
    """Hands a request at one address over when its body is there.

    For an application that takes a client that hangs up for a fault of its own. What is beyond
    `bytes_max` is left to the application to refuse.
    """

    def __init__(self, app: ASGIApp, *, path: str, bytes_max: int) -> None:
        self._app = app
        self._path = path
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ClientDisconnect for a body that ends before its end."""
        if scope["type"] == "http" and scope["path"] == self._path:
            receive = await self._gathered(receive)
        await self._app(scope, receive, send)

    async def _gathered(self, receive: Receive) -> Receive:
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= self._bytes_max:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
        gathered = [{"type": "http.request", "body": b"".join(parts), "more_body": more}]

        async def replayed() -> Message:
            return gathered.pop() if gathered else await receive()

        return replayed


class Guarded:
    """Lets in what names this server and comes from it, at the addresses that are listed."""

    def __init__(
        self, app: ASGIApp, security: TransportSecuritySettings, *, paths: Collection[str]
    ) -> None:
        self._app = app
        self._guard = TransportSecurityMiddleware(security)
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 421 to another Host and 403 to another Origin."""
        refusal = None
        if scope["type"] == "http" and scope["path"] in self._paths:
            refusal = await self._guard.validate_request(Request(scope, receive))
        await (refusal or self._app)(scope, receive, send)
