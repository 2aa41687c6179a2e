"""Anchors as MCP resources: a list, and each anchor with the content hashes that prove it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, Resource, ResourceTemplate

from researchflow_runners.batch.anchors import AnchorInfo, describe_anchor, list_anchors
from researchflow_runners.errors import FreshnessError, ResearchFlowError
from researchflow_server.runtime import Runtime
from researchflow_server.tools.result import dumped, error_parts

ANCHORS_URI = "researchflow://anchors"
MIME_TYPE = "application/json"
LISTED_MAX = 50
NUMBER_DIGITS_MAX = 19
ANCHORS_RESOURCE = Resource(
    name="anchors",
    title="All anchors",
    uri=ANCHORS_URI,
    description="The newest anchors and all pinned ones, for as_of",
    mime_type=MIME_TYPE,
)
ANCHOR_TEMPLATE = ResourceTemplate(
    name="anchor",
    title="An anchor",
    uri_template=ANCHORS_URI + "/{anchor}",
    description="What the anchor of this number or pin holds, with content hashes to cite",
    mime_type=MIME_TYPE,
)


async def read_anchor(runtime: Runtime, uri: str) -> ReadResourceContents:
    """What is at the address, as JSON; MCPError says why an anchor cannot be read."""
    which = unquote(uri.removeprefix(ANCHORS_URI).removeprefix("/"))
    try:
        told = await (_described(runtime, which) if which else _listed(runtime))
    except ResearchFlowError as error:
        is_asked_wrongly = isinstance(error, FreshnessError)
        raise MCPError(
            code=INVALID_PARAMS if is_asked_wrongly else INTERNAL_ERROR,
            message=error.message,
            data={"uri": uri[:200], "error": error_parts(error)},
        ) from error
    return ReadResourceContents(content=dumped(told).decode(), mime_type=MIME_TYPE)


async def _listed(runtime: Runtime) -> dict[str, Any]:
    async with runtime.stores.warehouse.snapshot() as session:
        newest = await list_anchors(session, limit=LISTED_MAX)
        pinned = await list_anchors(session, only_pinned=True)
    found = {one.anchor: one for one in (*newest, *pinned)}
    return {"anchors": [_parts(found[anchor]) for anchor in sorted(found, reverse=True)]}


async def _described(runtime: Runtime, which: str) -> dict[str, Any]:
    is_number = which.isdecimal() and len(which) <= NUMBER_DIGITS_MAX
    async with runtime.stores.warehouse.snapshot() as session:
        content = await describe_anchor(session, int(which) if is_number else which)
    views = [asdict(view) for view in content.views]
    return {**_parts(content.info), "content_hash": content.content_hash, "views": views}


def _parts(info: AnchorInfo) -> dict[str, Any]:
    readable = info.expired_at is None
    parts = {name: value for name, value in asdict(info).items() if name != "expired_at"}
    return {**parts, "readable": readable}
