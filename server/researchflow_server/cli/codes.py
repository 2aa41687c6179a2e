"""`researchflow codes`: which codes occur in the data for words, without a server."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from researchflow_runners.codes.query import LIMIT_DEFAULT, CodeQuery
from researchflow_server.cli.outcome import OK
from researchflow_server.cli.parser import with_example
from researchflow_server.cli.query import show_answer
from researchflow_server.console import console, show_json
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import read_settings
from researchflow_server.tools.arguments import parse_arguments
from researchflow_server.tools.find_codes import MORE
from researchflow_server.tools.query_view import answer_payload


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("text", metavar="TEXT", help="words, an abbreviation or a code")
    parser.add_argument("--view", help="only codes of this view")
    parser.add_argument("--system", help="only of this system: its URL, or loinc, snomed, icd10 …")
    parser.add_argument("--limit", type=int, default=LIMIT_DEFAULT)
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    with_example(
        parser, "researchflow codes 'high blood pressure'", "researchflow codes A1c --json"
    )
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Shows the codes and where they come from."""
    asked = {name: getattr(arguments, name) for name in ("text", "view", "system", "limit")}
    query = parse_arguments(CodeQuery, asked, tool="codes")
    async with open_runtime(read_settings(), background=False) as runtime:
        answer = await runtime.hybrid.find_codes(query)
    if arguments.json:
        show_json(answer_payload(answer))
        return OK
    show_answer(answer)
    if answer.truncated:
        console().print(MORE)
    return OK
