"""The door for changes: checked, confirmed by the source, written, projected, acknowledged.

A change is acknowledged when PostgreSQL has committed it. When `apply` raises or is cancelled,
what became of the changes is unknown: repeat them, nothing is applied twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from researchflow_runners.errors import QueryError, SourceDataError, StoreError
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.source.references import relative_text
from researchflow_runners.speed.change import Change, ChangeOutcome, Outcome
from researchflow_runners.speed.decision import Checked, Decision, check, decide, keys_to_confirm
from researchflow_runners.speed.entry import PROVISIONAL_TTL_S, WriteResult
from researchflow_runners.speed.known import Confirmed, Key, Known, SourceStates, known_of
from researchflow_runners.speed.projector import Projector
from researchflow_runners.speed.redis_client import VERSION_ATTEMPTS_MAX, RedisClient
from researchflow_runners.store.database import Database

CHANGES_PER_CALL_MAX = 1_000
PROVENANCE_LENGTH_MAX = 200


class ChangeWriter:
    """Applies changes to the speed layer of one warehouse."""

    def __init__(
        self,
        *,
        database: Database,
        redis: RedisClient,
        projector: Projector,
        source: HapiSource | None = None,
        ttl_s: float = PROVISIONAL_TTL_S,
    ) -> None:
        """Without `source` nothing can be confirmed, so every change is provisional."""
        self._database = database
        self._redis = redis
        self._projector = projector
        self._source = SourceStates(source) if source else None
        self._base_urls = source.options.base_urls if source else ()
        self._ttl_s = ttl_s
        self._outcomes: Counter[Outcome] = Counter()

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """How many changes ended in each outcome, dry runs not counted."""
        return dict(self._outcomes)

    async def apply(
        self, changes: Sequence[Change], *, provenance: str, dry_run: bool = False
    ) -> list[ChangeOutcome]:
        """One outcome per change, in order; a rejected change does not stop the others.

        With `dry_run` the outcomes are those that would be, and nothing is written.
        QueryError `too_many_changes`; StoreError when a store is away (safe to repeat).
        """
        _check_call(changes, provenance)
        checked = [_checked(change, self._base_urls) for change in changes]
        good = [one for one in checked if isinstance(one, Checked)]
        facts, confirmed = await self._ask(good)
        decided = self._decide(checked, facts, confirmed, provenance)
        if dry_run:
            return [_foreseen(one, facts) for one in decided]
        outcomes = await self._write(decided, facts)
        self._outcomes.update(one.outcome for one in outcomes)
        return outcomes

    async def _ask(
        self, checked: Sequence[Checked]
    ) -> tuple[dict[Key, Known], dict[Key, Confirmed]]:
        """What PostgreSQL and the source know, asked at once; neither outlives a failure."""
        confirming = asyncio.create_task(self._confirm(checked))
        try:
            facts = await self._look({one.key for one in checked})
            return facts, await confirming
        finally:
            confirming.cancel()
            await asyncio.gather(confirming, return_exceptions=True)

    async def _look(self, keys: Collection[Key]) -> dict[Key, Known]:
        if not keys:
            return {}
        async with self._database.session() as session:
            return await known_of(session, keys)

    async def _confirm(self, checked: Sequence[Checked]) -> dict[Key, Confirmed]:
        if self._source is None or not checked:
            return {}
        return await self._source.confirm(keys_to_confirm(checked))

    def _decide(
        self,
        checked: Sequence[Checked | ChangeOutcome],
        facts: Mapping[Key, Known],
        confirmed: Mapping[Key, Confirmed],
        provenance: str,
    ) -> list[Decision | ChangeOutcome]:
        """Each change's decision, made in order, or its rejection."""
        earlier: dict[Key, list[Decision]] = {}
        decided: list[Decision | ChangeOutcome] = []
        for one in checked:
            if isinstance(one, ChangeOutcome):
                decided.append(one)
                continue
            try:
                decision = decide(
                    one,
                    known=facts[one.key],
                    confirmed=confirmed.get(one.key),
                    earlier=earlier.get(one.key, ()),
                    provenance=provenance,
                    ttl_s=self._ttl_s,
                )
            except SourceDataError as error:
                decided.append(_rejected(error, *one.key, deleted=one.text is None))
            else:
                earlier.setdefault(one.key, []).append(decision)
                decided.append(decision)
        return decided

    async def _write(
        self, decided: Sequence[Decision | ChangeOutcome], facts: Mapping[Key, Known]
    ) -> list[ChangeOutcome]:
        """Writes what is to be stored, projects it and tells what became of all."""
        stored = [one for one in decided if isinstance(one, Decision) and one.outcome == "stored"]
        if not stored:
            return [_foreseen(one, facts) for one in decided]
        results, after = await self._store(stored)
        answers = iter(
            [_acknowledged(one, result, after) for one, result in zip(stored, results, strict=True)]
        )
        return [
            next(answers)
            if isinstance(one, Decision) and one.outcome == "stored"
            else _foreseen(one, facts)
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
        await self._projector.drain(types)
        after = await self._look({_key(one) for one in stored})
        pairs = enumerate(zip(stored, results, strict=True))
        missing = [number for number, pair in pairs if _is_missing(*pair, after)]
        if missing:
            await self._projector.forget_covered()
            again = await self._settle([stored[number] for number in missing])
            for number, result in zip(missing, again, strict=True):
                results[number] = result
            await self._projector.drain(types)
            after = await self._look({_key(one) for one in stored})
        return results, after

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


def _checked(change: Change, base_urls: Sequence[str]) -> Checked | ChangeOutcome:
    """The change, well-formed and as the source would give it, or its rejection."""
    try:
        checked = check(change)
    except SourceDataError as error:
        body = change.resource if isinstance(change.resource, Mapping) else {}
        return _rejected(
            error,
            change.resource_type or _shown(body.get("resourceType")),
            change.resource_id or _shown(body.get("id")),
            deleted=change.resource is None,
        )
    if checked.text is None:
        return checked
    return replace(checked, text=relative_text(checked.text, base_urls))


def _shown(value: object) -> str | None:
    """What the caller called it, so that the rejection can be matched; cut to a name's length."""
    return value[:64] if isinstance(value, str) else None


def _rejected(
    error: SourceDataError, resource_type: str | None, resource_id: str | None, *, deleted: bool
) -> ChangeOutcome:
    return ChangeOutcome("rejected", resource_type, resource_id, deleted, error=error)


def _foreseen(decided: Decision | ChangeOutcome, facts: Mapping[Key, Known]) -> ChangeOutcome:
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
        _foreseen(decision, after),
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
    known = _known_of(decision, after)
    return result.outcome != "stale" and known.newest_version < result.version


def _key(decision: Decision) -> Key:
    return decision.draft.resource_type, decision.draft.resource_id


def _check_call(changes: Sequence[Change], provenance: str) -> None:
    if len(changes) > CHANGES_PER_CALL_MAX:
        raise QueryError(
            f'"{len(changes)}" changes are more than "{CHANGES_PER_CALL_MAX}"',
            code="too_many_changes",
            hint="send them in several calls",
            field="changes",
        )
    if not 0 < len(provenance) <= PROVENANCE_LENGTH_MAX:
        raise QueryError(
            "the provenance is empty or too long",
            code="provenance_invalid",
            hint=f"say who sends the change in 1 to {PROVENANCE_LENGTH_MAX} characters",
            field="provenance",
        )
