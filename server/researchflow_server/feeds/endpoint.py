"""The address that a subscription delivers to: a status for each request.

2xx when what it tells is durable; 4xx when it cannot be taken, which a dead letter keeps; 503 with
Retry-After when it cannot be taken now. A FHIR server repeats for a while what is not 2xx.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import anyio
import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from researchflow_runners.errors import ResearchFlowError, SourceDataError, StoreError
from researchflow_runners.speed.change import Change, ChangeOutcome
from researchflow_runners.speed.known import Key
from researchflow_runners.speed.resource import check_type
from researchflow_server.fault import internal_error, place_of
from researchflow_server.feeds import delivery
from researchflow_server.feeds.body import is_encoded, read_body
from researchflow_server.feeds.bundle import bundle_delivery
from researchflow_server.feeds.delivery import Delivery, DeliveryError
from researchflow_server.feeds.gate import Gate
from researchflow_server.feeds.intake import Intake
from researchflow_server.feeds.refused import write_refused
from researchflow_server.metrics.deliveries import DeliveryOutcome
from researchflow_server.runtime import Runtime

logger = logging.getLogger(__name__)

FEED_PATH = "/feeds/fhir"
#: HAPI sends again what is not answered in about 10 s.
ANSWER_TIMEOUT_S = 9.0
RETRY_AFTER_S = 2
OUTCOME_TYPE = "application/fhir+json"
#: What the sender did wrong; other rejections are of what the source has, and not its fault.
SENDERS_FAULTS = frozenset(
    {
        *("resource_invalid", "resource_type_unknown", "resource_id_invalid"),
        *("resource_mismatch", "version_invalid"),
    }
)
COUNTED: dict[str, DeliveryOutcome] = {
    "secret_wrong": "unauthorized",
    "rate_exceeded": "limited",
    "feed_busy": "busy",
}


def feed_routes(runtime: Runtime) -> list[BaseRoute]:
    """The endpoint at FEED_PATH and below it; without a secret there is none."""
    secret = runtime.settings.webhook_secret
    if secret is None:
        return []
    gate = Gate(secret, rate_max=runtime.settings.webhook_rate_max)
    endpoint = FeedEndpoint(runtime, gate)
    # A mount alone sends who leaves out the last slash elsewhere.
    return [Route(FEED_PATH, endpoint), Mount(FEED_PATH, app=endpoint)]


class FeedEndpoint:
    """Takes the deliveries of a subscription."""

    def __init__(self, runtime: Runtime, gate: Gate) -> None:
        self._runtime = runtime
        self._gate = gate
        self._intake = Intake(runtime.writer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one delivery; never raises but for cancellation."""
        request = Request(scope, receive)
        try:
            outcome, response = await self._answered(request)
        except ClientDisconnect:
            outcome, response = "failed", Response(status_code=400)
        self._runtime.metrics.deliveries.count(outcome)
        await response(scope, receive, send)

    async def _answered(self, request: Request) -> tuple[DeliveryOutcome, Response]:
        try:
            self._gate.check_secret(request.headers)
            self._gate.check_rate(time.monotonic())
            with anyio.fail_after(ANSWER_TIMEOUT_S):
                return await self._taken(request), Response(status_code=200)
        except DeliveryError as error:
            return COUNTED.get(error.code, "refused"), refusal(error, error.status)
        except (StoreError, SourceDataError) as error:
            return COUNTED.get(error.code, "unavailable"), refusal(error, 503)
        except TimeoutError:
            return "unavailable", refusal(_too_slow(), 503)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001  the outermost edge
            # Neither the text nor the traceback's values: both may carry a patient's data.
            logger.error("a delivery failed: %s", place_of(error))
            hint = "deliver again; the server's log names the place"
            return "failed", refusal(internal_error("feeds", hint), 500)

    async def _taken(self, request: Request) -> DeliveryOutcome:
        """What became of the delivery, once that is durable; a refused one leaves a letter."""
        body = b""
        try:
            _check_method(request)
            body = await read_body(request)
            if is_encoded(request.headers):
                raise _encoded()
            told = read_delivery(_as_delivered(request, body))
            outcomes = await self._take(told, len(body))
            await self._tell_of_rejected(outcomes, body)
        except DeliveryError as error:
            await self._keep_letter(request, body, error.code)
            raise
        if told.looks:
            self._runtime.tail.wake()
            return "looked"
        return "taken" if outcomes else "silent"

    async def _take(self, told: Delivery, size_bytes: int) -> list[ChangeOutcome]:
        reports: list[Change | Key] = [*told.changes, *told.keys]
        return await self._intake.take(reports, size_bytes) if reports else []

    async def _tell_of_rejected(self, outcomes: Sequence[ChangeOutcome], body: bytes) -> None:
        """A letter for each resource that was not taken; DeliveryError when that is all of them."""
        rejected = [one for one in outcomes if one.error is not None]
        faults = [one for one in rejected if one.error and one.error.code in SENDERS_FAULTS]
        if faults and len(faults) == len(outcomes):
            assert faults[0].error is not None
            raise _not_fhir(faults[0].error)
        for one in rejected:
            assert one.error is not None
            await write_refused(
                self._runtime.stores.warehouse,
                code=one.error.code,
                resource_type=known_type(one.resource_type),
                body=body,
                size_bytes=len(body),
            )

    async def _keep_letter(self, request: Request, body: bytes, code: str) -> None:
        announced = request.headers.get("content-length", "")
        named = _path(request).partition("/")[0]
        await write_refused(
            self._runtime.stores.warehouse,
            code=code,
            resource_type=known_type(named),
            body=body,
            size_bytes=int(announced) if announced.isdecimal() and not body else len(body),
        )


def read_delivery(request: delivery.Request) -> Delivery:
    """What the request says; DeliveryError when it says nothing that could be taken."""
    key = delivery.key_of(request)
    version = delivery.version_of(request.headers)
    if request.method == delivery.DELETE:
        if key is None:
            raise _names_nothing()
        return Delivery((Change.delete(*key, version=version),))
    if not request.body:
        if key is not None:
            return Delivery(keys=(key,))
        return Delivery(looks=True)
    delivery.check_media_type(request)
    if key is not None:
        delivery.check_has_type(request)
        return Delivery((Change(request.body, *key, version),))
    body = delivery.parsed(request)
    if body.get("resourceType") == "Bundle":
        return bundle_delivery(body)
    return Delivery((Change(request.body, version=version),))


def known_type(name: str | None) -> str | None:
    """The name when it is a resource type: other words of a sender are not kept."""
    try:
        return check_type(name)
    except ResearchFlowError:
        return None


def refusal(error: ResearchFlowError, status: int) -> Response:
    """The error as an OperationOutcome."""
    issue = {
        "severity": "error",
        "code": "exception" if status >= 500 else "invalid",
        "diagnostics": error.message,
        "details": {"coding": [{"code": error.code}], "text": error.hint},
    }
    content = orjson.dumps({"resourceType": "OperationOutcome", "issue": [issue]})
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
    return Response(content, status, headers, OUTCOME_TYPE)


def _as_delivered(request: Request, body: bytes) -> delivery.Request:
    return delivery.Request(request.method, _path(request), request.headers, body)


def _path(request: Request) -> str:
    """What follows the endpoint's own address."""
    return str(request.scope["path"]).partition(FEED_PATH)[2].strip("/")


def _check_method(request: Request) -> None:
    if request.method not in delivery.METHODS:
        raise DeliveryError(
            f'a delivery is no "{request.method}"',
            status=405,
            code="method_not_allowed",
            hint=f"deliver with {', '.join(delivery.METHODS)}",
        )


def _encoded() -> DeliveryError:
    return DeliveryError(
        "the body is sent with a Content-Encoding",
        status=415,
        code="encoding_unsupported",
        field="Content-Encoding",
        hint="deliver the body as it is",
    )


def _not_fhir(error: ResearchFlowError) -> DeliveryError:
    return DeliveryError(
        error.message, status=400, code=error.code, hint=error.hint, field=error.field or ""
    )


def _names_nothing() -> DeliveryError:
    return DeliveryError(
        "the deletion names no resource",
        status=404,
        code="address_unknown",
        hint="deliver it to {Type}/{id} below this endpoint",
    )


def _too_slow() -> StoreError:
    return StoreError(
        f"the delivery was not durable within {ANSWER_TIMEOUT_S:g} s",
        code="feed_timeout",
        hint="deliver again; nothing is applied twice",
    )
