"""Proves that an anchor's rows are still those that were published: its hashes, from the rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from researchflow_runners.batch.anchors import AnchorContent, ViewContent, describe_anchor
from researchflow_runners.store.anchor import AsOf
from researchflow_runners.store.content import read_content
from researchflow_runners.store.database import Database, Session
from researchflow_runners.store.former import views_at
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import historical_relation

TIMEOUT_S = 6 * 3600.0

Outcome = Literal["same", "differs", "unhashed"]


@dataclass(frozen=True, slots=True)
class ViewVerdict:
    """What a view should hold, by its hash, and what its rows give.

    unhashed: the anchor is from before there were hashes, so nothing can be told.
    """

    view: str
    outcome: Outcome
    rows: int
    content_hash: str
    expected_rows: int | None
    expected_hash: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The anchor, and each materialised view that can be read at it."""

    content: AnchorContent
    views: tuple[ViewVerdict, ...]

    @property
    def holds(self) -> bool:
        """Whether every view is the same."""
        return all(view.outcome == "same" for view in self.views)


async def verify_anchor(warehouse: Database, as_of: AsOf) -> Verdict:
    """Computes every view's hash from the rows of the anchor, in one snapshot.

    FreshnessError when the anchor cannot be read.
    """
    async with (
        warehouse.dedicated(statement_timeout_s=TIMEOUT_S) as session,
        session.transaction(isolation="repeatable read", readonly=True),
    ):
        content = await describe_anchor(session, as_of)
        anchor = content.info.anchor
        expected = {one.view: one for one in content.views if not one.is_composed}
        views = await views_at(session, anchor)
        verdicts = [
            await _judge(session, view, anchor, expected[name]) for name, view in views.items()
        ]
    return Verdict(content, tuple(verdicts))


async def _judge(
    session: Session, view: PublishedView, anchor: int, expected: ViewContent
) -> ViewVerdict:
    found = await read_content(session, view, historical_relation(view, anchor))
    outcome: Outcome = "same" if found.hash == expected.content_hash else "differs"
    return ViewVerdict(
        view=view.name,
        outcome=outcome if expected.content_hash else "unhashed",
        rows=found.rows,
        content_hash=found.hash,
        expected_rows=expected.rows,
        expected_hash=expected.content_hash,
    )
