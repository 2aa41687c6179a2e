"""Groups of dates by calendar and of numbers by width.

A date belongs to a bucket when the whole period it means lies in it, in UTC, as `eq` finds it:
`2024` is of the year 2024 and of no month.
"""

from __future__ import annotations

from decimal import Decimal

from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import AnswerColumn, high_sql, kind_of, low_sql, value_sql
from researchflow_runners.query.group_model import Bucket, Width
from researchflow_runners.query.notices import Told
from researchflow_runners.query.outputs import Output
from researchflow_runners.query.rows import Rows
from researchflow_runners.sql import Sql, compose, param

_MONTHS = {"month": 1, "quarter": 3, "year": 12, "decade": 120}
_SHIFTED = ("year", "quarter")
#: Of a month counted from the year 0 as `m`.
_LABELS = {
    "month": "{year}-{month}",
    "quarter": "{year}-Q{quarter}",
    "year": "{year}",
    "decade": "{year}s",
}
#: The last year ends where no calendar goes on.
_IN_CALENDAR = """\
(CASE WHEN {0} >= '10000-01-01 00:00:00+00' THEN '9999-12-31 00:00:00+00' ELSE {0} END\
 AT TIME ZONE 'UTC')\
"""


def bucket_output(group: Bucket, rows: Rows, *, at: str) -> Output:
    """The bucket of a date column, missing where a partial date does not decide it."""
    column = rows.column(group.column, at=f"{at}.column")
    if kind_of(column) != "period":
        raise QueryError(
            f'column "{column.name}" is not a date, so it has no {group.bucket}',
            code="aggregate_type",
            hint="name a date column; numbers are grouped by width",
            field=f"{at}.column",
            allowed=[column.name for column in rows.columns if kind_of(column) == "period"],
        )
    if group.starts is not None and group.bucket not in _SHIFTED:
        raise QueryError(
            f"a {group.bucket} does not start in a month of its own",
            code="invalid_argument",
            hint="starts goes with year and quarter",
            field=f"{at}.starts",
        )
    size, shift = _MONTHS[group.bucket], (group.starts or 1) - 1
    low = low_sql(rows.alias, column)
    high = compose("({} - interval '1 microsecond')", high_sql(rows.alias, column))
    first, last = (_number(instant, size, shift) for instant in (low, high))
    number = compose("CASE WHEN {0} = {1} THEN {0} END", first, last)
    month = compose("({} * {} + {})", number, _integer(size), _integer(shift))
    label = _label(group, month, size)
    shown = compose("CASE WHEN {} IS NOT NULL THEN {} END", number, label)
    described = AnswerColumn(f"{column.name}_{group.bucket}", "string", description="In UTC")
    told = f'{{n}} rows have a "{column.name}" too partial to tell its {group.bucket}'
    open_ = compose("{} IS NOT NULL AND {} IS NULL", low, number)
    notice = Told(open_, told)
    return Output(described, shown, ((number, "integer"),), is_label=True, notices=(notice,))


def _integer(number: int) -> Sql:
    return param(number, "integer")


def _number(instant: Sql, size: int, shift: int) -> Sql:
    """The number of the bucket that holds the instant, counted from the year 0."""
    months = compose(
        "(extract(year FROM {0}) * 12 + extract(month FROM {0}) - 1)",
        compose(_IN_CALENDAR, instant),
    )
    return compose("floor(({} - {}) / {})::integer", months, _integer(shift), _integer(size))


def _label(group: Bucket, month: Sql, size: int) -> Sql:
    """What a bucket that begins with that month is called."""
    shifted = group.starts not in (None, 1)
    template = "{year}-{month}" if shifted else _LABELS[group.bucket]
    label = _written(template, month)
    if not shifted:
        return label
    end = _written(template, compose("({} + {})", month, _integer(size - 1)))
    return compose("({} || '/' || {})", label, end)


def _written(template: str, month: Sql) -> Sql:
    parts = {
        "year": compose("lpad(({} / 12)::text, 4, '0')", month),
        "month": compose("lpad(({} % 12 + 1)::text, 2, '0')", month),
        "quarter": compose("({} % 12 / 3 + 1)", month),
    }
    text = compose("format({}", param(_placed(template), "text"))
    for name in ("year", "month", "quarter"):
        if f"{{{name}}}" in template:
            text = compose("{}, {}", text, parts[name])
    return compose("{})", text)


def _placed(template: str) -> str:
    return template.format(year="%s", month="%s", quarter="%s")


def width_output(group: Width, rows: Rows, *, at: str) -> Output:
    """Numbers by the multiple of the width at or below them."""
    column = rows.column(group.column, at=f"{at}.column")
    kind = kind_of(column)
    if kind not in ("integer", "decimal"):
        raise QueryError(
            f'column "{column.name}" is no number, so it has no width',
            code="aggregate_type",
            hint="dates are grouped by bucket, dates of birth by age_brackets"
            if kind == "period"
            else "name a column of numbers",
            field=f"{at}.column",
        )
    if group.width <= Decimal(0):
        raise QueryError(
            "the width is not above zero",
            code="value_type",
            hint="give a width such as 10 or 0.5",
            field=f"{at}.width",
        )
    width = param(group.width, "numeric")
    value = compose("{}::numeric", value_sql(rows.alias, column))
    rest = compose("mod({}, {})", value, width)
    low = compose(
        "trim_scale({0} - {1} - CASE WHEN {1} < 0 THEN {2} ELSE 0 END)", value, rest, width
    )
    shown = compose("({0}::text || '-<' || trim_scale({0} + {1})::text)", low, width)
    described = AnswerColumn(f"{column.name}_width", "string", description=column.description)
    return Output(described, shown, ((low, "numeric"),), is_label=True)
