"""Hypothesis strategies for Patients and for ViewDefinitions that type-check over them."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import strategies as st

from generated_calls import failing, moments_compared, numbers_of, strings_of, truths_of

USES = ["official", "usual", "old"]
WORDS = ["A", "B", "Ab", "", "x y", "é"]
DATES = ["1970", "1970-06", "1970-06-15", "1971-01-01"]
MOMENTS = [
    *DATES, "1970-06-15T10:00:00Z", "1970-06-15T12:00:00+02:00", "1970-06-15T10:00:00.5Z",
    "1970-06-15T10:00:00", "1970-06-15T10:00", "1970-06-15T10:00:00.5",
]  # fmt: skip
AMOUNTS = [
    "1 month", "13 months", "-1 year", "1 day", "400 days", "-2 weeks", "25 hours", "90.5 seconds",
    "600 'ms'",
]  # fmt: skip
#: What a date may take; a dateTime takes all.
DAY_AMOUNTS = [one for one in AMOUNTS if one.split()[1] not in ("hours", "seconds", "'ms'")]
UNITS = ["mg", "g", "ug", "%", "a", "mo", "d", "[lb_av]", "g/dL", "g/L", "Cel", "[degF]", "K"]
UCUM = "http://unitsofmeasure.org"
QUANTITIES = [
    "5 'mg'", "0.005 'g'", "-5 'mg'", "5000.0 'ug'", "5 '%'", "5 '1'", "1 year", "12 months",
    "1 day", "1 'a'", "24 hours", "37 'Cel'", "40 '[degF]'", "5 'g/L'", "0.01 '[lb_av]'",
]  # fmt: skip
#: Literals of one dimension, for comparisons with each other.
ALIKE = [
    ["5 'mg'", "0.005 'g'", "-5 'mg'", "5000.0 'ug'", "1 '[lb_av]'"],
    ["5 '%'", "5 '1'", "0.05 '1'"],
    ["1 year", "12 months"], ["1 day", "24 hours"], ["37 'Cel'", "98.6 '[degF]'", "310.15 'K'"],
    ["1 'g/dL'", "10 'g/L'"],
]  # fmt: skip
SYSTEMS = ["phone", "email"]
GENDERS = ["female", "male"]

Json = dict[str, Any]


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """An object in which every field may be absent."""
    return st.fixed_dictionaries({}, optional=fields)


def filled(items: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(items, min_size=1, max_size=3)


words = st.sampled_from(WORDS[:3])
#: What may stand beside a primitive, or in its place.
BESIDE: Json = {
    "extension": [{"url": "e", "valueCode": "A"}, {"url": "f", "valueAge": {"value": 5}}]
}


@st.composite
def with_siblings(draw: st.DrawFn, objects: st.SearchStrategy[Json], *names: str) -> Json:
    """The object, in which some primitives have an extension beside them or in their place."""
    made = dict(draw(objects))
    for name in draw(st.sets(st.sampled_from(names), max_size=2)):
        if isinstance(value := made.get(name), list):
            beside = draw(st.lists(st.sampled_from([None, BESIDE]), max_size=len(value) + 1))
            gaps = [one and draw(st.booleans()) for one in beside[: len(value)]]
            made[name] = [
                None if gap else one
                for one, gap in zip(value, gaps + [None] * len(value), strict=False)
            ]
            if any(beside):
                made[f"_{name}"] = beside
        else:
            made[f"_{name}"] = [BESIDE] if name == "given" else BESIDE
            if draw(st.booleans()):
                made.pop(name, None)
    return made


periods = some(start=st.sampled_from(MOMENTS), end=st.sampled_from(MOMENTS))
human_names = with_siblings(
    some(use=st.sampled_from(USES), family=words, given=filled(words), period=periods),
    "use",
    "family",
    "given",
).filter(bool)
contact_points = with_siblings(
    some(system=st.sampled_from(SYSTEMS), value=words, rank=st.integers(1, 3)), "value", "rank"
).filter(bool)
contacts = some(
    gender=st.sampled_from(GENDERS), name=human_names, telecom=filled(contact_points)
).filter(bool)
quantities = st.one_of(
    st.builds(
        lambda value, code: {"value": value, "unit": "x", "system": UCUM, "code": code},
        st.sampled_from([5, 0.005, 5000, 1, 12]),
        st.sampled_from(UNITS),
    ),
    some(
        value=st.sampled_from([5, 0.005]),
        unit=st.sampled_from(UNITS),
        comparator=st.just("<"),
        code=st.just("mg"),
    ).filter(bool),
)
measures = st.builds(dict, url=st.sampled_from(["q", "r"]), valueQuantity=quantities)
#: Extensions of an open choice: a type, what specialises it, and an element without a value.
open_choices = st.builds(
    lambda value: {"url": "o", **value},
    st.sampled_from(
        [
            {"valueString": "A"},
            {"valueCode": "A"},
            {"valueUri": "A"},
            {"valueCanonical": "A"},
            {"valueInteger": 1},
            {"valuePositiveInt": 1},
            {"valueQuantity": {"value": 5}},
            {"valueAge": {"value": 5}},
            {"valueBoolean": True},
            {"_valueString": BESIDE},
            {"_valueBoolean": BESIDE},
        ]
    ),
)
references = st.sampled_from(
    ["Patient/p0", "Patient/p1/_history/3", "Practitioner/x", "urn:uuid:1", "#c", "Patient/"]
).map(lambda reference: {"reference": reference})


@st.composite
def patients(draw: st.DrawFn) -> Json:
    """A Patient; the test gives it an id."""
    resource = draw(
        with_siblings(
            some(
                active=st.booleans(),
                gender=st.sampled_from(GENDERS),
                birthDate=st.sampled_from(DATES),
                name=filled(human_names),
                telecom=filled(contact_points),
                contact=filled(contacts),
                generalPractitioner=filled(references),
                link=filled(st.builds(dict, other=references)),
                extension=filled(st.one_of(measures, open_choices)),
            ),
            "active",
            "gender",
            "birthDate",
        )
    )
    choice = draw(
        st.sampled_from(
            [
                {},
                {"deceasedBoolean": True},
                {"deceasedBoolean": False},
                {"deceasedDateTime": "1971"},
                {"_deceasedDateTime": BESIDE},
            ]
        )
    )
    birth = draw(st.sampled_from([{}, {"multipleBirthInteger": 2}, {"multipleBirthBoolean": True}]))
    return {"resourceType": "Patient", **resource, **choice, **birth}


#: Elements by the type of their focus: (list elements, strings, dates, booleans, integers).
LISTS = {
    "Patient": {"name": "HumanName", "telecom": "ContactPoint", "contact": "Contact"},
    "Contact": {"telecom": "ContactPoint", "name": "HumanName"},
    "HumanName": {"period": "Period"},
    "ContactPoint": {},
    "Period": {},
}
STRINGS = {
    "Patient": ["gender", "id"],
    "Contact": ["gender"],
    "HumanName": ["use", "family", "given"],
    "ContactPoint": ["system", "value"],
    "Period": [],
}
TIMES = {
    "Patient": ["birthDate", "deceased.ofType(dateTime)"],
    "Contact": [],
    "HumanName": ["period.start", "period.end"],
    "ContactPoint": [],
    "Period": ["start", "end"],
}
MEASURED = {
    "Patient": [
        f"extension('{url}').value.ofType(Quantity).{function}()"
        for url in ("q", "r")
        for function in ("first", "last")
    ]
}
#: Items of the open choice, and what may be asked of one of them.
CHOSEN = [
    "extension.where(url = 'o').value.first()",
    "extension.value.last()",
    "extension[0].value",
    "extension[1].value",
    "extension.where(url = 'o').first().value",
]
TYPES = [
    "string", "code", "uri", "canonical", "integer", "FHIR.positiveInt", "Quantity", "Age",
    "boolean", "System.String", "Element",
]  # fmt: skip
#: Primitives that may stand without a value.
PRIMITIVES = {
    "Patient": ["active", "gender", "birthDate", "deceased", "name.given", "name.family", "id"],
    "Contact": ["gender", "name.given", "telecom.value"],
    "HumanName": ["use", "family", "given"],
    "ContactPoint": ["value", "rank", "system"],
    "Period": ["start"],
}
BOOLEANS = {"Patient": ["active", "deceased.ofType(boolean)"]}
#: Some of the items; a union is the others' way to more than one.
SOME = [".tail()", ".skip(1)", ".take(1)", ".take(2)", ".distinct()"]
INTEGERS = {"Patient": ["multipleBirth.ofType(integer)"], "ContactPoint": ["rank"]}


def quoted(word: str) -> str:
    return "'" + word + "'"


@st.composite
def nodes(draw: st.DrawFn, focus: str, depth: int = 2) -> tuple[str, str]:
    """A path to complex items and their type."""
    name, kind = draw(st.sampled_from(sorted(LISTS[focus].items())))
    path = name
    if depth and draw(st.booleans()):
        path += f".where({draw(conditions(kind, depth - 1))})"
    path += draw(st.sampled_from(["", "", "", ".first()", "[0]", "[1]", ".last()", *SOME]))
    if focus == "Patient" and name in LISTS["Contact"] and draw(st.integers(0, 3)) == 0:
        path = f"({path} | contact.{name})"
    if depth and LISTS[kind] and draw(st.booleans()):
        rest, kind = draw(nodes(kind, depth - 1))
        path += f".{rest}"
    return path, kind


@st.composite
def strings(draw: st.DrawFn, focus: str, depth: int = 2) -> str:
    """An expression of strings."""
    choices = []
    if STRINGS[focus]:
        choices.append("element")
    if depth and LISTS[focus]:
        choices += ["below", "below"]
    if not choices or (depth and draw(st.integers(0, 4)) == 0):
        choices = ["constant"] if not depth else ["constant", "join", "iif", "called"]
        if TIMES[focus]:
            choices.append("computed")
        if MEASURED.get(focus):
            choices.append("measured")
    match draw(st.sampled_from(choices)):
        case "element":
            found = draw(st.sampled_from(STRINGS[focus]))
        case "below":
            path, kind = draw(nodes(focus, depth - 1))
            if not STRINGS[kind]:
                return quoted("A")
            found = f"{path}.{draw(st.sampled_from(STRINGS[kind]))}"
        case "called":
            one, other = draw(strings(focus, depth - 1)), draw(strings(focus, 0))
            return draw(strings_of(one, other))
        case "computed":
            return f"({draw(moments(focus))}).toString()"
        case "measured":
            return f"{draw(st.sampled_from(MEASURED[focus]))}.toString()"
        case "join":
            return f"({draw(strings(focus, depth - 1))}).join('-')"
        case "iif":
            criterion = draw(conditions(focus, depth - 1))
            one, other = draw(strings(focus, 0)), draw(strings(focus, 0))
            return f"iif({criterion}, ({one}).first(), ({other}).first())"
        case _:
            return quoted(draw(words))
    return found + draw(st.sampled_from(["", "", ".first()", ".where($this = 'A')", "[0]"]))


@st.composite
def moments(draw: st.DrawFn, focus: str) -> str:
    """A date or dateTime of the focus, or one computed from it or from today."""
    path = draw(st.sampled_from(TIMES[focus]))
    match draw(st.sampled_from(["written", "written", "shifted", "past"])):
        case "shifted":
            amounts = DAY_AMOUNTS if path == "birthDate" else AMOUNTS
            return f"{path} {draw(st.sampled_from('+-'))} {draw(st.sampled_from(amounts))}"
        case "past":
            return f"today() - {draw(st.integers(20, 3000))} years"
        case _:
            return path


@st.composite
def conditions(draw: st.DrawFn, focus: str, depth: int = 2) -> str:
    """A boolean expression of at most one item, empty now and then."""
    kinds = ["equal", "exists", "asked", "present"]
    if focus == "Patient":
        kinds += ["typed", "typed"]
    if TIMES[focus]:
        kinds += ["time", "moments"]
    if MEASURED.get(focus):
        kinds += ["quantity", "quantity", "quantity"]
    if INTEGERS.get(focus):
        kinds.append("integer")
    if BOOLEANS.get(focus):
        kinds.append("boolean")
    if depth:
        kinds += ["and", "or", "not", "below", "implies", "xor"]
    match draw(st.sampled_from(kinds)):
        case "equal":
            operator = draw(st.sampled_from(["=", "!="]))
            return f"{draw(strings(focus, depth and 1))} {operator} {quoted(draw(words))}"
        case "exists":
            function = draw(st.sampled_from(["exists()", "empty()", "count() > 1"]))
            return f"({draw(strings(focus, 0))}).{function}"
        case "present":
            element = draw(st.sampled_from(PRIMITIVES[focus]))
            asked = ["exists()", "empty()", "hasValue()", "count() = 1", "extension('e').exists()"]
            asked += ["first().exists()", "last().hasValue()", "skip(1).exists()"]
            asked += [
                f"{part}.extension('f').exists()" for part in ("first()", "tail()", "take(1)")
            ]
            asked.append("where(extension('e').exists()).exists()")
            if element != "deceased":
                # Of a choice nothing tells which values are the same.
                asked += ["distinct().extension('e').exists()", "isDistinct()"]
            return f"{element}.{draw(st.sampled_from(asked))}"
        case "typed":
            one, wanted = draw(st.sampled_from(CHOSEN)), draw(st.sampled_from(TYPES))
            form = draw(
                st.sampled_from(["({} is {})", "{}.ofType({}).exists()", "({} as {}).exists()"])
            )
            return form.format(one, wanted)
        case "time":
            operator = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
            moment = draw(st.sampled_from(MOMENTS))
            return f"{draw(moments(focus))} {operator} @{moment}"
        case "asked":
            return draw(truths_of(draw(strings(focus, depth and 1)), draw(strings(focus, 0))))
        case "moments":
            written = [f"@{moment}" for moment in MOMENTS]
            one, other = draw(moments(focus)), draw(st.sampled_from([*TIMES[focus], *written]))
            return draw(moments_compared(one, other))
        case "quantity":
            operator = draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]))
            if draw(st.integers(0, 4)) == 0:
                literals = draw(st.sampled_from(ALIKE))
                one, other = draw(st.sampled_from(literals)), draw(st.sampled_from(literals))
                return f"{one} {operator} {other}"
            sides = [draw(st.sampled_from(MEASURED[focus]))]
            sides.append(draw(st.sampled_from([*MEASURED[focus], *QUANTITIES])))
            one, other = draw(st.permutations(sides))
            return f"{one} {operator} {other}"
        case "integer":
            operator = draw(st.sampled_from(["=", "<", ">=", "~", "!~"]))
            element = draw(st.sampled_from(INTEGERS[focus]))
            found = draw(st.one_of(st.just(element), numbers_of(element)))
            return f"{found} {operator} {draw(st.sampled_from(['2', '1.4']))}"
        case "boolean":
            return draw(st.sampled_from(BOOLEANS[focus])) + draw(st.sampled_from(["", " = true"]))
        case "not":
            return f"({draw(conditions(focus, depth - 1))}).not()"
        case "below" if LISTS[focus]:
            path, kind = draw(nodes(focus, depth - 1))
            if draw(st.booleans()):
                return f"{path}.exists({draw(conditions(kind, depth - 1))})"
            return f"{path}.exists()"
        case "below":
            return "true"
        case operator:
            left, right = draw(conditions(focus, depth - 1)), draw(conditions(focus, depth - 1))
            return f"(({left}) {operator} ({right}))"


@st.composite
def columns(draw: st.DrawFn, focus: str, numbers: count[int]) -> Json:
    name = f"c{next(numbers)}"
    kinds = ["string", "string", "boolean", "list", "index", "key", "failing"]
    match draw(st.sampled_from(kinds + ["number"] * (focus in INTEGERS))):
        case "failing":
            return {"name": name, "path": draw(failing(draw(strings(focus, 1)))), "type": "string"}
        case "number":
            path = draw(numbers_of(draw(st.sampled_from(INTEGERS[focus]))))
            return {"name": name, "path": path, "type": "decimal"}
        case "string":
            return {"name": name, "path": draw(strings(focus)), "type": "string"}
        case "boolean":
            return {"name": name, "path": draw(conditions(focus)), "type": "boolean"}
        case "list":
            path = draw(strings(focus))
            return {"name": name, "path": path, "type": "string", "collection": True}
        case "index":
            return {"name": name, "path": "%rowIndex", "type": "integer"}
        case _:
            path = "%resource.generalPractitioner.getReferenceKey(Patient)"
            return {"name": name, "path": path, "type": "string", "collection": True}


@st.composite
def selects(draw: st.DrawFn, focus: str, numbers: count[int], depth: int = 2) -> Json:
    select: Json = {}
    directive = draw(st.sampled_from([None, None, "forEach", "forEachOrNull", "forEachOrNull"]))
    if directive and LISTS[focus]:
        select[directive], focus = draw(nodes(focus))
    found = draw(st.lists(columns(focus, numbers), min_size=0 if depth else 1, max_size=2))
    if found:
        select["column"] = found
    if depth and draw(st.booleans()):
        select["select"] = [draw(selects(focus, numbers, depth - 1))]
    if depth and draw(st.integers(0, 3)) == 0:
        select["unionAll"] = draw(unions(focus, numbers))
    if not select.keys() & {"column", "select", "unionAll"}:
        select["column"] = [draw(columns(focus, numbers))]
    return select


@st.composite
def unions(draw: st.DrawFn, focus: str, numbers: count[int]) -> list[Json]:
    """Branches of one string column, the second one iterating where it can."""
    name = f"c{next(numbers)}"
    branches: list[Json] = []
    for _number in range(draw(st.integers(1, 3))):
        branch: Json = {}
        inner = focus
        directive = draw(st.sampled_from([None, "forEach", "forEachOrNull"]))
        if directive and LISTS[focus]:
            branch[directive], inner = draw(nodes(focus, 1))
        branch["column"] = [{"name": name, "path": draw(strings(inner)), "type": "string"}]
        branches.append(branch)
    return branches


@st.composite
def views(draw: st.DrawFn) -> Json:
    """A ViewDefinition over Patient."""
    numbers = count()
    view: Json = {
        "resource": "Patient",
        "select": draw(st.lists(selects("Patient", numbers), min_size=1, max_size=2)),
    }
    if draw(st.booleans()):
        view["where"] = [{"path": draw(conditions("Patient"))}]
    return view
