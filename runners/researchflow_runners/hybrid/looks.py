"""What is looked into beside an answer: what its filters hide, and what it is told of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from researchflow_runners.hybrid.absent import Absent
from researchflow_runners.hybrid.compared_units import ComparedUnits
from researchflow_runners.hybrid.comparisons import compared_in
from researchflow_runners.hybrid.partial_dates import PartialDates
from researchflow_runners.hybrid.undecided import undecided
from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.model import Query
from researchflow_runners.query.rows import Relations
from researchflow_runners.query.statement import Page
from researchflow_runners.store.database import Session


@dataclass(frozen=True, slots=True)
class Ground:
    """What rows are read, on the day `on`.

    `state` tells the anchor and the definitions, None where they are not the same twice;
    `has_more` says that changes wait that no anchor has.
    """

    catalogue: Catalogue
    relations: Relations
    on: date
    state: str | None
    has_more: bool


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks, with what each remembers."""

    absent: Absent = field(default_factory=Absent)
    units: ComparedUnits = field(default_factory=ComparedUnits)
    dates: PartialDates = field(default_factory=PartialDates)

    async def warnings(
        self, session: Session, query: Query, page: Page, ground: Ground
    ) -> tuple[str, ...]:
        """A sentence for each thing found; only a question's first page is looked into."""
        if query.cursor is not None:
            return ()
        catalogue, relations, on = ground.catalogue, ground.relations, ground.on
        # Changes come and go without another anchor: what they may alter is not remembered.
        rows = None if ground.has_more else ground.state
        compared = compared_in(query, catalogue, relations)
        return (
            *await self.absent.warnings(
                session, query, page, catalogue, relations, state=ground.state, on=on
            ),
            *await undecided(session, query, catalogue, relations),
            *await self.units.warnings(
                session, compared, catalogue, relations, anchor=ground.state, state=rows, on=on
            ),
            *await self.dates.warnings(
                session, compared, catalogue, relations, anchor=ground.state, state=rows, on=on
            ),
        )
