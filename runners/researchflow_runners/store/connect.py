"""One connection to PostgreSQL: its settings, its deadlines, and signs of life from the far end."""

from __future__ import annotations

import socket
from typing import Any

import asyncpg

from researchflow_runners.errors import AddressError
from researchflow_runners.store.url import Address

CONNECT_TIMEOUT_S = 5.0
IDLE_IN_TRANSACTION_S = 300.0
#: The driver gives up this much later than the server: only when the server cannot be heard.
CLIENT_GRACE_S = 5.0

#: A machine that vanished without a word is noticed after 10 + 3 x 5 s, at either end: ours ends
#: the call, PostgreSQL's gives back the locks of a refresher that is gone.
QUIET_S = 10
PROBE_INTERVAL_S = 5
PROBES_MAX = 3
UNHEARD_S = QUIET_S + PROBES_MAX * PROBE_INTERVAL_S
#: The names of Linux; another system probes at its own pace.
_SOCKET_OPTIONS = (
    ("TCP_KEEPIDLE", QUIET_S),
    ("TCP_KEEPINTVL", PROBE_INTERVAL_S),
    ("TCP_KEEPCNT", PROBES_MAX),
    ("TCP_USER_TIMEOUT", UNHEARD_S * 1000),
)
_SERVER_SIDE = {
    "tcp_keepalives_idle": str(QUIET_S),
    "tcp_keepalives_interval": str(PROBE_INTERVAL_S),
    "tcp_keepalives_count": str(PROBES_MAX),
    "tcp_user_timeout": str(UNHEARD_S * 1000),
}


#: A pooler between takes these when a connection opens; all others are set on the open one.
_AT_STARTUP = {
    "application_name": "researchflow",
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    # Checked SQL must mean what the checker read.
    "standard_conforming_strings": "on",
}
_SET = """
SELECT pg_backend_pid(), (SELECT count(set_config(name, value, false))
                          FROM unnest($1::text[], $2::text[]) AS given (name, value))
"""


def options(
    address: Address, statement_timeout_s: float, *, idle_timeout_s: float = IDLE_IN_TRANSACTION_S
) -> dict[str, Any]:
    """What `connect` takes: deadlines on both sides, UTC, no JIT (it costs more than it gives)."""
    return {
        "timeout": address.connect_timeout_s or CONNECT_TIMEOUT_S,
        "command_timeout": statement_timeout_s + CLIENT_GRACE_S,
        "server_settings": _AT_STARTUP,
        "settings": {
            "jit": "off",
            "statement_timeout": str(round(statement_timeout_s * 1000)),
            "idle_in_transaction_session_timeout": str(round(idle_timeout_s * 1000)),
            **_SERVER_SIDE,
            **({"search_path": address.search_path} if address.search_path else {}),
        },
    }


async def connect(dsn: str, *, settings: dict[str, str], **given: Any) -> Any:
    """A new connection that has the settings and notices when its far end is gone.

    AddressError `pooler_unfit` when a pooler hands sessions from one client to another.
    """
    connection = await asyncpg.connect(dsn, **given)
    try:
        _watch(connection)
        names, values = list(settings), list(settings.values())
        pid, _count = await connection.fetchrow(_SET, names, values, timeout=given["timeout"])
        if pid != connection.get_server_pid():
            await _refuse_shared(dsn, pid, **given)
    except (asyncpg.DuplicatePreparedStatementError, asyncpg.InvalidSQLStatementNameError):
        connection.terminate()
        raise _unfit() from None
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _refuse_shared(dsn: str, pid: int, **given: Any) -> None:
    """Behind a pooler: refuses one that gives a second client the session of the first.

    Ours is idle now, so such a pooler hands it to whoever comes next.
    """
    other = await asyncpg.connect(dsn, **given, statement_cache_size=0)
    try:
        if await other.fetchval("SELECT pg_backend_pid()", timeout=given["timeout"]) == pid:
            raise _unfit()
    finally:
        other.terminate()


def _unfit() -> AddressError:
    return AddressError(
        "a pooler in front of postgresql shares sessions between clients "
        "(PgBouncer's pool_mode transaction or statement)",
        code="pooler_unfit",
        hint="set pool_mode = session for this database, or give the URL of PostgreSQL itself",
    )


def _watch(connection: Any) -> None:
    """Turns keep-alive on; the driver has no option for it and its transport no public name."""
    far_end = connection._transport.get_extra_info("socket")
    if far_end is None or far_end.family == socket.AF_UNIX:
        return
    far_end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _SOCKET_OPTIONS:
        if hasattr(socket, name):
            far_end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
