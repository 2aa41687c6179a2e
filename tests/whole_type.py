"""Views that read everything a FHIR type has, made from the model.

For each resource type: its scalars, each of its lists, and each list that nests itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from researchflow_runners.fhir import Element, model

Json = dict[str, Any]
#: Elements that every type has and that any one view shows enough of.
EVERYWHERE = frozenset({"id", "extension", "modifierExtension"})
#: Shown as whole objects: what they hold is shown where a list has them.
OPAQUE = frozenset({"Narrative", "Meta", "Resource"})
#: Types that show the lists which all have: contained and the extensions.
WITH_SHARED_LISTS = frozenset({"Patient", "Observation", "Medication"})


def views_of(resource: str) -> Iterator[Json]:
    """The views of one resource type."""
    elements = model().elements(resource)
    numbers = count()
    yield _view(resource, {"column": list(columns_of(elements, numbers, depth=1))})
    for element in elements:
        shared = model().element("DomainResource", element.name) is not None
        if shared and resource not in WITH_SHARED_LISTS:
            continue
        if element.many and not model().is_primitive(element.types[0]):
            yield _view(resource, *_list(element))
            if _nests(element):
                yield _view(resource, *_walk(element))


def columns_of(elements: tuple[Element, ...], numbers: count[int], *, depth: int) -> Iterator[Json]:
    """A column for every scalar, choice and list of primitives; `depth` levels of objects."""
    for element in elements:
        for path, type_name in _paths(element):
            primitive = model().is_primitive(type_name)
            if element.many and not primitive:
                continue
            yield _column(path, numbers, collection=element.many)
            if type_name == "Reference":
                yield _column(f"{path}.getReferenceKey()", numbers)
            if depth and not primitive and type_name not in OPAQUE:
                for column in columns_of(model().elements(type_name), numbers, depth=depth - 1):
                    yield {**column, "path": f"{path}.{column['path']}"}


def _paths(element: Element) -> Iterator[tuple[str, str]]:
    """Path and type of each form that the element may take."""
    for _key, type_name in element.json_keys:
        name = f"`{element.name}`"
        yield (f"{name}.ofType({type_name})" if element.choice else name), type_name


def _column(path: str, numbers: count[int], *, collection: bool = False) -> Json:
    column: Json = {"name": f"c{next(numbers)}", "path": path}
    return {**column, "collection": True} if collection else column


def _list(element: Element) -> tuple[Json, ...]:
    """The list beside the resource's id: every item, and below it the lists of each item."""
    inner = _own(element.types[0])
    numbers = count()
    select: Json = {
        "forEachOrNull": f"`{element.name}`",
        "column": [
            {"name": "place", "path": "%rowIndex"},
            *columns_of(inner, numbers, depth=0),
        ],
        "unionAll": [_branch(None), *(_branch(one) for one in inner if one.many)],
    }
    return {"column": [{"name": "key", "path": "getResourceKey()"}]}, select


def _branch(element: Element | None) -> Json:
    """The rows of one list below an item; None: the item itself."""
    label, text = "-", "'item'"
    if element is not None:
        label, text = element.name, _text(element.types[0])
    select: Json = {} if element is None else {"forEachOrNull": f"`{element.name}`"}
    select["column"] = [
        {"name": "part", "path": f"'{label}'", "type": "string"},
        {"name": "number", "path": "%rowIndex", "type": "integer"},
        {"name": "text", "path": text, "type": "string"},
    ]
    return select


def _text(type_name: str) -> str:
    """Something that tells the items of a type apart."""
    if model().is_primitive(type_name):
        return "$this.toString()"
    for element in model().elements(type_name):
        one = element.types[0]
        if (
            not element.many
            and not element.choice
            and model().is_primitive(one)
            and element.name != "id"
        ):
            return f"`{element.name}`.toString()"
    return "id"


def _walk(element: Element) -> tuple[Json, ...]:
    columns = columns_of(_own(element.types[0]), count(), depth=0)
    walk = {
        "repeat": [f"`{element.name}`"],
        "column": [{"name": "place", "path": "%rowIndex"}, *columns],
    }
    return {"column": [{"name": "key", "path": "getResourceKey()"}]}, walk


def _nests(element: Element) -> bool:
    """Whether items of the list have a list of the same name and type."""
    below = model().element(element.types[0], element.name)
    return below is not None and below.many and below.types == element.types


def _own(type_name: str) -> tuple[Element, ...]:
    return tuple(one for one in model().elements(type_name) if one.name not in EVERYWHERE)


def _view(resource: str, *selects: Json) -> Json:
    return {"resource": resource, "select": list(selects)}
