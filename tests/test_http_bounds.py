"""What clients send by halves, without end or twice costs nobody else an answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from researchflow_server.http import Bounds, Listener, guarded_metrics
from researchflow_server.http.protocol import HEAD_BYTES_MAX
from researchflow_server.settings import read_settings

WAIT_S = 10.0
#: A request that is answered at once.
ASK = b"GET /ask HTTP/1.1\r\nHost: localhost\r\n\r\n"
LENGTH = b"POST /ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
HASTY = Bounds(
    connections_max=8,
    address_connections_max=4,
    head_timeout_s=0.3,
    body_timeout_s=0.3,
    lingering_s=1.0,
)
PATIENT = Bounds(connections_max=6, address_connections_max=4)


async def _echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{len(await request.body())}")


ECHO = Starlette(routes=[Route("/{path}", _echo, methods=["GET", "POST"])])


class Wire:
    """One connection, as bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def status(self) -> int | None:
        """The status of the next answer; None when the connection ended without one."""
        try:
            async with asyncio.timeout(WAIT_S):
                line = await self.reader.readline()
        except ConnectionError:
            return None
        return int(line.split()[1]) if line else None

    async def is_ended(self) -> bool:
        """Waits for the end, past whatever is left to read."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self.reader.read()
        except ConnectionError:
            return True
        return self.reader.at_eof()


class Served:
    """A server and the connections that were made to it."""

    def __init__(self, listener: Listener) -> None:
        self.port = listener.port
        self._wires: list[Wire] = []

    async def wire(self) -> Wire:
        """A new connection."""
        self._wires.append(Wire(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self._wires[-1]

    async def ask(self) -> int | None:
        """The status of a plain request on a connection of its own."""
        wire = await self.wire()
        await wire.send(ASK)
        found = await wire.status()
        wire.writer.close()
        return found

    async def close(self) -> None:
        for wire in self._wires:
            wire.writer.close()
            with suppress(ConnectionError):
                await wire.writer.wait_closed()


@asynccontextmanager
async def serving(app: ASGIApp = ECHO, bounds: Bounds = PATIENT) -> AsyncIterator[Served]:
    """The application behind a port; by itself it answers with the number of bytes of a body."""
    with Listener(app, host="127.0.0.1", port=0, variable="port", bounds=bounds) as listener:
        running = asyncio.create_task(listener.serve())
        served = Served(listener)
        try:
            yield served
        finally:
            await served.close()
            listener.stop()
            await running


@pytest.mark.parametrize(
    ("opening", "status"),
    [
        (b"GET /" + b"a" * 8, 414),
        (b"GET /?" + b"a" * 8, 414),
        (b"GET /ask HTTP/1.1\r\nHost: localhost\r\nX-Long: ", 431),
        (b"GET /ask HTTP/1.1\r\nHost: localhost\r\nX-Short: 1\r\nX-Name", 431),
    ],
)
async def test_a_head_without_end_is_refused_while_others_are_served(
    opening: bytes, status: int
) -> None:
    async with serving() as served:
        wire = await served.wire()
        flood = asyncio.create_task(wire.send(opening + b"a" * 8 * 1024 * 1024))
        assert await served.ask() == 200
        assert await wire.status() == status
        flood.cancel()
        assert await served.ask() == 200


async def test_many_short_headers_are_bounded_together() -> None:
    async with serving() as served:
        wire = await served.wire()
        await wire.send(ASK[:-2] + b"X-A: b\r\n" * 20_000 + b"\r\n")
        assert await wire.status() == 431


async def test_a_head_below_the_bound_and_a_long_body_are_taken() -> None:
    async with serving() as served:
        wire = await served.wire()
        padding = b"X-Long: " + b"a" * (HEAD_BYTES_MAX - 200) + b"\r\n"
        body = b"b" * 3_000_000
        head = LENGTH % len(body)
        await wire.send(head[:-2] + padding + b"\r\n" + body)
        assert await wire.status() == 200
        await wire.reader.readuntil(b"3000000")
        await wire.send(ASK)
        assert await wire.status() == 200


async def test_the_second_head_of_a_connection_is_bounded_too() -> None:
    async with serving() as served:
        wire = await served.wire()
        await wire.send(ASK)
        await wire.reader.readuntil(b"\r\n\r\n0")
        await wire.send(ASK[:-2] + b"X-Long: " + b"a" * 4 * HEAD_BYTES_MAX)
        assert await wire.status() == 431


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 408),
        (b"\r\n", 408),
        (b"GET /ask HTTP/1.1\r\nHost: loc", 408),
        (LENGTH % 100, 408),
        (LENGTH % 100 + b"half", 408),
        (ASK, 200),
    ],
)
async def test_a_client_that_stops_is_let_go(sent: bytes, status: int) -> None:
    async with serving(bounds=HASTY) as served:
        wire = await served.wire()
        await wire.send(sent)
        assert await wire.status() == status
        if status != 200:
            assert await wire.is_ended()
        assert await served.ask() == 200


@pytest.mark.parametrize("half", [b"", b"GET /ask HT", LENGTH % 100 + b"half"])
async def test_silent_connections_give_way_to_one_that_asks(half: bytes) -> None:
    async with serving() as served:
        silent = [await served.wire() for _number in range(20)]
        for wire in silent:
            wire.writer.write(half)
        assert [await served.ask() for _number in range(3)] == [200] * 3
        assert await silent[0].is_ended()


async def test_connections_at_work_are_not_ended_for_a_new_one() -> None:
    release = asyncio.Event()

    async def slow(_request: Request) -> PlainTextResponse:
        await release.wait()
        return PlainTextResponse("done")

    async with serving(Starlette(routes=[Route("/ask", slow)])) as served:
        working = [await served.wire() for _number in range(4)]
        for wire in working:
            await wire.send(ASK)
        assert await served.ask() == 503
        release.set()
        assert [await wire.status() for wire in working] == [200] * 4


async def test_a_client_that_hangs_up_in_a_body_is_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as served:
        with caplog.at_level(logging.INFO):
            wire = await served.wire()
            await wire.send(LENGTH % 100 + b"half")
            wire.writer.transport.abort()
            assert await served.ask() == 200
    assert [record.message for record in caplog.records] == [
        "a client left before its request was whole"
    ]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Host: localhost\r\nHost: elsewhere\r\n", 400),
        (b"Host: localhost\r\nHost: localhost\r\n", 400),
        (b"Host: localhost\r\nContent-Encoding: br\r\n", 415),
        (b"Host: localhost\r\nContent-Encoding: identity, gzip\r\n", 415),
        (b"Host: localhost\r\nContent-Encoding: Identity\r\n", 200),
    ],
)
async def test_a_request_has_one_host_and_a_plain_body(headers: bytes, status: int) -> None:
    async with serving() as served:
        wire = await served.wire()
        await wire.send(b"GET /ask HTTP/1.1\r\n" + headers + b"\r\n")
        assert await wire.status() == status


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (b"/metrics", b"Host: localhost:9\r\n", 200),
        (b"/metrics", b"Host: elsewhere\r\n", 421),
        (b"/metrics", b"Host: localhost\r\nOrigin: https://elsewhere\r\n", 403),
        (b"/healthz", b"Host: 10.0.0.7:9464\r\n", 200),
    ],
)
async def test_metrics_are_for_names_of_this_server(
    path: bytes, headers: bytes, status: int
) -> None:
    plain = Starlette(routes=[Route("/{path}", _echo)])
    app = guarded_metrics(plain, read_settings())
    async with serving(app) as served:
        wire = await served.wire()
        await wire.send(b"GET " + path + b" HTTP/1.1\r\n" + headers + b"\r\n")
        assert await wire.status() == status
