"""`memberOf(valueset)`: whether a code, Coding or CodeableConcept is in a contained value set.

A Coding is by system and code, a CodeableConcept by any of its codings. A bare code or string
says no system, so its value set must have one only. Several items are no member and no other:
the result is empty (FHIR R4, section 2.9.4).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from researchflow_runners.compiler.expr import Expr, Requirement
from researchflow_runners.compiler.nodes import Empty
from researchflow_runners.compiler.operators.logic import BooleanExpr
from researchflow_runners.compiler.registry import Invocation, function
from researchflow_runners.compiler.value_sets import Members
from researchflow_runners.errors import FhirPathError
from researchflow_runners.naming import nearest
from researchflow_runners.sql import Sql, compose, fixed, param

#: Between system and code; FHIR allows no control character in either.
SEPARATOR = "\x1f"
#: The codes of a small value set are worth looking for in a resource's text.
REQUIRED_MAX = 4

ONE = "(SELECT {met} FROM (SELECT {item} AS v OFFSET 0) AS m WHERE m.v IS NOT NULL)"
ONE_OF_MANY = "(SELECT CASE WHEN count(*) = 1 THEN bool_or({met}) END FROM {items} AS m(v))"
OF_CONCEPT = (
    """EXISTS (SELECT FROM jsonb_path_query({concept}, '$."coding"[*]') AS c(v) WHERE {met})"""
)
PAIR = r"(({coding} ->> 'system') || E'\x1f' || ({coding} ->> 'code'))"
OF_SYSTEM = "{coding} ? 'code' AND {coding} ->> 'system' = ANY ({systems})"


@dataclass(frozen=True)
class MemberOf(BooleanExpr):
    """Whether the one item of the source is a member."""

    source: Expr
    members: Members

    def value(self) -> Sql:
        if self.source.many:
            met = self._met(fixed("m.v"))
            return compose(ONE_OF_MANY, met=met, items=self.source.rows())
        if self.source.kind == "string":
            return compose("({} = ANY ({}))", self.source.text(), self._codes())
        return compose(ONE, met=self._met(fixed("m.v")), item=self.source.json())

    def _met(self, item: Sql) -> Sql:
        if self.source.kind == "string":
            return compose("({} #>> '{{}}' = ANY ({}))", item, self._codes())
        if self.source.types == ("Coding",):
            return self._coding(item)
        return compose(OF_CONCEPT, concept=item, met=self._coding(fixed("c.v")))

    def _codes(self) -> Sql:
        return param(sorted(code for _system, code in self.members.codes), "text[]")

    def _coding(self, coding: Sql) -> Sql:
        pair = compose(PAIR, coding=coding)
        listed = compose("{} = ANY ({})", pair, _pairs(self.members.codes))
        if not self.members.systems:
            return compose("coalesce({}, false)", listed)
        systems = param(sorted(self.members.systems), "text[]")
        whole = compose(OF_SYSTEM, coding=coding, systems=systems)
        if self.members.excluded:
            whole = compose("{} AND {} <> ALL ({})", whole, pair, _pairs(self.members.excluded))
        return compose("coalesce({} OR ({}), false)", listed, whole)

    def required(self) -> Requirement:
        codes = frozenset(code for _system, code in self.members.codes)
        if self.members.systems or not codes or not self.source.verbatim:
            return None
        return codes if len(codes) <= REQUIRED_MAX else None


def _pairs(codes: Iterable[tuple[str, str]]) -> Sql:
    return param(sorted(SEPARATOR.join(one) for one in codes), "text[]")


@function("memberOf", arguments=1)
def member_of(call: Invocation) -> Expr:
    members = _members(call)
    if not call.source.types:
        return Empty(span=call.span)
    if call.source.kind == "string":
        _check_one_system(call, members)
    elif call.source.types not in (("Coding",), ("CodeableConcept",)):
        raise call.refused(
            "takes a code, a Coding, a CodeableConcept or a string",
            hint="Narrow a choice element first, such as value.ofType(CodeableConcept).",
            code="not_coded",
        )
    return MemberOf(call.source, members, span=call.span)


def _members(call: Invocation) -> Members:
    """The members of the value set that the argument names."""
    name = call.text_constant(0).text_value
    known = call.scope.value_sets
    if name not in known:
        raise FhirPathError(
            f"unknown value set '{name}'",
            code="unknown_value_set",
            allowed=sorted(known),
            did_you_mean=nearest(name, known),
            hint="Put the ValueSet, with its members listed, into 'contained' of the "
            "ViewDefinition; name it by '#id' or by its url.",
            span=call.span,
        )
    try:
        return known[name].members()
    except FhirPathError as error:
        error.span = call.span
        raise


def _check_one_system(call: Invocation, members: Members) -> None:
    if members.systems or len(members.all_systems) > 1:
        raise call.refused(
            "cannot tell of which code system a bare code is",
            hint="Use it on a Coding or CodeableConcept, or name a value set whose codes are "
            "listed and of one system.",
            code="several_code_systems",
        )
