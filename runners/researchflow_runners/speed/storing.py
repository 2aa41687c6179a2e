"""Decided changes on their way to being acknowledged: written to Redis, projected, looked at.

What PostgreSQL shows afterwards is what is told, so an outcome is never better than the truth.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from researchflow_runners.errors import StoreError
from researchflow_runners.speed.change import ChangeOutcome
from researchflow_runners.speed.change_log import START, later
from researchflow_runners.speed.decision import Decision
from researchflow_runners.speed.entry import WriteResult
from researchflow_runners.speed.known import Key, Known, known_of
from researchflow_runners.speed.projector import Projector
from researchflow_runners.speed.redis_client import VERSION_ATTEMPTS_MAX, RedisClient
from researchflow_runners.store.database import Database


class Storing:
    """The stores of one warehouse as a change goes through them."""

    def __init__(self, database: Database, redis: RedisClient, projector: Projector) -> None:
        self._database = database
        self._redis = redis
        self._projector = projector

    async def look(self, keys: Collection[Key]) -> dict[Key, Known]:
        """What PostgreSQL knows of the keys."""
        if not keys:
            return {}
        async with self._database.session() as session:
            return await known_of(session, keys)

    async def write(
        self, decided: Sequence[Decision | ChangeOutcome], facts: Mapping[Key, Known]
    ) -> list[ChangeOutcome]:
        """Writes what is to be stored, projects it and tells what became of all."""
        stored = [one for one in decided if isinstance(one, Decision) and one.outcome == "stored"]
        if not stored:
            return [foreseen(one, facts) for one in decided]
        results, after = await self._store(stored)
        answers = iter(
            [_acknowledged(one, result, after) for one, result in zip(stored, results, strict=True)]
        )
        return [
            next(answers)
            if isinstance(one, Decision) and one.outcome == "stored"
            else foreseen(one, facts)
            for one in decided
        ]

    async def _store(
        self, stored: Sequence[Decision]
    ) -> tuple[list[WriteResult], dict[Key, Known]]:
        """Writes and projects all; gives what became of each, and what is known afterwards.

        A write that PostgreSQL does not show is repeated once: Redis lost it, or took it for one
        that a refresh has dropped since and that it had not let go of.
        """
        types = {one.draft.resource_type for one in stored}
        results = await self._settle(stored)
        await self._projector.reach(_places(stored, results))
        missing, after = await self._missing(stored, results)
        if missing:
            await self._projector.drain(types)
            missing, after = await self._missing(stored, results)
        if missing:
            await self._projector.forget_covered()
            again = await self._settle([stored[number] for number in missing])
            for number, result in zip(missing, again, strict=True):
                results[number] = result
            await self._projector.drain(types)
            _missing, after = await self._missing(stored, results)
        return results, after

    async def _missing(
        self, stored: Sequence[Decision], results: Sequence[WriteResult]
    ) -> tuple[list[int], dict[Key, Known]]:
        """The numbers of the writes that PostgreSQL does not show, and what it knows."""
        after = await self.look({_key(one) for one in stored})
        pairs = enumerate(zip(stored, results, strict=True))
        return [number for number, pair in pairs if _is_missing(*pair, after)], after

    async def _settle(self, stored: Sequence[Decision]) -> list[WriteResult]:
        """Writes all; a version made up here that was taken meanwhile gives way to the next one.

        Later changes of the same resource then move on too, so that their order stays.
        """
        results = await self._redis.write([one.draft for one in stored])
        moved: set[Key] = set()
        for number, (one, result) in enumerate(zip(stored, results, strict=True)):
            taken = result.outcome != "stored" and not result.same_content
            if one.follows and (taken or _key(one) in moved):
                moved.add(_key(one))
                results[number] = await self._follow(one, result)
        return results

    async def _follow(self, decision: Decision, result: WriteResult) -> WriteResult:
        """Writes under the version after the newest until that is free."""
        for _attempt in range(VERSION_ATTEMPTS_MAX):
            draft = replace(decision.draft, version=result.newest_version + 1)
            (result,) = await self._redis.write([draft])
            if result.outcome == "stored":
                return result
        raise StoreError(
            f'"{"/".join(_key(decision))}" is written by too many at once',
            code="write_contended",
            hint="try again, or pass the version",
        )


def _places(stored: Sequence[Decision], results: Sequence[WriteResult]) -> dict[str, str | None]:
    """By type the last place in the log of what was written or was there already; None where
    Redis tells no place, because something newer is known."""
    places: dict[str, str | None] = {}
    for one, result in zip(stored, results, strict=True):
        name, place = one.draft.resource_type, result.stream_id
        held = places.get(name, START)
        places[name] = later(held, place) if held and place else None
    return places


def foreseen(decided: Decision | ChangeOutcome, facts: Mapping[Key, Known]) -> ChangeOutcome:
    """The outcome of a change that is not written."""
    if isinstance(decided, ChangeOutcome):
        return decided
    draft = decided.draft
    known = facts[_key(decided)]
    return ChangeOutcome(
        outcome=decided.outcome,
        resource_type=draft.resource_type,
        resource_id=draft.resource_id,
        deleted=draft.deleted,
        version=draft.version,
        newest_version=max(decided.newest_version, draft.version),
        origin=draft.origin,
        views=known.views,
        failed_views=known.failed_views,
        conflict=decided.conflict,
    )


def _acknowledged(
    decision: Decision, result: WriteResult, after: Mapping[Key, Known]
) -> ChangeOutcome:
    """The outcome of a written change, of which PostgreSQL must know by now."""
    known = _known_of(decision, after)
    if _is_missing(decision, result, after):
        raise StoreError(
            "redis lost changes while they were on their way",
            code="change_not_applied",
            hint="repeat the call; what was applied is not applied twice",
        )
    covered = result.version <= known.ledger_version
    return replace(
        foreseen(decision, after),
        outcome="covered" if covered else result.outcome,
        version=result.version,
        newest_version=max(result.newest_version, known.newest_version),
        expires_at=result.expires_at,
        conflict=result.outcome == "duplicate" and not result.same_content and not covered,
    )


def _known_of(decision: Decision, after: Mapping[Key, Known]) -> Known:
    """What is known of the change's resource; of its incarnation, when the source told that."""
    known = after[_key(decision)]
    if decision.draft.origin == "source":
        return known.of_incarnation(decision.draft.incarnation)
    return known


def _is_missing(decision: Decision, result: WriteResult, after: Mapping[Key, Known]) -> bool:
    """Whether nothing that PostgreSQL holds makes the change superfluous; see `decide`."""
    known = _known_of(decision, after)
    if decision.draft.origin == "source":
        held = max(known.ledger_version, known.source_version)
    elif decision.draft.origin == "reported":
        held = known.told_version
    else:
        held = known.newest_version
    return held < result.version


def _key(decision: Decision) -> Key:
    return decision.draft.resource_type, decision.draft.resource_id
