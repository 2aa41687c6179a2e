"""Quantities: literals, comparison and `toString()`.

Two quantities compare when their units are the same: UCUM codes, or else the text of the unit;
UCUM codes also when they convert exactly (ucum.py). Two literals that do not convert are refused.
Everything else is empty: other units, a missing value, and a `comparator`, because `<5` is no
number.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal

from researchflow_runners.compiler.expr import Expr, Form, Path, StringExpr
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import Types
from researchflow_runners.compiler.ucum import unit_of
from researchflow_runners.compiler.units import (
    CALENDAR_CODES,
    INDEFINITE,
    UCUM,
    calendar_code,
    conversions_json,
)
from researchflow_runners.errors import FhirPathError, Span
from researchflow_runners.fhirpath.ast import Literal
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, param

#: A quantity `q` as its UCUM code, the name of its unit and its number.
PARTS = """(SELECT p.c, coalesce(p.c, p.q ->> 'unit',
 CASE WHEN p.q ? 'code' THEN concat(p.q ->> 'system', '|', p.q ->> 'code') END, '1') AS u, p.x
 FROM (SELECT t.q, CASE WHEN t.q ->> 'system' = {ucum} THEN t.q ->> 'code' END AS c,
 CASE WHEN NOT t.q ? 'comparator' THEN (t.q ->> 'value')::numeric END AS x
 FROM (SELECT {quantity} AS q OFFSET 0) AS t) AS p)"""
LITERAL_PARTS = "(SELECT {code} AS c, {code} AS u, ({number})::numeric AS x)"
COMPARED = """(SELECT CASE WHEN l.u = r.u THEN {same}{converted} END
 FROM {left} AS l CROSS JOIN {right} AS r)"""
#: Multiplied crosswise, because a ratio such as 5/9 has no end as a decimal.
CONVERTED = """ WHEN {table} -> l.c ->> 0 = {table} -> r.c ->> 0
 THEN (SELECT {across} FROM (SELECT (l.x + (f.l ->> 3)::numeric) * (f.l ->> 1)::numeric
 * (f.r ->> 2)::numeric AS x, (r.x + (f.r ->> 3)::numeric) * (f.r ->> 1)::numeric
 * (f.l ->> 2)::numeric AS y, (f.l ->> 1)::numeric * (f.r ->> 2)::numeric AS f,
 (f.l ->> 3)::numeric AS s FROM (SELECT {table} -> l.c AS l, {table} -> r.c AS r) AS f) AS w)"""
WRITTEN = r"""(SELECT CASE WHEN NOT t.q ? 'comparator'
 THEN (t.q ->> 'value') || ' ''' || replace(replace(p.u, '\', '\\'), '''', '\''') || '''' END
 FROM (SELECT {quantity} AS q OFFSET 0) AS t CROSS JOIN LATERAL {parts} AS p)"""


@dataclass(frozen=True)
class QuantityConstant(Expr):
    """A quantity literal; `calendar` is its word, such as `years`, when it has no UCUM code."""

    number: str
    code: str
    calendar: str | None = None

    @property
    def types(self) -> Types:
        return ("System.Quantity",)

    def path(self) -> Path:
        return Path(self, ())

    def value(self) -> Sql:
        unit, code = json.dumps(self.calendar or self.code), json.dumps(self.code)
        # The number as text: JSON of Python's own making would not keep every decimal.
        written = f'{{"value":{self.number},"unit":{unit},"system":"{UCUM}","code":{code}}}'
        return param(written, "jsonb")


def quantity_literal(node: Literal) -> Expr:
    """The node of `5 'mg'` or `4 years`; FhirPathError `invalid_unit` for an empty unit."""
    unit = node.unit or ""
    if not unit.strip() or "\x00" in unit:
        raise FhirPathError(
            "the quantity has no unit",
            code="invalid_unit",
            hint="Write a UCUM code in quotes, such as 5 'mg'; '1' is a bare number.",
            span=node.span,
        )
    number = format(Decimal(node.text), "f")
    if node.kind == "duration" or (unit.removesuffix("s") in CALENDAR_CODES and unit != "s"):
        return QuantityConstant(number, calendar_code(unit), unit, span=node.span)
    return QuantityConstant(number, unit, span=node.span)


def negative_quantity(quantity: QuantityConstant, span: Span) -> Expr:
    """`-quantity`"""
    number = quantity.number.removeprefix("-")
    negated = number if number != quantity.number else f"-{number}"
    return replace(quantity, number=negated, span=span)


def never_comparable(left: Expr, right: Expr, span: Span) -> bool:
    """Whether two literals are a calendar word and a UCUM code of no common length.

    FhirPathError `not_comparable` for literals whose units do not convert.
    """
    if not isinstance(left, QuantityConstant) or not isinstance(right, QuantityConstant):
        return False
    if left.code != right.code and not convertible(left.code, right.code):
        raise FhirPathError(
            f"'{left.code}' and '{right.code}' do not convert into each other",
            code="not_comparable",
            hint="Compare quantities of one dimension, in UCUM codes such as 'mg/dL'.",
            span=span,
        )
    indefinite = {left.code, right.code} & INDEFINITE
    return bool(indefinite) and (left.calendar is None) != (right.calendar is None)


def convertible(one: str, other: str) -> bool:
    """Whether quantities in two UCUM codes can be compared."""
    left, right = unit_of(one), unit_of(other)
    return left is not None and right is not None and left.base == right.base


def compared(template: str, left: Expr, right: Expr, *, in_left_unit: bool = False) -> Sql:
    """The SQL of a comparison of two quantities; its template takes two numbers.

    These are exact and of the same unit, which is any; or those of the left side's unit.
    """
    code = next((one.code for one in (left, right) if isinstance(one, QuantityConstant)), None)
    converted = EMPTY
    if code is None or unit_of(code) is not None:
        table = param(conversions_json(code), "jsonb")
        sides = ("l.x", "w.y / w.f - w.s") if in_left_unit else ("w.x", "w.y")
        across = compose(template, *map(fixed, sides))
        converted = compose(CONVERTED, table=table, across=across)
    return compose(
        COMPARED,
        same=compose(template, fixed("l.x"), fixed("r.x")),
        converted=converted,
        left=_parts_of(left),
        right=_parts_of(right),
    )


def _parts_of(expr: Expr) -> Sql:
    if isinstance(expr, QuantityConstant):
        number, code = param(expr.number, "text"), param(expr.code, "text")
        return compose(LITERAL_PARTS, code=code, number=number)
    return _parts(expr.json())


def _parts(quantity: Sql) -> Sql:
    return compose(PARTS, ucum=param(UCUM, "text"), quantity=quantity)


@dataclass(frozen=True)
class QuantityText(StringExpr):
    """A quantity as FHIRPath writes it; empty for one with a comparator."""

    source: Expr

    def value(self) -> Sql:
        return compose(WRITTEN, quantity=self.source.json(), parts=_parts(fixed("t.q")))


@dataclass(frozen=True)
class Comparable(Expr):
    """Whether two quantities have units that convert into each other."""

    left: Expr
    right: Expr

    @property
    def types(self) -> Types:
        return ("System.Boolean",)

    @property
    def form(self) -> Form:
        return "boolean"

    def value(self) -> Sql:
        return compose(
            "(CASE WHEN {} AND {} THEN {} END)",
            self.left.exists(),
            self.right.exists(),
            compose("coalesce({}, false)", compared("true", self.left, self.right)),
        )


@function("comparable", arguments=1)
def comparable(call: Invocation) -> Expr:
    other = call.argument(0)
    if not call.source.types or not other.types:
        return Empty(span=call.span)
    if call.source.kind != "quantity" or other.kind != "quantity":
        raise call.refused("compares two quantities", hint="Write 1 'cm'.comparable(1 'm').")
    return Comparable(call.source, other, span=call.span)


def quantity_text(source: Expr, span: Span) -> Expr:
    """The node of `quantity.toString()`."""
    if isinstance(source, QuantityConstant) and source.calendar:
        return Constant("System.String", f"{source.number} {source.calendar}", span=span)
    return QuantityText(source, span=span)
