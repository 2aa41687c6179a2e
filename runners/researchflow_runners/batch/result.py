"""What a refresh tells: its progress while it runs, its result when it is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from researchflow_runners.batch.counts import TypeCount
from researchflow_runners.store.set_aside import Failure

Phase = Literal["compare", "build", "compute", "publish"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One step done: `done` of `total` steps, `view` when the step is about one."""

    phase: Phase
    done: int
    total: int
    view: str | None = None


ProgressCallback = Callable[[Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ViewRefresh:
    """What one view gained and lost; `built` when its tables were made anew."""

    name: str
    built: bool
    rows_added: int
    rows_closed: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """One refresh that went well.

    `published` says that there is a new anchor; without it nothing had changed, and `anchor` with
    its `data_as_of` is the one that still holds. Either is known to be complete up to
    `checked_at`. `set_aside` are the views that could not be computed. `counts` compares the
    source with the ledger; none where a feed told the changes and the last count is recent, and
    where that could not be stored any more: `counts_error` is why.
    """

    run_id: int
    published: bool
    anchor: int
    data_as_of: datetime
    checked_at: datetime
    changed: int
    views: tuple[ViewRefresh, ...]
    retired: tuple[str, ...]
    set_aside: tuple[Failure, ...]
    overlay_dropped: int
    counts: tuple[TypeCount, ...]
    counts_error: str | None
    duration_s: float
    phases_s: Mapping[Phase, float]
