"""`researchflow subscribe`: has FHIR servers tell of changes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict

import httpx2

from researchflow_server.cli.outcome import FAILED, OK, UsageError
from researchflow_server.cli.parser import with_example
from researchflow_server.console import console, show_json, table
from researchflow_server.feeds.endpoint import FEED_PATH
from researchflow_server.feeds.registration import Registered, Registration, Wanted
from researchflow_server.runtime import open_runtime
from researchflow_server.settings import Settings, SettingsError, read_settings

WAIT_S = 30.0
WAIT_MAX_S = 3_600.0


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_server_arguments(parser)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 if not")
    parser.add_argument(
        "--wait", type=float, default=WAIT_S, metavar="S", help="how long it may take [30]"
    )
    with_example(
        parser,
        "researchflow subscribe https://hapi.example.org/fhir "
        "--endpoint https://flow.example.org/feeds/fhir",
        "researchflow subscribe --check https://hapi.example.org/fhir",
    )
    parser.set_defaults(run=run)


def add_server_arguments(parser: ArgumentParser) -> None:
    """Which servers, and where they are to deliver."""
    parser.add_argument("urls", nargs="+", metavar="URL", help="base of a FHIR server")
    parser.add_argument(
        "--endpoint", help=f"where it reaches this server [http://HOST:PORT{FEED_PATH}]"
    )
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


async def run(arguments: Namespace) -> int:
    """Makes the Subscription of each server, or tells how it is."""
    _check_wait(arguments.wait)
    check_addresses(arguments)
    settings = read_settings()
    types = await _resource_types(settings)
    wanted = wanted_of(settings, arguments.endpoint, types)
    found: dict[str, Registered] = {}
    for url in arguments.urls:
        made = Registration(url, wanted, authorization=settings.fhir_authorization)
        found[url] = (
            await made.check() if arguments.check else await made.subscribe(wait_s=arguments.wait)
        )
    _show(found, as_json=arguments.json)
    return OK if all(one.delivers for one in found.values()) else FAILED


def check_addresses(arguments: Namespace) -> None:
    """UsageError `usage` unless every address is one of HTTP, before anything is sent."""
    for url in arguments.urls:
        _check_address("URL", url, "https://hapi.example.org/fhir")
    if arguments.endpoint is not None:
        _check_address("--endpoint", arguments.endpoint, f"https://flow.example.org{FEED_PATH}")


def _check_address(name: str, given: str, example: str) -> None:
    try:
        url = httpx2.URL(given)
        is_address = url.scheme in ("http", "https") and bool(url.host)
    except httpx2.InvalidURL:
        is_address = False
    if not is_address or any(not " " < char < "\x7f" for char in given):
        # It may hold a password, so it is not repeated.
        raise _usage(name, f"what was given as {name} is no address of HTTP", f"write {example}")


def _check_wait(wait_s: float) -> None:
    if not 0 <= wait_s <= WAIT_MAX_S:
        hint = f"give seconds, from 0 to {WAIT_MAX_S:g}"
        raise _usage("--wait", f'"{wait_s:g}" is no time to wait', hint)


def _usage(name: str, message: str, hint: str) -> UsageError:
    return UsageError(message, code="usage", field=name, hint=hint)


def wanted_of(settings: Settings, endpoint: str | None, types: Sequence[str]) -> Wanted:
    """What the Subscription is to say; SettingsError `setting_missing` without a secret."""
    if settings.webhook_secret is None:
        raise SettingsError(
            'setting "RESEARCHFLOW_WEBHOOK_SECRET" is not set, so no delivery would be taken',
            code="setting_missing",
            field="RESEARCHFLOW_WEBHOOK_SECRET",
            hint="set it to a long random text for this command and for `researchflow serve`",
        )
    reached = endpoint or f"http://{settings.http_host}:{settings.http_port}{FEED_PATH}"
    return Wanted(reached, settings.webhook_secret, types)


async def _resource_types(settings: Settings) -> list[str]:
    """The types that views read; of others nothing is wanted."""
    async with open_runtime(settings, background=False) as runtime:
        return sorted({view.resource for view in (await runtime.known_views()).values()})


def _show(found: dict[str, Registered], *, as_json: bool) -> None:
    if as_json:
        show_json({url: {**asdict(one), "delivers": one.delivers} for url, one in found.items()})
        return
    rows = [
        [url, one.id, one.status or "none", ", ".join(one.differs) or "-"]
        for url, one in found.items()
    ]
    console().print(table(["server", "Subscription", "status", "differs in"], rows))
