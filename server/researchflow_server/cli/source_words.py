"""What the source looks like, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from researchflow_runners.batch.counts import TypeCount
from researchflow_runners.source.clock import SourceClock
from researchflow_runners.source.findings import SourceFindings

COUNTS_MISSING = (
    "source and ledger were not compared after the last refresh that was to; the next one does it"
)


def source_lines(
    found: SourceFindings, clock: SourceClock | None, counts: Sequence[TypeCount]
) -> list[str]:
    """Lines for people: the database, how it is read, its clock, its counts."""
    return [*_database_lines(found), *_clock_lines(clock), *_count_lines(counts)]


def _database_lines(found: SourceFindings) -> Iterator[str]:
    replica = ", a replica" if found.is_replica else ""
    mode = ", partition mode" if found.is_partition_mode else ""
    contents = " and ".join(found.contents)
    yield f"source: PostgreSQL {found.server_version}{replica}{mode}"
    yield f"  ids in {found.ids}, contents in {contents}, zone {found.zone}"
    about = "" if found.sampled_percent == 100 else f" (of {found.sampled_percent} % of the rows)"
    yield f"  versions by encoding{about}: {_numbers(found.encodings)}"
    chosen = f", read: {', '.join(found.read_partitions)}" if found.read_partitions else ""
    yield f"  resources by partition{about}: {_numbers(found.partitions)}{chosen}"
    yield f"  definitions: {_numbers(found.tags)}"
    if found.base_urls:
        yield f"  its own addresses: {', '.join(found.base_urls)}"


def _clock_lines(clock: SourceClock | None) -> Iterator[str]:
    if clock is None or clock.verdict is None or clock.offset_s is None:
        return
    yield (
        f"source_zone_wrong: its dates lie {clock.offset_s / 3600:g} h {clock.verdict} when read "
        f'as "{clock.zone}"; set RESEARCHFLOW_SOURCE_ZONE to the zone of the FHIR server, or '
        "correct its clock"
    )


def _count_lines(counts: Sequence[TypeCount]) -> Iterator[str]:
    if not counts:
        return
    differing = [one for one in counts if not one.agrees]
    at = max(one.counted_at for one in counts)
    when = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    if not differing:
        total = sum(one.in_source for one in counts)
        yield f"counts agree: {total:,} resources of {len(counts)} types, at {when}"
    for one in differing:
        if one.in_source == one.in_ledger:
            yield (
                f"versions or tags differ: some {one.resource_type} is another in the ledger "
                f"than in the source, at {when}; the next refresh compares all of them"
            )
            continue
        yield (
            f"counts differ: {one.resource_type} has {one.in_source:,} in the source and "
            f"{one.in_ledger:,} in the ledger, at {when}; the next refresh compares all of them"
        )


def count_words(counts: Sequence[TypeCount]) -> list[str]:
    """The counts alone, as a refresh tells them."""
    return list(_count_lines(counts))


def _numbers(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items()) or "none"
