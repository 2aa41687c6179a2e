"""Fewer rights for the rest of a transaction, for statements that somebody else wrote."""

from __future__ import annotations

from researchflow_runners.store.database import Session

_STEP_DOWN = """
SELECT set_config('role', 'pg_read_all_data', true) WHERE current_setting('is_superuser') = 'on'
"""


async def step_down(session: Session) -> None:
    """A superuser may read tables from here to the end of the transaction, and nothing more.

    Files, programs and other servers are out of reach then, whatever a check has missed. Another
    role stays what it is: its rights are those that the deployment gave it.
    """
    await session.execute(_STEP_DOWN)
