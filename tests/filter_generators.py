"""Hypothesis strategies for filters of every kind over the views of test_filters_oracle.py."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Filters = st.SearchStrategy[dict[str, Any]]

DATES = {"people": "born", "events": "at"}
KEYS = {"people": "id", "events": "person"}
TEXTS = {"people": ("gender", ["f", "m", "q"]), "events": ("kind", ["x", "xy", "z", "q"])}

steps = st.one_of(
    st.just(""),
    st.builds("{:+}{}".format, st.integers(-40, 10), st.just("d")),
    st.builds("{:+}{}".format, st.integers(-3, 1), st.sampled_from("wm")),
    st.just("-1y"),
)
constants = st.one_of(
    st.builds("{}{}".format, st.sampled_from(["today", "newest"]), steps),
    st.sampled_from(
        ["2020", "2020-03", "2020-02-29", "2020-03-15", "2020-03-20T04:30:00Z",
         "2020-03-20T23:30:00-05:00"]
    ),
)  # fmt: skip


def compared(view: str) -> Filters:
    """One column against a constant."""
    text, values = TEXTS[view]
    kinds = [
        _compare(text, ["eq", "ne", "contains", "starts_with"], st.sampled_from(values)),
        _compare(text, ["in", "not_in"], st.lists(st.sampled_from(values), min_size=1, max_size=2)),
        _compare(DATES[view], ["eq", "ne", "lt", "le", "gt", "ge"], constants),
        _compare(DATES[view], ["in", "not_in"], st.lists(constants, min_size=1, max_size=2)),
        st.builds(_filter, st.sampled_from([text, DATES[view]]), st.sampled_from(["is_null"])),
    ]
    if view == "events":
        numbers = st.sampled_from([1, 2.5, "3.0", 9])
        kinds.append(_compare("value", ["eq", "ne", "lt", "le", "gt", "ge"], numbers))
    return st.one_of(kinds)


def filters(view: str, depth: int = 2) -> Filters:
    """A filter over the rows of a view."""
    if depth == 0:
        return compared(view)
    inner = st.deferred(lambda: filters(view, depth - 1))
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        compared(view),
        several.map(lambda parts: {"all_of": parts}),
        several.map(lambda parts: {"any_of": parts}),
        inner.map(lambda part: {"not": part}),
        several.flatmap(_at_least),
        st.deferred(lambda: st.one_of(_listed(view, depth), near(view, depth))),
    )


def _at_least(parts: list[dict[str, Any]]) -> Filters:
    least = st.integers(1, len(parts))
    return least.map(lambda n: {"at_least": {"n": n, "of": parts}})


def _listed(view: str, depth: int) -> Filters:
    def asked(other: str, op: str, least: int, where: dict[str, Any] | None) -> dict[str, Any]:
        query = {"view": other, "column": KEYS[other], "min_rows": least}
        return {"column": KEYS[view], "op": op, "query": _with(query, where)}

    return _other(
        lambda other, where: st.builds(
            asked, st.just(other), st.sampled_from(["in", "not_in"]), st.integers(1, 3), where
        ),
        depth,
    )


def near(view: str, depth: int = 2) -> Filters:
    """A window of time around events of the other view, or of the same."""

    def asked(
        other: str, days: int, side: str, which: str, where: dict[str, Any] | None
    ) -> dict[str, Any]:
        of = {"view": other, "column": KEYS[other], "which": which, "date": DATES[other]}
        window = {"days": days, "side": side, "date": DATES[view], "of": _with(of, where)}
        return {"column": KEYS[view], "within": window}

    return _other(
        lambda other, where: st.builds(
            asked,
            st.just(other),
            st.sampled_from([0, 1, 7, 30, 366]),
            st.sampled_from(["before", "after", "either"]),
            st.sampled_from(["first", "last", "any"]),
            where,
        ),
        depth,
    )


def _other(build: Any, depth: int) -> Filters:
    return st.sampled_from(sorted(KEYS)).flatmap(
        lambda other: build(other, st.one_of(st.none(), filters(other, depth - 1)))
    )


def _compare(column: str, operators: list[str], values: st.SearchStrategy[Any]) -> Filters:
    return st.builds(_filter, st.just(column), st.sampled_from(operators), values)


def _filter(column: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"column": column, "op": op} | ({} if value is None else {"value": value})


def _with(asked: dict[str, Any], where: dict[str, Any] | None) -> dict[str, Any]:
    return asked if where is None else {**asked, "where": where}
