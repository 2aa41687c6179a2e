"""Tags that date a row and that make it known to rows of other views."""

from __future__ import annotations

from typing import Any

import pytest

from researchflow_runners.compiler import compile_view
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.query.columns import event_dates
from researchflow_runners.views import shipped_views

EVENT, KNOWN_AS = "researchflow/event-date", "researchflow/known-as"
UNDATED = {"condition_simple", "patient_demographics", "patient_simple"}

NAMES = {"forEach": "name", "column": [{"name": "family", "path": "family"}]}


def definition(path: str, name: str, value: str, **more: Any) -> dict[str, Any]:
    column = {"name": "c", "path": path, "tag": [{"name": name, "value": value}]}
    return {"resource": "Patient", "status": "draft", "select": [{"column": [column], **more}]}


def test_every_shipped_view_of_events_dates_its_rows() -> None:
    views = {view["name"]: compile_view(view) for view in shipped_views()}
    assert {name for name, view in views.items() if not event_dates(view.columns)} == UNDATED
    dates = event_dates(views["observation_labs"].columns)
    assert [date.name for date in dates] == [
        "effective_datetime",
        "effective_period_start",
        "issued",
    ]


def test_rows_that_others_point_to_are_known_by_one_word_each() -> None:
    known = [
        (column.known_as, view["name"], column.key_of)
        for view in shipped_views()
        for column in compile_view(view).columns
        if column.known_as is not None
    ]
    assert sorted(known) == [
        ("encounter", "encounters", "Encounter"),
        ("patient", "patient_demographics", "Patient"),
    ]


@pytest.mark.parametrize(
    ("path", "name", "value", "more"),
    [
        ("gender", EVENT, "1", {}),
        ("birthDate", EVENT, "first", {}),
        ("birthDate", EVENT, "0", {}),
        ("gender", KNOWN_AS, "patient", {}),
        ("getResourceKey()", KNOWN_AS, "the patient", {}),
        ("getResourceKey()", KNOWN_AS, "patient", {"select": [NAMES]}),
    ],
)
def test_a_mark_that_does_not_apply_is_refused(
    path: str, name: str, value: str, more: dict[str, Any]
) -> None:
    with pytest.raises(ViewDefinitionError, match=f"the tag '{name}' does not apply") as caught:
        compile_view(definition(path, name, value, **more))
    assert caught.value.code == "column_type"
