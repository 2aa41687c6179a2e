"""The rows of the next anchor, computed from one snapshot of the source and not yet published.

Changed resources go through the views into temporary tables; views that are new or defined anew
are computed whole into tables that no catalogue row names yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from researchflow_runners.batch.build import Culprit, Filled, create_rows_table, fill
from researchflow_runners.batch.dead_letters import create_dead_table, note_culprits
from researchflow_runners.batch.diff import (
    CHANGED_KEYS,
    Diff,
    count_keys,
    find_changes,
    find_unreadable,
)
from researchflow_runners.batch.plan import Plan
from researchflow_runners.batch.staging import Staging
from researchflow_runners.batch.steps import Steps
from researchflow_runners.batch.tables import create_base, index_base, tables_of
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.sql import Sql, ident
from researchflow_runners.store.database import Session
from researchflow_runners.store.relations import SCHEMA

_UNREADABLE = "the source holds no readable version of the resource"


@dataclass
class Computed:
    """`rows` has a temporary table for each kept view whose type changed, `filled` what each
    view gained, `expected` the source's key count of each type that the ledger lacked."""

    diff: Diff
    expected: dict[str, int]
    rows: dict[str, Sql] = field(default_factory=dict)
    filled: dict[str, Filled] = field(default_factory=dict)


async def compute(session: Session, staging: Staging, plan: Plan, steps: Steps) -> Computed:
    """Compares, builds and computes, in the transaction of the staging."""
    with steps.phase("compare"):
        keys = await staging.keys(plan.types)
        diff = await find_changes(session, keys, plan.types)
        computed = Computed(diff, await count_keys(session, keys, plan.new_types))
        await create_dead_table(session)
        changed = [view for view, _published in plan.kept if view.resource in diff.by_type]
        steps.total = 1 + len(plan.built) + len(changed) + 1
        await steps.done("compare")
    inputs = _Inputs(session, staging, keys)
    with steps.phase("build"):
        for view in plan.built:
            computed.filled[view.name] = await _build(session, view, inputs, plan.anchor)
            await steps.done("build", view.name)
    with steps.phase("compute"):
        for number, view in enumerate(changed):
            table = await create_rows_table(session, f"rf_rows_{number}", view)
            part = await inputs.part(view.resource)
            filled = await fill(session, table, view, resources=part.relation, anchor=plan.anchor)
            computed.rows[view.name] = table
            computed.filled[view.name] = filled.without(part.unreadable)
            await steps.done("compute", view.name)
    for name, filled in computed.filled.items():
        await note_culprits(session, name, filled.culprits, keys)
    return computed


async def _build(session: Session, view: CompiledView, inputs: _Inputs, anchor: int) -> Filled:
    """A whole view in its own new tables; indexes after the rows, they cost half so."""
    await create_base(session, view)
    whole = await inputs.whole(view.resource)
    target = ident(SCHEMA, tables_of(view).base)
    filled = await fill(session, target, view, resources=whole.relation, anchor=anchor)
    await index_base(session, view)
    return filled.without(whole.unreadable)


@dataclass(frozen=True, slots=True)
class _Input:
    """Resources of a type, and those that should be among them and are not."""

    relation: Sql
    unreadable: tuple[Culprit, ...]


class _Inputs:
    """The resources of each type, read once however many views want them."""

    def __init__(self, session: Session, staging: Staging, keys: Sql) -> None:
        self._session = session
        self._staging = staging
        self._keys = keys
        self._whole: dict[str, _Input] = {}
        self._part: dict[str, _Input] = {}

    async def whole(self, resource_type: str) -> _Input:
        """All resources of the type."""
        if resource_type not in self._whole:
            relation = await self._staging.whole(resource_type)
            missing = await find_unreadable(self._session, self._keys, resource_type, relation)
            self._whole[resource_type] = _Input(relation, _unreadable(missing))
        return self._whole[resource_type]

    async def part(self, resource_type: str) -> _Input:
        """The changed resources of the type."""
        if resource_type not in self._part:
            relation = await self._staging.part(resource_type)
            missing = await find_unreadable(self._session, CHANGED_KEYS, resource_type, relation)
            self._part[resource_type] = _Input(relation, _unreadable(missing))
        return self._part[resource_type]


def _unreadable(res_ids: Sequence[int]) -> tuple[Culprit, ...]:
    return tuple(Culprit(res_id, _UNREADABLE) for res_id in res_ids)
