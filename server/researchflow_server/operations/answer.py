"""What is sent of an answer: its head with the first rows, batch by batch, or a refusal.

Once the status is sent nothing else can be said, so a failure then leaves the body without its
last chunk, and no client takes it for whole.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import anyio
from starlette.requests import Request
from starlette.types import Send

from researchflow_runners.errors import ResearchFlowError
from researchflow_server.operations.asked import Asked
from researchflow_server.operations.formats.encoder import Encoder, Row
from researchflow_server.operations.negotiation import MEDIA_TYPES
from researchflow_server.operations.outcome import refused
from researchflow_server.operations.rows import OpenRows

logger = logging.getLogger(__name__)

#: Rows that are in memory at once, fewer when they are large.
BATCH_ROWS = 500
#: How many are fetched before anything is known about their size.
FIRST_ROWS = 25
CHUNK_BYTES = 4 * 1024 * 1024


class Answer:
    """What is sent; `started` says that the status is, so that no other can follow."""

    def __init__(self, request: Request, send: Send) -> None:
        self.body_read = anyio.Event()
        self.done = False
        self._request = request
        self._send = send
        self._started = False

    async def send_rows(self, rows: OpenRows, encoder: Encoder, asked: Asked) -> bytes:
        """Sends the rows and gives the end of the answer.

        BATCH_ROWS rows, or CHUNK_BYTES of them, are encoded before anything is sent.
        """
        held, count, rows_max = encoder.start(), 0, min(FIRST_ROWS, BATCH_ROWS)
        while len(found := await rows.next(rows_max)) == rows_max:
            held += await anyio.to_thread.run_sync(encoder.batch, found)
            count += len(found)
            rows_max = _rows_that_fit(found)
            if self._started or count >= BATCH_ROWS or len(held) >= CHUNK_BYTES:
                await self.send(held, rows, asked)
                held = b""
        held += await anyio.to_thread.run_sync(encoder.batch, found)
        return held + await anyio.to_thread.run_sync(encoder.end)

    async def send(self, chunk: bytes, rows: OpenRows, asked: Asked, *, more: bool = True) -> None:
        """A part of the body, after the head if nothing was sent yet."""
        if not self._started:
            self._started = True
            await self._send(_head(rows, asked))
        await self._send({"type": "http.response.body", "body": chunk, "more_body": more})

    async def fail(self, error: ResearchFlowError) -> None:
        """Says what went wrong; once rows are sent, by leaving the answer incomplete."""
        if self._started:
            logger.warning("an answer of rows was broken off: %s", error.code)
            return
        self._started = True
        response = refused(error)
        await response(self._request.scope, self._request.receive, self._send)


def _rows_that_fit(found: Sequence[Row]) -> int:
    """How many rows to fetch next, if they are as large as these."""
    size = sum(len(value) for row in found for value in row if isinstance(value, str | bytes))
    return max(1, min(BATCH_ROWS, CHUNK_BYTES * len(found) // max(1, size)))


def _head(rows: OpenRows, asked: Asked) -> dict[str, object]:
    headers = {
        "Content-Type": _content_type(asked),
        "Cache-Control": "no-store",
        **rows.dated.headers(),
    }
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}


def _content_type(asked: Asked) -> str:
    media_type = MEDIA_TYPES[asked.format]
    if asked.format != "csv":
        return media_type
    return f"{media_type}; charset=utf-8; header={'present' if asked.header else 'absent'}"
