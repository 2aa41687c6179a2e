"""What the columns of a view hold at the current anchor, counted once for each anchor.

An anchor's rows never change, so what was counted of one is kept in this process and told again.
A column that could not be counted in time is told as such; asking again goes on with it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from researchflow_runners.compiler.column import Column
from researchflow_runners.composed.view import ComposedView, users_sql
from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.hybrid.answerable import materialised, relation_of
from researchflow_runners.hybrid.choice import choose
from researchflow_runners.hybrid.column_profile import ColumnProfile, profile_column
from researchflow_runners.hybrid.materialized import MaterializedViewRunner, digests
from researchflow_runners.hybrid.reading import Asked
from researchflow_runners.query.model import Query
from researchflow_runners.sql import Sql, compose
from researchflow_runners.store.database import Session

#: For all columns of one call; below what clients wait for.
PROFILE_TIMEOUT_S = 30.0
PROFILES_HELD_MAX = 64
#: A group for each value of a key is more than the default holds without going to disk.
_MEMORY = "SET LOCAL work_mem = '64MB'"
_TIMEOUT = "SET LOCAL statement_timeout = {}"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a view's columns hold at an anchor; `uncounted` names those that took too long.

    `set_aside` names the views for whose sake the anchor is not the newest; `missing_resources`
    counts those that the rows lack, None when that was not kept.
    """

    view: str
    anchor: int
    data_as_of: datetime
    rows: int
    columns: tuple[ColumnProfile, ...]
    uncounted: tuple[str, ...]
    set_aside: tuple[str, ...] = ()
    missing_resources: int | None = 0


@dataclass(slots=True)
class _Held:
    """What was counted of one view at one anchor."""

    rows: int
    columns: dict[str, ColumnProfile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A view as one snapshot has it at the current anchor; `profile` is what is held of it."""

    session: Session
    profile: Profile
    columns: tuple[Column, ...]
    held: _Held
    relation: Callable[[Collection[str]], Sql]


class ProfileRunner:
    """Profiles of the published and composed views of one warehouse."""

    def __init__(
        self, views: MaterializedViewRunner, *, timeout_s: float = PROFILE_TIMEOUT_S
    ) -> None:
        self._views = views
        self._timeout_s = timeout_s
        self._held: OrderedDict[tuple[object, ...], _Held] = OrderedDict()
        self._counting = asyncio.Lock()

    async def profile(self, view: str) -> Profile:
        """The profile; QueryError `view_not_published`, or what a composed view's SQL raises.

        One is counted at a time, so that profiles never take more than one connection from
        questions for long.
        """
        async with self._subject(view) as subject:
            if not subject.profile.uncounted:
                return subject.profile
        deadline_s = time.monotonic() + self._timeout_s
        async with self._counting, self._subject(view) as subject:
            return await self._counted(subject, deadline_s)

    @asynccontextmanager
    async def _subject(self, name: str) -> AsyncIterator[_Subject]:
        query = Query(view=name, freshness="anchored")
        async with self._views.snapshot() as session:
            _names, facts, views = await self._views.facts(session, lambda _views: (name,))
            read = materialised((name,), views)
            asked = Asked.of(
                query, digests={}, principal="", key=self._views.cursor_key, now=facts.computed_at
            )
            choice = await choose(session, asked, facts, read, use_speed_layer=False)

            def relation(columns: Collection[str]) -> Sql:
                return relation_of(name, columns, views, choice.relation)

            key = (name, choice.anchor, *sorted(digests((name,), views, read).items()))
            held = self._held.get(key)
            if held is None:
                held = _Held(await session.fetchval(_count(relation(()))))
                self._keep(key, held)
            columns = tuple(views[name].columns)
            profile = Profile(
                name,
                choice.anchor,
                choice.data_as_of,
                held.rows,
                columns=(),
                uncounted=(),
                set_aside=choice.set_aside,
                missing_resources=facts.missing_batch,
            )
            subject = _Subject(session, _told(profile, columns, held), columns, held, relation)
            if not isinstance(views[name], ComposedView):
                yield subject
                return
            async with self._views.places.one(session):
                with users_sql(name, field="view"):
                    yield subject

    def _keep(self, key: tuple[object, ...], held: _Held) -> None:
        self._held[key] = held
        while len(self._held) > PROFILES_HELD_MAX:
            self._held.popitem(last=False)

    async def _counted(self, subject: _Subject, deadline_s: float) -> Profile:
        """Counts what is not held, column by column, until the time is over."""
        session, held = subject.session, subject.held
        await session.execute(_MEMORY)
        for column in subject.columns:
            left_ms = round((deadline_s - time.monotonic()) * 1000)
            if column.name in held.columns:
                continue
            if left_ms <= 0:
                break
            try:
                async with session.savepoint():
                    await session.execute(_TIMEOUT.format(left_ms))
                    held.columns[column.name] = await profile_column(
                        session, column, subject.columns, subject.relation
                    )
            except ResearchFlowError as error:
                if error.code != "statement_timeout":
                    raise
                break
        return _told(subject.profile, subject.columns, held)


def _count(relation: Sql) -> Sql:
    return compose("SELECT count(*) FROM {} AS t", relation)


def _told(profile: Profile, columns: tuple[Column, ...], held: _Held) -> Profile:
    """The profile with what is held of its columns, in their order."""
    names = [column.name for column in columns]
    return replace(
        profile,
        columns=tuple(held.columns[name] for name in names if name in held.columns),
        uncounted=tuple(name for name in names if name not in held.columns),
    )
