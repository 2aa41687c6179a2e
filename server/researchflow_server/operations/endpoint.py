"""One request to an operation, from its first byte to its last."""

from __future__ import annotations

import logging

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from researchflow_runners.errors import ResearchFlowError, StoreError
from researchflow_server.fault import internal_error, place_of
from researchflow_server.operations.answer import Answer
from researchflow_server.operations.asked import Asked, read_asked
from researchflow_server.operations.formats import encoder_of
from researchflow_server.operations.formats.encoder import Encoder
from researchflow_server.operations.outcome import OperationError, check_method
from researchflow_server.operations.parameters import SQL_RUN, Operation
from researchflow_server.operations.rows import OpenRows
from researchflow_server.operations.runs import Runs
from researchflow_server.operations.subject import subject_of

logger = logging.getLogger(__name__)

#: The whole answer, a client that reads slowly included.
ANSWER_TIMEOUT_S = 600.0
METHODS = ("GET", "POST")
REPORT_HINT = "report it with the time of the request; the server's log names the place"


class Endpoint:
    """An operation as an ASGI application."""

    def __init__(self, runs: Runs, operation: Operation) -> None:
        self._runs = runs
        self._operation = operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request; a client that leaves ends the work."""
        request = Request(scope, receive)
        answer = Answer(request, send)
        async with anyio.create_task_group() as tasks:

            async def work() -> None:
                await self._answered(request, answer)
                tasks.cancel_scope.cancel()

            tasks.start_soon(work)
            await answer.body_read.wait()
            if not answer.done:
                await _left(receive)
                tasks.cancel_scope.cancel()

    async def _answered(self, request: Request, answer: Answer) -> None:
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

    async def _run(self, request: Request, answer: Answer) -> None:
        _check_request(request)
        async with self._runs.place():
            asked = await read_asked(self._operation, request)
            answer.body_read.set()
            base_url = f"{str(request.base_url).rstrip('/')}{request.scope['root_path']}/"
            subject = await subject_of(
                self._runs.runtime,
                asked,
                base_url=base_url,
                takes_sql=self._operation is SQL_RUN,
            )
            async with self._runs.open(subject, asked) as rows:
                encoder = await anyio.to_thread.run_sync(_encoder, rows, asked)
                rest = await answer.send_rows(rows, encoder, asked)
        # Only now, so that who has the whole answer finds its place and its connection free.
        await answer.send(rest, rows, asked, more=False)
        self._runs.count(subject, rows.dated)


def _encoder(rows: OpenRows, asked: Asked) -> Encoder:
    return encoder_of(asked.format, rows.columns, header=asked.header)


def _check_request(request: Request) -> None:
    check_method(request, METHODS)
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
