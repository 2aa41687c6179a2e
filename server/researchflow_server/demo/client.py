"""A client of the tools that stops the demonstration when an answer is not what it must be."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import httpx2
from mcp import Client
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from researchflow_runners.errors import ResearchFlowError
from researchflow_server import contract
from researchflow_server.contract import FullAnswer, ToolFailure

OutputT = TypeVar("OutputT", bound=BaseModel)
SCRAPE_TIMEOUT_S = 10.0


class Watch(Protocol):
    """Is told of a call's progress."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """One step."""


class DemoError(ResearchFlowError):
    """A step that did not show what it must show."""


class Asker:
    """Typed calls of the tools."""

    def __init__(self, client: Client, metrics_url: str) -> None:
        self.client = client
        self._metrics_url = metrics_url

    async def call(
        self,
        tool: str,
        output: type[OutputT],
        arguments: dict[str, Any],
        *,
        watch: Watch | None = None,
    ) -> OutputT:
        """What the tool answers; DemoError with the tool's own words when it fails."""
        result = await self.client.call_tool(tool, arguments, progress_callback=watch)
        if result.is_error:
            failed = ToolFailure.model_validate(result.structured_content).error
            raise DemoError(
                f'"{tool}" failed: {failed.message}', code=failed.code, hint=failed.hint
            )
        return output.model_validate(result.structured_content)

    async def query(self, **asked: Any) -> FullAnswer:
        """An answer of query_view."""
        return await self.call(contract.QUERY_VIEW, FullAnswer, {**asked, "detail": "full"})

    async def scrape(self) -> dict[str, float]:
        """The counters of /metrics, summed over their labels."""
        async with httpx2.AsyncClient(timeout=SCRAPE_TIMEOUT_S) as http:
            text = (await http.get(self._metrics_url)).text
        totals: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.endswith(("_total", "_count")):
                    totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
        return totals


def check(holds: bool, claim: str) -> None:
    """Stops the demonstration when a claim does not hold."""
    if not holds:
        raise DemoError(
            f"this must hold and does not: {claim}",
            code="demo_check_failed",
            hint="run it again with --keep and look at server.log in its directory",
        )
