"""`researchflow sql`: asks the views with one SELECT, without a server."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

import orjson

from researchflow_runners.query.model import SqlQuery
from researchflow_server.cli.outcome import OK, UsageError
from researchflow_server.cli.parser import with_example
from researchflow_server.cli.query import add_asking, asking, show
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import read_settings
from researchflow_server.tools.arguments import parse_arguments


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("sql", metavar="SELECT")
    parser.add_argument(
        *("--parameter", "-p"),
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="a text for :NAME; NAME:=JSON for a number, true, false or a list",
    )
    add_asking(parser)
    with_example(
        parser,
        """researchflow sql 'SELECT DISTINCT ON (patient_id) patient_id, value_quantity \
FROM observation_labs WHERE code = :code \
ORDER BY patient_id, effective_datetime::timestamptz DESC, id' --parameter code=4548-4""",
    )
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Shows the answer and where it comes from."""
    asked = {
        "sql": arguments.sql,
        "parameters": dict(_parameter(text) for text in arguments.parameter),
        **asking(arguments),
    }
    query = parse_arguments(SqlQuery, asked, tool="sql")
    async with open_runtime(read_settings(), background=False) as runtime:
        show(await runtime.hybrid.query_sql(query), as_json=arguments.json)
    return OK


def _parameter(text: str) -> tuple[str, Any]:
    """The name and the value: a text after `=`, JSON after `:=`."""
    name, sign, value = text.partition("=")
    if not name.removesuffix(":") or not sign:
        raise _refused(f'"{text}" gives no parameter a value')
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise _refused(f'the value of "{name[:-1]}" is not JSON') from error


def _refused(message: str) -> UsageError:
    return UsageError(
        message,
        code="usage",
        field="parameter",
        hint="write --parameter name=text, or name:=7.5 for what is no text",
    )
