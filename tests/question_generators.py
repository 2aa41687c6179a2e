"""Hypothesis strategies for questions over the shipped views of patients and laboratory results."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from oracle_questions import named, output_name

Questions = st.SearchStrategy[dict[str, Any]]

LABS, PEOPLE = "observation_labs", "patient_demographics"
KEYS = {LABS: "patient_id", PEOPLE: "id"}
DATES = {LABS: ["effective_datetime", "issued"], PEOPLE: ["birth_date", "deceased_date"]}
TEXTS = {LABS: ["code", "code_display", "value_unit", "patient.gender"], PEOPLE: ["gender"]}
SHOWN = {
    LABS: ["id", "patient_id", "code", "effective_datetime", "value_quantity", "patient.gender",
           "patient.birth_date"],
    PEOPLE: ["id", "gender", "birth_date", "deceased_date"],
}  # fmt: skip
SIZES = ["year", "quarter", "month", "decade"]
MOMENTS = ["2018", "2019-06", "2020-01-15", "1970", "1985-07-01"]
AGES = {LABS: ["effective_datetime", "issued", "today"], PEOPLE: ["deceased_date", "today"]}


def one_of(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def with_some(parts: dict[str, st.SearchStrategy[Any]]) -> Questions:
    """A dict with any of the optional parts."""
    return st.fixed_dictionaries({}, optional=parts)


def compared(view: str) -> Questions:
    kinds = [
        one_of(TEXTS[view]).flatmap(_of_text),
        st.builds(_filter, one_of(DATES[view]), one_of(["lt", "ge", "eq"]), one_of(MOMENTS)),
        st.builds(_filter, one_of([*TEXTS[view], *DATES[view]]), one_of(["is_null", "not_null"])),
    ]
    if view == LABS:
        numbers = one_of([1, 2.5, "4"])
        kinds.append(st.builds(_filter, st.just("value_quantity"), one_of(["gt", "le"]), numbers))
    return st.one_of(kinds)


def _of_text(column: str) -> Questions:
    values = ["female", "male"] if column.endswith("gender") else ["a", "b", "A", "mg/dL"]
    return st.builds(_filter, st.just(column), one_of(["eq", "ne"]), one_of(values))


def _filter(column: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"column": column, "op": op} | ({} if op.endswith("null") else {"value": value})


def chosen(view: str) -> Questions:
    """latest_per or first_per."""
    keys = [*TEXTS[view], KEYS[view]]
    key = st.one_of(one_of(keys), st.lists(one_of(keys), min_size=1, max_size=2, unique=True))
    by = {"by": one_of(DATES[view])}
    required, optional = ({}, by) if view == LABS else (by, {})
    latest = st.fixed_dictionaries(
        {"key": key, **required}, optional={**optional, "where": compared(view)}
    )
    if view == LABS:
        latest = st.one_of(latest, key)
    return st.builds(lambda name, one: {name: one}, one_of(["latest_per", "first_per"]), latest)


def groups(view: str) -> st.SearchStrategy[Any]:
    """One thing that rows are grouped by."""
    brackets = st.lists(st.integers(0, 90), min_size=1, max_size=4, unique=True).map(sorted)
    dated = {"column": one_of(DATES[view]), "bucket": one_of(SIZES)}
    kinds = [
        one_of([*TEXTS[view], *DATES[view]]),
        st.fixed_dictionaries(dated),
        st.fixed_dictionaries(
            {**dated, "bucket": one_of(["year", "quarter"]), "starts": st.integers(1, 12)}
        ),
        st.fixed_dictionaries({"age_at": one_of(AGES[view]), "age_brackets": brackets}),
        st.fixed_dictionaries({"age_at": one_of(AGES[view]), "width": one_of([1, 7, 10])}),
        st.fixed_dictionaries({"age_at": one_of(AGES[view])}),
    ]
    if view == LABS:
        kinds.append(one_of(["value_quantity"]))
        width = one_of([1, 2.5, 0.3])
        kinds.append(st.fixed_dictionaries({"column": st.just("value_quantity"), "width": width}))
    return st.one_of(kinds)


def aggregates(view: str) -> Questions:
    """One aggregate."""
    percent = one_of([0, 0.1, 0.25, 0.5, 0.975, 1])
    texts = one_of(TEXTS[view])
    dates = one_of(DATES[view])
    age_at = one_of(AGES[view])
    numbers = ["min", "max", "avg", "sum", "median", "stddev", "any_value", "count_distinct"]
    kinds = [
        st.just({"fn": "count"}),
        st.builds(_on, one_of(["count", "count_distinct", "min", "max", "any_value"]), texts),
        st.builds(_on, one_of(["min", "max", "median", "span_days"]), dates),
        st.builds(_on, st.just("percentile"), dates, percent),
        st.builds(lambda fn, at: {"fn": fn, "age_at": at}, one_of(numbers), age_at),
    ]
    if view == LABS:
        value = st.just("value_quantity")
        by_date = st.builds(_on, one_of(["first", "last"]), one_of(["value_quantity", "code"]))
        kinds += [
            st.builds(_on, one_of(numbers), value),
            st.builds(_on, st.just("percentile"), value, percent),
            st.builds(_on, one_of(["first", "last", "change"]), value),
            st.builds(lambda one, by: {**one, "by": by}, by_date, dates),
        ]
    return st.one_of(kinds)


def _on(fn: str, column: str, p: Any = None) -> dict[str, Any]:
    return {"fn": fn, "column": column} | ({} if p is None else {"p": p})


def of_rows(view: str) -> Questions:
    """A question for rows."""
    columns = st.lists(one_of(SHOWN[view]), min_size=1, unique=True).map(lambda one: ["id", *one])
    unique = columns.map(lambda names: list(dict.fromkeys(names)))
    return st.builds(
        lambda own, *parts: {"view": view, "columns": own, **_joined(parts)},
        unique,
        with_some({"where": compared(view)}),
        chosen(view),
    )


def of_groups(view: str) -> Questions:
    """A question for groups."""
    several = st.lists(groups(view), max_size=2, unique_by=named)
    counted = st.lists(aggregates(view), max_size=3)
    return st.builds(
        lambda by, fns, *parts: {
            "view": view,
            "group_by": by,
            "aggregates": [{**one, "name": f"x{n}"} for n, one in enumerate(fns)],
            **_joined(parts),
        },
        several,
        counted,
        with_some({"where": compared(view)}),
        st.one_of(st.just({}), chosen(view)),
    ).filter(lambda asked: bool(asked["group_by"] or asked["aggregates"]))


def _joined(parts: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}


def having(asked: dict[str, Any]) -> Questions:
    """The question, with a filter over its counts and labels."""
    counts = [one["name"] for one in asked["aggregates"] if one["fn"].startswith(("count", "span"))]
    labels = [
        named(one)
        for one in asked["group_by"]
        if isinstance(one, dict) and ("bucket" in one or "age_brackets" in one)
    ]
    kinds = [st.just(asked)]
    if counts:
        kinds.append(
            st.builds(
                lambda name, op, value: {**asked, "having": _filter(name, op, value)},
                one_of(counts),
                one_of(["ge", "lt", "eq"]),
                st.integers(0, 5),
            )
        )
    if labels:
        some = one_of(["2019", "2019-06", "2010s", "18-39"])
        kinds.append(
            st.builds(
                lambda name, op, value: {**asked, "having": _filter(name, op, value)},
                one_of(labels),
                one_of(["eq", "ne", "not_null"]),
                some,
            )
        )
    return st.one_of(kinds)


def questions() -> Questions:
    """A question over either view."""
    views = one_of([LABS, LABS, PEOPLE])
    return st.one_of(views.flatmap(of_rows), views.flatmap(of_groups).flatmap(having))


__all__ = ["LABS", "PEOPLE", "named", "output_name", "questions"]
