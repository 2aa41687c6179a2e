"""What is said of the source: a hint to look there, and no more than that where one can look.

A report arrives late, twice, out of order or not at all, and a deletion tells no version. So the
source is read for what it says of, and that is what becomes known. Only where the source cannot
be asked, or is a replica that is behind, the report itself counts, until the source is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence

from researchflow_runners.errors import SourceDataError, StoreError
from researchflow_runners.source.replay import known_before
from researchflow_runners.speed.change import ChangeOutcome, rejection
from researchflow_runners.speed.decision import Checked, Decision, decide, of_source
from researchflow_runners.speed.known import Key, Known
from researchflow_runners.speed.projector import Projector
from researchflow_runners.speed.source_states import Confirmed, SourceStates, States
from researchflow_runners.speed.storing import Storing
from researchflow_runners.store.database import Database

#: A server that is told of a change waits for the answer about so long, and sends it again.
SOURCE_TIMEOUT_S = 4.0
SETTLED_PER_READ_MAX = 500

_REPORTED = """
SELECT entry_id, res_type, id FROM researchflow.overlay_entry
WHERE origin = 'reported' AND entry_id > $1 ORDER BY entry_id LIMIT $2
"""
_IS_REFRESHING = "SELECT EXISTS (SELECT FROM researchflow.refresh_alive)"
SETTLING = "settled"


class Reports:
    """The way from a report to what is known of the source."""

    def __init__(
        self,
        *,
        database: Database,
        storing: Storing,
        projector: Projector,
        source: SourceStates | None,
        ttl_s: float,
    ) -> None:
        self._database = database
        self._storing = storing
        self._projector = projector
        self._source = source
        self._ttl_s = ttl_s

    async def hear(self, reports: Sequence[Checked], *, provenance: str) -> list[ChangeOutcome]:
        """One outcome per report, in order.

        StoreError `source_unavailable` when the source cannot be asked and a report alone could
        be of another partition's resource.
        """
        keys = list(dict.fromkeys(one.key for one in reports))
        facts = await self._storing.look(keys)
        states = await self._ask(keys)
        unread = await self._unread(keys, facts)
        trusted = (set(keys) if states is None else _behind(reports, states)) - unread
        said = self._as_said([one for one in reports if one.key in trusted], facts, provenance)
        decided = [
            next(said) if one.key in trusted
            else _ignored(one.key) if states is None or one.key in unread
            else _as_found(one.key, states, facts, provenance)
            for one in reports
        ]  # fmt: skip
        outcomes = await self._storing.write(decided, facts)
        if states is not None:
            await self._retire({key: facts[key] for key in keys if key not in trusted}, states)
        return outcomes

    async def confirm(self, keys: Collection[Key], *, provenance: str) -> list[ChangeOutcome]:
        """Makes known what the source has under these keys now; one outcome per key, in order.

        StoreError `source_unavailable` or `postgres_unavailable` when it cannot be asked.
        """
        if self._source is None:
            raise _source_unavailable()
        facts = await self._storing.look(keys)
        states = await self._source.read(keys)
        unread = await self._unread(keys, facts)
        decided = [
            _ignored(key) if key in unread else _as_found(key, states, facts, provenance)
            for key in keys
        ]
        outcomes = await self._storing.write(decided, facts)
        await self._retire(facts, states)
        return outcomes

    async def settle(self) -> int:
        """Asks the source about what is known from reports alone; gives how many it asked about.

        Reports that it does not bear out leave. StoreError when it cannot be asked.
        """
        asked = after = 0
        while True:
            async with self._database.session() as session:
                rows = await session.fetch(_REPORTED, after, SETTLED_PER_READ_MAX)
            if not rows:
                return asked
            await self.confirm([(row["res_type"], row["id"]) for row in rows], provenance=SETTLING)
            asked, after = asked + len(rows), rows[-1]["entry_id"]

    async def _ask(self, keys: Collection[Key]) -> States | None:
        """The source's states; None when it cannot be asked."""
        if self._source is None:
            return None
        try:
            async with asyncio.timeout(SOURCE_TIMEOUT_S):
                return await self._source.read(keys)
        except (StoreError, TimeoutError) as error:
            if self._source.names_are_unique:
                return None
            raise _source_unavailable() from error

    async def _retire(self, facts: Mapping[Key, Known], states: States) -> None:
        """Drops the reports that came before the source was asked, and so had their answer."""
        before = known_before(states.replayed_at)
        refuted: dict[str, dict[str, str]] = {}
        for (resource_type, resource_id), known in facts.items():
            told_at, stream_id = known.reported_at, known.reported_stream_id
            if told_at and stream_id and (before is None or told_at < before):
                refuted.setdefault(resource_type, {})[resource_id] = stream_id
        for resource_type, reports in refuted.items():
            await self._projector.retire(resource_type, reports)

    async def _unread(self, keys: Collection[Key], facts: Mapping[Key, Known]) -> set[Key]:
        """The keys of types that no view reads, so that nothing would cover what waits of them.

        While a refresh runs it may be building the first view of one.
        """
        unread = {key for key in keys if not facts[key].views and not facts[key].overlay_version}
        if not unread:
            return set()
        async with self._database.session() as session:
            return set() if await session.fetchval(_IS_REFRESHING) else unread

    def _as_said(
        self, reports: Sequence[Checked], facts: Mapping[Key, Known], provenance: str
    ) -> Iterator[Decision | ChangeOutcome]:
        """Each report's decision, made in order, from what it says itself."""
        earlier: dict[Key, list[Decision]] = {}
        for one in reports:
            try:
                decision = decide(
                    one,
                    known=facts[one.key],
                    confirmed=None,
                    earlier=earlier.get(one.key, ()),
                    provenance=provenance,
                    ttl_s=self._ttl_s,
                    origin="reported",
                )
            except SourceDataError as error:
                unknown = error.code == "resource_unknown"
                yield _nothing(one.key) if unknown else rejection(error, *one.key, deleted=False)
            else:
                earlier.setdefault(one.key, []).append(decision)
                yield decision


def _behind(reports: Sequence[Checked], states: States) -> set[Key]:
    """The keys of which a report may tell what a replica does not show yet."""
    if states.replayed_at is None:
        return set()
    return {one.key for one in reports if _is_news(one, states.by_key.get(one.key))}


def _is_news(report: Checked, state: Confirmed | None) -> bool:
    if report.version is not None:
        return state is None or state.version < report.version
    is_shown = state is not None and not state.deleted
    return is_shown == (report.text is None)


def _as_found(
    key: Key, states: States, facts: Mapping[Key, Known], provenance: str
) -> Decision | ChangeOutcome:
    """The decision that follows from what the source has under the key."""
    if key in states.ambiguous:
        return rejection(_ambiguous(key), *key, deleted=False)
    state = states.by_key.get(key)
    try:
        found = of_source(key, state, known=facts[key], provenance=provenance)
    except SourceDataError as error:
        return rejection(error, *key, deleted=False)
    return found or _nothing(key)


def _nothing(key: Key) -> ChangeOutcome:
    """The source has nothing there, and nobody thought that it had."""
    return ChangeOutcome("covered", *key, deleted=True)


def _ignored(key: Key) -> ChangeOutcome:
    return ChangeOutcome("ignored", *key, deleted=False)


def _ambiguous(key: Key) -> SourceDataError:
    return SourceDataError(
        f'the source holds several resources "{"/".join(key)}", one a partition',
        code="source_id_ambiguous",
        hint="choose the partition to read, so that a change of one is not taken for another's",
        field="source",
    )


def _source_unavailable() -> StoreError:
    return StoreError(
        "the FHIR server's database cannot be asked what it holds",
        code="source_unavailable",
        hint="check the database of the source, then try again",
    )
