"""A small FHIR server that speaks REST as HAPI was recorded to: Subscriptions, delivered to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from researchflow_server.feeds.registration import DELETES_URL
from researchflow_server.http import Listener


class FhirServer:
    """`activates` after so many looks, as HAPI does at its next poll; None never does."""

    def __init__(self, *, release: str = "4.0.1", activates: int | None = 1) -> None:
        self.release = release
        self.activates = activates
        self.status = 200
        self.authorization: str | None = None
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self._looks: dict[str, int] = {}
        self.url = ""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/fhir/metadata", self._metadata),
                Route("/fhir/Subscription/{id}", self._one, methods=["GET", "PUT", "DELETE"]),
            ]
        )

    async def deliver(self, method: str, reference: str, body: dict[str, Any] | None) -> int:
        """Delivers a change to every active Subscription that wants it; gives the last status."""
        status = 0
        for one in self.subscriptions.values():
            channel = one["channel"]
            sends_deletes = {"url": DELETES_URL, "valueBoolean": True} in channel["extension"]
            wanted = reference.partition("/")[0] in one["criteria"].strip("[]").split(",")
            if one["status"] != "active" or not wanted or (body is None and not sends_deletes):
                continue
            status = await self._send(channel, method, reference, body)
        return status

    async def _send(
        self, channel: dict[str, Any], method: str, reference: str, body: dict[str, Any] | None
    ) -> int:
        headers = dict(line.split(": ", 1) for line in channel["header"])
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/fhir+json; charset=UTF-8"
            headers["If-Match"] = f'W/"{body["meta"]["versionId"]}"'
        async with httpx2.AsyncClient() as client:
            url = f"{channel['endpoint']}/{reference}"
            response = await client.request(method, url, content=content, headers=headers)
        return response.status_code

    async def _metadata(self, request: Request) -> Response:
        return JSONResponse({"resourceType": "CapabilityStatement", "fhirVersion": self.release})

    async def _one(self, request: Request) -> Response:
        name = request.path_params["id"]
        self.requests.append(request.method)
        if self.authorization and request.headers.get("authorization") != self.authorization:
            return _outcome(401)
        if self.status != 200 and request.method == "PUT":
            return _outcome(self.status)
        if request.method == "PUT":
            return await self._stored(name, request)
        if name not in self.subscriptions:
            return _outcome(404)
        if request.method == "DELETE":
            del self.subscriptions[name]
            return _outcome(200)
        self._look(name)
        return JSONResponse(self.subscriptions[name])

    async def _stored(self, name: str, request: Request) -> Response:
        known = self.subscriptions.get(name)
        version = int(known["meta"]["versionId"]) + 1 if known else 1
        stored = {**json.loads(await request.body()), "meta": {"versionId": str(version)}}
        self.subscriptions[name] = stored
        self._looks[name] = 0
        return JSONResponse(stored, 200 if known else 201, {"ETag": f'W/"{version}"'})

    def _look(self, name: str) -> None:
        self._looks[name] = self._looks.get(name, 0) + 1
        held = self.subscriptions[name]
        is_due = self.activates is not None and self._looks[name] > self.activates
        if held["status"] == "requested" and is_due:
            held["status"] = "active"
            held["meta"] = {"versionId": str(int(held["meta"]["versionId"]) + 1)}


@asynccontextmanager
async def fhir_server(**how: Any) -> AsyncIterator[FhirServer]:
    """The server on a port of its own."""
    server = FhirServer(**how)
    with Listener(server.app(), host="127.0.0.1", port=0, variable="port") as listener:
        serving = asyncio.create_task(listener.serve())
        server.url = f"http://127.0.0.1:{listener.port}/fhir"
        try:
            yield server
        finally:
            listener.stop()
            await serving


def _outcome(status: int) -> Response:
    return JSONResponse({"resourceType": "OperationOutcome", "issue": []}, status)
