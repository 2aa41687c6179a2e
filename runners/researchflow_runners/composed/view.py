"""A composed view, ready to be read: the relation of its SQL over the relations of its views."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from researchflow_runners.compiler.column import HIGH_SUFFIX, LOW_SUFFIX, Column
from researchflow_runners.compiler.periods import high, low
from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.composed.outputs import ROW_BYTES_MAX, TOO_LARGE, columns_sql, fits
from researchflow_runners.composed.parameters import SqlParameter, types_of
from researchflow_runners.errors import QueryError, StatementError, StoreError
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, ident, join
from researchflow_runners.store.data_faults import is_data_error

#: Part of every digest: raise it when the same definition gives other rows.
COMPOSER_VERSION = "1"
#: SQLSTATEs of a text that is no date or time.
NO_DATE = ("22007", "22008")
#: SQLSTATE of a statement that wrote more temporary files than it may.
LIMIT_EXCEEDED = "53400"
#: Types of which one value may have several texts.
_MANY_TEXTS = frozenset({"numeric", "double precision", "jsonb"})
#: The rows of a view with at least the named columns, to stand in FROM before an alias.
Relations = Callable[[str, Collection[str]], Sql]


@dataclass(frozen=True, slots=True)
class Source:
    """A view that the SQL reads, and the names of its public columns."""

    view: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ComposedView:
    """Named SQL over views. `sources` gives the view behind each label.

    `fault` says why it can no longer be computed, since a view it reads was defined anew or this
    release takes less SQL; None when it can. Then `checked` may be None. `expires_at` is the
    instant from which it is no longer there, None when it stays.

    With `parameters` it has rows only where `values` gives one of each, as the driver takes them.
    """

    name: str
    definition: Mapping[str, Any]
    description: str | None
    columns: tuple[Column, ...]
    sources: Mapping[str, Source]
    checked: CheckedSql | None
    fault: str | None = None
    expires_at: datetime | None = None
    parameters: tuple[SqlParameter, ...] = ()
    values: Mapping[str, Any] | None = None

    @property
    def depends_on(self) -> dict[str, str]:
        """The view behind each label."""
        return {label: source.view for label, source in self.sources.items()}

    @property
    def digest(self) -> str:
        """Changes whenever the SQL, a column, or what is behind a label does."""
        parts = {
            "version": COMPOSER_VERSION,
            "name": self.name,
            "sql": self.checked.syntax.text if self.checked else None,
            "columns": [asdict(column) for column in self.columns],
            "sources": {label: asdict(source) for label, source in self.sources.items()},
            **({"parameters": types_of(self.parameters)} if self.parameters else {}),
        }
        canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def takes(self) -> dict[str, str] | None:
        """The type of each parameter, and what its author says of it; None when there are none."""
        told = {
            one.name: f"{one.fhir_type}: {one.documentation}"
            if one.documentation
            else one.fhir_type
            for one in self.parameters
        }
        return told or None

    def column(self, name: str) -> Column | None:
        """The public column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    def relation(self, relations: Relations) -> Sql:
        """HIDDEN_COLUMNS, the physical columns and `_layer`, parenthesised, to stand in a FROM.

        `_id` is a digest of the row and `_ord` numbers equal rows, so the order by both is total
        and depends on nothing but the rows. `_layer` is 'batch': a row may be made of many, and of
        none when it counts. Raises QueryError `composed_view_broken` when the view can no longer be
        computed, `view_takes_parameters` when it lacks the values of its parameters.
        """
        checked = self._sound()
        self.require_values("view")
        names = [ident(column.name) for column in self.columns]
        public = join(", ", (compose("q.{}", name) for name in names))
        # Partitioned by every column, for only filters on such columns are applied below a window.
        # The periods stand above it: there they cost nothing where nobody asks for them.
        return compose(
            "({with_}SELECT NULL::bigint AS _res_id, w._id, w._ord, {physical},"
            " 'batch'::text AS _layer"
            ' FROM (SELECT CASE WHEN {fits} THEN md5(ROW({public})::text) END COLLATE "C" AS _id,'
            " row_number() OVER (PARTITION BY {public}{order})::integer AS _ord, {public}"
            " FROM (SELECT {columns} FROM ({sql}) AS u) AS q) AS w)",
            with_=with_sql(checked, self.sources, relations),
            physical=join(", ", _physical(self.columns)),
            public=public,
            fits=fits(self.columns, fixed("q")),
            order=_order_of_equals(self.columns),
            columns=join(", ", columns_sql(self.columns, fixed("u"))),
            sql=checked.sql(self.values),
        )

    def require_values(self, field: str) -> None:
        """QueryError `view_takes_parameters` when it has parameters and no values for them."""
        if self.parameters and self.values is None:
            message, hint = unvalued(self)
            raise QueryError(message, code="view_takes_parameters", hint=hint, field=field)

    def _sound(self) -> CheckedSql:
        if self.checked is not None and self.fault is None:
            return self.checked
        raise QueryError(
            f'the composed view "{self.name}" cannot be computed: {self.fault}',
            code="composed_view_broken",
            hint="register it again with SQL that fits its views, or drop it",
            field="view",
        )


def unvalued(view: ComposedView) -> tuple[str, str]:
    """What is wrong with reading a view without the values it takes, and the way out."""
    takes = ", ".join(f"{one.name} ({one.fhir_type})" for one in view.parameters)
    return (
        f'the view "{view.name}" has no rows without values for {takes}',
        "ask it alone: query_view with view and parameters; elsewhere write its SQL as a WITH"
        " query",
    )


@contextmanager
def users_sql(name: str, *, field: str | None = None) -> Iterator[None]:
    """Says whose SQL it is that cannot be computed inside: QueryError `composed_view_fails`, or
    `sql_too_costly` when it needs more memory or temporary files than a statement may have."""
    try:
        yield
    except StatementError as error:
        if error.sqlstate == LIMIT_EXCEEDED:
            raise _too_costly(name, field) from error
        if not is_data_error(error):
            raise
        raise does_not_fit(name, error, field=field) from error
    except StoreError as error:
        if error.code != "postgres_resources":
            raise
        raise _too_costly(name, field) from error


def _too_costly(name: str, field: str | None) -> QueryError:
    return QueryError(
        f'the SQL of "{name}" needs more memory or temporary files than a statement may have',
        code="sql_too_costly",
        hint="aggregate before joining, read fewer rows, or make shorter texts and lists",
        field=field,
    )


def does_not_fit(name: str, error: StatementError, *, field: str | None = None) -> QueryError:
    """Says whose SQL it is that a row of its views does not fit."""
    what = "does not fit a row of its views"
    hint = "guard its casts and divisions with CASE or NULLIF, or narrow the question"
    if error.sqlstate in NO_DATE:
        hint = "guard its casts with CASE: text is read as a date where it is written in ISO 8601"
    if error.sqlstate == TOO_LARGE:
        what = "makes a row that is too large"
        hint = f"select at most {ROW_BYTES_MAX} bytes in a row"
    return QueryError(
        f'the SQL of "{name}" {what} (SQLSTATE "{error.sqlstate}")',
        code="composed_view_fails",
        hint=hint,
        field=field,
    )


def with_sql(checked: CheckedSql, sources: Mapping[str, Source], relations: Relations) -> Sql:
    """`WITH …`: each relation that the SQL reads, with its public columns, under its name there."""
    queries = []
    for name, label in checked.labels.items():
        source = sources[label]
        columns = _read(checked, source.columns)
        queries.append(
            compose(
                "{} AS NOT MATERIALIZED (SELECT {} FROM {} AS r)",
                ident(name),
                join(", ", (compose("r.{}", ident(column)) for column in columns)),
                relations(source.view, columns),
            )
        )
    return compose("WITH {} ", join(", ", queries)) if queries else fixed("")


def _read(checked: CheckedSql, columns: Sequence[str]) -> Sequence[str]:
    """The columns that the SQL may read; one at least, a relation of none has no text."""
    wanted = checked.columns_read
    if wanted is None:
        return columns
    return [column for column in columns if column in wanted] or columns[:1]


def _order_of_equals(columns: Sequence[Column]) -> Sql:
    """An order of rows that are equal and look different, as 1.0 and 1.00 do."""
    texts = [
        compose('q.{}::text COLLATE "C"', ident(column.name))
        for column in columns
        if column.base_type in _MANY_TEXTS
    ]
    return compose(" ORDER BY {}", join(", ", texts)) if texts else EMPTY


def _physical(columns: Sequence[Column]) -> list[Sql]:
    """Every column, and beside each date the period it means."""
    found = []
    for column in columns:
        value = compose("w.{}", ident(column.name))
        found.append(value)
        if column.has_range:
            start = low(value)
            found.append(compose("{} AS {}", start, ident(column.name + LOW_SUFFIX)))
            found.append(compose("{} AS {}", high(value, start), ident(column.name + HIGH_SUFFIX)))
    return found
