"""`query_sql`: SQL over views and its dated answer; the question is the runners' own model."""

from __future__ import annotations

QUERY_SQL = "query_sql"
