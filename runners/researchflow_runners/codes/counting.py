"""The codes of rows, counted; and what rows that come and go change of such counts.

Both give one row for each code's display with the rows it is in, and one for each code, without a
display, with its patients. Codes longer than a key of the index takes are no codes and left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from researchflow_runners.codes.coded import CodedColumn, coded_columns, patient_column
from researchflow_runners.compiler.column import Column
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, ident, join, param
from researchflow_runners.store.published import PublishedView
from researchflow_runners.store.relations import COUNTING, SCHEMA, table_columns

CODE_BYTES_MAX = 256
DISPLAY_CHARS_MAX = 300

_VALUES = """
(SELECT v.column_name, v.system, v.code, v.display, {patient} AS patient{more}
 FROM {rows} AS r CROSS JOIN LATERAL (VALUES {values}) AS v (column_name, system, code, display)
 WHERE v.code <> '' AND octet_length(v.code) <= {bytes} AND octet_length(v.system) <= {bytes})
"""
_WHOLE = """
WITH pair AS MATERIALIZED (
    SELECT column_name, system, code, display, patient, count(*) AS n FROM {values} AS s
    GROUP BY 1, 2, 3, 4, 5)
SELECT column_name, system, code, display, sum(n)::bigint AS row_count, 0::bigint AS patient_count
FROM pair GROUP BY 1, 2, 3, 4
UNION ALL
SELECT column_name, system, code, NULL, 0, count(DISTINCT patient) FROM pair GROUP BY 1, 2, 3
"""
#: A patient is gained or lost only where no unchanged row of hers has the code.
_MOVED = """
WITH changed AS MATERIALIZED (SELECT res_id FROM {changed} AS c),
moved AS (SELECT {columns}, -1 AS n FROM {base} AS b WHERE b._res_id IN (SELECT res_id FROM changed)
          UNION ALL SELECT {added_columns}, 1 FROM {added} AS a),
pair AS MATERIALIZED (
    SELECT column_name, system, code, display, patient, sum(n) AS n,
           bool_or(n > 0) AS comes, bool_or(n < 0) AS goes
    FROM {values} AS s GROUP BY 1, 2, 3, 4, 5),
mark AS (
    SELECT column_name, system, code, patient, bool_or(comes) AS comes FROM pair
    WHERE patient IS NOT NULL GROUP BY 1, 2, 3, 4 HAVING bool_or(comes) <> bool_or(goes))
SELECT column_name, system, code, display, sum(n)::bigint AS row_count, 0::bigint AS patient_count
FROM pair GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0
UNION ALL
SELECT column_name, system, code, NULL, 0, sum(CASE WHEN comes THEN 1 ELSE -1 END)
FROM mark AS m WHERE NOT CASE {held} END GROUP BY 1, 2, 3
"""
_HELD = """
WHEN m.column_name = {name} THEN EXISTS (
    SELECT FROM {base} AS b WHERE b.{patient} = m.patient AND b.{code} = m.code{system}
    AND b._res_id NOT IN (SELECT res_id FROM changed))
"""
_WAITING = """
(SELECT e.base_res_id AS res_id FROM researchflow.overlay_entry AS e
 WHERE e.res_type = {type} AND e.base_res_id IS NOT NULL AND {counting})
"""
_OVERLAY = """
(SELECT {columns} FROM {overlay} AS o WHERE EXISTS (
    SELECT FROM researchflow.overlay_entry AS e WHERE e.entry_id = o._entry AND {counting}))
"""


def whole_sql(columns: Sequence[Column], resource_type: str | None, rows: Sql) -> Sql | None:
    """The codes of all rows of a relation with these public columns; None without coded ones."""
    coded = coded_columns(columns)
    if not coded:
        return None
    return compose(_WHOLE, values=_values(coded, columns, resource_type, rows))


def moved_sql(published: PublishedView, *, changed: Sql, added: Sql, columns: Sql) -> Sql | None:
    """What replacing the rows of `changed` (res_id) by those of `added` does to the counts.

    `columns` are those of `added`, as of `table_columns`. None for a view without coded columns.
    """
    coded = coded_columns(published.columns)
    if not coded:
        return None
    base = ident(SCHEMA, published.base_table)
    values = _values(
        coded, published.columns, published.resource_type, fixed("moved"), more=fixed(", r.n")
    )
    return compose(
        _MOVED,
        changed=changed,
        columns=table_columns(published, "b"),
        base=base,
        added_columns=columns,
        added=added,
        values=values,
        held=_held(coded, published, base),
    )


def waiting_sql(published: PublishedView) -> Sql | None:
    """What the waiting changes do to the counts of the current anchor."""
    counting = fixed(COUNTING)
    overlay = compose(
        _OVERLAY,
        columns=table_columns(published, "o"),
        overlay=ident(SCHEMA, published.overlay_table),
        counting=counting,
    )
    waiting = compose(_WAITING, type=param(published.resource_type, "text"), counting=counting)
    return moved_sql(published, changed=waiting, added=overlay, columns=fixed("a.*"))


def _values(
    coded: Sequence[CodedColumn],
    columns: Sequence[Column],
    resource_type: str | None,
    rows: Sql,
    *,
    more: Sql = EMPTY,
) -> Sql:
    """One row for each coded value of each row."""
    patient = patient_column(columns, resource_type)
    return compose(
        _VALUES,
        patient=ident("r", patient.name) if patient else fixed("NULL::text"),
        more=more,
        rows=rows,
        values=join(", ", (_value(one) for one in coded)),
        bytes=fixed(str(CODE_BYTES_MAX)),
    )


def _value(coded: CodedColumn) -> Sql:
    return compose(
        '({name}, {system}, {code}::text COLLATE "C", {display})',
        name=param(coded.name, "text"),
        system=_system(coded, "r"),
        code=ident("r", coded.name),
        display=compose(
            "left(coalesce({}, ''), {}) COLLATE \"C\"",
            ident("r", coded.display_column),
            fixed(str(DISPLAY_CHARS_MAX)),
        )
        if coded.display_column
        else fixed("''"),
    )


def _system(coded: CodedColumn, alias: str) -> Sql:
    """The row's own system where a column tells it, else the column's, else nothing."""
    if coded.system_column is None:
        return param(coded.system or "", "text")
    return compose("coalesce({}, '')", ident(alias, coded.system_column))


def _held(coded: Sequence[CodedColumn], published: PublishedView, base: Sql) -> Sql:
    """Whether the patient has the code in a row that stays."""
    patient = patient_column(published.columns, published.resource_type)
    if patient is None:
        return fixed("WHEN true THEN true")
    key = ident("_id" if patient.is_key else patient.name)
    return join(
        " ",
        (
            compose(
                _HELD,
                name=param(one.name, "text"),
                base=base,
                patient=key,
                code=ident(one.name),
                system=compose(" AND {} = m.system", _system(one, "b"))
                if one.system_column
                else EMPTY,
            )
            for one in coded
        ),
    )
