"""What tags say of a column itself: that it dates its row, or how rows of other views reach it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from researchflow_runners.compiler.column import Column
from researchflow_runners.compiler.definition import ColumnDefinition
from researchflow_runners.compiler.sql_types import MOMENT_TYPES
from researchflow_runners.errors import ViewDefinitionError

EVENT_TAG = "researchflow/event-date"
KNOWN_AS_TAG = "researchflow/known-as"
_RANK = re.compile("[1-9]")
_WORD = re.compile("[a-z][a-z0-9_]{0,29}")


def marked(column: Column, definition: ColumnDefinition, path: str) -> Column:
    """The column with its marks; ViewDefinitionError `column_type` where one does not apply."""
    rank, word = definition.tag_value(EVENT_TAG), definition.tag_value(KNOWN_AS_TAG)
    if rank is not None:
        is_date = column.has_range or column.base_type in MOMENT_TYPES
        if not is_date or not _RANK.fullmatch(rank):
            raise _refused(
                column, EVENT_TAG, path, "Put it on a date, with its rank from 1 to 9 as value."
            )
        column = replace(column, event=int(rank))
    if word is not None:
        if not column.is_key or not _WORD.fullmatch(word):
            raise _refused(
                column,
                KNOWN_AS_TAG,
                path,
                "Put it on getResourceKey(), with a word of small letters as value.",
            )
        column = replace(column, known_as=word)
    return column


def check_known_rows(columns: Sequence[Column], *, fans_out: bool) -> None:
    """A key by which rows are reached has one row; ViewDefinitionError `column_type`."""
    for column in columns:
        if column.known_as is not None and fans_out:
            raise _refused(
                column,
                KNOWN_AS_TAG,
                "select",
                "A key of this view may have several rows: leave the tag out.",
            )


def _refused(column: Column, tag: str, field: str, hint: str) -> ViewDefinitionError:
    return ViewDefinitionError(
        f"the tag '{tag}' does not apply to column '{column.name}'",
        code="column_type",
        field=field,
        hint=hint,
    )
