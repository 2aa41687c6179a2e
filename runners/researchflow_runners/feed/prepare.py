"""The outbox in the FHIR server's database: its DDL, installed, checked and removed.

Installing needs the owner of HAPI's tables and CREATE on the database; reading needs what
`grants` says. A HAPI upgrade that makes its tables anew drops the triggers with them: every look
at the feed notices, reads by comparison until they are back, and then compares once more.
"""

from __future__ import annotations

from importlib import resources

from researchflow_runners.errors import SourceDataError, StatementError, StoreError
from researchflow_runners.feed.state import FeedState, look_at_feed
from researchflow_runners.sql import compose, fixed, ident
from researchflow_runners.store.database import Database, Session

#: How long installing waits for writers of HAPI's tables, which wait behind it meanwhile.
LOCK_TIMEOUT_S = 5
NO_RIGHTS_STATE = "42501"
NO_ROLE_STATE = "42704"
_DDL = resources.files(__package__).joinpath("prepare.sql").read_text()
_TRIGGERS = resources.files(__package__).joinpath("triggers.sql").read_text()
_REMOVE = "DROP SCHEMA IF EXISTS researchflow_outbox CASCADE"
_GRANTS = """
GRANT USAGE ON SCHEMA researchflow_outbox TO {role};
GRANT SELECT, DELETE ON researchflow_outbox.change TO {role};
"""
_TABLES = """
SELECT n.nspname AS schema, c.relname AS name,
       EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = 'fhir_id'
               AND NOT a.attisdropped) AS has_fhir_id
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (ARRAY[to_regclass('hfj_resource'), to_regclass('hfj_res_ver'),
                         to_regclass('hfj_res_tag')]::oid[])
"""
_SEEN = ("res_ver", "res_updated", "res_deleted_at", "has_tags")


async def show_outbox(source: Database, *, role: str | None = None) -> str:
    """The DDL for this database, with the grants for the role that reads, if it is named.

    SourceDataError `source_tables_missing`.
    """
    async with source.session() as session:
        return await _ddl(session, role)


async def install_outbox(source: Database, *, role: str | None = None) -> FeedState:
    """Installs the outbox, or what is missing of it; gives what is found afterwards.

    SourceDataError `source_tables_missing`, `source_rights_missing`, `role_unknown`, and then
    nothing is installed; StoreError `source_busy` when writers of HAPI's tables do not end within
    LOCK_TIMEOUT_S.
    """
    try:
        async with source.transaction() as session:
            await session.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
            state = await look_at_feed(session)
            # Triggers made anew would have every reader compare everything.
            if state.kind == "scan":
                await session.execute(await _ddl(session, role))
            elif role:
                await session.execute(_grants(role))
        return await check_outbox(source)
    except StatementError as error:
        if role and error.sqlstate == NO_ROLE_STATE:
            raise _no_role(role) from error
        raise _translated(error) from error
    except StoreError as error:
        if error.code != "postgres_conflict":
            raise
        raise StoreError(
            "other transactions hold HAPI's tables",
            code="source_busy",
            hint="try again when the FHIR server has less to do",
        ) from error


async def check_outbox(source: Database) -> FeedState:
    """What the source allows now, as the reading role sees it."""
    async with source.transaction(isolation="repeatable read", readonly=True) as session:
        return await look_at_feed(session)


async def remove_outbox(source: Database) -> None:
    """Drops the schema and, with it, the triggers; SourceDataError `source_rights_missing`."""
    try:
        async with source.transaction() as session:
            await session.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
            await session.execute(_REMOVE)
    except StatementError as error:
        raise _translated(error) from error


async def _ddl(session: Session, role: str | None) -> str:
    tables = {row["name"]: row for row in await session.fetch(_TABLES)}
    for name in ("hfj_resource", "hfj_res_ver", "hfj_res_tag"):
        if name not in tables:
            raise _missing(name)
    seen = [*_SEEN, *["fhir_id"] * tables["hfj_resource"]["has_fhir_id"]]
    named = {name: ident(row["schema"], row["name"]) for name, row in tables.items()}
    triggers = compose(
        _TRIGGERS,
        resource=named["hfj_resource"],
        version=named["hfj_res_ver"],
        tag=named["hfj_res_tag"],
        old=fixed(", ".join(f"OLD.{name}" for name in seen)),
        new=fixed(", ".join(f"NEW.{name}" for name in seen)),
    )
    return "\n".join((_DDL, triggers.render()[0], _grants(role)))


def _grants(role: str | None) -> str:
    """What the reading role needs beside SELECT on HAPI's tables: to read, and to prune."""
    return compose(_GRANTS, role=ident(role)).render()[0] if role else ""


def _translated(error: StatementError) -> SourceDataError | StatementError:
    if error.sqlstate != NO_RIGHTS_STATE:
        return error
    return SourceDataError(
        "the database role may not change HAPI's tables",
        code="source_rights_missing",
        hint="run the DDL of `researchflow source prepare --show` as their owner, with --role for "
        "the role of RESEARCHFLOW_SOURCE_URL",
    )


def _no_role(role: str) -> SourceDataError:
    return SourceDataError(
        f'the source has no role "{role}"',
        code="role_unknown",
        field="role",
        hint="name the role of RESEARCHFLOW_SOURCE_URL, or create it first; nothing was installed",
    )


def _missing(table: str) -> SourceDataError:
    return SourceDataError(
        f'the source database has no table "{table}"',
        code="source_tables_missing",
        hint="give the DSN of a HAPI FHIR JPA database, or fill the embedded one with "
        "`researchflow load`",
        field="source",
    )
