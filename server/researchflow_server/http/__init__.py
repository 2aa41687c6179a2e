"""One door: the bound ports, the applications behind them, who may knock."""

from researchflow_server.http.app import BODY_BYTES_MAX, MCP_PATH, http_app, mcp_app
from researchflow_server.http.listener import Listener, serve_until_stopped

__all__ = ["BODY_BYTES_MAX", "MCP_PATH", "Listener", "http_app", "mcp_app", "serve_until_stopped"]
