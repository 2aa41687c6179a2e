"""Which state of the views answers a question: the merged one, the current anchor or an earlier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from researchflow_runners.errors import FreshnessError, QueryError
from researchflow_runners.hybrid.answerable import AnswerableViews
from researchflow_runners.hybrid.facts import Facts, seconds
from researchflow_runners.hybrid.reading import Asked
from researchflow_runners.query.model import Asking, Freshness
from researchflow_runners.sql import Sql
from researchflow_runners.store.anchor import AsOf, resolve_anchor
from researchflow_runners.store.database import Session
from researchflow_runners.store.former import former_views
from researchflow_runners.store.missing import missing_at
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import (
    anchored_relation,
    historical_relation,
    live_relation,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """A state of the views; `is_current` tells whether `anchor` is the newest one.

    `set_aside` names the views for whose sake it is not what was asked for.
    """

    freshness: Freshness
    anchor: int
    data_as_of: datetime
    is_current: bool
    relation: Callable[[PublishedView], Sql]
    set_aside: tuple[str, ...] = ()

    def staleness_s(self, facts: Facts) -> float | None:
        """Facts.staleness_s; what came after an earlier anchor is not on record: None."""
        return facts.staleness_s if self.is_current else None

    def staleness_bound_s(self, facts: Facts) -> float | None:
        """Seconds beyond which no change can be missing; None when that cannot be told."""
        if not self.is_current:
            return seconds(self.data_as_of, facts.computed_at)
        return facts.staleness_bound_s


def asked_freshness(query: Asking) -> Freshness:
    """What the query asks for; `as_of` alone means anchored. QueryError `freshness_conflict`."""
    if query.as_of is None:
        return query.freshness
    if query.freshness == "live" and "freshness" in query.model_fields_set:
        raise QueryError(
            'freshness "live" and as_of contradict each other',
            code="freshness_conflict",
            hint="leave as_of out, or ask for freshness anchored",
            field="as_of",
        )
    return "anchored"


async def views_asked(
    session: Session, query: Asking, facts: Facts, views: AnswerableViews
) -> AnswerableViews:
    """The views as the anchor asked for holds them, some under a definition since replaced.

    FreshnessError when the anchor cannot be read any more.
    """
    as_of = query.as_of
    asked_freshness(query)
    if as_of is None or facts.anchor is None or as_of == facts.anchor:
        return views
    anchor = await resolve_anchor(session, as_of)
    return {**views, **await former_views(session, anchor.anchor)}


async def choose(
    session: Session,
    asked: Asked[Any],
    facts: Facts,
    views: Sequence[PublishedView],
    *,
    use_speed_layer: bool,
) -> Choice:
    """The state to read; FreshnessError when the anchor asked for cannot be read any more."""
    assert facts.anchor is not None
    assert facts.data_as_of is not None
    wanted: int | datetime | str | None = asked.query.as_of
    if asked.position is not None:
        wanted = asked.position.anchor
    aside = tuple(view.name for view in views if view.last_anchor is not None)
    if aside and wanted is None:
        held = min(view.last_anchor for view in views if view.last_anchor is not None)
        return replace(await _earlier(session, held, facts, views), set_aside=aside)
    if asked_freshness(asked.query) == "live" and use_speed_layer:
        relation = partial(merged_relation, facts=facts)
        return Choice("live", facts.anchor, facts.data_as_of, True, relation)
    if wanted is None or (wanted == facts.anchor and not aside):
        return Choice("anchored", facts.anchor, facts.data_as_of, True, anchored_relation)
    return await _earlier(session, wanted, facts, views)


async def _earlier(
    session: Session, wanted: AsOf, facts: Facts, views: Sequence[PublishedView]
) -> Choice:
    """The state at that anchor, which may be the current one."""
    found = await resolve_anchor(session, wanted, views)
    if found.anchor == facts.anchor:
        return Choice("anchored", found.anchor, found.data_as_of, True, anchored_relation)
    relation = partial(historical_relation, anchor=found.anchor)
    return Choice("anchored", found.anchor, found.data_as_of, False, relation)


async def facts_of(
    session: Session,
    query: Asking,
    choice: Choice,
    facts: Facts,
    views: Sequence[PublishedView],
) -> Facts:
    """The facts as the state that is read has them: what the tail read shows in merged rows, and
    what these views lacked at the anchor. FreshnessError as `check_staleness`.
    """
    if choice.freshness == "live":
        facts = facts.merged()
    check_staleness(query, choice, facts)
    if choice.is_current:
        return facts
    missing = await missing_at(session, [view.name for view in views], choice.anchor)
    return replace(facts, missing_batch=missing)


def merged_relation(view: PublishedView, *, facts: Facts) -> Sql:
    """The merged rows in the transaction of the facts; where nothing waits they are the current
    anchor's."""
    if view.resource_type not in facts.waiting_types:
        return anchored_relation(view)
    return live_relation(view, all_count=view.resource_type in facts.all_count_types)


def check_staleness(query: Asking, choice: Choice, facts: Facts) -> None:
    """FreshnessError `staleness_exceeded` when the bound the query sets cannot be promised."""
    hint = "run refresh_views first, or allow a larger max_staleness_s"
    check_bound(query, choice.staleness_bound_s(facts), hint=hint)


def check_bound(query: Asking, bound_s: float | None, *, hint: str) -> None:
    """The same of an answer from which no change can be missing that is older than `bound_s`.

    None when nobody can tell.
    """
    allowed_s = query.max_staleness_s
    if allowed_s is None:
        return
    if bound_s is not None and bound_s <= allowed_s:
        return
    known = "nobody looked at the source yet" if bound_s is None else f"it may be {bound_s:.1f} s"
    raise FreshnessError(
        f'the answer cannot be promised to be at most "{allowed_s:g}" s stale: {known}',
        code="staleness_exceeded",
        hint=hint,
        field="max_staleness_s",
    )
