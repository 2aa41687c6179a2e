r"""`toInteger()` and its like from one primitive type to another, and `convertsToInteger()`.

What does not convert is empty, and `convertsTo…()` tells whether it does; both take one item.
Strings convert as FHIRPath 2.0, section 5.5, writes them: integers as `(\+|-)?\d+` within 32 bits,
decimals as `(\+|-)?\d+(\.\d+)?`, dates and times to any precision and only when the calendar has
them. A Time has no offset, so a text with one is no Time. Where FHIRPath defines no conversion
between two types, `to…()` is refused and `convertsTo…()` is false.
"""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Form
from researchflow_runners.compiler.nodes import Empty
from researchflow_runners.compiler.operators.logic import BooleanExpr
from researchflow_runners.compiler.operators.subsetting import single_of
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.types import NUMBERS, Kind, Types, system_type
from researchflow_runners.sql import Sql, compose, fixed

FORMS: dict[str, Form] = {"integer": "integer", "decimal": "numeric", "boolean": "boolean"}

DAY = "(?!0000)[0-9]{{4}}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01])%s)?)?"
TIME = r"([01][0-9]|2[0-3])(:[0-5][0-9](:[0-5][0-9](\.[0-9]+)?)?)?"
OFFSET = "(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))?"
#: The pattern knows no lengths of months: the day, counted from the first, stays in its month.
REAL_DAY = """CASE WHEN length(b.t) < 10 THEN b.t
 WHEN to_char(make_date(left(b.t, 4)::integer, substr(b.t, 6, 2)::integer, 1)
 + (substr(b.t, 9, 2)::integer - 1), 'MM') = substr(b.t, 6, 2) THEN b.t END"""
FROM_TEXT = " FROM (SELECT {} AS t OFFSET 0) AS b)"
TEXT_TO: dict[str, str] = {
    "boolean": "(SELECT CASE WHEN lower(b.t) IN ('true', 't', 'yes', 'y', '1', '1.0') THEN true"
    " WHEN lower(b.t) IN ('false', 'f', 'no', 'n', '0', '0.0') THEN false END",
    # The nesting keeps text that is no number, or no small one, away from the casts.
    "integer": "(SELECT CASE WHEN b.t ~ '^[+-]?0*[0-9]{{1,10}}$' THEN CASE WHEN b.t::numeric"
    " BETWEEN -2147483648 AND 2147483647 THEN b.t::integer END END",
    "decimal": r"(SELECT CASE WHEN b.t ~ '^[+-]?[0-9]+(\.[0-9]+)?$' THEN b.t::numeric END",
    "date": f"(SELECT CASE WHEN b.t ~ '^{DAY % ''}$' THEN {REAL_DAY} END",
    "dateTime": f"(SELECT CASE WHEN b.t ~ '^{DAY % f'(T{TIME}{OFFSET})?'}$' THEN {REAL_DAY} END",
    "time": f"(SELECT CASE WHEN b.t ~ '^{TIME}$' THEN b.t END",
}
#: FHIR type → kinds that convert to it and how; `{}` is a value of the same kind.
CONVERSIONS: dict[str, dict[Kind, str]] = {
    "boolean": {
        "boolean": "{}",
        "integer": "(CASE {} WHEN 1 THEN true WHEN 0 THEN false END)",
        "decimal": "(CASE {} WHEN 1 THEN true WHEN 0 THEN false END)",
    },
    "integer": {"integer": "{}", "boolean": "({})::integer"},
    "decimal": {
        "decimal": "{}",
        "integer": "({})::numeric",
        "boolean": "(CASE {} WHEN true THEN 1.0 WHEN false THEN 0.0 END)",
    },
    "date": {"date": "{}", "dateTime": "left({}, 10)"},
    "dateTime": {"dateTime": "{}", "date": "{}"},
    "time": {"time": "{}"},
}
for _type_name, _template in TEXT_TO.items():
    CONVERSIONS[_type_name]["string"] = _template + FROM_TEXT


@dataclass(frozen=True)
class Converted(Expr):
    """The one item of the source as another type."""

    source: Expr
    target: str

    @property
    def types(self) -> Types:
        return (system_type(self.target),)

    @property
    def form(self) -> Form:
        return FORMS.get(self.target, "text")

    def value(self) -> Sql:
        return compose(CONVERSIONS[self.target][self.source.kind], _native(self.source))


@dataclass(frozen=True)
class Convertible(BooleanExpr):
    """Whether the one item of the source converts; `target` None means that none does."""

    source: Expr
    target: str | None

    def value(self) -> Sql:
        template = "NULL" if self.target is None else CONVERSIONS[self.target][self.source.kind]
        return compose(
            "(SELECT CASE WHEN c.t IS NOT NULL THEN ({}) IS NOT NULL END"
            " FROM (SELECT {} AS t OFFSET 0) AS c)",
            compose(template, fixed("c.t")),
            _native(self.source),
        )


def _native(source: Expr) -> Sql:
    if source.kind == "boolean":
        return source.boolean()
    return source.numeric() if source.kind in NUMBERS else source.text()


def _check_primitive(call: Invocation) -> None:
    if call.source.kind == "mixed":
        raise call.refused("needs one type of value", hint="Narrow the choice with ofType() first.")
    if call.source.kind in ("complex", "quantity"):
        raise call.refused("converts primitive values only", hint="Select one element of it.")


def _conversion(name: str, target: str) -> None:
    conversions = CONVERSIONS[target]

    @function(f"to{name}")
    def convert(call: Invocation) -> Expr:
        _check_primitive(call)
        kind = call.source.kind
        if kind == "empty":
            return Empty(span=call.span)
        if kind not in conversions:
            hint = f"FHIRPath converts {', '.join(sorted(conversions))} to {target}"
            hint += (
                "; use truncate() or round()." if (kind, target) == ("decimal", "integer") else "."
            )
            raise call.refused(f"cannot convert {kind}", hint=hint, code="not_convertible")
        if kind == target:
            return single_of(call.source, call.span)
        return Converted(call.source, target, span=call.span)

    @function(f"convertsTo{name}")
    def converts(call: Invocation) -> Expr:
        _check_primitive(call)
        if call.source.kind == "empty":
            return Empty(span=call.span)
        possible = call.source.kind in conversions
        return Convertible(call.source, target if possible else None, span=call.span)


for _name in ("Boolean", "Integer", "Decimal", "Date", "DateTime", "Time"):
    _conversion(_name, _name[0].lower() + _name[1:])


@function("convertsToString")
def converts_to_string(call: Invocation) -> Expr:
    if call.source.kind != "quantity":
        _check_primitive(call)
    if call.source.kind == "empty":
        return Empty(span=call.span)
    return IsThere(call.source, span=call.span)


@dataclass(frozen=True)
class IsThere(BooleanExpr):
    """True of the one item there is."""

    source: Expr

    def value(self) -> Sql:
        return compose("(CASE WHEN {} IS NOT NULL THEN true END)", self.source.text())
