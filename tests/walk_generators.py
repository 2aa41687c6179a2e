"""Hypothesis strategies for QuestionnaireResponses and for views that walk them.

Items hold items and answers, answers hold items: `repeat` stands at any depth, above and below
every other way of making rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from hypothesis import strategies as st

from generators import filled, some

Json = dict[str, Any]
LINKS = ["a", "b", "c"]
DIRECTIVES = [None, "forEach", "forEachOrNull", "repeat"]
#: Iterations in one view: their rows multiply.
ITERATIONS_MAX = 4

#: Lists of each focus and the focus of their items; "Both" is a walk over items and answers.
LISTS = {
    "Response": {"item": "Item"},
    "Item": {"item": "Item", "answer": "Answer", "answer.item": "Item", "item.item": "Item"},
    "Answer": {"item": "Item"},
    "Both": {"item": "Item", "answer": "Answer"},
}
CRITERIA = {
    "Item": [
        "linkId = 'a'",
        "linkId != 'a'",
        "answer.exists()",
        "text.empty()",
        "item.count() > 1",
    ],
    "Answer": ["value.exists()", "value.ofType(integer) > 1", "item.exists().not()"],
}
#: Steps of a walk over items, and whole walks over items and answers.
STEPS = ["item", "answer.item", "item.where(linkId != 'b')", "item.item", "answer.item.item"]
BOTH = [["item", "answer"], ["answer", "item"], ["item", "answer.where(value.exists())"]]
STRINGS = {
    "Response": ["id", "item.linkId.join('-')"],
    "Item": ["linkId", "text", "answer.value.ofType(string).first()", "item[1].linkId"],
    "Answer": ["value.ofType(string)", "item.linkId.first()", "value.ofType(integer).toString()"],
    "Both": ["linkId", "value.ofType(string)", "item.first().linkId"],
}
CONDITIONS = {
    "Response": ["item.exists()", "item.item.exists()", "item.answer.value.ofType(boolean) = true"],
    "Item": ["answer.exists()", "text = 'x'", "answer.value.ofType(boolean).first()"],
    "Answer": ["value.exists()", "value.ofType(integer) = 2", "value is string"],
    "Both": ["linkId.exists()", "value.ofType(boolean)", "item.empty()"],
}


def answers(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """An answer of one type, or only of what it leads to."""
    values = st.sampled_from(
        [{}, {"valueString": "x"}, {"valueInteger": 1}, {"valueInteger": 2}, {"valueBoolean": True}]
    )
    return st.builds(lambda value, rest: {**value, **rest}, values, some(item=filled(items)))


def items_of(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """An item with items and answers below it."""
    below = some(text=st.just("x"), item=filled(items), answer=filled(answers(items)))
    return st.builds(lambda link, rest: {"linkId": link, **rest}, st.sampled_from(LINKS), below)


items = st.recursive(
    st.builds(lambda link: {"linkId": link}, st.sampled_from(LINKS)), items_of, max_leaves=8
)
responses = some(item=filled(items)).map(
    lambda rest: {"resourceType": "QuestionnaireResponse", "status": "completed", **rest}
)


@st.composite
def nodes(draw: st.DrawFn, focus: str) -> tuple[str, str]:
    """A path to items or answers and the focus they make."""
    path, kind = draw(st.sampled_from(sorted(LISTS[focus].items())))
    if draw(st.booleans()):
        path += f".where({draw(st.sampled_from([*CRITERIA[kind], '%rowIndex = 0']))})"
    return path + draw(st.sampled_from(["", "", "", ".first()", "[1]"])), kind


walks = st.one_of(
    st.tuples(
        st.lists(st.sampled_from(STEPS), min_size=1, max_size=2, unique=True), st.just("Item")
    ),
    st.tuples(st.sampled_from(BOTH), st.just("Both")),
)


@st.composite
def iterations(draw: st.DrawFn, focus: str, left: Iterator[int]) -> tuple[Json, str]:
    """A directive or none, and the focus inside it; `left` counts those that may follow."""
    directive = draw(st.sampled_from(DIRECTIVES))
    if directive is None or next(left, None) is None:
        return {}, focus
    path, inner = draw(walks if directive == "repeat" else nodes(focus))
    return {directive: path}, inner


@st.composite
def columns(draw: st.DrawFn, focus: str, numbers: count[int]) -> Json:
    name = f"c{next(numbers)}"
    match draw(st.sampled_from(["string", "string", "boolean", "index", "list", "resource"])):
        case "string":
            return {"name": name, "path": draw(st.sampled_from(STRINGS[focus]))}
        case "boolean":
            return {"name": name, "path": draw(st.sampled_from(CONDITIONS[focus]))}
        case "index":
            path = draw(st.sampled_from(["%rowIndex", "%rowIndex", "%rowIndex * 2"]))
            return {"name": name, "path": path}
        case "list":
            return {"name": name, "path": "item.linkId", "collection": True}
        case _:
            return {"name": name, "path": "%resource.id"}


@st.composite
def selects(
    draw: st.DrawFn, focus: str, numbers: count[int], left: Iterator[int], depth: int = 2
) -> Json:
    select, inner = draw(iterations(focus, left))
    select["column"] = draw(st.lists(columns(inner, numbers), min_size=1, max_size=2))
    if depth:
        nested = st.lists(selects(inner, numbers, left, depth - 1), max_size=2)
        select["select"] = draw(nested)
    if draw(st.integers(0, 2)) == 0:
        select["unionAll"] = draw(unions(inner, f"c{next(numbers)}", left, depth))
    return select


@st.composite
def unions(draw: st.DrawFn, focus: str, name: str, left: Iterator[int], depth: int) -> list[Json]:
    """Branches of one string column, at any depth of selects and unions of their own."""
    branches = []
    for _number in range(draw(st.integers(1, 3))):
        branch, inner = draw(iterations(focus, left))
        column = {"name": name, "path": draw(st.sampled_from(STRINGS[inner])), "type": "string"}
        match draw(
            st.sampled_from(["column", "column", "select", "union"] if depth else ["column"])
        ):
            case "column":
                branch["column"] = [column]
            case "select":
                below, deeper = draw(iterations(inner, left))
                path = draw(st.sampled_from(STRINGS[deeper]))
                branch["select"] = [{**below, "column": [{**column, "path": path}]}]
            case _:
                branch["unionAll"] = draw(unions(inner, name, left, depth - 1))
        branches.append(branch)
    return branches


@st.composite
def walking_views(draw: st.DrawFn) -> Json:
    """A ViewDefinition over QuestionnaireResponse."""
    numbers, left = count(), iter(range(ITERATIONS_MAX))
    selected = st.lists(selects("Response", numbers, left), min_size=1, max_size=2)
    view: Json = {"resource": "QuestionnaireResponse", "select": draw(selected)}
    if draw(st.integers(0, 3)) == 0:
        view["where"] = [{"path": draw(st.sampled_from(CONDITIONS["Response"]))}]
    return view
