"""`draw`: a picture of an answer, its data and its date."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag, WithJsonSchema, model_validator

from researchflow_runners.errors import QueryError
from researchflow_runners.query.model import SqlQuery
from researchflow_server.contract.base import Detailed
from researchflow_server.contract.query_sql import QuerySqlInput
from researchflow_server.contract.query_view import QueryViewInput, QueryViewOutput

DRAW = "draw"
TITLE_CHARS_MAX = 120

Chart = Literal["bar", "line", "histogram", "box", "survival"]


def _kind(value: Any) -> str:
    is_sql = "sql" in value if isinstance(value, dict) else isinstance(value, SqlQuery)
    return "QuerySqlInput" if is_sql else "QueryViewInput"


Question: TypeAlias = Annotated[
    Annotated[QueryViewInput, Tag("QueryViewInput")]
    | Annotated[QuerySqlInput, Tag("QuerySqlInput")],
    Discriminator(_kind),
    WithJsonSchema({"type": "object"}),
]


class DrawInput(Detailed):
    """A question and how its answer is drawn."""

    chart: Chart
    query: Question = Field(description="Arguments of query_view or query_sql")
    x: str | None = Field(default=None, description="survival: time followed")
    y: str | None = Field(default=None, description="Numbers; survival: event, true or 1")
    by: str | None = Field(default=None, description="one series each")
    title: str | None = Field(default=None, max_length=TITLE_CHARS_MAX)

    @model_validator(mode="before")
    @classmethod
    def _is_asked_in_query(cls, given: Any) -> Any:
        """The likeliest mistake: the question's arguments beside the picture's."""
        if isinstance(given, dict) and given.get("query") is None:
            beside = [name for name in ("sql", "view") if name in given]
            if beside:
                raise QueryError(
                    f'"{DRAW}" takes "{beside[0]}" inside "query"',
                    code="unknown_argument",
                    field=beside[0],
                    allowed=list(cls.model_fields),
                    did_you_mean="query",
                    hint=f'put the question\'s arguments into query: {{"{beside[0]}": …}}',
                )
        return given


class DrawOutput(QueryViewOutput):
    """What is drawn, dated as the query's answer is; the picture is the image beside it.

    A bar or line shows the rows of the answer. For the others `rows` hold what was computed from
    them: bins and counts of a histogram, quartiles and whiskers of boxes, and the steps of
    Kaplan–Meier curves, with `survival`, its 95 % interval and who was at risk.
    `drawn_from` counts the answer's rows. `truncated` says that the query has more rows than the
    picture shows, or the picture more than `rows`; `warnings` say which.
    """

    chart: Chart
    drawn_from: int
