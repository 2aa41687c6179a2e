"""The rows of the next anchor, computed from one snapshot of the source and not yet published.

Changed resources go through the views into temporary tables; views that are new or defined anew
are computed whole into tables that no catalogue row names yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from researchflow_runners.batch.build import Filled, create_without_culprits, try_create
from researchflow_runners.batch.dead_letters import create_dead_table, note_culprits
from researchflow_runners.batch.diff import (
    CHANGED_KEYS,
    Diff,
    find_changes,
    find_unreadable,
)
from researchflow_runners.batch.plan import Plan
from researchflow_runners.batch.staging import Staging, index_rows
from researchflow_runners.batch.steps import Steps
from researchflow_runners.batch.tables import create_history, finish_base, tables_of
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.sql import Sql, ident
from researchflow_runners.store.culprits import Culprit
from researchflow_runners.store.database import Session
from researchflow_runners.store.relations import SCHEMA

_UNREADABLE = "the source holds no readable version of the resource"


@dataclass
class Computed:
    """`rows` has a temporary table for each kept view whose type changed, `filled` what each
    view gained."""

    diff: Diff
    rows: dict[str, Sql] = field(default_factory=dict)
    filled: dict[str, Filled] = field(default_factory=dict)


async def compute(session: Session, staging: Staging, plan: Plan, steps: Steps) -> Computed:
    """Compares, builds and computes, in the transaction of the staging."""
    with steps.phase("compare"):
        keys = await staging.keys(plan.types)
        computed = Computed(await find_changes(session, keys, plan.types))
        await create_dead_table(session)
        changed = [view for view, _published in plan.kept if view.resource in computed.diff.by_type]
        steps.total = 1 + len(plan.built) + len(changed) + 1
        await steps.done("compare")
    with steps.phase("build"):
        for view in plan.built:
            computed.filled[view.name] = await _build(session, staging, view, keys, plan.anchor)
            await steps.done("build", view.name)
    with steps.phase("compute"):
        parts: dict[str, Sql] = {}
        for number, view in enumerate(changed):
            if view.resource not in parts:
                parts[view.resource] = await staging.part(view.resource)
            table = ident("pg_temp", f"rf_rows_{number}")
            computed.rows[view.name] = table
            computed.filled[view.name] = await _compute(
                session, view, table, resources=parts[view.resource], anchor=plan.anchor
            )
            await steps.done("compute", view.name)
    for name, filled in computed.filled.items():
        await note_culprits(session, name, filled.culprits, keys)
    return computed


async def _build(
    session: Session, staging: Staging, view: CompiledView, keys: Sql, anchor: int
) -> Filled:
    """A whole view in its own new tables."""
    target = ident(SCHEMA, tables_of(view).base)
    whole = await staging.whole(view.resource, is_strict=True)
    rows = await try_create(session, target, view, resources=whole, anchor=anchor)
    filled = Filled(rows or 0)
    if rows is None:
        whole = await staging.whole(view.resource, is_strict=False)
        filled = await create_without_culprits(
            session, target, view, resources=whole, anchor=anchor
        )
        filled = filled.without(await _unreadable(session, keys, view.resource, whole))
    await create_history(session, view)
    await finish_base(session, view)
    return filled


async def _compute(
    session: Session, view: CompiledView, target: Sql, *, resources: Sql, anchor: int
) -> Filled:
    """The rows of the changed resources in a temporary table."""
    unreadable = await _unreadable(session, CHANGED_KEYS, view.resource, resources)
    rows = await try_create(session, target, view, resources=resources, anchor=anchor)
    if rows is not None:
        return Filled(rows, unreadable)
    await index_rows(session, resources)
    filled = await create_without_culprits(
        session, target, view, resources=resources, anchor=anchor
    )
    return filled.without(unreadable)


async def _unreadable(
    session: Session, keys: Sql, resource_type: str, resources: Sql
) -> tuple[Culprit, ...]:
    """Resources that the source names and has no content of: silence would hide them."""
    missing = await find_unreadable(session, keys, resource_type, resources)
    return tuple(Culprit(res_id, _UNREADABLE) for res_id in missing)
