"""Forty questions as researchers ask them, each one read-only call, against plain Python.

The codes are Synthea's; `raw_chart` answers from the files and shares no code with the product.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from raw_chart import Event, RawChart, by_patient, counted, median, of, people, percentile
from researchflow_runners.source.load import load
from researchflow_server.embedded import Services
from tool_server import ToolServer, module_stores, tool_server

Json = dict[str, Any]
LDL, HDL, TRIGLYCERIDES, SODIUM, GLUCOSE = "18262-6", "2085-9", "2571-8", "2947-0", "2339-0"
HBA1C, CREATININE, EGFR, HEMOGLOBIN, PSA = "4548-4", "38483-4", "33914-3", "718-7", "2857-1"
BMI, WEIGHT, TEMPERATURE, PAIN = "39156-5", "29463-7", "8331-1", "72514-3"
SINUSITIS, OBESITY, PREDIABETES, HYPERTENSION = "444814009", "162864005", "15777000", "38341003"
DIABETES, PREGNANCY, MISCARRIAGE = "44054006", "72892002", "19169002"
ANEMIA, POLYP = "271737000", "68496003"
SIMVASTATIN, HYDROCHLOROTHIAZIDE, CISPLATIN = "316672", "316049", "1736854"
COLONOSCOPY, SPIROMETRY = "73761001", "127783003"
FLU, TETANUS, ZOSTER = "140", "113", "121"
RESPIRATORY_THERAPY, DIABETES_PLAN = "53950000", "698360004"


@dataclass(frozen=True)
class Question:
    """What is asked, the one call, how its rows are read, and what plain Python says."""

    text: str
    call: Json
    answer: Callable[[RawChart], Any]
    read: Callable[[list[list[Any]]], Any]
    tool: str = "query_view"


def is_(column: str, op: str, value: Any) -> Json:
    return {"column": column, "op": op, "value": value}


def code(value: str, column: str = "code") -> Json:
    return is_(column, "eq", value)


def every(*filters: Json) -> Json:
    return {"all_of": list(filters)}


def among(view: str, where: Json, **more: Any) -> Json:
    """Patients who occur there."""
    return {"column": "patient_id", "op": "in", "query": {"view": view, "where": where, **more}}


def fn(called: str, column: str | None = None, /, **more: Any) -> Json:
    return {"fn": called, **({"column": column} if column else {}), **more}


def only(rows: list[list[Any]]) -> Any:
    """The one value of an answer."""
    ((value,),) = rows
    return exact(value)


def exact(value: Any) -> Any:
    """Decimals come as text; a mean is compared to nine places."""
    if isinstance(value, str) and value.replace(".", "", 1).replace("-", "", 1).isdigit():
        return round(Decimal(value), 9)
    return round(Decimal(str(value)), 9) if isinstance(value, float) else value


def pairs(rows: list[list[Any]]) -> dict[Any, Any]:
    """The last column by the first, or by all before it."""
    return {(row[0] if len(row) == 2 else tuple(row[:-1])): exact(row[-1]) for row in rows}


def column(rows: list[list[Any]]) -> list[Any]:
    return [exact(row[0]) for row in rows]


def latest(events: Iterable[Event]) -> dict[str, Event]:
    """The newest of each patient; among equal instants the one with the lowest key."""
    return {
        patient: min((one for one in found if one.at == found[-1].at), key=lambda one: one.id)
        for patient, found in by_patient(events).items()
    }


def earliest(events: Iterable[Event]) -> dict[str, Event]:
    return {patient: found[0] for patient, found in by_patient(events).items()}


def values(events: Iterable[Event]) -> list[Decimal]:
    return [one.value for one in events if one.value is not None]


def close(answered: Decimal) -> Decimal:
    return round(answered, 9)


PER_PATIENT = {"key": "patient_id", "by": "effective_datetime"}


def latest_per(**where: Any) -> Json:
    return {**PER_PATIENT, **where}


QUESTIONS = (
    Question(
        "How many patients have a last LDL above 130?",
        {"view": "observation_labs", "where": code(LDL), "aggregates": [fn("count")],
         "latest_per": latest_per(where=is_("value_quantity", "gt", 130))},
        lambda c: sum(one.value > 130 for one in latest(of(c.labs, LDL)).values()),
        only,
    ),
    Question(
        "The first triglycerides of each patient: their mean.",
        {"view": "observation_labs", "where": code(TRIGLYCERIDES), "first_per": latest_per(),
         "aggregates": [fn("avg", "value_quantity")]},
        lambda c: close(_mean(values(earliest(of(c.labs, TRIGLYCERIDES)).values()))),
        only,
    ),
    Question(
        "Median sodium.",
        {"view": "observation_labs", "where": code(SODIUM),
         "aggregates": [fn("median", "value_quantity")]},
        lambda c: close(median(values(of(c.labs, SODIUM)))),
        only,
    ),
    Question(
        "Lower and upper quartile of glucose.",
        {"view": "observation_labs", "where": code(GLUCOSE),
         "aggregates": [fn("percentile", "value_quantity", p=0.25, name="low"),
                        fn("percentile", "value_quantity", p=0.75, name="high")]},
        lambda c: [close(percentile(values(of(c.labs, GLUCOSE)), Decimal(p))) for p in
                   ("0.25", "0.75")],
        lambda rows: [exact(each) for each in rows[0]],
    ),
    Question(
        "New cases of obesity per year.",
        {"view": "condition_diagnoses", "where": code(OBESITY, "snomed_code"),
         "group_by": [{"column": "onset_datetime", "bucket": "year"}],
         "aggregates": [fn("count")], "limit": 1000},
        lambda c: counted(of(c.conditions, OBESITY), lambda one: f"{one.at.year:04}"),
        pairs,
    ),
    Question(
        "Colonoscopies per decade.",
        {"view": "procedure_history", "where": code(COLONOSCOPY, "snomed_code"),
         "group_by": [{"column": "performed_period_start", "bucket": "decade"}],
         "aggregates": [fn("count")]},
        lambda c: counted(of(c.procedures, COLONOSCOPY), lambda one: f"{one.at.year // 10 * 10}s"),
        pairs,
    ),
    Question(
        "Emergency encounters per month of 2018.",
        {"view": "encounters",
         "where": every(is_("class_code", "eq", "EMER"), is_("period_start", "ge", "2018"),
                        is_("period_start", "lt", "2019")),
         "group_by": [{"column": "period_start", "bucket": "month"}],
         "aggregates": [fn("count")]},
        lambda c: counted(
            (one for one in of(c.encounters, "EMER") if one.at.year == 2018),
            lambda one: f"{one.at:%Y-%m}",
        ),
        pairs,
    ),
    Question(
        "Prescriptions of simvastatin per quarter of 2015 and 2016.",
        {"view": "medication_requests",
         "where": every(code(SIMVASTATIN, "medication_code"), is_("authored_on", "ge", "2015"),
                        is_("authored_on", "lt", "2017")),
         "group_by": [{"column": "authored_on", "bucket": "quarter"}],
         "aggregates": [fn("count")]},
        lambda c: counted(
            (one for one in of(c.medications, SIMVASTATIN) if one.at.year in (2015, 2016)),
            lambda one: f"{one.at.year}-Q{(one.at.month + 2) // 3}",
        ),
        pairs,
    ),
    Question(
        "How many BMI values per 5 kg/m2?",
        {"view": "vital_signs", "where": code(BMI),
         "group_by": [{"column": "value_quantity", "width": 5}], "aggregates": [fn("count")]},
        lambda c: {
            Decimal(low): n
            for low, n in counted(of(c.vitals, BMI), lambda one: one.value // 5 * 5).items()
        },
        lambda rows: {Decimal(str(row[0]).split("-")[0]): row[1] for row in rows},
    ),
    Question(
        "Patients with at least eight hemoglobin results.",
        {"view": "observation_labs", "where": code(HEMOGLOBIN), "group_by": ["patient_id"],
         "aggregates": [fn("count", name="n")], "having": is_("n", "ge", 8), "limit": 1000},
        lambda c: {
            who: len(found)
            for who, found in by_patient(of(c.labs, HEMOGLOBIN)).items()
            if len(found) >= 8
        },
        pairs,
    ),
    Question(
        "Codes of procedures that more than a hundred patients had.",
        {"view": "procedure_history", "group_by": ["snomed_code"],
         "aggregates": [fn("count_distinct", "patient_id", name="n")],
         "having": is_("n", "gt", 100), "limit": 1000},
        lambda c: {
            key: n
            for key, n in _patients_of(c.procedures).items()
            if n > 100
        },
        pairs,
    ),
    Question(
        "The spread of HDL by sex: sample standard deviation of women.",
        {"view": "observation_labs",
         "where": every(code(HDL), among("patient_simple", is_("gender", "eq", "female"),
                                         column="id")),
         "aggregates": [fn("stddev", "value_quantity")]},
        lambda c: _deviation(values(
            one for one in of(c.labs, HDL) if c.gender(one.patient) == "female"
        )),
        lambda rows: round(float(rows[0][0]), 6),
    ),
    Question(
        "Women whose last hemoglobin is below 12.",
        {"view": "patient_simple", "aggregates": [fn("count")],
         "where": every(is_("gender", "eq", "female"), {
             "column": "id", "op": "in",
             "query": {"view": "observation_labs", "where": code(HEMOGLOBIN),
                       "latest_per": latest_per(where=is_("value_quantity", "lt", 12))}})},
        lambda c: sum(
            one.value < 12 and c.gender(who) == "female"
            for who, one in latest(of(c.labs, HEMOGLOBIN)).items()
        ),
        only,
    ),
    Question(
        "Patients with a lipid value in the 60 days before the first simvastatin.",
        {"view": "observation_labs",
         "where": every(code(LDL), {"column": "patient_id", "within": {
             "days": 60, "side": "before",
             "of": {"view": "medication_requests", "which": "first",
                    "where": code(SIMVASTATIN, "medication_code")}}}),
         "aggregates": [fn("count_distinct", "patient_id")]},
        lambda c: len(_within(of(c.labs, LDL), earliest(of(c.medications, SIMVASTATIN)), -60, 0)),
        only,
    ),
    Question(
        "Patients with a PSA in the year after their first colonoscopy.",
        {"view": "observation_labs",
         "where": every(code(PSA), {"column": "patient_id", "within": {
             "days": 365, "side": "after",
             "of": {"view": "procedure_history", "which": "first",
                    "where": code(COLONOSCOPY, "snomed_code")}}}),
         "aggregates": [fn("count_distinct", "patient_id")]},
        lambda c: len(_within(of(c.labs, PSA), earliest(of(c.procedures, COLONOSCOPY)), 0, 365)),
        only,
    ),
    Question(
        "Emergency visits within 30 days of the last tetanus vaccine, either side.",
        {"view": "encounters",
         "where": every(is_("class_code", "eq", "EMER"), {"column": "patient_id", "within": {
             "days": 30, "side": "either",
             "of": {"view": "immunizations", "which": "last",
                    "where": code(TETANUS, "vaccine_code")}}}),
         "aggregates": [fn("count_distinct", "patient_id")]},
        lambda c: len(_within(of(c.encounters, "EMER"), latest(of(c.immunizations, TETANUS)),
                              -30, 30)),
        only,
    ),
    Question(
        "Patients with at least two of obesity, prediabetes, hypertension and anemia.",
        {"view": "patient_simple", "aggregates": [fn("count")],
         "where": {"at_least": {"n": 2, "of": [
             {"column": "id", "op": "in",
              "query": {"view": "condition_simple", "where": code(each, "snomed_code")}}
             for each in (OBESITY, PREDIABETES, HYPERTENSION, ANEMIA)]}}},
        lambda c: sum(
            n >= 2
            for n in Counter(
                who
                for each in (OBESITY, PREDIABETES, HYPERTENSION, ANEMIA)
                for who in people(of(c.conditions, each))
            ).values()
        ),
        only,
    ),
    Question(
        "Vaccinated against zoster in the five years before the newest vaccination.",
        {"view": "immunizations",
         "where": every(code(ZOSTER, "vaccine_code"),
                        is_("occurrence_datetime", "ge", "newest-5y")),
         "aggregates": [fn("count_distinct", "patient_id")]},
        lambda c: len(people(
            one for one in of(c.immunizations, ZOSTER)
            if one.at.date() >= _years_before(max(each.at for each in c.immunizations), 5)
        )),
        only,
    ),
    Question(
        "Alive, and no encounter in the last two years of the data.",
        {"view": "patient_demographics", "aggregates": [fn("count")],
         "where": every(is_("deceased", "eq", False), {
             "column": "id", "op": "not_in",
             "query": {"view": "encounters", "where": is_("period_start", "ge", "newest-2y")}})},
        lambda c: len({who for who in c.patients if c.died(who) is None} - people(
            one for one in c.encounters
            if one.at.date() >= _years_before(max(each.at for each in c.encounters), 2)
        )),
        only,
    ),
    Question(
        "Median age at the diagnosis of prediabetes.",
        {"view": "condition_diagnoses", "where": code(PREDIABETES, "snomed_code"),
         "aggregates": [fn("median", age_at="onset_datetime", name="age")]},
        lambda c: close(median(
            c.age(one.patient, one.at.date()) for one in of(c.conditions, PREDIABETES)
        )),
        only,
    ),
    Question(
        "Miscarriages by age at the event, in decades.",
        {"view": "condition_diagnoses", "where": code(MISCARRIAGE, "snomed_code"),
         "group_by": [{"age_at": "onset_datetime", "width": 10}], "aggregates": [fn("count")]},
        lambda c: {
            Decimal(age): n
            for age, n in counted(
                of(c.conditions, MISCARRIAGE),
                lambda one: c.age(one.patient, one.at.date()) // 10 * 10,
            ).items()
        },
        lambda rows: {Decimal(str(row[0]).split("-")[0]): row[1] for row in rows},
    ),
    Question(
        "Flu vaccinations per season, July to June.",
        {"view": "immunizations", "where": code(FLU, "vaccine_code"), "limit": 1000,
         "group_by": [{"column": "occurrence_datetime", "bucket": "year", "starts": "07"}],
         "aggregates": [fn("count")]},
        lambda c: counted(of(c.immunizations, FLU),
                          lambda one: one.at.year - (one.at.month < 7)),
        lambda rows: {int(row[0][:4]): row[1] for row in rows},
    ),
    Question(
        "The ten commonest laboratory tests, with a name.",
        {"view": "observation_labs", "group_by": ["code", "code_display"],
         "aggregates": [fn("count", name="n")], "limit": 10,
         "order_by": [{"column": "n", "descending": True}, {"column": "code"}]},
        lambda c: sorted(
            counted(c.labs, lambda one: one.code).items(), key=lambda item: (-item[1], item[0])
        )[:10],
        lambda rows: [(row[0], row[2]) for row in rows],
    ),
    Question(
        "Care plans by kind.",
        {"view": "care_plans", "group_by": ["category_code"], "aggregates": [fn("count")],
         "limit": 1000},
        lambda c: counted(c.care_plans, lambda one: one.code),
        pairs,
    ),
    Question(
        "Patients with a diabetes care plan who were never diagnosed with diabetes.",
        {"view": "patient_simple", "aggregates": [fn("count")],
         "where": every(
             {"column": "id", "op": "in", "query": {
                 "view": "care_plans", "where": code(DIABETES_PLAN, "category_code")}},
             {"column": "id", "op": "not_in", "query": {
                 "view": "condition_simple", "where": code(DIABETES, "snomed_code")}})},
        lambda c: len(people(of(c.care_plans, DIABETES_PLAN))
                      - people(of(c.conditions, DIABETES))),
        only,
    ),
    Question(
        "The longest stay in hospital in days, by SQL.",
        {"sql": "SELECT max(period_end::timestamptz - period_start::timestamptz) >= interval"
                " '1 day' AS long, count(*) AS n FROM encounters WHERE class_code = :c",
         "parameters": {"c": "IMP"}},
        lambda c: [
            max(one.end - one.at for one in of(c.encounters, "IMP") if one.end)
            >= timedelta(days=1),
            len(of(c.encounters, "IMP")),
        ],
        lambda rows: rows[0],
        tool="query_sql",
    ),
    Question(
        "Days from prediabetes to the first HbA1c after it: median, by SQL.",
        {"sql": "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY days) AS days FROM ("
                "SELECT min(l.effective_datetime::timestamptz) - c.at AS took, extract(epoch FROM"
                " min(l.effective_datetime::timestamptz) - c.at) / 86400 AS days FROM (SELECT"
                " patient_id, min(onset_datetime::timestamptz) AS at FROM condition_diagnoses"
                " WHERE snomed_code = :c GROUP BY patient_id) c JOIN observation_labs l"
                " ON l.patient_id = c.patient_id AND l.code = :l AND"
                " l.effective_datetime::timestamptz >= c.at GROUP BY c.patient_id, c.at) AS d",
         "parameters": {"c": PREDIABETES, "l": HBA1C}},
        lambda c: round(float(median(_days_to_first(
            earliest(of(c.conditions, PREDIABETES)), by_patient(of(c.labs, HBA1C))
        ))), 6),
        lambda rows: round(float(rows[0][0]), 6),
        tool="query_sql",
    ),
    Question(
        "Change from first to last weight: patients who lost more than 5 kg, by SQL.",
        {"sql": "SELECT count(*) AS n FROM (SELECT patient_id, (array_agg(value_quantity ORDER BY"
                " effective_datetime::timestamptz, id))[1] - (array_agg(value_quantity ORDER BY"
                " effective_datetime::timestamptz DESC, id DESC))[1] AS lost FROM vital_signs"
                " WHERE code = :w GROUP BY patient_id) AS p WHERE lost > 5",
         "parameters": {"w": WEIGHT}},
        lambda c: sum(
            found[0].value - found[-1].value > 5
            for found in by_patient(of(c.vitals, WEIGHT)).values()
        ),
        only,
        tool="query_sql",
    ),
    Question(
        "Patients whose creatinine was followed over at least five years.",
        {"view": "observation_labs", "where": code(CREATININE), "group_by": ["patient_id"],
         "aggregates": [fn("span_days", "effective_datetime", name="days")],
         "having": is_("days", "ge", 1826), "limit": 1000},
        lambda c: {
            who
            for who, found in by_patient(of(c.labs, CREATININE)).items()
            if (found[-1].at - found[0].at) / timedelta(days=1) >= 1826
        },
        lambda rows: {row[0] for row in rows},
    ),
    Question(
        "Last systolic pressure of each hypertensive: how many at 140 or more?",
        {"view": "vital_signs", "aggregates": [fn("count")],
         "where": every({"column": "systolic", "op": "not_null"},
                        among("condition_simple", code(HYPERTENSION, "snomed_code"))),
         "latest_per": latest_per(where=is_("systolic", "ge", 140))},
        lambda c: sum(
            value >= 140
            for who, value in _last_pressure(c).items()
            if who in people(of(c.conditions, HYPERTENSION))
        ),
        only,
    ),
    Question(
        "Mean systolic pressure of women and men over all readings.",
        {"view": "vital_signs", "where": {"column": "systolic", "op": "not_null"},
         "group_by": ["patient.gender"], "aggregates": [fn("avg", "systolic")]},
        lambda c: {
            sex: close(_mean([v for one, v in c.pressures if c.gender(one.patient) == sex]))
            for sex in ("female", "male")
        },
        pairs,
    ),
    Question(
        "Pregnancies by civil year of their begin after 2009.",
        {"view": "condition_diagnoses",
         "where": every(code(PREGNANCY, "snomed_code"), is_("onset_datetime", "ge", "2010")),
         "group_by": [{"column": "onset_datetime", "bucket": "year"}],
         "aggregates": [fn("count")]},
        lambda c: counted((one for one in of(c.conditions, PREGNANCY) if one.at.year >= 2010),
                          lambda one: str(one.at.year)),
        pairs,
    ),
    Question(
        "Who got cisplatin within 180 days after a colonoscopy?",
        {"view": "medication_requests",
         "where": every(code(CISPLATIN, "medication_code"), {"column": "patient_id", "within": {
             "days": 180, "side": "after",
             "of": {"view": "procedure_history", "which": "any",
                    "where": code(COLONOSCOPY, "snomed_code")}}}),
         "aggregates": [fn("count_distinct", "patient_id")]},
        lambda c: len(_within_any(of(c.medications, CISPLATIN), of(c.procedures, COLONOSCOPY),
                                  0, 180)),
        only,
    ),
    Question(
        "The newest oral temperature of each patient: highest.",
        {"view": "vital_signs", "where": code(TEMPERATURE), "latest_per": "patient_id",
         "aggregates": [fn("max", "value_quantity")]},
        lambda c: close(max(values(latest(of(c.vitals, TEMPERATURE)).values()))),
        only,
    ),
    Question(
        "How many patients by number of viral sinusitis diagnoses: three or more.",
        {"view": "patient_simple", "aggregates": [fn("count")],
         "where": {"column": "id", "op": "in", "query": {
             "view": "condition_simple", "where": code(SINUSITIS, "snomed_code"),
             "min_rows": 3}}},
        lambda c: sum(n >= 3 for n in Counter(
            one.patient for one in of(c.conditions, SINUSITIS)).values()),
        only,
    ),
    Question(
        "Each patient's worst pain, where it was above 5.",
        {"view": "vital_signs", "where": code(PAIN), "group_by": ["patient_id"],
         "aggregates": [fn("max", "value_quantity", name="worst")],
         "having": is_("worst", "gt", 5), "limit": 1000},
        lambda c: {
            who: close(max(values(found)))
            for who, found in by_patient(of(c.vitals, PAIN)).items()
            if max(values(found)) > 5
        },
        pairs,
    ),
    Question(
        "Patients who had both spirometry and respiratory therapy.",
        {"view": "patient_simple", "aggregates": [fn("count")],
         "where": every(
             {"column": "id", "op": "in", "query": {
                 "view": "procedure_history", "where": code(SPIROMETRY, "snomed_code")}},
             {"column": "id", "op": "in", "query": {
                 "view": "care_plans", "where": code(RESPIRATORY_THERAPY, "category_code")}})},
        lambda c: len(people(of(c.procedures, SPIROMETRY))
                      & people(of(c.care_plans, RESPIRATORY_THERAPY))),
        only,
    ),
    Question(
        "Patients with a polyp found at 50 or older.",
        {"view": "condition_diagnoses", "where": code(POLYP, "snomed_code"),
         "group_by": [{"age_at": "onset_datetime", "age_brackets": [50]}],
         "aggregates": [fn("count_distinct", "patient_id")]},
        lambda c: len({
            one.patient for one in of(c.conditions, POLYP)
            if c.age(one.patient, one.at.date()) >= 50
        }),
        lambda rows: pairs(rows)["50+"],
    ),
    Question(
        "Mean eGFR, which was measured in several units, by unit.",
        {"view": "observation_labs", "where": code(EGFR), "group_by": ["value_unit"],
         "aggregates": [fn("avg", "value_quantity")]},
        lambda c: {
            unit: close(_mean([o.value for o in of(c.labs, EGFR) if o.unit == unit]))
            for unit in {o.unit for o in of(c.labs, EGFR)}
        },
        pairs,
    ),
    Question(
        "Alive and on hydrochlorothiazide since the newest two years of prescriptions.",
        {"view": "patient_demographics", "aggregates": [fn("count")],
         "where": every(is_("deceased", "eq", False), {
             "column": "id", "op": "in", "query": {
                 "view": "medication_requests",
                 "where": every(code(HYDROCHLOROTHIAZIDE, "medication_code"),
                                is_("authored_on", "ge", "newest-2y"))}})},
        lambda c: sum(
            c.died(who) is None
            for who in people(
                one for one in of(c.medications, HYDROCHLOROTHIAZIDE)
                if one.at.date() >= _years_before(max(each.at for each in c.medications), 2)
            )
        ),
        only,
    ),
)  # fmt: skip


def _mean(numbers: list[Decimal]) -> Decimal:
    return sum(numbers, Decimal()) / len(numbers)


def _deviation(numbers: list[Decimal]) -> float:
    mean = _mean(numbers)
    spread = sum((each - mean) ** 2 for each in numbers) / (len(numbers) - 1)
    return round(math.sqrt(spread), 6)


def _patients_of(events: Iterable[Event]) -> dict[str, int]:
    return Counter(found for found, _who in {(one.code, one.patient) for one in events})


def _within(events: list[Event], anchors: dict[str, Event], lowest: int, highest: int) -> set[str]:
    """Who has an event between so many days before and after their anchor."""
    return _within_any(events, anchors.values(), lowest, highest)


def _within_any(
    events: list[Event], anchors: Iterable[Event], lowest: int, highest: int
) -> set[str]:
    dates = [(one.patient, one.at) for one in anchors]
    return {
        one.patient
        for one in events
        for who, at in dates
        if who == one.patient and lowest <= (one.at - at) / timedelta(days=1) <= highest
    }


def _years_before(at: datetime, years: int) -> Any:
    day = at.astimezone(UTC).date()
    return day.replace(year=day.year - years)


def _days_to_first(begun: dict[str, Event], results: dict[str, list[Event]]) -> list[Decimal]:
    return [
        Decimal((after[0].at - one.at).total_seconds()) / 86400
        for who, one in begun.items()
        if (after := [each for each in results.get(who, []) if each.at >= one.at])
    ]


def _last_pressure(chart: RawChart) -> dict[str, Decimal]:
    value_of = {one.id: value for one, value in chart.pressures}
    newest = latest(one for one, _value in chart.pressures)
    return {patient: value_of[one.id] for patient, one in newest.items()}


@pytest.fixture(scope="module")
def chart(shared_dir: Any) -> RawChart:
    """The files of Synthea, read once."""
    return RawChart(shared_dir / "data" / "synthea")


@pytest_asyncio.fixture(scope="module")
async def synthea(
    services: Services, shared_dir: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ToolServer]:
    """A server of the whole data, refreshed."""
    async with (
        module_stores(services, number=12) as (dsn, redis_url),
        tool_server(dsn, redis_url, tmp_path_factory.mktemp("home")) as server,
    ):
        await load(server.runtime.stores.source, [shared_dir / "data" / "synthea"])
        await server.call("refresh_views")
        yield server


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.text)
async def test_one_call_answers(synthea: ToolServer, chart: RawChart, question: Question) -> None:
    answer = await synthea.call(question.tool, **question.call)
    assert not answer.get("truncated") or question.call.get("limit") == 10
    expected = question.answer(chart)
    assert question.read(answer["rows"]) == expected
    assert expected, "a question whose answer is nothing proves nothing"
