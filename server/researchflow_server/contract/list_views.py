"""`list_views`: its arguments and result."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from researchflow_server.contract.base import Detailed, Table

LIST_VIEWS = "list_views"


class ListViewsInput(Detailed):
    """No arguments beyond the optional resource type."""

    resource: str | None = Field(default=None, description="FHIR type")


class ListViewsOutput(Table):
    """One row per view, by name; `data_as_of` is null while a view is not materialised.

    A concise answer has three columns, of a description its first sentence, the date that most
    views share, and in `unusual`, by view, what is not so: another date, pending changes, dead
    letters, not materialised, set aside, the parameters that it takes.
    """

    row_count: int
    data_as_of: str | None = None
    unusual: dict[str, dict[str, Any]] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
