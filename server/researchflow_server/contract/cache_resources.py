"""`cache_resources`: its arguments and result."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from researchflow_server.contract.base import Input, Table

CACHE_RESOURCES = "cache_resources"
CHANGES_MAX = 50


class CacheResourcesInput(Input):
    """Changes to make visible at once; a batch refresh absorbs those the source confirms."""

    resources: list[dict[str, Any]] = Field(
        default_factory=list,
        max_length=CHANGES_MAX,
        description="FHIR R4 with id; meta.versionId orders them",
    )
    delete: list[str] = Field(
        default_factory=list, max_length=CHANGES_MAX, description="Such as Patient/12"
    )
    dry_run: bool = Field(default=False, description="Check only")


class CacheResourcesOutput(Table):
    """One row per change, in the order given, resources before deletes.

    `outcome`: stored, duplicate (this version is known; `reason` says
    when with another content), stale (a newer one is), covered (the
    batch layer holds it), rejected (see `reason`); with dry_run, what it would be. `views` counts
    the views in which the change shows.
    """

    dry_run: bool
    warnings: list[str] = Field(default_factory=list)
