"""Which view a canonical URL, a reference or a name means: all of it must fit, not its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from researchflow_runners.compiler import CompiledView
from researchflow_runners.composed.view import ComposedView

ViewType = Literal["ViewDefinition", "Library"]
VIEW_TYPES: tuple[ViewType, ...] = ("ViewDefinition", "Library")


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a known view may be named beside its name: its type and parts of its definition."""

    kind: ViewType
    url: str | None = None
    version: str | None = None
    id: str | None = None

    @property
    def canonical(self) -> str | None:
        """The canonical URL with its version; None without a URL."""
        return f"{self.url}|{self.version}" if self.url and self.version else self.url


@dataclass(frozen=True, slots=True)
class Reference:
    """A canonical URL, `Type/name` or a name, each with `|version` or without.

    `kind` is the type that the reference names. Exactly one of `url` and `name` is there.
    """

    text: str
    kind: str | None
    url: str | None
    name: str | None
    version: str | None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """The reference in `text`; what has a scheme is a URL."""
        return cls.to_url(text) if "://" in text or text.startswith("urn:") else cls.to_name(text)

    @classmethod
    def to_url(cls, text: str) -> Reference:
        """The reference of a text that is a canonical URL."""
        url, _bar, version = text.partition("|")
        return cls(text, None, url, None, version or None)

    @classmethod
    def to_name(cls, text: str) -> Reference:
        """The reference of a text that is `Type/name` or a name."""
        address, _bar, version = text.partition("|")
        kind, slash, name = address.partition("/")
        return cls(text, kind if slash else None, None, name if slash else address, version or None)

    @property
    def nearby(self) -> str:
        """The word by which a view that may have been meant is found."""
        return self.name or (self.url or "").rstrip("/").rpartition("/")[2]

    def meant(self, known: Mapping[str, Identity]) -> list[str]:
        """The names of all known views that it fits; a name goes before a resource id."""
        fitting = {name: one for name, one in known.items() if self._fits(one)}
        if self.name in fitting:
            return [self.name]
        return [name for name, one in fitting.items() if self._addresses(one)]

    def _fits(self, one: Identity) -> bool:
        return self.kind in (None, one.kind) and self.version in (None, one.version)

    def _addresses(self, one: Identity) -> bool:
        return one.url == self.url if self.url is not None else one.id == self.name


def identity_of(view: CompiledView | ComposedView) -> Identity:
    """By what a view is named, as its definition says."""
    kind: ViewType = "Library" if isinstance(view, ComposedView) else "ViewDefinition"
    return Identity(kind, *(view.definition.get(part) for part in ("url", "version", "id")))
