"""The official SQL on FHIR cases, strictly: row multisets, column order, counts, errors, types.

The cases stay in ../shared; test_compiler.py holds the project's own, which always run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from conformance import check_case
from conftest import SHARED

CASES = SHARED / "sql-on-fhir" / "tests"


def _cases() -> Iterator[Any]:
    for file in sorted(CASES.glob("*.json")):
        suite = json.loads(Path(file).read_text())
        for case in suite["tests"]:
            yield pytest.param(
                suite["resources"], case, id=f"{file.stem}: {case['title']}".replace("\n", " ")
            )


@pytest.mark.parametrize(("resources", "case"), list(_cases()))
async def test_official_case(
    connection: asyncpg.Connection, resources: list[Mapping[str, Any]], case: Mapping[str, Any]
) -> None:
    await check_case(connection, resources, case)


def test_official_cases_are_found(shared_dir: Path) -> None:
    assert len(list(_cases())) > 100
