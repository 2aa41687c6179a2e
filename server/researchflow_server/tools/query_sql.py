"""A dated answer to SQL over views; nothing of it is kept."""

from __future__ import annotations

from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.query.model import SqlQuery
from researchflow_server import contract
from researchflow_server.contract import QuerySqlInput
from researchflow_server.tools.detail import question
from researchflow_server.tools.query_view import cut_payload
from researchflow_server.tools.spec import Call, ToolSpec


async def run(call: Call, arguments: QuerySqlInput) -> dict[str, Any]:
    """The answer, cut to what a client takes."""
    answer = await call.runtime.hybrid.query_sql(question(arguments, SqlQuery))
    return cut_payload(answer, call.bytes_max, arguments.detail)


QUERY_SQL = ToolSpec(
    name=contract.QUERY_SQL,
    title="Query with SQL",
    description="A PostgreSQL SELECT over views, for what query_view cannot ask. Cast dates: "
    "d::date.",
    arguments=QuerySqlInput,
    annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
    run=run,
)
