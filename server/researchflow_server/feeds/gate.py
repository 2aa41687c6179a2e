"""Who may deliver, and how much."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from researchflow_server.feeds.delivery import DeliveryError

#: Where the secret stands: a header of its own, or the one that every server can set.
SECRET_HEADER = "X-Secret"
#: A server that was down delivers what it kept all at once.
BURST_S = 2.0


class Gate:
    """Lets in who knows the secret, up to a rate."""

    def __init__(self, secret: str, *, rate_max: float) -> None:
        """`rate_max` in deliveries a second."""
        self._secret = secret.encode()
        self._rate = rate_max
        self._places = rate_max * BURST_S
        self._counted_at = 0.0

    def check_secret(self, headers: Mapping[str, str]) -> None:
        """DeliveryError `secret_wrong`; the time it takes does not tell how much was right."""
        given = headers.get(SECRET_HEADER.lower(), "")
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        # Header bytes come as latin-1, whatever they were.
        matches = [
            hmac.compare_digest(one.encode("latin-1"), self._secret) for one in (given, bearer)
        ]
        if not any(matches):
            raise DeliveryError(
                "the delivery does not carry the secret of this server",
                status=401,
                code="secret_wrong",
                field=SECRET_HEADER,
                hint="make the Subscription anew with `researchflow subscribe`",
            )

    def check_rate(self, now_s: float) -> None:
        """DeliveryError `rate_exceeded` when more come than may."""
        passed_s = max(0.0, now_s - self._counted_at)
        self._counted_at = now_s
        self._places = min(self._rate * BURST_S, self._places + passed_s * self._rate)
        if self._places < 1:
            raise DeliveryError(
                f"more than {self._rate:g} deliveries a second",
                status=429,
                code="rate_exceeded",
                hint="deliver again in a moment; RESEARCHFLOW_WEBHOOK_RATE_MAX allows more",
            )
        self._places -= 1
