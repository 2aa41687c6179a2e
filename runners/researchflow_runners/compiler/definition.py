"""A ViewDefinition as written: its shape checked, its expressions still text.

Accepts the logical model of SQL on FHIR 2.x and the resource of 3.0.0-ballot, which share these
elements. Elements that describe the definition itself (url, status, contact …) are not read.
Inside `select`, `column`, `constant` and `where`, an unknown key is an error: a misspelt `forEach`
would otherwise change the rows without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.naming import as_clause, nearest

SQL_NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"
SQL_NAME_LENGTH_MAX = 55
#: Every table of PostgreSQL has these; none can have another column of the name.
SYSTEM_COLUMNS = frozenset({"cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"})
SELECT_DEPTH_MAX = 20


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank_path", "the path is blank")
    return text


def _not_of_the_system(name: str) -> str:
    if name in SYSTEM_COLUMNS:
        raise PydanticCustomError("system_column", "the name is that of a system column")
    return name


SqlName = Annotated[StrictStr, Field(pattern=SQL_NAME_PATTERN, max_length=SQL_NAME_LENGTH_MAX)]
ColumnName = Annotated[SqlName, AfterValidator(_not_of_the_system)]
Path = Annotated[StrictStr, AfterValidator(_not_blank)]


class _Element(BaseModel):
    """A backbone element: FHIR allows id and extensions on it, which carry no meaning here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: StrictStr | None = None
    extension: list[Any] | None = None
    modifierExtension: list[Any] | None = Field(default=None, max_length=0)


class Tag(_Element):
    """A named hint for implementers, such as `ansi/type`."""

    name: StrictStr
    value: StrictStr


class ColumnDefinition(_Element):
    """One column: what is selected and what it is called."""

    path: Path
    name: ColumnName
    description: StrictStr | None = None
    type: StrictStr | None = None
    collection: StrictBool = False
    tag: list[Tag] = Field(default_factory=list)

    def tag_value(self, name: str) -> str | None:
        """The value of the first tag of that name."""
        return next((tag.value for tag in self.tag if tag.name == name), None)


class SelectDefinition(_Element):
    """Columns, nested selects and unions, for each node of at most one iteration."""

    column: list[ColumnDefinition] = Field(default_factory=list)
    select: list[SelectDefinition] = Field(default_factory=list)
    unionAll: list[SelectDefinition] = Field(default_factory=list)
    forEach: Path | None = None
    forEachOrNull: Path | None = None
    repeat: list[Path] = Field(default_factory=list)


class WhereDefinition(_Element):
    """A condition that every resource of the view meets."""

    path: Path
    description: StrictStr | None = None


class ConstantDefinition(_Element):
    """A named constant; the value is in the one `value[x]` key."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: SqlName


class ViewDefinition(BaseModel):
    """The parts of a ViewDefinition that decide its rows."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    resource: StrictStr
    name: SqlName | None = None
    title: StrictStr | None = None
    description: StrictStr | None = None
    contained: list[dict[str, Any]] = Field(default_factory=list)
    constant: list[ConstantDefinition] = Field(default_factory=list)
    select: list[SelectDefinition] = Field(min_length=1)
    where: list[WhereDefinition] = Field(default_factory=list)


def parse_definition(raw: Mapping[str, Any]) -> ViewDefinition:
    """The definition in `raw`, a FHIR JSON object.

    Raises ViewDefinitionError with `field` as the path of the first thing wrong.
    """
    _check_depth(raw)
    try:
        return ViewDefinition.model_validate(raw)
    except ValidationError as error:
        raise _translate(error) from error


def _check_depth(raw: Mapping[str, Any]) -> None:
    """Refuses selects that nest without end before anything recurses over them."""
    level: list[Any] = [raw]
    for _depth in range(SELECT_DEPTH_MAX + 1):
        level = [
            child
            for one in level
            if isinstance(one, Mapping)
            for key in ("select", "unionAll")
            if isinstance(one.get(key), list)
            for child in one[key]
        ]
        if not level:
            return
    raise ViewDefinitionError(
        f"selects nest deeper than {SELECT_DEPTH_MAX} levels",
        code="definition_too_deep",
        field="select",
        hint="Flatten the definition or split it into several views.",
    )


def _translate(error: ValidationError) -> ViewDefinitionError:
    first = error.errors(include_url=False, include_input=False)[0]
    field = _dotted(first["loc"])
    kind = first["type"]
    name = str(first["loc"][-1]) if first["loc"] else "definition"
    if kind == "missing":
        return ViewDefinitionError(
            f"'{field}' is missing",
            code="definition_incomplete",
            field=field,
            hint=f"Add '{name}' to the ViewDefinition.",
        )
    if kind == "extra_forbidden":
        allowed = sorted({*SelectDefinition.model_fields, *ColumnDefinition.model_fields})
        return ViewDefinitionError(
            f"'{field}' is not an element of a ViewDefinition",
            code="unknown_element",
            field=field,
            did_you_mean=nearest(name, allowed),
            hint="Remove it or correct its spelling; names are case-sensitive.",
        )
    if kind == "string_pattern_mismatch":
        return ViewDefinitionError(
            f"'{field}' is not a valid name",
            code="invalid_name",
            field=field,
            hint="Start with a letter, then letters, digits and underscores.",
        )
    if kind == "system_column":
        return ViewDefinitionError(
            f"'{field}' is the name of a column that every table of PostgreSQL has",
            code="invalid_name",
            field=field,
            hint=f"Give the column another name than {', '.join(sorted(SYSTEM_COLUMNS))}.",
        )
    return ViewDefinitionError(
        f"'{field}': {as_clause(first['msg'])}",
        code="invalid_definition",
        field=field,
        hint="Correct the value to what the SQL on FHIR specification asks for.",
    )


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
