"""What stands in a picture: the marks of each chart, what is left out, and what is refused."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from researchflow_runners.errors import QueryError
from researchflow_runners.hybrid.result import Answer, SpeedContribution, Timings
from researchflow_runners.query.columns import AnswerColumn
from researchflow_server.contract import DrawInput
from researchflow_server.pictures import Drawn, check_columns, drawn, specification
from researchflow_server.pictures.bins import date_edges, number_edges

AT = datetime(2026, 5, 4, 10, 30, tzinfo=UTC)
ARMS = [("a", 2, True), ("a", 3, False), ("b", 1, True), ("b", 1, True)]


def answer(columns: dict[str, str], rows: Sequence[Sequence[Any]], **other: Any) -> Answer:
    """An answer of these rows; `columns` are names with FHIR types."""
    parts: dict[str, Any] = {
        "view": "v",
        "columns": tuple(AnswerColumn(name, kind) for name, kind in columns.items()),
        "rows": tuple(map(tuple, rows)),
        "truncated": False,
        "next_cursor": None,
        "freshness": "live",
        "route": "materialized",
        "anchor": 12,
        "data_as_of": AT,
        "computed_at": AT,
        "age_s": 1.0,
        "staleness_s": 0.0,
        "checked_at": AT,
        "pending": 0,
        "speed": SpeedContribution(enabled=True),
        "missing_resources": 0,
        "ties": None,
        "degradations": (),
        "warnings": (),
        "timings": Timings(1, 1, 1),
        "views": ("v",),
        "cursor_after": str,
    }
    return Answer(**{**parts, **other})


def asked(chart: str, **columns: Any) -> DrawInput:
    found = DrawInput.model_validate({"chart": chart, "query": {"view": "v"}, **columns})
    check_columns(found)
    return found


def picture(
    chart: str, columns: dict[str, str], rows: Sequence[Sequence[Any]], **named: Any
) -> Drawn:
    return drawn(asked(chart, **named), answer(columns, rows))


def refused(
    chart: str, columns: dict[str, str], rows: Sequence[Sequence[Any]], **named: Any
) -> tuple[str, str | None]:
    with pytest.raises(QueryError) as caught:
        picture(chart, columns, rows, **named)
    return caught.value.code, caught.value.field


def values(layout: Any) -> list[dict[str, Any]]:
    """The first data of a layout."""
    found: list[dict[str, Any]] = layout["data"]["values"]
    return found


# Bars and lines


def test_bars_are_the_rows_in_their_order_and_none_has_a_name() -> None:
    rows = [("female", 3), (None, 2), ("male", -1)]
    found = picture("bar", {"gender": "code", "n": "integer"}, rows, x="gender", y="n")
    assert found.rows == tuple(rows)
    assert [(one["x"], one["y"]) for one in values(found.layout)] == [
        ("female", 3.0), ("(none)", 2.0), ("male", -1.0),
    ]  # fmt: skip


def test_a_bar_without_a_number_is_told() -> None:
    rows = [("female", Decimal("1.5")), ("male", None)]
    found = picture("bar", {"g": "code", "m": "decimal"}, rows, x="g", y="m")
    assert len(values(found.layout)) == 1
    assert found.warnings == ("1 row is not drawn: no value of m",)


@pytest.mark.parametrize("chart", ["bar", "line"])
def test_two_rows_at_one_place_are_refused(chart: str) -> None:
    rows = [("2020", "a", 1), ("2020", "b", 2)]
    columns = {"x": "string", "g": "string", "n": "integer"}
    assert refused(chart, columns, rows, x="x", y="n") == ("mark_not_unique", "x")
    assert len(picture(chart, columns, rows, x="x", y="n", by="g").rows) == 2


@pytest.mark.parametrize(("chart", "most"), [("bar", 200), ("line", 5_000)])
def test_more_marks_than_a_picture_holds_are_refused(chart: str, most: int) -> None:
    rows = [(number, 1) for number in range(most + 1)]
    columns = {"x": "integer", "n": "integer"}
    assert refused(chart, columns, rows, x="x", y="n") == ("marks_too_many", "x")
    assert len(picture(chart, columns, rows[:most], x="x", y="n").rows) == most


@pytest.mark.parametrize("chart", ["bar", "line", "histogram", "survival"])
def test_more_series_than_colours_are_refused(chart: str) -> None:
    rows = [(1, 1, str(number)) for number in range(11)]
    columns = {"x": "integer", "y": "integer", "g": "string"}
    named = {"x": "x", "by": "g", **({} if chart == "histogram" else {"y": "y"})}
    assert refused(chart, columns, rows, **named) == ("marks_too_many", "by")


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2020", "2020-01-01T00:00:00+00:00"),
        ("2020-03", "2020-03-01T00:00:00+00:00"),
        ("2020-03-09", "2020-03-09T00:00:00+00:00"),
        ("2020-03-09T01:00:00+02:00", "2020-03-08T23:00:00+00:00"),
        (datetime(2020, 3, 9, 5, tzinfo=UTC), "2020-03-09T05:00:00+00:00"),
        (datetime(2020, 3, 9).date(), "2020-03-09T00:00:00+00:00"),
    ],
)
def test_dates_of_every_form_stand_where_they_begin(text: Any, instant: str) -> None:
    columns = {"at": "dateTime", "n": "integer"}
    found = picture("line", columns, [(text, 1), (None, 2)], x="at", y="n")
    assert [one["x"] for one in values(found.layout)] == [instant]
    assert found.warnings == ("1 row is not drawn: no value of at or n",)


@pytest.mark.parametrize(
    ("named", "columns", "expected"),
    [
        ({"x": "g", "y": "g"}, {"g": "string", "n": "integer"}, ("column_type", "y")),
        ({"x": "gg", "y": "n"}, {"g": "string", "n": "integer"}, ("unknown_column", "x")),
        ({"x": "g", "y": "n"}, {"g": "Element", "n": "integer"}, ("column_type", "x")),
        ({"x": "g"}, {"g": "string", "n": "integer"}, ("missing_argument", "y")),
    ],
)
def test_columns_that_do_not_do_are_named(
    named: dict[str, str], columns: dict[str, str], expected: tuple[str, str]
) -> None:
    assert refused("bar", columns, [("a", 1)], **named) == expected


@pytest.mark.parametrize(("chart", "name"), [("histogram", "y"), ("box", "by")])
def test_columns_that_a_chart_does_not_take_are_refused(chart: str, name: str) -> None:
    named = {"x": "n", "y": "n", "by": "n"}
    columns = {one: named[one] for one in {"x", name, *("y" if chart == "box" else "")}}
    assert refused(chart, {"n": "integer"}, [(1,)], **columns) == ("invalid_argument", name)


def test_a_category_that_only_a_later_series_has_stands_in_its_place() -> None:
    columns = {"by": "string", "x": "string", "y": "integer"}
    rows = [("a", "2020", 1), ("a", "2022", 1), ("b", "2021", 1), ("b", "2022", 1)]
    widths = [("a", "80-<90", 1), ("a", "120-<130", 1), ("b", "90-<100", 1)]
    drugs = [("a", "b-drug", 9), ("a", "a-drug", 5), ("b", "c-drug", 1)]
    ages = [("a", "under 18", 1), ("a", "40+", 1), ("b", "18-39", 1)]
    themselves = [("b", "b", 9), ("a", "a", 5), ("c", "c", 1)]
    for chart in ("line", "bar"):
        for told, order in (
            (rows, ["2020", "2021", "2022"]),
            (widths, ["80-<90", "90-<100", "120-<130"]),
            (drugs, ["b-drug", "a-drug", "c-drug"]),
            (ages, ["under 18", "18-39", "40+"]),
            (themselves, ["b", "a", "c"]),
        ):
            found = picture(chart, columns, told, x="x", y="y", by="by")
            assert found.layout["encoding"]["x"]["sort"] == order


# Histograms


NUMBERS = st.decimals(min_value=-1000, max_value=1000, places=2) | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**300), max_value=10**300
)


@given(st.lists(NUMBERS, min_size=1, max_size=60))
@example([Decimal(10**30), Decimal(10**30 + 1)])
@example([Decimal("0." + "9" * 35), Decimal(2)])
@example([Decimal("-0." + "9" * 35), Decimal("0." + "9" * 35)])
def test_each_number_falls_into_its_bin_once(numbers: list[Decimal]) -> None:
    found = picture("histogram", {"v": "decimal"}, [(one,) for one in numbers], x="v")
    assert found.columns == ("from", "to", "count")
    for low, high, count in found.rows:
        assert count == sum(low <= one < high for one in numbers)
    assert sum(row[2] for row in found.rows) == len(numbers)
    assert len(found.rows) <= 50


@given(st.lists(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9899, 12, 31)),
                min_size=1, max_size=40))  # fmt: skip
def test_each_date_falls_into_a_part_of_the_calendar(dates: list[datetime]) -> None:
    at = [one.replace(tzinfo=UTC) for one in dates]
    _unit, edges = date_edges(min(at), max(at))
    assert edges == sorted(set(edges))
    assert edges[0] <= min(at) <= max(at) < edges[-1]
    assert len(edges) <= 102
    assert all((edge.hour, edge.minute) == (0, 0) for edge in edges)


@pytest.mark.parametrize(
    ("first", "last", "unit", "edges"),
    [
        ("2020-02-28", "2020-03-01", "day", 4),
        ("2020-02-28", "2020-05-01", "week", 11),
        ("2019-11-15", "2020-12-31", "month", 15),
        ("2018-02-01", "2022-12-31", "quarter", 21),
        ("2004-02-01", "2022-12-31", "year", 20),
        ("1932-02-01", "2022-12-31", "decade", 11),
    ],
)
def test_the_calendar_is_cut_as_wide_as_it_is_long(
    first: str, last: str, unit: str, edges: int
) -> None:
    ends = [datetime.fromisoformat(one).replace(tzinfo=UTC) for one in (first, last)]
    found, starts = date_edges(*ends)
    assert (found, len(starts)) == (unit, edges)


def test_whole_numbers_and_one_value_have_whole_bins() -> None:
    assert number_edges(Decimal(3), Decimal(7), whole=True) == [3, 4, 5, 6, 7, 8]
    assert number_edges(Decimal(0), Decimal(0)) == [0, 1]
    found = picture("histogram", {"v": "decimal"}, [(Decimal("5.4"),)] * 3, x="v")
    assert [row[2] for row in found.rows] == [3]


def test_histograms_of_texts_are_refused_and_missing_values_told() -> None:
    assert refused("histogram", {"v": "string"}, [("a",)], x="v") == ("column_type", "x")
    rows = [(1.5, "a"), (None, "a"), (float("nan"), "b")]
    found = picture("histogram", {"v": "decimal", "g": "code"}, rows, x="v", by="g")
    assert found.warnings == ("2 rows are not drawn: no value of v",)
    assert [row[2:] for row in found.rows if row[3]] == [("a", 1)]


def test_partial_dates_in_a_histogram_are_told() -> None:
    rows = [("2020-01-05",), ("2020-03",), ("2020",), ("2020-12-01",)]
    found = picture("histogram", {"d": "date"}, rows, x="d")
    assert found.warnings == ("2 partial dates count where their period begins",)
    assert (found.rows[0][:2], sum(row[2] for row in found.rows)) == (
        ("2020-01-01", "2020-02-01"), 4,
    )  # fmt: skip


# Boxes


@given(
    st.lists(
        st.decimals(min_value=-100, max_value=100, places=1, allow_nan=False),
        min_size=2,
        max_size=40,
    )
)
def test_quartiles_are_those_of_percentile_cont(numbers: list[Decimal]) -> None:
    found = picture("box", {"v": "decimal"}, [(one,) for one in numbers], y="v")
    ((n, least, low, q1, median, q3, high, most, outliers),) = found.rows
    expected = statistics.quantiles(map(float, numbers), n=4, method="inclusive")
    assert [float(one) for one in (q1, median, q3)] == pytest.approx(expected)
    assert (n, least, most) == (len(numbers), min(numbers), max(numbers))
    reach = Decimal("1.5") * (q3 - q1)
    assert low == min(one for one in numbers if one >= q1 - reach)
    assert high == max(one for one in numbers if one <= q3 + reach)
    assert outliers == sum(not q1 - reach <= one <= q3 + reach for one in numbers)


def test_boxes_are_one_for_each_value_and_one_for_none() -> None:
    rows = [("a", 1), (None, 4), ("a", 3), ("b", None)]
    found = picture("box", {"g": "code", "v": "integer"}, rows, x="g", y="v")
    assert [row[:2] for row in found.rows] == [("a", 2), (None, 1)]
    assert found.warnings == ("1 row is not drawn: no value of v",)
    many = [(number, 1) for number in range(51)]
    columns = {"g": "integer", "v": "integer"}
    assert refused("box", columns, many, x="g", y="v") == ("marks_too_many", "x")


# Survival


def test_survival_is_told_by_group_with_who_was_at_risk() -> None:
    columns = {"arm": "string", "t": "integer", "e": "boolean"}
    found = picture("survival", columns, ARMS, x="t", y="e", by="arm")
    told = [row[:6] for row in found.rows]
    assert told == [
        ("a", 0, 2, 0, 0, Decimal("1.000000")),
        ("a", 2, 2, 1, 0, Decimal("0.500000")),
        ("a", 3, 1, 0, 1, Decimal("0.500000")),
        ("b", 0, 2, 0, 0, Decimal("1.000000")),
        ("b", 1, 2, 2, 0, Decimal("0.000000")),
    ]
    curves, below = found.layout["vconcat"]
    censored = next(
        layer for layer in curves["layer"] if layer.get("mark", {}).get("type") == "tick"
    )
    assert values(censored) == [{"by": "a", "x": 3.0, "y": 0.5}]
    at_zero = [(one["by"], one["n"]) for one in values(below) if one["x"] == 0]
    assert at_zero == [("a", "2"), ("b", "2")]


@pytest.mark.parametrize(
    ("row", "expected"),
    [((-1, 1), ("value_type", "x")), ((1, 2), ("value_type", "y"))],
)
def test_impossible_times_and_events_are_refused(
    row: tuple[int, int], expected: tuple[str, str]
) -> None:
    columns = {"t": "integer", "e": "integer"}
    assert refused("survival", columns, [(1, 1), row], x="t", y="e") == expected


def test_events_in_words_are_refused_and_missing_ones_told() -> None:
    assert refused("survival", {"t": "integer", "e": "string"}, [(1, "yes")], x="t", y="e") == (
        "value_type", "y",
    )  # fmt: skip
    rows = [(1, True), (None, True), (2, None)]
    found = picture("survival", {"t": "integer", "e": "boolean"}, rows, x="t", y="e")
    assert found.warnings == ("2 rows are not drawn: no value of t or e",)


# The picture of the README


def test_the_call_of_the_readme_is_the_one_that_made_its_picture() -> None:
    root = Path(__file__).parents[1]
    call = (root / "docs/picture.json").read_text()
    assert f"```json\n{call.strip()}\n```" in (root / "README.md").read_text()
    check_columns(DrawInput.model_validate_json(call))
    assert (root / "docs/picture.png").stat().st_size < 60_000


# Groups


@pytest.mark.parametrize("chart", ["histogram", "survival"])
def test_groups_are_told_as_the_answer_has_them(chart: str) -> None:
    long = "a very long name " * 20
    names = [None, "(none)", f"{long}a", f"{long}b", "a b", "a  b"]
    rows = [(1, 1, name) for name in names]
    named = {"x": "x", "by": "g", **({} if chart == "histogram" else {"y": "y"})}
    found = picture(chart, {"x": "integer", "y": "integer", "g": "string"}, rows, **named)
    at = found.columns.index("g")
    assert list(dict.fromkeys(row[at] for row in found.rows)) == names


def test_long_names_are_cut_where_they_are_shown() -> None:
    rows = [("x" * 1_000_000, 1), ("x" * 999_999 + "y", 2)]
    found = picture("bar", {"g": "string", "n": "integer"}, rows, x="g", y="n")
    shown = [one["x"] for one in values(found.layout)]
    assert len(set(shown)) == 2
    assert max(map(len, shown)) < 150


# Title and subtitle


@pytest.mark.parametrize("chart", ["bar", "line", "histogram", "box", "survival"])
def test_an_answer_without_rows_is_a_dated_picture_that_says_so(chart: str) -> None:
    columns = {"x": "decimal", "y": "decimal"}
    named = {"x": "x"} if chart == "histogram" else {"x": "x", "y": "y"}
    found = answer(columns, [])
    content = drawn(asked(chart, **named), found)
    spec = specification(content, found, title=None, notes=content.warnings)
    assert content.rows == ()
    assert values(spec) == [{"told": "no rows"}]
    assert spec["title"]["subtitle"][0].startswith("anchor 12 · data as of 2026-05-04 10:30:00 UTC")


def test_the_subtitle_tells_date_state_and_notes_within_bounds() -> None:
    found = answer({"g": "code", "n": "integer"}, [("a", 1)],
                   speed=SpeedContribution(enabled=True, entries=3))  # fmt: skip
    content = drawn(asked("bar", x="g", y="n"), found)
    notes = ["cut: the first row only", *(f"note {number} " + "word " * 40 for number in range(9))]
    spec = specification(content, found, title="t" * 120, notes=notes)
    dated, first, *rest = spec["title"]["subtitle"]
    assert dated == (
        "anchor 12 · data as of 2026-05-04 10:30:00 UTC · live, 3 newer changes merged · 1 row"
    )
    assert first == "cut: the first row only"
    assert len(rest) == 6
    assert "more" in rest[-1]
    assert max(map(len, spec["title"]["subtitle"])) <= 100
    json.dumps(spec)
