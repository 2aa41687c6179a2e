"""The command `researchflow-extract`, also `python -m researchflow_agents.extraction`."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from researchflow_agents.client import ToolClient
from researchflow_agents.command import OK, Parser, add_server_arguments, run_command, server_of
from researchflow_agents.extraction.agent import run_extraction
from researchflow_agents.extraction.manifest import ExtractionResult
from researchflow_agents.extraction.request import parse_request
from researchflow_agents.phenotype.reading import read_json

_EXAMPLES = """examples:
  researchflow-extract run request.json --out extract
  researchflow-extract run request.json --out extract --as-of 12 --json
  researchflow-extract examples          where requests to start from are"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    parser = Parser(
        prog="researchflow-extract",
        description="Write a cohort's records as CSV, through an MCP server's tools.",
        epilog=_EXAMPLES,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="write the files of a request", epilog=_EXAMPLES)
    run.add_argument("file", type=Path, metavar="FILE", help="cohort and data elements as JSON")
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    add_server_arguments(run)
    run.set_defaults(run=_run)
    examples = commands.add_parser("examples", help="list the requests that ship with it")
    examples.set_defaults(run=_examples, json=False)
    return run_command(parser, argv)


async def _run(arguments: Namespace) -> int:
    request = parse_request(read_json(arguments.file))
    with Status("reading the cohort", console=Console(stderr=True)) as status:

        def progress(name: str, rows: int) -> None:
            status.update(f"{name}: {rows} rows")

        async with ToolClient.connect(server_of(arguments)) as client:
            result = await run_extraction(
                client, request, arguments.out, as_of=arguments.as_of, progress=progress
            )
    if arguments.json:
        sys.stdout.write(result.model_dump_json(by_alias=True) + "\n")
    else:
        show(result, arguments.out, Console())
    return OK


async def _examples(_arguments: Namespace) -> int:
    folder = resources.files(__package__).joinpath("examples")
    for path in sorted(str(each) for each in folder.iterdir()):
        sys.stdout.write(f"{path}\n")
    return OK


def show(result: ExtractionResult, out: Path, console: Console) -> None:
    """The files and what dates them, for a reader."""
    table = Table(title=Text(result.title), title_justify="left", box=None)
    for name in ("file", "rows", "bytes", "sha256"):
        table.add_column(name, justify="right" if name in ("rows", "bytes") else "left")
    for file in result.files:
        rows, size = str(file.row_count), str(file.size_bytes)
        table.add_row(Text(file.file), rows, size, file.sha256[:12])
    console.print(table)
    console.print(
        f"{result.patients} patients, anchor {result.anchor}, data as of {result.data_as_of}",
        highlight=False,
    )
    console.print(Text(f"written to {out}"))
    for line in _notes(result):
        console.print(Text(f"note: {line}"))


def _notes(result: ExtractionResult) -> list[str]:
    notes = [*result.warnings]
    for file in result.files:
        notes += [f"{file.file}: {line}" for line in (*file.degradations, *file.warnings)]
        if file.formula_like_cells:
            notes.append(
                f"{file.file}: {file.formula_like_cells} text cells begin like a formula; "
                "import them as text"
            )
    return notes


if __name__ == "__main__":
    sys.exit(main())
