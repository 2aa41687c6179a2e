"""`toQuantity()` and `convertsToQuantity()`: of numbers, booleans, strings and quantities.

A string is a number and perhaps a unit: a UCUM code in quotes, or a calendar word (FHIRPath 2.0,
section 5.5.8). Of data a calendar word becomes its UCUM code.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Path
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.operators.converting import IsThere
from researchflow_runners.compiler.operators.logic import BooleanExpr
from researchflow_runners.compiler.operators.quantities import QuantityConstant
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import NUMBERS, Types
from researchflow_runners.compiler.units import CALENDAR_CODES, UCUM, calendar_code
from researchflow_runners.sql import Sql, compose, fixed, param

WRITTEN = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*(?:'([^']+)'|([a-z]+))?", re.ASCII)
WORDS = "|".join(f"{word}s?" for word in CALENDAR_CODES)
PATTERN = rf"^([+-]?[0-9]+(?:\.[0-9]+)?)\s*(?:''([^'']+)''|({WORDS}))?$"
OF_TEXT = """(SELECT jsonb_build_object('value', m.m[1]::numeric, 'unit',
 coalesce(m.m[2], m.m[3], '1'), 'system', {ucum}, 'code',
 coalesce(m.m[2], {codes} ->> regexp_replace(m.m[3], 's$', ''), '1'))
 FROM (SELECT regexp_match({text}, '{pattern}') AS m OFFSET 0) AS m WHERE m.m IS NOT NULL)"""
OF_NUMBER = """(SELECT jsonb_build_object('value', n.x, 'unit', '1', 'system', {ucum}, 'code', '1')
 FROM (SELECT {number} AS x OFFSET 0) AS n WHERE n.x IS NOT NULL)"""


@dataclass(frozen=True)
class ToQuantity(Expr):
    """The one item of the source as a quantity; empty for a string that is none."""

    source: Expr

    @property
    def types(self) -> Types:
        return ("System.Quantity",)

    def path(self) -> Path:
        return Path(self, ())

    def value(self) -> Sql:
        ucum = param(UCUM, "text")
        if self.source.kind == "string":
            codes = param(json.dumps(CALENDAR_CODES), "jsonb")
            text, pattern = self.source.text(), fixed(PATTERN)
            return compose(OF_TEXT, ucum=ucum, codes=codes, text=text, pattern=pattern)
        number = self.source.boolean() if self.source.kind == "boolean" else self.source.numeric()
        if self.source.kind == "boolean":
            number = compose("CASE {} WHEN true THEN 1.0 WHEN false THEN 0.0 END", number)
        return compose(OF_NUMBER, ucum=ucum, number=compose("({})::numeric", number))


@dataclass(frozen=True)
class IsQuantity(BooleanExpr):
    """Whether the one item of the source, a string, is a quantity; empty without a string."""

    source: Expr

    def value(self) -> Sql:
        found = ToQuantity(self.source).value()
        return compose(
            "(CASE WHEN {} IS NOT NULL THEN {} IS NOT NULL END)", self.source.text(), found
        )


def _of_constant(text: str, call: Invocation) -> Expr:
    """The quantity that a literal string writes."""
    match = WRITTEN.fullmatch(text)
    if match is None or (match[3] and match[3].removesuffix("s") not in CALENDAR_CODES):
        return Empty(span=call.span)
    number = match[1].removeprefix("+")
    if match[3]:
        return QuantityConstant(number, calendar_code(match[3]), match[3], span=call.span)
    return QuantityConstant(number, match[2] or "1", span=call.span)


def _check(call: Invocation) -> None:
    if call.source.kind not in {*NUMBERS, "boolean", "string", "quantity"}:
        raise call.refused(
            "converts numbers, booleans, strings and quantities only",
            hint="Narrow a choice element with ofType() first.",
            code="not_convertible",
        )


@function("toQuantity")
def to_quantity(call: Invocation) -> Expr:
    if not call.source.types:
        return call.source
    _check(call)
    if call.source.kind == "quantity":
        return call.source
    if isinstance(call.source, Constant) and call.source.kind == "string":
        return _of_constant(call.source.text_value, call)
    return ToQuantity(call.source, span=call.span)


@function("convertsToQuantity")
def converts_to_quantity(call: Invocation) -> Expr:
    if not call.source.types:
        return call.source
    _check(call)
    if call.source.kind == "string":
        return IsQuantity(call.source, span=call.span)
    return IsThere(call.source, span=call.span)
