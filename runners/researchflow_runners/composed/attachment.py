"""The SQL that a Library carries: which attachment is meant, and its text."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from researchflow_runners.errors import ViewDefinitionError

DIALECT = "postgresql"
SQL_TEXT_EXTENSION = re.compile(r"https?://.+/StructureDefinition/sql-text")


class Element(BaseModel):
    """A part of a Library of which some elements are read."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Extension(Element):
    """An extension with a text."""

    url: StrictStr
    valueString: StrictStr | None = None


class Attachment(Element):
    """One form of the SQL."""

    contentType: StrictStr
    data: StrictStr | None = None
    extension: list[Extension] = Field(default_factory=list)


def sql_of(contents: Sequence[Attachment]) -> tuple[str, str]:
    """The SQL for PostgreSQL, else the one of no dialect; and the path of its attachment."""
    dialects: list[str | None] = []
    for number, content in enumerate(contents):
        dialects.append(_dialect(content.contentType, f"content[{number}].contentType"))
    for wanted in (DIALECT, None):
        if wanted in dialects:
            number = dialects.index(wanted)
            return _text(contents[number], f"content[{number}]"), f"content[{number}]"
    raise refused(
        "the Library has no SQL for PostgreSQL",
        code="dialect_missing",
        field="content",
        hint="Add a content of contentType application/sql or application/sql;dialect=postgresql.",
        allowed=("application/sql", f"application/sql;dialect={DIALECT}"),
    )


def _dialect(content_type: str, field: str) -> str | None:
    """The dialect that a MIME type names, or None."""
    kind, *options = (part.strip() for part in content_type.split(";"))
    if kind.lower() != "application/sql":
        raise refused(
            f"'{content_type}' is not SQL",
            code="content_type",
            field=field,
            hint="Use application/sql, with ;dialect=postgresql where the SQL is PostgreSQL's.",
            allowed=("application/sql", f"application/sql;dialect={DIALECT}"),
        )
    for option in options:
        key, _, value = option.partition("=")
        if key.strip().lower() == "dialect":
            return value.strip().strip('"').lower()
    return None


def _text(content: Attachment, at: str) -> str:
    """The SQL of one attachment; where it stands twice, both must say the same."""
    shown = next(
        (one.valueString for one in content.extension if SQL_TEXT_EXTENSION.fullmatch(one.url)),
        None,
    )
    if content.data is None and shown is None:
        raise refused(
            f"'{at}.data' is missing",
            code="definition_incomplete",
            field=f"{at}.data",
            hint="Give the SQL as base64 in data, or as text in the extension sql-text.",
        )
    if content.data is None:
        return shown or ""
    try:
        text = base64.b64decode("".join(content.data.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise refused(
            f"'{at}.data' is not base64 of UTF-8 text",
            code="sql_encoding",
            field=f"{at}.data",
            hint="Encode the SQL text as UTF-8, then as base64.",
        ) from error
    if shown is not None and shown.strip() != text.strip():
        raise refused(
            f"'{at}' shows another SQL in sql-text than it carries in data",
            code="sql_text_differs",
            field=f"{at}.extension",
            hint="Make both the same, or leave sql-text out: who reads it must see what runs.",
        )
    return text


def refused(
    message: str,
    *,
    code: str,
    field: str,
    hint: str,
    allowed: Sequence[str] = (),
    did_you_mean: str | None = None,
) -> ViewDefinitionError:
    """The error about one element of a Library."""
    return ViewDefinitionError(
        message, code=code, field=field, hint=hint, allowed=allowed, did_you_mean=did_you_mean
    )
