"""The report: `test-report.schema.json` of the SQL on FHIR project."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """How one case ended; `reason` says why it failed and is None when it passed."""

    file: str
    title: str
    reason: str | None

    @property
    def passed(self) -> bool:
        """Whether the case passed."""
        return self.reason is None


def report(results: Iterable[Result]) -> dict[str, Any]:
    """The results by suite file, both in the order given."""
    suites: dict[str, Any] = {}
    for one in results:
        outcome: dict[str, Any] = {"passed": one.passed}
        if one.reason is not None:
            outcome["reason"] = one.reason
        tests = suites.setdefault(one.file, {"tests": []})["tests"]
        tests.append({"name": one.title, "result": outcome})
    return suites
