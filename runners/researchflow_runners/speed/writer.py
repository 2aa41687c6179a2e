"""The door for changes: checked, confirmed by the source, written, projected, acknowledged.

A change is acknowledged when PostgreSQL has committed it. When `apply` raises or is cancelled,
what became of the changes is unknown: repeat them, nothing is applied twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from researchflow_runners.errors import QueryError, SourceDataError
from researchflow_runners.source.reader import HapiSource
from researchflow_runners.source.references import relative_text
from researchflow_runners.speed.change import Change, ChangeOutcome, Outcome, rejection
from researchflow_runners.speed.decision import Checked, Decision, check, decide, keys_to_confirm
from researchflow_runners.speed.entry import PROVISIONAL_TTL_S
from researchflow_runners.speed.known import Key, Known
from researchflow_runners.speed.projector import Projector
from researchflow_runners.speed.redis_client import RedisClient
from researchflow_runners.speed.reports import Reports
from researchflow_runners.speed.source_states import Confirmed, SourceStates
from researchflow_runners.speed.storing import Storing, foreseen
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
        self._storing = Storing(database, redis, projector)
        self._source = SourceStates(source) if source else None
        self._base_urls = source.options.base_urls if source else ()
        self._reports = Reports(
            database=database,
            storing=self._storing,
            projector=projector,
            source=self._source,
            ttl_s=ttl_s,
        )
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
            return [foreseen(one, facts) for one in decided]
        outcomes = await self._storing.write(decided, facts)
        self._outcomes.update(one.outcome for one in outcomes)
        return outcomes

    async def hear(self, reports: Sequence[Change], *, provenance: str) -> list[ChangeOutcome]:
        """Takes what somebody says of the source, such as a subscription; one outcome each.

        A report is a hint: what it tells of is read from the source now, and what is there becomes
        known, whatever the report says. Where the source cannot be asked, or is a replica that is
        behind, the report counts, marked as provisional, until `settle`, a later report or a
        refresh has asked. A change of the caller's own goes through `apply`: no source refutes it.
        """
        _check_call(reports, provenance)
        checked = [_checked(report, self._base_urls) for report in reports]
        good = [one for one in checked if isinstance(one, Checked)]
        heard = iter(await self._reports.hear(good, provenance=provenance)) if good else iter(())
        outcomes = [next(heard) if isinstance(one, Checked) else one for one in checked]
        self._outcomes.update(one.outcome for one in outcomes)
        return outcomes

    async def confirm(self, keys: Collection[Key], *, provenance: str) -> list[ChangeOutcome]:
        """Reads these (type, id) from the source now and makes known what is there.

        One outcome per key, in order. What the source has becomes an entry that leaves when a
        refresh covers it; what it has no more, deleted or expunged, is hidden. It is committed
        when this returns. At most CHANGES_PER_CALL_MAX keys; QueryError `too_many_changes`;
        StoreError when a store or the source is away (safe to repeat).
        """
        _check_call(keys, provenance)
        outcomes = await self._reports.confirm(keys, provenance=provenance)
        self._outcomes.update(one.outcome for one in outcomes)
        return outcomes

    async def settle(self) -> int:
        """Asks the source about everything known from reports alone; gives how many.

        What it does not bear out leaves. StoreError when it cannot be asked: all stays.
        """
        return await self._reports.settle()

    async def _ask(
        self, checked: Sequence[Checked]
    ) -> tuple[dict[Key, Known], dict[Key, Confirmed]]:
        """What PostgreSQL and the source know, asked at once; neither outlives a failure."""
        confirming = asyncio.create_task(self._confirm(checked))
        try:
            facts = await self._storing.look({one.key for one in checked})
            return facts, await confirming
        finally:
            confirming.cancel()
            await asyncio.gather(confirming, return_exceptions=True)

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
                decided.append(rejection(error, *one.key, deleted=one.text is None))
            else:
                earlier.setdefault(one.key, []).append(decision)
                decided.append(decision)
        return decided


def _checked(change: Change, base_urls: Sequence[str]) -> Checked | ChangeOutcome:
    """The change, well-formed and as the source would give it, or its rejection."""
    try:
        checked = check(change)
    except SourceDataError as error:
        body = change.resource if isinstance(change.resource, Mapping) else {}
        return rejection(
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


def _check_call(changes: Collection[Change] | Collection[Key], provenance: str) -> None:
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
