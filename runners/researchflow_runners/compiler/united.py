"""The one column that the branches of a union have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace

from researchflow_runners.compiler.column import RELATION_TAGS, Column, related
from researchflow_runners.compiler.types import kind_of_type

#: Kinds whose FHIR types specialise one another: a code is a string, a positiveInt an integer.
GENERAL_TYPES = {"string": "string", "integer": "integer"}


@dataclass(frozen=True, slots=True)
class Offer:
    """A branch's column; `declared` says that the definition names its type."""

    column: Column
    declared: bool


def united(first: Offer, other: Offer) -> Offer | None:
    """The column for the rows of both branches; None when name, type or collection differ.

    Types that are only inferred agree when they specialise the same one: without a word about
    types, codes and strings make a column of strings. A declared type wins over an inferred one.
    """
    one, two = first.column, other.column
    if _shape(one) != _shape(two):
        return None
    # What is the key in one branch only is a value like any other.
    both = replace(one, is_key=one.is_key and two.is_key)
    both = replace(both, key_of=one.key_of if one.key_of == two.key_of else None)
    both = replace(both, event=one.event if one.event == two.event else None)
    both = replace(both, element=one.element if one.element == two.element else None)
    both = related(both, {name: getattr(one, name) for name in _shared_relations(one, two)})
    if one.fhir_type == two.fhir_type:
        return Offer(both, first.declared or other.declared)
    kind = kind_of_type(one.fhir_type)
    agree = kind in GENERAL_TYPES and kind == kind_of_type(two.fhir_type)
    if not agree or (first.declared and other.declared):
        return None
    if first.declared:
        return Offer(both, True)
    fhir_type = two.fhir_type if other.declared else GENERAL_TYPES[kind]
    return Offer(replace(both, fhir_type=fhir_type), other.declared)


def _shared_relations(one: Column, two: Column) -> list[str]:
    return [name for name in RELATION_TAGS.values() if getattr(one, name) == getattr(two, name)]


def _shape(column: Column) -> Column:
    """The column without what branches need not share."""
    plain = replace(column, fhir_type="", description=None, system=None, is_key=False, key_of=None)
    plain = replace(plain, event=None, element=None)
    return related(plain, {})
