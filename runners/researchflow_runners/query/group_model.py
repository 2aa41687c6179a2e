"""What may be asked of groups: what rows are grouped by, and what is computed of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, Tag, WithJsonSchema

from researchflow_runners.query.strict import Strict

AggregateFunction = Literal[
    "count", "count_distinct", "min", "max", "avg", "sum", "median", "percentile", "stddev",
    "any_value", "first", "last", "change", "span_days",
]  # fmt: skip
BucketSize = Literal["year", "quarter", "month", "decade"]
#: In place of a date column: the day of the answer.
TODAY = "today"


class Aggregate(Strict):
    """One computed column of a grouped answer.

    `by` orders first, last and change; `age_at` takes, in place of a column, the age of the row's
    patient at that date.
    """

    fn: AggregateFunction
    column: str | None = None
    age_at: str | None = None
    by: str | None = None
    p: Decimal | None = None
    name: str | None = None

    @property
    def output_name(self) -> str:
        """The column name in the answer."""
        fn = self.fn if self.p is None else f"p{(self.p * 100).normalize():f}".replace(".", "_")
        of = f"age_at_{self.age_at}" if self.age_at else self.column
        return self.name or (f"{fn}_{of}" if of else fn)


class AgeGroup(Strict):
    """Ages in whole years, of the dead at death: single, in brackets, or so many together.

    `column` is the date of birth, the row's patient's when not named; `age_at` the date at which
    the age is told, today when not named.
    """

    column: str | None = None
    age_at: str | None = None
    age_brackets: list[int] | None = Field(default=None, min_length=1, max_length=20)
    width: int | None = None


class Bucket(Strict):
    """Dates by the year, quarter, month or decade; `starts` is the month its first one begins."""

    column: str
    bucket: BucketSize
    starts: int | None = Field(default=None, ge=1, le=12)


class Width(Strict):
    """Numbers, so many together."""

    column: str
    width: Decimal


def _group_kind(value: Any) -> str:
    """The variant a raw group means, told by its keys."""
    if not isinstance(value, dict):
        return type(value).__name__ if isinstance(value, str | BaseModel) else "AgeGroup"
    if value.get("bucket") is not None:
        return "Bucket"
    ages = ("age_at", "age_brackets")
    is_age = any(value.get(name) is not None for name in ages) or value.get("width") is None
    return "AgeGroup" if is_age else "Width"


GROUP_FORMS = """\
column | {column, bucket: year quarter month decade, starts?: month} | {column, width} | {age_at: \
date column or today, column=birth date, age_brackets?: [18, 40, 65] lower bounds, width?}: years, \
of the dead at death\
"""
AGGREGATE_FORMS = """\
{fn, column or age_at: date column or today, name?, p?: 0 to 1, by?: date of first last change}; \
fn: count count_distinct min max avg sum median percentile stddev any_value first last change \
span_days\
"""
GroupKey: TypeAlias = Annotated[
    Annotated[str, Tag("str")]
    | Annotated[AgeGroup, Tag("AgeGroup")]
    | Annotated[Bucket, Tag("Bucket")]
    | Annotated[Width, Tag("Width")],
    Discriminator(_group_kind),
    WithJsonSchema({"type": ["string", "object"]}),
]
