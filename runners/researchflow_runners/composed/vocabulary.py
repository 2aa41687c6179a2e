"""The functions, types and operators that a composed view may use.

All of them depend on their arguments alone, so that the rows of an anchor stay what they were:
no clock, no random number, no session, no catalogue, no file, no other server, no lock.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


AGGREGATES = _words(
    """
    array_agg avg bit_and bit_or bool_and bool_or corr count covar_pop covar_samp every json_agg
    json_object_agg jsonb_agg jsonb_object_agg max min mode percentile_cont percentile_disc
    regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy
    stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance
    """
)
WINDOW_FUNCTIONS = _words(
    """
    cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank
    row_number
    """
)
STRING_FUNCTIONS = _words(
    """
    ascii bit_length btrim char_length character_length chr concat concat_ws format initcap
    is_normalized left length like_escape lower lpad ltrim md5 normalize octet_length overlay
    position regexp_count regexp_instr regexp_like regexp_match regexp_matches regexp_replace
    regexp_split_to_array regexp_split_to_table regexp_substr replace reverse right rpad rtrim
    similar_escape similar_to_escape split_part starts_with string_to_array string_to_table strpos
    substr substring to_hex translate upper
    """
)
NUMBER_FUNCTIONS = _words(
    """
    abs acos asin atan atan2 cbrt ceil ceiling cos degrees div exp floor gcd lcm ln log log10
    min_scale mod pi pow power radians round scale sign sin sqrt tan to_number trim_scale trunc
    width_bucket
    """
)
DATE_FUNCTIONS = _words(
    """
    age date_bin date_part date_trunc extract isfinite justify_days justify_hours
    justify_interval make_date make_interval make_time make_timestamp make_timestamptz overlaps
    timezone to_char to_date to_timestamp
    """
)
JSON_FUNCTIONS = _words(
    """
    json_array_elements json_array_elements_text json_array_length json_build_array
    json_build_object json_each json_each_text json_extract_path json_extract_path_text
    json_object_keys json_typeof jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
    jsonb_extract_path jsonb_extract_path_text jsonb_object_keys jsonb_path_exists
    jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_pretty
    jsonb_set jsonb_strip_nulls jsonb_typeof row_to_json to_json to_jsonb
    """
)
ARRAY_FUNCTIONS = _words(
    """
    array_append array_cat array_length array_lower array_ndims array_position array_positions
    array_prepend array_remove array_replace array_to_string array_upper cardinality unnest
    """
)
OTHER_FUNCTIONS = _words("num_nonnulls num_nulls")
FUNCTIONS = (
    AGGREGATES
    | WINDOW_FUNCTIONS
    | STRING_FUNCTIONS
    | NUMBER_FUNCTIONS
    | DATE_FUNCTIONS
    | JSON_FUNCTIONS
    | ARRAY_FUNCTIONS
    | OTHER_FUNCTIONS
)
#: Their result depends on the order of their rows, which is no order unless one is given.
ORDERED_AGGREGATES = _words(
    "array_agg json_agg json_object_agg jsonb_agg jsonb_object_agg string_agg"
)
ORDERED_WINDOW_FUNCTIONS = WINDOW_FUNCTIONS - {"cume_dist", "percent_rank"}
#: Functions that ask the clock or the session unless they are given this many arguments.
ARGUMENTS_MIN = {"age": 2, "timezone": 2}
#: Functions whose result is as wide as this argument says; they take a width that can be read.
WIDTH_ARGUMENTS = {"lpad": 1, "rpad": 1, "format": 0}
WIDTH_MAX = 1_000
FORMAT_WIDTH = re.compile(r"%(?:\d+\$)?-?(\*|\d+)")

TYPES = _words(
    """
    bool bpchar date float4 float8 int2 int4 int8 interval json jsonb numeric text time timestamp
    timestamptz uuid varchar
    """
)
DATE_TYPES = _words("date time timestamp timestamptz")
#: Functions of the above that give no text.
DATED_FUNCTIONS = _words(
    """
    age date_bin date_trunc justify_days justify_hours justify_interval make_date make_interval
    make_time make_timestamp make_timestamptz timezone to_date to_timestamp
    """
)
OPERATORS = _words(
    """
    + - * / % ^ |/ ||/ @ & | # ~ << >> = <> != < > <= >= ||
    ~~ !~~ ~~* !~~* !~ ~* !~* ^@
    -> ->> #> #>> @> <@ ? ?| ?& @? @@ && #-
    """
)
COLLATIONS = frozenset({"C"})

#: Words that PostgreSQL reads as the time of the statement where a date is expected, and those
#: that may stand beside them in such a text.
CLOCK_WORDS = frozenset({"now", "today", "tomorrow", "yesterday"})
TIME_WORDS = _words("allballs am at gmt pm t utc z")
CLOCK_WORD = re.compile("(?<![a-z])(now|today|tomorrow|yesterday)(?![a-z])", re.IGNORECASE)

CLOCK_HINT = (
    "Write the date itself, as a constant or a parameter, for an anchor's rows stay the same;"
    " query_view takes dates such as today-2y and groups by age."
)
#: What PostgreSQL writes where other dialects have a function of this name.
EQUIVALENTS = {
    "any_value": "min(x), or DISTINCT ON",
    "array_contains": "x = ANY(list)",
    "charindex": "strpos(text, part)",
    "convert": "CAST(x AS type)",
    "count_if": "count(*) FILTER (WHERE …)",
    "countif": "count(*) FILTER (WHERE …)",
    "date": "value::date",
    "date_add": "d::date + 30, or d::timestamp + interval '3 months'",
    "date_diff": "a::date - b::date, which is whole days",
    "date_format": "to_char(d::date, 'YYYY-MM')",
    "date_sub": "d::date - 30, or d::timestamp - interval '3 months'",
    "dateadd": "d::date + 30, or d::timestamp + interval '3 months'",
    "datediff": "a::date - b::date, which is whole days",
    "datepart": "extract(year FROM d::date)",
    "day": "extract(day FROM d::date)",
    "decode": "CASE WHEN … THEN … END",
    "from_unixtime": "to_timestamp(seconds)",
    "group_concat": "string_agg(x, ', ' ORDER BY x)",
    "if": "CASE WHEN … THEN … ELSE … END",
    "ifnull": "coalesce(a, b)",
    "iif": "CASE WHEN … THEN … ELSE … END",
    "instr": "strpos(text, part)",
    "isnull": "coalesce(a, b), or x IS NULL",
    "json_extract": "x -> 'name', or x ->> 'name' as text",
    "julianday": "a::date - b::date, which is whole days",
    "len": "length(x)",
    "listagg": "string_agg(x, ', ' ORDER BY x)",
    "median": "percentile_cont(0.5) WITHIN GROUP (ORDER BY x)",
    "month": "extract(month FROM d::date)",
    "months_between": "age(a::timestamp, b::timestamp)",
    "nvl": "coalesce(a, b)",
    "quantile": "percentile_cont(0.9) WITHIN GROUP (ORDER BY x)",
    "quarter": "extract(quarter FROM d::date)",
    "regexp_contains": "text ~ 'pattern'",
    "safe_cast": "CASE WHEN x ~ '^[0-9.]+$' THEN x::numeric END",
    "split": "string_to_array(text, ',')",
    "stdev": "stddev_samp(x)",
    "str_to_date": "to_date(text, 'YYYY-MM-DD')",
    "strftime": "to_char(d::date, 'YYYY-MM')",
    "substring_index": "split_part(text, ',', 1)",
    "timestampdiff": "a::date - b::date, which is whole days",
    "toupper": "upper(x)",
    "try_cast": "CASE WHEN x ~ '^[0-9.]+$' THEN x::numeric END",
    "unix_timestamp": "extract(epoch FROM d::timestamptz)",
    "week": "extract(week FROM d::date)",
    "year": "extract(year FROM d::date)",
}
FUNCTION_HINTS = {
    **{name: f"Write {instead}." for name, instead in EQUIVALENTS.items()},
    **dict.fromkeys(
        _words(
            """
            age clock_timestamp curdate getdate now statement_timestamp sysdate timeofday
            transaction_timestamp
            """
        ),
        CLOCK_HINT,
    ),
    "timezone": "Write value AT TIME ZONE 'zone'.",
}
