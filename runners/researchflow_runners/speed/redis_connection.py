"""The connection to Redis: a bounded pool with deadlines, and one translation of its errors.

Every command here may run twice, because the driver repeats what met a broken connection: writes
are scripts that are safe to repeat. What timed out is not repeated: a server that stalls would
hold its caller up again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


class RedisConnection:
    """A pool of connections to one Redis; its errors are StoreErrors."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
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
        """StoreError `redis_eviction_enabled` or `redis_too_old` when entries could be lost."""
        with redis_errors():
            server = await self.redis.info("server")
            memory = await self.redis.info("memory")
        version = str(server["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < VERSION_MIN:
            raise StoreError(
                f'redis "{version}" is too old',
                code="redis_too_old",
                hint="run Redis 6.2 or newer",
            )
        policy = str(memory["maxmemory_policy"])
        if policy != "noeviction":
            raise StoreError(
                f'redis evicts entries (maxmemory-policy "{policy}")',
                code="redis_eviction_enabled",
                hint="run `redis-cli config set maxmemory-policy noeviction` and keep it in "
                "redis.conf",
                field="maxmemory-policy",
                allowed=("noeviction",),
            )

    async def pipeline(self, commands: Sequence[tuple[Any, ...]], *, atomic: bool = False) -> Any:
        """The answers to the commands, in order, in one round trip."""
        with redis_errors():
            async with self.redis.pipeline(transaction=atomic) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return await pipe.execute()

    async def run_scripts(self, script: AsyncScript, calls: Sequence[tuple[Any, Any]]) -> Any:
        """The script's answers for each (keys, arguments), in order, in one round trip or two."""
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
        refused = isinstance(error, AuthenticationError)
        raise _refused() if refused else _unavailable() from error
    except ResponseError as error:
        # Inside a script the driver knows no type for it, only the text of the server.
        raise _full() if OUT_OF_MEMORY in str(error) else _refused() from error
    except (RedisError, ValueError) as error:
        raise _unavailable() from error


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
