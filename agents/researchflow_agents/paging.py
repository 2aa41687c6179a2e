"""All rows of a question, page by page, at one anchor."""

from __future__ import annotations

from collections.abc import AsyncIterator

from researchflow_agents.client import ToolClient
from researchflow_agents.errors import PROTOCOL_ERROR, AgentError
from researchflow_server.contract import FullAnswer, Query

PAGE_ROWS_FIRST = 200
PAGE_ROWS_MIN = 20
PAGE_ROWS_MAX = 10_000


async def pages(client: ToolClient, query: Query) -> AsyncIterator[FullAnswer]:
    """The pages in order; together they are every row, whatever is refreshed meanwhile.

    The server cuts a page at what a result may hold. The limit follows what fitted, so that it
    does not read rows it cannot send. AgentError when a page is of another anchor.
    """
    limit = PAGE_ROWS_FIRST
    cursor: str | None = None
    while True:
        page = await client.query_view(
            query.model_copy(update={"limit": limit} | ({"cursor": cursor} if cursor else {}))
        )
        _check(query, page, cursor)
        yield page
        if page.next_cursor is None:
            return
        cursor = page.next_cursor
        limit = _next_limit(limit, page.row_count)


def _next_limit(limit: int, row_count: int) -> int:
    """Twice as many while all fitted, then a little more than fitted."""
    wanted = 2 * limit if row_count >= limit else row_count + row_count // 8 + 1
    return min(max(wanted, PAGE_ROWS_MIN), PAGE_ROWS_MAX)


def _check(query: Query, page: FullAnswer, cursor: str | None) -> None:
    moved = isinstance(query.as_of, int) and page.anchor != query.as_of
    stuck = page.next_cursor is not None and (page.next_cursor == cursor or not page.rows)
    if moved or stuck or page.truncated != (page.next_cursor is not None):
        raise AgentError.of(
            PROTOCOL_ERROR,
            "the pages of an answer do not belong together",
            hint="use a server and agents of the same version",
        )
