"""`researchflow bench`: measures, and prints each figure with its conditions."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from researchflow_runners.naming import nearest
from researchflow_server.bench.build import build_and_refresh
from researchflow_server.bench.figure import Figure, machine
from researchflow_server.bench.merge import merge_cost
from researchflow_server.bench.overhead import tool_overhead
from researchflow_server.bench.visible import insert_to_visible
from researchflow_server.bench.ward import ward
from researchflow_server.cli.console import console, progress_bar, show_json, table
from researchflow_server.cli.outcome import FAILED, OK, UsageError
from researchflow_server.cli.parser import with_example

#: In this order; all share one loaded hospital. The last ones leave changes waiting.
BENCHMARKS = {
    "build": build_and_refresh,
    "overhead": tool_overhead,
    "visible": insert_to_visible,
    "merge": merge_cost,
}


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    with_example(parser, "researchflow bench", "researchflow bench overhead --json")
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Fails when a figure is not within its bound."""
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        raise UsageError(
            f'there is no benchmark "{unknown[0]}"',
            code="usage",
            field="names",
            allowed=tuple(BENCHMARKS),
            did_you_mean=nearest(unknown[0], BENCHMARKS),
            hint=f"name some of {', '.join(BENCHMARKS)}",
        )
    figures: list[Figure] = []
    wanted = [name for name in BENCHMARKS if name in (arguments.names or BENCHMARKS)]
    with progress_bar(quiet=arguments.json) as bar:
        async with ward(bar) as loaded:
            for name in wanted:
                figures += await BENCHMARKS[name](loaded, bar)
    if arguments.json:
        show_json({"machine": machine(), "figures": [asdict(figure) for figure in figures]})
    else:
        _show(figures)
    return OK if all(figure.holds for figure in figures) else FAILED


def _show(figures: list[Figure]) -> None:
    columns = ["figure", "value", "unit", "bound", "runs", "data"]
    rows = [
        [
            figure.name,
            f"{figure.value:,.2f}",
            figure.unit,
            figure.bound,
            figure.runs,
            figure.data,
        ]
        for figure in figures
    ]
    out = console()
    out.print(machine())
    out.print(table(columns, rows))
