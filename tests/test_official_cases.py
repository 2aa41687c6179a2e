"""The official SQL on FHIR cases, strictly: row multisets, column order, counts, errors, types.

The cases stay in ../shared; test_compiler.py holds the project's own, which always run.
"""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from conformance import check_case, params_of
from conftest import SHARED
from researchflow_runners.conformance import Case, Suite

CASES = SHARED / "sql-on-fhir" / "tests"


@pytest.mark.parametrize(("suite", "case"), list(params_of(CASES)))
async def test_official_case(connection: asyncpg.Connection, suite: Suite, case: Case) -> None:
    await check_case(connection, suite, case)


def test_official_cases_are_found(shared_dir: Path) -> None:
    assert len(list(params_of(CASES))) > 100
