"""A zone that cannot be the source's is noticed, and one that can is never blamed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from researchflow_runners.source.clock import CHANGES_BEHIND, SourceClock, looked

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
ZONES = ["America/New_York", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]


def as_read(made_at: datetime, *, written_in: str, read_in: str) -> datetime:
    """The instant that a date means when it is read in another zone than it was written in."""
    local = made_at.astimezone(ZoneInfo(written_in)).replace(tzinfo=None)
    return local.replace(tzinfo=ZoneInfo(read_in)).astimezone(UTC)


def history(
    *, written_in: str, read_in: str, ages_s: list[float], every_s: float = 30.0
) -> Iterator[SourceClock]:
    """The clock after each look; before each but the first a change of that age is committed."""
    at = START
    clock = looked(None, zone=read_in, looked_at=at, newest_at=None)
    newest: datetime | None = None
    for age_s in ages_s:
        at += timedelta(seconds=every_s)
        date = as_read(at - timedelta(seconds=age_s), written_in=written_in, read_in=read_in)
        newest = date if newest is None else max(newest, date)
        clock = looked(clock, zone=read_in, looked_at=at, newest_at=newest)
        yield clock


@pytest.mark.parametrize(
    ("written_in", "read_in", "hours"),
    [
        ("Europe/Berlin", "UTC", 1),
        ("Asia/Kathmandu", "UTC", 5.75),
        ("UTC", "America/New_York", 4),
        ("Pacific/Kiritimati", "Pacific/Pago_Pago", 25),
    ],
)
def test_server_east_of_the_zone_is_noticed_at_the_first_change(
    written_in: str, read_in: str, hours: float
) -> None:
    (clock,) = history(written_in=written_in, read_in=read_in, ages_s=[2.0])
    assert (clock.verdict, clock.offset_s) == ("ahead", hours * 3600)
    assert not clock.is_proved


@pytest.mark.parametrize(
    ("written_in", "read_in", "hours"),
    [("America/New_York", "UTC", 4), ("UTC", "Asia/Kathmandu", 5.75), ("UTC", "Europe/Berlin", 1)],
)
def test_server_west_of_the_zone_is_noticed_after_some_changes(
    written_in: str, read_in: str, hours: float
) -> None:
    clocks = list(history(written_in=written_in, read_in=read_in, ages_s=[2.0] * CHANGES_BEHIND))
    assert [clock.verdict for clock in clocks[:-1]] == [None] * (CHANGES_BEHIND - 1)
    assert (clocks[-1].verdict, clocks[-1].offset_s) == ("behind", hours * 3600)
    assert not any(clock.is_proved for clock in clocks)


@given(
    st.sampled_from(ZONES),
    st.lists(st.floats(0, 20_000), min_size=1, max_size=40),
    st.sampled_from([1.0, 30.0, 300.0, 3_600.0]),
)
def test_right_zone_is_not_blamed_whatever_requests_take(
    zone: str, ages_s: list[float], every_s: float
) -> None:
    rng = random.Random(len(ages_s))
    ages_s = [age_s if rng.random() < 0.5 else 1.0 for age_s in ages_s]
    for clock in history(written_in=zone, read_in=zone, ages_s=ages_s, every_s=every_s):
        assert clock.verdict is None


def test_dates_are_believed_from_the_first_change_between_two_near_looks() -> None:
    (clock,) = history(written_in="UTC", read_in="UTC", ages_s=[2.0])
    assert clock.is_proved


def test_change_between_two_far_looks_proves_nothing() -> None:
    (clock,) = history(written_in="UTC", read_in="UTC", ages_s=[2.0], every_s=3_600)
    assert not clock.is_proved


def test_proof_lapses_after_a_day_without_changes() -> None:
    (clock,) = history(written_in="UTC", read_in="UTC", ages_s=[2.0])
    later = clock.looked_at + timedelta(hours=25)
    again = looked(clock, zone="UTC", looked_at=later, newest_at=clock.newest_at)
    assert not again.is_proved


def test_zone_that_was_right_until_the_clocks_were_put_forward_is_noticed() -> None:
    ages_s = [2.0] * 30
    *_before, clock = history(
        written_in="Europe/London", read_in="UTC", ages_s=ages_s, every_s=1_800.0
    )
    assert (clock.verdict, clock.offset_s) == ("ahead", 3_600)


def test_corrected_zone_starts_anew() -> None:
    (clock,) = history(written_in="Europe/Berlin", read_in="UTC", ages_s=[2.0])
    right = looked(
        clock,
        zone="Europe/Berlin",
        looked_at=clock.looked_at,
        newest_at=clock.looked_at - timedelta(seconds=2),
    )
    assert right.verdict is None


def test_server_whose_clock_was_corrected_is_believed_again() -> None:
    (clock,) = history(written_in="Europe/Berlin", read_in="UTC", ages_s=[2.0])
    assert clock.newest_at is not None
    quiet = looked(
        clock,
        zone="UTC",
        looked_at=clock.newest_at + timedelta(minutes=1),
        newest_at=clock.newest_at,
    )
    assert quiet.verdict == "ahead"
    fresh_at = quiet.looked_at + timedelta(seconds=30)
    fresh = looked(quiet, zone="UTC", looked_at=fresh_at, newest_at=fresh_at)
    assert fresh.verdict is None
    assert fresh.is_proved


def test_look_that_comes_late_changes_nothing() -> None:
    (clock,) = history(written_in="UTC", read_in="UTC", ages_s=[2.0])
    late = looked(clock, zone="UTC", looked_at=START, newest_at=None)
    assert late == clock
