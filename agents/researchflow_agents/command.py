"""What the agents' commands share: the server's address, output, exit codes.

Exit codes: 0 done; 1 the operation failed; 2 wrong usage or input; 3 the MCP server does not
answer; 130 interrupted.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

import orjson
from mcp.client.stdio import StdioServerParameters

from researchflow_agents.errors import (
    INPUT_INVALID,
    OUTPUT_EXISTS,
    SERVER_UNREACHABLE,
    UNSUPPORTED,
    AgentError,
)
from researchflow_agents.session import Server

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130

URL_DEFAULT = "http://127.0.0.1:8730/mcp"
_USAGE_CODES = (INPUT_INVALID, UNSUPPORTED, OUTPUT_EXISTS)


class Parser(ArgumentParser):
    """Exact option names; usage errors in two short lines and exit code 2."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", RawDescriptionHelpFormatter)
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and where the help is."""
        sys.stderr.write(f"error: {message}\nhint: see `{self.prog} --help`\n")
        raise SystemExit(USAGE)


def add_server_arguments(parser: ArgumentParser) -> None:
    """Where the MCP server is, and which state of the views to read."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", default=URL_DEFAULT, help=f"MCP endpoint; {URL_DEFAULT}")
    where.add_argument("--stdio", metavar="COMMAND", help="start this MCP server instead")
    parser.add_argument(
        "--as-of", metavar="ANCHOR|PIN|INSTANT", type=as_of, help="read an earlier anchor"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def server_of(arguments: Namespace) -> Server:
    """The server that the arguments name."""
    if arguments.stdio is None:
        return str(arguments.url)
    words = shlex.split(arguments.stdio)
    if not words:
        raise AgentError.of(
            INPUT_INVALID, '"--stdio" names no command', field="stdio", hint="give the command"
        )
    return StdioServerParameters(command=words[0], args=words[1:])


def as_of(text: str) -> int | datetime | str:
    """An anchor number, a pin's name, which begins with a letter, or an instant; ValueError."""
    if text[:1].isalpha():
        return text
    return int(text) if text.isdecimal() else datetime.fromisoformat(text)


def run_command(parser: ArgumentParser, argv: Sequence[str] | None) -> int:
    """Runs the coroutine `arguments.run`; gives its exit code."""
    arguments = parser.parse_args(argv)
    try:
        return int(asyncio.run(arguments.run(arguments)))
    except AgentError as error:
        show_error(error, as_json=arguments.json)
        return exit_code(error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return OK


def exit_code(error: AgentError) -> int:
    """The exit code that tells a script what to do."""
    if error.code == SERVER_UNREACHABLE:
        return UNREACHABLE
    return USAGE if error.code in _USAGE_CODES else FAILED


def show_error(error: AgentError, *, as_json: bool) -> None:
    """The error on stderr: one line and a hint, or its JSON."""
    if as_json:
        payload = {"error": error.info.model_dump(mode="json", exclude_none=True)}
        text = orjson.dumps(payload).decode() + "\n"
    else:
        text = f"error: {error.message} [{error.code}]\nhint: {error.hint}\n"
    sys.stderr.write(text)
