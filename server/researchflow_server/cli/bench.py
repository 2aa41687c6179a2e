"""`researchflow bench`: measures, and prints each figure with its conditions."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial

from rich.progress import Progress

from researchflow_runners.naming import nearest
from researchflow_server.bench.build import build_and_refresh
from researchflow_server.bench.codes import find_among_many
from researchflow_server.bench.figure import Figure, machine
from researchflow_server.bench.follow import commit_to_visible
from researchflow_server.bench.growth import refresh_growth
from researchflow_server.bench.hashing import hash_cost
from researchflow_server.bench.latest import latest_cost
from researchflow_server.bench.merge import merge_cost
from researchflow_server.bench.overhead import tool_overhead
from researchflow_server.bench.peers import against_peers
from researchflow_server.bench.pictures import picture_time
from researchflow_server.bench.questions import question_cost
from researchflow_server.bench.stress import feed_to_visible
from researchflow_server.bench.views import view_speed
from researchflow_server.bench.visible import insert_to_visible
from researchflow_server.bench.ward import ward
from researchflow_server.cli.outcome import FAILED, OK, UsageError
from researchflow_server.cli.parser import with_example
from researchflow_server.console import console, progress_bar, show_json, table

#: Those that need nothing of the others, in databases of their own.
ALONE: dict[str, Callable[[Progress], Awaitable[list[Figure]]]] = {
    "views": view_speed,
    "peers": against_peers,
    "growth": refresh_growth,
    "codes": find_among_many,
}
#: The same at sizes that take half an hour; only by name.
LARGE: dict[str, Callable[[Progress], Awaitable[list[Figure]]]] = {
    "growth-large": partial(refresh_growth, large=True),
}
#: In this order; all share one loaded hospital. The last ones leave changes waiting.
ON_WARD = {
    "build": build_and_refresh,
    "hashing": hash_cost,
    "latest": latest_cost,
    "overhead": tool_overhead,
    "pictures": picture_time,
    "questions": question_cost,
    "visible": insert_to_visible,
    "stress": feed_to_visible,
    "merge": merge_cost,
    "follow": commit_to_visible,
}
BENCHMARKS = (*ALONE, *ON_WARD)
NAMES = (*BENCHMARKS, *LARGE)


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the figures as JSON")
    form.add_argument("--markdown", action="store_true", help="print them as a table of Markdown")
    with_example(parser, "researchflow bench", "researchflow bench overhead --json")
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Fails when a figure is not within its bound."""
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown:
        raise UsageError(
            f'there is no benchmark "{unknown[0]}"',
            code="usage",
            field="names",
            allowed=NAMES,
            did_you_mean=nearest(unknown[0], NAMES),
            hint=f"name some of {', '.join(NAMES)}",
        )
    figures: list[Figure] = []
    wanted = [name for name in NAMES if name in (arguments.names or BENCHMARKS)]
    alone = ALONE | LARGE
    with progress_bar(quiet=arguments.json) as bar:
        for name in wanted:
            if name in alone:
                figures += await alone[name](bar)
        if any(name in ON_WARD for name in wanted):
            async with ward(bar) as loaded:
                for name in wanted:
                    if name in ON_WARD:
                        figures += await ON_WARD[name](loaded, bar)
    if arguments.json:
        show_json({"machine": machine(), "figures": [asdict(figure) for figure in figures]})
    elif arguments.markdown:
        _show_markdown(figures)
    else:
        _show(figures)
    return OK if all(figure.holds for figure in figures) else FAILED


def _show(figures: list[Figure]) -> None:
    columns = ["figure", "value", "unit", "bound", "runs", "data"]
    rows = [
        [
            figure.name,
            figure.measured,
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


def _show_markdown(figures: list[Figure]) -> None:
    lines = [machine(), "", "| figure | measured | aim | data |", "|---|---|---|---|"]
    for figure in figures:
        measured = f"{figure.measured} {figure.unit}"
        lines.append(f"| {figure.name} | {measured} | {figure.bound} | {figure.data} |")
    console().print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)
