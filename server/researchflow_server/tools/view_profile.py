"""A view's profile in the shape of `describe_view`, as much of it as a client takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.column_profile import TOP_MAX, ColumnProfile
from researchflow_runners.hybrid.profile import Profile
from researchflow_server.tools.query_view import missing_warnings
from researchflow_server.tools.result import dumped

COLUMNS = ("column", "type", "nulls", "distinct", "min", "max", "top", "units")
#: How many of the most frequent values are told, the first number that fits.
TOPS = (TOP_MAX, 5, 3, 1, 0)


def profile_payload(profile: Profile, bytes_max: int) -> dict[str, Any]:
    """The profile within so many bytes; QueryError `result_too_large` for a very wide view."""
    for top_max in TOPS:
        payload = _payload(profile, top_max)
        if len(dumped(payload)) <= bytes_max:
            return payload
    raise QueryError(
        f'the profile of view "{profile.view}" is larger than a tool result may be',
        code="result_too_large",
        field="show",
        hint="ask for single columns with query_view: group_by one, or aggregates over some",
    )


def _payload(profile: Profile, top_max: int) -> dict[str, Any]:
    warnings = _warnings(profile, top_max)
    return {
        "view": profile.view,
        "view_rows": profile.rows,
        "columns": list(COLUMNS),
        "rows": [_row(column, top_max) for column in profile.columns],
        "anchor": profile.anchor,
        "data_as_of": profile.data_as_of,
        **({"warnings": warnings} if warnings else {}),
    }


def _row(found: ColumnProfile, top_max: int) -> list[Any]:
    kept = replace(found, top=found.top[:top_max])
    return [
        kept.column.name,
        kept.column.fhir_type,
        kept.nulls,
        kept.different,
        kept.least,
        kept.most,
        [
            [one.text, one.rows] if one.display is None else [one.text, one.rows, one.display]
            for one in kept.top
        ],
        [[one.unit, one.rows, one.least, one.most] for one in kept.units],
    ]


def _warnings(profile: Profile, top_max: int) -> list[str]:
    found = []
    if profile.uncounted:
        found.append(
            f"not counted in time: {', '.join(profile.uncounted)}; ask again to go on with them"
        )
    if profile.set_aside:
        found.append(
            f"as of anchor {profile.anchor}, for what cannot be computed for now: "
            + ", ".join(profile.set_aside)
        )
    found += missing_warnings(profile.missing_resources)
    if top_max < TOP_MAX and any(len(column.top) > top_max for column in profile.columns):
        found.append(f"the {top_max} most frequent values are shown, to stay within a result")
    return found
