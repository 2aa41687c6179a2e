"""The page as an MCP App: the answers of the asking tools shown in the hosts that have a frame.

SEP-1865 (2026-01-26). A client that does not know the extension sees nothing of it: not a byte of
the catalogue is spent on it.
"""

from __future__ import annotations

from mcp.server.apps import Apps
from mcp_types import Tool

from researchflow_server import contract
from researchflow_server.page import APP_URI, app_document

#: Whose answers the page shows.
SHOWN = frozenset({contract.QUERY_VIEW, contract.QUERY_SQL, contract.DRAW})
META = {"ui": {"resourceUri": APP_URI}}


def page_app() -> Apps:
    """The extension with the page as its one resource; the page fetches nothing from anywhere."""
    apps = Apps()
    apps.add_html_resource(
        APP_URI,
        app_document(),
        name="page",
        title="ResearchFlow",
        description="Rows, picture, date and provenance of an answer, to ask on from",
        prefers_border=True,
    )
    return apps


def with_page(tools: list[Tool]) -> list[Tool]:
    """The tools, those whose answers the page shows bound to it."""
    return [
        tool.model_copy(update={"meta": {**(tool.meta or {}), **META}})
        if tool.name in SHOWN
        else tool
        for tool in tools
    ]
