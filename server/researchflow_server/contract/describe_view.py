"""`describe_view`: its arguments and result."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from researchflow_server.contract.base import Detailed, Output

DESCRIBE_VIEW = "describe_view"


class DescribeViewInput(Detailed):
    """One view; `definition` and `sql` are for those who approve what runs.

    `profile` tells what the columns hold at the current anchor.
    """

    view: str
    show: Literal["columns", "profile", "definition", "sql"] = "columns"


class DescribeViewOutput(Output):
    """A view's columns and how fresh its rows are.

    One row per column of the view: its FHIR type and, in `sql_type`, PostgreSQL's (`jsonb` for
    lists and whole elements), whether it is a list, its description and its code system. A
    concise answer writes a list as `type[]`, has no `sql_type`, no column that is empty in every
    row, and of the rest what is not as the defaults here say.

    `parameters` tells what query_view must give a view that takes some: the type of each, with
    its author's words; with a ViewDefinition's SQL it lists the values that are bound there.

    A profile has other columns, of the `view_rows` rows at the anchor: nulls, distinct values, the
    least and the most, `top` as `[value, rows]` or `[code, rows, display]`, and for numbers with
    a unit `units` as `[unit, rows, least, most]`; of several units there is no overall least and
    most. A long text is cut and says its length.
    """

    view: str
    resource: str | None = None
    reads: list[str] | None = None
    description: str | None = None
    expires_at: str | None = None
    rows_per_resource: Literal["one", "many"] | None = None
    columns: list[str]
    rows: list[list[Any]]
    materialized: bool = True
    anchor: int | None = None
    data_as_of: str | None = None
    pending: int | None = None
    dead_letters: int | None = None
    definition: dict[str, Any] | None = None
    sql: str | None = None
    parameters: dict[str, str] | list[Any] | None = None
    view_rows: int | None = None
    warnings: list[str] = Field(default_factory=list)
