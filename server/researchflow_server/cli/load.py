"""`researchflow load`: fills the source of an embedded or development deployment."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path

from researchflow_runners.source.load import LoadReport, Progress, load, load_resources
from researchflow_runners.source.synthetic import hospital
from researchflow_server.cli.outcome import FAILED, OK, UsageError
from researchflow_server.cli.parser import with_example
from researchflow_server.console import progress_bar, show_json, show_text
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.settings import read_settings

NEXT = "next: researchflow refresh"


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="file or directory")
    parser.add_argument(
        "--synthetic", action="store_true", help="a hospital that does not exist, for trying"
    )
    parser.add_argument(
        "--development",
        action="store_true",
        help="write to HAPI tables that researchflow did not make",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    with_example(
        parser,
        "researchflow load ./export            *.ndjson, *.ndjson.gz, Bundles",
        "researchflow load --synthetic         105 invented patients",
    )
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Loads everything that is valid; fails when lines were rejected."""
    if arguments.synthetic == bool(arguments.paths):
        raise UsageError(
            "give either paths or --synthetic",
            code="usage",
            field="paths",
            hint="see `researchflow load --help`",
        )
    async with open_runtime(read_settings(), background=False) as runtime:
        if arguments.synthetic:
            return await _synthetic(runtime, arguments)
        with progress_bar(quiet=arguments.json) as bar:
            task = bar.add_task("loading", total=None)

            def show(progress: Progress) -> None:
                bar.update(
                    task,
                    completed=progress.bytes_read,
                    total=progress.bytes_total,
                    description=f"{progress.resources:,} resources",
                )

            report = await load(
                runtime.stores.source,
                arguments.paths,
                development=arguments.development,
                progress=show,
            )
    if arguments.json:
        show_json({**asdict(report), "rejections": [asdict(one) for one in report.rejections]})
    else:
        show_text(_summary(report))
    return FAILED if report.rejected else OK


async def _synthetic(runtime: Runtime, arguments: Namespace) -> int:
    tally = await load_resources(
        runtime.stores.source, hospital(), development=arguments.development
    )
    if arguments.json:
        show_json(asdict(tally))
    else:
        show_text(f"{tally.created:,} created, {tally.unchanged:,} unchanged\n{NEXT}")
    return OK


def _summary(report: LoadReport) -> str:
    lines = [
        f"{report.resources:,} resources in {report.duration_s:.1f} s "
        f"({report.resources_per_s:,.0f}/s): {report.created:,} created, "
        f"{report.updated:,} updated, {report.unchanged:,} unchanged, {report.deleted:,} deleted"
    ]
    if report.rejected:
        lines.append(f"{report.rejected:,} rejected:")
        lines += [f"  {one}" for one in report.rejections]
    else:
        lines.append(NEXT)
    return "\n".join(lines)
