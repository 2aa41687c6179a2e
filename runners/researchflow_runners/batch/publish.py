"""The commit that moves every view to the next anchor, or finds that the last one still holds.

One short transaction. It holds the overlay lock, so the projector's entries are either wholly
before it, and judged by the new ledger, or wholly after it. READ COMMITTED, to see the newest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from researchflow_runners.batch.absorb import absorb_entries
from researchflow_runners.batch.compute import Computed
from researchflow_runners.batch.contents import store_built_content, store_moved_content
from researchflow_runners.batch.dead_letters import publish_dead_letters
from researchflow_runners.batch.feed import publish_feed
from researchflow_runners.batch.ledger import publish_ledger
from researchflow_runners.batch.plan import Plan
from researchflow_runners.batch.result import ViewRefresh
from researchflow_runners.batch.run import has_published, mark_done, require_token
from researchflow_runners.batch.source_clock import note_look
from researchflow_runners.batch.staging import Staging
from researchflow_runners.batch.tables import (
    create_overlay,
    drop_sql_views,
    publication,
    publish_sql_views,
)
from researchflow_runners.codes.index import publish_moved
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.composed.shipped import keep_shipped
from researchflow_runners.composed.upkeep import release, revalidate
from researchflow_runners.errors import StoreError
from researchflow_runners.speed.overlay import insert_rows
from researchflow_runners.sql import compose, fixed, ident, join, param
from researchflow_runners.store.anchor import current_anchor
from researchflow_runners.store.content import Content, content_sql
from researchflow_runners.store.database import Database, Session
from researchflow_runners.store.former import retain_former
from researchflow_runners.store.locks import (
    lock_anchors,
    lock_composed,
    lock_overlay_exclusive,
)
from researchflow_runners.store.published import (
    PublishedView,
    columns_to_json,
    published_views,
)
from researchflow_runners.store.relations import SCHEMA
from researchflow_runners.store.set_aside import set_aside, take_back

#: How long publishing waits for a projector, or for a reader of a SQL view to be replaced.
LOCK_TIMEOUT_S = 10
#: A refresher that is stopped while it holds the overlay lock loses its connection, and the lock.
IDLE_TIMEOUT_S = 60

_ENTRIES = """
SELECT coalesce(array_agg(entry_id ORDER BY entry_id), '{}'::bigint[])
FROM researchflow.overlay_entry WHERE res_type = $1 AND NOT deleted
"""
_CATALOGUE = """
INSERT INTO researchflow.view_catalogue AS v (view_name, digest, resource_type, definition,
    columns, base_table, history_table, overlay_table, since_anchor, registered_at)
VALUES ($1, $2, $3, $4::jsonb, $5::jsonb, $6, $7, $8, $9, CASE WHEN $10 THEN now() END)
ON CONFLICT (view_name) DO UPDATE
SET digest = excluded.digest, resource_type = excluded.resource_type,
    definition = excluded.definition, columns = excluded.columns,
    base_table = excluded.base_table, history_table = excluded.history_table,
    overlay_table = excluded.overlay_table, since_anchor = excluded.since_anchor,
    registered_at = excluded.registered_at
"""
_NEW_ANCHOR = """
INSERT INTO researchflow.anchor
    (anchor, data_as_of, source_snapshot, changed, read_as, missing_kept)
VALUES ($1, $2, $3, $4, $5, true)
"""
_CHECKED = """
INSERT INTO researchflow.source_check AS s
    (res_type, checked_at, pending, oldest_pending_at, complete_at)
SELECT t, $2, 0, NULL, $2 FROM unnest($1::text[]) AS t
ON CONFLICT (res_type) DO UPDATE
SET checked_at = excluded.checked_at, pending = 0, oldest_pending_at = NULL,
    complete_at = excluded.complete_at
WHERE s.checked_at <= excluded.checked_at
"""
_COMPARED = "UPDATE researchflow.source_check SET reads_meta = res_type = ANY ($1::text[])"
_UNCHECKED = "DELETE FROM researchflow.source_check WHERE res_type <> ALL ($1::text[])"
_UNLISTED = "DELETE FROM researchflow.view_catalogue WHERE view_name = ANY ($1::text[])"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a refresh; see RefreshResult."""

    published: bool
    anchor: int
    data_as_of: datetime
    views: tuple[ViewRefresh, ...]
    overlay_dropped: int


async def publish(
    session: Session,
    warehouse: Database,
    *,
    plan: Plan,
    computed: Computed,
    staging: Staging,
    run_id: int,
) -> Done:
    """Publishes the plan's anchor, or finds that the last one still holds.

    RefreshError as `require_token`; nothing has changed then. A connection that breaks over the
    commit is no error where the commit was done.
    """
    done = None
    try:
        async with session.transaction():
            done = await _perform(session, plan, computed, staging, run_id)
    except StoreError:
        if done is None or not await has_published(warehouse, run_id):
            raise
    return done


async def _perform(
    session: Session, plan: Plan, computed: Computed, staging: Staging, run_id: int
) -> Done:
    await session.execute(
        f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s';"
        f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT_S}s'"
    )
    await require_token(session, run_id)
    await lock_overlay_exclusive(session)
    plan = plan.without(computed.failures)
    is_new = bool(computed.diff.total or plan.changes_views or plan.anchor == 1)
    step = _publish if is_new else _confirm
    done = await step(session, plan, computed, staging)
    await keep_shipped(session, plan.libraries)
    await mark_done(
        session,
        run_id,
        "published" if is_new else "unchanged",
        anchor=done.anchor,
        changed=computed.diff.total,
        is_counting=computed.counts is not None,
    )
    return done


async def _confirm(session: Session, plan: Plan, computed: Computed, staging: Staging) -> Done:
    """The last anchor still holds: only the overlay and what is known of the source move on."""
    dropped = await absorb_entries(
        session, plan.types, snapshot=staging.snapshot, replayed_at=staging.replayed_at
    )
    await _set_aside(session, plan, computed)
    await publish_feed(session, computed.feed, plan, staging)
    await _checked(session, plan, computed, staging)
    anchor = await current_anchor(session)
    assert anchor is not None
    views = _summaries(plan, computed, {})
    return Done(False, anchor.anchor, anchor.data_as_of, views, dropped)


async def _publish(session: Session, plan: Plan, computed: Computed, staging: Staging) -> Done:
    renewed = [*(view.name for view in plan.built), *plan.retired]
    if renewed:
        await lock_composed(session)
        await lock_anchors(session)
        await release(session, renewed)
        await retain_former(session, renewed, plan.anchor)
    moved = {
        published.name: await _move_rows(session, published, computed, plan)
        for _view, published in plan.kept
    }
    await publish_moved(session, [one for _view, one in plan.kept if one.name in computed.rows])
    await publish_ledger(session, plan, computed.diff)
    dropped = await absorb_entries(
        session, plan.types, snapshot=staging.snapshot, replayed_at=staging.replayed_at
    )
    for view in plan.built:
        await _publish_built(session, view, plan)
        content = computed.added[view.name]
        await store_built_content(session, view.name, view.digest, plan.anchor, content)
    await _retire(session, plan.retired)
    await take_back(session, renewed)
    await _set_aside(session, plan, computed)
    if renewed:
        await revalidate(session, renewed, strict=False)
    await publish_dead_letters(session, plan.anchor, changed=list(moved), whole=renewed)
    await publish_feed(session, computed.feed, plan, staging)
    await session.execute(
        _NEW_ANCHOR,
        plan.anchor,
        staging.data_as_of,
        staging.snapshot,
        computed.diff.total,
        plan.read_as,
    )
    await _checked(session, plan, computed, staging)
    summaries = _summaries(plan, computed, moved)
    return Done(True, plan.anchor, staging.data_as_of, summaries, dropped)


async def _move_rows(
    session: Session, published: PublishedView, computed: Computed, plan: Plan
) -> tuple[int, int]:
    """Closes the rows of the changed resources, adds the new ones; gives (added, closed)."""
    rows = computed.rows.get(published.name)
    if rows is None:
        return 0, 0
    names = [name for name, _type in published.stored_columns]
    columns = join(", ", (ident(name) for name in names))
    base = ident(SCHEMA, published.base_table)
    gone = await session.fetchrow(
        compose(
            "WITH gone AS (DELETE FROM {base} AS b USING pg_temp.rf_changed AS c"
            " WHERE b._res_id = c.res_id RETURNING b.*),"
            " closed AS (INSERT INTO {history} ({columns}, _since, _until)"
            " SELECT {columns}, _since, {anchor} FROM gone)"
            " {content}",
            base=base,
            history=ident(SCHEMA, published.history_table),
            columns=columns,
            anchor=param(plan.anchor, "bigint"),
            content=content_sql(published, fixed("gone")),
        )
    )
    assert gone is not None
    added = await session.execute(
        compose(
            "INSERT INTO {base} ({columns}, _since) SELECT {columns}, _since FROM {rows} AS r",
            base=base,
            columns=columns,
            rows=rows,
        )
    )
    lost = Content.of(gone)
    await store_moved_content(
        session, published, plan.anchor, gone=lost, added=computed.added[published.name]
    )
    return added, lost.rows


async def _publish_built(session: Session, view: CompiledView, plan: Plan) -> None:
    """Overlay, catalogue row and SQL views of a view whose base table was built anew."""
    published = publication(view, plan.anchor)
    await create_overlay(session, published)
    entries = await session.fetchval(_ENTRIES, view.resource)
    if entries:
        await insert_rows(session, view, published.overlay_table, entries)
    await session.execute(
        _CATALOGUE,
        published.name,
        published.digest,
        published.resource_type,
        json.dumps(view.definition),
        columns_to_json(published.columns),
        published.base_table,
        published.history_table,
        published.overlay_table,
        plan.anchor,
        view.name in plan.registered,
    )
    await publish_sql_views(session, published)


async def _retire(session: Session, names: Sequence[str]) -> None:
    """Takes views that are no longer defined out of the catalogue; their tables go next time."""
    for name in names:
        await drop_sql_views(session, name)
    await session.execute(_UNLISTED, list(names))


async def _set_aside(session: Session, plan: Plan, computed: Computed) -> None:
    """Keeps what could not be computed at the last anchor at which it was published."""
    published = await published_views(session)
    for failure in (*computed.failures.values(), *plan.outdated):
        after = plan.anchor - 1 if failure.view in published else None
        await set_aside(session, failure, after_anchor=after)


async def _checked(session: Session, plan: Plan, computed: Computed, staging: Staging) -> None:
    """Nothing is pending as of the snapshot's instant.

    The clock's row first, as `check_source` takes it: who has it writes what was checked.
    """
    await note_look(
        session,
        zone=staging.origin.source.options.zone,
        looked_at=staging.source_at,
        newest_at=computed.newest_at,
    )
    await session.execute(_CHECKED, list(plan.types), staging.data_as_of)
    await session.execute(_UNCHECKED, list(plan.types))
    await session.execute(_COMPARED, list(plan.meta_types))


def _summaries(
    plan: Plan, computed: Computed, moved: dict[str, tuple[int, int]]
) -> tuple[ViewRefresh, ...]:
    """One line per view, in the order of their definition."""
    kept = {view.name for view, _published in plan.kept}
    return tuple(
        ViewRefresh(
            name=view.name,
            built=view.name not in kept,
            rows_added=computed.filled[view.name].rows if view.name in computed.filled else 0,
            rows_closed=moved.get(view.name, (0, 0))[1],
            dead_letters=len(computed.filled[view.name].culprits)
            if view.name in computed.filled
            else 0,
        )
        for view in plan.views
    )
