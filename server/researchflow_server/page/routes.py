"""The page over HTTP: a fixed set of files, none of which holds data of anybody.

What the page shows it asks of the tools, through the MCP endpoint like any client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from functools import cache, partial

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from researchflow_server.page.document import (
    FOLDER,
    ICON,
    SCRIPTS,
    STYLE,
    page_document,
    text_of,
)

PAGE_PATH = "/"
MEDIA_TYPES = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
#: Nothing but the server's own files and tools; no frame around it, no form that leaves.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def page_routes(security: TransportSecuritySettings) -> list[BaseRoute]:
    """The page and its files; 421 to another Host and 403 to another Origin."""
    guard = TransportSecurityMiddleware(security)
    routes: list[BaseRoute] = [Route(PAGE_PATH, _served(guard, "", page_document))]
    for name in (STYLE, ICON, *SCRIPTS):
        routes.append(Route(f"/{FOLDER}/{name}", _served(guard, name, partial(text_of, name))))
    return routes


def _served(
    guard: TransportSecurityMiddleware, name: str, text: Callable[[], str]
) -> Callable[[Request], Awaitable[Response]]:
    media_type = MEDIA_TYPES.get(name.rpartition(".")[2], "text/html")

    @cache
    def content() -> tuple[bytes, str]:
        body = text().encode()
        return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'

    async def serve(request: Request) -> Response:
        refusal = await guard.validate_request(request)
        if refusal is not None:
            return refusal
        body, tag = content()
        headers = {**HEADERS, "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=media_type)

    return serve
