"""The value sets that a ViewDefinition carries with it, in `contained`.

They are dated with the definition, so what is a member today is one tomorrow. The members are
those that are listed: in the expansion, or else in the compose. A definition that needs a
terminology server, because it filters a code system or imports another value set, is refused.
Versions of code systems are not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from researchflow_runners.errors import FhirPathError, ViewDefinitionError

MEMBERS_MAX = 10_000
#: Extensions by which a server says that an expansion does not list every member.
NOT_CLOSED = frozenset(
    {
        "http://hl7.org/fhir/StructureDefinition/valueset-unclosed",
        "http://hl7.org/fhir/StructureDefinition/valueset-toocostly",
    }
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Extension(_Part):
    url: StrictStr
    valueBoolean: StrictBool | None = None


class _Concept(_Part):
    code: StrictStr = Field(min_length=1)


class _Set(_Part):
    """One `include` or `exclude`."""

    system: StrictStr | None = None
    concept: list[_Concept] = Field(default_factory=list)
    filter: list[Any] = Field(default_factory=list)
    valueSet: list[Any] = Field(default_factory=list)


class _Compose(_Part):
    inactive: StrictBool | None = None
    include: list[_Set] = Field(min_length=1)
    exclude: list[_Set] = Field(default_factory=list)


class _Contains(_Part):
    system: StrictStr | None = None
    abstract: StrictBool = False
    code: StrictStr | None = Field(default=None, min_length=1)
    contains: list[Any] = Field(default_factory=list)


class _Expansion(_Part):
    extension: list[_Extension] = Field(default_factory=list)
    total: StrictInt | None = None
    offset: StrictInt = 0
    contains: list[Any] = Field(default_factory=list)


class _ValueSet(_Part):
    id: StrictStr | None = None
    url: StrictStr | None = None
    version: StrictStr | None = None
    compose: _Compose | None = None
    expansion: _Expansion | None = None


@dataclass(frozen=True)
class Members:
    """Pairs of system and code; `systems` are those of which every code but `excluded` is one."""

    codes: frozenset[tuple[str, str]]
    systems: frozenset[str] = frozenset()
    excluded: frozenset[tuple[str, str]] = frozenset()

    @property
    def all_systems(self) -> frozenset[str]:
        """Every code system that has a member."""
        return self.systems | {system for system, _code in self.codes}


@dataclass(frozen=True)
class ValueSet:
    """A value set as it stands in the ViewDefinition; `place` is where."""

    place: str
    content: _ValueSet = field(repr=False)

    def references(self) -> Iterator[str]:
        """What an expression may call it."""
        if self.content.id:
            yield f"#{self.content.id}"
        if self.content.url:
            yield self.content.url
            if self.content.version:
                yield f"{self.content.url}|{self.content.version}"

    def members(self) -> Members:
        """Its members.

        Raises FhirPathError `unsupported_value_set` when they are not all listed, and
        `value_set_too_large`.
        """
        if self.content.expansion is not None:
            found = Members(frozenset(self._expanded(self.content.expansion)))
        elif self.content.compose is not None:
            found = self._composed(self.content.compose)
        else:
            raise self._refused("it has neither an expansion nor a compose")
        if len(found.codes) + len(found.excluded) > MEMBERS_MAX:
            raise self._too_large()
        return found

    def _expanded(self, expansion: _Expansion) -> Iterator[tuple[str, str]]:
        """Every code that may be chosen, inactive ones too; what is abstract only groups others."""
        if any(one.url in NOT_CLOSED and one.valueBoolean for one in expansion.extension):
            raise self._refused("its expansion does not list every member")
        waiting, seen = list(expansion.contains), 0
        while waiting:
            one = _checked(_Contains, waiting.pop(), f"{self.place}.expansion.contains")
            seen += 1
            if seen > MEMBERS_MAX:
                raise self._too_large()
            waiting.extend(one.contains)
            if one.code is not None and not one.abstract:
                yield one.system or "", one.code
        if expansion.offset or (expansion.total is not None and expansion.total > seen):
            raise self._refused("its expansion is one page of several")

    def _composed(self, compose: _Compose) -> Members:
        if compose.inactive is False:
            raise self._refused("which of its codes are inactive is not known ('inactive')")
        included, excluded = self._listed(compose.include), self._listed(compose.exclude)
        codes = {
            one
            for one in included.codes
            if one not in excluded.codes and one[0] not in excluded.systems
        }
        systems = included.systems - excluded.systems
        kept = {one for one in excluded.codes if one[0] in systems}
        return Members(frozenset(codes), systems, frozenset(kept))

    def _listed(self, sets: Sequence[_Set]) -> Members:
        codes: set[tuple[str, str]] = set()
        systems: set[str] = set()
        for one in sets:
            if one.filter:
                raise self._refused("it filters a code system ('filter')")
            if one.valueSet:
                raise self._refused("it imports another value set ('valueSet')")
            if not one.system:
                raise self._refused("it lists codes without a system")
            if one.concept:
                codes.update((one.system, concept.code) for concept in one.concept)
            else:
                systems.add(one.system)
        return Members(frozenset(codes), frozenset(systems))

    def _refused(self, why: str) -> FhirPathError:
        return FhirPathError(
            f"the value set '{self._name()}' cannot be used: {why}",
            code="unsupported_value_set",
            hint="Contain its complete expansion, as a terminology server's $expand gives it.",
        )

    def _too_large(self) -> FhirPathError:
        return FhirPathError(
            f"the value set '{self._name()}' has more than {MEMBERS_MAX} codes",
            code="value_set_too_large",
            hint="Name a smaller value set, or the code system as a whole.",
        )

    def _name(self) -> str:
        return next(self.references(), self.place)


def parse_value_sets(contained: Sequence[Mapping[str, Any]]) -> dict[str, ValueSet]:
    """The contained value sets by everything they may be called.

    Raises ViewDefinitionError `invalid_value_set` and `duplicate_value_set`.
    """
    found: dict[str, ValueSet] = {}
    for number, resource in enumerate(contained):
        if resource.get("resourceType") != "ValueSet":
            continue
        place = f"contained[{number}]"
        value_set = ValueSet(place, _checked(_ValueSet, resource, place))
        for reference in value_set.references():
            if reference in found:
                raise ViewDefinitionError(
                    f"two contained value sets are called '{reference}'",
                    code="duplicate_value_set",
                    field=place,
                    hint="Keep one of them, or give each its own id and url.",
                )
            found[reference] = value_set
    return found


_Shape = TypeVar("_Shape", bound=_Part)


def _checked(shape: type[_Shape], raw: Any, place: str) -> _Shape:
    try:
        return shape.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        within = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in first["loc"])
        raise ViewDefinitionError(
            f"'{place}{within}' is not as FHIR has it: {first['msg'].lower()}",
            code="invalid_value_set",
            field=f"{place}{within}",
            hint="Correct the contained ValueSet.",
        ) from error
