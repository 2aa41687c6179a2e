"""Which resources the batch layer lacks: the source's keys against the ledger.

The comparison is a full outer one on the source's own key, so it finds what no date or sequence
shows: late commits, expunged rows, ids made anew at version 1. Tags change without a version, so
where a view reads meta their digest is compared too. Where a feed tells which resources have
changed, only those are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.batch.plan import Plan
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, param
from researchflow_runners.store.database import Session

#: state: present (has rows to compute), deleted (a tombstone), gone (expunged), noted (as the
#: ledger has it, but for tags that no published view has asked for yet).
_COMPARE = """
CREATE TEMP TABLE rf_changed AS
SELECT coalesce(s.res_id, l.res_id) AS res_id,
       coalesce(s.res_type, l.res_type) COLLATE "C" AS res_type,
       coalesce(s.id, l.id) COLLATE "C" AS id, coalesce(s.res_ver, l.res_ver) AS res_ver, s.tags,
       CASE WHEN s.res_id IS NULL THEN 'gone' WHEN s.deleted THEN 'deleted'
            WHEN s.res_ver = l.res_ver AND s.deleted = l.deleted AND s.id = l.id
                 AND s.res_type = l.res_type AND l.tags IS NULL
                 AND s.res_type <> ALL ({compared}) AND NOT {all}
                 AND NOT EXISTS (SELECT FROM researchflow.overlay_entry AS e
                                 WHERE e.read_xids IS NOT NULL AND e.incarnation = s.res_id)
                 THEN 'noted'
            ELSE 'present' END AS state,
       l.res_id IS NOT NULL AS known
FROM (SELECT res_id, res_type, id, res_ver, deleted, tags FROM {keys} AS k) AS s
FULL JOIN (SELECT * FROM researchflow.ledger WHERE res_type = ANY ({types}){told}) AS l
     ON l.res_id = s.res_id
"""
#: What the tail read may be of the version that the ledger has, and other than the batch shows.
_DIFFERS = fixed("""
WHERE s.res_id IS NULL OR l.res_id IS NULL OR s.res_ver <> l.res_ver OR s.deleted <> l.deleted
   OR s.id <> l.id OR s.res_type <> l.res_type
   OR s.tags IS DISTINCT FROM l.tags AND s.tags IS NOT NULL
   OR s.res_id IN (SELECT e.incarnation FROM researchflow.overlay_entry AS e
                   WHERE e.read_xids IS NOT NULL)
""")
_SET_ASIDE = """
CREATE TEMP TABLE rf_noted AS SELECT res_id, tags FROM rf_changed WHERE state = 'noted';
DELETE FROM rf_changed WHERE state = 'noted'
"""
_COUNTS = "SELECT res_type, count(*) FROM rf_changed GROUP BY res_type"


@dataclass(frozen=True, slots=True)
class Diff:
    """How many resources changed, by type; the keys themselves are in rf_changed."""

    by_type: dict[str, int]

    @property
    def total(self) -> int:
        """All types together."""
        return sum(self.by_type.values())


async def find_changes(session: Session, keys: Sql, plan: Plan, *, told: Sql | None = None) -> Diff:
    """Fills rf_changed; `keys` is a relation of the source's keys of the plan's types.

    `told` is a relation of the res_ids that a feed says have changed; `keys` then holds no others,
    and all of them count: content and tags may change without a new version. All count too when
    the source is read in another way than before.
    """
    return await compare_keys(
        session,
        keys,
        types=plan.types,
        tagged_types=plan.tagged_types,
        told=told,
        all_count=told is not None or plan.is_read_anew,
    )


async def compare_keys(
    session: Session,
    keys: Sql,
    *,
    types: Sequence[str],
    tagged_types: Sequence[str],
    told: Sql | None = None,
    all_count: bool = False,
) -> Diff:
    """The same; `tagged_types` are those whose tags a published view shows."""
    narrowed = compose(" AND res_id IN (SELECT t.res_id FROM {} AS t)", told) if told else EMPTY
    compared = compose(
        _COMPARE,
        keys=keys,
        types=param(list(types), "text[]"),
        compared=param(list(tagged_types), "text[]"),
        all=param(all_count, "boolean"),
        told=narrowed,
    )
    await session.execute(compared if all_count else compose("{}{}", compared, _DIFFERS))
    await session.execute(_SET_ASIDE)
    await session.execute("ANALYZE rf_changed")
    return Diff({row[0]: row[1] for row in await session.fetch(_COUNTS)})
