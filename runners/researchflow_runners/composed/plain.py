"""Short forms of a SQL view: `{name, sql}`, and a Library that carries its SQL as plain text.

Both become the Library that FHIR asks for: the views that the SQL reads are found in it, and the
text stands as base64 in `data` and readable beside it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from researchflow_runners.composed.definition import is_library
from researchflow_runners.composed.parameters import PARAMETER_TYPES
from researchflow_runners.composed.syntax import refused, relations_named
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.naming import by_likeness, nearest

PARTS = ("name", "sql", "description", "parameters")
SQL_TEXT_URL = "http://hl7.org/fhir/uv/sql-on-fhir/StructureDefinition/sql-text"
SQL_TYPE = "application/sql"
_DECLARING = f'Write {{"least": "decimal"}}: an example, or one of {", ".join(PARAMETER_TYPES)}.'
_DATE = re.compile(r"\d{4}-\d{2}(-\d{2})?")
#: Base64 has no blanks in its words.
_SQL = re.compile(r"\s*(select|with)\s", re.IGNORECASE)
#: Where the Library made of `{name, sql}` keeps the text.
_MADE_FIELD = "content[0]"
_MADE_PARAMETER = re.compile(r"parameter\[(\d+)\]")


def is_plain(raw: Mapping[str, Any]) -> bool:
    """Whether this is meant to be `{name, sql}`."""
    return "resourceType" not in raw and "sql" in raw


def as_definition(raw: Mapping[str, Any], views: Collection[str]) -> dict[str, Any]:
    """The definition with short forms written out; `views` are the names of those it may read.

    Raises ViewDefinitionError for a part that `{name, sql}` has not, and as relations_named,
    `unknown_relation` or `sql_reads_no_view`.
    """
    if is_plain(raw):
        return _library(raw, views)
    if is_library(raw) and isinstance(raw.get("content"), list):
        return {**raw, "content": [_encoded(content) for content in raw["content"]]}
    return dict(raw)


@contextmanager
def fields_of(raw: Mapping[str, Any]) -> Iterator[None]:
    """Names the caller's own fields in the errors about what was made of `{name, sql}`."""
    try:
        yield
    except ViewDefinitionError as error:
        if is_plain(raw) and error.field is not None:
            error.field = _own_field(raw, error.field)
        raise


def _own_field(raw: Mapping[str, Any], field: str) -> str:
    """The field of `{name, sql}` that the Library's was made of."""
    if field.startswith(_MADE_FIELD):
        return "sql"
    made = _MADE_PARAMETER.match(field)
    return f"parameters.{list(raw['parameters'])[int(made[1])]}" if made else field


def _library(raw: Mapping[str, Any], views: Collection[str]) -> dict[str, Any]:
    _check_parts(raw)
    declared = _declared(raw.get("parameters", {}))
    described = {"description": raw["description"]} if "description" in raw else {}
    return {
        "resourceType": "Library",
        "name": raw.get("name"),
        "status": "active",
        "type": {"coding": [{"code": "sql-view"}]},
        **described,
        **({"parameter": declared} if declared else {}),
        "relatedArtifact": [
            {"type": "depends-on", "label": view, "resource": view}
            for view in _read(raw["sql"], views, [one["name"] for one in declared])
        ],
        "content": [_attachment(SQL_TYPE, raw["sql"])],
    }


def _declared(parameters: Any) -> list[dict[str, str]]:
    """The parameters as a Library declares them; each by the name of its type or an example."""
    if not isinstance(parameters, Mapping):
        raise _wrong("'parameters' is no object", "parameters", _DECLARING)
    found = []
    for name, given in parameters.items():
        kind = _type(given)
        if kind is None:
            raise _wrong(f"'{name}' has no type", f"parameters.{name}", _DECLARING)
        found.append({"name": name, "use": "in", "type": kind})
    return found


def _type(given: Any) -> str | None:
    """The type that is named, or that the example is of."""
    if isinstance(given, str):
        if given in PARAMETER_TYPES:
            return given
        return "date" if _DATE.fullmatch(given) else "string"
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "decimal")):
        if isinstance(given, kind):
            return name
    return None


def _check_parts(raw: Mapping[str, Any]) -> None:
    for part in raw:
        if part not in PARTS:
            raise _wrong(
                f"'{part}' is no part of a view in SQL",
                part,
                "Give name and sql, or a ViewDefinition or a Library of FHIR.",
                allowed=PARTS,
                guess=nearest(part, PARTS),
            )
    for part in ("name", "sql", "description"):
        if part in raw and not isinstance(raw[part], str):
            raise _wrong(f"'{part}' is not a text", part, f"Write '{part}' as text.")
    if "name" not in raw:
        raise _wrong("'name' is missing", "name", "Give the view a name: it is asked by it.")


def _wrong(
    message: str,
    field: str,
    hint: str,
    *,
    allowed: Collection[str] = (),
    guess: str | None = None,
) -> ViewDefinitionError:
    return refused(
        message, "invalid_definition", field, None, hint, allowed=allowed, did_you_mean=guess
    )


def _read(sql: str, views: Collection[str], parameters: Collection[str]) -> list[str]:
    """The views that the SQL reads, by name."""
    folded = {view.lower(): view for view in views}
    read, unknown = relations_named(sql, frozenset(parameters), field="sql")
    for name in sorted(unknown):
        if name.lower() not in folded:
            raise refused(
                f"there is no view '{name}'",
                "unknown_relation",
                "sql",
                None,
                "Read a view by its name; list_views names them.",
                allowed=by_likeness(name, sorted(views)),
                did_you_mean=nearest(name, views),
            )
    found = sorted({folded[name.lower()] for name in read if name.lower() in folded})
    if not found:
        raise refused(
            "the SQL reads no view",
            "sql_reads_no_view",
            "sql",
            None,
            "Read one at least: SELECT … FROM patient_demographics; list_views names them.",
        )
    return found


def _encoded(content: Any) -> Any:
    """The attachment with SQL that stands plainly in `data` as base64; any other as it is."""
    data = content.get("data") if isinstance(content, Mapping) else None
    if not isinstance(data, str) or not _SQL.match(data):
        return content
    shown = _attachment(str(content.get("contentType", SQL_TYPE)), data)
    return {**shown, **{name: part for name, part in content.items() if name != "data"}}


def _attachment(content_type: str, sql: str) -> dict[str, Any]:
    return {
        "contentType": content_type,
        "data": base64.b64encode(sql.encode()).decode(),
        "extension": [{"url": SQL_TEXT_URL, "valueString": sql}],
    }
