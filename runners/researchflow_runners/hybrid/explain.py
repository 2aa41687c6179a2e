"""PostgreSQL's plan for computing a view from the source."""

from __future__ import annotations

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.sql import compose

STATEMENT_TIMEOUT_S = 10.0


async def source_plan(source: HapiSource, view: CompiledView) -> list[str]:
    """The lines of EXPLAIN; the view itself is not run."""
    async with source.snapshot(statement_timeout_s=STATEMENT_TIMEOUT_S) as snapshot:
        resources = await snapshot.current(view.resource, with_meta=view.reads_meta)
        rows = await snapshot.session.fetch(compose("EXPLAIN {}", view.select(resources)))
    return [row[0] for row in rows]
