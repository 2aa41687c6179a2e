"""A column's type and the SQL that reads its value."""

from __future__ import annotations

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.column import RELATION_TAGS, Column, related
from researchflow_runners.compiler.definition import ColumnDefinition
from researchflow_runners.compiler.expr import Expr, KeyExpr
from researchflow_runners.compiler.marks import marked
from researchflow_runners.compiler.nodes import ResourceId
from researchflow_runners.compiler.sql_types import (
    DEFAULT_TYPES,
    HELD,
    WHOLE_TYPES,
    SqlType,
    named_type,
)
from researchflow_runners.compiler.types import (
    DATES,
    NUMBERS,
    SYSTEM,
    Kind,
    Types,
    fhir_type,
    is_primitive,
    kind_of_type,
    known_type,
    shown,
)
from researchflow_runners.errors import FhirPathError, ViewDefinitionError
from researchflow_runners.fhir import required_codes
from researchflow_runners.sql import Sql, compose, fixed

#: Kinds of values that a column of the kind holds unchanged; text holds every primitive.
HELD_BY: dict[Kind, frozenset[Kind]] = {
    "boolean": frozenset({"boolean"}),
    "integer": frozenset({"integer"}),
    "decimal": NUMBERS,
    "date": DATES | {"string"},
    "dateTime": DATES | {"string"},
    "time": frozenset({"time", "string"}),
    "complex": frozenset({"complex", "quantity"}),
    "quantity": frozenset({"quantity"}),
}
#: The type that all FHIR types specialise.
ANY_TYPE = "Element"
SYSTEM_TAG = "researchflow/system"
SQL_TYPE_TAG = "ansi/type"


def plan_column(definition: ColumnDefinition, expr: Expr, path: str) -> Column:
    """The column of an expression; `path` is the column's place in the view.

    Raises FhirPathError `column_type` when the declared type, or the SQL type of a tag, cannot
    hold the expression's values without changing them, and ViewDefinitionError `column_type` for
    a tag that names no SQL type.
    """
    field = f"{path}.type"
    declared = _declared(definition, field)
    if declared is not None:
        _check_fits(definition, declared, expr, field)
    fhir_type = declared or _inferred(expr)
    pg_type = DEFAULT_TYPES.get(fhir_type, "text") if is_primitive(fhir_type) else "jsonb"
    stored = _tagged(definition, expr.types, path) or SqlType(pg_type)
    pg_type = "jsonb" if definition.collection else stored.pg_type
    column = Column(
        name=definition.name,
        fhir_type=fhir_type,
        pg_type=pg_type,
        collection=definition.collection,
        description=definition.description,
        system=definition.tag_value(SYSTEM_TAG),
        is_key=isinstance(expr, ResourceId) and pg_type == "text",
        key_of=expr.key_of if isinstance(expr, KeyExpr) and pg_type == "text" else None,
        size_max=stored.size_max,
        element=_element(expr),
    )
    named = {name: definition.tag_value(tag) for tag, name in RELATION_TAGS.items()}
    return marked(related(column, named), definition, f"{path}.tag")


def _element(expr: Expr) -> str | None:
    """The element that the expression leads to, where FHIR lists its codes."""
    if not isinstance(expr, Child) or len(expr.source.types) != 1:
        return None
    name = f"{expr.source.types[0]}.{expr.json_keys()[0]}"
    return name if required_codes(name) else None


def cell(column: Column, expr: Expr) -> Sql:
    """What the column reads: a value of the column's type, or of the one that its cast takes."""
    base = column.base_type
    if column.collection:
        return compose("({})::jsonb", expr.array())
    if base in WHOLE_TYPES:
        return _whole(column, expr)
    if base == "jsonb":
        value, read = expr.json(), "jsonb"
        if expr.lacks_value:
            value = compose("nullif({}, 'null')", value)
    elif base == "boolean":
        value, read = expr.boolean(), "boolean"
    elif base in ("numeric", "double precision"):
        value, read = expr.numeric(), "numeric"
    else:
        value, read = expr.text(), 'text COLLATE "C"'
    return compose("({})::" + read, value if expr.types else fixed("NULL"))


def _whole(column: Column, expr: Expr) -> Sql:
    """A whole number: a cast from the number would round, one from its text refuses.

    An integer of FHIR has no decimal point, so `1.0` in a resource is refused as well.
    """
    if expr.form == "integer" or not expr.types:
        return compose("({})::" + column.pg_type, expr.value() if expr.types else fixed("NULL"))
    is_read = expr.form == "json" and expr.kind == "integer"
    number = expr.numeric() if is_read else compose("trim_scale({})", expr.numeric())
    return compose("({})::text::" + column.pg_type, number)


def _declared(definition: ColumnDefinition, field: str) -> str | None:
    if definition.type is None:
        return None
    # A type may be given as the canonical URL of its StructureDefinition.
    found = known_type(definition.type.rsplit("/", 1)[-1])
    held = None if found is None else fhir_type(found)
    if held is None or held.startswith(SYSTEM):
        raise _refused(definition, field, f"unknown type '{definition.type}'", "Name a FHIR type")
    return held


def _tagged(definition: ColumnDefinition, types: Types, path: str) -> SqlType | None:
    """The SQL type that a tag names, when values of these FHIR types may be held in it."""
    found = [number for number, tag in enumerate(definition.tag) if tag.name == SQL_TYPE_TAG]
    if not found:
        return None
    field = f"{path}.tag[{found[-1]}].value"
    if len(found) > 1:
        raise _refused(definition, field, f"the tag '{SQL_TYPE_TAG}' is given twice", "Keep one")
    if definition.collection:
        why = f"the tag '{SQL_TYPE_TAG}' does not apply to a collection, which is a JSON array"
        raise _refused(definition, field, why, "Remove the tag, or select one item")
    try:
        named = named_type(definition.tag[found[0]].value)
    except ViewDefinitionError as error:
        error.field = field
        raise
    _check_held(definition, named.base_type, types, field)
    return named


def _check_held(definition: ColumnDefinition, base: str, types: Types, field: str) -> None:
    held = HELD.get(base)
    fits = set(map(fhir_type, types)) <= held if held is not None else all(map(is_primitive, types))
    if not fits:
        raise _refused(
            definition,
            field,
            f"values of type {shown(types)} do not fit the SQL type {base}",
            f"It holds {', '.join(sorted(held))}" if held else "Select one element of it",
        )


def _inferred(expr: Expr) -> str:
    """The type that all values have; ANY_TYPE, held as JSON, when no type but that is common."""
    if not expr.types:
        return "string"
    types = tuple(dict.fromkeys(map(fhir_type, expr.types)))
    if len(types) == 1:
        return types[0]
    if expr.kind == "mixed":
        return ANY_TYPE
    return {"string": "string", "decimal": "decimal", "dateTime": "dateTime"}.get(
        expr.kind, types[0]
    )


def _check_fits(definition: ColumnDefinition, fhir_type: str, expr: Expr, field: str) -> None:
    wanted = kind_of_type(fhir_type)
    kinds = {kind_of_type(one) for one in expr.types}
    allowed = HELD_BY.get(wanted)
    fits = kinds <= allowed if allowed is not None else not kinds & HELD_BY["complex"]
    if not fits:
        raise _refused(
            definition,
            field,
            f"values of type {shown(expr.types)} do not fit a column of type '{fhir_type}'",
            "Declare the type that the expression has, or select one element of it",
        )


def _refused(definition: ColumnDefinition, field: str, why: str, hint: str) -> FhirPathError:
    return FhirPathError(
        f"column '{definition.name}': {why}", code="column_type", field=field, hint=f"{hint}."
    )
