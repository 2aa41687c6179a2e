"""The command `researchflow`.

Exit codes: 0 done; 1 the operation failed; 2 wrong usage or setting; 3 PostgreSQL, Redis or an
embedded service cannot be reached; 4 a port cannot be listened on; 5 another refresh is running;
6 refreshed, but some view was set aside or earlier anchors could not be given up; 7 a store does
not take us as it is set up; 8 a store is full; 9 a store was too busy, try again; 130 interrupted
or cancelled.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Coroutine, Sequence
from importlib.metadata import version
from typing import Any

import uvloop

from researchflow_runners.errors import ResearchFlowError
from researchflow_server.cli.outcome import INTERRUPTED, exit_code, show_error
from researchflow_server.cli.parser import Parser
from researchflow_server.fault import internal_error, keep_discreet, place_of, sole

PACKAGE = "researchflow_server.cli"
#: Objects made before cycles among them are looked for. Parsed resources have none and die by
#: themselves: with Python's 700, looking took a fifth of the time of a load.
COLLECT_AFTER_OBJECTS = 50_000

#: Command → what it does; the module of the same name carries its arguments. Only the module of
#: the command given is imported, which keeps `--help` and `status` quick.
COMMANDS = {
    "serve": "answer MCP clients over stdio or HTTP",
    "demo": "show the main job on a synthetic hospital",
    "load": "fill the source from FHIR NDJSON or Bundles",
    "refresh": "bring the views up to the source",
    "query": "ask a view",
    "sql": "ask the views with one SELECT",
    "draw": "draw a picture of an answer",
    "codes": "find the codes that occur for words",
    "source": "prepare the FHIR server's database to tell its changes",
    "subscribe": "have FHIR servers tell of changes",
    "unsubscribe": "have them tell no more",
    "status": "show how fresh the views are",
    "view": "compile, run, validate, register or drop a view",
    "anchor": "list, describe, pin, give up or verify anchors",
    "backup": "save what cannot be rebuilt from the source",
    "restore": "bring a backup into an empty warehouse",
    "fhirpath": "evaluate a FHIRPath expression over resources",
    "conformance": "run the SQL on FHIR test suites of a directory",
    "bench": "measure, and print each figure with its conditions",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; gives its exit code. What it writes is for its user alone."""
    os.umask(0o077)
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(given).parse_args(given)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            keep_discreet(runner.get_loop())
            return int(runner.run(_ended_by_sigterm(arguments.run(arguments))))
    except ResearchFlowError as error:
        return _failed(error, arguments)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001  the outermost edge
        fault = internal_error(arguments.command, f"report this place: {place_of(error)}")
        return _failed(sole(error) or fault, arguments)


async def _ended_by_sigterm(command: Coroutine[Any, Any, int]) -> int:
    """The command; SIGTERM cancels it like SIGINT, so that it leaves nothing running behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await command


def _failed(error: ResearchFlowError, arguments: Namespace) -> int:
    show_error(error, as_json=getattr(arguments, "json", False))
    return exit_code(error)


def _parser(given: Sequence[str]) -> Parser:
    parser = Parser(
        prog="researchflow",
        description="Ask a FHIR server over MCP and get a right, fresh, dated answer.",
        epilog="example: researchflow serve --http",
    )
    parser.add_argument("--version", action="version", version=version("researchflow"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((word for word in given if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        if name == chosen:
            importlib.import_module(f"{PACKAGE}.{name}").register(command)
    return parser
