"""What a refresh has to do, told by the catalogue and the definitions."""

from __future__ import annotations

from dataclasses import dataclass

from researchflow_runners.batch.catalogue import CatalogueViews
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.source.options import SourceOptions
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView, published_views

#: Anchors from before the way of reading was kept were read in the default one.
_LAST_ANCHOR = """
SELECT anchor, coalesce(read_as, $1) AS read_as FROM researchflow.anchor
ORDER BY anchor DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """`anchor` is the one to publish; only the holder of the refresh lock may count on it.

    `read_as` is how the source's times and references are read, `is_read_anew` that the last
    anchor read them otherwise, so that every resource counts as changed.

    `kept` views exchange the rows of changed resources, `built` ones (new, or defined anew) are
    computed whole, `retired` ones are published and no longer defined. `new_types` are the types
    that no published view reads, so that the ledger lacks them altogether. `registered` are the
    names of views that were registered at run time.
    """

    anchor: int
    read_as: str
    is_read_anew: bool
    views: tuple[CompiledView, ...]
    kept: tuple[tuple[CompiledView, PublishedView], ...]
    built: tuple[CompiledView, ...]
    retired: tuple[str, ...]
    new_types: tuple[str, ...]
    registered: frozenset[str]

    @property
    def tagged_types(self) -> list[str]:
        """The types of which a kept view reads meta: its rows follow the tags of the ledger."""
        return sorted({view.resource for view, _published in self.kept if view.reads_meta})

    @property
    def meta_types(self) -> frozenset[str]:
        """The types of which any view reads meta."""
        return frozenset(view.resource for view in self.views if view.reads_meta)

    @property
    def changes_views(self) -> bool:
        """Whether there is something to publish even if no resource changed."""
        return bool(self.built or self.retired or self.is_read_anew)

    @property
    def types(self) -> list[str]:
        """The resource types that the views read."""
        return sorted({view.resource for view in self.views})


async def make_plan(session: Session, wanted: CatalogueViews, options: SourceOptions) -> Plan:
    """The plan for the wanted views as the catalogue stands."""
    last = await session.fetchrow(_LAST_ANCHOR, SourceOptions().reading)
    views = wanted.views
    known = await published_views(session)
    kept = [
        (view, known[view.name])
        for view in views
        if view.name in known and known[view.name].digest == view.digest
    ]
    same = {view.name for view, _published in kept}
    return Plan(
        anchor=last["anchor"] + 1 if last else 1,
        read_as=options.reading,
        is_read_anew=last is not None and last["read_as"] != options.reading,
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
