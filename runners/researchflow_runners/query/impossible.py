"""Constants that no value can equal, whatever the data: 0 rows would look like a fact."""

from __future__ import annotations

import re

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.fhir import required_codes
from researchflow_runners.naming import nearest_value
from researchflow_runners.query.model import Compare

#: Comparisons with a whole value.
_WHOLE = frozenset({"eq", "ne", "in", "not_in"})
#: A code as FHIR's searches write it, with its system: a URL before a bar.
_TOKEN = re.compile(r"\s*(?:https?://|urn:)[^|]*\|(.*)", re.DOTALL)
#: A code behind the name of its system, as people write it.
_NAMED = re.compile(
    r"\s*(?:SNOMED(?:[ -]?CT)?|SCT|LOINC|ICD-?(?:9|10|11)(?:-?CM)?|RXNORM|CVX|UCUM|ATC|NDC)"
    r"\s*[:|]\s*(\S.*)",
    re.IGNORECASE | re.DOTALL,
)
#: A pattern of LIKE; a percentage ends in a sign too, but no letter stands before it.
_PATTERN = re.compile(r"%.*\S.*|.*[^\W\d]%", re.DOTALL)


def check_possible(compare: Compare, column: Column, *, field: str) -> None:
    """QueryError `value_never_matches` with what to write instead."""
    values = compare.value if isinstance(compare.value, list) else [compare.value]
    for value in values:
        if not isinstance(value, str):
            continue
        if column.system is not None or column.fhir_type == "code":
            _check_code(value, column, field=field)
        if compare.op in _WHOLE:
            _check_bound(value, column, field=field)
        if compare.op in ("contains", "starts_with") and _PATTERN.fullmatch(value):
            raise QueryError(
                f'"{compare.op}" on column "{column.name}" takes plain text, no pattern with %',
                code="value_never_matches",
                field=field,
                hint=f"write the text without %: {compare.op} looks for it as it stands",
            )


def _check_bound(value: str, column: Column, *, field: str) -> None:
    """FHIR's own list of codes holds for a plain element of type code, in every server."""
    allowed = required_codes(column.element) if column.element else None
    if allowed is None or value in allowed:
        return
    guess = nearest_value(value, allowed)
    raise QueryError(
        f'FHIR has no such code in {column.element}, which column "{column.name}" holds',
        code="value_never_matches",
        field=field,
        allowed=allowed,
        did_you_mean=guess,
        hint=(f'use "{guess}"' if guess else "use one of the allowed codes")
        + "; data that break this rule are found with contains",
    )


def _check_code(value: str, column: Column, *, field: str) -> None:
    found = _TOKEN.fullmatch(value) or _NAMED.fullmatch(value)
    if found is None:
        return
    of = f" of {column.system}" if column.system else ""
    raise QueryError(
        f'column "{column.name}" holds codes{of} alone, without their system before them',
        code="value_never_matches",
        field=field,
        hint="write the code alone, what stands behind the last bar or colon; describe_view tells "
        "the system of each column",
    )
