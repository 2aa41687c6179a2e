"""What the contracts of all tools share: strict inputs, outputs that may grow, errors, tables."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from researchflow_runners.query.strict import Strict


class Input(Strict):
    """Arguments of a tool."""


Detail = Literal["concise", "full"]


class Detailed(Input):
    """Arguments of a tool that answers: how much of the answer is told.

    `concise` leaves out what is as usual, `full` nothing.
    """

    detail: Detail = "concise"


class Output(BaseModel):
    """Outputs may grow: a client ignores what it does not know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ErrorInfo(Output):
    """Why a call failed and what to change; `retryable` means the same call may succeed later.

    `allowed_more` counts what is allowed beside what is listed.
    """

    code: str
    message: str
    field: str | None = None
    allowed: list[str] = Field(default_factory=list)
    allowed_more: int = 0
    did_you_mean: str | None = None
    span: tuple[int, int] | None = None
    retryable: bool = False
    hint: str = ""


class ToolFailure(Output):
    """Structured content of a failed call."""

    error: ErrorInfo


class Table(Output):
    """Rows without repeated names: `rows[i][j]` belongs to `columns[j]`."""

    columns: list[str]
    rows: list[list[Any]]
