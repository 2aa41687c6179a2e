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

#: Rows that say the same are taken together before they are taken apart by column.
_WHOLE = """
WITH said AS (
    SELECT {patient} AS _patient, {columns}, count(*) AS _n FROM {rows} AS r GROUP BY {every}),
pair AS MATERIALIZED (
    SELECT v.column_name, v.system, v.code, v.display, r._patient AS patient, sum(r._n) AS n
    FROM said AS r CROSS JOIN LATERAL {values}
    GROUP BY 1, 2, 3, 4, 5)
SELECT column_name, system, code, display, sum(n)::bigint AS row_count, 0::bigint AS patient_count
FROM pair GROUP BY 1, 2, 3, 4
UNION ALL
SELECT column_name, system, code, NULL, 0, count(DISTINCT patient) FROM pair GROUP BY 1, 2, 3
"""
#: A resource whose rows say the same as before is no change. A patient is gained or lost only where
#: no row of hers that stays has the code.
_MOVED = """
WITH moved AS MATERIALIZED (
    SELECT r._key, {patient} AS _patient, {columns}, r._n
    FROM (SELECT {base_columns}, b._res_id AS _key, -1 AS _n FROM {base} AS b
          WHERE b._res_id IN (SELECT res_id FROM {changed} AS c)
          UNION ALL SELECT a.*, 1 FROM {added} AS a) AS r),
changed AS MATERIALIZED (
    SELECT DISTINCT _key FROM (
        SELECT _key FROM moved AS r GROUP BY _key, {every} HAVING sum(_n) <> 0) AS g),
pair AS MATERIALIZED (
    SELECT v.column_name, v.system, v.code, v.display, r._patient AS patient, sum(r._n) AS n,
           bool_or(r._n > 0) AS comes, bool_or(r._n < 0) AS goes
    FROM (SELECT * FROM moved WHERE _key IN (SELECT _key FROM changed)) AS r
    CROSS JOIN LATERAL {values}
    GROUP BY 1, 2, 3, 4, 5),
mark AS (
    SELECT column_name, system, code, patient, bool_or(comes) AS comes FROM pair
    WHERE patient IS NOT NULL GROUP BY 1, 2, 3, 4 HAVING bool_or(comes) <> bool_or(goes))
SELECT column_name, system, code, display, sum(n)::bigint AS row_count, 0::bigint AS patient_count
FROM pair GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0
UNION ALL
SELECT column_name, system, code, NULL, 0, sum(CASE WHEN comes THEN 1 ELSE -1 END)
FROM mark AS m WHERE NOT CASE {held} END GROUP BY 1, 2, 3
"""
_TAKEN_APART = """
(SELECT * FROM (VALUES {values}) AS u (column_name, system, code, display)
 WHERE u.code <> '' AND octet_length(u.code) <= {bytes} AND octet_length(u.system) <= {bytes}) AS v
"""
_HELD = """
WHEN m.column_name = {name} THEN EXISTS (
    SELECT FROM {base} AS b WHERE b.{patient} = m.patient AND b.{code} = m.code{system}
    AND b._res_id NOT IN (SELECT _key FROM changed))
"""
_WAITING = """
(SELECT e.base_res_id AS res_id FROM researchflow.overlay_entry AS e
 WHERE e.res_type = {type} AND e.base_res_id IS NOT NULL AND {counting})
"""
#: What is new to the batch layer has no key there; no two entries of it are the same resource.
_OVERLAY = """
(SELECT {columns}, coalesce(e.base_res_id, -e.entry_id) AS _key
 FROM {overlay} AS o JOIN researchflow.overlay_entry AS e ON e.entry_id = o._entry
 WHERE {counting})
"""


def whole_sql(columns: Sequence[Column], resource_type: str | None, rows: Sql) -> Sql | None:
    """The codes of all rows of a relation with these public columns; None without coded ones."""
    coded = coded_columns(columns)
    return compose(_WHOLE, **_parts(coded, columns, resource_type), rows=rows) if coded else None


def moved_sql(published: PublishedView, *, changed: Sql, added: Sql) -> Sql | None:
    """What replacing the rows of `changed` (res_id) by those of `added` does to the counts.

    `added` has the columns of `table_columns` and `_key`, the res_id that they replace. None for a
    view without coded columns.
    """
    coded = coded_columns(published.columns)
    if not coded:
        return None
    base = ident(SCHEMA, published.base_table)
    return compose(
        _MOVED,
        **_parts(coded, published.columns, published.resource_type),
        base_columns=table_columns(published, "b"),
        base=base,
        changed=changed,
        added=added,
        held=_held(coded, published, base),
    )


def computed_sql(published: PublishedView, rows: Sql) -> Sql | None:
    """The same of the resources in rf_changed, whose rows were computed into `rows`."""
    added = compose(
        "(SELECT {}, t._res_id AS _key FROM {} AS t)", table_columns(published, "t"), rows
    )
    changed = compose(
        "(SELECT res_id FROM pg_temp.rf_changed WHERE res_type = {})",
        param(published.resource_type, "text"),
    )
    return moved_sql(published, changed=changed, added=added)


def waiting_sql(published: PublishedView) -> Sql | None:
    """The same of the waiting changes, which stand beside the current anchor."""
    counting = fixed(COUNTING)
    added = compose(
        _OVERLAY,
        columns=table_columns(published, "o"),
        overlay=ident(SCHEMA, published.overlay_table),
        counting=counting,
    )
    waiting = compose(_WAITING, type=param(published.resource_type, "text"), counting=counting)
    return moved_sql(published, changed=waiting, added=added)


def _parts(
    coded: Sequence[CodedColumn], columns: Sequence[Column], resource_type: str | None
) -> dict[str, Sql]:
    """What both counts are made of: the columns that matter, and each row taken apart."""
    patient = patient_column(columns, resource_type)
    named = dict.fromkeys(
        name
        for one in coded
        for name in (one.name, one.system_column, one.display_column)
        if name is not None
    )
    kept = join(", ", (ident("r", name) for name in named))
    key = ident("r", patient.name) if patient else fixed("NULL::text")
    return {
        "patient": key,
        "columns": kept,
        "every": compose("_patient, {}", kept),
        "values": compose(
            _TAKEN_APART,
            values=join(", ", (_value(one) for one in coded)),
            bytes=fixed(str(CODE_BYTES_MAX)),
        ),
    }


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
