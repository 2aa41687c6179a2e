"""The Subscription on a FHIR server that delivers to us: made, checked and removed over REST.

One per endpoint, under an id that follows from its address, so that making it again changes the
one that is there. HAPI activates it at its next poll, as a new version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import anyio
import httpx2

from researchflow_runners.errors import ResearchFlowError
from researchflow_server.feeds.gate import SECRET_HEADER

#: Without it HAPI delivers no deletion.
DELETES_URL = "http://hapifhir.io/fhir/StructureDefinition/subscription-send-delete-messages"
PAYLOAD = "application/fhir+json"
REQUEST_TIMEOUT_S = 10.0
POLL_S = 0.5
#: R4 and R4B; HAPI's R5 sends no header, so nothing would tell its deliveries from others'.
RELEASES = ("4.0", "4.1", "4.3")
GONE = (404, 410)
STORED = (200, 201)


class RegistrationError(ResearchFlowError):
    """A FHIR server that cannot be reached, refuses, or does not activate the Subscription."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the Subscription is to say."""

    endpoint: str
    secret: str
    resource_types: Sequence[str]

    @property
    def id(self) -> str:
        """The same for the same endpoint."""
        return "researchflow-" + hashlib.sha256(self.endpoint.encode()).hexdigest()[:12]

    def resource(self) -> dict[str, Any]:
        """The Subscription as it is asked for."""
        return {
            "resourceType": "Subscription",
            "id": self.id,
            "status": "requested",
            "reason": "Keeps the views of researchflow up to date",
            "criteria": f"[{','.join(sorted(self.resource_types))}]",
            "channel": {
                "extension": [{"url": DELETES_URL, "valueBoolean": True}],
                "type": "rest-hook",
                "endpoint": self.endpoint,
                "payload": PAYLOAD,
                "header": [f"{SECRET_HEADER}: {self.secret}"],
            },
        }


@dataclass(frozen=True, slots=True)
class Registered:
    """The Subscription as the server has it: its status, and what differs from what is wanted.

    `status` is None where there is none. `differs` names elements.
    """

    id: str
    status: str | None
    differs: tuple[str, ...] = ()

    @property
    def delivers(self) -> bool:
        """Whether changes come as they are wanted."""
        return self.status == "active" and not self.differs


class Registration:
    """One FHIR server's Subscription for one endpoint."""

    def __init__(self, base_url: str, wanted: Wanted, *, authorization: str | None = None) -> None:
        """`authorization` is the value of that header, where the server asks for one."""
        self._base_url = base_url.rstrip("/")
        self._wanted = wanted
        self._headers = {"Accept": PAYLOAD, "Cache-Control": "no-cache"}
        if authorization:
            self._headers["Authorization"] = authorization

    async def check(self) -> Registered:
        """What is there now."""
        async with self._client() as client:
            return await self._found(client)

    async def subscribe(self, *, wait_s: float) -> Registered:
        """Makes it, or makes it anew where it differs or stopped; gives it once it is active.

        RegistrationError `subscription_not_active` when it does not become so in that time,
        `fhir_release_unsupported`, `fhir_server_refused`, `fhir_server_unreachable`.
        """
        async with self._client() as client:
            found = await self._found(client)
            if found.delivers:
                return found
            await self._check_release(client)
            response = await _answered(client.put(self._address, json=self._wanted.resource()))
            if response.status_code not in STORED:
                raise _refused(response.status_code)
            with anyio.move_on_after(wait_s):
                while not (found := await self._found(client)).delivers:
                    if found.status == "error":
                        break
                    await anyio.sleep(POLL_S)
        if not found.delivers:
            raise _not_active(found)
        return found

    async def unsubscribe(self) -> bool:
        """Removes it; False when there was none."""
        async with self._client() as client:
            if (await self._found(client)).status is None:
                return False
            response = await _answered(client.delete(self._address))
            if response.status_code >= 300 and response.status_code not in GONE:
                raise _refused(response.status_code)
            return True

    @property
    def _address(self) -> str:
        return f"{self._base_url}/Subscription/{quote(self._wanted.id)}"

    def _client(self) -> httpx2.AsyncClient:
        # No redirect is followed: the secret and the authorization are for this server only.
        return httpx2.AsyncClient(
            headers=self._headers, timeout=REQUEST_TIMEOUT_S, follow_redirects=False
        )

    async def _found(self, client: httpx2.AsyncClient) -> Registered:
        response = await _answered(client.get(self._address))
        if response.status_code in GONE:
            return Registered(self._wanted.id, None)
        if response.status_code != 200:
            raise _refused(response.status_code)
        resource = _json(response)
        status = resource.get("status")
        return Registered(
            self._wanted.id,
            status if isinstance(status, str) else "unknown",
            _differences(resource, self._wanted.resource()),
        )

    async def _check_release(self, client: httpx2.AsyncClient) -> None:
        response = await _answered(client.get(f"{self._base_url}/metadata"))
        if response.status_code != 200:
            raise _refused(response.status_code)
        release = str(_json(response).get("fhirVersion", "unknown"))
        if not release.startswith(RELEASES):
            raise RegistrationError(
                f'the server speaks FHIR "{release[:16]}", where a Subscription names a topic',
                code="fhir_release_unsupported",
                hint="make a Subscription to a topic of that server by hand, if it sends headers, "
                f"as HAPI in R5 does not: rest-hook, this endpoint, parameter {SECRET_HEADER}",
            )


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> tuple[str, ...]:
    """The elements that decide what is delivered and that are other than wanted."""
    channel = found.get("channel")
    has, asks = (channel if isinstance(channel, dict) else {}), wanted["channel"]
    differs = ["criteria"] if found.get("criteria") != wanted["criteria"] else []
    differs += [
        f"channel.{name}"
        for name in ("type", "endpoint", "payload", "header")
        if has.get(name) != asks[name]
    ]
    if asks["extension"][0] not in (has.get("extension") or []):
        differs.append("channel.extension")
    return tuple(differs)


async def _answered(request: Any) -> httpx2.Response:
    """The response; no text of the server travels."""
    try:
        response: httpx2.Response = await request
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise RegistrationError(
            "the FHIR server cannot be reached",
            code="fhir_server_unreachable",
            hint="check the base URL, such as https://hapi.example.org/fhir, and the network",
        ) from error
    return response


def _json(response: httpx2.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError as error:
        raise _no_fhir() from error
    if not isinstance(body, dict):
        raise _no_fhir()
    return body


def _no_fhir() -> RegistrationError:
    return RegistrationError(
        "what answers at the base URL does not speak FHIR",
        code="fhir_server_unknown",
        hint="give the base that ends before /metadata, such as https://hapi.example.org/fhir",
    )


def _refused(status: int) -> RegistrationError:
    if status in (401, 403):
        hint = "set RESEARCHFLOW_FHIR_AUTHORIZATION to what the server expects in that header"
    else:
        hint = "allow Subscriptions with rest-hooks on the server (HAPI: resthook_enabled: true)"
    return RegistrationError(
        f'the FHIR server refused the Subscription with status "{status}"',
        code="fhir_server_refused",
        hint=hint,
    )


def _not_active(found: Registered) -> RegistrationError:
    return RegistrationError(
        f'the Subscription "{found.id}" is "{found.status}" and not active',
        code="subscription_not_active",
        hint="enable rest-hooks on the server (HAPI: resthook_enabled: true), see that it reaches "
        "the endpoint, then subscribe again",
    )
