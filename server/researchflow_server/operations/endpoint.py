"""One request to an operation, from its first byte to its last.

Until the first rows are there every failure is an OperationOutcome. After that the status is sent,
so a failure breaks the connection: a chunked answer without its last chunk is not complete, and no
client takes it for one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from researchflow_runners.compiler import CompiledView
from researchflow_runners.errors import ResearchFlowError, StoreError
from researchflow_server.fault import internal_error, place_of
from researchflow_server.operations.asked import Asked, check_goes_with, read_asked
from researchflow_server.operations.formats import encoder_of
from researchflow_server.operations.formats.encoder import Encoder
from researchflow_server.operations.inline import inline_rows
from researchflow_server.operations.library import library_rows
from researchflow_server.operations.negotiation import MEDIA_TYPES
from researchflow_server.operations.outcome import OperationError, refused
from researchflow_server.operations.parameters import SQL_RUN, Operation
from researchflow_server.operations.rows import OpenRows
from researchflow_server.operations.stored import StoredRows
from researchflow_server.operations.subject import Subject, subject_of
from researchflow_server.runtime import Runtime

logger = logging.getLogger(__name__)

#: Rows that are in memory at once.
BATCH_ROWS = 500
#: The whole answer, a client that reads slowly included.
ANSWER_TIMEOUT_S = 600.0
#: Each answer keeps a connection; the tools need theirs.
RUNNING_MAX = 4
METHODS = ("GET", "POST")
REPORT_HINT = "report it with the time of the request; the server's log names the place"


class Operations:
    """What the endpoints of one server share: its stores and the bound on what runs at once."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.stored = StoredRows(runtime)
        self._running = 0
        self._running_max = min(RUNNING_MAX, runtime.settings.pool_max // 2)

    def open(self, subject: Subject, asked: Asked) -> AbstractAsyncContextManager[OpenRows]:
        """The rows of the subject over what is asked; OperationError `parameter_conflict`."""
        check_goes_with(asked, is_view=isinstance(subject, CompiledView))
        if not isinstance(subject, CompiledView):
            return library_rows(self.stored, subject, asked)
        if asked.resources is None:
            return self.stored.open(subject, asked)
        return inline_rows(self.runtime.stores.warehouse, subject, asked)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place among those that run; OperationError `too_many_requests` when none is left."""
        if self._running >= self._running_max:
            raise OperationError(
                f"{self._running_max} operations are running, which is the most at once",
                status=429,
                issue="throttled",
                code="too_many_requests",
                hint="try again in a moment",
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1


class Endpoint:
    """An operation as an ASGI application."""

    def __init__(self, operations: Operations, operation: Operation) -> None:
        self._operations = operations
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request; a client that leaves ends the work."""
        request = Request(scope, receive)
        answer = _Answer(request, send)
        async with anyio.create_task_group() as tasks:

            async def work() -> None:
                await self._answered(request, answer)
                tasks.cancel_scope.cancel()

            tasks.start_soon(work)
            await answer.body_read.wait()
            if not answer.done:
                await _left(receive)
                tasks.cancel_scope.cancel()

    async def _answered(self, request: Request, answer: _Answer) -> None:
        """The whole answer; never raises but for cancellation."""
        try:
            with anyio.fail_after(ANSWER_TIMEOUT_S):
                await self._run(request, answer)
        except ClientDisconnect:
            return
        except ResearchFlowError as error:
            await answer.fail(error)
        except TimeoutError:
            await answer.fail(_too_slow())
        except Exception as error:  # noqa: BLE001  the outermost edge
            # Neither the text nor the traceback's values: both may carry a patient's data.
            logger.error("operation %s failed: %s", self._operation.code, place_of(error))
            await answer.fail(internal_error(self._operation.code, REPORT_HINT))
        finally:
            answer.done = True
            answer.body_read.set()

    async def _run(self, request: Request, answer: _Answer) -> None:
        _check_request(request)
        async with self._operations.place():
            asked = await read_asked(self._operation, request)
            answer.body_read.set()
            base_url = f"{str(request.base_url).rstrip('/')}{request.scope['root_path']}/"
            subject = await subject_of(
                self._operations.runtime,
                asked,
                base_url=base_url,
                takes_sql=self._operation is SQL_RUN,
            )
            async with self._operations.open(subject, asked) as rows:
                encoder = await anyio.to_thread.run_sync(_encoder, rows, asked)
                rest = await answer.send_rows(rows, encoder, asked)
        # Only now, so that who has the whole answer finds its place and its connection free.
        await answer.send(rest, rows, asked, more=False)


class _Answer:
    """What is sent; `started` says that the status is, so that no other can follow."""

    def __init__(self, request: Request, send: Send) -> None:
        self.body_read = anyio.Event()
        self.done = False
        self._request = request
        self._send = send
        self._started = False

    async def send_rows(self, rows: OpenRows, encoder: Encoder, asked: Asked) -> bytes:
        """Sends the rows and gives the end of the answer.

        The first batch is computed and encoded before anything is sent.
        """
        found = await rows.next(BATCH_ROWS)
        chunk = encoder.start() + await anyio.to_thread.run_sync(encoder.batch, found)
        while len(found) == BATCH_ROWS:
            await self.send(chunk, rows, asked)
            found = await rows.next(BATCH_ROWS)
            chunk = await anyio.to_thread.run_sync(encoder.batch, found)
        return chunk + await anyio.to_thread.run_sync(encoder.end)

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


def _encoder(rows: OpenRows, asked: Asked) -> Encoder:
    return encoder_of(asked.format, rows.columns, header=asked.header)


def _check_request(request: Request) -> None:
    if request.method not in METHODS:
        raise OperationError(
            f'the method "{request.method[:16]}" is not allowed here',
            status=405,
            issue="not-supported",
            code="method_not_allowed",
            allowed=METHODS,
            hint="use POST, or GET where every parameter fits into the URL",
        )
    if request.scope["http_version"] == "1.0":
        raise OperationError(
            "over HTTP/1.0 a cut answer could not be told from a whole one",
            status=505,
            issue="not-supported",
            code="http_version",
            hint="use HTTP/1.1; a proxy in between must speak it to this server",
        )


async def _left(receive: Receive) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_slow() -> StoreError:
    return StoreError(
        f"the answer took longer than {ANSWER_TIMEOUT_S:g} s",
        code="operation_timeout",
        hint="ask for less (patient, _since, _limit), or read faster",
    )
