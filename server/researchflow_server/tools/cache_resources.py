"""Makes changes visible at once: inserts, updates and deletes."""

from __future__ import annotations

import re
from typing import Any

from mcp_types import ToolAnnotations

from researchflow_runners.errors import QueryError
from researchflow_runners.speed.change import Change, ChangeOutcome
from researchflow_server import contract
from researchflow_server.contract import CacheResourcesInput
from researchflow_server.tools.result import unicode_text
from researchflow_server.tools.spec import Call, ToolSpec

COLUMNS = ("resource", "outcome", "version", "origin", "expires_at", "views", "reason")
PROVENANCE = "mcp"
REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,63})/([A-Za-z0-9\-.]{1,64})(?:/_history/([0-9]{1,15}))?")


async def run(call: Call, arguments: CacheResourcesInput) -> dict[str, Any]:
    """One row per change; what is `stored` here is durable and visible to the next query."""
    changes = [Change.put(resource) for resource in arguments.resources]
    changes += [
        _delete(reference, field=f"delete.{position}")
        for position, reference in enumerate(arguments.delete)
    ]
    if not changes:
        raise QueryError(
            "there is nothing to change",
            code="missing_argument",
            field="resources",
            hint="give resources to insert or update, or references to delete",
        )
    outcomes = await call.runtime.writer.apply(
        changes, provenance=PROVENANCE, dry_run=arguments.dry_run
    )
    return {
        "columns": list(COLUMNS),
        "rows": [_row(outcome) for outcome in outcomes],
        "dry_run": arguments.dry_run,
        "warnings": _warnings(outcomes, dry_run=arguments.dry_run),
    }


def _delete(reference: str, *, field: str) -> Change:
    found = REFERENCE.fullmatch(reference)
    if found is None:
        raise QueryError(
            f'"{reference[:80]}" is not a reference',
            code="invalid_argument",
            field=field,
            hint='give a type and an id, such as "Patient/12"',
        )
    resource_type, resource_id, version = found.groups()
    return Change.delete(resource_type, resource_id, version=int(version) if version else None)


def _row(outcome: ChangeOutcome) -> list[Any]:
    name = f"{outcome.resource_type}/{outcome.resource_id}" if outcome.resource_id else None
    return [
        unicode_text(name or outcome.resource_type or "") or None,
        outcome.outcome,
        outcome.version,
        outcome.origin,
        outcome.expires_at,
        len(outcome.views),
        _reason(outcome),
    ]


def _reason(outcome: ChangeOutcome) -> str | None:
    if outcome.error is not None:
        reason = f"{outcome.error.code}: {outcome.error.message}; {outcome.error.hint}"
        return unicode_text(reason)
    if outcome.failed_views:
        return f"missing in {', '.join(outcome.failed_views)}: its rows could not be computed"
    if outcome.conflict:
        return f"version {outcome.version} is known with another content; nothing was changed"
    if outcome.outcome == "stale":
        return f"version {outcome.newest_version} is known"
    return None


def _warnings(outcomes: list[ChangeOutcome], *, dry_run: bool) -> list[str]:
    warnings = ["dry run: nothing was stored"] if dry_run else []
    rejected = sum(outcome.outcome == "rejected" for outcome in outcomes)
    if rejected:
        warnings.append(f"{rejected} of {len(outcomes)} changes were rejected")
    conflicts = sum(outcome.conflict for outcome in outcomes)
    if conflicts:
        warnings.append(
            f"{conflicts} changes bring a version that is known with another content and were not"
            " stored; leave meta.versionId out to store them as the next version"
        )
    if any(outcome.origin == "provisional" for outcome in outcomes):
        warnings.append("provisional changes are not confirmed by the source and expire")
    return warnings


CACHE_RESOURCES = ToolSpec(
    name=contract.CACHE_RESOURCES,
    title="Cache resources",
    description="Shows changes of FHIR resources in live answers at once; the FHIR server is not "
    "changed.",
    arguments=CacheResourcesInput,
    annotations=ToolAnnotations(destructive_hint=True, idempotent_hint=True, open_world_hint=False),
    run=run,
)
