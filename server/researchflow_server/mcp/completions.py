"""What somebody may mean who begins to type an argument of a prompt or of a resource's address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CompleteRequestParams,
    Completion,
    PromptReference,
)

from researchflow_runners.batch.anchors import list_anchors
from researchflow_runners.errors import QueryError, ResearchFlowError
from researchflow_server.mcp.anchors import ANCHOR_TEMPLATE
from researchflow_server.mcp.prompts import JOBS
from researchflow_server.mcp.resources import VIEW_TEMPLATE
from researchflow_server.runtime import Runtime
from researchflow_server.runtime.views import askable_views, listed
from researchflow_server.tools.result import error_parts

#: The protocol's own.
VALUES_MAX = 100

#: What completes an argument: given what is typed, and the view that is chosen already, if any.
Completer = Callable[[Runtime, str, str | None], Awaitable[Iterable[str]]]


async def complete(runtime: Runtime, params: CompleteRequestParams) -> Completion:
    """The values that begin so, then those that contain it, as many as a client takes.

    MCPError for an argument that nothing has, and when the warehouse cannot tell.
    """
    completer = _completer(params)
    context = params.context.arguments if params.context else None
    try:
        values = await completer(runtime, params.argument.value, (context or {}).get("view"))
    except ResearchFlowError as error:
        is_asked_wrongly = isinstance(error, QueryError)
        raise MCPError(
            code=INVALID_PARAMS if is_asked_wrongly else INTERNAL_ERROR,
            message=error.message,
            data={"error": error_parts(error)},
        ) from error
    found = list(dict.fromkeys(values))
    return Completion(values=found[:VALUES_MAX], total=len(found), has_more=len(found) > VALUES_MAX)


def _completer(params: CompleteRequestParams) -> Completer:
    ref, name = params.ref, params.argument.name
    if isinstance(ref, PromptReference):
        job = JOBS.get(ref.name)
        if job is None:
            raise _refused(f'there is no prompt "{ref.name[:200]}"')
        known: dict[str, Completer] = {one: _COMPLETERS.get(one, _nothing) for one in job.arguments}
    else:
        known = _TEMPLATES.get(ref.uri, {})
        if not known:
            raise _refused(f'there is no resource template "{ref.uri[:200]}"')
    if name not in known:
        raise _refused(f'there is no argument "{name[:200]}"; there are {", ".join(known)}')
    return known[name]


async def _views(runtime: Runtime, typed: str, _view: str | None) -> Iterable[str]:
    return _likely(typed, listed(await askable_views(runtime)))


async def _columns(runtime: Runtime, typed: str, view: str | None) -> Iterable[str]:
    """Of the chosen view, else of all."""
    views = await askable_views(runtime)
    chosen = [views[view]] if view in views else list(listed(views).values())
    return _likely(typed, (column.name for one in chosen for column in one.columns))


async def _codes(runtime: Runtime, typed: str, view: str | None) -> Iterable[str]:
    return await runtime.hybrid.codes.complete(typed, view=view, most=VALUES_MAX + 1)


async def _anchors(runtime: Runtime, typed: str, _view: str | None) -> Iterable[str]:
    """The pins, then the numbers, the newest first."""
    async with runtime.stores.warehouse.snapshot() as session:
        pinned = await list_anchors(session, only_pinned=True)
        newest = await list_anchors(session)
    numbers = [str(one.anchor) for one in newest if one.expired_at is None]
    return _likely(typed, [*(pin for one in pinned for pin in one.pins), *numbers])


async def _nothing(_runtime: Runtime, _typed: str, _view: str | None) -> Iterable[str]:
    """Free text: anything may be meant."""
    return ()


def _likely(typed: str, names: Iterable[str]) -> list[str]:
    every, sought = list(names), typed.casefold()
    begins = [name for name in every if name.casefold().startswith(sought)]
    return begins + [name for name in every if sought in name.casefold() and name not in begins]


def _refused(message: str) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=message)


_COMPLETERS: dict[str, Completer] = {
    "view": _views,
    "column": _columns,
    "by": _columns,
    "code": _codes,
    "since": _anchors,
}
_TEMPLATES: dict[str, dict[str, Completer]] = {
    VIEW_TEMPLATE.uri_template: {"name": _views},
    ANCHOR_TEMPLATE.uri_template: {"anchor": _anchors},
}
