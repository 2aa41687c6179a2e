"""Random histories of changes, refreshes, pins and retention: what is kept reads as it did.

The model remembers what each anchor showed when it was published, and which anchors may go. The
seed names the history.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from researchflow_runners.batch.anchors import pin_anchor, unpin
from researchflow_runners.batch.retention import Retention, expire_anchors, expire_up_to
from researchflow_runners.batch.verify import verify_anchor
from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.hybrid.runner import HybridRunner
from researchflow_runners.query.model import Query
from warehouse import NAMES, PEOPLE, PEOPLE_ACTIVE, Warehouse, open_warehouse, patient

#: What an anchor shows of a view: its rows, and how many resources it lacks.
Shown = tuple[list[Any], int | None]

#: range(60) was played too.
SEEDS = range(2)
STEPS = 30
FOREVER = timedelta(days=1)
DEFINITIONS = ([PEOPLE], [PEOPLE, NAMES], [PEOPLE_ACTIVE], [NAMES, PEOPLE_ACTIVE])


@dataclass
class Generation:
    """A view's tables, from the anchor that made them to the one that has others."""

    name: str
    since: int
    until: int | None = None

    def covers(self, anchor: int) -> bool:
        return self.since <= anchor and (self.until is None or anchor < self.until)


@dataclass
class Model:
    """What must be true: `past` has what each anchor showed by view, as it was the current one."""

    past: dict[int, dict[str, Shown]] = field(default_factory=dict)
    readable: set[int] = field(default_factory=set)
    pins: dict[str, int] = field(default_factory=dict)
    definition: int = 0
    generations: list[Generation] = field(default_factory=list)

    def replace(self, name: str, anchor: int) -> None:
        """From this anchor on the view has other tables, or none."""
        for one in self.generations:
            if one.name == name and one.until is None:
                one.until = anchor
        self.let_go()

    def let_go(self) -> None:
        """Former tables are kept for as long as a pin needs them."""
        self.generations = [
            one
            for one in self.generations
            if one.until is None or any(one.covers(anchor) for anchor in self.pins.values())
        ]

    def holds(self, name: str, anchor: int) -> bool:
        """Whether the view can be read at the anchor."""
        return any(one.name == name and one.covers(anchor) for one in self.generations)


class History:
    """Plays steps on a warehouse and keeps the model."""

    def __init__(self, house: Warehouse, seed: int) -> None:
        self.house = house
        self.draw = random.Random(seed)
        self.model = Model()
        self.runner = HybridRunner(house.database, None, cursor_key=b"key" * 8)
        self.steps: list[Callable[[], Any]] = [
            *[self.change] * 4,
            *[self.refresh] * 5,
            self.redefine,
            *[self.pin] * 2,
            self.unpin,
            self.expire,
            self.expire_up_to,
        ]

    async def shown(self, view: str, as_of: int | str | None = None) -> Shown:
        asked = {"view": view, "as_of": as_of, "freshness": "anchored"}
        answer = await self.runner.query(Query.model_validate(asked))
        return sorted(answer.rows, key=repr), answer.missing_resources

    async def change(self) -> None:
        name = self.draw.choice("abcde")
        kind = self.draw.random()
        if kind < 0.2:
            await self.house.put(patient(name))
            await self.house.delete(f"Patient/{name}")
        elif kind < 0.3:
            await self.house.put(patient(name))
            await self.house.expunge(f"Patient/{name}")
        else:
            families: list[dict[str, Any]] = [
                {"family": self.draw.choice("xyz")} for _at in range(self.draw.randint(0, 2))
            ]
            if kind > 0.8:
                families += [{"given": ["two", "texts"]}]
            more = {
                "gender": self.draw.choice(["female", "male", "other"]),
                "birthDate": self.draw.choice(["1980", "1981-02", "soon"]),
            }
            await self.house.put(patient(name, name=families, active=True, **more))

    async def refresh(self) -> None:
        model = self.model
        definitions = DEFINITIONS[model.definition]
        published = await self.house.refresh(definitions)
        if published.anchor in model.past:
            return
        for name in (*(view.name for view in published.views if view.built), *published.retired):
            model.replace(name, published.anchor)
        model.generations += [
            Generation(view.name, published.anchor) for view in published.views if view.built
        ]
        shown = {view.name: await self.shown(view.name) for view in published.views}
        model.past[published.anchor] = shown
        model.readable.add(published.anchor)

    async def redefine(self) -> None:
        self.model.definition = self.draw.randrange(len(DEFINITIONS))
        await self.refresh()

    async def pin(self) -> None:
        if self.model.readable:
            name = f"pin{self.draw.randrange(10_000)}"
            anchor = self.draw.choice(sorted(self.model.readable))
            await pin_anchor(self.house.database, name, anchor)
            self.model.pins[name] = anchor

    async def unpin(self) -> None:
        if self.model.pins:
            name = self.draw.choice(sorted(self.model.pins))
            assert await unpin(self.house.database, name) == self.model.pins.pop(name)
            self.model.let_go()

    async def expire(self) -> None:
        if self.model.past:
            keep = self.draw.randint(1, 4)
            await expire_anchors(self.house.database, Retention(FOREVER, keep))
            self._give_up(max(self.model.past) - keep)

    async def expire_up_to(self) -> None:
        model = self.model
        free = sorted(model.readable - set(model.pins.values()) - {max(model.past, default=0)})
        if free:
            anchor = self.draw.choice(free)
            await expire_up_to(self.house.database, anchor)
            self._give_up(anchor)

    def _give_up(self, anchor: int) -> None:
        pinned = set(self.model.pins.values())
        self.model.readable -= {one for one in self.model.readable if one <= anchor} - pinned

    async def check(self) -> None:
        """Each anchor reads as it did, or is refused by the name of what took it."""
        model = self.model
        for anchor, views in model.past.items():
            for name, shown in views.items():
                found = await self._shown_or_code(name, anchor)
                if anchor not in model.readable:
                    assert found == "anchor_expired", (name, anchor)
                elif model.holds(name, anchor):
                    assert found == shown, (name, anchor)
                else:
                    assert found in ("anchor_before_view", "unknown_view"), (name, anchor)
        for name, anchor in model.pins.items():
            verdict = await verify_anchor(self.house.database, name)
            held = {view for view in model.past[anchor] if model.holds(view, anchor)}
            assert {one.view for one in verdict.views} == held
            assert verdict.holds

    async def _shown_or_code(self, name: str, anchor: int) -> Shown | str:
        try:
            return await self.shown(name, anchor)
        except ResearchFlowError as error:
            return error.code


@pytest.mark.parametrize("seed", SEEDS)
async def test_kept_anchors_read_as_they_did(postgres_dsn: str, seed: int) -> None:
    async with open_warehouse(postgres_dsn) as house:
        history = History(house, seed)
        await history.refresh()
        for _step in range(STEPS):
            await history.draw.choice(history.steps)()
        await history.check()
