"""Typical mistakes of a model, each with the words by which the call is mended at once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from clinic import condition, lab, patient
from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.naming import NAMES_LISTED_MAX
from researchflow_runners.query.columns import find_column
from researchflow_runners.query.group_model import AggregateFunction
from researchflow_runners.query.model import Query
from researchflow_server.contract import CacheResourcesInput, ErrorInfo
from researchflow_server.embedded import Services
from researchflow_server.tools import TOOLS, words
from researchflow_server.tools.arguments import parse_arguments
from researchflow_server.tools.examples import EXAMPLE_BYTES_MAX, EXAMPLES, LISTS, instead
from tool_server import ToolServer, module_stores, tool_server

FEMALE = {"column": "gender", "op": "eq", "value": "female"}
FILTER = json.dumps(FEMALE)
UNKNOWN, MISSING, INVALID = "unknown_argument", "missing_argument", "invalid_argument"


@dataclass(frozen=True)
class Mistake:
    """Arguments of query_view that are wrong, and of the error what mends them."""

    given: dict[str, Any]
    code: str
    field: str
    hint: str
    guess: str | None = None
    tool: str = "query_view"

    @property
    def asked(self) -> dict[str, Any]:
        """The call; a view where the tool takes one."""
        return {"view": "patient_simple", **self.given} if self.tool == "query_view" else self.given


def filtered(where: Any, code: str, field: str, hint: str, guess: str | None = None) -> Mistake:
    return Mistake({"where": where}, code, field, hint, guess)


def unknown(name: str, hint: str, guess: str | None, value: Any = 1) -> Mistake:
    return Mistake({name: value}, UNKNOWN, name, hint, guess)


NAMES = [
    Mistake({"view": "patients"}, "unknown_view", "view", "register_view", "patient_simple"),
    Mistake({"columns": ["gendre"]}, "unknown_column", "columns[0]", "columns", "gender"),
    Mistake({"columns": ["diagnosis_code"]}, "unknown_column", "columns[0]", "columns"),
    Mistake({"columns": ["age"]}, "unknown_column", "columns[0]", '"today-65y"'),
    Mistake(
        {"view": "condition_simple", "group_by": ["gender"]},
        "unknown_column",
        "group_by[0]",
        'use "patient.gender"',
        "patient.gender",
    ),
    Mistake(
        {"view": "condition_simple", "where": FEMALE},
        "unknown_column",
        "where.column",
        'use "patient.gender"',
        "patient.gender",
    ),
    unknown("filter", 'use "where"', "where"),
    unknown("offset", "next_cursor", "cursor"),
    unknown("page", "next_cursor", "cursor"),
    unknown("skip", "next_cursor", "cursor"),
    unknown("sort", 'use "order_by"', "order_by"),
    unknown("select", 'use "columns"', "columns"),
    unknown("groupBy", 'use "group_by"', "group_by"),
    unknown("distinct", "count_distinct", "group_by"),
    unknown("count", '"aggregates": [{"fn": "count"}]', "aggregates"),
    unknown("bucket", '"bucket": "year"', "group_by"),
    unknown("join", "query_sql", "where"),
    unknown("top", 'use "limit"', "limit"),
    unknown("sql", "query_sql", None),
    unknown("latest", 'use "latest_per"', "latest_per"),
    unknown("patient_id", '"column": "patient_id"', "where"),
    Mistake({"sql": "x", "view": "y"}, UNKNOWN, "view", "FROM", "sql", tool="query_sql"),
    Mistake({"sql": "x", "params": {}}, UNKNOWN, "params", "parameters", "parameters", "query_sql"),
    Mistake({"name": "encounters"}, UNKNOWN, "name", "view", "view", tool="describe_view"),
    Mistake({"verbose": True}, UNKNOWN, "verbose", "detail", "detail", tool="get_statistics"),
    Mistake({"views": ["x"]}, UNKNOWN, "views", "all views", None, tool="refresh_views"),
    Mistake({"id": "ada"}, UNKNOWN, "id", "patient", "patient", tool="patient_timeline"),
    Mistake(
        {"patient": "ada", "from": "2020"}, UNKNOWN, "from", "since", "since", "patient_timeline"
    ),
]
FILTERS = [
    filtered("gender = 'male'", INVALID, "where", "query_sql"),
    filtered("gender = 'male'", INVALID, "where", FILTER),
    filtered([FEMALE], INVALID, "where", '{"all_of": [' + FILTER + "]}"),
    filtered({"not": [FEMALE]}, INVALID, "where.not", '{"all_of": ['),
    filtered({"all_of": FEMALE}, INVALID, "where.all_of", f"[{FILTER}]"),
    filtered({"any_of": ["gender = 'male'"]}, INVALID, "where.any_of.0", FILTER),
    filtered({}, INVALID, "where", "leave it out"),
    filtered({"all_of": []}, INVALID, "where.all_of", "leave it out"),
    filtered({"any_of": []}, INVALID, "where.any_of", "leave it out"),
    filtered({"not": {}}, INVALID, "where.not", "leave it out"),
    filtered({"all_of": [FEMALE, {}]}, INVALID, "where.all_of.1", "leave it out"),
    filtered({"gender": "male"}, UNKNOWN, "where.gender", FILTER),
    filtered({"and": [FEMALE]}, UNKNOWN, "where.and", "all_of", "all_of"),
    filtered({"or": [FEMALE]}, UNKNOWN, "where.or", "any_of", "any_of"),
    filtered(
        {"field": "gender", "op": "eq", "value": "x"}, UNKNOWN, "where.field", "column", "column"
    ),
    filtered(
        {"column": "gender", "operator": "eq", "value": "x"}, UNKNOWN, "where.operator", "op", "op"
    ),
    filtered({"column": "gender", "eq": "male"}, UNKNOWN, "where.eq", '"op": "ge"', "op"),
    filtered({"column": "gender", "value": "male"}, MISSING, "where.op", FILTER),
    filtered({"column": "gender", "op": None, "value": "male"}, MISSING, "where.op", FILTER),
    filtered({**FEMALE, "op": "equals"}, INVALID, "where.op", "eq", "eq"),
    filtered({**FEMALE, "op": ">="}, INVALID, "where.op", "ge", "ge"),
    filtered({**FEMALE, "op": "like"}, INVALID, "where.op", "without %", "contains"),
    filtered({**FEMALE, "op": "between"}, INVALID, "where.op", "one with ge and one with lt"),
    filtered({**FEMALE, "op": "is not null"}, INVALID, "where.op", "not_null", "not_null"),
    filtered({**FEMALE, "op": "in", "value": [["male"]]}, INVALID, "where.value.0", "flat list"),
    filtered({**FEMALE, "op": "in"}, "value_type", "where.value", "list"),
    filtered({**FEMALE, "value": ["male"]}, "value_type", "where.value", "use in for a list"),
    filtered(
        {"column": "id", "op": "in", "value": {"view": "encounters"}},
        INVALID,
        "where.value",
        "query",
    ),
    filtered(
        {"column": "birth_date", "op": "lt", "value": "01/01/1955"},
        "value_type",
        "where.value",
        "ISO 8601",
    ),
    filtered(
        {"column": "birth_date", "op": "lt", "value": "2 years ago"},
        "value_type",
        "where.value",
        "today-2y",
    ),
    filtered({**FEMALE, "value": "F"}, "value_never_matches", "where.value", "female", "female"),
    filtered(
        {"column": "gender", "op": "contains", "value": "%fem%"},
        "value_never_matches",
        "where.value",
        "without %",
    ),
    filtered(
        {"column": "id", "op": "in", "query": {"view": "observation_labs", "column": "id"}},
        "column_mismatch",
        "where.query.column",
        "keys of Patient",
        "patient_id",
    ),
    filtered(
        {"column": "id", "query": {"view": "encounters", "min_count": 2}},
        UNKNOWN,
        "where.query.min_count",
        "min_rows",
        "min_rows",
    ),
]
CODED = [
    Mistake(
        {
            "view": "condition_simple",
            "where": {"column": "snomed_code", "op": "eq", "value": written},
        },
        "value_never_matches",
        "where.value",
        "the code alone",
    )
    for written in ("http://snomed.info/sct|38341003", "SNOMED:38341003")
]
GROUPS = [
    Mistake(
        {"group_by": [{"column": "birth_date", "interval": "year"}]},
        UNKNOWN,
        "group_by.0.interval",
        '"bucket": "year"',
    ),
    Mistake(
        {"group_by": [{"column": "birth_date", "bucket": "year", "offset": 7}]},
        UNKNOWN,
        "group_by.0.offset",
        'use "starts"',
        "starts",
    ),
    Mistake(
        {"columns": ["gender", "count(*)"], "group_by": ["gender"]},
        "columns_with_groups",
        "columns",
        '"aggregates": [{"fn": "count"}]',
    ),
    Mistake({"columns": ["count(*)"]}, "unknown_column", "columns[0]", '{"fn": "count"}'),
    Mistake(
        {"columns": ["sum(x)"]}, "unknown_column", "columns[0]", '{"fn": "sum", "column": "x"}'
    ),
    Mistake(
        {"columns": ["count(distinct gender)"]}, "unknown_column", "columns[0]", "count_distinct"
    ),
    Mistake({"columns": ["upper(gender)"]}, "unknown_column", "columns[0]", "query_sql"),
    Mistake({"columns": ["*"]}, "unknown_column", "columns[0]", "leave columns out"),
    Mistake(
        {"columns": ["patient_simple.gender"]},
        "unknown_column",
        "columns[0]",
        "without its view",
        "gender",
    ),
    Mistake(
        {"group_by": ["year(birth_date)"]},
        "unknown_column",
        "group_by[0]",
        '{"column": "birth_date", "bucket": "year"}',
    ),
    Mistake({"columns": "gender"}, INVALID, "columns", '["gender"]'),
    Mistake({"group_by": "gender"}, INVALID, "group_by", '["gender"]'),
    Mistake({"aggregates": ["count"]}, INVALID, "aggregates.0", '{"fn": "count"}'),
    Mistake({"aggregates": ["avg(x)"]}, INVALID, "aggregates.0", '{"fn": "avg", "column": "x"}'),
    Mistake(
        {"aggregates": ["mode(x)"]}, INVALID, "aggregates.0", json.dumps(EXAMPLES["aggregates"])
    ),
    Mistake({"aggregates": {"fn": "count"}}, INVALID, "aggregates", '[{"fn": "count"}]'),
    Mistake({"aggregates": "count"}, INVALID, "aggregates", '[{"fn": "count"}]'),
    Mistake({"aggregates": [{"function": "count"}]}, UNKNOWN, "aggregates.0.function", "fn", "fn"),
    Mistake(
        {"aggregates": [{"fn": "count", "alias": "n"}]},
        UNKNOWN,
        "aggregates.0.alias",
        "name",
        "name",
    ),
    Mistake({"aggregates": [{"fn": "mode"}]}, INVALID, "aggregates.0.fn", "query_sql"),
    Mistake({"aggregates": [{"fn": "medain"}]}, INVALID, "aggregates.0.fn", "query_sql"),
    Mistake({"aggregates": [{"fn": "mean"}]}, INVALID, "aggregates.0.fn", "avg", "avg"),
    Mistake({"aggregates": [{"fn": "latest"}]}, INVALID, "aggregates.0.fn", "last", "last"),
    Mistake({"aggregates": [{"fn": "avg"}]}, "column_missing", "aggregates[0].column", "column"),
    Mistake(
        {"order_by": ["count desc"]},
        INVALID,
        "order_by.0",
        '{"column": "count", "descending": true}',
    ),
    Mistake({"order_by": "gender"}, INVALID, "order_by", '[{"column": "gender"}]'),
    Mistake(
        {"order_by": [{"column": "id", "desc": True}]},
        UNKNOWN,
        "order_by.0.desc",
        "descending",
        "descending",
    ),
    Mistake(
        {"order_by": [{"column": "id", "direction": "desc"}]},
        UNKNOWN,
        "order_by.0.direction",
        '"descending": true',
        "descending",
    ),
    Mistake(
        {"aggregates": [{"fn": "count"}], "order_by": [{"column": "birth_date"}]},
        "unknown_column",
        "order_by[0].column",
        '{"fn": "min", "column": "birth_date"}',
    ),
    Mistake(
        {"columns": ["id"], "order_by": [{"column": "gender"}]},
        "unknown_column",
        "order_by[0].column",
        "add it to columns",
    ),
]
AT_LEAST_3 = '{"column": "count", "op": "ge", "value": 3}'
LEARNT = [
    Mistake({"having": {"count": {"gt": 3}}}, UNKNOWN, "having.count", AT_LEAST_3),
    Mistake({"having": "count > 3"}, INVALID, "having", AT_LEAST_3),
    Mistake({"having": [{"column": "count"}]}, INVALID, "having", f'{{"all_of": [{AT_LEAST_3}]}}'),
    Mistake({"having": {}}, INVALID, "having", "leave it out"),
    Mistake(
        {"group_by": [{"column": "birth_date", "bucket": "week"}]},
        INVALID,
        "group_by.0.bucket",
        "date_trunc('week'",
    ),
    Mistake(
        {"group_by": [{"column": "birth_date", "bucket": "yearly"}]},
        INVALID,
        "group_by.0.bucket",
        "year",
        "year",
    ),
    Mistake(
        {"group_by": [{"column": "birth_date", "interval": "year"}]},
        UNKNOWN,
        "group_by.0.interval",
        '"bucket": "year"',
    ),
    Mistake({"group_by": [{"field": "gender"}]}, UNKNOWN, "group_by.0.field", "column", "column"),
    Mistake(
        {"group_by": {"column": "birth_date", "bucket": "year"}},
        INVALID,
        "group_by",
        '[{"column": "birth_date", "bucket": "year"}]',
    ),
    Mistake(
        {"group_by": [{"column": "birth_date", "width": "ten"}]},
        INVALID,
        "group_by.0.width",
        "a number",
    ),
    Mistake(
        {"aggregates": [{"fn": "count", "where": FEMALE}]},
        UNKNOWN,
        "aggregates.0.where",
        "having",
    ),
    Mistake({"latest_per": {"by": "birth_date"}}, MISSING, "latest_per.key", '"key"'),
    Mistake({"latest_per": {}}, INVALID, "latest_per", "leave it out"),
    Mistake(
        {"latest_per": {"key": "id", "date": "x"}}, UNKNOWN, "latest_per.date", "by", guess="by"
    ),
    filtered({"within": 90}, INVALID, "where.within", '"side": "after"'),
    filtered({"within": {"days": 90}}, MISSING, "where.within.side", '"side": "after"'),
    filtered({"column": "id", "query": "encounters"}, INVALID, "where.query", '"view"'),
    filtered({"at_least": 2}, INVALID, "where.at_least", '{"n": 2, "of": ['),
    Mistake(
        {"chart": "pie", "query": {"view": "encounters"}}, INVALID, "chart", "bar", "bar", "draw"
    ),
    Mistake({"chart": "bar"}, MISSING, "query", '"group_by": ["class_code"]', None, "draw"),
    Mistake({"chart": "bar", "query": "SELECT 1"}, INVALID, "query", '"view"', None, "draw"),
    Mistake(
        {"chart": "bar", "query": {"view": "encounters"}, "x_axis": "a"},
        UNKNOWN,
        "x_axis",
        "x",
        "x",
        "draw",
    ),
]
PLAIN = [
    Mistake({"limit": 1_000_000}, INVALID, "limit", "from 1 to 10000"),
    Mistake({"limit": -5}, INVALID, "limit", "from 1 to 10000"),
    Mistake({"limit": "ten"}, INVALID, "limit", "whole number"),
    Mistake({"as_of": "last week"}, INVALID, "as_of", "anchor's number"),
    Mistake({"as_of": 999}, "anchor_unknown", "as_of", "leave as_of out"),
    Mistake({"max_staleness_s": "1 hour"}, INVALID, "max_staleness_s", "seconds"),
    Mistake({"freshness": "latest"}, INVALID, "freshness", "live", "live"),
    Mistake(
        {"view": "encounters", "show": "schema"},
        INVALID,
        "show",
        "columns",
        "columns",
        tool="describe_view",
    ),
    Mistake(
        {"resources": {"resourceType": "Patient", "id": "1"}},
        INVALID,
        "resources",
        '[{"resourceType": "Patient", "id": "1"}]',
        tool="cache_resources",
    ),
    Mistake({"delete": "Patient/1"}, INVALID, "delete", '["Patient/1"]', tool="cache_resources"),
    Mistake({"wait_s": "long"}, INVALID, "wait_s", "from 0 to 45", tool="refresh_views"),
]


def called(mistake: Mistake) -> str:
    return f"{mistake.tool}-{json.dumps(mistake.given)[:60]}"


@pytest_asyncio.fixture(scope="module")
async def tools(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """A small clinic, refreshed; its tests only read."""
    async with (
        module_stores(services, number=13) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await server.put(patient("ada"), condition("c1", "ada"), lab("l1", "ada", 8.1))
        await server.call("refresh_views")
        yield server


@pytest.mark.parametrize(
    "mistake", [*NAMES, *FILTERS, *CODED, *GROUPS, *LEARNT, *PLAIN], ids=called
)
async def test_a_mistake_is_answered_with_what_mends_it(
    tools: ToolServer, mistake: Mistake
) -> None:
    error = ErrorInfo.model_validate(await tools.error(mistake.tool, **mistake.asked))
    assert (error.code, error.field, error.did_you_mean) == (
        mistake.code,
        mistake.field,
        mistake.guess,
    )
    assert mistake.hint in error.hint
    assert len(error.allowed) <= NAMES_LISTED_MAX
    assert not error.retryable


async def test_filters_that_nothing_meets_are_told_and_not_only_empty(tools: ToolServer) -> None:
    asked = {"view": "condition_simple", "aggregates": [{"fn": "count"}]}
    where = {"column": "clinical_status", "op": "eq", "value": "inpatient"}
    answer = await tools.call("query_view", **asked, where=where)
    assert answer["rows"] == [[0]]
    assert answer["warnings"]


def test_a_long_list_is_the_nearest_names_and_the_count_of_the_rest() -> None:
    names = [f"column_{number}" for number in range(30)]
    columns = [Column(name, "string", "text") for name in names]
    with pytest.raises(QueryError) as caught:
        find_column("colunm_29", columns, view="wide", field="columns[0]")
    error = ErrorInfo.model_validate(caught.value.as_dict())
    assert (error.allowed[0], error.did_you_mean) == ("column_29", "column_29")
    assert (len(error.allowed), error.allowed_more) == (NAMES_LISTED_MAX, 30 - NAMES_LISTED_MAX)
    assert caught.value.allowed_words.endswith("and 10 more")


def test_every_example_is_short_and_taken_by_its_tool() -> None:
    for name, example in EXAMPLES.items():
        assert len(json.dumps(example).encode()) <= EXAMPLE_BYTES_MAX, name
    view = {"view": "patient_simple"}
    for name in sorted(Query.model_fields.keys() & EXAMPLES.keys()):
        value = [EXAMPLES[name]] if name in LISTS else EXAMPLES[name]
        parse_arguments(Query, {**view, name: value}, tool="query_view")
    for name in ("within", "query"):
        where = {"column": "id", name: EXAMPLES[name]}
        parse_arguments(Query, {**view, "where": where}, tool="query_view")
    changes = {name: [EXAMPLES[name]] for name in ("resources", "delete")}
    parse_arguments(CacheResourcesInput, changes, tool="cache_resources")


def test_every_word_of_another_language_leads_to_an_argument_that_exists() -> None:
    for owner, known in words.ARGUMENTS.items():
        fields = {
            name
            for spec in TOOLS
            if owner in [kind.__name__ for kind in spec.arguments.__mro__]
            for name in spec.arguments.model_fields
        }
        named = {word.name for word in known.values() if word.name is not None}
        assert not fields or named <= fields, owner
    functions = {word.name for word in words.VALUES["fn"].values()} - {None}
    assert functions <= set(AggregateFunction.__args__)


@pytest.mark.parametrize("name", ["medain", "medianx", "mim", "maxx", "sums", "average_of"])
def test_no_aggregate_is_guessed_by_its_spelling(name: str) -> None:
    asked = {"view": "patient_simple", "aggregates": [{"fn": name, "column": "id"}]}
    with pytest.raises(QueryError) as caught:
        parse_arguments(Query, asked, tool="query_view")
    assert caught.value.did_you_mean is None
    assert instead("aggregates.0", f"{name}(x)") == f"write {json.dumps(EXAMPLES['aggregates'])}"
