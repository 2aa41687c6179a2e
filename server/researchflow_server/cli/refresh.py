"""`researchflow refresh`: brings the views up to the source."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from researchflow_runners.batch.catalogue import UNCHANGED, CatalogueChange
from researchflow_runners.batch.result import Progress, RefreshResult
from researchflow_runners.batch.run import cancel_run
from researchflow_runners.errors import ResearchFlowError
from researchflow_server.cli.outcome import OK, PARTIAL, show_error
from researchflow_server.cli.parser import with_example
from researchflow_server.cli.source_words import COUNTS_MISSING, count_words
from researchflow_server.console import progress_bar, show_json, show_text
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.settings import read_settings

EXIT_CODES = """exit codes:
  0    the views are up to date: a new anchor, or nothing had changed
  1    failed; the views keep their last anchor
  2    wrong usage or setting
  3    PostgreSQL, Redis or the FHIR server's database cannot be reached
  5    another refresh is running; it will do the work
  6    the views are up to date, but some view was set aside (`researchflow status` says which and
       why), or earlier anchors could not be given up (the error on stderr says why)
  7    PostgreSQL or Redis does not take us as it is set up: password, certificate, Redis that
       evicts, is too old or a replica
  8    PostgreSQL or Redis has no disk or memory left
  9    PostgreSQL or Redis was too busy: a deadline or a conflict; try again
  130  interrupted or cancelled; `researchflow status` shows the last anchor that was published"""


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--cancel", action="store_true", help="end the refresh that runs, of whichever process"
    )
    with_example(parser, "researchflow refresh", "researchflow refresh --json    for a scheduler")
    parser.epilog = f"{parser.epilog}\n\n{EXIT_CODES}"
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Publishes a new anchor; the views keep their old one when it fails."""
    if arguments.cancel:
        return await _cancel(as_json=arguments.json)
    return await refresh(UNCHANGED, as_json=arguments.json)


async def _cancel(*, as_json: bool) -> int:
    """Ends the refresh that runs; done as well when there is none."""
    async with open_runtime(read_settings(), background=False) as runtime:
        run_id = await cancel_run(runtime.stores.warehouse)
    if as_json:
        show_json({"cancelled": run_id})
    else:
        show_text("no refresh is running" if run_id is None else f"refresh {run_id} is cancelled")
    return OK


async def refresh(change: CatalogueChange, *, as_json: bool) -> int:
    """Publishes a new anchor with the views as `change` makes them, and tells the result."""
    async with open_runtime(read_settings(), background=False) as runtime:
        await runtime.require_source()
        with progress_bar(quiet=as_json) as bar:
            task = bar.add_task("comparing", total=None)

            async def show(progress: Progress) -> None:
                words = f"{progress.phase} {progress.view or ''}".strip()
                bar.update(task, completed=progress.done, total=progress.total, description=words)

            result = await runtime.refresher.refresh(show, change=change)
        if as_json:
            show_json(asdict(result))
        else:
            show_text(summary(result))
        is_kept = await _keep_up(runtime, as_json=as_json)
    return OK if is_kept and not result.set_aside else PARTIAL


async def _keep_up(runtime: Runtime, *, as_json: bool) -> bool:
    """Gives up what may leave; where no server runs, nobody else would.

    False when that failed, which is told and undoes nothing of what was published.
    """
    try:
        await runtime.expire_anchors()
        await runtime.prune_outbox()
    except ResearchFlowError as error:
        show_error(error, as_json=as_json)
        return False
    return True


def summary(result: RefreshResult) -> str:
    """The result in words."""
    built = [view.name for view in result.views if view.built]
    what = f"{result.changed:,} changed resources" if result.published else "nothing has changed"
    lines = [
        f"anchor {result.anchor}: {what} in {result.duration_s:.2f} s, "
        f"complete up to {result.checked_at:%Y-%m-%d %H:%M:%S} UTC"
    ]
    if built:
        lines.append(f"built: {', '.join(built)}")
    if result.retired:
        lines.append(f"dropped: {', '.join(result.retired)}")
    lacking = [f"{view.name} {view.dead_letters:,}" for view in result.views if view.dead_letters]
    if lacking:
        lines.append(
            "resources that could not be computed, their reasons in researchflow.dead_letter: "
            + ", ".join(lacking)
        )
    lines += count_words(result.counts)
    if result.counts_error:
        lines.append(f"{COUNTS_MISSING} ({result.counts_error})")
    lines += [f"set aside: {one.view}, which {one.reason}" for one in result.set_aside]
    return "\n".join(lines)
