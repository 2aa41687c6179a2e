"""What everything about one patient shares: chances, dates, references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, TypeVar

#: "Today" of the hospital; no clinical date lies after it.
REFERENCE_DATE = date(2025, 6, 30)
CLINICIANS = 12
WARDS = 4
_T = TypeVar("_T")


@dataclass
class Chart:
    """One patient: `problems` are keys of CHRONIC and ACUTE, in order of onset."""

    number: int
    seed: int
    problems: tuple[str, ...] = ()
    chance: Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = Random(f"{self.seed}/{self.number}")

    @property
    def patient_id(self) -> str:
        """The patient's id; all others begin with it."""
        return f"patient-{self.number:05d}"

    @property
    def patient(self) -> dict[str, str]:
        """Reference to the patient."""
        return {"reference": f"Patient/{self.patient_id}"}

    @property
    def age(self) -> int:
        """Whole years at REFERENCE_DATE, had they lived; from 3 to 92, all ages in turn."""
        return 3 + (self.number * 37) % 90

    @property
    def died(self) -> date | None:
        """The day of death, when it is recorded; nothing happens after it."""
        if self.number % 13:
            return None
        return REFERENCE_DATE - timedelta(days=20 + self.number % 300)

    @property
    def last_day(self) -> date:
        """The last day on which something may be recorded."""
        return self.died or REFERENCE_DATE

    @property
    def birth_date(self) -> date:
        """The exact date, whatever part of it is recorded."""
        day_of_year = (self.number * 53) % 181
        return date(REFERENCE_DATE.year - self.age, 1, 1) + timedelta(days=day_of_year)

    def has(self, problem: str | None) -> bool:
        """Whether the patient has that problem."""
        return problem in self.problems

    def id_of(self, kind: str, number: int) -> str:
        """Id of the patient's resource of that kind."""
        return f"{self.patient_id}-{kind}-{number}"

    def turn(self, values: Sequence[_T], number: int) -> _T:
        """One of the values, each in turn over patients and resources."""
        return values[(self.number * 7 + number) % len(values)]

    def draw(self, low: float, high: float, digits: int) -> float:
        """A number of the range; whole ones have no fraction."""
        value = round(self.chance.uniform(low, high), digits)
        return int(value) if digits == 0 else value

    def day_between(self, first: date, last: date) -> date:
        """A day of the range, both ends included."""
        return first + timedelta(days=self.chance.randint(0, max(0, (last - first).days)))

    def instant(self, day: date) -> datetime:
        """A minute of office hours on that day."""
        minute = self.chance.randint(8 * 60, 16 * 60)
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minute)

    def clinician(self, number: int) -> dict[str, str]:
        """Reference to one of the practitioners."""
        return {"reference": f"Practitioner/practitioner-{(self.number + number) % CLINICIANS + 1}"}

    def ward(self, number: int) -> dict[str, str]:
        """Reference to one of the locations."""
        return {"reference": f"Location/location-{(self.number + number) % WARDS + 1}"}


def without_nones(resource: dict[str, Any]) -> dict[str, Any]:
    """The resource without the elements that are None."""
    return {name: value for name, value in resource.items() if value is not None}
