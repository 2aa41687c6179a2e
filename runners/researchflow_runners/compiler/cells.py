"""A column's type and the SQL that gives its value in that type."""

from __future__ import annotations

from researchflow_runners.compiler.column import PG_TYPES, Column
from researchflow_runners.compiler.definition import ColumnDefinition
from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.nodes import ResourceId
from researchflow_runners.compiler.types import (
    NUMBERS,
    Kind,
    is_primitive,
    kind_of_type,
    known_type,
)
from researchflow_runners.errors import FhirPathError
from researchflow_runners.sql import Sql, compose, fixed

#: Kinds of values that a column of the kind holds unchanged; text holds every primitive.
HELD_BY: dict[Kind, frozenset[Kind]] = {
    "boolean": frozenset({"boolean"}),
    "integer": frozenset({"integer"}),
    "decimal": NUMBERS,
    "complex": frozenset({"complex", "quantity"}),
    "quantity": frozenset({"quantity"}),
}
SYSTEM_TAG = "researchflow/system"
SQL_TYPE_TAG = "ansi/type"


def plan_column(definition: ColumnDefinition, expr: Expr, field: str) -> Column:
    """The column of an expression.

    Raises FhirPathError `column_type` when the declared type cannot hold the expression's values
    without changing them.
    """
    if definition.tag_value(SQL_TYPE_TAG) is not None:
        raise _refused(definition, field, f"the tag '{SQL_TYPE_TAG}' is not supported", "Remove it")
    fhir_type = _declared(definition, field) or _inferred(definition, expr, field)
    _check_fits(definition, fhir_type, expr, field)
    pg_type = PG_TYPES.get(fhir_type, "text") if is_primitive(fhir_type) else "jsonb"
    return Column(
        name=definition.name,
        fhir_type=fhir_type,
        pg_type="jsonb" if definition.collection else pg_type,
        collection=definition.collection,
        description=definition.description,
        system=definition.tag_value(SYSTEM_TAG),
        is_key=isinstance(expr, ResourceId) and pg_type == "text" and not definition.collection,
    )


def cell(column: Column, expr: Expr) -> Sql:
    """The value of the column, of its PostgreSQL type."""
    if column.collection:
        value = expr.array()
    elif not expr.types:
        value = fixed("NULL")
    elif column.pg_type == "text":
        return compose('({})::text COLLATE "C"', expr.text())
    elif column.pg_type == "boolean":
        value = expr.boolean()
    elif column.pg_type in ("integer", "bigint", "numeric"):
        value = expr.numeric()
    else:
        value = expr.json()
    return compose("({})::" + column.pg_type, value)


def _declared(definition: ColumnDefinition, field: str) -> str | None:
    if definition.type is None:
        return None
    # A type may be given as the canonical URL of its StructureDefinition.
    found = known_type(definition.type.rsplit("/", 1)[-1])
    if found is None:
        raise _refused(definition, field, f"unknown type '{definition.type}'", "Name a FHIR type")
    return found


def _inferred(definition: ColumnDefinition, expr: Expr, field: str) -> str:
    if not expr.types:
        return "string"
    if len(expr.types) == 1:
        return expr.types[0]
    if expr.kind == "mixed":
        raise _refused(
            definition, field, "the expression may have several types", "Narrow it with ofType()"
        )
    return {"string": "string", "decimal": "decimal", "dateTime": "dateTime"}.get(
        expr.kind, expr.types[0]
    )


def _check_fits(definition: ColumnDefinition, fhir_type: str, expr: Expr, field: str) -> None:
    wanted = kind_of_type(fhir_type)
    kinds = {kind_of_type(one) for one in expr.types}
    allowed = HELD_BY.get(wanted)
    fits = kinds <= allowed if allowed is not None else not kinds & HELD_BY["complex"]
    if not fits:
        shown = " or ".join(expr.types[:3])
        raise _refused(
            definition,
            field,
            f"values of type {shown} do not fit a column of type '{fhir_type}'",
            "Declare the type that the expression has, or select one element of it",
        )


def _refused(definition: ColumnDefinition, field: str, why: str, hint: str) -> FhirPathError:
    return FhirPathError(
        f"column '{definition.name}': {why}", code="column_type", field=field, hint=f"{hint}."
    )
