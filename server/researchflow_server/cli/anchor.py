"""`researchflow anchor`: lists, describes, pins, gives up and verifies anchors."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime

from researchflow_runners.batch.anchors import (
    AnchorInfo,
    describe_anchor,
    list_anchors,
    pin_anchor,
    unpin,
)
from researchflow_runners.batch.retention import Expiry, expire_up_to
from researchflow_runners.batch.verify import Verdict, verify_anchor
from researchflow_runners.errors import FreshnessError
from researchflow_runners.store.anchor import NEWEST_HINT, AsOf, required_anchor
from researchflow_server.cli.outcome import FAILED, OK, UsageError
from researchflow_server.cli.parser import with_example
from researchflow_server.console import console, show_json, show_text, table
from researchflow_server.runtime import Runtime, open_runtime
from researchflow_server.settings import read_settings

LIMIT_DEFAULT = 20
EXAMPLES = {
    "list": "researchflow anchor list --pinned",
    "describe": "researchflow anchor describe trial-2026",
    "pin": "researchflow anchor pin trial-2026 17",
    "unpin": "researchflow anchor unpin trial-2026",
    "expire": "researchflow anchor expire 17",
    "verify": "researchflow anchor verify trial-2026 && publish",
}
WHICH = "number, pin or instant; the newest when left out"

Action = Callable[[Namespace, Runtime], Awaitable[int]]


def register(parser: ArgumentParser) -> None:
    """Adds the subcommands."""
    with_example(parser, *EXAMPLES.values())
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = _action(actions.add_parser("list", help="the newest anchors, and their pins"), _list)
    listed.add_argument("--pinned", action="store_true", help="only those with a name")
    listed.add_argument("--limit", type=int, default=LIMIT_DEFAULT)
    described = _action(
        actions.add_parser("describe", help="what an anchor holds, with content hashes"), _describe
    )
    described.add_argument("anchor", metavar="ANCHOR", nargs="?", help=WHICH)
    pinned = _action(actions.add_parser("pin", help="keep an anchor under a name"), _pin)
    pinned.add_argument("name", metavar="NAME", help="to cite it by; it never moves")
    pinned.add_argument("anchor", metavar="ANCHOR", nargs="?", help=WHICH)
    freed = _action(actions.add_parser("unpin", help="take a name away"), _unpin)
    freed.add_argument("name", metavar="NAME")
    expired = _action(
        actions.add_parser("expire", help="give up anchors that nobody pinned"), _expire
    )
    expired.add_argument(
        "anchor",
        metavar="ANCHOR",
        nargs="?",
        help="this one and all before it; what the retention says when left out",
    )
    verified = _action(
        actions.add_parser("verify", help="compute the hashes again from the rows"), _verify
    )
    verified.add_argument("anchor", metavar="ANCHOR", nargs="?", help=WHICH)


def _action(parser: ArgumentParser, action: Action) -> ArgumentParser:
    parser.add_argument("--json", action="store_true", help="print JSON")
    with_example(parser, EXAMPLES[parser.prog.split()[-1]])

    async def run(arguments: Namespace) -> int:
        async with open_runtime(read_settings(), background=False) as runtime:
            try:
                return await action(arguments, runtime)
            except FreshnessError as error:
                if error.field != "as_of":
                    raise
                raise _of_argument(error) from error

    parser.set_defaults(run=run)
    return parser


def _of_argument(error: FreshnessError) -> FreshnessError:
    """The refusal in the words of this command: queries call the argument as_of.

    What it means to leave that out differs from action to action, and is in their help.
    """
    message = error.message
    if error.code == "instant_without_zone":
        message = "the instant has no time zone"
    return FreshnessError(
        message,
        code=error.code,
        hint=error.hint.replace(NEWEST_HINT, ""),
        field="anchor",
        allowed=error.allowed,
        did_you_mean=error.did_you_mean,
    )


async def _list(arguments: Namespace, runtime: Runtime) -> int:
    async with runtime.stores.warehouse.snapshot() as session:
        found = await list_anchors(session, limit=arguments.limit, only_pinned=arguments.pinned)
    if arguments.json:
        show_json([asdict(one) for one in found])
        return OK
    rows = [
        [one.anchor, one.data_as_of, one.changed, ", ".join(one.pins) or None, _state(one)]
        for one in found
    ]
    console().print(table(["anchor", "data as of", "changed", "pins", "rows"], rows))
    return OK


async def _describe(arguments: Namespace, runtime: Runtime) -> int:
    async with runtime.stores.warehouse.snapshot() as session:
        content = await describe_anchor(session, await _asked(arguments, runtime))
    if arguments.json:
        show_json(asdict(content))
        return OK
    show_text(_headline(content.info))
    show_text(f"content {content.content_hash or 'not hashed'}")
    rows = [[one.view, one.rows, one.missing, one.content_hash] for one in content.views]
    console().print(table(["view", "rows", "missing", "content hash"], rows))
    return OK


async def _pin(arguments: Namespace, runtime: Runtime) -> int:
    as_of = await _asked(arguments, runtime)
    info = await pin_anchor(runtime.stores.warehouse, arguments.name, as_of)
    if arguments.json:
        show_json(asdict(info))
    else:
        show_text(f'"{arguments.name}" is {_headline(info)}')
    return OK


async def _unpin(arguments: Namespace, runtime: Runtime) -> int:
    anchor = await unpin(runtime.stores.warehouse, arguments.name)
    if arguments.json:
        show_json({"unpinned": arguments.name, "anchor": anchor})
    else:
        show_text(f'"{arguments.name}" no longer keeps anchor {anchor}')
    return OK


async def _expire(arguments: Namespace, runtime: Runtime) -> int:
    if arguments.anchor is None:
        expiry = await runtime.expire_anchors()
    else:
        as_of = await _asked(arguments, runtime)
        async with runtime.stores.warehouse.snapshot() as session:
            anchor = await required_anchor(session, as_of)
        expiry = await expire_up_to(runtime.stores.warehouse, anchor.anchor)
    _show_expiry(expiry, as_json=arguments.json)
    return OK


async def _verify(arguments: Namespace, runtime: Runtime) -> int:
    as_of = await _asked(arguments, runtime)
    verdict = await verify_anchor(runtime.stores.warehouse, as_of)
    if arguments.json:
        show_json({**asdict(verdict), "holds": verdict.holds})
    else:
        _show_verdict(verdict)
    return OK if verdict.holds else FAILED


async def _asked(arguments: Namespace, runtime: Runtime) -> AsOf:
    """What the argument names; the current anchor's number without one."""
    if arguments.anchor is not None:
        return as_of(arguments.anchor)
    async with runtime.stores.warehouse.snapshot() as session:
        return (await required_anchor(session, None)).anchor


def as_of(text: str) -> AsOf:
    """A pin's name begins with a letter; a number is an anchor's, anything else an instant."""
    if text[:1].isalpha():
        return text
    try:
        return int(text) if text.isdecimal() else datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f'"{text}" is neither an anchor\'s number, nor a pin, nor an instant',
            code="usage",
            field="anchor",
            hint="write 17, trial-2026 or 2026-01-31T00:00:00Z",
        ) from error


def _headline(info: AnchorInfo) -> str:
    names = f", pinned as {', '.join(info.pins)}" if info.pins else ""
    return f"anchor {info.anchor}, data as of {info.data_as_of:%Y-%m-%d %H:%M:%S} UTC{names}"


def _state(info: AnchorInfo) -> str:
    return "expired" if info.expired_at else "readable"


def _show_expiry(expiry: Expiry, *, as_json: bool) -> None:
    if as_json:
        show_json(asdict(expiry))
    else:
        show_text(f"{expiry.anchors:,} anchors given up, {expiry.rows:,} rows deleted")


def _show_verdict(verdict: Verdict) -> None:
    show_text(_headline(verdict.content.info))
    rows = [[one.view, one.outcome, one.rows, one.content_hash] for one in verdict.views]
    console().print(table(["view", "verdict", "rows", "content hash now"], rows))
    wrong = [one.view for one in verdict.views if one.outcome != "same"]
    show_text(f"not proved: {', '.join(wrong)}" if wrong else "every row is as it was published")
