"""The raw records of Synthea as plain Python lists: what an answer of the tools is held against.

It knows the files and nothing of the product: which rows a view holds is said again here.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from statistics import median as _median
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """One dated record of a patient."""

    patient: str
    at: datetime
    code: str
    display: str
    value: Decimal | None = None
    unit: str | None = None
    end: datetime | None = None
    id: str = ""


class RawChart:
    """Patients and their events, each list in the order of the file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.patients = {row["id"]: row for row in self._rows("Patient")}
        self.conditions = [self._coded(row, "onsetDateTime") for row in self._rows("Condition")]
        self.medications = [
            self._coded(row, "authoredOn", concept="medicationCodeableConcept")
            for row in self._rows("MedicationRequest")
            if row["status"] in {"active", "completed", "on-hold", "stopped"}
        ]
        self.procedures = [
            self._coded(row, "performedPeriod")
            for row in self._rows("Procedure")
            if row["status"] in {"completed", "in-progress"}
        ]
        self.immunizations = [
            self._coded(row, "occurrenceDateTime", concept="vaccineCode", subject="patient")
            for row in self._rows("Immunization")
            if row["status"] == "completed"
        ]
        self.encounters = [
            self._coded(row, "period", concept="class") for row in self._rows("Encounter")
        ]
        self.care_plans = [
            self._coded(row, "period", concept="category") for row in self._rows("CarePlan")
        ]
        labs, vitals = [], []
        for row in self._rows("Observation"):
            if row["status"] not in {"final", "amended", "corrected"}:
                continue
            categories = {one["code"] for each in row["category"] for one in each["coding"]}
            if "laboratory" in categories:
                labs.append(self._coded(row, "effectiveDateTime"))
            if "vital-signs" in categories:
                vitals.append(row)
        self.labs = labs
        self.vitals = [self._coded(row, "effectiveDateTime") for row in vitals]
        self.pressures = [
            (self._coded(row, "effectiveDateTime"), _component(row, "8480-6"))
            for row in vitals
            if row["code"]["coding"][0]["code"] == "55284-4"
        ]

    def born(self, patient: str) -> date:
        """The day of birth."""
        return date.fromisoformat(self.patients[patient]["birthDate"])

    def died(self, patient: str) -> datetime | None:
        """The instant of death."""
        at = self.patients[patient].get("deceasedDateTime")
        return instant(at) if at else None

    def gender(self, patient: str) -> str:
        """male or female."""
        return str(self.patients[patient]["gender"])

    def age(self, patient: str, on: date) -> int:
        """Whole years at that day."""
        born = self.born(patient)
        return on.year - born.year - ((on.month, on.day) < (born.month, born.day))

    def _rows(self, resource_type: str) -> Iterator[Json]:
        path = self._folder / f"{resource_type}.ndjson.gz"
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                yield json.loads(line, parse_float=Decimal, parse_int=Decimal)

    def _coded(
        self, row: Json, dated: str, *, concept: str = "code", subject: str = "subject"
    ) -> Event:
        coded = row[concept]
        coded = coded[0] if isinstance(coded, list) else coded
        coding = coded["coding"][0] if "coding" in coded else coded
        at = row[dated]
        begun, ended = (at["start"], at.get("end")) if isinstance(at, dict) else (at, None)
        quantity = row.get("valueQuantity", {})
        return Event(
            patient=row[subject]["reference"].removeprefix("Patient/"),
            at=instant(begun),
            code=coding["code"],
            display=coding.get("display", ""),
            value=quantity.get("value"),
            unit=quantity.get("unit"),
            end=instant(ended) if ended else None,
            id=row["id"],
        )


def instant(text: str) -> datetime:
    """The instant in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _component(row: Json, code: str) -> Decimal:
    (found,) = (
        one["valueQuantity"]["value"]
        for one in row["component"]
        if one["code"]["coding"][0]["code"] == code
    )
    return Decimal(found)


def of(events: Iterable[Event], *codes: str) -> list[Event]:
    """Those of one of the codes."""
    return [one for one in events if one.code in codes]


def by_patient(events: Iterable[Event]) -> dict[str, list[Event]]:
    """The events of each patient, oldest first, then by key."""
    found: dict[str, list[Event]] = defaultdict(list)
    for one in sorted(events, key=lambda event: (event.at, event.id)):
        found[one.patient].append(one)
    return dict(found)


def people(events: Iterable[Event]) -> set[str]:
    """Who has any."""
    return {one.patient for one in events}


def counted(events: Iterable[Event], key: Callable[[Event], Any]) -> dict[Any, int]:
    """How many of each."""
    return dict(Counter(map(key, events)))


def median(values: Iterable[Decimal | int]) -> Decimal:
    """The middle one, or the mean of the two in the middle."""
    return Decimal(_median(sorted(values)))


def percentile(values: Iterable[Decimal | int], share: Decimal) -> Decimal:
    """Between the two neighbours, in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
