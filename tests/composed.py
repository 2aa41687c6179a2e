"""SQLViews for tests, and how a test keeps one."""

from __future__ import annotations

import base64
from typing import Any

from researchflow_runners.composed.compose import compose_view
from researchflow_runners.composed.upkeep import drop_composed, save_composed
from researchflow_runners.composed.view import ComposedView
from researchflow_runners.store.database import Database

#: Each HbA1c of a diabetic woman beside the day of birth, and what else is plain or computed.
WOMEN_LABS = """
SELECT p.id AS patient_id, p.birth_date, p.gender, l.id AS lab_id, l.value_quantity AS value,
       l.effective_datetime AS taken, upper(p.gender) AS shouted, count(*) OVER (PARTITION BY p.id)
         AS labs
FROM patients AS p JOIN labs AS l ON l.patient_id = p.id
WHERE p.gender = 'female' AND p.id IN (SELECT c.patient_id FROM conditions AS c
                                       WHERE c.icd10_code = 'E11')
"""
OVER = {
    "patients": "patient_simple",
    "labs": "observation_labs",
    "conditions": "condition_simple",
}


def sql_view(name: str, sql: str, **depends_on: str) -> dict[str, Any]:
    """A SQLView; `depends_on` gives what names the view of each label, OVER when there is none."""
    return {
        "resourceType": "Library",
        "type": {"coding": [{"code": "sql-view"}]},
        "name": name,
        "status": "active",
        "relatedArtifact": [
            {"type": "depends-on", "label": label, "resource": view}
            for label, view in (depends_on or OVER).items()
        ],
        "content": [
            {
                "contentType": "application/sql",
                "data": base64.b64encode(sql.encode()).decode(),
            }
        ],
    }


async def keep(database: Database, definition: dict[str, Any]) -> ComposedView:
    """Registers the view, in place of one of its name."""
    async with database.transaction() as session:
        view = await compose_view(session, definition)
        await save_composed(session, view)
        return view


async def drop(database: Database, name: str) -> None:
    """Takes the view away."""
    async with database.transaction() as session:
        await drop_composed(session, name)
