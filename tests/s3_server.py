"""An S3 server of our own, as clients see one, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto.server import ThreadedMotoServer

BUCKET = "backups"


@contextmanager
def s3_server(environment: pytest.MonkeyPatch) -> Iterator[ThreadedMotoServer]:
    """The server with an empty bucket, the AWS_* variables pointing to it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        environment.setenv(name, value)
    try:
        yield server
    finally:
        server.stop()
