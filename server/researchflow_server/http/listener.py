"""The tools and the FHIR operations over HTTP and the metrics beside them, in one event loop."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from researchflow_runners.errors import ResearchFlowError
from researchflow_server.feeds.endpoint import FEED_PATH
from researchflow_server.http.door import Door
from researchflow_server.http.protocol import BoundedProtocol, Bounds

SHUTDOWN_TIMEOUT_S = 5
BACKLOG = 256
BOUNDS = Bounds()


class PortError(ResearchFlowError):
    """A port that cannot be listened on."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: two of them run in one loop and stop together."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to `serve_until_stopped`."""
        yield


class Listener:
    """A bound port and the application behind it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        variable: str,
        bounds: Bounds = BOUNDS,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        """`on_stop` ends what would never end by itself."""
        self.socket = bind(host, port, variable=variable)
        self.port: int = self.socket.getsockname()[1]
        self._on_stop = on_stop
        self._server = _Server(_config(Door(app, own_refusals=(FEED_PATH,)), bounds))

    async def serve(self) -> None:
        """Answers until `stop`."""
        await self._server.serve(sockets=[self.socket])

    def stop(self) -> None:
        """Lets requests in flight finish, within SHUTDOWN_TIMEOUT_S."""
        if self._on_stop is not None:
            self._on_stop()
        self._server.should_exit = True

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()


def bind(host: str, port: int, *, variable: str) -> socket.socket:
    """A listening socket; PortError `port_in_use` or `port_unavailable` names the port."""
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise _unavailable(host, port, variable) from error
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise _in_use(port, variable) from error
        raise _unavailable(host, port, variable) from error
    listening.setblocking(False)
    return listening


async def serve_until_stopped(listeners: Sequence[Listener], ready: Callable[[], None]) -> None:
    """Serves all of them until SIGINT, SIGTERM or the end of one.

    Calls `ready` once a signal would end it well; connections are taken from then on.
    """
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for listener in listeners:
            listener.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        async with asyncio.TaskGroup() as tasks:
            for listener in listeners:
                task = tasks.create_task(listener.serve())
                task.add_done_callback(lambda _task: stop())
            ready()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _config(app: ASGIApp, bounds: Bounds) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=cast("Any", partial(BoundedProtocol, bounds=bounds)),
        loop="none",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        # One more than there can be: the protocol's own bound makes room first.
        limit_concurrency=bounds.connections_max + 1,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )


def _in_use(port: int, variable: str) -> PortError:
    return PortError(
        f'port "{port}" is in use by another process',
        code="port_in_use",
        field=variable,
        hint=f"stop that process, or choose a free port with {variable} (0 takes any)",
    )


def _unavailable(host: str, port: int, variable: str) -> PortError:
    return PortError(
        f'cannot listen on "{host}" port "{port}"',
        code="port_unavailable",
        field=variable,
        hint=f"choose an address of this machine and a port above 1023 with {variable}",
    )
