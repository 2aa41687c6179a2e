"""The product survives whatever happens to it, in any order: killed, stopped, emptied, told lies.

The quick run is one short history. `SURVIVAL_RUNS=200 SURVIVAL_STEPS=40 pytest -s` of this file
plays that many, each from a seed that it prints; `SURVIVAL_SEED=N` begins with that one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from survival import State, World, open_world

RUNS = int(os.environ.get("SURVIVAL_RUNS", "1"))
STEPS = int(os.environ.get("SURVIVAL_STEPS", "10"))
FIRST_SEED = int(os.environ.get("SURVIVAL_SEED", "20"))

names = st.sampled_from(["s0", "s1", "s2", "s3"])
agents = st.sampled_from(["a1", "a2"])
states = st.tuples(
    st.sampled_from(["female", "male"]), st.sampled_from(["1970-01-01", "1980-02-02"])
)
own: st.SearchStrategy[State] = st.one_of(st.none(), states)


class Survival(RuleBasedStateMachine):
    """What may happen in a hospital's day."""

    portal: BlockingPortal
    #: Hypothesis begins with the simplest history, one step again and again: not worth a world.
    is_rehearsed = False

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        if not self.is_rehearsed:
            type(self).is_rehearsed = True
            return
        self._directory = Path(tempfile.mkdtemp(prefix="rf-"))
        self._directory.chmod(0o711)
        self._opened = self.portal.wrap_async_context_manager(open_world(self._directory))
        self.world = self._opened.__enter__()

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            self.do(World.settle)
        finally:
            self._opened.__exit__(None, None, None)
            print(*self.world.log, sep="\n")  # noqa: T201
            shutil.rmtree(self._directory)

    def do(self, step: Callable[..., Awaitable[None]], *given: Any) -> None:
        if self.world is not None:
            self.world.log.append(f"{step.__name__}{given}")
            self.portal.call(step, self.world, *given)

    @rule(name=names, state=states)
    def server_stores(self, name: str, state: tuple[str, str]) -> None:
        self.do(World.put, name, state)

    @rule(name=names)
    def server_deletes(self, name: str) -> None:
        self.do(World.delete, name)

    @rule(name=names)
    def server_expunges(self, name: str) -> None:
        self.do(World.expunge, name)

    @rule(name=names, other=names, state=states)
    def server_stores_beside_a_long_transaction(
        self, name: str, other: str, state: tuple[str, str]
    ) -> None:
        self.do(World.put_late, name, state, other)

    @rule(name=names, state=own, times=st.integers(0, 2))
    def delivery_arrives(self, name: str, state: State, times: int) -> None:
        self.do(World.deliver, name, state, times)

    @rule(name=agents, state=own)
    def agent_inserts(self, name: str, state: State) -> None:
        self.do(World.insert, name, state)

    @rule(name=agents)
    def what_an_agent_inserted_expires(self, name: str) -> None:
        self.do(World.expire, name)

    @rule()
    def somebody_asks(self) -> None:
        self.do(World.look)

    @rule()
    def somebody_refreshes(self) -> None:
        self.do(World.refresh)

    @rule()
    def two_refresh(self) -> None:
        self.do(World.refreshers_together)

    @rule()
    def refresher_is_killed(self) -> None:
        self.do(World.refresher_killed)

    @rule()
    def server_is_killed(self) -> None:
        self.do(World.server_killed)

    @rule()
    def postgres_is_killed(self) -> None:
        self.do(World.postgres_killed)

    @rule()
    def redis_is_killed(self) -> None:
        self.do(World.redis_killed)

    @rule()
    def redis_is_flushed(self) -> None:
        self.do(World.redis_flushed)

    @rule()
    def redis_is_backed_up(self) -> None:
        self.do(World.redis_kept)

    @rule()
    def redis_is_restored(self) -> None:
        self.do(World.redis_restored)

    @rule(what=st.sampled_from(["postgres", "redis", "server"]), name=agents, state=own)
    def something_hangs(self, what: str, name: str, state: State) -> None:
        self.do(World.stopped, what, name, state)


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as opened:
        yield opened


@pytest.mark.parametrize("number", range(FIRST_SEED, FIRST_SEED + RUNS))
def test_whatever_happens_live_equals_the_truth(portal: BlockingPortal, number: int) -> None:
    print(f"seed {number}")  # noqa: T201
    machine = type("Survival", (Survival,), {"portal": portal})
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
