"""A filter tree as the conditions under which it is true and false.

A semi-join is an EXISTS over the other view's relation, read in the same snapshot. Its list never
holds a missing value, so `not_in` keeps every row whose own value is present and not listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from researchflow_runners.compiler.column import Column
from researchflow_runners.errors import QueryError
from researchflow_runners.query.aggregates import aggregates_of, told_by
from researchflow_runners.query.columns import compared_type, kind_of, value_sql
from researchflow_runners.query.comparison import (
    Truth,
    all_truth,
    any_truth,
    at_least_truth,
    compare_truth,
)
from researchflow_runners.query.having import Having, having
from researchflow_runners.query.latest import Condition, taken_rows
from researchflow_runners.query.model import (
    AllOf,
    AtLeast,
    Compare,
    Filter,
    InQuery,
    Not,
    Query,
    SubQuery,
    Within,
)
from researchflow_runners.query.notices import Notice
from researchflow_runners.query.outputs import Output, column_output
from researchflow_runners.query.rows import FilterScope, Mixed, Rows
from researchflow_runners.query.within import Dated, events_sql, undecided_sql, within_truth
from researchflow_runners.sql import EMPTY, Sql, compose, fixed, join, param

_EXISTS = "EXISTS (SELECT 1 FROM {relation} AS {alias} WHERE {theirs} = {own}{inner})"
_EXISTS_OFTEN = """\
EXISTS (SELECT 1 FROM (SELECT {theirs} AS v FROM {relation} AS {alias}\
 WHERE {theirs} IS NOT NULL{inner} GROUP BY 1 HAVING count(*) >= {least}) AS {group}\
 WHERE {group}.v = {own})\
"""

_GROUPS = """\
SELECT {theirs} AS v, {beside} FROM {relation} AS {alias}\
 WHERE {theirs} IS NOT NULL{inner} GROUP BY {theirs} HAVING count(*) >= {least}\
"""
_EXISTS_GROUP = "EXISTS (SELECT 1 FROM {kept} AS {group} WHERE {group}.v = {own})"


def from_sql(asked: Query, rows: Rows, scope: FilterScope) -> Sql:
    """` FROM … WHERE …` of the rows that the question is about; ask it after all else."""
    taken = taken_rows(asked, rows, at="")
    relation, condition = taken.sql(scope, holds_of(scope))
    where = compose(" WHERE {}", condition) if condition else EMPTY
    return compose(" FROM {} AS {}{}", relation, rows.alias, where)


def where_sql(where: Filter | None, rows: Rows, scope: FilterScope) -> Sql:
    """` WHERE …` that keeps the rows for which the filter is true; empty without a filter."""
    condition = _holds(where, rows, "where", scope=scope, depth=1)
    return compose(" WHERE {}", condition) if condition else EMPTY


def _holds(where: Filter | None, rows: Rows, at: str, *, scope: FilterScope, depth: int) -> Sql:
    return filter_truth(where, rows, scope, at=at, depth=depth).holds if where else EMPTY


def holds_of(scope: FilterScope) -> Condition:
    """The condition under which a filter of the question itself is true."""
    return partial(_holds, scope=scope, depth=1)


def _and(condition: Sql) -> Sql:
    return compose(" AND {}", condition) if condition else EMPTY


def filter_truth(where: Filter, rows: Rows, scope: FilterScope, *, at: str, depth: int) -> Truth:
    """The conditions of the filter; `at` is its path in the query."""
    scope.enter(depth, at=at)
    if isinstance(where, Compare):
        column = rows.column(where.column, at=f"{at}.column")
        return compare_truth(where, column, rows.alias, field=at)
    if isinstance(where, InQuery):
        return _in_query(where, rows, scope, at=at, depth=depth)
    if isinstance(where, Not):
        return filter_truth(where.not_, rows, scope, at=f"{at}.not", depth=depth + 1).negated()
    if isinstance(where, Within):
        return _within(where, rows, scope, at=at, depth=depth)
    if isinstance(where, AtLeast):
        return _at_least(where, rows, scope, at=at, depth=depth)
    if isinstance(where, AllOf):
        return all_truth(_truths(where.all_of, rows, scope, at=f"{at}.all_of", depth=depth))
    return any_truth(_truths(where.any_of, rows, scope, at=f"{at}.any_of", depth=depth))


def _truths(
    parts: Sequence[Filter], rows: Rows, scope: FilterScope, *, at: str, depth: int
) -> list[Truth]:
    return [
        filter_truth(part, rows, scope, at=f"{at}[{position}]", depth=depth + 1)
        for position, part in enumerate(parts)
    ]


def _at_least(where: AtLeast, rows: Rows, scope: FilterScope, *, at: str, depth: int) -> Truth:
    several = where.at_least
    if several.n > len(several.of):
        raise QueryError(
            f"{several.n} of {len(several.of)} filters can never be true",
            code="value_never_matches",
            hint="give n filters or more in of, or a smaller n",
            field=f"{at}.at_least.n",
        )
    return at_least_truth(
        several.n, _truths(several.of, rows, scope, at=f"{at}.at_least.of", depth=depth)
    )


def _within(where: Within, rows: Rows, scope: FilterScope, *, at: str, depth: int) -> Truth:
    dated, events = _window(where, rows, scope, at=at, depth=depth)
    return within_truth(where.within, dated, events, scope.alias())


def _window(
    where: Within, rows: Rows, scope: FilterScope, *, at: str, depth: int
) -> tuple[Dated, Sql]:
    """The rows' key and date, and the events of the other view."""
    at_window = f"{at}.within"
    window, event = where.within, where.within.of
    own = rows.column(where.column, at=f"{at}.column")
    other = scope.rows(event.view, at=f"{at_window}.of.view")
    theirs = other.column(event.column, at=f"{at_window}.of.column")
    _check_joinable(own, theirs, at=f"{at_window}.of")
    _check_keys(own, theirs, other, at=f"{at_window}.of")
    dated = Dated(rows.alias, own, rows.dates(window.date, at=f"{at_window}.date"))
    events = Dated(other.alias, theirs, other.dates(event.date, at=f"{at_window}.of.date"))
    at_event = f"{at_window}.of.where"
    holds = _holds(event.where, other, at_event, scope=scope, depth=depth + 1)
    return dated, events_sql(window, events, other.relation(scope), _and(holds))


def undecided_count(where: Within, view: str, beside: Sequence[Filter], scope: FilterScope) -> Sql:
    """How many rows of which all of `beside` is true have events and dates that decide nothing."""
    rows = scope.rows(view, at="view")
    dated, events = _window(where, rows, scope, at="where", depth=1)
    others = [filter_truth(one, rows, scope, at="where", depth=1).holds for one in beside]
    return undecided_sql(
        where.within,
        dated,
        events,
        scope.alias(),
        relation=rows.relation(scope),
        beside=_and(join(" AND ", others)) if others else EMPTY,
    )


def _in_query(where: InQuery, rows: Rows, scope: FilterScope, *, at: str, depth: int) -> Truth:
    own = rows.column(where.column, at=f"{at}.column")
    other = scope.rows(where.query.view, at=f"{at}.query.view")
    theirs = other.column(where.query.column, at=f"{at}.query.column")
    _check_joinable(own, theirs, at=f"{at}.query")
    _check_keys(own, theirs, other, at=f"{at}.query")
    exists = _exists(where.query, own, theirs, rows, other, scope, at=f"{at}.query", depth=depth)
    stored = value_sql(rows.alias, own)
    truth = Truth(exists, compose("({} IS NOT NULL AND NOT {})", stored, exists))
    return truth if where.op == "in" else truth.negated()


def _exists(
    query: SubQuery,
    own: Column,
    theirs: Column,
    rows: Rows,
    other: Rows,
    scope: FilterScope,
    *,
    at: str,
    depth: int,
) -> Sql:
    outputs = _counted(query, theirs, other, scope, at=at)
    condition = partial(_holds, scope=scope, depth=depth + 1)
    relation, holds = taken_rows(query, other, at=f"{at}.").sql(scope, condition)
    taken = {
        "relation": relation,
        "alias": other.alias,
        "theirs": value_sql(other.alias, theirs),
        "own": value_sql(rows.alias, own),
        "inner": _and(holds),
        "least": param(query.min_rows, "bigint"),
        "group": scope.alias(),
    }
    if query.having is None:
        return compose(_EXISTS if query.min_rows == 1 else _EXISTS_OFTEN, **taken)
    kept = having(query.having, outputs, condition, at=f"{at}.having")
    table = scope.table(compose(_GROUPS, beside=_beside(kept, outputs), **taken))
    _tell(table, outputs, scope, at=at)
    return compose(_EXISTS_GROUP, kept=kept.kept(compose("SELECT * FROM {}", table)), **taken)


def _counted(
    query: SubQuery, theirs: Column, other: Rows, scope: FilterScope, *, at: str
) -> list[Output]:
    """What `having` may compare of the rows of one value."""
    if query.having is not None:
        return [
            column_output(theirs, other),
            *aggregates_of(query.aggregates, other, scope, at=f"{at}."),
        ]
    if query.aggregates:
        raise QueryError(
            "aggregates of a semi-join are compared by having",
            code="invalid_argument",
            hint='add having, such as {"column": "count", "op": "ge", "value": 3}',
            field=f"{at}.aggregates",
        )
    return []


def _beside(kept: Having, outputs: Sequence[Output]) -> Sql:
    """What a group of the other view's rows is told by: for having, of units, ties and rows."""
    columns = list(kept.beside)
    for number, output in enumerate(outputs):
        if output.units is not None:
            columns.append(compose("{} AS {}", output.units.mixed, fixed(f"u{number}")))
        if output.tied is not None:
            columns.append(compose("{} AS {}", output.tied, fixed(f"s{number}")))
    told = enumerate(told_by(outputs))
    columns += [compose("{} AS {}", one.of_group, fixed(f"n{number}")) for number, one in told]
    return join(", ", columns)


def _tell(table: Sql, outputs: Sequence[Output], scope: FilterScope, *, at: str) -> None:
    """What the groups of a semi-join make known is told of the whole answer."""
    for number, output in enumerate(outputs):
        if output.units is not None:
            mixed = compose("(SELECT bool_or({}) FROM {})", fixed(f"u{number}"), table)
            units, place = output.units, f"{at}.aggregates[{number - 1}]"
            scope.mixed.append(Mixed(mixed, units.value, units.unit, place))
        if output.tied is not None:
            shared = compose("(SELECT count(*) FROM {} WHERE {})", table, fixed(f"s{number}"))
            scope.ties.append(shared)
    for number, one in enumerate(told_by(outputs)):
        counted = compose("(SELECT coalesce(sum({}), 0) FROM {})", fixed(f"n{number}"), table)
        scope.notices.append(Notice(counted, one.told))


def _check_joinable(own: Column, theirs: Column, *, at: str) -> None:
    joinable = ("text", "integer", "decimal", "time")
    kinds = (kind_of(own), kind_of(theirs))
    alike = kinds[0] == kinds[1] and (
        kinds[0] != "time" or compared_type(own) == compared_type(theirs)
    )
    if alike and kinds[0] in joinable:
        return
    raise QueryError(
        f'column "{own.name}" ({kinds[0]}) cannot be matched with column '
        f'"{theirs.name}" ({kinds[1]})',
        code="column_mismatch",
        hint="match two columns of the same kind, such as id and patient_id",
        field=f"{at}.column",
    )


def _check_keys(own: Column, theirs: Column, other: Rows, *, at: str) -> None:
    """Refuses keys of two types of resources: none of one is ever among those of the other."""
    if None in (own.key_of, theirs.key_of) or own.key_of == theirs.key_of:
        return
    fitting = tuple(column.name for column in other.columns if column.key_of == own.key_of)
    raise QueryError(
        f'column "{own.name}" holds keys of {own.key_of}, column "{theirs.name}" of view '
        f'"{other.view}" keys of {theirs.key_of}: they never match',
        code="column_mismatch",
        hint=f"match it with a column that holds keys of {own.key_of}",
        field=f"{at}.column",
        allowed=fitting,
        did_you_mean=fitting[0] if fitting else None,
    )
