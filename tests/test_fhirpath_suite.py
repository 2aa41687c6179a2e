"""HL7's FHIRPath suite: nothing is wrong, and what is refused stands in the document."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path

import pytest

from fhirpath_suite import by_outcome, cases, documented, lines
from researchflow_server.cli import main
from researchflow_server.cli.outcome import OK

REFUSED_MAX = 40


def test_no_case_of_the_suite_is_wrong(
    shared_dir: Path,
    postgres_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shared_dir / "fhirpath"
    monkeypatch.setenv("RESEARCHFLOW_DATABASE_URL", postgres_dsn)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines(folder)) + "\n"))
    assert main(["fhirpath", "--batch"]) == OK
    answers = [
        json.loads(line, parse_float=Decimal) for line in capsys.readouterr().out.splitlines()
    ]
    found = by_outcome(cases(folder), answers)
    refused, lacking = documented()
    assert found["wrong"] == lacking
    assert sorted(found["refused"]) == sorted(refused)
    assert len(refused) <= REFUSED_MAX
