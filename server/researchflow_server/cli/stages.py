"""What `researchflow view compile` shows: a stage of the compiler for people and as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rich.table import Table

from researchflow_runners.compiler import compile_view
from researchflow_runners.compiler.column import carried
from researchflow_runners.compiler.explain import Explained, syntax_of, typed_nodes_of
from researchflow_runners.sql import fixed
from researchflow_server.console import table
from researchflow_server.tools.result import dumped

SHOWN_SOURCE = fixed("resources")


@dataclass(frozen=True, slots=True)
class Shown:
    """A stage as JSON and for reading."""

    payload: dict[str, Any]
    content: str | Table


Definition: TypeAlias = Mapping[str, Any]
Stage: TypeAlias = Callable[[Definition], Shown]


def _ast(definition: Definition) -> Shown:
    return _trees(syntax_of(definition))


def _ir(definition: Definition) -> Shown:
    return _trees(typed_nodes_of(definition))


def _trees(explained: Sequence[Explained]) -> Shown:
    return Shown(
        {"expressions": [one.as_dict() for one in explained]},
        "\n".join(line for one in explained for line in one.lines()),
    )


def _sql(definition: Definition) -> Shown:
    view = compile_view(definition)
    text, values = view.select(SHOWN_SOURCE).render()
    lines = [
        f"-- {view.name}, digest {view.digest}; resources(res_id, id, text, meta)",
        text,
        *(f"-- ${number} = {value!r}" for number, value in enumerate(values, start=1)),
    ]
    payload = {"view": view.name, "digest": view.digest, "sql": text, "parameters": values}
    return Shown(payload, "\n".join(lines))


def _columns(definition: Definition) -> Shown:
    names = ["column", "type", "sql_type", "python", "json_schema", "list", "system"]
    rows = []
    for column in compile_view(definition).columns:
        value = carried(column)
        types = [column.fhir_type, column.pg_type, value.python, dict(value.json_schema)]
        rows.append([column.name, *types, column.collection, column.system])
    shown = [[*row[:4], dumped(row[4]).decode(), *row[5:]] for row in rows]
    return Shown({"columns": names, "rows": rows}, table(names, shown))


#: In the order of the compiler.
STAGES: dict[str, Stage] = {"ast": _ast, "ir": _ir, "sql": _sql, "columns": _columns}
