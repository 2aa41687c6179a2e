"""Driver errors as errors of ours, translated once, without the server's text.

PostgreSQL quotes values in its messages (`invalid input syntax for type integer: "John Smith"`),
so only the SQLSTATE and names that programmers chose travel on. The cause is kept for a debugger;
whoever logs must not print it.
"""

from __future__ import annotations

from typing import Literal

import asyncpg

from researchflow_runners.errors import AddressError, ResearchFlowError, StatementError, StoreError

#: Everything the driver raises: server errors, client errors, sockets and deadlines.
DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that broke in the middle of COPY
    OSError,
    TimeoutError,
)

#: What a database is to us: the tables of views, or the FHIR server's own.
Role = Literal["warehouse", "source"]

_UNAVAILABLE_CLASSES = ("08",)
_UNAVAILABLE_STATES = {
    "3D000",  # invalid_catalog_name: the database is not there, or not there yet
    "55000",  # object_not_in_prerequisite_state: the database accepts no connections
    "25P03",  # idle_in_transaction_session_timeout: the server cut the session
    "53300",  # too_many_connections
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now: starting up or in recovery
    "57P05",  # idle_session_timeout
}
#: Insufficient resources, and errors of the system below: files, disks, descriptors.
_RESOURCE_CLASSES = ("53", "58")
_REFUSED_CLASSES = ("28",)
_CONFLICT_STATES = {"40001", "40P01", "55P03"}
#: Two who change the catalogue at once; the state says no more than "internal error".
_CONFLICT_TEXTS = {"tuple concurrently updated", "tuple concurrently deleted"}
_DATA_CLASSES = ("21", "22")


def translate(error: BaseException, role: Role = "warehouse") -> ResearchFlowError:
    """The error to raise `from error`."""
    if isinstance(error, asyncpg.PostgresError):
        return _server_error(error, role)
    if isinstance(error, TimeoutError):
        return _store_error(
            "statement_timeout",
            "postgresql did not answer in time",
            "ask for less (narrower filter, smaller limit) or try again later",
        )
    if isinstance(error, OSError) or _connection_is_lost(error):
        return unavailable(role)
    return StatementError(
        "an argument does not fit the statement",
        sqlstate="22000",
        hint="pass a value of the column's type",
    )


def rejected_at(error: ResearchFlowError) -> tuple[str, int | None] | None:
    """The SQLSTATE with which PostgreSQL rejected a statement, and the character, from 0, at
    which it did; None when the error is not PostgreSQL's."""
    cause = error.__cause__
    if not isinstance(cause, asyncpg.PostgresError) or cause.sqlstate is None:
        return None
    position = getattr(cause, "position", None)
    return str(cause.sqlstate), int(position) - 1 if position else None


def _server_error(error: asyncpg.PostgresError, role: Role) -> ResearchFlowError:
    state = str(error.sqlstate or "XX000")
    if state[:2] in _UNAVAILABLE_CLASSES or state in _UNAVAILABLE_STATES:
        return unavailable(role)
    if state == "57014":
        return _store_error(
            "statement_timeout",
            "the statement was cancelled at its deadline",
            "ask for less (narrower filter, smaller limit) or try again later",
        )
    if state in _CONFLICT_STATES or str(error) in _CONFLICT_TEXTS:
        return _store_error(
            "postgres_conflict",
            f'a concurrent change got in the way (SQLSTATE "{state}")',
            "try again",
        )
    if state[:2] in _RESOURCE_CLASSES:
        return _store_error(
            "postgres_resources",
            f'postgresql ran out of disk, memory or files (SQLSTATE "{state}")',
            "free space on the database host, then try again",
        )
    if state[:2] in _REFUSED_CLASSES:
        return AddressError(
            f'postgresql refuses the role of the URL (SQLSTATE "{state}")',
            code="postgres_refused",
            hint="correct user and password in the URL, or pg_hba.conf on the server",
        )
    if state in ("42P01", "3F000"):
        return _store_error(
            "relation_missing",
            "a table of this database was replaced or never created",
            "try again; if it stays, run `researchflow refresh`",
        )
    return StatementError(
        f'postgresql rejected the statement (SQLSTATE "{state}")',
        sqlstate=state,
        hint=_hint(state),
        field=getattr(error, "column_name", None) or None,
    )


def _hint(state: str) -> str:
    if state == "25006":
        return "writes go to the primary server; give its URL, not a standby's"
    if state[:2] in _DATA_CLASSES:
        return "a value does not fit the column it is read into"
    if state == "42501":
        return "grant the database role the privileges named in the README"
    return "this is a fault of researchflow; report the SQLSTATE and the statement's purpose"


def _connection_is_lost(error: BaseException) -> bool:
    """Whether a client error means a closed connection rather than a wrong argument."""
    return not isinstance(error, ValueError)


def unavailable(role: Role = "warehouse") -> StoreError:
    """The error for a server that cannot be reached, is restarting or is full."""
    if role == "source":
        return _store_error(
            "source_unavailable",
            "the FHIR server's database cannot be reached or is restarting",
            "check the database of RESEARCHFLOW_SOURCE_URL, then try again",
        )
    return _store_error(
        "postgres_unavailable",
        "postgresql cannot be reached or is restarting",
        "check that PostgreSQL runs and accepts connections, then try again",
    )


def _store_error(code: str, message: str, hint: str) -> StoreError:
    return StoreError(message, code=code, hint=hint)
