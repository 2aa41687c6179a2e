"""Fewer rights for the rest of a transaction, for statements that somebody else wrote."""

from __future__ import annotations

from researchflow_runners.store.database import Session

#: For sorts and hashes of one statement.
TEMPORARY_FILES_MAX = "1GB"
_STEP_DOWN = f"""
SELECT set_config('temp_file_limit', '{TEMPORARY_FILES_MAX}', true)
WHERE has_parameter_privilege('temp_file_limit', 'SET')
  AND pg_size_bytes(current_setting('temp_file_limit'))
      NOT BETWEEN 0 AND pg_size_bytes('{TEMPORARY_FILES_MAX}');
SELECT set_config('role', 'pg_read_all_data', true) WHERE current_setting('is_superuser') = 'on'
"""


async def step_down(session: Session) -> None:
    """A superuser may read tables from here to the end of the transaction, and nothing more.

    Files, programs and other servers are out of reach then, whatever a check has missed. Another
    role stays what it is: its rights are those that the deployment gave it. Where the role may say
    so, no statement writes more than TEMPORARY_FILES_MAX of temporary files.
    """
    await session.execute(_STEP_DOWN)
