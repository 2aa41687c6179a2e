"""`researchflow query`: asks a view, without a server."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

import orjson

from researchflow_runners.hybrid.result import Answer
from researchflow_runners.query.model import LIMIT_DEFAULT, Query
from researchflow_server.cli.outcome import OK, UsageError
from researchflow_server.cli.parser import with_example
from researchflow_server.console import console, rows_shown, show_json
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import read_settings
from researchflow_server.tools.arguments import parse_arguments
from researchflow_server.tools.query_view import answer_payload


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("view", metavar="VIEW")
    parser.add_argument("--columns", metavar="A,B", help="columns of the answer")
    parser.add_argument("--where", metavar="JSON", help="filter, as the query_view tool takes it")
    parser.add_argument("--group-by", metavar="A,B")
    parser.add_argument(
        "--aggregate", action="append", default=[], metavar="FN[:COLUMN]", help="such as count"
    )
    parser.add_argument("--order-by", metavar="A,B:desc")
    add_asking(parser)
    with_example(
        parser,
        "researchflow query patient_simple --group-by gender --aggregate count",
        """researchflow query observation_labs --where '{"column": "code", "op": "eq", \
"value": "4548-4"}' --order-by issued:desc --limit 5 --json""",
    )
    parser.set_defaults(run=run)


def add_asking(parser: ArgumentParser) -> None:
    """Adds which state is asked, which part of the answer, and how it is shown."""
    parser.add_argument("--limit", type=int, default=LIMIT_DEFAULT)
    parser.add_argument("--cursor", help="next_cursor of the page before")
    parser.add_argument("--freshness", choices=("live", "anchored"))
    parser.add_argument("--as-of", metavar="ANCHOR|PIN|INSTANT")
    parser.add_argument("--max-staleness-s", type=float, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def asking(arguments: Namespace) -> dict[str, Any]:
    """What `add_asking` took, without what was not given."""
    names = ("limit", "cursor", "freshness", "as_of", "max_staleness_s")
    given = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


async def run(arguments: Namespace) -> int:
    """Shows the answer and where it comes from."""
    query = parse_arguments(Query, _asked(arguments), tool="query")
    async with open_runtime(read_settings(), background=False) as runtime:
        show(await runtime.hybrid.query(query), as_json=arguments.json)
    return OK


def _asked(arguments: Namespace) -> dict[str, Any]:
    asked = {
        "view": arguments.view,
        "columns": _list(arguments.columns),
        "where": _json(arguments.where),
        "group_by": _list(arguments.group_by),
        "aggregates": [_aggregate(text) for text in arguments.aggregate],
        "order_by": [_order(text) for text in _list(arguments.order_by) or []],
    }
    given = {name: value for name, value in asked.items() if value is not None}
    return {**given, **asking(arguments)}


def _list(text: str | None) -> list[str] | None:
    return [part.strip() for part in text.split(",")] if text else None


def _json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f'"--where" is not JSON: {error.msg} at character {error.pos}',
            code="usage",
            field="where",
            hint="quote it for the shell: --where '{\"column\": …}'",
        ) from error


def _aggregate(text: str) -> dict[str, str]:
    function, _colon, column = text.partition(":")
    return {"fn": function, "column": column} if column else {"fn": function}


def _order(text: str) -> dict[str, Any]:
    column, _colon, direction = text.partition(":")
    if direction not in ("", "asc", "desc"):
        raise UsageError(
            f'"{direction}" is not a direction',
            code="usage",
            field="order_by",
            allowed=("asc", "desc"),
            hint="write --order-by column or column:desc",
        )
    return {"column": column, "descending": direction == "desc"}


def show(answer: Answer, *, as_json: bool) -> None:
    """The answer, and how to go on after it."""
    if as_json:
        show_json(answer_payload(answer))
        return
    show_answer(answer)
    if answer.truncated:
        console().print(f"more rows exist: --cursor {answer.next_cursor}", soft_wrap=True)


def show_answer(answer: Answer) -> None:
    """The rows, where they come from, and what is wrong with them."""
    out = console()
    payload = answer_payload(answer)
    out.print(rows_shown([column.name for column in answer.columns], answer.rows, out.width))
    out.print(provenance(payload))
    for warning in payload["warnings"]:
        out.print(f"warning: {warning}")


def provenance(payload: dict[str, Any]) -> str:
    """Where an answer comes from, in a line."""
    speed = payload["speed"]
    parts = [f"{payload['row_count']} rows", payload["freshness"], payload["route"]]
    if payload["anchor"] is not None:
        parts.append(f"anchor {payload['anchor']}")
    parts.append(f"data as of {str(payload['data_as_of'])[:19]}")
    stale = payload["staleness_s"]
    seen_at = str(payload["checked_at"])[:19]
    parts.append("staleness unknown" if stale is None else f"stale {stale:.0f} s at {seen_at}")
    added = speed["rows_added"]
    waiting = f"{speed['entries']} changes waiting"
    parts.append(waiting if added is None else f"{waiting}, {added} rows from them")
    parts += [f"degraded: {one['code']}" for one in payload["degradations"]]
    return " · ".join(parts)
