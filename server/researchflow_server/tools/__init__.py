"""The tools, in the order in which a caller needs them."""

from __future__ import annotations

from typing import Any

from researchflow_server.tools.cache_resources import CACHE_RESOURCES
from researchflow_server.tools.describe_view import DESCRIBE_VIEW
from researchflow_server.tools.draw import DRAW
from researchflow_server.tools.drop_view import DROP_VIEW
from researchflow_server.tools.find_codes import FIND_CODES
from researchflow_server.tools.get_statistics import GET_STATISTICS
from researchflow_server.tools.list_views import LIST_VIEWS
from researchflow_server.tools.patient_timeline import PATIENT_TIMELINE
from researchflow_server.tools.query_sql import QUERY_SQL
from researchflow_server.tools.query_view import QUERY_VIEW
from researchflow_server.tools.refresh_views import REFRESH_VIEWS
from researchflow_server.tools.register_view import REGISTER_VIEW
from researchflow_server.tools.spec import ToolSpec
from researchflow_server.tools.validate_view import VALIDATE_VIEW

TOOLS: tuple[ToolSpec[Any], ...] = (
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
