"""What a client of the tools may rely on: names, arguments, results and errors.

Pure pydantic. Agents import this module and nothing else of the product. Every result is also
plain JSON of the same shape, in the text block and in the structured content of a tool call.

Values in `rows`: decimals are strings with every digit the record holds, so that no client rounds
them; dates are the text they were written with; instants of the server, and columns whose
`sql_type` is `timestamptz`, end in `+00:00`; bytes are base64. docs/types.md lists every type.
"""

from __future__ import annotations

from researchflow_runners.query.group_model import AgeGroup, Aggregate
from researchflow_runners.query.model import (
    AllOf,
    AnyOf,
    AtLeast,
    Compare,
    Filter,
    InQuery,
    Not,
    Order,
    Query,
    Scalar,
    SqlQuery,
    SubQuery,
    Within,
)
from researchflow_runners.query.timeline import Timeline
from researchflow_server.contract.base import Detail, Detailed, ErrorInfo, Table, ToolFailure
from researchflow_server.contract.cache_resources import (
    CACHE_RESOURCES,
    CHANGES_MAX,
    CacheResourcesInput,
    CacheResourcesOutput,
)
from researchflow_server.contract.describe_view import (
    DESCRIBE_VIEW,
    DescribeViewInput,
    DescribeViewOutput,
)
from researchflow_server.contract.draw import DRAW, Chart, DrawInput, DrawOutput
from researchflow_server.contract.drop_view import DROP_VIEW, DropViewInput, DropViewOutput
from researchflow_server.contract.find_codes import FIND_CODES, FindCodesInput
from researchflow_server.contract.get_statistics import (
    GET_STATISTICS,
    GetStatisticsInput,
    GetStatisticsOutput,
)
from researchflow_server.contract.list_views import LIST_VIEWS, ListViewsInput, ListViewsOutput
from researchflow_server.contract.patient_timeline import (
    PATIENT_TIMELINE,
    PatientTimelineInput,
    PatientTimelineOutput,
)
from researchflow_server.contract.query_sql import QUERY_SQL, QuerySqlInput
from researchflow_server.contract.query_view import (
    QUERY_VIEW,
    Degradation,
    FullAnswer,
    QueryViewInput,
    QueryViewOutput,
    SpeedContribution,
)
from researchflow_server.contract.refresh_views import (
    REFRESH_VIEWS,
    REFRESH_WAIT_DEFAULT_S,
    REFRESH_WAIT_MAX_S,
    RefreshViewsInput,
    RefreshViewsOutput,
)
from researchflow_server.contract.register_view import (
    REGISTER_VIEW,
    RegisterViewInput,
    RegisterViewOutput,
)
from researchflow_server.contract.validate_view import (
    VALIDATE_VIEW,
    ValidateViewInput,
    ValidateViewOutput,
)

__all__ = [
    "CACHE_RESOURCES",
    "CHANGES_MAX",
    "DESCRIBE_VIEW",
    "DRAW",
    "DROP_VIEW",
    "FIND_CODES",
    "GET_STATISTICS",
    "LIST_VIEWS",
    "PATIENT_TIMELINE",
    "QUERY_SQL",
    "QUERY_VIEW",
    "REFRESH_VIEWS",
    "REFRESH_WAIT_DEFAULT_S",
    "REFRESH_WAIT_MAX_S",
    "REGISTER_VIEW",
    "TOOL_NAMES",
    "VALIDATE_VIEW",
    "AgeGroup",
    "Aggregate",
    "AllOf",
    "AnyOf",
    "AtLeast",
    "CacheResourcesInput",
    "CacheResourcesOutput",
    "Chart",
    "Compare",
    "Degradation",
    "DescribeViewInput",
    "DescribeViewOutput",
    "Detail",
    "Detailed",
    "DrawInput",
    "DrawOutput",
    "DropViewInput",
    "DropViewOutput",
    "ErrorInfo",
    "Filter",
    "FindCodesInput",
    "FullAnswer",
    "GetStatisticsInput",
    "GetStatisticsOutput",
    "InQuery",
    "ListViewsInput",
    "ListViewsOutput",
    "Not",
    "Order",
    "PatientTimelineInput",
    "PatientTimelineOutput",
    "Query",
    "QuerySqlInput",
    "QueryViewInput",
    "QueryViewOutput",
    "RefreshViewsInput",
    "RefreshViewsOutput",
    "RegisterViewInput",
    "RegisterViewOutput",
    "Scalar",
    "SpeedContribution",
    "SqlQuery",
    "SubQuery",
    "Table",
    "Timeline",
    "ToolFailure",
    "ValidateViewInput",
    "ValidateViewOutput",
    "Within",
]

TOOL_NAMES = (
    LIST_VIEWS,
    DESCRIBE_VIEW,
    QUERY_VIEW,
    QUERY_SQL,
    DRAW,
    PATIENT_TIMELINE,
    FIND_CODES,
    CACHE_RESOURCES,
    REFRESH_VIEWS,
    GET_STATISTICS,
    VALIDATE_VIEW,
    REGISTER_VIEW,
    DROP_VIEW,
)
