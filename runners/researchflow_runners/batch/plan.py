"""What a refresh has to do, told by the catalogue and the definitions."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.batch.catalogue import CatalogueViews
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView, published_views

_LAST_ANCHOR = "SELECT coalesce(max(anchor), 0) FROM researchflow.anchor"


@dataclass(frozen=True, slots=True)
class Plan:
    """`anchor` is the one to publish; only the holder of the refresh lock may count on it.

    `kept` views exchange the rows of changed resources, `built` ones (new, or defined anew) are
    computed whole, `retired` ones are published and no longer defined. `new_types` are the types
    that no published view reads, so that the ledger lacks them altogether. `registered` are the
    names of views that were registered at run time.
    """

    anchor: int
    views: tuple[CompiledView, ...]
    kept: tuple[tuple[CompiledView, PublishedView], ...]
    built: tuple[CompiledView, ...]
    retired: tuple[str, ...]
    new_types: tuple[str, ...]
    registered: frozenset[str]

    @property
    def types(self) -> list[str]:
        """The resource types that the views read."""
        return sorted({view.resource for view in self.views})


async def make_plan(session: Session, wanted: CatalogueViews) -> Plan:
    """The plan for the wanted views as the catalogue stands."""
    views = wanted.views
    known = await published_views(session)
    kept = [
        (view, known[view.name])
        for view in views
        if view.name in known and known[view.name].digest == view.digest
    ]
    same = {view.name for view, _published in kept}
    return Plan(
        anchor=await session.fetchval(_LAST_ANCHOR) + 1,
        views=views,
        kept=tuple(kept),
        built=tuple(view for view in views if view.name not in same),
        retired=tuple(sorted(known.keys() - {view.name for view in views})),
        new_types=tuple(
            sorted(
                {view.resource for view in views}
                - {published.resource_type for published in known.values()}
            )
        ),
        registered=wanted.registered,
    )
