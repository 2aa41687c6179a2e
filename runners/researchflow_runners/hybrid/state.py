"""What one snapshot answers from, for whoever reads more in it than the answer's rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias, TypeVar

from researchflow_runners.hybrid.answerable import AnswerableViews
from researchflow_runners.query.columns import Catalogue
from researchflow_runners.query.model import Query
from researchflow_runners.query.rows import Relations
from researchflow_runners.store.database import Session

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class State:
    """The session of the snapshot, the views as the state asked for holds them, and the query.

    The query's relative dates are days already; `today` is the day that ages are told for.
    """

    session: Session
    query: Query
    views: AnswerableViews
    catalogue: Catalogue
    relations: Relations
    today: date


Beside: TypeAlias = Callable[[State], Awaitable[T]]


async def nothing(_state: State) -> None:
    """Reads nothing beside the answer."""
