"""The connection to Redis: a bounded pool with deadlines, and one translation of its errors.

Every command here may run twice, because the driver repeats what met a broken connection: writes
are scripts that are safe to repeat. What timed out is not repeated: a server that stalls would
hold its caller up again.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from researchflow_runners.errors import StoreError

POOL_SIZE_MAX = 20
POOL_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
#: Longer than any blocking read, which would otherwise look like a stalled server.
SOCKET_TIMEOUT_S = 5.0
RETRIES_MAX = 2
RETRY_FIRST_S = 0.02
RETRY_LAST_S = 0.2
VERSION_MIN = (6, 2)
OUT_OF_MEMORY = "OOM command not allowed"
READ_ONLY = "READONLY "


class RedisConnection:
    """A pool of connections to one Redis; its errors are StoreErrors."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        #: Why nothing is written, as of the last look; a server may be reconfigured while it runs.
        self.unfit: StoreError | None = None
        self.upsert = _script(redis, "upsert.lua")
        self.forget = _script(redis, "forget.lua")

    @classmethod
    def open(cls, url: str) -> RedisConnection:
        """A connection whose server was not looked at: it may be away and come later."""
        with redis_errors():
            return cls(Redis.from_pool(_pool(url)))

    @classmethod
    async def connect(cls, url: str) -> RedisConnection:
        """A connection whose server was found fit: see `check_server`."""
        connection = cls.open(url)
        try:
            await connection.check_server()
        except BaseException:
            await connection.close()
            raise
        return connection

    async def check_server(self) -> None:
        """StoreError `redis_eviction_enabled` or `redis_too_old` when entries could be lost.

        Until a later look finds the server fit, writes are refused with the same error.
        """
        self.unfit = await self._unfitness()
        if self.unfit is not None:
            raise self.unfit.with_traceback(None)

    async def _unfitness(self) -> StoreError | None:
        with redis_errors():
            server = await self.redis.info("server")
            memory = await self.redis.info("memory")
        version = str(server["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < VERSION_MIN:
            return StoreError(
                f'redis "{version}" is too old',
                code="redis_too_old",
                hint="run Redis 6.2 or newer",
            )
        policy = str(memory["maxmemory_policy"])
        if policy != "noeviction":
            return StoreError(
                f'redis evicts entries (maxmemory-policy "{policy}")',
                code="redis_eviction_enabled",
                hint="run `redis-cli config set maxmemory-policy noeviction` and keep it in "
                "redis.conf",
                field="maxmemory-policy",
                allowed=("noeviction",),
            )
        return None

    async def pipeline(self, commands: Sequence[tuple[Any, ...]], *, atomic: bool = False) -> Any:
        """The answers to the commands, in order, in one round trip."""
        return await self._at_the_primary(lambda: self._pipeline(commands, atomic=atomic))

    async def run_scripts(self, script: AsyncScript, calls: Sequence[tuple[Any, Any]]) -> Any:
        """The script's answers for each (keys, arguments), in order, in one round trip or two.

        While the server is unfit nothing is written: see `check_server`.
        """
        if self.unfit is not None:
            raise self.unfit.with_traceback(None)
        return await self._at_the_primary(lambda: self._run_scripts(script, calls))

    async def _at_the_primary(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """The step's result; connections to what a failover made a replica are made anew, once.

        Every command here may run twice, so the step may.
        """
        try:
            return await step()
        except StoreError as error:
            if error.code != "redis_read_only":
                raise
        with redis_errors():
            await self.redis.connection_pool.disconnect(inuse_connections=False)
        return await step()

    async def _pipeline(self, commands: Sequence[tuple[Any, ...]], *, atomic: bool) -> Any:
        with redis_errors():
            async with self.redis.pipeline(transaction=atomic) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return await pipe.execute()

    async def _run_scripts(self, script: AsyncScript, calls: Sequence[tuple[Any, Any]]) -> Any:
        with redis_errors():
            if len(calls) == 1:
                return [await script(keys=calls[0][0], args=calls[0][1])]
            async with self.redis.pipeline(transaction=False) as pipe:
                for keys, arguments in calls:
                    await script(keys=keys, args=arguments, client=pipe)
                return await pipe.execute()

    async def close(self) -> None:
        """Closes every connection."""
        with redis_errors():
            await self.redis.aclose()


@contextmanager
def redis_errors() -> Iterator[None]:
    """Driver errors inside leave as StoreErrors, the cause kept; no text of the server travels."""
    try:
        yield
    except (ConnectionError, TimeoutError, OSError) as error:
        raise _unconnected(error) from error
    except ResponseError as error:
        raise _unanswered(error) from error
    except (RedisError, ValueError) as error:
        raise _unavailable() from error


def _unconnected(error: Exception) -> StoreError:
    """Why there is no connection."""
    if isinstance(error, AuthenticationError):
        return _refused()
    return _untrusted() if _is_untrusted(error) else _unavailable()


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether the certificate was the reason; the driver keeps it as cause or context."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _unanswered(error: ResponseError) -> StoreError:
    """Why a command was not done.

    Of a script Redis 6 tells it by its text alone, Redis 7 by a type of the driver's.
    """
    if isinstance(error, OutOfMemoryError) or OUT_OF_MEMORY in str(error):
        return _full()
    if isinstance(error, ReadOnlyError) or READ_ONLY in str(error):
        return _read_only()
    return _refused()


def _read_only() -> StoreError:
    return StoreError(
        "redis is a replica and takes no writes",
        code="redis_read_only",
        hint="after a failover give the URL of the new primary, or make this one primary "
        "(REPLICAOF NO ONE); a name that moved is looked up again by itself",
    )


def _untrusted() -> StoreError:
    return StoreError(
        "the certificate of redis is not signed by an authority that is trusted here",
        code="redis_certificate_untrusted",
        hint="name the authority's file in the URL: rediss://…?ssl_ca_certs=FILE",
    )


def _unavailable() -> StoreError:
    return StoreError(
        "redis cannot be reached or is restarting",
        code="redis_unavailable",
        hint="check that Redis runs at the configured URL, then try again",
    )


def _full() -> StoreError:
    return StoreError(
        "redis has reached its maxmemory",
        code="redis_out_of_memory",
        hint="raise maxmemory, or run a refresh so that covered entries leave",
    )


def _refused() -> StoreError:
    return StoreError(
        "redis refused the command",
        code="redis_refused",
        hint="check the credentials and permissions of the Redis URL, and that its database "
        "holds nothing else under fhir:",
    )


def _pool(url: str) -> BlockingConnectionPool:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=POOL_SIZE_MAX,
        timeout=POOL_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        **({} if url.startswith("unix") else {"socket_keepalive": True}),
        retry=Retry(
            ExponentialBackoff(cap=RETRY_LAST_S, base=RETRY_FIRST_S),
            RETRIES_MAX,
            supported_errors=(ConnectionError,),
        ),
        decode_responses=True,
        protocol=2,
    )


def _script(redis: Any, name: str) -> AsyncScript:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    script: AsyncScript = redis.register_script(text)
    return script
