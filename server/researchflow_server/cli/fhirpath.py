"""`researchflow fhirpath`: an expression over resources, or many of both as JSON lines."""

from __future__ import annotations

import gzip
import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from researchflow_runners.compiler.explain import typed_tree
from researchflow_runners.compiler.expression import CompiledExpression, compile_expression
from researchflow_runners.errors import ResearchFlowError, SourceDataError, StoreError
from researchflow_runners.sql import fixed
from researchflow_runners.trying import Trial, empty_resource, resource_in, resource_of
from researchflow_server.cli.database import open_database
from researchflow_server.cli.outcome import FAILED, OK, UsageError
from researchflow_server.cli.parser import with_example
from researchflow_server.console import show_text
from researchflow_server.settings import read_settings

LINE_CHARS_MAX = 16 * 1024 * 1024
SHOWN_SOURCE = fixed("resources")
EXAMPLES = (
    "researchflow fhirpath 'name.given.first()' patient.json",
    "researchflow fhirpath \"Patient.name.where(use = 'official')\" --tree --sql",
    "researchflow fhirpath --batch < lines.ndjson",
)


def register(parser: ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("expression", metavar="EXPR", nargs="?", help="a FHIRPath expression")
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        help="a resource as JSON, or one a line (.ndjson, .gz); - is standard input",
    )
    parser.add_argument(
        "--batch",
        action="store_true",
        help='answer lines {"expression", "resource"} of standard input, each by a line '
        '{"items"} or {"error"}',
    )
    parser.add_argument("--type", metavar="TYPE", help="the resource type without a FILE")
    parser.add_argument("--tree", action="store_true", help="print the typed tree")
    parser.add_argument("--sql", action="store_true", help="print the SQL")
    with_example(parser, *EXAMPLES)
    parser.set_defaults(run=run)


async def run(arguments: Namespace) -> int:
    """Prints a line of JSON for each resource, or for each line of a batch."""
    if arguments.batch:
        if arguments.expression is not None:
            raise _usage("--batch takes its expressions from standard input", "expression")
        return await _batch()
    if arguments.expression is None:
        raise _usage("there is no expression", "expression")
    if arguments.tree or arguments.sql:
        _explain(compile_expression(arguments.expression, arguments.type), arguments)
        if not arguments.files:
            return OK
    return await _evaluate(arguments.expression, arguments.files, arguments.type)


def _explain(compiled: CompiledExpression, arguments: Namespace) -> None:
    if arguments.tree:
        show_text("\n".join(typed_tree(compiled.text, compiled.node).lines()))
    if arguments.sql:
        text, values = compiled.items(SHOWN_SOURCE).render()
        parameters = [f"-- ${number} = {value!r}" for number, value in enumerate(values, start=1)]
        show_text("\n".join(["-- resources(res_id, id, text, meta)", text, *parameters]))


async def _evaluate(expression: str, files: list[str], resource_type: str | None) -> int:
    outcome = OK
    async with open_database(read_settings()) as database, database.session() as session:
        trial = Trial(session)
        if not files:
            named = resource_type or compile_expression(expression).resource
            items = await trial.typed_items(expression, named, empty_resource(named))
            show_text(f'{{"items": {items}}}')
        for text in (one for file in files for one in _texts(file)):
            kind, label = _labelled(text)
            try:
                found = await trial.typed_items(expression, kind, resource_of(text))
                show_text(f'{{"resource": {json.dumps(label)}, "items": {found}}}')
            except ResearchFlowError as error:
                if isinstance(error, StoreError) or error.span is not None:
                    raise
                outcome = FAILED
                show_text(json.dumps({"resource": label, "error": _told(error)}))
    return outcome


async def _batch() -> int:
    """One line out for each line in, in order; a line that cannot be honoured hides no other."""
    async with open_database(read_settings()) as database, database.session() as session:
        trial = Trial(session)
        for line in _lines():
            show_text(await _answer(trial, line))
            sys.stdout.flush()
    return OK


def _lines() -> Iterator[str]:
    """The lines of standard input; of one that is too long its beginning, which is no JSON."""
    while line := sys.stdin.readline(LINE_CHARS_MAX):
        rest = line
        while not rest.endswith("\n") and (rest := sys.stdin.readline(LINE_CHARS_MAX)):
            pass
        if line.strip():
            yield line


async def _answer(trial: Trial, line: str) -> str:
    try:
        expression, resource_type = _asked(line)
        items = await trial.items(expression, resource_type, resource_in(line))
        return f'{{"items": {items}}}'
    except StoreError:
        raise
    except ResearchFlowError as error:
        return json.dumps({"error": _told(error)}, ensure_ascii=False)


def _asked(line: str) -> tuple[str, str]:
    """The expression and the type of the resource of a line."""
    asked = _object(line)
    expression, resource = asked.get("expression"), asked.get("resource")
    if not isinstance(expression, str) or not isinstance(resource, dict):
        raise _bad("a line needs an expression and a resource", "invalid_line")
    return expression, _type_of(resource)


def _told(error: ResearchFlowError) -> dict[str, Any]:
    told = error.as_dict()
    shown = {"code": told["code"], "message": told["message"], "span": told.get("span")}
    return {**shown, "hint": told["hint"]}


def _labelled(text: str) -> tuple[str, str]:
    """The type of a resource, and how it is named: its type and id."""
    resource = _object(text)
    kind, given = _type_of(resource), resource.get("id")
    return kind, f"{kind}/{given}" if isinstance(given, str) else kind


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad("the text is not JSON", "invalid_json") from error
    if not isinstance(found, dict):
        raise _bad("the JSON is not an object", "invalid_json")
    return found


def _type_of(resource: dict[str, Any]) -> str:
    kind = resource.get("resourceType")
    if not isinstance(kind, str):
        raise _bad("the resource has no resourceType", "no_resource_type")
    return kind


def _bad(why: str, code: str) -> SourceDataError:
    return SourceDataError(why, code=code, hint="Write resources as FHIR JSON, an object each.")


def _usage(why: str, field: str) -> UsageError:
    return UsageError(why, code="usage", field=field, hint="see `researchflow fhirpath --help`")


def _texts(name: str) -> Iterator[str]:
    """The resources of a file, as they are written."""
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        content = (gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise SourceDataError(
            f'"{name}" cannot be read',
            code="unreadable_file",
            hint="Give a file of FHIR JSON in UTF-8, plain or gzip.",
        ) from error
    lines = [line for line in content.splitlines() if line.strip()]
    is_lines = len(lines) > 1 and all(line.lstrip().startswith("{") for line in lines[:2])
    yield from lines if is_lines and lines[0].rstrip().endswith("}") else [content]
