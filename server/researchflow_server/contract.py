"""What a client of the tools may rely on: names, arguments, results and errors.

Pure pydantic. Agents import this module and nothing else of the product. Every result is also
plain JSON of the same shape, in the text block and in the structured content of a tool call.

Values in `rows`: decimals are strings with every digit the record holds, so that no client rounds
them; dates are the text they were written with; instants of the server, and columns whose
`sql_type` is `timestamptz`, end in `+00:00`; bytes are base64. docs/types.md lists every type.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from researchflow_runners.query.model import (
    AgeGroup,
    Aggregate,
    AllOf,
    AnyOf,
    Compare,
    Filter,
    InQuery,
    Not,
    Order,
    Query,
    Scalar,
    SubQuery,
)

__all__ = [
    "CACHE_RESOURCES",
    "DESCRIBE_VIEW",
    "DROP_VIEW",
    "GET_STATISTICS",
    "LIST_VIEWS",
    "QUERY_VIEW",
    "REFRESH_VIEWS",
    "REGISTER_VIEW",
    "TOOL_NAMES",
    "VALIDATE_VIEW",
    "AgeGroup",
    "Aggregate",
    "AllOf",
    "AnyOf",
    "CacheResourcesInput",
    "CacheResourcesOutput",
    "Compare",
    "Degradation",
    "DescribeViewInput",
    "DescribeViewOutput",
    "DropViewInput",
    "DropViewOutput",
    "ErrorInfo",
    "Filter",
    "GetStatisticsInput",
    "GetStatisticsOutput",
    "InQuery",
    "ListViewsInput",
    "Not",
    "Order",
    "Query",
    "QueryViewOutput",
    "RefreshViewsInput",
    "RefreshViewsOutput",
    "RegisterViewInput",
    "RegisterViewOutput",
    "Scalar",
    "SpeedContribution",
    "SubQuery",
    "Table",
    "ToolFailure",
    "ValidateViewInput",
    "ValidateViewOutput",
]

LIST_VIEWS = "list_views"
DESCRIBE_VIEW = "describe_view"
QUERY_VIEW = "query_view"
CACHE_RESOURCES = "cache_resources"
REFRESH_VIEWS = "refresh_views"
GET_STATISTICS = "get_statistics"
VALIDATE_VIEW = "validate_view"
REGISTER_VIEW = "register_view"
DROP_VIEW = "drop_view"
TOOL_NAMES = (
    LIST_VIEWS,
    DESCRIBE_VIEW,
    QUERY_VIEW,
    CACHE_RESOURCES,
    REFRESH_VIEWS,
    GET_STATISTICS,
    VALIDATE_VIEW,
    REGISTER_VIEW,
    DROP_VIEW,
)

CHANGES_MAX = 50
REFRESH_WAIT_MAX_S = 45.0
REFRESH_WAIT_DEFAULT_S = 40.0


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Output(BaseModel):
    """Outputs may grow: a client ignores what it does not know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ErrorInfo(_Output):
    """Why a call failed and what to change; `retryable` means the same call may succeed later."""

    code: str
    message: str
    field: str | None = None
    allowed: list[str] = Field(default_factory=list)
    did_you_mean: str | None = None
    span: tuple[int, int] | None = None
    retryable: bool = False
    hint: str = ""


class ToolFailure(_Output):
    """Structured content of a failed call."""

    error: ErrorInfo


class Table(_Output):
    """Rows without repeated names: `rows[i][j]` belongs to `columns[j]`."""

    columns: list[str]
    rows: list[list[Any]]


class ListViewsInput(_Input):
    """No arguments beyond the optional resource type."""

    resource: str | None = Field(default=None, description="Only views of this FHIR type")


class ListViewsOutput(Table):
    """One row per view, by name; `data_as_of` is null while a view is not materialised."""

    warnings: list[str] = Field(default_factory=list)


class DescribeViewInput(_Input):
    """One view; `definition` and `sql` are for those who approve what runs."""

    view: str
    show: Literal["columns", "definition", "sql"] = Field(
        default="columns", description="definition: ViewDefinition; sql: compiled SELECT"
    )


class DescribeViewOutput(_Output):
    """A view's columns and how fresh its rows are.

    One row per column of the view: its FHIR type and, in `sql_type`, PostgreSQL's (`jsonb` for
    lists and whole elements), whether it is a list, its description and its code system.
    """

    view: str
    resource: str | None
    reads: list[str] | None = None
    description: str | None = None
    rows_per_resource: Literal["one", "many"] | None
    columns: list[str]
    rows: list[list[Any]]
    materialized: bool
    anchor: int | None = None
    data_as_of: str | None = None
    pending: int | None = None
    dead_letters: int | None = None
    definition: dict[str, Any] | None = None
    sql: str | None = None
    parameters: list[Any] | None = None


class SpeedContribution(_Output):
    """What the speed layer did to an answer.

    `entries` changes were waiting that could have touched it, `provisional` of them known only
    from their writer. `rows_removed` is null where counting it would cost more than the answer;
    both counts are null where rows of a composed view were asked.
    """

    enabled: bool
    entries: int = 0
    provisional: int = 0
    rows_added: int | None = 0
    rows_removed: int | None = None


class Degradation(_Output):
    """One way in which an answer is less than was asked for."""

    code: str
    message: str


class QueryViewOutput(_Output):
    """A dated answer.

    `truncated` says that more rows exist; `next_cursor` continues exactly after the last row
    given. `pending` changes of the source are not applied yet, as seen at `checked_at`, and
    `staleness_s` is the age of the oldest; they are null when that is not known, and tell nothing
    about what came after that look. `took_ms` is the runner's own time, without the protocol's.
    """

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    row_count: int
    truncated: bool
    next_cursor: str | None = None
    freshness: str
    anchor: int | None = None
    data_as_of: str | None = None
    route: str
    computed_at: str
    took_ms: float
    age_s: float | None = None
    staleness_s: float | None = None
    checked_at: str | None = None
    pending: int | None = None
    speed: SpeedContribution
    degradations: list[Degradation] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        """The rows with their names."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class CacheResourcesInput(_Input):
    """Changes to make visible at once; a batch refresh absorbs those the source confirms."""

    resources: list[dict[str, Any]] = Field(
        default_factory=list,
        max_length=CHANGES_MAX,
        description="FHIR R4 resources with resourceType and id; meta.versionId orders them",
    )
    delete: list[str] = Field(
        default_factory=list, max_length=CHANGES_MAX, description='References such as "Patient/12"'
    )
    dry_run: bool = Field(default=False, description="Check only; nothing is stored")


class CacheResourcesOutput(Table):
    """One row per change, in the order given, resources before deletes.

    `outcome`: stored, duplicate (this version is known; `reason` says
    when with another content), stale (a newer one is), covered (the
    batch layer holds it), rejected (see `reason`); with dry_run, what it would be. `views` counts
    the views in which the change shows.
    """

    dry_run: bool
    warnings: list[str] = Field(default_factory=list)


class RefreshViewsInput(_Input):
    """Starts a refresh and waits for it; ask again with the `run_id` of one that is running."""

    wait_s: float = Field(
        default=REFRESH_WAIT_DEFAULT_S,
        ge=0,
        le=REFRESH_WAIT_MAX_S,
        description="Answer after this long with status running",
    )
    run_id: int | None = Field(default=None, description="Report this run; starts none")


class RefreshViewsOutput(_Output):
    """How a refresh went: `published` with its new anchor, `failed`, or still `running`."""

    run_id: int
    status: Literal["running", "published", "failed"]
    anchor: int | None = None
    data_as_of: str | None = None
    changed: int | None = None
    duration_s: float | None = None
    error_code: str | None = None
    warnings: list[str] = Field(default_factory=list)


class ValidateViewInput(_Input):
    """A definition to check; nothing is stored."""

    definition: dict[str, Any] = Field(description="As register_view takes it")


class ValidateViewOutput(Table):
    """One row per column of the view that the definition makes.

    `replaces` says that a view of this name was registered; `unchanged` that it is this one.
    """

    view: str
    resource: str | None
    rows_per_resource: Literal["one", "many"] | None
    replaces: bool
    unchanged: bool


class RegisterViewInput(_Input):
    """A definition to publish under its name, replacing the registered view of that name."""

    definition: dict[str, Any] = Field(
        description="ViewDefinition, or a Library with SQL over views it depends on"
    )


class RegisterViewOutput(_Output):
    """What was published, or the refresh that builds it.

    While it runs, refresh_views tells by `run_id` how it ends. `rows` and `dead_letters` are of
    the view as built; null while it runs, for a composed view, which is computed when it is
    asked, and when this very definition was published before.
    """

    view: str
    status: Literal["running", "published", "failed"]
    run_id: int | None = None
    anchor: int | None = None
    data_as_of: str | None = None
    rows: int | None = None
    dead_letters: int | None = None
    warnings: list[str] = Field(default_factory=list)


class DropViewInput(_Input):
    """A registered view to drop; the views that come with the product stay."""

    view: str


class DropViewOutput(_Output):
    """What is gone, or the refresh that drops it: it is gone once that is published."""

    view: str
    status: Literal["running", "published", "failed"]
    run_id: int | None = None
    anchor: int | None = None
    warnings: list[str] = Field(default_factory=list)


class GetStatisticsInput(_Input):
    """No arguments."""


class GetStatisticsOutput(_Output):
    """The numbers that /metrics exports, for a reader: counters since start, state as of `at`."""

    at: str
    runner: dict[str, Any]
    views: Table
    counters: Table
    overlay: Table
    refresh: dict[str, Any]
    warehouse_up: bool
    redis_up: bool
