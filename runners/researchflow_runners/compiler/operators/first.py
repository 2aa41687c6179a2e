"""`first()`, and the one item that other steps start from."""

from __future__ import annotations

from dataclasses import dataclass, replace

from researchflow_runners.compiler.expr import Expr, Path, Requirement, substituted
from researchflow_runners.compiler.jsonpath import call
from researchflow_runners.compiler.nodes import Child
from researchflow_runners.compiler.operators.combining import Combined, Distinct
from researchflow_runners.compiler.operators.filtering import Filtered
from researchflow_runners.compiler.operators.logic import And
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types, kind_of
from researchflow_runners.errors import Span
from researchflow_runners.fhirpath.ast import NOWHERE
from researchflow_runners.sql import Sql, compose, join


@dataclass(frozen=True)
class OneOf(Expr):
    """A node of one item that is the base of the steps after it."""

    source: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    def path(self) -> Path:
        return Path(self, ())

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


@dataclass(frozen=True)
class First(OneOf):
    def value(self) -> Sql:
        if isinstance(self.source, Combined):
            sides = (self.source.left, self.source.right)
            return compose("coalesce({}, {})", *(first_of(one).json() for one in sides))
        plain = plain_list(self.source)
        if plain is not None:
            return compose("({} -> 0)", plain)
        path = self.source.path()
        if path is not None:
            return call("jsonb_path_query_first", path.base.value(), path.parts)
        return compose("(SELECT f.v FROM {} AS f(v) LIMIT 1)", self.source.rows())


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
