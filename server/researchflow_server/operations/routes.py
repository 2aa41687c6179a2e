"""Where the operations are, and who may ask: the same Host and Origin names as the tools."""

from __future__ import annotations

from collections.abc import Iterable
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
from researchflow_server.operations.outcome import FHIR_JSON, OperationError, refused
from researchflow_server.operations.parameters import SQL_RUN, VIEWDEFINITION_RUN
from researchflow_server.operations.runs import Runs
from researchflow_server.runtime import Runtime

FHIR_PATH = "/fhir"
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
            Route("/metadata", _metadata, methods=["GET"]),
            Route("/OperationDefinition/{code}", _definition, methods=["GET"]),
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


async def _metadata(request: Request) -> Response:
    return _resource(capability_statement(_base_url(request)))


async def _definition(request: Request) -> Response:
    operation = OPERATIONS.get(request.path_params["code"])
    if operation is None:
        return refused(_unknown(request.url.path, OPERATIONS))
    return _resource(operation_definition(operation, _base_url(request)))


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


def _resource(resource: dict[str, Any]) -> Response:
    return Response(orjson.dumps(resource), media_type=FHIR_JSON)


def _base_url(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{FHIR_PATH}"
