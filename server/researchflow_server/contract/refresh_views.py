"""`refresh_views`: its arguments and result."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from researchflow_server.contract.base import Input, Output

REFRESH_VIEWS = "refresh_views"
REFRESH_WAIT_MAX_S = 45.0
REFRESH_WAIT_DEFAULT_S = 40.0


RefreshStatus = Literal["running", "published", "unchanged", "failed", "cancelled"]


class RefreshViewsInput(Input):
    """Starts a refresh and waits for it; ask again with the `run_id` of one that is running.

    `cancel` ends the one that runs, a registration or a drop too, of whichever process.
    """

    wait_s: float = Field(default=REFRESH_WAIT_DEFAULT_S, ge=0, le=REFRESH_WAIT_MAX_S)
    run_id: int | None = None
    cancel: bool = False


class RefreshViewsOutput(Output):
    """How a refresh went: `published` with its new anchor, `unchanged` when the last one still
    holds, `failed`, `cancelled` or still `running`."""

    run_id: int
    status: RefreshStatus
    anchor: int | None = None
    data_as_of: str | None = None
    changed: int | None = None
    duration_s: float | None = None
    error_code: str | None = None
    warnings: list[str] = Field(default_factory=list)
