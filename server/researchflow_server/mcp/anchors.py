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
#: As resources of their own; the index tells of all.
ANCHORS_LISTED_MAX = 20
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


async def listed_anchors(runtime: Runtime) -> list[Resource]:
    """The index, the newest anchor and those that are pinned, at most ANCHORS_LISTED_MAX.

    MCPError with our code when the warehouse is away.
    """
    try:
        async with runtime.stores.warehouse.snapshot() as session:
            newest = await list_anchors(session, limit=1)
            pinned = await list_anchors(session, limit=ANCHORS_LISTED_MAX, only_pinned=True)
    except ResearchFlowError as error:
        raise _refused(ANCHORS_URI, error) from error
    found = {one.anchor: one for one in (*newest, *pinned)}
    return [ANCHORS_RESOURCE, *(_as_resource(found[n]) for n in sorted(found, reverse=True))]


async def read_anchor(runtime: Runtime, uri: str) -> ReadResourceContents:
    """What is at the address, as JSON; MCPError says why an anchor cannot be read."""
    which = unquote(uri.removeprefix(ANCHORS_URI).removeprefix("/"))
    try:
        told = await (_described(runtime, which) if which else _listed(runtime))
    except ResearchFlowError as error:
        raise _refused(uri, error) from error
    return ReadResourceContents(content=dumped(told).decode(), mime_type=MIME_TYPE)


def _as_resource(info: AnchorInfo) -> Resource:
    pins = f", pinned as {', '.join(info.pins)}" if info.pins else ""
    return Resource(
        name=f"anchor {info.anchor}",
        uri=f"{ANCHORS_URI}/{info.anchor}",
        description=f"The views as of {info.data_as_of.isoformat()}{pins}",
        mime_type=MIME_TYPE,
    )


def _refused(uri: str, error: ResearchFlowError) -> MCPError:
    is_asked_wrongly = isinstance(error, FreshnessError)
    return MCPError(
        code=INVALID_PARAMS if is_asked_wrongly else INTERNAL_ERROR,
        message=error.message,
        data={"uri": uri[:200], "error": error_parts(error)},
    )


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
