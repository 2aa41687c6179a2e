"""`researchflow unsubscribe`: has FHIR servers tell of changes no more."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from researchflow_server.cli.outcome import OK
from researchflow_server.cli.parser import with_example
from researchflow_server.cli.subscribe import add_server_arguments, check_addresses, wanted_of
from researchflow_server.console import show_json, show_text
from researchflow_server.feeds.registration import Registration
from researchflow_server.settings import read_settings


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    add_server_arguments(parser)
    with_example(parser, "researchflow unsubscribe https://hapi.example.org/fhir")
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Removes the Subscription of each server; one that is not there is no fault."""
    check_addresses(arguments)
    settings = read_settings()
    wanted = wanted_of(settings, arguments.endpoint, ())
    removed = {
        url: await Registration(
            url, wanted, authorization=settings.fhir_authorization
        ).unsubscribe()
        for url in arguments.urls
    }
    if arguments.json:
        show_json(removed)
        return OK
    for url, was_there in removed.items():
        show_text(f"{url}: {'removed' if was_there else 'there was none'}")
    return OK
