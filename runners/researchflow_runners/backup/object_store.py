"""Backups in an S3-compatible store; credentials and endpoint come from the AWS_* variables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from researchflow_runners.backup.target import Write, missing, unusable

#: A failed request is tried again for so long; then the backup fails.
RETRY_FOR = timedelta(seconds=20)
HINT = (
    "check that the bucket exists and the settings AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
    "AWS_REGION and, of a store other than Amazon's, AWS_ENDPOINT_URL"
)
#: Where the client asks for credentials when none are set.
ROLE_PATH = "/latest/api/token"


class ObjectStoreTarget:
    """A prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self.name = url
        try:
            self._store = S3Store.from_url(
                url,
                retry_config={"max_retries": 3, "retry_timeout": RETRY_FOR},
            )
        except BaseError as error:
            reason = "it is not s3://bucket/prefix, or the AWS_* settings do not fit each other"
            raise unusable(url, reason, hint=HINT) from error

    async def exists(self, file: str) -> bool:
        """Whether there is an object of that name."""
        try:
            await obstore.head_async(self._store, file)
        except FileNotFoundError:
            return False
        except (BaseError, OSError) as error:
            raise unusable(self.name, _reason(error), hint=HINT) from error
        return True

    @asynccontextmanager
    async def writer(self, file: str) -> AsyncIterator[Write]:
        """Uploads in parts; the object appears with the last."""
        try:
            async with obstore.open_writer_async(self._store, file) as opened:

                async def write(chunk: bytes) -> None:
                    await opened.write(chunk)

                yield write
        except (BaseError, OSError) as error:
            raise unusable(self.name, _reason(error), hint=HINT) from error

    async def read(self, file: str) -> AsyncIterator[bytes]:
        """The object as it arrives."""
        try:
            found = await obstore.get_async(self._store, file)
            async for chunk in found.stream():
                yield bytes(chunk)
        except FileNotFoundError as error:
            raise missing(self.name, file) from error
        except (BaseError, OSError) as error:
            raise unusable(self.name, _reason(error), hint=HINT) from error


def _reason(error: Exception) -> str:
    """The kind of failure; the store's own text may carry credentials."""
    if ROLE_PATH in str(error):
        return "no AWS_ACCESS_KEY_ID is set, and this machine has no role that gives credentials"
    return f"the store answers with {type(error).__name__}"
