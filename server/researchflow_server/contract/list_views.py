"""`list_views`: its arguments and result."""

from __future__ import annotations

from pydantic import Field

from researchflow_server.contract.base import Input, Table

LIST_VIEWS = "list_views"


class ListViewsInput(Input):
    """No arguments beyond the optional resource type."""

    resource: str | None = Field(default=None, description="FHIR type")


class ListViewsOutput(Table):
    """One row per view, by name; `data_as_of` is null while a view is not materialised."""

    warnings: list[str] = Field(default_factory=list)
