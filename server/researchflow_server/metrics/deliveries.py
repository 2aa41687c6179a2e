"""Deliveries of subscriptions, counted by how they were answered."""

from __future__ import annotations

from collections import Counter
from typing import Literal, get_args

from researchflow_server.metrics.families import Family

#: taken: durable. looked: it said only that something changed. silent: a handshake or heartbeat.
#: unauthorized, limited: not let in. refused: cannot be taken, a dead letter tells why. busy,
#: unavailable: not now. failed: a fault of ours, or the sender left.
DeliveryOutcome = Literal[
    "taken", "looked", "silent", "unauthorized", "limited", "refused", "busy", "unavailable",
    "failed",
]  # fmt: skip
OUTCOMES: tuple[DeliveryOutcome, ...] = get_args(DeliveryOutcome)


class Deliveries:
    """The counts of one process."""

    def __init__(self) -> None:
        self._counts: Counter[DeliveryOutcome] = Counter()

    def count(self, outcome: DeliveryOutcome) -> None:
        """Counts one delivery."""
        self._counts[outcome] += 1

    def family(self) -> Family:
        """The metric, every outcome from 0."""
        samples = tuple(((word,), float(self._counts[word])) for word in OUTCOMES)
        return Family(
            "researchflow_subscription_deliveries",
            "Deliveries of subscriptions, by how they were answered.",
            "counter",
            ("outcome",),
            samples,
        )
