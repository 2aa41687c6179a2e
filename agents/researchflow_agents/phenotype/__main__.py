"""The command `researchflow-phenotype`, also `python -m researchflow_agents.phenotype`."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from researchflow_agents.client import ToolClient
from researchflow_agents.command import OK, Parser, add_server_arguments, run_command, server_of
from researchflow_agents.phenotype.agent import run_phenotype
from researchflow_agents.phenotype.reading import parse_phenotype, read_json
from researchflow_agents.phenotype.result import PhenotypeResult

_EXAMPLES = """examples:
  researchflow-phenotype run criteria.json
  researchflow-phenotype run criteria.json --as-of 12 --json
  researchflow-phenotype examples        where criteria to start from are"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    parser = Parser(
        prog="researchflow-phenotype",
        description="Count a cohort and its attrition, through an MCP server's tools.",
        epilog=_EXAMPLES,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = commands.add_parser("run", help="count the cohort of a criteria file", epilog=_EXAMPLES)
    run.add_argument("file", type=Path, metavar="FILE", help="criteria as JSON")
    run.add_argument(
        "--freshness",
        choices=("anchored", "live"),
        default="anchored",
        help="live merges changes newer than the anchor",
    )
    add_server_arguments(run)
    run.set_defaults(run=_run)
    examples = commands.add_parser("examples", help="list the criteria files that ship with it")
    examples.set_defaults(run=_examples, json=False)
    return run_command(parser, argv)


async def _run(arguments: Namespace) -> int:
    phenotype = parse_phenotype(read_json(arguments.file))
    async with ToolClient.connect(server_of(arguments)) as client:
        result = await run_phenotype(
            client, phenotype, freshness=arguments.freshness, as_of=arguments.as_of
        )
    if arguments.json:
        sys.stdout.write(result.model_dump_json(by_alias=True) + "\n")
    else:
        show(result, Console())
    return OK


async def _examples(_arguments: Namespace) -> int:
    folder = resources.files(__package__).joinpath("examples")
    for path in sorted(str(each) for each in folder.iterdir()):
        sys.stdout.write(f"{path}\n")
    return OK


def show(result: PhenotypeResult, console: Console) -> None:
    """The count, the attrition and what dates them, for a reader."""
    table = Table(title=Text(result.phenotype.title), title_justify="left", box=None)
    for name in ("criterion", "patients", "removed", "undecided"):
        table.add_column(name, justify="left" if name == "criterion" else "right")
    table.add_row("all patients", str(result.patients), "", "")
    for step in result.attrition:
        undecided = "?" if step.undecided is None else str(step.undecided)
        table.add_row(Text(step.label), str(step.count), str(step.removed), undecided)
    console.print(table)
    console.print(
        f"{result.count} patients, {result.freshness}, anchor {result.anchor}, data as of "
        f"{result.data_as_of}, ages on {result.on}",
        highlight=False,
    )
    for line in (*result.degradations, *result.warnings):
        console.print(Text(f"note: {line}"))


if __name__ == "__main__":
    sys.exit(main())
