"""Columns of the row that another row's key points to: `patient.gender`.

A view lends the rows of its resources to all others by a word on its key (the tag
`researchflow/known-as`); a row reaches them where it holds a key of that type.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from researchflow_runners.compiler.column import HIGH_SUFFIX, RELATION_TAGS, Column, related
from researchflow_runners.errors import QueryError
from researchflow_runners.query.columns import Catalogue, find_column
from researchflow_runners.sql import IDENTIFIER_BYTES_MAX

#: The word of the view whose rows are born and die.
PATIENT = "patient"


@dataclass(frozen=True, slots=True)
class Lender:
    """A view known by a word, its key, and the columns of it that a statement reads."""

    word: str
    view: str
    key: Column
    columns: Sequence[Column]
    read: set[str] = field(default_factory=set)


def lenders(catalogue: Catalogue) -> dict[str, list[Lender]]:
    """Every word with the views that are known by it; one, where nobody registered another."""
    found: dict[str, list[Lender]] = {}
    for view, columns in catalogue.items():
        for column in columns:
            if column.known_as is not None:
                lender = Lender(column.known_as, view, column, columns)
                found.setdefault(column.known_as, []).append(lender)
    return found


def is_known(word: str, catalogue: Catalogue) -> bool:
    """Whether some view is known by the word."""
    return word in lenders(catalogue)


def views_lending(words: Collection[str], catalogue: Catalogue) -> list[str]:
    """The views known by these words; words that no view is known by are refused later."""
    found = lenders(catalogue) if words else {}
    return [one.view for word in words for one in found.get(word, ())]


def find_lender(word: str, view: str, catalogue: Catalogue, *, at: str) -> Lender:
    """The view known by the word; QueryError `unknown_column` for none, or several."""
    known = lenders(catalogue)
    found = known.get(word, [])
    if len(found) == 1:
        return found[0]
    if found:
        raise QueryError(
            f'several views are known as "{word}": {", ".join(one.view for one in found)}',
            code="unknown_column",
            hint="use a semi-join with one of them, or drop the registered one",
            field=at,
        )
    raise QueryError(
        f'no view is known as "{word}" to rows of view "{view}"',
        code="unknown_column",
        hint="name the date of birth in column, of the view itself",
        field=at,
        allowed=sorted(known),
    )


def own_key(lender: Lender, columns: Sequence[Column], *, view: str, at: str) -> Column:
    """The column that holds the lender's key; QueryError `column_mismatch` for none or several."""
    holding = [column for column in columns if column.key_of == lender.key.key_of]
    # A row's own keys are all the same; it points to others of its type by further ones.
    keys = [column for column in holding if not column.is_key] or holding[:1]
    if len(keys) == 1:
        return keys[0]
    held = f"several columns with keys of {lender.key.key_of}" if keys else "no such key"
    raise QueryError(
        f'view "{view}" has {held}, so "{lender.word}" is no row of its own',
        code="column_mismatch",
        hint=f'match a column with view "{lender.view}" in a semi-join',
        field=at,
        allowed=[column.name for column in keys],
    )


def lent_column(lender: Lender, name: str, *, at: str) -> Column:
    """The lender's column under the name by which others read it."""
    column = find_column(name, lender.columns, view=lender.view, field=at)
    shown = f"{lender.word}.{name}"
    if len(f"{shown}{HIGH_SUFFIX}") > IDENTIFIER_BYTES_MAX:
        raise QueryError(
            f'the name "{shown}" is too long',
            code="unknown_column",
            hint=f'ask view "{lender.view}" itself, with a semi-join',
            field=at,
        )
    lender.read.add(name)
    others = {relation: getattr(column, relation) for relation in RELATION_TAGS.values()}
    names = {relation: other and f"{lender.word}.{other}" for relation, other in others.items()}
    return related(replace(column, name=shown, is_key=False, known_as=None, event=None), names)


def lent_elsewhere(name: str, columns: Sequence[Column], catalogue: Catalogue) -> str | None:
    """What rows with these columns call a column of that name of a row that they point to."""
    for word, found in lenders(catalogue).items():
        for lender in found:
            is_reached = any(column.key_of == lender.key.key_of for column in columns)
            if is_reached and any(column.name == name for column in lender.columns):
                return f"{word}.{name}"
    return None


def place_of(view: str, name: str, catalogue: Catalogue) -> tuple[str, str]:
    """The view and column that a name means in rows of a view, whether they are there or not."""
    word, dot, rest = name.partition(".")
    found = lenders(catalogue).get(word, []) if dot else []
    return (found[0].view, rest) if len(found) == 1 else (view, name)
