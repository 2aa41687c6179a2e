"""A SQLView or SQLQuery as written: a FHIR Library that carries SQL over views.

Follows the profiles SQLView and SQLQuery of SQL on FHIR 3.0.0-ballot. Elements that describe the
Library itself (url, status, publisher …) are not read. The SQL is still text here; sql_check.py
judges it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, StrictStr, ValidationError

from researchflow_runners.compiler.definition import SQL_NAME_LENGTH_MAX, SQL_NAME_PATTERN
from researchflow_runners.composed.attachment import Attachment, Element, refused, sql_of
from researchflow_runners.composed.parameters import PARAMETER_TYPES, SqlParameter
from researchflow_runners.composed.reference import VIEW_TYPES, Reference
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.naming import nearest

Kind = Literal["sql-view", "sql-query"]

DEPENDENCIES_MAX = 16
PARAMETERS_MAX = 50
CONTENTS_MAX = 30
_NAME = re.compile(SQL_NAME_PATTERN)
_TERMINOLOGY = ("ValueSet", "ConceptMap")


@dataclass(frozen=True, slots=True)
class Dependency:
    """A view that the SQL reads, under the table name `label`; `field` is where it is named."""

    label: str
    view: Reference
    field: str


@dataclass(frozen=True, slots=True)
class SqlLibrary:
    """The parts of an SQLView or SQLQuery that decide its rows.

    `sql_field` is the path of the attachment that `sql` was taken from.
    """

    kind: Kind
    name: str | None
    description: str | None
    depends_on: tuple[Dependency, ...]
    parameters: tuple[SqlParameter, ...]
    sql: str
    sql_field: str
    definition: Mapping[str, Any]


class _Coding(Element):
    code: StrictStr | None = None


class _Concept(Element):
    coding: list[_Coding] = Field(default_factory=list)


class _Artifact(Element):
    type: StrictStr
    label: StrictStr | None = None
    resource: StrictStr | None = None


class _Parameter(Element):
    name: StrictStr
    use: StrictStr
    type: StrictStr
    documentation: StrictStr | None = None


class _Library(Element):
    resourceType: Literal["Library"]
    type: _Concept | None = None
    name: StrictStr | None = None
    title: StrictStr | None = None
    description: StrictStr | None = None
    relatedArtifact: list[_Artifact] = Field(default_factory=list)
    content: list[Attachment] = Field(default_factory=list, max_length=CONTENTS_MAX)
    parameter: list[_Parameter] = Field(default_factory=list, max_length=PARAMETERS_MAX)


def is_library(raw: Mapping[str, Any]) -> bool:
    """Whether this is meant to be a Library rather than a ViewDefinition."""
    return raw.get("resourceType") == "Library"


def parse_library(raw: Mapping[str, Any]) -> SqlLibrary:
    """The SQLView or SQLQuery in `raw`, a FHIR JSON object.

    Without a `type` it is a SQLQuery when it declares parameters, else a SQLView. Raises
    ViewDefinitionError with `field` as the path of the first thing wrong.
    """
    try:
        library = _Library.model_validate(raw)
    except ValidationError as error:
        raise _translated(error) from error
    kind = _kind(library)
    sql, sql_field = sql_of(library.content)
    return SqlLibrary(
        kind=kind,
        name=_name(library, kind),
        description=library.description or library.title,
        depends_on=_dependencies(library.relatedArtifact),
        parameters=_parameters(library.parameter),
        sql=sql,
        sql_field=sql_field,
        definition=dict(raw),
    )


def _kind(library: _Library) -> Kind:
    codes = [coding.code for coding in library.type.coding] if library.type else []
    if "sql-view" in codes:
        return "sql-view"
    if "sql-query" in codes:
        return "sql-query"
    if codes:
        raise refused(
            "the Library is neither an SQLView nor an SQLQuery",
            code="library_type",
            field="type.coding[0].code",
            hint="Set the code to sql-view, or to sql-query for SQL that is not kept.",
            allowed=("sql-view", "sql-query"),
        )
    return "sql-query" if library.parameter else "sql-view"


def _name(library: _Library, kind: Kind) -> str | None:
    if library.name is None and kind == "sql-query":
        return None
    if library.name is None:
        raise refused(
            "'name' is missing",
            code="definition_incomplete",
            field="name",
            hint="Give the view a name of its own: it is asked by it.",
        )
    _check_name(library.name, field="name")
    return library.name


def _dependencies(artifacts: Sequence[_Artifact]) -> tuple[Dependency, ...]:
    found: list[Dependency] = []
    for number, artifact in enumerate(artifacts):
        if artifact.type != "depends-on":
            continue
        at = f"relatedArtifact[{number}]"
        if artifact.label is None or artifact.resource is None:
            lacking = "label" if artifact.label is None else "resource"
            raise refused(
                f"'{at}.{lacking}' is missing",
                code="definition_incomplete",
                field=f"{at}.{lacking}",
                hint="Give each dependency the view as resource and its table name as label.",
            )
        _check_name(artifact.label, field=f"{at}.label")
        if artifact.label.lower() in {one.label.lower() for one in found}:
            raise refused(
                f"two dependencies are labelled '{artifact.label}'",
                code="duplicate_label",
                field=f"{at}.label",
                hint="Give each dependency a label of its own; upper and lower case are one.",
            )
        field = f"{at}.resource"
        found.append(Dependency(artifact.label, _reference(artifact.resource, field), field))
    _check_count(found)
    return tuple(found)


def _check_count(found: Sequence[Dependency]) -> None:
    if 1 <= len(found) <= DEPENDENCIES_MAX:
        return
    raise refused(
        f"the SQL depends on {len(found)} views",
        code="dependency_count",
        field="relatedArtifact",
        hint=f"Declare 1 to {DEPENDENCIES_MAX} views as relatedArtifact of type depends-on.",
    )


def _reference(resource: str, field: str) -> Reference:
    """What the canonical URL, the reference or the name of a view says."""
    reference = Reference.parse(resource)
    parent = ["", *resource.partition("|")[0].split("/")][-2]
    if reference.kind not in (None, *VIEW_TYPES) or parent in _TERMINOLOGY:
        raise refused(
            f"'{field}' names no view",
            code="dependency_type",
            field=field,
            hint="Depend on views; compare codes with a list of VALUES in the SQL.",
            allowed=VIEW_TYPES,
        )
    if reference.name is not None and reference.kind is None:
        _check_name(reference.name, field=field)
    return reference


def _parameters(parameters: Sequence[_Parameter]) -> tuple[SqlParameter, ...]:
    found: dict[str, SqlParameter] = {}
    for number, parameter in enumerate(parameters):
        at = f"parameter[{number}]"
        _check_name(parameter.name, field=f"{at}.name")
        if parameter.name in found:
            raise refused(
                f"the parameter '{parameter.name}' is declared twice",
                code="duplicate_parameter",
                field=f"{at}.name",
                hint="Declare each parameter once.",
            )
        _check_one_of(parameter.use, ("in",), f"{at}.use", "parameter_use")
        _check_one_of(parameter.type, tuple(PARAMETER_TYPES), f"{at}.type", "parameter_type")
        found[parameter.name] = SqlParameter(
            parameter.name, parameter.type, parameter.documentation
        )
    return tuple(found.values())


def _check_name(name: str, *, field: str) -> None:
    if _NAME.fullmatch(name) and len(name) <= SQL_NAME_LENGTH_MAX:
        return
    raise refused(
        f"'{field}' is not a valid name",
        code="invalid_name",
        field=field,
        hint=f"Start with a letter, then letters, digits and underscores,"
        f" {SQL_NAME_LENGTH_MAX} at most.",
    )


def _check_one_of(value: str, allowed: tuple[str, ...], field: str, code: str) -> None:
    if value in allowed:
        return
    raise refused(
        f"'{value}' is not allowed as '{field}'",
        code=code,
        field=field,
        hint="Use one of the allowed values.",
        allowed=allowed,
        did_you_mean=nearest(value, allowed),
    )


def _translated(error: ValidationError) -> ViewDefinitionError:
    first = error.errors(include_url=False, include_input=False)[0]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    field = path.lstrip(".") or "definition"
    if first["type"] == "missing":
        return refused(
            f"'{field}' is missing",
            code="definition_incomplete",
            field=field,
            hint=f"Add '{first['loc'][-1]}' to the Library.",
        )
    return refused(
        f"'{field}': {first['msg'].lower()}",
        code="invalid_definition",
        field=field,
        hint="Correct the value to what the profiles SQLView and SQLQuery ask for.",
    )
