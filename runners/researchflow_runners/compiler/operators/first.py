"""`first()`, and the one item that other steps start from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr, Path, Requirement, substituted
from researchflow_runners.compiler.jsonpath import call, key_step
from researchflow_runners.compiler.operators.combining import Combined, Distinct
from researchflow_runners.compiler.operators.filtering import Filtered
from researchflow_runners.compiler.operators.logic import And
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types, is_primitive, kind_of
from researchflow_runners.compiler.whole import passes_on
from researchflow_runners.errors import Span
from researchflow_runners.fhirpath.ast import NOWHERE
from researchflow_runners.sql import Sql, compose, fixed, join


@dataclass(frozen=True)
class OneOf(Expr):
    """A node of one item that is the base of the steps after it."""

    source: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    def path(self) -> Path:
        return Path(self, ())

    @property
    def lacks_value(self) -> bool:
        return any(map(is_primitive, self.types))

    def text(self) -> Sql:
        return compose("({} #>> '{{}}')", self.value())

    def exists(self) -> Sql:
        return compose("({} IS NOT NULL)", self.value())

    def required(self) -> Requirement:
        return self.source.required()

    def root_keys(self) -> Requirement:
        return self.source.root_keys()

    @property
    def verbatim(self) -> bool:
        return self.source.verbatim


#: Mostly nothing stands beside a list.
FIRST_LISTED = """CASE WHEN {s} -> '_{key}' IS NULL THEN {s} -> '{key}' -> 0
 ELSE (SELECT f.v FROM {items} AS f(v) LIMIT 1) END"""
FIRST_BELOW = (
    "(SELECT coalesce({}, 'null') FROM (SELECT {} AS v OFFSET 0) AS p WHERE p.v IS NOT NULL)"
)


@dataclass(frozen=True)
class First(OneOf):
    def value(self) -> Sql:
        if isinstance(self.source, Combined):
            sides = (self.source.left, self.source.right)
            return compose("coalesce({}, {})", *(first_of(one).as_item() for one in sides))
        plain = plain_list(self.source)
        if plain is not None:
            return compose("({} -> 0)", plain)
        path = self.source.path()
        if path is not None:
            return call("jsonb_path_query_first", path.base.value(), path.parts)
        element = self._primitive
        if element is not None and element.element_many and not element.source.many:
            return self._listed(element)
        below = self._below()
        if below is not None:
            return compose(FIRST_BELOW, below[0].of(fixed("p.v")), below[1])
        return compose("(SELECT f.v FROM {} AS f(v) LIMIT 1)", self.source.rows())

    def text(self) -> Sql:
        below = self._below()
        if below is None:
            return super().text()
        return compose("({} #>> '{{}}')", below[0].of(below[1]))

    def exists(self) -> Sql:
        return self.source.exists() if self._primitive is not None else super().exists()

    @property
    def _primitive(self) -> Child | None:
        """The element whose first item it is, where items may lack a value."""
        source = self.source
        return source if isinstance(source, Child) and source.lacks_value else None

    def _listed(self, element: Child) -> Sql:
        key, source = element.json_keys()[0], element.source.value()
        template = FIRST_LISTED.replace("{key}", key)
        return compose(template, s=source, items=element.rows())

    def _below(self) -> tuple[Child, Sql] | None:
        """The element, and the first node that has it, where a path finds that."""
        element = self._primitive
        path = element.source.path() if element is not None else None
        if element is None or path is None or element.element_many:
            return None
        tests = " || ".join(f"exists(@{key_step(key)})" for key in element.all_keys())
        parts = path.then(f" ? ({tests})").parts
        return element, call("jsonb_path_query_first", path.base.value(), parts)


passes_on(First, "source")


@dataclass(frozen=True)
class FirstMatch(OneOf):
    """The first item that a filter keeps, where `head` is the first of all items.

    Mostly it is the only one; to look at it costs half of what the path does.
    """

    source: Filtered
    head: First
    when: Expr

    def value(self) -> Sql:
        further = join(" AND ", [compose("{} -> 1 IS NULL", one) for one in self._lists()])
        return compose(
            "CASE WHEN {} THEN {} WHEN {} THEN NULL ELSE {} END",
            self.when.boolean(),
            self.head.value(),
            further,
            First(self.source).value(),
        )

    def _lists(self) -> list[Sql]:
        found, source = [], self.source.source
        while (array := _head_array(source)) is not None:
            found.append(array.value())
            source = source.source if isinstance(source, Child) else source
        return found


def plain_list(source: Expr) -> Sql | None:
    """The JSON array that holds exactly the items of the source, when there is one."""
    array = plain_array(source)
    return None if array is None else array.value()


def plain_array(source: Expr) -> Child | None:
    """The node of that array."""
    if not isinstance(source, Child) or not source.element_many or source.source.many:
        return None
    keys = source.json_keys()
    # A list of primitives may hold null placeholders, which are no items.
    if len(keys) != 1 or kind_of(source.types) != "complex":
        return None
    return Child(source.source, source.keys, element_many=False)


@function("first")
def first(call: Invocation) -> Expr:
    return first_of(call.source, call.span)


def first_of(source: Expr, span: Span = NOWHERE) -> Expr:
    """The node of `source.first()`."""
    while isinstance(source, Distinct):
        source = source.source
    if not source.many:
        return source
    return _first_match(source, span) or First(source, span=span)


def _first_match(source: Expr, span: Span) -> FirstMatch | None:
    if not isinstance(source, Filtered) or source.criterion is None or source.item is None:
        return None
    head = _head(source.source)
    if head is None or not _is_plain(source.criterion, source.item):
        return None
    when = substituted(source.criterion, source.item, head)
    return FirstMatch(source, head, when, span=span)


def _head(source: Expr) -> First | None:
    """The first item of lists within lists."""
    array = _head_array(source)
    return None if array is None else First(Child(array.source, array.keys, element_many=True))


def _head_array(source: Expr) -> Child | None:
    """The JSON array whose first item is the first of the source."""
    if isinstance(source, Child) and source.source.many:
        before = _head(source.source)
        return None if before is None else plain_array(replace(source, source=before))
    return plain_array(source)


def _is_plain(criterion: Expr, item: Expr) -> bool:
    """Whether it compares members of the item with constant texts only."""
    if isinstance(criterion, And):
        return _is_plain(criterion.left, item) and _is_plain(criterion.right, item)
    alike = criterion.one_of()
    return alike is not None and isinstance(alike[0], Child) and alike[0].source == item
