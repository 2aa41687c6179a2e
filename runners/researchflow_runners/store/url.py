"""A database URL, taken apart: what the driver understands, what we do ourselves, what is refused.

A parameter that the driver does not know would reach PostgreSQL as a setting of that name and be
refused there, in words that help nobody; so each is taken here, or refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from researchflow_runners.errors import AddressError
from researchflow_runners.naming import nearest

PORT_MAX = 65_535
TIMEOUT_MAX_S = 60
#: libpq's, which the driver understands as libpq does.
_DRIVERS = frozenset(
    {
        "application_name", "database", "dbname", "gsslib", "host", "krbsrvname", "options",
        "passfile", "password", "port", "service", "sslcert", "sslcrl", "sslkey", "sslmode",
        "sslnegotiation", "sslpassword", "sslrootcert", "ssl_max_protocol_version",
        "ssl_min_protocol_version", "target_session_attrs", "user",
    }
)  # fmt: skip
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": (
        "any", "primary", "standby", "read-write", "read-only", "prefer-standby",
    ),
}  # fmt: skip
#: Where tables without a schema are looked for: Prisma's word, and JDBC's.
_SCHEMAS = frozenset({"schema", "currentSchema"})
#: libpq's, and JDBC's.
_TIMEOUTS = frozenset({"connect_timeout", "connectTimeout", "loginTimeout"})
_NAMES = {"ApplicationName": "application_name"}
#: Says that a pooler is in front, which is noticed without it.
_NEEDLESS = frozenset({"pgbouncer"})
_POOL = "leave it out and set RESEARCHFLOW_POOL_MAX"
_DEADLINES = "leave it out: every statement has a deadline of its own"
_PROBES = "leave it out: connections are probed every few seconds"
_CACHE = "leave it out: the driver keeps prepared statements by itself"
_INSTEAD = {
    "connection_limit": _POOL,
    "pool_timeout": _POOL,
    "socket_timeout": _DEADLINES,
    "socketTimeout": _DEADLINES,
    "statement_timeout": _DEADLINES,
    "keepalives": _PROBES,
    "keepalives_idle": _PROBES,
    "keepalives_interval": _PROBES,
    "keepalives_count": _PROBES,
    "tcp_user_timeout": _PROBES,
    "tcpKeepAlive": _PROBES,
    "prepareThreshold": _CACHE,
    "preparedStatementCacheQueries": _CACHE,
    "statement_cache_size": _CACHE,
    "ssl": "write sslmode=require, or verify-full with sslrootcert",
    "sslaccept": "write sslmode=require, or verify-full with sslrootcert",
    "hostaddr": "write the address as the host",
    "targetServerType": "write target_session_attrs",
    "search_path": "write schema",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is: `dsn` is all that the driver reads."""

    dsn: str
    search_path: str | None = None
    connect_timeout_s: float | None = None


def parse_url(url: str) -> Address:
    """The address; AddressError `url_invalid` names the part that cannot be honoured.

    No value of the URL is repeated but names of parameters: it may hold a password.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise _invalid("the URL", "cannot be read", "write postgresql://host/database") from error
    if parts.scheme not in ("postgresql", "postgres"):
        raise _invalid("the URL", "does not begin with postgresql://", "write postgresql://…")
    _check_port(parts)
    kept: list[tuple[str, str]] = []
    search_path = timeout_s = None
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in _SCHEMAS:
            search_path = _search_path(name, value)
        elif name in _TIMEOUTS:
            timeout_s = _seconds(name, value)
        elif name not in _NEEDLESS:
            kept.append((_taken(name, value), value))
    query = urlencode(kept, quote_via=quote)
    return Address(parts._replace(query=query).geturl(), search_path, timeout_s)


def _taken(name: str, value: str) -> str:
    """The driver's name of a parameter."""
    own = _NAMES.get(name, name)
    if own not in _DRIVERS:
        known = sorted(_DRIVERS | _SCHEMAS | _TIMEOUTS)
        guess = nearest(name, known)
        hint = _INSTEAD.get(name) or (f"write {guess}" if guess else "leave it out")
        raise _invalid(f'parameter "{name[:40]}"', "is not one that can be honoured", hint)
    choices = _CHOICES.get(own)
    if choices and value not in choices:
        raise _invalid(f'parameter "{name}"', "has no such value", f"write {', '.join(choices)}")
    if own == "port" and not all(map(_is_port, value.split(","))):
        raise _invalid('parameter "port"', "is no port", f"write 1 to {PORT_MAX}")
    return own


def _check_port(parts: SplitResult) -> None:
    """Of several hosts each may have one."""
    for host in parts.netloc.rpartition("@")[2].split(","):
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not _is_port(port):
            raise _invalid(
                "the port", "is no number that a port can have", f"write 1 to {PORT_MAX}"
            )


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= PORT_MAX


def _search_path(name: str, value: str) -> str:
    """The schemas, each quoted as PostgreSQL reads them back."""
    schemas = [part.strip() for part in value.split(",")]
    if not all(schemas) or "\0" in value:
        raise _invalid(f'parameter "{name}"', "names no schema", "write a schema, or leave it out")
    return ", ".join('"' + schema.replace('"', '""') + '"' for schema in schemas)


def _seconds(name: str, value: str) -> float:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= TIMEOUT_MAX_S):
        raise _invalid(
            f'parameter "{name}"', "is no time to wait", f"write 1 to {TIMEOUT_MAX_S} seconds"
        )
    return float(value)


def _invalid(part: str, complaint: str, hint: str) -> AddressError:
    return AddressError(f"{part} {complaint}", code="url_invalid", hint=hint, field="url")
