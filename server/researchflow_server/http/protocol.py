"""HTTP/1.1 from the wire, bounded: nobody's half of a request costs the others memory or a place.

uvicorn gathers a request's head without a limit and waits for it without a deadline. Here a head
has HEAD_BYTES_MAX and every part of a request a deadline; a connection that asks nothing gives its
place to one that may.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

logger = logging.getLogger(__name__)

#: Of the request line and all headers together; a head is fed in parts of this size, so one that
#: begins in the middle of a part may be longer by less than a part.
HEAD_BYTES_MAX = 64 * 1024
#: The method, the version and the blanks of a request line.
_REQUEST_LINE_REST_BYTES = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much and how long one listener takes from its clients.

    `lingering_s` is how long a refused client may go on sending, which nobody reads, so that it
    sees the refusal and no broken connection.
    """

    connections_max: int = 512
    address_connections_max: int = 256
    head_timeout_s: float = 10.0
    body_timeout_s: float = 40.0
    lingering_s: float = 2.0


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, bounds: Bounds, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._bounds = bounds
        self._is_in_head = True
        self._is_refused = False
        self._head_bytes = 0
        self._since_s = self.loop.time()
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the next thing to come is the client's: a head, or the rest of a body."""
        cycle = self.cycle
        return (
            cycle is None
            or cycle.response_complete
            or (cycle.more_body and not cycle.response_started)
        )

    @property
    def address(self) -> str | None:
        """The client's, without the port; None on a socket without."""
        return self.client[0] if self.client else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection, in the place of one that only waits where none is free."""
        super().connection_made(transport)
        self._wait(self._bounds.head_timeout_s, self._head_is_late)
        open_ones = [
            one
            for one in self.connections
            if isinstance(one, BoundedProtocol) and not one.transport.is_closing()
        ]
        neighbours = [one for one in open_ones if one.address == self.address]
        if len(neighbours) > self._bounds.address_connections_max:
            self._make_room(neighbours)
        elif len(open_ones) > self._bounds.connections_max:
            self._make_room(open_ones)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, by whichever side."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser, in parts, until a head is too long."""
        if self._deadline is None and self.is_waiting:
            self._wait(self._bounds.head_timeout_s, self._head_is_late)
        for start in range(0, len(data), HEAD_BYTES_MAX):
            if self._is_refused or self.transport.is_closing():
                return
            self._feed(data[start : start + HEAD_BYTES_MAX])

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """The head is whole; the body has a deadline of its own."""
        self._is_in_head = False
        self._wait(self._bounds.body_timeout_s, self._body_is_late)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is sent; the connection waits for the next request."""
        self._since_s = self.loop.time()
        super().on_response_complete()

    def _feed(self, part: bytes) -> None:
        room = HEAD_BYTES_MAX - self._head_bytes if self._is_in_head else len(part)
        self._head_bytes += len(part)
        super().data_received(part[:room])
        if len(part) <= room or self.transport.is_closing():
            return
        if self._is_in_head:
            is_url = len(self.url) > HEAD_BYTES_MAX - _REQUEST_LINE_REST_BYTES
            self._refuse(
                HTTPStatus.REQUEST_URI_TOO_LONG
                if is_url
                else HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            )
        else:
            super().data_received(part[room:])

    def _make_room(self, among: list[BoundedProtocol]) -> None:
        """Ends the connection that has waited longest; this one where all are at work."""
        waiting = [one for one in among if one.is_waiting and one is not self]
        if waiting:
            min(waiting, key=lambda one: one._since_s).transport.abort()
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            self.transport.close()

    def _wait(self, timeout_s: float, late: Callable[[], None]) -> None:
        self._stop_waiting()
        self._deadline = self.loop.call_later(timeout_s, late)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_is_late(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _body_is_late(self) -> None:
        if self.pipeline or self.flow.read_paused:
            # Not the client is late: nobody has read what it sent.
            self._wait(self._bounds.body_timeout_s, self._body_is_late)
        elif self.cycle.response_started:
            self.transport.abort()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answers with the status alone; what the client still sends is dropped for a while."""
        self._is_refused = True
        logger.warning("a client was refused: %d %s", status, status.phrase)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(
            f"HTTP/1.1 {status.value} {status.phrase}\r\nconnection: close\r\n"
            "content-length: 0\r\n\r\n".encode()
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._wait(self._bounds.lingering_s, self.transport.abort)
