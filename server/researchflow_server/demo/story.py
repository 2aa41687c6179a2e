"""The steps of the demonstration; each shows an answer and checks what it claims of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from researchflow_runners.source.load import delete_resource, put_resource
from researchflow_runners.store.database import Database
from researchflow_server import contract
from researchflow_server.contract import (
    CacheResourcesOutput,
    FullAnswer,
    GetStatisticsOutput,
    RefreshViewsOutput,
)
from researchflow_server.demo.agents import Agents
from researchflow_server.demo.client import Asker, Watch, check
from researchflow_server.demo.question import TITLE, Joiner, ask_cohort, find_joiner
from researchflow_server.demo.show import Screen

#: Counters that the demonstration moves.
MOVED = (
    "researchflow_answers_total",
    "researchflow_overlay_lookups_total",
    "researchflow_overlay_writes_total",
    "researchflow_refresh_runs_total",
    "researchflow_refresh_changed_resources_total",
    "mcp_server_operation_duration_seconds_count",
)
#: The outbox needs a fraction of a second; a busy machine may take longer.
FOLLOW_S_MAX = 30.0
#: How long the demonstration waits for what the server does by itself.
MOVES_WITHIN_S = 60.0
MOVED_POLL_S = 0.5

Refresh = Callable[
    [Callable[[Watch], Awaitable[RefreshViewsOutput]]], Awaitable[RefreshViewsOutput]
]


class Story:
    """One run; `source` is the FHIR server's database, which only the FHIR server would write."""

    def __init__(self, asker: Asker, agents: Agents, screen: Screen, source: Database) -> None:
        self._asker = asker
        self._agents = agents
        self._screen = screen
        self._source = source

    async def tell(self, refresh: Refresh) -> None:
        """All steps; `refresh` shows progress while it runs."""
        before = await self._asker.scrape()
        await self.list_tools()
        first = await self.ask_first()
        joiner = await find_joiner(self._asker)
        inserted = await self.insert(joiner, first)
        leaver = _leaver(joiner, first)
        live = await self.delete(leaver, inserted)
        for resource in joiner.resources:
            await put_resource(self._source, resource)
        await delete_resource(self._source, "Patient", leaver)
        await self.refresh(refresh, live, changes=len(joiner.resources) + 1)
        await self.read_earlier(first)
        await self.ask_agents()
        await self.follow(joiner)
        await self.move_by_itself(joiner.patient_id)
        await self.show_numbers(before)

    async def list_tools(self) -> None:
        """The catalogue, as any MCP client sees it."""
        self._screen.step("A client connects over HTTP and lists the tools")
        listed = (await self._asker.client.list_tools()).tools
        check(tuple(tool.name for tool in listed) == contract.TOOL_NAMES, "the tools are listed")
        self._screen.table(
            ["tool", "what it does"], [[tool.name, tool.description] for tool in listed]
        )

    async def ask_first(self) -> FullAnswer:
        """The cohort, before anything changes."""
        self._screen.step(f"It asks for {TITLE}: one call over three views")
        answer = await ask_cohort(self._asker)
        self._screen.answers({"at first": answer})
        check(answer.route == "materialized", "the answer comes from the materialised views")
        check(answer.speed.entries == 0, "nothing waits in the speed layer")
        return answer

    async def insert(self, joiner: Joiner, first: FullAnswer) -> FullAnswer:
        """A changed resource, visible at once; the anchor stays what it was."""
        verb = "corrects" if joiner.corrects else "adds"
        also = " and a diagnosis" if len(joiner.resources) > 1 else ""
        self._screen.step(f"It {verb} an HbA1c result{also} of {joiner.patient_id} and asks again")
        await self._change({"resources": joiner.resources})
        answer = await ask_cohort(self._asker)
        anchored = await ask_cohort(self._asker, freshness="anchored")
        self._screen.answers(
            {"at first": first, "after the insert": answer, "the anchor alone": anchored}
        )
        check(_ids(answer) == _ids(first) | {joiner.patient_id}, "the patient joined the cohort")
        check(answer.speed.entries == len(joiner.resources), "the speed layer brought her")
        check(anchored.rows == first.rows, "the anchor alone still gives the first answer")
        return answer

    async def delete(self, leaver: str, before: FullAnswer) -> FullAnswer:
        """A deletion, visible at once."""
        self._screen.step(f"It deletes {leaver} and asks again")
        await self._change({"delete": [f"Patient/{leaver}"]})
        answer = await ask_cohort(self._asker)
        self._screen.answers({"before": before, "after the delete": answer})
        check(_ids(answer) == _ids(before) - {leaver}, "the deleted patient left the cohort")
        check(len(answer.rows) < len(before.rows), "she was in the cohort")
        return answer

    async def refresh(self, refresh: Refresh, live: FullAnswer, *, changes: int) -> None:
        """The answer stays; where it comes from moves from the speed layer to the batch."""
        self._screen.step("The FHIR server stored the same changes; the views are refreshed")

        async def call(watch: Watch) -> RefreshViewsOutput:
            return await self._asker.call(
                contract.REFRESH_VIEWS, RefreshViewsOutput, {}, watch=watch
            )

        refreshed = await refresh(call)
        answer = await ask_cohort(self._asker)
        self._screen.answers({"before the refresh": live, "after the refresh": answer})
        check(refreshed.status == "published", "a new anchor is published")
        check(refreshed.changed == changes, f"the refresh absorbed {changes} changes")
        check(answer.rows == live.rows, "the refresh changed nothing in the answer")
        check(answer.speed.entries == 0, "nothing waits in the speed layer any more")
        check(answer.anchor == refreshed.anchor, "the answer is of the new anchor")

    async def read_earlier(self, first: FullAnswer) -> None:
        """The first answer, again, word for word."""
        self._screen.step("It reads the earlier anchor once more")
        answer = await ask_cohort(self._asker, as_of=first.anchor)
        self._screen.answers({"at first": first, "at the earlier anchor": answer})
        check(answer.rows == first.rows, "the earlier anchor gives the first answer")

    async def ask_agents(self) -> None:
        """Two agents in processes of their own; what they tell is asked again, and counted."""
        self._screen.step("Two agents use the same tools: a cohort with attrition, its records")
        cohort = await self._agents.phenotype()
        steps = [[step["label"], step["count"], step["removed"]] for step in cohort["attrition"]]
        self._screen.table(["criterion", "patients", "removed"], steps)
        call = cohort["call"]
        check(call["tool"] == contract.QUERY_VIEW, "the cohort was counted by a tool")
        again = await self._asker.query(**{**call["arguments"], "as_of": cohort["anchor"]})
        check(again.rows == [[cohort["count"]]], "its call, repeated, gives its count")
        extract = await self._agents.extraction(as_of=cohort["anchor"])
        files = [[file["file"], file["row_count"], file["size_bytes"]] for file in extract["files"]]
        self._screen.table(["file", "rows", "bytes"], files)
        check(extract["patients"] == cohort["count"], "the extract holds the cohort")
        for name, rows, _size in files:
            check(self._agents.records_in(name) == rows, f"{name} holds the rows it tells of")

    async def follow(self, joiner: Joiner) -> None:
        """A change that the FHIR server stores and nobody tells us of."""
        self._screen.step(f"The FHIR server deletes {joiner.patient_id}; nobody tells us")
        before = await ask_cohort(self._asker)
        check(joiner.patient_id in _ids(before), "she is in the cohort")
        await delete_resource(self._source, "Patient", joiner.patient_id)
        committed_s = time.monotonic()
        answer = await ask_cohort(self._asker)
        while joiner.patient_id in _ids(answer) and time.monotonic() < committed_s + FOLLOW_S_MAX:
            answer = await ask_cohort(self._asker)
        self._screen.answers({"before": before, "by itself": answer})
        self._screen.say(f"seen {(time.monotonic() - committed_s) * 1000:.0f} ms after the commit")
        check(_ids(answer) == _ids(before) - {joiner.patient_id}, "she left the cohort by herself")

    async def move_by_itself(self, patient_id: str) -> None:
        """The same change reaches an anchor, though nobody calls a tool for it."""
        self._screen.step("The anchor moves by itself")
        anchored = await ask_cohort(self._asker, freshness="anchored")
        async with asyncio.timeout(MOVES_WITHIN_S):
            while patient_id in _ids(anchored):
                await asyncio.sleep(MOVED_POLL_S)
                anchored = await ask_cohort(self._asker, freshness="anchored")
        self._screen.answers({"the new anchor alone": anchored})
        check(anchored.speed.entries == 0, "the anchor alone lacks her")

    async def show_numbers(self, before: dict[str, float]) -> None:
        """Statistics and metrics: the same numbers."""
        self._screen.step("Statistics, and the metrics that moved")
        told = await self._asker.call(contract.GET_STATISTICS, GetStatisticsOutput, {})
        after = await self._asker.scrape()
        rows = [(name, before.get(name, 0.0), after.get(name, 0.0)) for name in MOVED]
        self._screen.table(
            ["metric", "before", "now"], [[name, int(then), int(now)] for name, then, now in rows]
        )
        check(all(now > then for _name, then, now in rows), "every one of these metrics moved")
        asked = told.runner["total_queries"]
        check(asked == after["researchflow_answers_total"], "statistics and metrics agree")
        keys = ("total_queries", "materialized_percentage", "speed_layer_queries", "overlay_hits")
        self._screen.table(["statistic", "value"], [[key, told.runner[key]] for key in keys])

    async def _change(self, arguments: dict[str, Any]) -> None:
        changed = await self._asker.call(contract.CACHE_RESOURCES, CacheResourcesOutput, arguments)
        self._screen.table(
            ["change", "outcome", "version", "origin"], [row[:4] for row in changed.rows]
        )
        check(all(row[1] == "stored" for row in changed.rows), "every change is stored")


def _leaver(joiner: Joiner, first: FullAnswer) -> str:
    """Someone of the first cohort, or the one who joined when it was empty."""
    return min(_ids(first), default=joiner.patient_id)


def _ids(answer: FullAnswer) -> set[str]:
    return {str(row[0]) for row in answer.rows}
