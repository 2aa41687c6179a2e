"""`drop_view`: its arguments and result."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from researchflow_server.contract.base import Input, Output

DROP_VIEW = "drop_view"


class DropViewInput(Input):
    """A registered view to drop; the views that come with the product stay."""

    view: str


class DropViewOutput(Output):
    """What is gone, or the refresh that drops it: it is gone once that is published."""

    view: str
    status: Literal["running", "dropped", "failed", "cancelled"]
    run_id: int | None = None
    anchor: int | None = None
    warnings: list[str] = Field(default_factory=list)
