"""The FHIR operations on a real port, and short ways to ask them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from researchflow_server.http import Listener, http_app
from tool_server import ToolServer

SQL_RUN = "/fhir/$sql-run"
VIEW_RUN = "/fhir/$viewdefinition-run"


class OperationServer:
    """The operations of `tools`' runtime behind a port."""

    def __init__(self, tools: ToolServer, port: int, http: httpx2.AsyncClient) -> None:
        self.tools = tools
        self.port = port
        self.http = http

    async def get(self, path: str, *, headers: Any = None, **query: Any) -> httpx2.Response:
        """A GET with these query parameters."""
        return await self.http.get(path, params=query, headers=headers)

    async def run(
        self, *parameters: dict[str, Any], path: str = SQL_RUN, headers: Any = None
    ) -> httpx2.Response:
        """A POST of a Parameters resource."""
        return await self.post(parameters_of(parameters), path=path, headers=headers)

    async def post(
        self, body: Any, *, path: str = SQL_RUN, headers: Any = None, **query: Any
    ) -> httpx2.Response:
        """A POST of a JSON body; bytes are sent as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"content-type": "application/fhir+json", **(headers or {})}
        return await self.http.post(path, content=content, params=query, headers=named)

    async def rows(self, *parameters: dict[str, Any], path: str = SQL_RUN) -> list[dict[str, Any]]:
        """The rows of a run that goes well."""
        response = await self.run(*parameters, path=path)
        assert response.status_code == 200, response.text
        return rows_of(response)


@asynccontextmanager
async def operation_server(tools: ToolServer) -> AsyncIterator[OperationServer]:
    """The operations of this runtime, until the end of the block."""
    app = http_app(tools.server, tools.runtime)
    with Listener(app, host="127.0.0.1", port=0, variable="port") as listener:
        serving = asyncio.create_task(listener.serve())
        base_url = f"http://127.0.0.1:{listener.port}"
        try:
            async with httpx2.AsyncClient(base_url=base_url, timeout=30) as http:
                yield OperationServer(tools, listener.port, http)
        finally:
            listener.stop()
            await serving


def parameters_of(parameters: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A Parameters resource."""
    return {"resourceType": "Parameters", "parameter": list(parameters)}


def rows_of(response: httpx2.Response) -> list[dict[str, Any]]:
    """The rows of an ndjson answer, in an order of our own."""
    rows = [json.loads(line) for line in response.text.splitlines()]
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def error_of(response: httpx2.Response) -> tuple[int, str, str, list[str]]:
    """Status, issue code, our code and the expression of a refusal."""
    assert response.headers["content-type"] == "application/fhir+json", response.text
    outcome = response.json()
    assert outcome["resourceType"] == "OperationOutcome"
    (issue,) = outcome["issue"]
    assert issue["severity"] == "error"
    assert issue["diagnostics"]
    assert issue["details"]["text"]
    code = issue["details"]["coding"][0]["code"]
    return response.status_code, issue["code"], code, issue.get("expression", [])


def view(*columns: tuple[str, str], resource: str = "Patient", **more: Any) -> dict[str, Any]:
    """A ViewDefinition with these columns of (name, path)."""
    shown = [{"name": name, "path": path} for name, path in columns]
    return {
        "resourceType": "ViewDefinition",
        "status": "active",
        "resource": resource,
        "select": [{"column": shown}],
        **more,
    }


def subject(definition: dict[str, Any]) -> dict[str, Any]:
    """The parameter that carries what `$sql-run` runs."""
    return {"name": "subjectResource", "resource": definition}


def named(name: str) -> dict[str, Any]:
    """The parameter that names a known view."""
    return {
        "name": "subjectReference",
        "valueReference": {"reference": f"ViewDefinition/{name}"},
    }


def resource(body: dict[str, Any]) -> dict[str, Any]:
    """The parameter that brings a resource."""
    return {"name": "resource", "resource": body}
