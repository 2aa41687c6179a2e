"""`abs() ceiling() floor() truncate() round() sqrt() power() exp() ln() log()` of one number.

Numbers are exact decimals; where there is no exact result, PostgreSQL gives about 16 digits. A
half is rounded away from zero. What has no real result is empty: a root or a logarithm of a
negative number, a logarithm of zero, an integer to a power that is no integer, and what no integer
can hold.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from researchflow_runners.compiler.expr import Expr, Form, Path
from researchflow_runners.compiler.nodes import Constant, Empty
from researchflow_runners.compiler.operators.arithmetic import within
from researchflow_runners.compiler.operators.quantities import QuantityConstant
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import NUMBERS, Types, system_type
from researchflow_runners.sql import Sql, compose, join

#: PostgreSQL rounds to no more places than these.
PLACES_MAX = 1000
ABSOLUTE_QUANTITY = """(SELECT CASE WHEN q.v ? 'value' THEN
 jsonb_set(q.v, '{{value}}', to_jsonb(abs((q.v ->> 'value')::numeric))) END
 FROM (SELECT {} AS v OFFSET 0) AS q)"""
OF_OPERANDS = "(SELECT {} FROM (SELECT {{}} OFFSET 0) AS m)"
#: FHIRPath name → SQL over the input `m.x` and the argument `m.y`, and the type of the result;
#: None is integer when all operands are.
FUNCTIONS: dict[str, tuple[str, str | None]] = {
    "ceiling": ("ceil(m.x)", "integer"),
    "floor": ("floor(m.x)", "integer"),
    "truncate": ("trunc(m.x)", "integer"),
    "sqrt": ("CASE WHEN m.x >= 0 THEN trim_scale(sqrt(m.x)) END", "decimal"),
    "exp": ("trim_scale(exp(m.x))", "decimal"),
    "ln": ("CASE WHEN m.x > 0 THEN trim_scale(ln(m.x)) END", "decimal"),
}
LOG = "CASE WHEN m.x > 0 AND m.y > 0 AND m.y <> 1 THEN trim_scale(log(m.y, m.x)) END"
POWER = """CASE WHEN m.x = 0 AND m.y < 0 OR m.x < 0 AND m.y <> trunc(m.y) THEN NULL
 ELSE trim_scale(power(m.x, m.y)) END"""
INTEGER_POWER = """CASE WHEN m.y >= 0 OR abs(m.x) = 1 THEN trim_scale(power(m.x, m.y)) END"""
ROUND = "round(m.x, (m.y)::integer)"


@dataclass(frozen=True)
class Computed(Expr):
    """A number computed from one or two numbers; empty when one of them is."""

    template: str
    operands: tuple[Expr, ...]
    result_type: str

    @property
    def types(self) -> Types:
        return (system_type(self.result_type),)

    @property
    def form(self) -> Form:
        return "numeric"

    def value(self) -> Sql:
        named = [
            compose(f"({{}})::numeric AS {name}", one.numeric())
            for name, one in zip("xy", self.operands, strict=False)
        ]
        found = compose(OF_OPERANDS.format(self.template), join(", ", named))
        return within(self.result_type, found)


def _computed(call: Invocation, template: str, result: str | None) -> Expr:
    operands = (call.source, *(call.argument(place) for place in range(len(call.arguments))))
    if any(not one.types for one in operands):
        return Empty(span=call.span)
    if any(one.kind not in NUMBERS for one in operands):
        raise call.refused(
            "takes integers and decimals only",
            hint="Use toInteger() or toDecimal() first; of a Quantity, its value.",
            code="not_a_number",
        )
    whole = all(one.kind == "integer" for one in operands)
    found = result or ("integer" if whole else "decimal")
    return Computed(template, operands, found, span=call.span)


def _of_one_number(name: str, template: str, result: str | None) -> None:
    @function(name)
    def implementation(call: Invocation) -> Expr:
        return _computed(call, template, result)


for _name, (_template, _result) in FUNCTIONS.items():
    _of_one_number(_name, _template, _result)


@dataclass(frozen=True)
class AbsoluteQuantity(Expr):
    """A quantity with its value made positive."""

    source: Expr

    @property
    def types(self) -> Types:
        return self.source.types

    def path(self) -> Path:
        return Path(self, ())

    def value(self) -> Sql:
        return compose(ABSOLUTE_QUANTITY, self.source.json())


@function("abs")
def absolute(call: Invocation) -> Expr:
    if call.source.kind != "quantity":
        return _computed(call, "abs(m.x)", None)
    if isinstance(call.source, QuantityConstant):
        number = call.source.number.removeprefix("-")
        return replace(call.source, number=number, span=call.span)
    return AbsoluteQuantity(call.source, span=call.span)


@function("log", arguments=1)
def log(call: Invocation) -> Expr:
    return _computed(call, LOG, "decimal")


@function("power", arguments=1)
def power(call: Invocation) -> Expr:
    sides = (call.source, call.argument(0))
    whole = all(one.kind == "integer" for one in sides)
    return _computed(call, INTEGER_POWER if whole else POWER, None)


@function("round", optional=1)
def round_(call: Invocation) -> Expr:
    if not call.arguments:
        return _computed(call, "round(m.x)", "decimal")
    places = call.argument(0)
    if places.kind == "empty":
        return Empty(span=call.span)
    if not isinstance(places, Constant) or not _is_place(places):
        raise call.refused(
            f"needs an integer constant from 0 to {PLACES_MAX}",
            hint="Pass the number of decimal places, such as round(2).",
            code="not_integer",
        )
    return _computed(call, ROUND, "decimal")


def _is_place(constant: Constant) -> bool:
    return constant.kind == "integer" and 0 <= int(constant.text_value) <= PLACES_MAX
