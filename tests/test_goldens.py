"""Characteristic lowerings: the rows of each view are judged first, then the text of its SQL.

A changed text with the same rows is for review: `python tests/golden.py` writes goldens/*.sql
anew, and the difference shows what an optimisation did.
"""

from __future__ import annotations

import asyncpg
import pytest

from conformance import check_case
from golden import FOLDER, Golden, goldens, laid_out, sql_of

PAIRS = [pytest.param(one, id=one.name) for one in goldens()]


@pytest.mark.parametrize("golden", PAIRS)
async def test_golden_view_gives_its_rows(connection: asyncpg.Connection, golden: Golden) -> None:
    await check_case(connection, golden.suite, golden.case)


@pytest.mark.parametrize("golden", PAIRS)
def test_golden_view_compiles_to_its_sql(golden: Golden) -> None:
    assert sql_of(golden.case.view) == golden.file.read_text()


def test_every_golden_is_a_pair() -> None:
    names = {kind: {path.stem for path in FOLDER.glob(f"*.{kind}")} for kind in ("json", "sql")}
    assert names["json"] == names["sql"]
    assert len(names["json"]) >= 10


def test_layout_changes_white_space_only() -> None:
    text = "SELECT '(a, b)  c' FROM (SELECT  1 AS \"x, y\", f(2, 3) FROM (SELECT) AS o) AS t"
    assert "".join(laid_out(text).split()) == "".join(text.split())
    assert "'(a, b)  c'" in laid_out(text)
