"""`=`, `!=`, `<`, `<=`, `>`, `>=`.

An empty side gives an empty result. Dates compare as the periods they mean: decided when these are
disjoint or the same, empty when they overlap otherwise (FHIRPath 2.0, section 6.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.child import Child
from researchflow_runners.compiler.expr import Expr, Requirement
from researchflow_runners.compiler.jsonpath import PathParts, concatenated
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.operators.existence import Count
from researchflow_runners.compiler.operators.logic import BooleanExpr
from researchflow_runners.compiler.operators.quantities import compared, never_comparable
from researchflow_runners.compiler.periods import clashing, clashing_texts, high, low
from researchflow_runners.compiler.registry import binary
from researchflow_runners.compiler.types import DATES, NUMBERS, Kind, Types, kind_of_type, shown
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.sql import EMPTY, Sql, compose, fixed

COMPARISONS = frozenset({"=", "!=", "<", "<=", ">", ">="})
OPPOSITE = {"=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
PATH_OPERATORS = {"=": "==", "!=": "!="}
SQL_OPERATORS = {"!=": "<>"}
#: Kinds whose values compare in a path filter as FHIRPath compares them.
PATH_KINDS: frozenset[Kind] = frozenset({"string", "boolean", "integer", "decimal"})

#: Kinds that FHIRPath tells apart; other kinds side by side are more likely a slip, and refused.
UNLIKE: tuple[set[Kind], ...] = ({"date", "time"}, {"dateTime", "time"})
#: Kinds of which two values may be neither equal nor unequal.
PARTIAL_KINDS: frozenset[Kind] = DATES | {"time", "quantity"}

PERIOD_RESULT = {
    "=": ("false", "true", "false"),
    "!=": ("true", "false", "true"),
    "<": ("true", "false", "false"),
    "<=": ("true", "true", "false"),
    ">": ("false", "false", "true"),
    ">=": ("false", "true", "true"),
}
#: A time with an offset and one without have no order.
PERIODS = """(SELECT CASE {clash}WHEN h.lh <= h.rl THEN {before} WHEN h.ll >= h.rh THEN {after}
 WHEN h.ll = h.rl AND h.lh = h.rh THEN {same} END
 FROM (SELECT {l} AS l, {r} AS r OFFSET 0) AS t
 CROSS JOIN LATERAL (SELECT t.l, t.r, {ll} AS ll, {rl} AS rl OFFSET 0) AS s
 CROSS JOIN LATERAL (SELECT s.l, s.r, s.ll, s.rl, {lh} AS lh, {rh} AS rh OFFSET 0) AS h)"""
#: Times compare to the precision that both have; finer than seconds is one precision.
TIMES = """(SELECT CASE WHEN m.n = 8 THEN m.l::time {op} m.r::time
 WHEN left(m.l, m.n) <> left(m.r, m.n) OR length(m.l) = length(m.r)
 THEN left(m.l, m.n) {op} left(m.r, m.n) COLLATE "C" END
 FROM (SELECT t.l, t.r, least(length(t.l), length(t.r), 8) AS n
 FROM (SELECT {l} AS l, {r} AS r OFFSET 0) AS t) AS m)"""
LISTS = """(SELECT CASE WHEN q.l = '[]' OR q.r = '[]' THEN NULL
 WHEN jsonb_array_length(q.l) <> jsonb_array_length(q.r) THEN {other}
 WHEN jsonb_array_length(q.l) = 1 THEN {one_to_one} WHEN q.l @> '[null]' OR q.r @> '[null]'
 THEN (SELECT CASE WHEN bool_or(l.v <> r.v AND l.v <> 'null' AND r.v <> 'null') THEN {other} END
 FROM jsonb_array_elements(q.l) WITH ORDINALITY AS l(v, n)
 JOIN jsonb_array_elements(q.r) WITH ORDINALITY AS r(v, n) USING (n))
 WHEN q.l = q.r THEN {same} ELSE {other} END
 FROM (SELECT {l} AS l, {r} AS r OFFSET 0) AS q)"""

#: Item by item, where two items may be neither equal nor not.
PARTIAL_LISTS = """(SELECT CASE WHEN q.l = '[]' OR q.r = '[]' THEN NULL
 WHEN jsonb_array_length(q.l) <> jsonb_array_length(q.r) THEN {other}
 ELSE (SELECT CASE WHEN bool_or(NOT p.same) THEN {other} WHEN bool_or(p.same IS NULL) THEN NULL
 ELSE {same} END FROM (SELECT {one_to_one} AS same FROM jsonb_array_elements(q.l)
 WITH ORDINALITY AS l(v, n) JOIN jsonb_array_elements(q.r) WITH ORDINALITY AS r(v, n) USING (n)
 OFFSET 0) AS p) END
 FROM (SELECT {l} AS l, {r} AS r OFFSET 0) AS q)"""


@dataclass(frozen=True)
class Compare(BooleanExpr):
    """Two nodes of one kind; each side's `value` raises when it holds several items."""

    operator: str
    left: Expr
    right: Expr
    compared_kind: Kind

    def value(self) -> Sql:
        if self.compared_kind in DATES:
            return _periods(self.operator, self.left, self.right)
        if self.compared_kind == "time":
            left, right = self.left.text(), self.right.text()
            return compose(TIMES, op=_symbol(self.operator), l=left, r=right)
        if self.compared_kind == "quantity":
            symbol = SQL_OPERATORS.get(self.operator, self.operator)
            return compared(f"({{}} {symbol} {{}})", self.left, self.right)
        left, right = (_comparable(one, self.compared_kind) for one in (self.left, self.right))
        return compose("({} {} {})", left, _symbol(self.operator), right)

    def one_of(self) -> tuple[Expr, tuple[str, ...]] | None:
        if self.operator != "=" or self.compared_kind != "string":
            return None
        if not isinstance(self.right, Constant) or self.right.form != "text":
            return None
        return self.left, (self.right.text_value,)

    def needs_value(self, item: Expr) -> bool:
        return item in (self.left, self.right)

    def required(self) -> Requirement:
        if self.operator != "=" or self.compared_kind != "string":
            return None
        for constant, other in ((self.left, self.right), (self.right, self.left)):
            if isinstance(constant, Constant) and constant.text_value and other.verbatim:
                return frozenset({constant.text_value})
        return None

    def condition(self, item: Expr, *, negated: bool) -> PathParts | None:
        if self.compared_kind not in PATH_KINDS:
            return None
        left, right = self.left.operand(item), self.right.operand(item)
        if left is None or right is None:
            return None
        # With an empty side a path comparison is false, whatever the operator.
        operator = OPPOSITE[self.operator] if negated else self.operator
        symbol = PATH_OPERATORS.get(operator, operator)
        return concatenated("(", left, f" {symbol} ", right, ")")


def _comparable(expr: Expr, kind: Kind) -> Sql:
    if kind == "boolean":
        return expr.boolean()
    if kind in NUMBERS:
        return expr.numeric()
    if kind == "string":
        return compose('{} COLLATE "C"', expr.text())
    return expr.json()


def _clash(left: Expr, right: Expr) -> Sql:
    """The branch that leaves the comparison of a time with and one without offset undecided."""
    one, other = fixed("h.l"), fixed("h.r")
    if "date" in (left.kind, right.kind):
        return EMPTY
    if isinstance(right, Constant):
        found = clashing(one, right.text_value)
    elif isinstance(left, Constant):
        found = clashing(other, left.text_value)
    else:
        found = clashing_texts(one, other)
    return EMPTY if found is None else compose("WHEN {} THEN NULL ", found)


def _periods(operator: str, left: Expr, right: Expr) -> Sql:
    before, same, after = (fixed(result) for result in PERIOD_RESULT[operator])
    return compose(
        PERIODS,
        before=before,
        same=same,
        after=after,
        clash=_clash(left, right),
        l=left.text(),
        r=right.text(),
        ll=low(fixed("t.l")),
        rl=low(fixed("t.r")),
        lh=high(fixed("s.l"), fixed("s.ll")),
        rh=high(fixed("s.r"), fixed("s.rl")),
    )


def _symbol(operator: str) -> Sql:
    return fixed(SQL_OPERATORS.get(operator, operator))


@dataclass(frozen=True)
class CompareLists(BooleanExpr):
    """Equality of collections: of equal size, and equal item by item."""

    operator: str
    left: Expr
    right: Expr
    compared_kind: Kind

    def value(self) -> Sql:
        same, other = ("true", "false") if self.operator == "=" else ("false", "true")
        is_partial = self.compared_kind in PARTIAL_KINDS
        sides = ("l.v", "r.v") if is_partial else ("(q.l -> 0)", "(q.r -> 0)")
        left, right = (
            _ListItem(sql, side.types)
            for sql, side in zip(sides, (self.left, self.right), strict=True)
        )
        operator = "=" if is_partial else self.operator
        return compose(
            PARTIAL_LISTS if is_partial else LISTS,
            same=fixed(same),
            other=fixed(other),
            one_to_one=Compare(operator, left, right, self.compared_kind).value(),
            l=self.left.array(),
            r=self.right.array(),
        )


@dataclass(frozen=True)
class _ListItem(Expr):
    """An item of a collection that CompareLists holds as an array."""

    sql: str
    item_types: Types

    @property
    def lacks_value(self) -> bool:
        return True

    @property
    def types(self) -> Types:
        return self.item_types

    def value(self) -> Sql:
        return fixed(self.sql)


@dataclass(frozen=True)
class CompareChoice(BooleanExpr):
    """Equality of a choice element and one item, to which a value of another type is unequal.

    `alike` is the choice narrowed to the types that compare with the other side's.
    """

    choice: Expr
    alike: Expr
    other: Expr
    equal: Compare

    def value(self) -> Sql:
        comparable = self.alike.exists()
        if self.choice.many:
            comparable = compose("{} AND {} = 1", comparable, Count(self.choice).value())
        return compose(
            "CASE WHEN {} AND {} THEN CASE WHEN {} THEN {} ELSE {} END END",
            self.other.exists(),
            self.choice.exists(),
            comparable,
            self.equal.value(),
            fixed("false" if self.equal.operator == "=" else "true"),
        )

    def required(self) -> Requirement:
        return self.equal.required()


@dataclass(frozen=True)
class Unlike(BooleanExpr):
    """Equality of items of two kinds, no two of which are ever equal."""

    operator: str
    left: Expr
    right: Expr

    def value(self) -> Sql:
        exist = (self.left.exists(), self.right.exists())
        answer = fixed("false" if self.operator == "=" else "true")
        return compose("CASE WHEN {} AND {} THEN {} END", *exist, answer)


def _of_choice(operator: str, left: Expr, right: Expr, span: Span) -> Expr | None:
    """The equality of a choice element that is not narrowed and one primitive item or quantity."""
    for choice, other in ((left, right), (right, left)):
        if choice.kind != "mixed" or not isinstance(choice, Child):
            continue
        if other.many or other.kind in ("mixed", "complex", "empty"):
            continue
        family = next((one for one in (NUMBERS, DATES) if other.kind in one), {other.kind})
        keys = tuple((key, one) for key, one in choice.keys if kind_of_type(one) in family)
        alike = Child(choice.source, keys, choice.element_many) if keys else Empty()
        kind = comparable_kind(operator, alike, other, span)
        equal = Compare(operator, alike, other, kind, span=span)
        return CompareChoice(choice, alike, other, equal, span=span)
    return None


@binary(*COMPARISONS)
def comparison(operator: str, left: Expr, right: Expr, span: Span) -> Expr:
    """The node of a comparison; FhirPathError `not_comparable` for sides of different kinds."""
    of_choice = _of_choice(operator, left, right, span) if operator in ("=", "!=") else None
    if of_choice is not None:
        return of_choice
    if operator in ("=", "!=") and {left.kind, right.kind} in UNLIKE:
        return Unlike(operator, left, right, span=span)
    kind = comparable_kind(operator, left, right, span)
    if kind == "empty":
        return Empty(span=span)
    if operator in ("=", "!=") and (left.many or right.many):
        return CompareLists(operator, left, right, kind, span=span)
    return Compare(operator, left, right, kind, span=span)


def comparable_kind(operator: str, left: Expr, right: Expr, span: Span) -> Kind:
    """The kind in which two nodes compare, `empty` when one never holds an item."""
    kinds = {left.kind, right.kind}
    if "empty" in kinds:
        return "empty"
    ordered = operator in ("<", "<=", ">", ">=") and kinds == {"boolean"}
    if (
        len(kinds) == 1
        and not ordered
        and kinds <= {"string", "boolean", "integer", "decimal", "time", "quantity"}
    ):
        return "empty" if never_comparable(left, right, span) else left.kind
    if kinds <= NUMBERS:
        return "decimal"
    if kinds <= DATES:
        return "dateTime"
    if operator in ("=", "!=") and kinds == {"complex"}:
        return left.kind
    if "mixed" in kinds:
        hint = "Narrow the choice element first, such as value.ofType(Quantity).value."
    elif "quantity" in kinds:
        hint = "Write the number with its unit, such as 5 'mg', or compare the quantity's value."
    else:
        hint = "Compare values of one kind; dates are written @2024-01-31."
    raise FhirPathError(
        f"cannot compare {shown(left.types)} and {shown(right.types)} with '{operator}'",
        code="not_comparable",
        hint=hint,
        span=span,
    )
