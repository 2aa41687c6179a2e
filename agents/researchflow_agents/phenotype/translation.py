"""Criteria as filters of `query_view`: pure, and told the day for which ages are counted.

What each kind reads: condition_codes, every coding of every condition, so that a second coding is
not missed; observation_labs; medication_requests; procedure_history; patient_demographics. Their
descriptions say which resources they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from researchflow_agents.phenotype.criteria import (
    AllOf,
    AnyOf,
    Condition,
    Criterion,
    Demographics,
    Lab,
    Last,
    Leaf,
    Medication,
    Not,
    Procedure,
    Window,
)
from researchflow_agents.phenotype.dates import earlier, years_before
from researchflow_agents.phenotype.truth import (
    Rows,
    Test,
    Truth,
    all_of,
    any_of,
    denied,
    every,
    one_of,
    patient_truth,
    record_truth,
    some,
)
from researchflow_server.contract import Compare, Filter

CONDITIONS = "condition_codes"
LABS = "observation_labs"
MEDICATIONS = "medication_requests"
PROCEDURES = "procedure_history"

ICD10_SYSTEMS = ("http://hl7.org/fhir/sid/icd-10-cm", "http://hl7.org/fhir/sid/icd-10")
SNOMED_SYSTEM = "http://snomed.info/sct"
NO_CONDITION = ("refuted", "entered-in-error")


def truth_of(criterion: Criterion, *, on: date) -> Truth:
    """The criterion as filters over patient_demographics."""
    if isinstance(criterion, Not):
        return truth_of(criterion.not_, on=on).opposite()
    if isinstance(criterion, AllOf):
        return every([truth_of(part, on=on) for part in criterion.all_of])
    if isinstance(criterion, AnyOf):
        return some([truth_of(part, on=on) for part in criterion.any_of])
    if isinstance(criterion, Demographics):
        return _demographics(criterion, on=on)
    return record_truth(rows_of(criterion, on=on))


def rows_of(criterion: Condition | Lab | Medication | Procedure, *, on: date) -> Rows:
    """The records that a criterion counts."""
    if isinstance(criterion, Condition):
        return _conditions(criterion, on=on)
    if isinstance(criterion, Lab):
        return _labs(criterion, on=on)
    if isinstance(criterion, Medication):
        return _medications(criterion, on=on)
    return Rows(
        PROCEDURES,
        base=(one_of(procedure_column(criterion), criterion.codes),) if criterion.codes else (),
        tests=_within(criterion.window, ("performed_datetime", "performed_period_start"), on=on),
    )


def leaves(criteria: Sequence[Criterion]) -> list[Leaf]:
    """The criteria that are not composed of others, in reading order."""
    found: list[Leaf] = []
    for criterion in criteria:
        if isinstance(criterion, AllOf):
            found += leaves(criterion.all_of)
        elif isinstance(criterion, AnyOf):
            found += leaves(criterion.any_of)
        elif isinstance(criterion, Not):
            found += leaves([criterion.not_])
        else:
            found.append(criterion)
    return found


def procedure_column(criterion: Procedure) -> str:
    """The column that holds the codes of the criterion's system."""
    return "cpt_code" if criterion.system == "cpt" else "snomed_code"


def condition_system(criterion: Condition) -> Compare:
    """The coding is of the criterion's system."""
    systems = ICD10_SYSTEMS if criterion.system == "icd10" else (SNOMED_SYSTEM,)
    return one_of("system", systems)


def condition_codes(criterion: Condition) -> Filter:
    """The coding's code is one of the criterion's."""
    if not criterion.prefix:
        return one_of("code", criterion.codes)
    return any_of(
        [Compare(column="code", op="starts_with", value=code) for code in criterion.codes]
    )


def _conditions(criterion: Condition, *, on: date) -> Rows:
    real = any_of(
        [
            Compare(column="verification_status", op="is_null"),
            Compare(column="verification_status", op="not_in", value=list(NO_CONDITION)),
        ]
    )
    coded = (condition_system(criterion), condition_codes(criterion)) if criterion.codes else ()
    statuses = criterion.clinical_status
    status = (Test.of(one_of("clinical_status", statuses)),) if statuses else ()
    onset = _within(criterion.onset, ("onset_datetime",), on=on)
    return Rows(CONDITIONS, base=(real, *coded), tests=(*status, *onset))


def _labs(criterion: Lab, *, on: date) -> Rows:
    return Rows(
        LABS,
        base=(one_of("code", criterion.codes),),
        tests=(
            *_in_range(criterion),
            *_within(criterion.window, ("effective_datetime", "effective_period_start"), on=on),
        ),
        rows_min=criterion.min_count,
    )


def _in_range(criterion: Lab) -> tuple[Test, ...]:
    """A number in another unit neither passes nor fails."""
    if not criterion.value:
        return ()
    unit = one_of("value_unit", criterion.units)
    compared = all_of(
        [
            Compare(column="value_quantity", op=test.op, value=str(test.value))
            for test in criterion.value
        ]
    )
    return (Test(all_of([unit, compared]), all_of([unit, denied(compared)])),)


def _medications(criterion: Medication, *, on: date) -> Rows:
    named: list[Filter] = []
    if criterion.codes:
        named.append(one_of("medication_code", criterion.codes))
    for column in ("medication_text", "medication_display"):
        if criterion.text:
            named.append(one_of(column, criterion.text))
        named += [
            Compare(column=column, op="contains", value=part) for part in criterion.text_contains
        ]
    return Rows(
        MEDICATIONS,
        base=(any_of(named),) if named else (),
        tests=_within(criterion.window, ("authored_on",), on=on),
        rows_min=criterion.min_count,
    )


def _demographics(criterion: Demographics, *, on: date) -> Truth:
    tests: list[Filter] = []
    if criterion.gender:
        tests.append(one_of("gender", criterion.gender))
    if criterion.deceased is not None:
        tests.append(Compare(column="deceased", op="eq", value=criterion.deceased))
    day = criterion.age_on or on
    if criterion.age_min is not None:
        born = years_before(day, criterion.age_min)
        tests.append(Compare(column="birth_date", op="le", value=born.isoformat()))
    if criterion.age_max is not None:
        born = years_before(day, criterion.age_max + 1)
        tests.append(Compare(column="birth_date", op="gt", value=born.isoformat()))
    tests += [test.passes for test in _within(criterion.birth_date, ("birth_date",), on=on)]
    # `deceased` is never missing in the view; gender and birth date may be.
    decided = all(isinstance(test, Compare) and test.column == "deceased" for test in tests)
    return patient_truth(tests, decided=decided)


def _within(window: Window | None, columns: Sequence[str], *, on: date) -> tuple[Test, ...]:
    """That the date lies in the window; of several columns a record fills at most one.

    So it fails when the filled one lies outside, whatever is unknown about the empty one.
    """
    if window is None:
        return ()
    inside = [all_of(_bounds(window, column, on=on)) for column in columns]
    return (Test(any_of(inside), any_of([denied(each) for each in inside])),)


def _bounds(window: Window, column: str, *, on: date) -> list[Filter]:
    bounds: list[Filter] = []
    since = _begin(window.last, on=on) if window.last else window.since
    until = window.until or (on.isoformat() if window.last else None)
    if since:
        bounds.append(Compare(column=column, op="ge", value=since))
    if until:
        bounds.append(Compare(column=column, op="le", value=until))
    return bounds


def _begin(last: Last, *, on: date) -> str:
    day = earlier(on, years=last.years, months=last.months, days=last.days)
    return day.isoformat()
