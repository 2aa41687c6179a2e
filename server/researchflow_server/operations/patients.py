"""Whether the patients that a filter names exist: rows of nobody would look like no rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from researchflow_runners.source.reader import HapiSource, SourceSnapshot
from researchflow_runners.speed.search import PATIENT
from researchflow_runners.store.database import Session
from researchflow_runners.store.relations import COUNTING
from researchflow_server.operations.outcome import OperationError

_UNKNOWN = f"""
SELECT w.id FROM unnest($1::text[]) AS w (id)
WHERE NOT EXISTS (SELECT FROM researchflow.ledger AS l
                  WHERE l.res_type = $2 AND l.id = w.id AND NOT l.deleted)
  AND NOT EXISTS (SELECT FROM researchflow.overlay_entry AS e
                  WHERE e.res_type = $2 AND e.id = w.id AND NOT e.deleted AND {COUNTING})
"""  # noqa: S608  COUNTING is a constant


async def check_in_views(session: Session, source: HapiSource, patients: Sequence[str]) -> None:
    """As `check_in_source`, for patients that the layers know; only others cost a look there."""
    if not patients:
        return
    unknown = [row[0] for row in await session.fetch(_UNKNOWN, list(patients), PATIENT)]
    if not unknown:
        return
    async with source.snapshot() as snapshot:
        await check_in_source(snapshot, unknown)


async def check_in_source(snapshot: SourceSnapshot, patients: Sequence[str]) -> None:
    """OperationError `patient_not_found` when one of them does not exist or is deleted."""
    if not patients:
        return
    heads = await snapshot.heads(PATIENT, patients)
    living = {head.id for head in heads.values() if not head.deleted}
    _require(patients, living)


def _require(patients: Iterable[str], living: set[str]) -> None:
    missing = [one for one in patients if one not in living]
    if missing:
        raise OperationError(
            f"{len(missing)} of the patients named are not known here",
            status=400,
            issue="not-found",
            code="patient_not_found",
            field="patient",
            hint="name patients that the FHIR server holds",
        )
