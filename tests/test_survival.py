"""The product survives whatever happens to it, in any order: killed, stopped, emptied, told lies.

The quick run is one short history. `SURVIVAL_RUNS=200 SURVIVAL_STEPS=40 pytest -s` of this file
plays that many, each from a seed that it prints; `SURVIVAL_SEED=N` begins with that one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

import survival_faults as faults
from hospital import TAG_IDS, Hospital, State
from survival import KINDS, World
from survival_home import furnish, open_world

RUNS = int(os.environ.get("SURVIVAL_RUNS", "1"))
STEPS = int(os.environ.get("SURVIVAL_STEPS", "12"))
FIRST_SEED = int(os.environ.get("SURVIVAL_SEED", "20"))

names = st.sampled_from(["s0", "s1", "s2", "s3"])
agents = st.sampled_from(["a1", "a2"])
tags = st.sampled_from(list(TAG_IDS))
phases = st.sampled_from(["compare", "build", "compute", "publish"])
states = st.tuples(
    st.sampled_from(["female", "male"]), st.sampled_from(["1970-01-01", "1980-02-02"])
)
own: st.SearchStrategy[State] = st.one_of(st.none(), states)


class Survival(RuleBasedStateMachine):
    """What may happen in a hospital's day."""

    portal: BlockingPortal
    furnished: Path
    #: Hypothesis begins with the simplest history, one step again and again: not worth a world.
    is_rehearsed = False

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.played: Counter[str] = Counter()
        if not self.is_rehearsed:
            type(self).is_rehearsed = True
            return
        self._directory = _short_directory()
        started = time.monotonic()
        self._opened = self.portal.wrap_async_context_manager(
            open_world(self.furnished, self._directory)
        )
        self.world = self._opened.__enter__()
        self.world.log.append(f"opened {time.monotonic() - started:.2f} s")

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            self.do(World.settle)
        finally:
            self._opened.__exit__(None, None, None)
            print(*self.world.log, sep="\n")  # noqa: T201
            print("played", *(f"{name}={n}" for name, n in sorted(self.played.items())))  # noqa: T201
            shutil.rmtree(self._directory)

    def do(self, step: Callable[..., Awaitable[None]], *given: Any) -> None:
        if self.world is None:
            return
        world = self.world.hospital if step.__qualname__.startswith("Hospital") else self.world
        self.played[step.__name__] += 1
        self.world.log.append(f"{step.__name__}{given}")
        started = time.monotonic()
        self.portal.call(step, world, *given)
        self.world.log[-1] += f" {time.monotonic() - started:.2f} s"

    @rule(name=names, state=states)
    def server_stores(self, name: str, state: tuple[str, str]) -> None:
        self.do(Hospital.put, name, state)

    @rule(name=names)
    def server_deletes(self, name: str) -> None:
        self.do(Hospital.delete, name)

    @rule(name=names)
    def server_expunges(self, name: str) -> None:
        self.do(Hospital.expunge, name)

    @rule(name=names, tag=tags)
    def server_adds_a_tag(self, name: str, tag: str) -> None:
        self.do(Hospital.add_tag, name, tag)

    @rule(name=names, tag=tags)
    def server_removes_a_tag(self, name: str, tag: str) -> None:
        self.do(Hospital.remove_tag, name, tag)

    @rule(name=names, state=own, other=names, tag=tags)
    def server_commits_late(self, name: str, state: State, other: str, tag: str) -> None:
        self.do(faults.put_late, name, state, other, tag)

    @rule(name=names, picked=st.lists(st.integers(0, 9), max_size=4), late=st.booleans())
    def deliveries_arrive(self, name: str, picked: list[int], late: bool) -> None:
        self.do(faults.deliver, name, picked, 24 * late)

    @rule(name=names, state=states)
    def delivery_meets_a_change(self, name: str, state: tuple[str, str]) -> None:
        self.do(faults.deliver_while_it_changes, name, state)

    @rule(name=agents, state=own)
    def agent_inserts(self, name: str, state: State) -> None:
        self.do(World.insert, name, state)

    @rule(name=agents)
    def what_an_agent_inserted_expires(self, name: str) -> None:
        self.do(faults.expire, name)

    @rule(kind=st.sampled_from(list(KINDS)))
    def view_is_defined_anew(self, kind: str) -> None:
        self.do(World.register, kind)

    @rule()
    def somebody_asks(self) -> None:
        self.do(World.look)

    @rule()
    def somebody_asks_for_anchors(self) -> None:
        self.do(World.look_back)

    @rule()
    def all_is_quiet(self) -> None:
        self.do(World.see)

    @rule()
    def somebody_refreshes(self) -> None:
        self.do(World.refresh)

    @rule(name=names, state=states)
    def scheduler_refreshes(self, name: str, state: tuple[str, str]) -> None:
        self.do(faults.scheduler_publishes, name, state)

    @rule()
    def two_refresh(self) -> None:
        self.do(faults.refreshers_together)

    @rule(name=names, state=states)
    def second_refresher_works(self, name: str, state: tuple[str, str]) -> None:
        self.do(faults.second_refresher, name, state)

    @rule()
    def refresher_is_killed(self) -> None:
        self.do(faults.refresher_killed)

    @rule(phase=phases, name=names, state=states)
    def refresher_is_killed_at(self, phase: str, name: str, state: tuple[str, str]) -> None:
        self.do(faults.refresher_killed_at, phase, name, state)

    @rule(phase=phases, name=names, state=states, is_cut=st.booleans())
    def refresher_hangs_at(
        self, phase: str, name: str, state: tuple[str, str], is_cut: bool
    ) -> None:
        self.do(faults.refresher_stopped_at, phase, name, state, is_cut)

    @rule(counts_s=st.sampled_from([3.0, 24 * 3600.0]))
    def server_is_killed(self, counts_s: float) -> None:
        self.do(faults.server_killed, counts_s)

    @rule()
    def anchor_is_pinned(self) -> None:
        self.do(faults.anchor_pinned)

    @rule()
    def anchors_expire(self) -> None:
        self.do(faults.anchors_expire)

    @rule()
    def postgres_is_killed(self) -> None:
        self.do(faults.postgres_killed)

    @rule()
    def redis_is_killed(self) -> None:
        self.do(faults.redis_killed)

    @rule()
    def redis_is_flushed(self) -> None:
        self.do(faults.redis_flushed)

    @rule()
    def redis_is_backed_up(self) -> None:
        self.do(faults.redis_kept)

    @rule()
    def redis_is_restored(self) -> None:
        self.do(faults.redis_restored)

    @rule(what=st.sampled_from(["postgres", "redis", "server"]), name=agents, state=own)
    def something_hangs(self, what: str, name: str, state: State) -> None:
        self.do(faults.hangs, what, name, state)


def _short_directory() -> Path:
    """One that PostgreSQL's account can enter: a socket's path has a limit."""
    directory = Path(tempfile.mkdtemp(prefix="rf-"))
    directory.chmod(0o711)
    return directory


@pytest.fixture(scope="module")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as opened:
        yield opened


@pytest.fixture(scope="module")
def furnished(portal: BlockingPortal) -> Iterator[Path]:
    directory = _short_directory()
    portal.call(furnish, directory)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("number", range(FIRST_SEED, FIRST_SEED + RUNS))
def test_whatever_happens_live_equals_the_truth(
    portal: BlockingPortal, furnished: Path, number: int
) -> None:
    print(f"seed {number}")  # noqa: T201
    machine = type("Survival", (Survival,), {"portal": portal, "furnished": furnished})
    run_state_machine_as_test(
        seed(number)(machine),
        settings=settings(
            max_examples=2,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=False,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
