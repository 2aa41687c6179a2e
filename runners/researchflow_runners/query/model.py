"""What may be asked of a view: the typed form of a question.

Filters use SQL's three-valued logic: a comparison with a missing value is unknown, and only
what is true is kept, also below `not`. Ask for missing values with `is_null`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from researchflow_runners.naming import PIN_NAME
from researchflow_runners.query.strict import Strict

LIMIT_DEFAULT = 100
LIMIT_MAX = 10_000
FILTER_DEPTH_MAX = 8
VALUES_MAX = 1_000

Scalar: TypeAlias = bool | int | float | str
Operator = Literal[
    "eq", "ne", "lt", "le", "gt", "ge", "in", "not_in", "contains", "starts_with",
    "is_null", "not_null",
]  # fmt: skip
Freshness = Literal["live", "anchored"]
PinName = Annotated[str, Field(pattern=f"^{PIN_NAME}$")]
AggregateFunction = Literal["count", "count_distinct", "min", "max", "avg", "sum"]


class Asking(Strict):
    """Of which state an answer is asked, and which part of it."""

    limit: int = Field(default=LIMIT_DEFAULT, ge=1, le=LIMIT_MAX)
    cursor: str | None = Field(default=None, description="next_cursor of the page before")
    freshness: Freshness = Field(
        default="live",
        description="live: the current anchor merged with newer changes; "
        "anchored: the current anchor, or that of as_of, alone",
    )
    max_staleness_s: float | None = Field(
        default=None, gt=0, description="Refuse older data, seconds"
    )
    as_of: int | datetime | PinName | None = Field(
        default=None, description="Anchor, pin's name, or an instant: the newest one by then"
    )


class Compare(Strict):
    """One column against a constant."""

    column: str
    op: Operator = Field(description="contains and starts_with ignore case")
    value: Scalar | list[Scalar] | None = Field(
        default=None,
        description="A list for in and not_in; none for is_null and not_null. Dates as ISO 8601; "
        "2024-06 means that whole month",
    )


class SubQuery(Strict):
    """One column of another view, as the right side of a semi-join."""

    view: str
    column: str = "patient_id"
    where: Filter | None = None
    min_rows: int = Field(
        default=1, ge=1, le=1_000, description="Only values in at least n of its rows"
    )


class InQuery(Strict):
    """Rows whose column occurs in another view: cohorts in one call."""

    column: str
    op: Literal["in", "not_in"] = "in"
    query: SubQuery


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
    ):
        if value.get(key) is not None:
            return kind
    return "Compare"


Filter: TypeAlias = Annotated[
    Annotated[Compare, Tag("Compare")]
    | Annotated[InQuery, Tag("InQuery")]
    | Annotated[AnyOf, Tag("AnyOf")]
    | Annotated[AllOf, Tag("AllOf")]
    | Annotated[Not, Tag("Not")],
    Discriminator(_filter_kind),
]


class Aggregate(Strict):
    """One computed column of a grouped answer."""

    fn: AggregateFunction
    column: str | None = Field(default=None, description="Required by all but count")
    name: str | None = Field(default=None, description="Default fn or fn_column")

    @property
    def output_name(self) -> str:
        """The column name in the answer."""
        return self.name or (f"{self.fn}_{self.column}" if self.column else self.fn)


class AgeGroup(Strict):
    """Birth dates by age in whole years now, of the dead at death."""

    column: str
    age_brackets: list[int] = Field(
        min_length=1, max_length=20, description="Lower bounds: [18, 40, 65]"
    )


class Order(Strict):
    """One sort key; missing values come last in either direction."""

    column: str = Field(description="Of the answer")
    descending: bool = False


class Query(Asking):
    """A question over one view: rows, or groups when `group_by` or `aggregates` is given."""

    view: str
    columns: list[str] | None = Field(default=None, description="All when absent")
    where: Filter | None = None
    group_by: list[str | AgeGroup] = Field(default_factory=list, max_length=8)
    aggregates: list[Aggregate] = Field(default_factory=list, max_length=16)
    order_by: list[Order] = Field(default_factory=list, max_length=8)


ParameterValue: TypeAlias = Scalar | list[str] | list[bool | int | float]


class SqlQuery(Asking):
    """A question over any views, as one SELECT of PostgreSQL."""

    sql: str = Field(description="One SELECT over views by their names; :name is a parameter")
    parameters: Annotated[dict[str, ParameterValue], WithJsonSchema({"type": "object"})] = Field(
        default_factory=dict, max_length=50, description="Values of :name; lists for = ANY(:name)"
    )


for _model in (SubQuery, InQuery, AnyOf, AllOf, Not, Query):
    _model.model_rebuild()
