"""The compiler's product: a view that is ready to run over any relation of resources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from researchflow_runners.compiler.column import Column, stored_columns
from researchflow_runners.sql import Sql, compose


@dataclass(frozen=True, slots=True)
class CompiledView:
    """A ViewDefinition as SQL.

    `digest` changes whenever the definition or the SQL made from it changes. `fans_out` says that
    a resource may have more than one row; `reads_meta` that the source's `meta` matters;
    `volatile` that the rows depend on the clock, so that they cannot be kept.
    """

    name: str
    resource: str
    digest: str
    definition: dict[str, Any]
    columns: tuple[Column, ...]
    before_source: Sql
    after_source: Sql
    fans_out: bool
    reads_meta: bool
    volatile: bool

    def select(self, source: Sql) -> Sql:
        """The SELECT over `source`, a parenthesised query or a table of resources.

        The source has the columns `res_id bigint`, `id text`, `text text` (the resource's JSON)
        and `meta jsonb` (the meta to use instead of the text's, or null). The SELECT gives
        HIDDEN_COLUMNS and then every `Column.physical`, in order; its rows come in no order.
        """
        return compose("{}{}{}", self.before_source, source, self.after_source)

    def column(self, name: str) -> Column | None:
        """The public column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def stored_columns(self) -> tuple[tuple[str, str], ...]:
        """Name and type of every column of the view's tables, hidden ones first."""
        return stored_columns(self.columns)
