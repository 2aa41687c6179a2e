"""The SQL views of a composed view, over the SQL views that it reads, for psql and Grafana.

They run with the rights of their owner, so what PostgreSQL made of the text is looked at once
more: the views it reads, and nothing that somebody added to the database.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from researchflow_runners.composed.casts import ISO_TEXT
from researchflow_runners.composed.checked import CheckedSql
from researchflow_runners.composed.outputs import columns_sql
from researchflow_runners.composed.view import ComposedView, with_sql
from researchflow_runners.composed.vocabulary import CLOCK_HINT
from researchflow_runners.errors import StatementError, ViewDefinitionError
from researchflow_runners.sql import Sql, compose, fixed, ident, join
from researchflow_runners.store.database import Session

SCHEMAS = ("sqlonfhir", "sqlonfhir_live")
_CANNOT_REPLACE = "42P16"

#: Everything that the view stands on and that is not in $2. Objects that PostgreSQL came with are
#: not in pg_depend, so its catalogue's tables are read off the rule.
_REACHED = r"""
WITH rule AS (
    SELECT r.oid, r.ev_class, r.ev_action::text AS action
    FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = $1::regclass
)
SELECT EXISTS (
    SELECT FROM rule JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_rewrite'::regclass AND d.objid = rule.oid
    WHERE NOT (d.refclassid = 'pg_class'::regclass
               AND d.refobjid = ANY ($2::regclass[] || rule.ev_class::regclass))
      AND NOT (d.refclassid = 'pg_type'::regclass AND d.refobjid = $3::regtype)
) OR EXISTS (
    SELECT FROM rule, regexp_matches(rule.action, ':relid ([0-9]+)', 'g') AS found
    WHERE found[1]::oid <> 0 AND found[1]::oid <> ALL ($2::regclass[] || rule.ev_class::regclass)
)
"""
#: Whether a function of the view is volatile or has to do with a time that has a zone: whatever
#: makes one of a plain time takes the offset of the zone today.
CHANGEABLE = r"""
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_rewrite AS r, pg_catalog.pg_proc AS p,
        regexp_matches(r.ev_action::text, ':((op)?funcid|(agg|win)fnoid) ([0-9]+)', 'g') AS called
    WHERE p.oid = called[4]::oid AND r.ev_class = $1::regclass
      AND (p.provolatile = 'v' OR p.prorettype = 'timetz'::regtype
           OR 'timetz'::regtype = ANY (p.proargtypes))
)
"""


async def publish_sql_views(session: Session, view: ComposedView, checked: CheckedSql) -> None:
    """Makes both SQL views, in place where the columns allow, which keeps grants.

    ViewDefinitionError `sql_reaches_out` when one would read more than it declares, `sql_clock`
    when its rows would depend on when they are computed. One with parameters is looked at and
    taken away again: without values it has no rows to show.
    """
    text = checked.over_nulls()
    for schema in SCHEMAS:
        name = ident(schema, view.name)
        body = compose(
            "AS {with_}SELECT {columns} FROM ({sql}) AS u",
            with_=with_sql(text, view.sources, partial(_sql_view, schema)),
            columns=join(", ", columns_sql(view.columns, fixed("u"))),
            sql=text.sql(),
        )
        await _replace(session, name, body)
        reads = [ident(schema, source.view) for source in view.sources.values()]
        await check_reach(session, name, reads)
        await _check_timeless(session, name)
    if view.parameters:
        await drop_sql_views(session, [view.name])


async def drop_sql_views(session: Session, names: Sequence[str]) -> None:
    """Removes the SQL views of these composed views; give those that read others first."""
    for name in names:
        for schema in SCHEMAS:
            await session.execute(compose("DROP VIEW IF EXISTS {}", ident(schema, name)))


async def check_reach(session: Session, name: Sql, reads: Sequence[Sql]) -> None:
    """ViewDefinitionError unless the SQL view stands on these relations alone."""
    allowed = [relation.render()[0] for relation in reads]
    if not await session.fetchval(_REACHED, name.render()[0], allowed, ISO_TEXT):
        return
    raise ViewDefinitionError(
        f"the SQL of {name.render()[0]} reaches beyond the views it declares",
        code="sql_reaches_out",
        field="content",
        hint="Use the declared views and PostgreSQL's own functions and operators only.",
    )


async def _check_timeless(session: Session, name: Sql) -> None:
    if not await session.fetchval(CHANGEABLE, name.render()[0]):
        return
    raise ViewDefinitionError(
        "the SQL calls what gives another result each day, as a time without a date AT TIME ZONE",
        code="sql_clock",
        field="content",
        hint=f"Add the date to the time first. {CLOCK_HINT}",
    )


def _sql_view(schema: str, name: str, _columns: Collection[str]) -> Sql:
    return ident(schema, name)


async def _replace(session: Session, name: Sql, body: Sql) -> None:
    try:
        async with session.savepoint():
            await session.execute(compose("CREATE OR REPLACE VIEW {} {}", name, body))
    except StatementError as error:
        if error.sqlstate != _CANNOT_REPLACE:
            raise
        await session.execute(compose("DROP VIEW {}", name))
        await session.execute(compose("CREATE VIEW {} {}", name, body))
