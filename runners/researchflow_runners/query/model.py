"""What may be asked of a view: the typed form of a question.

Filters use SQL's three-valued logic: a comparison with a missing value is unknown, and only
what is true is kept, also below `not`. Ask for missing values with `is_null`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

from researchflow_runners.naming import PIN_NAME
from researchflow_runners.query.group_model import (
    AGGREGATE_FORMS,
    GROUP_FORMS,
    Aggregate,
    GroupKey,
)
from researchflow_runners.query.strict import Strict

LIMIT_DEFAULT = 100
LIMIT_MAX = 10_000
FILTER_DEPTH_MAX = 8
VALUES_MAX = 1_000
#: A century.
DAYS_MAX = 36_525

#: How an argument of many forms is published: its description writes the forms out.
AN_OBJECT = WithJsonSchema({"type": "object"})

Scalar: TypeAlias = bool | int | float | str
Operator = Literal[
    "eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "contains", "starts_with",
    "is_null", "not_null",
]  # fmt: skip
Freshness = Literal["live", "anchored"]
PinName = Annotated[str, Field(pattern=f"^{PIN_NAME}$")]
KEYS_MAX = 4


class Asking(Strict):
    """Of which state an answer is asked, and which part of it.

    Several tools take these, so their words are said once, in the server's instructions.
    """

    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)
    cursor: str | None = None
    freshness: Freshness = "live"
    max_staleness_s: float | None = Field(default=None, gt=0)
    as_of: Annotated[
        int | datetime | PinName | None, WithJsonSchema({"type": ["integer", "string"]})
    ] = None


class Compare(Strict):
    """One column against a constant."""

    column: str
    op: Operator
    value: Scalar | list[Scalar] | None = None


class Latest(Strict):
    """One row of each key: the newest or the oldest by a date, the view's own when not named.

    `where` is asked of the rows that are kept.
    """

    key: str | Annotated[list[str], Field(min_length=1, max_length=KEYS_MAX)]
    by: str | None = None
    where: Filter | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that make the key, each once."""
        return (self.key,) if isinstance(self.key, str) else tuple(dict.fromkeys(self.key))


def _as_latest(given: Any) -> Any:
    """A key alone is the whole question."""
    return {"key": given} if isinstance(given, str | list) else given


LATEST_FORMS = "key column | {key: column or list, by?: date, where?: of the rows kept}"
LatestPer: TypeAlias = Annotated[
    Latest, BeforeValidator(_as_latest), WithJsonSchema({"type": ["string", "object"]})
]


class SubQuery(Strict):
    """One column of another view, as the right side of a semi-join.

    `having` is asked of the rows of each value of the column together.
    """

    view: str
    column: str = "patient_id"
    where: Filter | None = None
    latest_per: LatestPer | None = None
    first_per: LatestPer | None = None
    aggregates: list[Aggregate] = Field(default_factory=list, max_length=16)
    having: Filter | None = None
    min_rows: int = Field(default=1, ge=1, le=1_000)


class InQuery(Strict):
    """Rows whose column occurs in another view: cohorts in one call."""

    column: str
    op: Literal["in", "not_in"] = "in"
    query: SubQuery


class Event(Strict):
    """Dated rows of another view, for each key; by the view's event date unless told otherwise."""

    view: str
    column: str = "patient_id"
    where: Filter | None = None
    which: Literal["first", "last", "any"] = "any"
    date: str | None = None


class Window(Strict):
    """Days between the row's own date and that of the event, 0 included; `side` is the event's."""

    days: int = Field(ge=0, le=DAYS_MAX)
    side: Literal["before", "after", "either"]
    of: Event
    date: str | None = None


class Within(Strict):
    """Rows whose date is near that of another view's row of the same key."""

    column: str = "patient_id"
    within: Window


class Several(Strict):
    """Filters, and how many of them must be true."""

    n: int = Field(ge=1, le=1_000)
    of: list[Filter] = Field(min_length=1)


class AtLeast(Strict):
    """True when n of the filters are true, false when that many cannot be."""

    at_least: Several


class AnyOf(Strict):
    """True when at least one of the filters is true."""

    any_of: list[Filter] = Field(min_length=1)


class AllOf(Strict):
    """True when every filter is true."""

    all_of: list[Filter] = Field(min_length=1)


class Not(Strict):
    """True when the filter is false; unknown stays unknown."""

    not_: Filter = Field(alias="not")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _filter_kind(value: Any) -> str:
    """The variant a raw filter means, told by its keys; `compare` when nothing else fits."""
    if not isinstance(value, dict):
        return str(getattr(type(value), "__name__", "Compare"))
    for key, kind in (
        ("any_of", "AnyOf"),
        ("all_of", "AllOf"),
        ("not", "Not"),
        ("not_", "Not"),
        ("query", "InQuery"),
        ("within", "Within"),
        ("at_least", "AtLeast"),
    ):
        if value.get(key) is not None:
            return kind
    return "Compare"


#: The forms of a filter as a caller is told them: a recursive schema costs five times the words.
FILTER_FORMS = """\
{column, op, value} | {all_of: [filter..]} | {any_of: [..]} | {not: filter} | \
{at_least: {n, of: [..]}} | {column, op: in or not_in, query: {view, column=patient_id, where?, \
latest_per?, first_per?, aggregates?, having?, min_rows?}}: column occurs in that view's rows \
| {column=patient_id, within: {days, side: before after either, date?, of: {view, \
column=patient_id, where?, which: first last any, date?}}}: rows dated so many days before that \
event of the same key. op: eq ne lt le gt ge in not_in contains starts_with (any case) is_null \
not_null. Dates ISO 8601; 2024-06 is that whole month; today-2y, newest-90d (d w m y)\
"""

Filter: TypeAlias = Annotated[
    Annotated[Compare, Tag("Compare")]
    | Annotated[InQuery, Tag("InQuery")]
    | Annotated[Within, Tag("Within")]
    | Annotated[AtLeast, Tag("AtLeast")]
    | Annotated[AnyOf, Tag("AnyOf")]
    | Annotated[AllOf, Tag("AllOf")]
    | Annotated[Not, Tag("Not")],
    Discriminator(_filter_kind),
    WithJsonSchema({"type": "object", "description": FILTER_FORMS}),
]


class Order(Strict):
    """One sort key; missing values come last in either direction."""

    column: str
    descending: bool = False


ORDER_FORMS = "{column: of the answer, descending?}"


class Query(Asking):
    """A question over one view: rows, or groups when `group_by` or `aggregates` is given."""

    view: str
    parameters: Annotated[dict[str, Scalar], WithJsonSchema({"type": "object"})] = Field(
        default_factory=dict, max_length=50
    )
    columns: list[str] | None = None
    where: Filter | None = None
    latest_per: LatestPer | None = Field(default=None, description=LATEST_FORMS)
    first_per: LatestPer | None = None
    group_by: list[GroupKey] = Field(default_factory=list, max_length=8, description=GROUP_FORMS)
    aggregates: list[Annotated[Aggregate, AN_OBJECT]] = Field(
        default_factory=list, max_length=16, description=AGGREGATE_FORMS
    )
    having: Annotated[Filter | None, AN_OBJECT] = Field(
        default=None, description="Filter over columns of the answer"
    )
    order_by: list[Annotated[Order, AN_OBJECT]] = Field(
        default_factory=list, max_length=8, description=ORDER_FORMS
    )


ParameterValue: TypeAlias = Scalar | list[str] | list[bool | int | float]


class SqlQuery(Asking):
    """A question over any views, as one SELECT of PostgreSQL."""

    sql: str = Field(description=":name is a parameter")
    parameters: Annotated[dict[str, ParameterValue], WithJsonSchema({"type": "object"})] = Field(
        default_factory=dict, max_length=50, description="Lists for = ANY(:name)"
    )


for _model in (
    Latest,
    SubQuery,
    InQuery,
    Event,
    Window,
    Within,
    Several,
    AtLeast,
    AnyOf,
    AllOf,
    Not,
    Query,
):
    _model.model_rebuild()
