"""The physical tables of a view, and the SQL views that users read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from researchflow_runners.compiler.column import LOW_SUFFIX, Column
from researchflow_runners.compiler.sql_types import MOMENT_TYPES, TEXT_TYPES, base_type
from researchflow_runners.compiler.view import CompiledView
from researchflow_runners.errors import StatementError, StoreError
from researchflow_runners.sql import Sql, compose, fixed, ident, join
from researchflow_runners.store.database import Session
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import SCHEMA, anchored_relation, live_relation

#: Leaves room for `history_`, the digest and an anchor of 14 digits within PostgreSQL's 63 bytes.
_STEM_LENGTH_MAX = 30
_DIGEST_LENGTH = 8
DROP_TIMEOUT_S = 1
_WORD = re.compile(r"[A-Za-z0-9_]{1,128}")

#: Rows come and go with every refresh: at the default of a fifth dead, a large table would keep as
#: much waste as years of small refreshes leave behind.
_BUSY = fixed("autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05")

_ORPHANS = """
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = 'researchflow'::regnamespace AND c.relkind = 'r'
  AND c.relname ~ '^(base|history|overlay)_.*_[0-9a-f]{8}(_[0-9]+)?$'
  AND NOT EXISTS (SELECT FROM researchflow.view_catalogue AS v
                  WHERE c.relname IN (v.base_table, v.history_table, v.overlay_table))
  AND NOT EXISTS (SELECT FROM researchflow.former_view AS f
                  WHERE c.relname IN (f.base_table, f.history_table))
ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True)
class ViewTables:
    """Names of a view's tables in schema researchflow."""

    base: str
    history: str
    overlay: str


def tables_of(name: str, digest: str, anchor: int) -> ViewTables:
    """The names of tables that are made for this anchor.

    A changed definition has another digest; one that comes back must not find its former tables,
    which a pinned anchor may hold.
    """
    stem = f"{name[:_STEM_LENGTH_MAX]}_{_short(digest)}_{anchor}"
    return ViewTables(f"base_{stem}", f"history_{stem}", f"overlay_{stem}")


def publication(view: CompiledView, since_anchor: int) -> PublishedView:
    """The catalogue row that the view will have."""
    return published_at(
        view.name,
        view.digest,
        resource_type=view.resource,
        columns=view.columns,
        anchor=since_anchor,
    )


def published_at(
    name: str, digest: str, *, resource_type: str, columns: tuple[Column, ...], anchor: int
) -> PublishedView:
    """A view in tables that are made for this anchor."""
    tables = tables_of(name, digest, anchor)
    return PublishedView(
        name=name,
        digest=digest,
        resource_type=resource_type,
        columns=columns,
        base_table=tables.base,
        history_table=tables.history,
        overlay_table=tables.overlay,
        since_anchor=anchor,
    )


async def create_base(session: Session, published: PublishedView) -> None:
    """The empty base table, to be filled and finished; a refresh makes it with its rows."""
    table = ident(SCHEMA, published.base_table)
    columns = _definitions(published)
    await session.execute(compose("CREATE TABLE {} ({}, _since bigint NOT NULL)", table, columns))


async def create_history(session: Session, published: PublishedView) -> None:
    """The empty history table."""
    table = ident(SCHEMA, published.history_table)
    extra = fixed("_since bigint NOT NULL, _until bigint NOT NULL")
    columns = _definitions(published)
    await session.execute(
        compose("CREATE TABLE {} ({}, {}) WITH ({})", table, columns, extra, _BUSY)
    )
    await session.execute(compose("CREATE INDEX ON {} (_until)", table))


async def create_overlay(session: Session, published: PublishedView) -> None:
    """The empty overlay table; its foreign key waits for writers of overlay_entry."""
    table = published.overlay_table
    await session.execute(
        compose(
            "CREATE TABLE {} ({}, _entry bigint NOT NULL"
            " REFERENCES researchflow.overlay_entry (entry_id) ON DELETE CASCADE)",
            ident(SCHEMA, table),
            _definitions(published),
        )
    )
    await _index(session, table, ["_entry", *filter_columns(published.columns)])


async def finish_base(session: Session, published: PublishedView) -> None:
    """The indexes of a filled base table (made after the rows they cost half), and statistics.

    Only of the indexed columns: planning right at once needs no more, autovacuum adds the rest.
    """
    table = published.base_table
    columns = ["_res_id", *filter_columns(published.columns)]
    await session.execute(compose("ALTER TABLE {} SET ({})", ident(SCHEMA, table), _BUSY))
    await _index(session, table, columns)
    names = join(", ", (ident(column) for column in columns))
    await session.execute(compose("ANALYZE {} ({})", ident(SCHEMA, table), names))


def filter_columns(columns: tuple[Column, ...]) -> list[str]:
    """The stored columns worth an index: the id, the patient, codes, the first date.

    A status or category has a system too, but too few values for an index to help.
    """
    names = [column.name for column in columns if _is_key(column)]
    dates = [
        column.name + LOW_SUFFIX if column.has_range else column.name
        for column in columns
        if column.has_range or column.base_type in MOMENT_TYPES
    ]
    return ["_id", *names, *dates[:1]]


def _is_key(column: Column) -> bool:
    """Whether the column is a patient's key or a clinical code, and stored."""
    if column.collection or not column.is_text or column.is_key:
        return False
    is_code = column.system is not None and (column.name == "code" or column.name[-5:] == "_code")
    return column.name == "patient_id" or is_code


async def publish_sql_views(session: Session, published: PublishedView) -> None:
    """Points sqlonfhir.<view> and sqlonfhir_live.<view> at the published tables."""
    columns = join(", ", (ident(column.name) for column in published.columns))
    guard = compose(
        "researchflow.require_published({}, {})", _word(published.name), _word(published.digest)
    )
    for schema, relation in (
        ("sqlonfhir", anchored_relation(published)),
        ("sqlonfhir_live", live_relation(published)),
    ):
        name = ident(schema, published.name)
        body = compose("AS SELECT {} FROM {} AS r WHERE {}", columns, relation, guard)
        await _replace_view(session, name, body)


async def drop_sql_views(session: Session, view_name: str) -> None:
    """Removes the SQL views of a view that is no longer defined."""
    for schema in ("sqlonfhir", "sqlonfhir_live"):
        await session.execute(compose("DROP VIEW IF EXISTS {}", ident(schema, view_name)))


async def drop_orphans(session: Session) -> None:
    """Drops view tables that no catalogue row names: of crashed refreshes, former definitions.

    A table that a reader still holds is left to the next refresh.
    """
    for row in await session.fetch(_ORPHANS):
        try:
            async with session.transaction():
                await session.execute(f"SET LOCAL lock_timeout = '{DROP_TIMEOUT_S}s'")
                await session.execute(compose("DROP TABLE {}", ident(SCHEMA, row[0])))
        except StoreError as error:
            if error.code != "postgres_conflict":
                raise


async def _replace_view(session: Session, name: Sql, body: Sql) -> None:
    """Replaces in place where the columns allow, which keeps grants and dependent views."""
    try:
        async with session.savepoint():
            await session.execute(compose("CREATE OR REPLACE VIEW {} {}", name, body))
    except StatementError as error:
        if error.sqlstate != "42P16":
            raise
        await session.execute(compose("DROP VIEW {}", name))
        await session.execute(compose("CREATE VIEW {} {}", name, body))


async def _index(session: Session, table: str, columns: list[str]) -> None:
    for column in columns:
        await session.execute(
            compose("CREATE INDEX ON {} ({})", ident(SCHEMA, table), ident(column))
        )


def _definitions(published: PublishedView) -> Sql:
    """Column definitions; text compares by bytes, which is what FHIR ids and codes mean."""
    return join(
        ", ",
        (
            compose("{} {}", ident(name), stored_type(kind))
            for name, kind in published.stored_columns
        ),
    )


def stored_type(pg_type: str) -> Sql:
    """The type as stored."""
    return fixed(f'{pg_type} COLLATE "C"' if base_type(pg_type) in TEXT_TYPES else pg_type)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_DIGEST_LENGTH]


def _word(word: str) -> Sql:
    """A view name or digest as a literal: DDL takes no parameters."""
    if not _WORD.fullmatch(word):
        raise ValueError(f"not a word: {word!r}")
    return fixed(f"'{word}'")
