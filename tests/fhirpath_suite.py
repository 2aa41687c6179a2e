"""HL7's FHIRPath suite for R4, through the command that evaluates lines of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

Json = dict[str, Any]
Outcome = Literal["equal", "refused", "wrong"]
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "fhirpath.md"
ROW = re.compile(r"^\| (\w+) \|", re.MULTILINE)
#: Types of the suite whose values are written as texts with a mark.
MARKED = re.compile(r"@T?(?=\d)")


def cases(folder: Path) -> list[Json]:
    """Every case, in order."""
    return list(json.loads((folder / "suite.json").read_text()))


def lines(folder: Path) -> Iterator[str]:
    """Each case as the command takes it."""
    inputs = json.loads((folder / "inputs.json").read_text())
    for case in cases(folder):
        expression = case["expression"]
        if case.get("predicate") == "true":
            expression = f"({expression}).exists()"
        yield json.dumps({"expression": expression, "resource": inputs[case["input"]]})


def outcome(case: Json, answer: Json) -> Outcome:
    """How the command's answer compares with what the case expects."""
    if "error" in answer:
        return "equal" if case.get("invalid") else "refused"
    if case.get("invalid"):
        return "wrong"
    expected = [_expected(one) for one in case["outputs"]]
    return "equal" if expected == [_comparable(one) for one in answer["items"]] else "wrong"


def by_outcome(all_cases: Sequence[Json], answers: Sequence[Json]) -> dict[Outcome, list[str]]:
    """The names of the cases by how they ended."""
    found: dict[Outcome, list[str]] = {"equal": [], "refused": [], "wrong": []}
    for case, answer in zip(all_cases, answers, strict=True):
        found[outcome(case, answer)].append(case["name"])
    return found


def documented() -> tuple[list[str], list[str]]:
    """The cases of the two tables of the document: refused, and without what they look at."""
    refused, lacking = DOCUMENT.read_text().split("| the resource lacks it |")
    return ROW.findall(refused)[1:], ROW.findall(lacking)


def _expected(output: Json) -> Any:
    return _comparable(output.get("value"), MARKED.sub("", output.get("value") or ""))


def _comparable(value: Any, text: str | None = None) -> Any:
    """A value as it is, whatever its notation: numbers by value, quantities as text."""
    if isinstance(value, dict) and "code" in value:
        return f"{value['value']} '{value['unit']}'"
    if isinstance(value, bool):
        return str(value).lower()
    written = str(value) if text is None else text
    try:
        return Decimal(written)
    except ArithmeticError:
        return written
