"""The rows that overlay entries have in a view, computed by the view's own SELECT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import StatementError
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, ident, join, param
from researchflow_runners.store.culprits import failing_columns
from researchflow_runners.store.data_faults import is_data_error, reason
from researchflow_runners.store.database import Session

_IDS = object()

_DEAD_LETTER = """
INSERT INTO researchflow.dead_letter (view_name, res_type, id, res_ver, column_name, reason, layer)
SELECT $1, res_type, id, version, $3, $4, 'speed'
FROM researchflow.overlay_entry WHERE entry_id = $2
ON CONFLICT (view_name, res_type, id, layer, res_ver) DO UPDATE
SET column_name = excluded.column_name, reason = excluded.reason, seen_at = clock_timestamp()
"""


@dataclass(frozen=True, slots=True)
class _Target:
    """A view and its overlay table, told apart by what their SQL depends on."""

    digest: str
    overlay_table: str
    view: CompiledView = field(compare=False)


async def insert_views(
    session: Session,
    targets: Sequence[tuple[CompiledView, str]],
    entry_ids: Sequence[int],
    *,
    guarded: bool,
) -> int:
    """Fills several (view, overlay table) with the rows of the entries; gives the dead letters.

    Unguarded, what one resource holds may be an error (`is_data_error`) that spoils the
    transaction and costs no round trip; guarded, the other entries get their rows.
    """
    wanted = tuple(_Target(view.digest, table, view) for view, table in targets)
    if not wanted:
        return 0
    if not guarded:
        await _insert(session, wanted, entry_ids)
        return 0
    if await _try_insert(session, wanted, entry_ids) is None:
        return 0
    return sum([await insert_rows(session, view, table, entry_ids) for view, table in targets])


async def insert_rows(
    session: Session, view: CompiledView, overlay_table: str, entry_ids: Sequence[int]
) -> int:
    """Fills the view's overlay table with the rows of the entries; gives the dead letters.

    An entry whose rows cannot be computed is written to researchflow.dead_letter and has none:
    it still hides the batch layer's rows, because what they say is known to be outdated.
    """
    target = _Target(view.digest, overlay_table, view)
    pending = [list(entry_ids)] if entry_ids else []
    dead = 0
    while pending:
        ids = pending.pop()
        error = await _try_insert(session, (target,), ids)
        if error is None:
            continue
        if len(ids) == 1:
            columns = await failing_columns(session, view, _entries(param(ids, "bigint[]")), ids)
            column = columns.get(ids[0])
            await session.execute(_DEAD_LETTER, view.name, ids[0], column, reason(error))
            dead += 1
        else:
            half = len(ids) // 2
            pending += [ids[half:], ids[:half]]
    return dead


async def _try_insert(
    session: Session, targets: tuple[_Target, ...], entry_ids: Sequence[int]
) -> StatementError | None:
    """The error when the data do not fit (then nothing is in), None when the rows are in."""
    try:
        async with session.savepoint():
            await _insert(session, targets, entry_ids)
    except StatementError as error:
        if is_data_error(error):
            return error
        raise
    return None


async def _insert(session: Session, targets: tuple[_Target, ...], entry_ids: Sequence[int]) -> None:
    text, values = _statement(targets)
    await session.execute(text, *(entry_ids if value is _IDS else value for value in values))


@lru_cache(maxsize=256)
def _statement(targets: tuple[_Target, ...]) -> tuple[str, list[Any]]:
    """The targets' rows inserted in one statement, and its arguments: _IDS where the entries'
    numbers go."""
    *others, last = (_insertion(target) for target in targets)
    named = [compose("{} AS ({})", fixed(f"t{number}"), one) for number, one in enumerate(others)]
    head = compose("WITH {} ", join(", ", named)) if named else EMPTY
    return compose("{}{}", head, last).render()


def _insertion(target: _Target) -> Sql:
    """INSERT … SELECT; an entry's number stands in for res_id, so each row finds its entry."""
    names = [name for name, _type in target.view.stored_columns]
    return compose(
        "INSERT INTO {overlay} ({columns}, _entry)"
        " SELECT e.base_res_id, {computed}, e.entry_id FROM ({select}) AS v"
        " JOIN researchflow.overlay_entry AS e ON e.entry_id = v._res_id",
        overlay=ident("researchflow", target.overlay_table),
        columns=join(", ", (ident(name) for name in names)),
        computed=join(", ", (ident("v", name) for name in names if name != "_res_id")),
        select=target.view.select(_entries(param(_IDS, "bigint[]"))),
    )


def _entries(ids: Sql) -> Sql:
    """The entries that are no tombstones, as a relation of resources."""
    return compose(
        "(SELECT entry_id AS res_id, id, resource AS text, NULL::jsonb AS meta"
        " FROM researchflow.overlay_entry JOIN researchflow.overlay_resource USING (entry_id)"
        " WHERE entry_id = ANY({}))",
        ids,
    )
