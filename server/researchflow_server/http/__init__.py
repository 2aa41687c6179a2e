"""One door: the bound ports, the applications behind them, who may knock."""

from researchflow_server.http.app import (
    BODY_BYTES_MAX,
    MCP_PATH,
    guarded_metrics,
    http_app,
    mcp_app,
)
from researchflow_server.http.listener import Listener, serve_until_stopped
from researchflow_server.http.protocol import Bounds

__all__ = [
    "BODY_BYTES_MAX",
    "MCP_PATH",
    "Bounds",
    "Listener",
    "guarded_metrics",
    "http_app",
    "mcp_app",
    "serve_until_stopped",
]
