"""docs/failures.md and the tests say the same: each failure on the page is tried, each one tried
is on the page, and the codes and metrics it names exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "failures.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| `")]
MARK = re.compile(r'^@pytest\.mark\.failure\("([a-z-]+)"\)$', re.MULTILINE)
COLUMNS = 7
CODE = 4


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def source_text() -> str:
    files = [path for part in ("runners", "server") for path in (ROOT / part).rglob("*.py")]
    return "\n".join(path.read_text() for path in files)


def test_every_failure_of_the_page_is_tried_and_every_one_tried_is_told() -> None:
    told = [cells(row)[0].split("`")[1] for row in ROWS]
    tests = (ROOT / "tests").glob("test_*.py")
    tried = {name for path in tests for name in MARK.findall(path.read_text())}
    assert sorted(told) == sorted(tried)


def test_every_row_says_all_there_is_to_say() -> None:
    assert [row for row in ROWS if len(cells(row)) != COLUMNS or not all(cells(row))] == []


def test_every_code_and_metric_of_the_page_exists() -> None:
    source = source_text()
    codes = {code for row in ROWS for code in re.findall(r"`([a-z]+_[a-z_]+)`", cells(row)[CODE])}
    metrics = {name.removesuffix("_total") for name in re.findall(r"`(researchflow_\w+)", PAGE)}
    assert [code for code in codes if f'"{code}"' not in source] == []
    known = re.findall(r'f?"(researchflow_[a-z_{}.]+)"', source)
    families = [re.compile(re.sub(r"\{[^}]*\}", "[a-z_]+", name)) for name in known]
    assert [name for name in metrics if not any(one.fullmatch(name) for one in families)] == []
