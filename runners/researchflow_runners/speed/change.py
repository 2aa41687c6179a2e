"""A change that someone asks for, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from researchflow_runners.errors import ResearchFlowError
from researchflow_runners.speed.entry import Origin

Outcome = Literal["stored", "duplicate", "stale", "covered", "ignored", "rejected"]


@dataclass(frozen=True, slots=True)
class Change:
    """A resource to insert or update, or (without one) to delete by type and id.

    Without `version` the resource's meta.versionId counts, else the newest known plus one.
    """

    resource: Mapping[str, Any] | str | bytes | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    version: int | None = None

    @classmethod
    def put(
        cls, resource: Mapping[str, Any] | str | bytes, *, version: int | None = None
    ) -> Change:
        """Inserts the resource, or updates it when it exists."""
        return cls(resource=resource, version=version)

    @classmethod
    def delete(cls, resource_type: str, resource_id: str, *, version: int | None = None) -> Change:
        """Deletes the resource; readers see it go at once."""
        return cls(resource_type=resource_type, resource_id=resource_id, version=version)


@dataclass(frozen=True, slots=True)
class ChangeOutcome:
    """What became of a change.

    stored: it shows in `views`, and is durable. duplicate: this version was known and nothing
    changed; `conflict` says that it was known with another content. stale: `newest_version` is
    newer; nothing changed. covered: the batch layer holds this version or a newer one, or the
    source has nothing there and it was not known. ignored: no view reads what the source told of.
    rejected: `error` says why.

    `views` are the materialised views of the resource type; it is empty for a type that no view
    uses: the change is cached, and SpeedLayerRunner sees it. In `failed_views` the resource's
    rows could not be computed, so it is missing there. A provisional change, which the source
    does not confirm, ends at `expires_at`.
    """

    outcome: Outcome
    resource_type: str | None
    resource_id: str | None
    deleted: bool
    version: int | None = None
    newest_version: int | None = None
    origin: Origin | None = None
    expires_at: datetime | None = None
    views: tuple[str, ...] = ()
    failed_views: tuple[str, ...] = ()
    conflict: bool = False
    error: ResearchFlowError | None = None


def rejection(
    error: ResearchFlowError, resource_type: str | None, resource_id: str | None, *, deleted: bool
) -> ChangeOutcome:
    """The outcome of a change that cannot be made."""
    return ChangeOutcome("rejected", resource_type, resource_id, deleted, error=error)
