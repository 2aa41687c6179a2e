"""`researchflow status`: how fresh the views are, and whether the stores answer."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from researchflow_runners.batch.counts import TypeCount, counts_are_missing, read_counts
from researchflow_runners.batch.dead_letters import DeadLetter, list_dead_letters
from researchflow_runners.batch.source_clock import read_source_clock
from researchflow_runners.errors import StoreError
from researchflow_runners.source.clock import SourceClock
from researchflow_runners.source.findings import look_at_source
from researchflow_server.cli.outcome import OK, UNREACHABLE
from researchflow_server.cli.parser import with_example
from researchflow_server.cli.source_words import COUNTS_MISSING, source_lines
from researchflow_server.console import console, show_json, table
from researchflow_server.feeds.refused import RefusedDelivery, list_refused
from researchflow_server.metrics.snapshot import Snapshot
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.runtime.feed import feed_lines
from researchflow_server.settings import read_settings

LETTERS_SHOWN_MAX = 50


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    with_example(parser, "researchflow status", "researchflow status --json | jq .views")
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Looks once, at the source too; exit code 3 when a store does not answer."""
    async with open_runtime(read_settings(), background=False) as runtime:
        source_up = await _look_at_source(runtime)
        snapshot = await runtime.fresh_snapshot()
        found = await look_at_source(runtime.source) if source_up else None
        kept = await _kept(runtime) if snapshot.warehouse_up else Kept()
    if arguments.json:
        told = {
            "source_up": source_up,
            "source": asdict(found) if found else None,
            **asdict(kept),
        }
        show_json({**asdict(snapshot), **told})
    else:
        _show(snapshot, source_up=source_up)
        if found is not None:
            console().print("\n".join(source_lines(found, kept.source_clock, kept.counts)))
        if kept.counts_missing:
            console().print(COUNTS_MISSING)
        for name in kept.unknown_objectives:
            console().print(f'RESEARCHFLOW_REFRESH_OBJECTIVES: there is no view "{name}"')
        _show_letters(kept.dead_letters)
        _show_refused(kept.refused_deliveries)
    return OK if snapshot.warehouse_up and snapshot.redis_up and source_up else UNREACHABLE


@dataclass(frozen=True, slots=True)
class Kept:
    """What the warehouse keeps of the source, and of what could not be computed."""

    source_clock: SourceClock | None = None
    counts: tuple[TypeCount, ...] = ()
    counts_missing: bool = False
    dead_letters: tuple[DeadLetter, ...] = ()
    refused_deliveries: tuple[RefusedDelivery, ...] = ()
    unknown_objectives: tuple[str, ...] = ()


async def _kept(runtime: Runtime) -> Kept:
    unknown = await runtime.unknown_objectives()
    async with runtime.stores.warehouse.session() as session:
        return Kept(
            source_clock=await read_source_clock(session),
            counts=await read_counts(session),
            counts_missing=await counts_are_missing(session),
            dead_letters=tuple(await list_dead_letters(session, limit=LETTERS_SHOWN_MAX)),
            refused_deliveries=tuple(await list_refused(session, limit=LETTERS_SHOWN_MAX)),
            unknown_objectives=unknown,
        )


async def _look_at_source(runtime: Runtime) -> bool:
    """Brings the pending changes up to date; False when the FHIR server's database is away."""
    try:
        await runtime.require_source()
    except StoreError as error:
        if error.code != "source_unavailable":
            raise
        return False
    await runtime.check_source()
    return True


def _show_letters(letters: Sequence[DeadLetter]) -> None:
    """The resources that views lack; the first of them when there are many."""
    if letters:
        rows = [
            [one.view, f"{one.resource_type}/{one.id}", one.column, one.reason] for one in letters
        ]
        console().print(table(["view", "lacks", "column", "because of"], rows))


def _show_refused(letters: Sequence[RefusedDelivery]) -> None:
    """What subscriptions delivered and could not be taken; the newest when there are many."""
    if letters:
        rows = [
            [f"{one.received_at:%Y-%m-%d %H:%M:%S}", one.code, one.resource_type, one.size_bytes]
            for one in letters
        ]
        console().print(table(["refused delivery, UTC", "because of", "type", "bytes"], rows))


def _show(snapshot: Snapshot, *, source_up: bool) -> None:
    out = console()
    stores = {"source": source_up, "warehouse": snapshot.warehouse_up, "redis": snapshot.redis_up}
    out.print(", ".join(f"{name} {'up' if up else 'down'}" for name, up in stores.items()))
    if not snapshot.views:
        out.print("no view is materialised yet; run `researchflow refresh`")
        return
    newest = max(snapshot.views, key=lambda state: state.anchor or 0)
    out.print(f"anchor {newest.anchor}, data as of {newest.data_as_of:%Y-%m-%d %H:%M:%S} UTC")
    rows = [
        [
            state.view,
            state.resource_type,
            state.pending,
            state.staleness_s(snapshot.taken_at),
            state.dead_letters,
        ]
        for state in snapshot.views
    ]
    out.print(table(["view", "resource", "pending", "staleness s", "dead letters"], rows))
    for one in snapshot.set_aside:
        as_of = f"as of anchor {one.after_anchor}" if one.after_anchor else "not materialised"
        out.print(f'view "{one.view}" is set aside, {as_of}: it {one.reason}')
    waiting = sum(part.entries for part in snapshot.overlay)
    out.print(f"{waiting:,} changes wait in the speed layer")
    for line in feed_lines(snapshot.feeds, snapshot.left_at):
        out.print(line)
