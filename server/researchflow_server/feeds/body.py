"""The body of a delivery, bounded in size and time."""

from __future__ import annotations

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request

from researchflow_server.feeds.delivery import DeliveryError

#: A Bundle may be larger than the one resource that the speed layer holds.
BODY_BYTES_MAX = 8 * 1024 * 1024
#: Within the time for the whole answer, so that the sender hears what was missing.
BODY_TIMEOUT_S = 5.0


def is_encoded(headers: Headers) -> bool:
    """Whether the body is not sent as it is: an encoding may unpack to any size."""
    encodings = ",".join(headers.getlist("content-encoding")).lower().split(",")
    return bool({encoding.strip() for encoding in encodings} - {"", "identity"})


async def read_body(request: Request) -> bytes:
    """The whole body; DeliveryError `body_too_large` (413), `body_timeout` (408)."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > BODY_BYTES_MAX:
        raise _too_large()
    parts: list[bytes] = []
    size_bytes = 0
    try:
        with anyio.fail_after(BODY_TIMEOUT_S):
            async for part in request.stream():
                size_bytes += len(part)
                if size_bytes > BODY_BYTES_MAX:
                    raise _too_large()
                parts.append(part)
    except TimeoutError as error:
        raise DeliveryError(
            f"the body did not arrive within {BODY_TIMEOUT_S:g} s",
            status=408,
            code="body_timeout",
            hint="deliver again",
        ) from error
    return b"".join(parts)


def _too_large() -> DeliveryError:
    return DeliveryError(
        f"the body has more than {BODY_BYTES_MAX} bytes",
        status=413,
        code="body_too_large",
        hint="nothing is lost: a refresh reads any size from the source",
    )
