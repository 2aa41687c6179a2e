"""One item by its place, `last() single() [n]`, and some, `tail() skip() take()`."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import (
    Expr,
    Form,
    Path,
    Requirement,
    numbered,
    single,
)
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.operators.first import OneOf, plain_array, plain_list
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types
from researchflow_runners.compiler.whole import passes_on
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.sql import Sql, compose, fixed

#: PostgreSQL's limit for subscripts of a path.
SUBSCRIPT_MAX = 2**31 - 1


@dataclass(frozen=True)
class Last(OneOf):
    def value(self) -> Sql:
        return compose("({} -> -1)", self.source.array())


@dataclass(frozen=True)
class Single(Expr):
    """The one item of a source; several are the run-time error of a single-valued column.

    Not shared between columns: where an `iif()` does not take the branch, there is no error.
    """

    source: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def form(self) -> Form:
        return self.source.form

    @property
    def lacks_value(self) -> bool:
        return self.source.lacks_value

    def path(self) -> Path | None:
        return Path(self, ()) if self.form == "json" else None

    def value(self) -> Sql:
        return self.source.value()


@dataclass(frozen=True)
class At(OneOf):
    """`source[index]`, from 0; a negative index finds nothing."""

    index: Expr

    def value(self) -> Sql:
        # jsonb counts negative subscripts from the end; FHIRPath does not.
        if isinstance(self.index, Constant):
            place = fixed(str(int(self.index.text_value)))
        else:
            place = compose("(CASE WHEN {i} >= 0 THEN ({i})::integer END)", i=self.index.numeric())
        return compose("({} -> {})", plain_list(self.source) or self.source.array(), place)


@dataclass(frozen=True)
class Part(Expr):
    """The items of a source before the place `number`, or with `after` those from it on."""

    source: Expr
    number: Expr
    after: bool

    @property
    def types(self) -> Types:
        return self.source.types

    @property
    def many(self) -> bool:
        return self.source.many

    @property
    def verbatim(self) -> bool:
        return self.source.verbatim

    def required(self) -> Requirement:
        return self.source.required()

    def path(self) -> Path | None:
        array = plain_array(self.source)
        whole = array.path() if array is not None else None
        if whole is None or not isinstance(self.number, Constant):
            return None
        number = min(int(self.number.text_value), SUBSCRIPT_MAX)
        if number < 1:
            return None
        return whole.then(f"[{number} to last]" if self.after else f"[0 to {number - 1}]")

    def value(self) -> Sql:
        return single(self)

    def rows(self) -> Sql:
        if self.path() is not None:
            return super().rows()
        return compose(
            "(SELECT t.v FROM {} AS t(v, n) WHERE t.n {} {})",
            numbered(self.source),
            fixed(">" if self.after else "<="),
            self.number.numeric(),
        )


for _kind in (Last, Single, At, Part):
    passes_on(_kind, "source")


def single_of(source: Expr, span: Span) -> Expr:
    """The node of `source.single()`."""
    return Single(source, span=span) if source.many else source


@function("single")
def single_(call: Invocation) -> Expr:
    return single_of(call.source, call.span)


@function("last")
def last(call: Invocation) -> Expr:
    return Last(call.source, span=call.span) if call.source.many else call.source


@function("tail")
def tail(call: Invocation) -> Expr:
    return Part(call.source, Constant("System.Integer", "1"), after=True, span=call.span)


@function("skip", arguments=1)
def skip(call: Invocation) -> Expr:
    return _part(call, after=True)


@function("take", arguments=1)
def take(call: Invocation) -> Expr:
    return _part(call, after=False)


def _part(call: Invocation, *, after: bool) -> Expr:
    number = call.argument(0)
    if number.kind == "empty":
        return Empty(span=call.span)
    if number.kind != "integer":
        raise call.refused("takes an integer", hint="Pass the number of items.", code="not_integer")
    return Part(call.source, number, after=after, span=call.span)


def indexed(source: Expr, index: Expr, span: Span) -> Expr:
    """`source[index]`; FhirPathError `not_integer` when the index is of another type."""
    if index.kind not in ("integer", "empty"):
        raise FhirPathError(
            "an index must be an integer",
            code="not_integer",
            hint="Write an integer from 0, or a constant of type integer.",
            span=index.span,
        )
    return At(source, index, span=span)
