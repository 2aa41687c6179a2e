"""`validate_view`: its arguments and result."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from researchflow_server.contract.base import Input, Table

VALIDATE_VIEW = "validate_view"


class ValidateViewInput(Input):
    """A definition to check; nothing is stored."""

    definition: dict[str, Any] = Field(description="As register_view takes it")


class ValidateViewOutput(Table):
    """One row per column of the view that the definition makes.

    `replaces` says that a view of this name was registered; `unchanged` that it is this one.
    `tried` counts the newest resources, or of SQL the first rows, over which it was computed, and
    `failing` the resources that would be left out; `warnings` say why, with counts and columns.
    """

    view: str
    resource: str | None
    rows_per_resource: Literal["one", "many"] | None
    replaces: bool
    unchanged: bool
    tried: int = 0
    failing: int | None = None
    warnings: list[str] = Field(default_factory=list)
