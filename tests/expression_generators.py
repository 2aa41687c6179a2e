"""Hypothesis strategies for FHIRPath of every function and operator, well typed or not."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from researchflow_runners.compiler import compile_view
from researchflow_runners.compiler.registry import function_names
from researchflow_runners.errors import FhirPathError

PATHS = [
    "name", "name.given", "name.family.first()", "name[0].period", "name.period.start",
    "telecom", "telecom.rank", "telecom.value", "telecom[0].rank", "active", "gender", "birthDate",
    "deceased", "deceased.ofType(dateTime)", "deceased.ofType(boolean)",
    "multipleBirth.ofType(integer)", "contact", "contact.name.given", "link.other", "id", "meta",
    "generalPractitioner.first()", "extension", "extension.url", "maritalStatus",
    "maritalStatus.coding", "meta.lastUpdated", "photo.size", "contained", "$this", "%resource",
    "extension('A').value.ofType(Quantity)", "extension('A').value.ofType(Quantity).value",
]  # fmt: skip
LITERALS = [
    "1", "0", "2.50", "'A'", "''", "'1'", "true", "false", "{}", "@2020", "@2020-02-29",
    "@2020-02-29T10:00:00Z", "@T10:00", "%rowIndex", "%text", "%number", "5 'mg'", "2 months",
]  # fmt: skip
#: Paths that lead on from whatever has the element.
STEPS = ["given", "family", "value", "rank", "period", "start", "text", "code", "id", "extension"]
TYPES = ["string", "boolean", "integer", "dateTime", "Quantity", "HumanName", "Patient", "Coding"]
TYPED = ["ofType", "is", "as"]
OPERATORS = [
    "+", "-", "*", "/", "div", "mod", "&", "=", "!=", "<", ">=", "and", "or", "xor", "implies",
    "in", "contains", "|", "~", "!~",
]  # fmt: skip
CONSTANTS = [
    {"name": "text", "valueString": "A"},
    {"name": "number", "valueDecimal": 1.5},
]
ARGUMENTS_MAX = 3
#: What stands in a definition where it may not, and where it may.
KEYS = [
    "resource", "name", "constant", "where", "select", "unionAll", "column", "path", "forEach",
    "forEachOrNull", "repeat", "type", "collection", "tag", "value", "valueString", "valueDate",
]  # fmt: skip
SCALARS = ["Patient", "name", "", "a b", "%x", "ansi/type", "DECIMAL(3,1)", None, True, 0, 1.5]


@cache
def functions(arguments: int) -> list[str]:
    """The functions that take that many arguments."""
    return [name for name in function_names() if name not in TYPED and _takes(name, arguments)]


def _takes(name: str, arguments: int) -> bool:
    path = f"name.{name}({', '.join(['1'] * arguments)})"
    try:
        compile_view({"resource": "Patient", "select": [{"column": [{"name": "c", "path": path}]}]})
    except FhirPathError as error:
        return error.code != "wrong_arguments"
    return True


leaves = st.one_of(st.sampled_from(PATHS), st.sampled_from(PATHS), st.sampled_from(LITERALS))


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One operation on smaller expressions."""
    called = [
        st.builds("{}.{}({})".format, inner, st.sampled_from(functions(count)), arguments)
        for count in range(ARGUMENTS_MAX)
        for arguments in [st.lists(inner, min_size=count, max_size=count).map(", ".join)]
    ]
    typed = st.builds("{}.{}({})".format, inner, st.sampled_from(TYPED), st.sampled_from(TYPES))
    binary = st.builds("({} {} {})".format, inner, st.sampled_from(OPERATORS), inner)
    return st.one_of(
        *called,
        called[0],
        called[1],
        typed,
        binary,
        binary,
        st.builds("{}.{}".format, inner, st.sampled_from(STEPS)),
        st.builds("iif({}, {}, {})".format, inner, inner, inner),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("(-{})".format, inner),
    )


expressions = st.recursive(leaves, grown, max_leaves=4)


@st.composite
def views_of_anything(draw: st.DrawFn) -> dict[str, Any]:
    """A view with the expression as a column, an iteration or a condition."""
    path = draw(expressions)
    column = {"name": "c", "path": "$this", "collection": draw(st.booleans())}
    view: dict[str, Any] = {"resource": "Patient", "constant": CONSTANTS}
    match draw(st.sampled_from(["column", "column", "forEach", "forEachOrNull", "where"])):
        case "column":
            return {**view, "select": [{"column": [{**column, "path": path}]}]}
        case "where":
            return {**view, "select": [{"column": [column]}], "where": [{"path": path}]}
        case directive:
            return {**view, "select": [{directive: path, "column": [column]}]}


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A list, or an object of the names that definitions know."""
    return st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
    )


anything = st.recursive(st.sampled_from(SCALARS), nested, max_leaves=8)


@st.composite
def definitions_with_anything(draw: st.DrawFn) -> dict[str, Any]:
    """A view in which one value is replaced by JSON of any shape."""
    view: Any = {
        "resource": "Patient",
        "name": "v",
        "constant": [{"name": "c", "valueString": "x"}],
        "where": [{"path": "active"}],
        "select": [
            {"column": [{"name": "a", "path": "id", "tag": [{"name": "n", "value": "v"}]}]},
            {
                "forEach": "name",
                "select": [{"unionAll": [{"column": [{"name": "b", "path": "use"}]}]}],
            },
            {"repeat": ["extension"], "column": [{"name": "d", "path": "url"}]},
        ],
    }
    place = view
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or draw(st.integers(0, 3)) == 0:
            break
        place = place[key]
    place[key] = draw(anything)
    return view  # type: ignore[no-any-return]  # still an object
