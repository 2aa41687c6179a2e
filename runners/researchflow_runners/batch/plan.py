"""What a refresh has to do, told by the catalogue and the definitions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from researchflow_runners.batch.catalogue import CatalogueViews
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import ViewDefinitionError
from researchflow_runners.source.options import SourceOptions
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView, published_views
from researchflow_runners.store.set_aside import Failure, views_set_aside

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
    names of views that were registered at run time. `libraries` are the SQLViews that are kept
    beside the views.
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
    required: str | None
    outdated: tuple[Failure, ...] = ()
    libraries: tuple[Mapping[str, Any], ...] = ()

    def without(self, names: Collection[str]) -> Plan:
        """The same without these views, which could not be computed."""
        return replace(
            self,
            kept=tuple(kept for kept in self.kept if kept[0].name not in names),
            built=tuple(view for view in self.built if view.name not in names),
        )

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


async def make_plan(
    session: Session,
    wanted: CatalogueViews,
    options: SourceOptions,
    *,
    libraries: tuple[Mapping[str, Any], ...] = (),
    retry_all: bool,
) -> Plan:
    """The plan for the wanted views as the catalogue stands.

    A view that is set aside is built anew, when it was defined anew, when it is time to try it
    again, or with `retry_all`; else it is left alone.
    """
    last = await session.fetchrow(_LAST_ANCHOR, SourceOptions().reading)
    views = wanted.views
    known = await published_views(session)
    aside = {one.view: one for one in await views_set_aside(session)}
    outdated = wanted.outdated.keys()
    digests = {view.name: view.digest for view in views}
    resting = {
        name
        for name, one in aside.items()
        if not (retry_all or one.is_due or one.digest != digests.get(name))
    }
    kept = [
        (view, known[view.name])
        for view in views
        if view.name in known and view.name not in aside and known[view.name].digest == view.digest
    ]
    same = resting | {view.name for view, _published in kept}
    return Plan(
        anchor=last["anchor"] + 1 if last else 1,
        read_as=options.reading,
        is_read_anew=last is not None and last["read_as"] != options.reading,
        views=views,
        kept=tuple(kept),
        built=tuple(view for view in views if view.name not in same),
        retired=tuple(sorted((known.keys() | aside.keys()) - digests.keys() - outdated)),
        new_types=tuple(
            sorted(
                {view.resource for view in views}
                - {published.resource_type for published in known.values()}
                - {one.resource_type for one in aside.values()}
            )
        ),
        registered=wanted.registered,
        required=wanted.required,
        outdated=tuple(_outdated(known[name], error) for name, error in wanted.outdated.items()),
        libraries=libraries,
    )


def _outdated(published: PublishedView, error: ViewDefinitionError) -> Failure:
    """A registered view as this release fails on it; its rows stay as they are."""
    return Failure(
        published.name,
        published.resource_type,
        published.digest,
        error.code,
        f"cannot be compiled by this release: {error.__cause__}",
    )
