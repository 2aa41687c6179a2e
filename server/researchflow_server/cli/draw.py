"""`researchflow draw`: a picture of an answer as a file, without a server."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import orjson

from researchflow_server.cli.outcome import OK, UsageError
from researchflow_server.cli.parser import with_example
from researchflow_server.console import console, show_json
from researchflow_server.contract import DrawInput
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import read_settings
from researchflow_server.tools.arguments import parse_arguments
from researchflow_server.tools.draw import run as draw
from researchflow_server.tools.spec import Call


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("call", metavar="JSON|@FILE", help="the arguments of the tool draw")
    parser.add_argument("--output", metavar="FILE", type=Path, default=Path("picture.png"))
    parser.add_argument("--json", action="store_true", help="print the data as JSON")
    with_example(
        parser,
        """researchflow draw '{"chart": "bar", "query": {"view": "patient_simple", \
"group_by": ["gender"], "aggregates": [{"fn": "count"}]}, "x": "gender", "y": "count"}'""",
        "researchflow draw @call.json --output picture.png",
    )
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Writes the picture; what it shows is told too."""
    asked = parse_arguments(DrawInput, _call(arguments.call), tool="draw")
    settings = read_settings()
    async with open_runtime(settings, background=False) as runtime:
        found = await draw(Call(runtime, _unheard, settings.result_bytes_max), asked)
    try:
        arguments.output.write_bytes(found.png)
    except OSError as error:
        raise UsageError(
            f'"{arguments.output}" cannot be written: {error.strerror}',
            code="usage",
            field="output",
            hint="name a file in a directory of yours",
        ) from error
    if arguments.json:
        show_json(found.payload)
    else:
        title = found.specification["title"]
        console().print("\n".join((*title["text"], *title["subtitle"], str(arguments.output))))
    return OK


def _call(given: str) -> dict[str, Any]:
    """The call, from the file that is named after an @ or as it is given."""
    try:
        text = Path(given[1:]).read_bytes() if given.startswith("@") else given
        found = orjson.loads(text)
    except OSError as error:
        raise UsageError(
            f'"{given[1:]}" cannot be read: {error.strerror}',
            code="usage",
            field="call",
            hint="name a file that holds the arguments of draw",
        ) from error
    except orjson.JSONDecodeError as error:
        raise UsageError(
            f"the call is not JSON: {error.msg} at character {error.pos}",
            code="usage",
            field="call",
            hint="quote it for the shell: '{\"chart\": …}'",
        ) from error
    if not isinstance(found, dict):
        raise UsageError(
            "the call is no object",
            code="usage",
            field="call",
            hint='give the arguments of draw: {"chart": …, "query": …}',
        )
    return found


async def _unheard(_done: float, _total: float, _message: str) -> None:
    """Nobody waits for the progress of a picture."""
