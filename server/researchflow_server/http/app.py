"""The one HTTP application: the MCP endpoint and, beside it, the page and the FHIR operations."""

from __future__ import annotations

from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.types import ASGIApp

from researchflow_server.feeds.endpoint import feed_routes
from researchflow_server.http.door import Guarded, WholeBody
from researchflow_server.http.streams import StandingStreams
from researchflow_server.mcp.app import ResearchFlowServer
from researchflow_server.operations.routes import operation_routes
from researchflow_server.page import page_routes
from researchflow_server.runtime import Runtime
from researchflow_server.settings import Settings

MCP_PATH = "/mcp"
BODY_BYTES_MAX = 4 * 1024 * 1024
SESSIONS_MAX = 1_000
SESSION_IDLE_S = 1_800.0
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def http_app(server: ResearchFlowServer, runtime: Runtime) -> Starlette:
    """The MCP endpoint and, beside it, the page, the FHIR operations and what calls us."""
    app = mcp_app(server, runtime.settings)
    app.router.routes += page_routes(_security(runtime.settings))
    app.router.routes += feed_routes(runtime)
    app.router.routes.append(operation_routes(runtime, _security(runtime.settings)))
    return app


def mcp_app(server: ResearchFlowServer, settings: Settings) -> Starlette:
    """The MCP endpoint: both eras, Host and Origin checked.

    Sessions are of the handshake era, where a call is cancelled by a message of its own, which
    must find the call, and notices come on a GET. The other era keeps none: there a client opens
    a stream for notices by a call.
    """
    app = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        max_request_body_size=BODY_BYTES_MAX,
        max_sessions=SESSIONS_MAX,
        session_idle_timeout=SESSION_IDLE_S,
        transport_security=_security(settings),
        host=settings.http_host,
    )
    app.add_middleware(WholeBody, path=MCP_PATH, bytes_max=BODY_BYTES_MAX)
    app.add_middleware(StandingStreams, path=MCP_PATH, ended=server.notices.ended)
    return app


def guarded_metrics(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The metrics port with /metrics for those names alone; probes come by an address."""
    return Guarded(app, _security(settings), paths=("/metrics",))


def _security(settings: Settings) -> TransportSecuritySettings:
    """Host and Origin names that may ask: a page of another site must not reach the server."""
    names = (*LOOPBACK, settings.http_host, settings.metrics_host, *settings.allowed_hosts)
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*names, *(f"{name}:*" for name in names)],
        allowed_origins=[f"{scheme}://{name}:*" for scheme in ("http", "https") for name in names]
        + [f"{scheme}://{name}" for scheme in ("http", "https") for name in names],
    )
