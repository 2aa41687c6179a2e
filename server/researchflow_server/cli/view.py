"""`researchflow view`: compile, run, validate, register and drop views, and list them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from researchflow_runners.batch.catalogue import CatalogueChange
from researchflow_runners.compiler import CompiledView, compile_view
from researchflow_runners.composed.definition import is_library
from researchflow_runners.composed.plain import fields_of, is_plain
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.hybrid.explain import source_plan
from researchflow_runners.naming import nearest
from researchflow_runners.query.model import LIMIT_DEFAULT
from researchflow_runners.views import shipped_views
from researchflow_server.cli.outcome import OK, UsageError
from researchflow_server.cli.parser import with_example
from researchflow_server.cli.query import show_answer
from researchflow_server.cli.refresh import refresh
from researchflow_server.cli.stages import STAGES
from researchflow_server.console import console, rows_shown, show_json, show_text
from researchflow_server.runtime import open_runtime
from researchflow_server.runtime.views import (
    View,
    checked_definition,
    forget_composed,
    keep_composed,
    written_out,
)
from researchflow_server.settings import read_settings
from researchflow_server.tools.list_views import COLUMNS as LISTED
from researchflow_server.tools.list_views import view_rows
from researchflow_server.tools.query_view import answer_payload

FILE_BYTES_MAX = 1_048_576
#: What fits a terminal beside the names; --json has the rest.
SHOWN = ("view", "resource", "data_as_of", "pending", "dead_letters", "set_aside")
EXAMPLES = {
    "compile": "researchflow view compile patient_simple",
    "run": "researchflow view run ./my_view.json --limit 5",
    "validate": "researchflow view validate ./my_view.json && deploy",
    "register": "researchflow view register ./my_view.json",
    "drop": "researchflow view drop my_view",
    "list": "researchflow view list",
}


def register(parser: ArgumentParser) -> None:
    """Adds the subcommands."""
    with_example(parser, *EXAMPLES.values())
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    compiled = _action(
        actions.add_parser("compile", help="print what the compiler makes of it"),
        compile_action,
    )
    compiled.add_argument(
        "--stage",
        choices=tuple(STAGES),
        default="sql",
        help="syntax trees, typed nodes, SQL (default) or columns",
    )
    compiled.add_argument(
        "--plan", action="store_true", help="add PostgreSQL's plan of it over the source"
    )
    ran = _action(
        actions.add_parser("run", help="compute it from the source now"),
        run_action,
    )
    ran.add_argument("--limit", type=int, default=LIMIT_DEFAULT)
    _action(
        actions.add_parser("validate", help="say whether it can be compiled"),
        validate_action,
    )
    _action(
        actions.add_parser("register", help="build it and publish it under its name"),
        register_action,
        view="a JSON file",
    )
    _action(
        actions.add_parser("drop", help="take a registered view away"),
        drop_action,
        view="a registered view's name",
    )
    _action(
        actions.add_parser("list", help="show the views and how fresh they are"),
        list_action,
        view=None,
    )


def _action(
    parser: ArgumentParser,
    run: Callable[[Namespace], Any],
    *,
    view: str | None = "a shipped view's name or a JSON file",
) -> ArgumentParser:
    if view is not None:
        parser.add_argument("view", metavar="VIEW", help=view)
    parser.add_argument("--json", action="store_true", help="print JSON")
    with_example(parser, EXAMPLES[parser.prog.split()[-1]])
    parser.set_defaults(run=run)
    return parser


async def compile_action(arguments: Namespace) -> int:
    """Prints a stage of the compiler, and PostgreSQL's plan where it is asked for."""
    definition = _view_definition(arguments.view)
    shown = STAGES[arguments.stage](definition)
    plan = await _plan(compile_view(definition)) if arguments.plan else None
    if arguments.json:
        show_json(shown.payload if plan is None else {**shown.payload, "plan": plan})
        return OK
    if isinstance(shown.content, str):
        show_text(shown.content)
    else:
        console().print(shown.content)
    if plan is not None:
        show_text("\n".join(["-- plan over the source", *plan]))
    return OK


async def _plan(view: CompiledView) -> list[str]:
    async with open_runtime(read_settings(), background=False) as runtime:
        return await source_plan(runtime.source, view)


async def run_action(arguments: Namespace) -> int:
    """Computes the view; a definition that differs from the published one is run directly."""
    definition = _view_definition(arguments.view)
    async with open_runtime(read_settings(), background=False) as runtime:
        answer = await runtime.hybrid.execute(definition, max_resources=arguments.limit)
    if arguments.json:
        show_json(answer_payload(answer))
    else:
        show_answer(answer)
    return OK


async def validate_action(arguments: Namespace) -> int:
    """Raises the error of a definition that cannot be honoured; says of one that reads the clock
    that it cannot be registered."""
    definition = definition_of(arguments.view)
    view = await _composed(definition) if _is_sql(definition) else compile_view(definition)
    repeatable = not (isinstance(view, CompiledView) and view.volatile)
    if arguments.json:
        parts = {"view": view.name, "digest": view.digest, "repeatable": repeatable}
        show_json({"valid": True, **parts})
    else:
        of = f" of {view.resource}" if isinstance(view, CompiledView) else ""
        clock = "" if repeatable else "; it reads the clock, so it can be run and not registered"
        show_text(f'"{view.name}" is valid: {len(view.columns)} columns{of}{clock}')
    return OK


async def _composed(definition: dict[str, Any]) -> View:
    """SQL over views can be judged only beside the views it reads."""
    async with open_runtime(read_settings(), background=False) as runtime:
        with fields_of(definition):
            written = await written_out(runtime, definition)
            return (await checked_definition(runtime, written))[0]


async def register_action(arguments: Namespace) -> int:
    """Publishes the definition; one that cannot be honoured leaves all views as they are."""
    definition = definition_of(arguments.view)
    if not _is_sql(definition):
        change = CatalogueChange(register=compile_view(definition))
        return await refresh(change, as_json=arguments.json)
    async with open_runtime(read_settings(), background=False) as runtime:
        with fields_of(definition):
            view = await keep_composed(runtime, await written_out(runtime, definition))
    if arguments.json:
        show_json({"registered": view.name, "digest": view.digest})
    else:
        show_text(f'"{view.name}" can be asked: {len(view.columns)} columns')
    return OK


async def drop_action(arguments: Namespace) -> int:
    """Drops the view, with its rows and their history when it has any."""
    async with open_runtime(read_settings(), background=False) as runtime:
        is_gone = await forget_composed(runtime, arguments.view)
    if not is_gone:
        return await refresh(CatalogueChange(drop=arguments.view), as_json=arguments.json)
    if arguments.json:
        show_json({"dropped": arguments.view})
    else:
        show_text(f"dropped: {arguments.view}")
    return OK


async def list_action(arguments: Namespace) -> int:
    """Lists the shipped and the registered views."""
    async with open_runtime(read_settings(), background=False) as runtime:
        listed = await view_rows(runtime)
    if arguments.json:
        show_json([dict(zip(LISTED, row, strict=True)) for row in listed])
    else:
        places = [LISTED.index(name) for name in SHOWN]
        rows = [[row[place] for place in places] for row in listed]
        console().print(rows_shown(SHOWN, rows, console().width))
    return OK


def definition_of(name: str) -> dict[str, Any]:
    """The ViewDefinition of that shipped name or file."""
    shipped = {definition["name"]: definition for definition in shipped_views()}
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if not path.is_file():
        raise UsageError(
            f'"{name}" is neither a shipped view nor a file',
            code="usage",
            field="view",
            allowed=tuple(shipped),
            did_you_mean=nearest(name, shipped),
            hint="give a JSON file, or one of the shipped views",
        )
    return _read(path)


def _is_sql(definition: dict[str, Any]) -> bool:
    """Whether it is SQL over views, in its short form or as a Library."""
    return is_plain(definition) or is_library(definition)


def _view_definition(name: str) -> dict[str, Any]:
    """As `definition_of`, for what takes no SQL over views."""
    definition = definition_of(name)
    if _is_sql(definition):
        raise UsageError(
            f'"{name}" is SQL over views, which only the published views can give',
            code="usage",
            field="view",
            hint="register it and use `researchflow query`, or run it with $sql-run",
        )
    return definition


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise _unreadable(path, f"it is larger than {FILE_BYTES_MAX} bytes")
        definition = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise _unreadable(path, f"{error.msg} at line {error.lineno}") from error
    except OSError as error:
        raise _unreadable(path, error.strerror or "it cannot be read") from error
    if not isinstance(definition, dict):
        raise _unreadable(path, "it is not a JSON object")
    return definition


def _unreadable(path: Path, reason: str) -> ViewDefinitionError:
    return ViewDefinitionError(
        f'"{path}" is not a ViewDefinition: {reason}',
        code="invalid_json",
        field="view",
        hint="give a file with one ViewDefinition in JSON",
    )
