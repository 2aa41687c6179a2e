"""Running the services' programs, and looking at what they left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import anyio
from anyio import to_thread

from researchflow_runners.errors import ServiceError
from researchflow_server.embedded.placement import Account

#: The caller's environment may name another server (PGPORT, PGDATA): children do not get it.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}
#: What the services write holds patients' data.
PRIVATE_UMASK = 0o077
#: A shell sets the bound of what it becomes: between fork and exec of ours no Python may run.
BOUNDED = 'ulimit -v "$0" && exec "$@"'
POLL_S = 0.01
OUTPUT_LINES_MAX = 5


async def run_program(
    arguments: Sequence[str | Path],
    *,
    account: Account | None = None,
    timeout_s: float,
    address_space_bytes: int | None = None,
) -> None:
    """Returns when the program has ended well; ServiceError `service_failed` otherwise.

    `address_space_bytes` bounds the program and each process it starts, where the system is Linux.
    Output goes to a file, since a daemon started by the program would keep a pipe open.
    """
    command = [str(part) for part in arguments]
    name = Path(command[0]).name
    if address_space_bytes is not None and sys.platform == "linux":
        command = ["/bin/sh", "-c", BOUNDED, str(address_space_bytes // 1024), *command]
    await to_thread.run_sync(_run, name, command, account, timeout_s)


def _run(name: str, arguments: list[str], account: Account | None, timeout_s: float) -> None:
    with tempfile.TemporaryFile() as output:
        try:
            ended = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                cwd="/",
                env=ENVIRONMENT,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                umask=PRIVATE_UMASK,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(name, f"did not end within {timeout_s:g} s") from error
        except OSError as error:
            raise _failed(name, error.strerror or "cannot be run") from error
        if ended.returncode:
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            raise _failed(name, " / ".join(lines[-OUTPUT_LINES_MAX:]) or "gave no reason")


def _failed(name: str, reason: str) -> ServiceError:
    return ServiceError(
        f'"{name}" failed: {reason}',
        code="service_failed",
        hint="read the service's log in the data directory, or give a DSN and a URL of your own",
        field=name,
    )


def is_alive(pid: int) -> bool:
    """Whether a process of that number runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return _answers_signal(pid) and not Path("/proc/self/stat").exists()
    return state not in {"Z", "X"}


def _answers_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def until(condition: Callable[[], Awaitable[bool]], *, timeout_s: float) -> bool:
    """Whether the condition came true in time; polled, since it is about other processes."""
    with anyio.move_on_after(timeout_s):
        while not await condition():  # noqa: ASYNC110
            await anyio.sleep(POLL_S)
        return True
    return False


async def wait_until_gone(pid: int, *, timeout_s: float) -> None:
    """Returns when the process has ended; ServiceError `service_failed` when it does not."""

    async def is_gone() -> bool:
        return not is_alive(pid)

    if not await until(is_gone, timeout_s=timeout_s):
        raise _failed(str(pid), f"did not end within {timeout_s:g} s")


async def send_signal(pid: int, number: signal.Signals, *, timeout_s: float) -> None:
    """Returns when the process has ended of that signal, or was gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
    await wait_until_gone(pid, timeout_s=timeout_s)
