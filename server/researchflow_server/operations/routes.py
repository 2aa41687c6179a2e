"""Where the operations are, and who may ask: the same Host and Origin names as the tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from researchflow_runners.naming import nearest
from researchflow_server.operations.asked import INSTANCE
from researchflow_server.operations.capability import (
    OPERATIONS,
    capability_statement,
    operation_definition,
)
from researchflow_server.operations.endpoint import Endpoint
from researchflow_server.operations.outcome import (
    FHIR_JSON,
    OperationError,
    check_method,
    refused,
)
from researchflow_server.operations.parameters import SQL_RUN, VIEWDEFINITION_RUN
from researchflow_server.operations.runs import Runs
from researchflow_server.runtime import Runtime

FHIR_PATH = "/fhir"
READING = ("GET", "HEAD")
_CODES = {421: "host_not_allowed", 403: "origin_not_allowed"}


def operation_routes(runtime: Runtime, security: TransportSecuritySettings) -> Mount:
    """Everything below FHIR_PATH; what is not there is refused as FHIR does."""
    runs = Runs(runtime)
    sql_run = Endpoint(runs, SQL_RUN)
    view_run = Endpoint(runs, VIEWDEFINITION_RUN)
    view_code = VIEWDEFINITION_RUN.code
    router = Router(
        [
            Route(f"/${SQL_RUN.code}", sql_run),
            Route(f"/${view_code}", view_run),
            Route(f"/ViewDefinition/${view_code}", view_run),
            Route(f"/ViewDefinition/{{{INSTANCE}}}/${view_code}", view_run),
            Route("/metadata", _Described(_metadata)),
            Route("/OperationDefinition/{code}", _Described(_definition)),
        ],
        default=_nothing_there,
        redirect_slashes=False,
    )
    return Mount(FHIR_PATH, app=_Guarded(router, security))


class _Guarded:
    """Lets in what names this server and comes from it."""

    def __init__(self, app: ASGIApp, security: TransportSecuritySettings) -> None:
        self._app = app
        self._guard = TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        refusal = await self._guard.validate_request(request)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status = refusal.status_code
        error = OperationError(
            "the request comes by a name or from a page that is not allowed",
            status=status,
            issue="forbidden",
            code=_CODES.get(status, "not_allowed"),
            field="Origin" if status == 403 else "Host",
            hint="ask by a name of this server, or add the name to RESEARCHFLOW_ALLOWED_HOSTS",
        )
        await refused(error)(scope, receive, send)


class _Described:
    """An address at which a resource can be read."""

    def __init__(self, resource: Callable[[Request], dict[str, Any]]) -> None:
        self._resource = resource

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            check_method(request, READING)
            content = orjson.dumps(self._resource(request))
            response = Response(content, media_type=FHIR_JSON)
        except OperationError as error:
            response = refused(error)
        await response(scope, receive, send)


def _metadata(request: Request) -> dict[str, Any]:
    return capability_statement(_base_url(request))


def _definition(request: Request) -> dict[str, Any]:
    operation = OPERATIONS.get(request.path_params["code"])
    if operation is None:
        raise _unknown(request.url.path, OPERATIONS)
    return operation_definition(operation, _base_url(request))


async def _nothing_there(scope: Scope, receive: Receive, send: Send) -> None:
    known = [f"${code}" for code in OPERATIONS] + ["metadata"]
    await refused(_unknown(scope["path"], known))(scope, receive, send)


def _unknown(path: str, known: Iterable[str]) -> OperationError:
    last = path.rpartition("/")[2]
    return OperationError(
        f'there is nothing at "{path}"',
        status=404,
        issue="not-found",
        code="address_unknown",
        allowed=tuple(known),
        did_you_mean=nearest(last, known),
        hint=f"GET {FHIR_PATH}/metadata says what is here",
    )


def _base_url(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{FHIR_PATH}"
