"""Words of other languages for what an argument or a value is called here.

SQL, search engines and data frames have their own; a model that writes theirs is told ours. An
aggregate is never guessed by its spelling: median is as near to min as to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from researchflow_runners.naming import CUTOFF, nearest


class Word(NamedTuple):
    """The name here, if one does that job, and what else there is to say."""

    name: str | None
    hint: str | None = None


def _same(name: str, words: str, hint: str | None = None) -> dict[str, Word]:
    return dict.fromkeys(words.split(), Word(name, hint))


_COUNT = 'write "aggregates": [{"fn": "count"}]'
_DISTINCT = "group_by gives each value once; aggregates with count_distinct counts them"
_PAGE = 'give next_cursor of the answer before as "cursor", all else the same'
_JOIN = 'use a filter {"column": "id", "query": {"view": ..}}, or query_sql for columns of both'
_DIRECTION = 'write {"column": .., "descending": true}; ascending is the default'
_BUCKET = 'write "group_by": [{"column": "onset_datetime", "bucket": "year"}]'
_INSIDE = 'write {"definition": {"name": .., "sql": ".."}}'
_PATTERN = 'use "contains" or "starts_with" with plain text, without % and _'
_BOUNDS = 'write two filters in "all_of", one with ge and one with lt; a partial date is a period'

_ASKING = {
    **_same("limit", "max max_results max_rows n page_size per_page rows size take top"),
    **_same("cursor", "offset page skip start", _PAGE),
    **_same("as_of", "anchor at version"),
    **_same("max_staleness_s", "max_age max_staleness staleness"),
    **_same("detail", "full mode verbose verbosity"),
}
_FILTER = {
    **_same("column", "attribute col field key name property"),
    **dict.fromkeys(
        ("eq", "ne", "lt", "le", "gt", "ge", "contains"),
        Word("op", 'write {"column": "birth_date", "op": "ge", "value": "1950"}'),
    ),
    **_same("op", "cmp comparator comparison operation operator"),
    **_same("value", "val values"),
    **_same("all_of", "all and must"),
    **_same("any_of", "any or should"),
    **_same("not", "must_not none_of"),
    **_same("query", "in_query select subquery"),
}
#: By the model that has no such argument.
ARGUMENTS: dict[str, Mapping[str, Word]] = {
    "Query": {
        **_ASKING,
        **_same("view", "dataset from name table view_name views"),
        **_same("columns", "cols fields select"),
        **_same("where", "condition conditions criteria filter filters predicate query"),
        **_same("where", "join joins", _JOIN),
        **_same("where", "patient patient_id", 'write {"column": "patient_id", "op": "eq", ..}'),
        **_same("group_by", "group groupBy groupby"),
        **_same("group_by", "bucket granularity interval", _BUCKET),
        **_same("group_by", "distinct unique", _DISTINCT),
        **_same("aggregates", "agg aggregate aggregations metrics measures"),
        **_same("aggregates", "count", _COUNT),
        **_same("order_by", "order orderBy orderby sort sort_by"),
        **_same("latest_per", "last latest newest"),
        **_same("first_per", "earliest first oldest"),
        "sql": Word(None, "SQL is asked with query_sql"),
    },
    "SqlQuery": {
        **_ASKING,
        **_same("sql", "query statement text"),
        **_same("parameters", "args bind params values"),
        "view": Word("sql", "name the view in the SQL: SELECT .. FROM view"),
    },
    "Filter": _FILTER,
    "SubQuery": {
        **_same("where", "filter filters"),
        **_same("min_rows", "at_least min_count"),
    },
    "Order": {
        **_same("column", "by col field key name"),
        **_same("descending", "desc"),
        **_same("descending", "asc ascending dir direction order sort", _DIRECTION),
    },
    "Aggregate": {
        **_same("fn", "agg aggregate func function op type"),
        **_same("column", "col field on"),
        **_same("name", "alias as label"),
        **_same("p", "fraction percentile q quantile"),
        **_same("by", "date order_by ordered_by"),
        **_same("age_at", "age at"),
        "where": Word(None, "where filters rows, having groups; query_sql has FILTER (WHERE ..)"),
    },
    "AgeGroup": {
        **_same("age_brackets", "ages bins brackets"),
        **_same("column", "col field name"),
        **dict.fromkeys(("date_part", "granularity", "interval", "unit"), Word(None, _BUCKET)),
    },
    "Bucket": {**_same("column", "col field name"), **_same("starts", "offset start")},
    "Width": {**_same("column", "col field name"), **_same("width", "bin bins size step")},
    "Latest": {
        **_same("key", "column columns keys per"),
        **_same("by", "date order_by sort"),
        **_same("where", "filter"),
    },
    "DrawInput": {
        **_same("chart", "chart_type kind mark type"),
        **_same("x", "x_axis xaxis"),
        **_same("y", "y_axis yaxis"),
        **_same("by", "color colour group hue series"),
        **_same("query", "data"),
    },
    "ListViewsInput": {
        **_same("resource", "resource_type type"),
        **_same("detail", "full verbose"),
    },
    "DescribeViewInput": {
        **_same("view", "name table view_name"),
        **_same("detail", "full verbose"),
    },
    "GetStatisticsInput": {**_same("detail", "full verbose")},
    "Timeline": {
        **_ASKING,
        **_same("patient", "id patientId patient_id subject"),
        **_same("kinds", "kind type types view views"),
        **_same("since", "after from start start_date"),
        **_same("until", "before end end_date to"),
    },
    "CacheResourcesInput": {
        **_same("resources", "bundle changes entries"),
        **_same("delete", "deletes remove"),
    },
    "RefreshViewsInput": dict.fromkeys(
        ("force", "full", "view", "views"),
        Word(None, "leave it out: one refresh compares everything and publishes all views"),
    ),
    "RegisterViewInput": _same("definition", "view name sql library resource", _INSIDE),
    "ValidateViewInput": _same("definition", "view name sql library resource", _INSIDE),
    "DropViewInput": _same("view", "name view_name"),
}
_OPERATORS = {
    **_same("eq", "= == equal equals is"),
    **_same("ne", "!= <> not_equal not_equals not_eq"),
    **_same("lt", "< before less less_than"),
    **_same("le", "<= lte at_most"),
    **_same("gt", "> after greater greater_than"),
    **_same("ge", ">= gte at_least"),
    **_same("in", "any_of one_of"),
    **_same("not_in", "nin none_of"),
    **_same("contains", "includes substring"),
    **_same("contains", "like ilike match regex regexp ~", _PATTERN),
    **_same("starts_with", "begins_with prefix startswith"),
    **_same("is_null", "isnull missing null"),
    **_same("not_null", "exists is_not_null notnull"),
    "between": Word(None, _BOUNDS),
    "range": Word(None, _BOUNDS),
    "ends_with": Word("contains"),
}
_FUNCTIONS = {
    **_same("avg", "average mean"),
    **_same("sum", "total"),
    **_same("min", "minimum"),
    **_same("max", "maximum"),
    **_same("count_distinct", "distinct n_unique nunique unique"),
    **_same("stddev", "sd std stdev stddev_samp"),
    **_same("percentile", "percentile_cont quantile", 'write {"fn": "percentile", "p": 0.9, ..}'),
    **_same("any_value", "any"),
    **_same("first", "earliest oldest"),
    **_same("last", "latest newest"),
    **_same("change", "delta diff difference"),
}
#: By the argument whose value it is.
VALUES: dict[str, Mapping[str, Word]] = {
    "op": _OPERATORS,
    "fn": _FUNCTIONS,
    "freshness": {
        **_same("live", "current fresh latest merged now realtime"),
        **_same("anchored", "batch materialized snapshot"),
    },
    "detail": {**_same("full", "all verbose"), **_same("concise", "brief short summary")},
    "bucket": {
        **_same("year", "annual yearly years"),
        **_same("month", "monthly months"),
        **_same("quarter", "quarterly quarters"),
        **_same("decade", "decades"),
        **dict.fromkeys(
            ("day", "days", "week", "weekly", "weeks"),
            Word(None, "days and weeks are grouped in query_sql: date_trunc('week', d::date)"),
        ),
    },
    "chart": {
        **_same("bar", "barchart column pie"),
        **_same("line", "linechart time_series timeseries trend"),
        **_same("histogram", "distribution hist"),
        **_same("box", "boxplot violin"),
        **_same("survival", "kaplan-meier kaplan_meier km"),
    },
    "show": {**_same("columns", "fields schema"), **_same("definition", "json")},
}
OTHER_AGGREGATE = (
    "use one of the allowed values; any other aggregate of PostgreSQL, such as corr(x, y), works "
    "in query_sql"
)


def argument(
    model_names: Sequence[str], name: str, allowed: Sequence[str], *, cutoff: float = CUTOFF
) -> Word:
    """What the unknown argument is called here, or the nearest name that is allowed."""
    for model in model_names:
        word = ARGUMENTS.get(model, {}).get(name) or ARGUMENTS.get(model, {}).get(name.lower())
        if word is not None and word.name in (None, *allowed):
            return word
    return Word(nearest(name, allowed, cutoff=cutoff))


def value(name: str, given: str, allowed: Sequence[str]) -> Word:
    """What the value is called here, or the nearest one that is allowed, but of aggregates."""
    word = VALUES.get(name, {}).get(given.strip().casefold().replace(" ", "_"))
    if word is not None and word.name in (None, *allowed):
        return word
    if name == "fn":
        return Word(None, OTHER_AGGREGATE)
    return Word(nearest(given, allowed))
