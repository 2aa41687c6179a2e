"""PostgreSQL and Redis of our own, for machines that have neither.

    directory/
    ├── postgres/       the cluster (as root: possibly a link, see placement.py)
    ├── postgres.log
    ├── redis/          the append-only file
    ├── *-socket/       one private folder for the socket of each
    └── *.lock          who uses the directory (lease.py)

Both listen on unix sockets only, in folders that only their user may enter, so no port is
taken and no password is needed. Any number of processes may use one directory at once: the first
starts the services, the last one to leave stops them.
"""

from researchflow_server.embedded.postgres import PostgresServer
from researchflow_server.embedded.redis import RedisServer
from researchflow_server.embedded.services import (
    Services,
    embedded_services,
    running,
    services_in,
    stop_services,
)

__all__ = [
    "PostgresServer",
    "RedisServer",
    "Services",
    "embedded_services",
    "running",
    "services_in",
    "stop_services",
]
