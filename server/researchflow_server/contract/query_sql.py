"""`query_sql`: SQL over views and its dated answer; the question is the runners' own model."""

from __future__ import annotations

from researchflow_runners.query.model import SqlQuery
from researchflow_server.contract.base import Detailed

QUERY_SQL = "query_sql"


class QuerySqlInput(Detailed, SqlQuery):
    """A question in SQL, and how much of its answer is told."""
