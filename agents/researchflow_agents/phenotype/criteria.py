"""A phenotype as typed criteria: what a patient's record must show, and must not.

A criterion is true, false or undecided for a patient. It is undecided when a record that could
make it true leaves out what the criterion looks at: a birth date of which only the year is known,
a result without a number, a diagnosis without an onset. A cohort holds the patients for whom the
whole phenotype is true; `not` turns true into false and leaves undecided undecided.

Codes count as they are recorded: a record that carries no code of the criterion's system counts
as not having it. Text is matched in part only where `text_contains` says so.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

CODES_MAX = 500
CRITERIA_MAX = 50
AGE_MAX = 150

ClinicalStatus = Literal["active", "recurrence", "relapse", "inactive", "remission", "resolved"]
Gender = Literal["male", "female", "other", "unknown"]
Comparison = Literal["eq", "ne", "lt", "le", "gt", "ge"]

_ICD10 = re.compile(r"[A-Z][0-9][0-9A-Z](\.[0-9A-Z]{1,4})?")
_PARTIAL_DATE = r"^\d{4}(-\d\d(-\d\d)?)?$"


def _as_list(value: Any) -> Any:
    """One value where a list of them may stand."""
    return [value] if isinstance(value, str) else value


PartialDate = Annotated[str, StringConstraints(pattern=_PARTIAL_DATE)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Codes = Annotated[tuple[Text, ...], BeforeValidator(_as_list), Field(max_length=CODES_MAX)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=120)]
Age = Annotated[int, Field(ge=0, le=AGE_MAX)]


class Strict(BaseModel):
    """Frozen, and nothing beyond its fields: an unknown key would be a condition not applied."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Last(Strict):
    """A period that ends on the phenotype's day."""

    years: int = Field(default=0, ge=0, le=200)
    months: int = Field(default=0, ge=0, le=2_400)
    days: int = Field(default=0, ge=0, le=73_000)

    @model_validator(mode="after")
    def _is_some_time(self) -> Last:
        if not (self.years or self.months or self.days):
            raise ValueError("give years, months or days")
        return self


class Window(Strict):
    """Dates from and until, both included; `2020` as until means its last day.

    What lasts, as a procedure may, is dated by its start.
    """

    since: PartialDate | None = Field(default=None, alias="from")
    until: PartialDate | None = None
    last: Last | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Window:
        if self.last is not None and self.since is not None:
            raise ValueError("give last or from, not both")
        if self.last is None and self.since is None and self.until is None:
            raise ValueError("give from, until or last")
        return self


class _Criterion(Strict):
    label: Label | None = Field(default=None, description="Its name in attrition and errors")


class Demographics(_Criterion):
    """A patient as recorded; every field given must hold.

    Ages are completed years, both bounds included: `age_max` 64 is "under 65". They are told for
    the phenotype's day unless `age_on` names another one.
    """

    kind: Literal["demographics"]
    gender: Annotated[tuple[Gender, ...], BeforeValidator(_as_list)] = ()
    age_min: Age | None = None
    age_max: Age | None = None
    age_on: date | None = None
    birth_date: Window | None = None
    deceased: bool | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Demographics:
        has_age = self.age_min is not None or self.age_max is not None
        if not (self.gender or has_age or self.birth_date or self.deceased is not None):
            raise ValueError("give gender, an age, birth_date or deceased")
        if self.age_on is not None and not has_age:
            raise ValueError("age_on needs age_min or age_max")
        if self.age_min is not None and self.age_max is not None and self.age_min > self.age_max:
            raise ValueError("age_min is above age_max")
        if self.birth_date is not None and self.birth_date.last is not None:
            raise ValueError("birth_date takes from and until")
        return self


class Condition(_Criterion):
    """A condition that is neither refuted nor entered in error, with one of the codes.

    `prefix` takes ICD-10 codes with all below them, E11 with E11.9. It ignores case, as no two
    codes of ICD-10 differ in case alone.
    """

    kind: Literal["condition"]
    system: Literal["icd10", "snomed"] | None = None
    codes: Codes = ()
    prefix: bool = False
    any: bool = Field(default=False, description="Every coded condition, instead of codes")
    clinical_status: Annotated[tuple[ClinicalStatus, ...], BeforeValidator(_as_list)] = ()
    onset: Window | None = None

    @model_validator(mode="after")
    def _codes_fit(self) -> Condition:
        _either(self.any, bool(self.codes), "codes")
        if bool(self.codes) != (self.system is not None):
            raise ValueError("system and codes go together")
        if self.prefix and self.system != "icd10":
            raise ValueError("prefix needs system icd10: other codes have no order by prefix")
        if self.system == "icd10" and not all(_ICD10.fullmatch(code) for code in self.codes):
            raise ValueError("ICD-10 codes are written like E11 or E11.9, in capitals")
        if self.system == "snomed" and not all(code.isdecimal() for code in self.codes):
            raise ValueError("SNOMED CT codes are digits")
        return self


class Threshold(Strict):
    """A comparison of a result's number, in one unit; decimals as text keep every digit."""

    op: Comparison
    value: Annotated[Decimal, Field(allow_inf_nan=False)]


class Lab(_Criterion):
    """At least `min_count` laboratory results with the LOINC code, each in the window and range.

    A range needs `unit`, written as in the records; `same_unit` lists other spellings of it.
    Results in any other unit refuse the phenotype, or with `other_units: undecided` decide nothing.
    """

    kind: Literal["lab"]
    codes: Annotated[Codes, Field(min_length=1)]
    value: Annotated[tuple[Threshold, ...], Field(max_length=4)] = ()
    unit: Text | None = None
    same_unit: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    other_units: Literal["refuse", "undecided"] = "refuse"
    window: Window | None = None
    min_count: int = Field(default=1, ge=1, le=1_000)

    @model_validator(mode="after")
    def _unit_fits(self) -> Lab:
        if bool(self.value) != (self.unit is not None):
            raise ValueError("value and unit go together")
        if self.unit is None and (self.same_unit or self.other_units != "refuse"):
            raise ValueError("same_unit and other_units need unit")
        return self

    @property
    def units(self) -> tuple[str, ...]:
        """Every spelling that counts as the unit."""
        return () if self.unit is None else (self.unit, *self.same_unit)


class Medication(_Criterion):
    """At least `min_count` prescriptions: active, completed, on hold or stopped.

    By RxNorm `codes`, by the whole text or display in `text`, by a part of it in `text_contains`
    (ignoring case), or any of these; `any` takes every prescription.
    """

    kind: Literal["medication"]
    codes: Codes = ()
    text: Codes = ()
    text_contains: Annotated[Codes, Field(max_length=20)] = ()
    any: bool = Field(default=False, description="Every prescription, instead of codes or text")
    window: Window | None = None
    min_count: int = Field(default=1, ge=1, le=1_000)

    @model_validator(mode="after")
    def _says_which(self) -> Medication:
        named = bool(self.codes or self.text or self.text_contains)
        _either(self.any, named, "codes, text or text_contains")
        return self


class Procedure(_Criterion):
    """A procedure that is completed or in progress, with one of the codes."""

    kind: Literal["procedure"]
    system: Literal["cpt", "snomed"] | None = None
    codes: Codes = ()
    any: bool = Field(default=False, description="Every procedure, instead of codes")
    window: Window | None = None

    @model_validator(mode="after")
    def _codes_fit(self) -> Procedure:
        _either(self.any, bool(self.codes), "codes")
        if bool(self.codes) != (self.system is not None):
            raise ValueError("system and codes go together")
        return self


class AllOf(_Criterion):
    """True when every criterion is."""

    all_of: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=CRITERIA_MAX)]


class AnyOf(_Criterion):
    """True when at least one criterion is."""

    any_of: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=CRITERIA_MAX)]


class Not(_Criterion):
    """True when the criterion is false; undecided when that is undecided."""

    not_: Criterion = Field(alias="not")


def _kind(value: Any) -> str | None:
    """The variant a raw criterion means."""
    if not isinstance(value, dict):
        return type(value).__name__.lower()
    for key, kind in (("all_of", "allof"), ("any_of", "anyof"), ("not", "not"), ("not_", "not")):
        if key in value:
            return kind
    return value.get("kind") if isinstance(value.get("kind"), str) else None


Leaf: TypeAlias = Demographics | Condition | Lab | Medication | Procedure
Criterion: TypeAlias = Annotated[
    Annotated[Demographics, Tag("demographics")]
    | Annotated[Condition, Tag("condition")]
    | Annotated[Lab, Tag("lab")]
    | Annotated[Medication, Tag("medication")]
    | Annotated[Procedure, Tag("procedure")]
    | Annotated[AllOf, Tag("allof")]
    | Annotated[AnyOf, Tag("anyof")]
    | Annotated[Not, Tag("not")],
    Discriminator(_kind),
]


class Phenotype(Strict):
    """A cohort: patients of patient_demographics for whom every criterion is true.

    `on` fixes the day for which ages and `last` are told; without it that is the UTC day of the
    anchor's `data_as_of`, or today's in a live answer.
    """

    title: Text
    description: str = ""
    on: date | None = None
    all_of: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=CRITERIA_MAX)]


def _either(every: bool, named: bool, fields: str) -> None:
    if every == named:
        raise ValueError(f"give {fields}, or any: true for every one; not both")


for _model in (AllOf, AnyOf, Not, Phenotype):
    _model.model_rebuild()
