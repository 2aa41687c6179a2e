"""`researchflow conformance`: runs the official test suites of SQL on FHIR."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from researchflow_runners.conformance import (
    Case,
    Malformed,
    Result,
    Suite,
    judge,
    read_suites,
    report,
)
from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.store.database import Database
from researchflow_server.cli.database import open_database
from researchflow_server.cli.outcome import FAILED, OK, UsageError
from researchflow_server.cli.parser import with_example
from researchflow_server.console import show_text
from researchflow_server.fault import place_of
from researchflow_server.settings import Settings, read_settings


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument(
        "directory",
        type=Path,
        metavar="DIR",
        help="where the *.json suites are, in subdirectories too",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the official report")
    with_example(parser, "researchflow conformance ./sql-on-fhir/tests --report test_report.json")
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Names each case that failed; the last line counts."""
    target: Path | None = arguments.report
    if target is not None:
        _check_folder(target)
    results = await results_of(read_suites(arguments.directory, besides=target), read_settings())
    if target is not None:
        _write(target, results)
    failed = [one for one in results if not one.passed]
    for one in failed:
        show_text(f"failed: {one.file}: {' '.join(one.title.split())}: {one.reason}")
    show_text(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return FAILED if failed else OK


async def results_of(suites: Sequence[Suite], settings: Settings) -> list[Result]:
    """Every case's result, in the order of the suites; nothing is written to the database."""
    async with open_database(settings) as database:
        return [
            Result(suite.file, case.title, await _reason(database, suite, case))
            for suite in suites
            for case in suite.cases
        ]


async def _reason(database: Database, suite: Suite, case: Case | Malformed) -> str | None:
    try:
        async with database.session() as session:
            return await judge(session, suite, case)
    except ResearchFlowError:
        raise
    except Exception as error:  # noqa: BLE001  a fault in one case hides no other's result
        return f"fault inside the program: {place_of(error)}"


def _check_folder(target: Path) -> None:
    """Refuses a report that could not be written after all cases have run."""
    if not target.absolute().parent.is_dir():
        raise _unwritable(target, "its directory does not exist")


def _write(target: Path, results: Sequence[Result]) -> None:
    text = json.dumps(report(results), indent=2, ensure_ascii=False)
    try:
        target.write_text(text + "\n", "utf-8")
    except OSError as error:
        raise _unwritable(target, error.strerror or "it cannot be opened") from error


def _unwritable(target: Path, why: str) -> UsageError:
    return UsageError(
        f'the report "{target}" cannot be written: {why}',
        code="usage",
        field="report",
        hint="give --report a file in a directory that exists",
    )
