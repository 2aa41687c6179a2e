"""Every failure as an OperationOutcome with the HTTP status that the drafts give it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from researchflow_runners.errors import (
    FhirPathError,
    QueryError,
    ResearchFlowError,
    StatementError,
    StoreError,
    ViewDefinitionError,
)
from researchflow_runners.store.data_faults import is_data_error
from researchflow_server.tools.result import unicode_text

FHIR_JSON = "application/fhir+json"
CODE_SYSTEM = "urn:researchflow:error"
RETRY_AFTER_S = 2
TEXT_MAX = 600
METHOD_CHARS_MAX = 16
TIMEOUTS = ("statement_timeout", "operation_timeout")
_QUERY_ERRORS = {
    "resource_not_computable": (422, "processing"),
    "composed_view_fails": (422, "processing"),
    "composed_view_broken": (422, "invalid"),
    "view_not_published": (404, "not-found"),
    "view_set_aside": (409, "conflict"),
}


class OperationError(ResearchFlowError):
    """A request that is refused; `status` is HTTP's, `issue` a code of FHIR's IssueType."""

    def __init__(self, message: str, *, status: int, issue: str, **parts: Any) -> None:
        super().__init__(message, **parts)
        self.status = status
        self.issue = issue


@contextmanager
def placed(parameter: str) -> Iterator[None]:
    """Errors in a definition tell their place from the parameter that carried it."""
    try:
        yield
    except (ViewDefinitionError, FhirPathError) as error:
        error.field = f"{parameter}.{error.field}" if error.field else parameter
        raise


def check_method(request: Request, allowed: tuple[str, ...]) -> None:
    """OperationError `method_not_allowed` for another method."""
    if request.method not in allowed:
        raise OperationError(
            f'the method "{request.method[:METHOD_CHARS_MAX]}" is not allowed here',
            status=405,
            issue="not-supported",
            code="method_not_allowed",
            allowed=allowed,
            hint="use one of the allowed methods",
        )


def refused(error: ResearchFlowError) -> Response:
    """The response to a request that failed before its first row was sent."""
    status, issue = _kind(error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
    if status == 405:
        headers["Allow"] = ", ".join(error.allowed)
    return Response(
        orjson.dumps(outcome(error, issue)),
        status_code=status,
        headers=headers,
        media_type=FHIR_JSON,
    )


def outcome(error: ResearchFlowError, issue: str) -> dict[str, Any]:
    """The OperationOutcome: our code in `details.coding`, what to do in `details.text`."""
    told: dict[str, Any] = {
        "severity": "error",
        "code": issue,
        "details": {
            "coding": [{"system": CODE_SYSTEM, "code": error.code}],
            "text": _short(_advice(error)),
        },
        "diagnostics": _short(_diagnosis(error)),
    }
    if error.field:
        told["expression"] = [_short(error.field)]
    return {"resourceType": "OperationOutcome", "issue": [told]}


def _kind(error: ResearchFlowError) -> tuple[int, str]:
    """HTTP status and issue code."""
    if isinstance(error, OperationError):
        return error.status, error.issue
    if isinstance(error, StoreError):
        return (504, "timeout") if error.code in TIMEOUTS else (503, "transient")
    if isinstance(error, ViewDefinitionError) and error.code == "dependency_not_found":
        return 404, "not-found"
    if isinstance(error, ViewDefinitionError | FhirPathError):
        return 422, "invalid"
    if isinstance(error, QueryError):
        return _QUERY_ERRORS.get(error.code, (400, "invalid"))
    if isinstance(error, StatementError) and is_data_error(error):
        return 422, "processing"
    return 500, "exception"


def _diagnosis(error: ResearchFlowError) -> str:
    if error.span is None:
        return error.message
    return f"{error.message}, at characters {error.span.start} to {error.span.end}"


def _advice(error: ResearchFlowError) -> str:
    parts = [error.hint.removesuffix(".")]
    if error.did_you_mean:
        parts.append(f'nearest: "{error.did_you_mean}"')
    if error.allowed:
        parts.append(f"allowed: {error.allowed_words}")
    return "; ".join(parts) if len(parts) > 1 else error.hint


def _short(text: str) -> str:
    shown = unicode_text(text)
    return shown if len(shown) <= TEXT_MAX else f"{shown[:TEXT_MAX]}…"
