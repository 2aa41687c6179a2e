"""What names mean at one place of a ViewDefinition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

from researchflow_runners.compiler.expr import Expr
from researchflow_runners.compiler.nodes import Constant, Focus, Resource, RowIndex
from researchflow_runners.compiler.types import Types
from researchflow_runners.compiler.value_sets import ValueSet


@dataclass(frozen=True)
class Scope:
    """The focus, the resource, the innermost iteration, the constants and the value sets.

    `lenient` lets an element be absent from the focus, as long as some FHIR type has it: `repeat`
    applies one path to nodes of several types. `resolved` collects the node of each expression by
    its place in the view, for all scopes of the view; `numbered` the aliases of iterations whose
    row index is read; `wholes` those of items whose type or extensions are asked for, `indexed`
    those whose index is. `index` is the innermost item that has an index.
    """

    this: Expr
    resource: Resource
    row_index: RowIndex
    constants: Mapping[str, Constant]
    aliases: Iterator[int] = field(default_factory=count, compare=False)
    lenient: bool = False
    index: Focus | None = None
    value_sets: Mapping[str, ValueSet] = field(default_factory=dict)
    resolved: dict[str, Expr] = field(default_factory=dict, compare=False)
    numbered: set[str] = field(default_factory=set, compare=False)
    wholes: set[str] = field(default_factory=set, compare=False)
    indexed: set[str] = field(default_factory=set, compare=False)

    def alias(self, prefix: str) -> str:
        """A FROM alias that is used nowhere else in the statement."""
        return f"{prefix}{next(self.aliases)}"

    def on(self, this: Expr) -> Scope:
        """The same scope with another focus."""
        return replace(self, this=this)

    def each(self, item: Focus) -> Scope:
        """The same scope for each item of a collection, which has an index."""
        return replace(self, this=item, index=item)

    def item(self, types: Types) -> Focus:
        """A focus of these types that no FROM item provides yet."""
        return Focus(self.alias("i"), types)
