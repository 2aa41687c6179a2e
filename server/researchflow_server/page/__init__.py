"""The page for people: at `/` of the HTTP server, and as an MCP App in a host's frame."""

from researchflow_server.page.document import APP_URI, app_document
from researchflow_server.page.routes import page_routes

__all__ = ["APP_URI", "app_document", "page_routes"]
