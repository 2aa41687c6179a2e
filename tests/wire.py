"""A wire between a client and a server that a test can cut, hold up or leave dead."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import parse_qs, urlsplit

CHUNK_BYTES = 65_536

#: How the connection breaks that carries a message.
#: `unsent`   before the server has the message
#: `unheard`  once the server has it, before the client hears the answer
#: `answered` right after the answer, before the client's next message
#: `shut`     with PostgreSQL's last words: a backend that an administrator ended
Cut = Literal["unsent", "unheard", "answered", "shut"]
Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def last_words(text: str, *, state: str) -> bytes:
    """PostgreSQL's ErrorResponse of severity FATAL."""
    fields = (("S", "FATAL"), ("V", "FATAL"), ("C", state), ("M", text))
    body = b"".join(name.encode() + value.encode() + b"\0" for name, value in fields) + b"\0"
    return b"E" + struct.pack("!i", len(body) + 4) + body


class Wire:
    """What passes through one listening port; `sent` counts the client's messages."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._cuts: dict[int, tuple[Cut, bytes]] = {}
        self._open: set[asyncio.StreamWriter] = set()
        self._last_answers: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self.port = 0
        self.sent = 0

    def cut_at(self, number: int, how: Cut, *, words: bytes = b"") -> None:
        """Breaks the connection that carries the client's message of that number, from now on."""
        self._cuts[self.sent + number] = how, words

    def mend(self) -> bool:
        """Forgets the cut that did not come to pass; whether there was one."""
        left = bool(self._cuts)
        self._cuts.clear()
        return left

    def hold(self) -> None:
        """Nothing passes any more, and neither end is told."""
        self._passing.clear()

    def let_go(self) -> None:
        """What was held up passes."""
        self._passing.set()

    def cut_all(self) -> None:
        """Breaks every connection there is."""
        for writer in tuple(self._open):
            writer.transport.abort()

    async def carry(self, *client: asyncio.StreamReader | asyncio.StreamWriter) -> None:
        """Passes messages both ways until one end leaves or a cut comes to pass."""
        reader, writer = client
        assert isinstance(reader, asyncio.StreamReader)
        assert isinstance(writer, asyncio.StreamWriter)
        try:
            heard, told = await asyncio.open_unix_connection(self._path)
        except OSError:
            writer.transport.abort()
            return
        self._open.update((writer, told))
        there = asyncio.create_task(self._there(reader, writer, told))
        back = asyncio.create_task(self._back(heard, writer))
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            writer.close()
            told.close()
            self._open.difference_update((writer, told))

    async def _there(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await self._passing.wait()
            self.sent += 1
            how, words = self._cuts.pop(self.sent, (None, b""))
            if how == "answered":
                self._last_answers.add(client)
            if how in (None, "unheard", "answered"):
                server.write(chunk)
                await server.drain()
            if how in ("unheard", "unsent", "shut"):
                client.write(words)
                return

    async def _back(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while chunk := await server.read(CHUNK_BYTES):
            await self._passing.wait()
            client.write(chunk)
            await client.drain()
            if client in self._last_answers:
                self._last_answers.remove(client)
                return


@asynccontextmanager
async def wire_to(path: str) -> AsyncIterator[Wire]:
    """A wire whose other end is the unix socket at `path`."""
    wire = Wire(path)
    server = await asyncio.start_server(wire.carry, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        wire.let_go()
        wire.cut_all()
        await server.wait_closed()


def postgres_socket(dsn: str) -> str:
    """The path of the unix socket that a DSN of the embedded PostgreSQL names."""
    return f"{parse_qs(urlsplit(dsn).query)['host'][0]}/.s.PGSQL.5432"


def postgres_through(wire: Wire, dsn: str) -> str:
    """The same database, by way of the wire."""
    return f"postgresql://postgres@127.0.0.1:{wire.port}{urlsplit(dsn).path}"


def redis_socket(url: str) -> str:
    """The path of the unix socket that the URL of an embedded Redis names."""
    return urlsplit(url).path


def redis_through(wire: Wire, url: str) -> str:
    """The same Redis database, by way of the wire."""
    return f"redis://127.0.0.1:{wire.port}/{parse_qs(urlsplit(url).query).get('db', ['0'])[0]}"
