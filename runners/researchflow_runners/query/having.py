"""A filter over the columns of an answer with groups.

The columns that it names stand beside the group as `h0`, `h1`, … and, under their own names, in a
relation `h`, so that a comparison means there what it means over the rows of a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from researchflow_runners.compiler.column import HIGH_SUFFIX, LOW_SUFFIX, Column
from researchflow_runners.errors import QueryError
from researchflow_runners.naming import nearest
from researchflow_runners.query.latest import Condition
from researchflow_runners.query.model import Filter
from researchflow_runners.query.outputs import Output
from researchflow_runners.query.rows import Rows
from researchflow_runners.sql import IDENTIFIER_BYTES_MAX, Sql, compose, fixed, ident, join

_KEPT = """\
(SELECT answer.* FROM ({groups}) AS answer CROSS JOIN LATERAL (SELECT {named}) AS h WHERE {holds})\
"""
_NAME_BYTES_MAX = IDENTIFIER_BYTES_MAX - len(HIGH_SUFFIX)


@dataclass(frozen=True, slots=True)
class AnswerRows(Rows):
    """The columns of an answer, as a filter reads them."""

    def column(self, name: str, *, at: str) -> Column:
        """The column, from now on one that is read, or QueryError `unknown_column`."""
        names = [column.name for column in self.columns]
        if name not in names:
            raise QueryError(
                f'the answer has no column "{name}"',
                code="unknown_column",
                hint="having compares columns of the answer: name a group or an aggregate, or "
                "filter rows in where",
                field=at,
                allowed=names,
                did_you_mean=nearest(name, names),
            )
        if not name or "\x00" in name or len(name.encode()) > _NAME_BYTES_MAX:
            raise QueryError(
                "the name of a column that having compares is too long",
                code="value_type",
                hint=f"give the aggregate a name of at most {_NAME_BYTES_MAX} bytes",
                field=at,
            )
        self.read.add(name)
        return self.columns[names.index(name)]


@dataclass(frozen=True, slots=True)
class Having:
    """`beside` are the columns `h0`, … that the groups need; `kept` keeps those that hold."""

    beside: Sequence[Sql]
    named: Sequence[Sql]
    holds: Sql

    def kept(self, groups: Sql) -> Sql:
        """Of a SELECT of groups, as a relation, those of which the filter is true."""
        return compose(_KEPT, groups=groups, named=join(", ", self.named), holds=self.holds)


def having(where: Filter, outputs: Sequence[Output], condition: Condition, *, at: str) -> Having:
    """The filter over these columns; errors as those of filters, with `at` as its path."""
    columns = {output.column.name: _column(output) for output in outputs}
    rows = AnswerRows("answer", tuple(columns.values()), fixed("h"))
    holds = condition(where, rows, at)
    values: list[tuple[str, Sql]] = []
    for output in outputs:
        name = output.column.name
        if name in rows.read:
            values.append((name, output.shown))
            if output.period is not None:
                low, high = output.period
                values += [(name + LOW_SUFFIX, low), (name + HIGH_SUFFIX, high)]
    beside = [
        compose("{} AS {}", value, fixed(f"h{number}"))
        for number, (_name, value) in enumerate(values)
    ]
    named = [
        compose("answer.{} AS {}", fixed(f"h{number}"), ident(name))
        for number, (name, _value) in enumerate(values)
    ]
    return Having(beside, named, holds)


def _column(output: Output) -> Column:
    """The output as a column that compares."""
    column = output.column
    if not output.keys:
        pg_type = "jsonb"
    else:
        is_text = output.is_label or output.period is not None
        pg_type = "text" if is_text else output.keys[0][1]
    return Column(column.name, column.type, pg_type, system=column.system)
