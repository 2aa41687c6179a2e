"""PostgreSQL as the layers use it: a bounded pool, transactions with a deadline, one error tree.

Nothing above this module sees a driver exception. Pooled connections carry no session state:
every setting is made at connect or is local to a transaction, so returning one costs no round
trip. What needs state of its own (advisory locks, temporary tables) opens a `dedicated` session.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from importlib import resources
from typing import Any, Literal

import anyio
import asyncpg

from researchflow_runners.sql import Slot, Sql
from researchflow_runners.store.connect import CLIENT_GRACE_S, connect, options
from researchflow_runners.store.failure import DRIVER_ERRORS, Role, translate, unavailable
from researchflow_runners.store.lingering import Lingering
from researchflow_runners.store.stream import RowBatches, RowStream, Run
from researchflow_runners.store.url import Address, parse_url

ACQUIRE_TIMEOUT_S = 15.0
POOL_SIZE_MAX = 10
STATEMENT_TIMEOUT_S = 60.0
CLEANUP_TIMEOUT_S = 5.0
#: What a caller waits beyond its own deadline at most; then the connection is cut.
UNDO_TIMEOUT_S = 2.0
#: For `transaction(first=…)` of statements that find what they read by key, few or many: planning
#: one for each list of keys takes longer than running it. A plan that was made while a table was
#: small must still do when it has grown.
PLAN_ONCE = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"
#: Ends a transaction that only the message before it opened, and touches no other.
NOTHING = "SELECT"
SCHEMA_LOCK_KEY = 0x5253_4631

Statement = Sql | str
Isolation = Literal["read committed", "repeatable read", "serializable"]


class Prepared:
    """A statement that PostgreSQL has parsed once; its slots are filled at each run."""

    def __init__(self, statement: Any, values: list[Any], run: Run) -> None:
        self._statement = statement
        self._values = values
        self._run = run

    async def fetchval(self, **slots: Any) -> Any:
        """The first column of the first row, or None."""
        given = [slots[value.name] if isinstance(value, Slot) else value for value in self._values]
        return await self._run(self._statement.fetchval, *given)


class Session:
    """Statements on one connection; every driver error leaves as an error of ours."""

    def __init__(
        self, connection: Any, role: Role, *, left: Callable[[int], None] | None = None
    ) -> None:
        """`left` is told the backend that did not answer in time and may work on."""
        self._connection = connection
        self._role: Role = role
        self._left = left
        self._savepoints = 0
        self._limit_s: float | None = None

    async def fetch(self, statement: Statement, *args: Any) -> list[asyncpg.Record]:
        """All rows."""
        text, values = _render(statement, args)
        return await self._run(self._connection.fetch, text, *values)  # type: ignore[no-any-return]

    async def fetchrow(self, statement: Statement, *args: Any) -> asyncpg.Record | None:
        """The first row, or None."""
        text, values = _render(statement, args)
        return await self._run(self._connection.fetchrow, text, *values)

    async def fetchval(self, statement: Statement, *args: Any) -> Any:
        """The first column of the first row, or None."""
        text, values = _render(statement, args)
        return await self._run(self._connection.fetchval, text, *values)

    async def prepare(self, statement: Sql) -> Prepared:
        """The statement parsed, to be run often; it is forgotten when nobody holds it."""
        text, values = _render(statement, ())
        prepared = await self._run(self._connection.prepare, text)
        return Prepared(prepared, values, self._run)

    async def stream(self, statement: Statement, *args: Any) -> RowStream:
        """Opens a server-side cursor over the rows; the deadline holds for each batch of them."""
        text, values = _render(statement, args)
        return await self._run(self._opened, text, values)  # type: ignore[no-any-return]

    async def batches(self, statement: Sql) -> RowBatches:
        """The same for a statement that is asked again: it stays prepared, and is not described."""
        text, values = _render(statement, ())
        cursor = await self._run(self._cursor, text, values)
        return RowBatches(cursor, self._run)

    async def execute(self, statement: Statement, *args: Any) -> int:
        """Runs the statement; gives how many rows it touched, 0 where PostgreSQL does not say.

        Without arguments the text may hold several statements.
        """
        text, values = _render(statement, args)
        status = str(await self._run(self._connection.execute, text, *values))
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def copy_out(
        self, statement: Statement, output: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Streams the rows in PostgreSQL's binary COPY format."""
        text, values = _render(statement, ())
        copy = self._connection.copy_from_query
        await self._run(copy, text, *values, output=output, format="binary")

    async def copy_in(
        self,
        table: str,
        *,
        columns: list[str],
        source: AsyncIterable[bytes],
        schema: str | None = None,
    ) -> int:
        """Fills a table of the schema, or of the session's search path, from binary COPY.

        Gives the row count.
        """
        named = {"columns": columns, "source": source, "format": "binary", "schema_name": schema}
        done = await self._run(self._sent, self._connection.copy_to_table, table, **named)
        return int(str(done).rpartition(" ")[2])

    async def copy_records(self, table: str, *, columns: list[str], records: Any) -> int:
        """Fills a table of this session's search path from tuples; gives the row count."""
        named = {"columns": columns, "records": records}
        done = await self._run(self._sent, self._connection.copy_records_to_table, table, **named)
        return int(str(done).rpartition(" ")[2])

    async def listen(self, channel: str, heard: Callable[[], None]) -> None:
        """Calls `heard` at each notification and when the connection breaks; dedicated sessions
        only."""
        await self._run(self._connection.add_listener, channel, lambda *_: heard())
        self._connection.add_termination_listener(lambda *_: heard())

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undoes only what runs inside when that fails; the transaction stays usable."""
        self._savepoints += 1
        name = f"sp_{self._savepoints}"
        await self.execute(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            await self._undo(f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")
            raise
        await self.execute(f"RELEASE SAVEPOINT {name}")

    @asynccontextmanager
    async def undone(self, *, settings: str) -> AsyncIterator[None]:
        """Undoes what runs inside in any case; `settings` are SET LOCAL statements for it."""
        self._savepoints += 1
        name = f"sp_{self._savepoints}"
        await self.execute(f"SAVEPOINT {name}; {settings}")
        try:
            yield
        finally:
            await self._undo(f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")

    @asynccontextmanager
    async def transaction(
        self,
        *,
        isolation: Isolation = "read committed",
        readonly: bool | None = False,
        statement_timeout_s: float | None = None,
        first: str | None = None,
    ) -> AsyncIterator[Session]:
        """One transaction on this session; commits at the end, undoes everything on an error.

        With `readonly` None it may write where the server lets it: a replica does not. `first` is
        run in the round trip that begins it: settings of the transaction, or a lock.
        """
        self._limit_s = (
            None if statement_timeout_s is None else statement_timeout_s + CLIENT_GRACE_S
        )
        try:
            try:
                await self.execute(_begin(isolation, readonly, statement_timeout_s, first))
                yield self
            except BaseException:
                await self._undo("ROLLBACK")
                raise
            await self.execute("COMMIT")
        finally:
            self._limit_s = None

    async def _opened(self, text: str, values: list[Any], **limit: float) -> RowStream:
        statement = await self._connection.prepare(text, **limit)
        return RowStream(statement, await statement.cursor(*values, **limit), self._run)

    async def _cursor(self, text: str, values: list[Any], **limit: float) -> Any:
        return await self._connection.cursor(text, *values, **limit)

    async def _sent(self, copy: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
        """The copy's result; an error when the connection breaks while it waits to write.

        The driver alone would wait on: a broken connection never becomes writable.
        """
        with anyio.CancelScope() as scope:

            def stop(_connection: Any) -> None:
                scope.cancel()

            self._connection.add_termination_listener(stop)
            try:
                return await copy(*args, **named)
            finally:
                with suppress(asyncpg.InterfaceError):
                    self._connection.remove_termination_listener(stop)
        raise unavailable(self._role)

    async def _run(self, operation: Callable[..., Awaitable[Any]], *args: Any, **named: Any) -> Any:
        """The operation's result, its driver error translated.

        It is called in here: the driver refuses a closed connection before there is anything to
        await.
        """
        if self._limit_s is not None:
            named["timeout"] = self._limit_s
        try:
            return await operation(*args, **named)
        except DRIVER_ERRORS as error:
            if isinstance(error, TimeoutError):
                # The server let its own deadline pass: it will not undo anything either.
                self._leave()
            if _is_drivers_own(error):
                await self._quietly(NOTHING)
            raise translate(error, self._role) from error
        except (RuntimeError, AttributeError) as error:
            # What a transport raises that is written to after it broke, in the middle of COPY.
            if self._is_open():
                raise
            raise unavailable(self._role) from error

    def _is_open(self) -> bool:
        try:
            return not self._connection.is_closed()
        except asyncpg.InterfaceError:
            return False

    async def _undo(self, text: str) -> None:
        """Cleans up although the caller was cancelled; who does not hear of it is cut off."""
        with anyio.move_on_after(UNDO_TIMEOUT_S, shield=True) as scope:
            await self._quietly(text)
        if scope.cancelled_caught:
            self._leave()

    def _leave(self) -> None:
        """Cuts the connection of a backend that does not answer."""
        if self._left is not None and self._is_open():
            self._left(self._connection.get_server_pid())
        _cut(self._connection)

    async def _quietly(self, text: str) -> None:
        """Cleans up while another error is on its way; a lost connection has nothing to undo."""
        try:
            await self._connection.execute(text)
        except DRIVER_ERRORS:
            _cut(self._connection)


class Database:
    """A pool of connections to one PostgreSQL database."""

    def __init__(self, pool: Any, address: Address, role: Role) -> None:
        self._pool = pool
        self._address = address
        self._role: Role = role
        self.lingering = Lingering(lambda: self.dedicated(statement_timeout_s=CLEANUP_TIMEOUT_S))

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        pool_size_max: int = POOL_SIZE_MAX,
        statement_timeout_s: float = STATEMENT_TIMEOUT_S,
        must_answer: bool = True,
        role: Role = "warehouse",
    ) -> Database:
        """Opens the pool and tries it; StoreError `postgres_unavailable` when it cannot.

        Without `must_answer` it is tried by its first session only. The `role` says whose outage
        an error tells of: of a source it is `source_unavailable`. AddressError for a URL, a role
        or a pooler that cannot be used.
        """
        address = parse_url(dsn)
        chosen = options(address, statement_timeout_s)
        pool = asyncpg.create_pool(
            # No floor: the driver would log a traceback each time it fails to restore it.
            address.dsn,
            min_size=0,
            max_size=pool_size_max,
            reset=_keep_session,
            connect=connect,
            **chosen,
        )
        await _connected(_opened(pool, connect=must_answer), role)
        return cls(pool, address, role)

    @property
    def sessions_max(self) -> int:
        """How many pooled connections there are at most."""
        return int(self._pool.get_max_size())

    async def close(self) -> None:
        """Closes every connection; those still busy after a while are cut."""
        await self.lingering.close()
        try:
            with anyio.fail_after(CLEANUP_TIMEOUT_S):
                await self._pool.close()
        except (TimeoutError, *DRIVER_ERRORS):
            self._pool.terminate()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A pooled connection outside any transaction; leave no state on it."""
        connection = await _connected(self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S), self._role)
        try:
            yield Session(connection, self._role, left=self.lingering.add)
        finally:
            await self._release(connection)

    @asynccontextmanager
    async def transaction(
        self,
        *,
        isolation: Isolation = "read committed",
        readonly: bool | None = False,
        statement_timeout_s: float | None = None,
        first: str | None = None,
    ) -> AsyncIterator[Session]:
        """One transaction on a pooled connection."""
        async with (
            self.session() as session,
            session.transaction(
                isolation=isolation,
                readonly=readonly,
                statement_timeout_s=statement_timeout_s,
                first=first,
            ),
        ):
            yield session

    @asynccontextmanager
    async def dedicated(self, *, statement_timeout_s: float) -> AsyncIterator[Session]:
        """A connection outside the pool for session locks and temporary tables; closed after."""
        chosen = options(self._address, statement_timeout_s, idle_timeout_s=statement_timeout_s)
        connection = await _connected(connect(self._address.dsn, **chosen), self._role)
        try:
            yield Session(connection, self._role)
        finally:
            with anyio.move_on_after(UNDO_TIMEOUT_S, shield=True):
                await _closed(connection)
            _cut(connection)

    def snapshot(self) -> AbstractAsyncContextManager[Session]:
        """The transaction of a reader: REPEATABLE READ, READ ONLY."""
        return self.transaction(isolation="repeatable read", readonly=True)

    async def install_schema(self) -> None:
        """Creates what is missing of the bookkeeping schema; safe to run at once from many.

        The schema's comment carries the digest of its script, so an installed one costs a read
        and takes no lock that could wait for a running refresh.
        """
        script = resources.files(__package__).joinpath("schema.sql").read_text()
        mark = "researchflow " + hashlib.sha256(script.encode()).hexdigest()[:16]
        async with self.transaction() as session:
            await session.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK_KEY)
            if await session.fetchval(INSTALLED_MARK) == mark:
                return
            await session.execute(script)
            await session.execute(f"COMMENT ON SCHEMA researchflow IS '{mark}'")

    async def _release(self, connection: Any) -> None:
        """Returns the connection; one that broke is replaced at the next acquisition."""
        with anyio.move_on_after(UNDO_TIMEOUT_S, shield=True) as scope:
            try:
                await self._pool.release(connection)
            except DRIVER_ERRORS:
                return
        if scope.cancelled_caught:
            _cut(connection)


INSTALLED_MARK = """
SELECT pg_catalog.obj_description(oid, 'pg_namespace')
FROM pg_catalog.pg_namespace WHERE nspname = 'researchflow'
"""


def _begin(
    isolation: Isolation,
    readonly: bool | None,
    statement_timeout_s: float | None,
    first: str | None,
) -> str:
    """BEGIN, the local deadline and what is to come first in one round trip."""
    mode = {None: "", True: " READ ONLY", False: " READ WRITE"}[readonly]
    texts = [f"BEGIN ISOLATION LEVEL {isolation}{mode}"]
    if statement_timeout_s is not None:
        texts.append(f"SET LOCAL statement_timeout = {round(statement_timeout_s * 1000)}")
    return "; ".join([*texts, first] if first else texts)


def _render(statement: Statement, args: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """Text and arguments of either form of statement."""
    if isinstance(statement, str):
        return statement, list(args)
    if args:
        raise ValueError("an Sql statement carries its own parameters")
    return statement.render()


def _is_drivers_own(error: BaseException) -> bool:
    """Whether the driver refused an argument, after PostgreSQL had parsed the statement.

    The server waits for the rest of that exchange then, inside a transaction that the next BEGIN
    would find open.
    """
    return isinstance(error, asyncpg.DataError) and getattr(error, "severity", None) is None


async def _connected(operation: Awaitable[Any], role: Role) -> Any:
    """The connection; one that takes too long is as good as none."""
    try:
        return await operation
    except TimeoutError as error:
        raise unavailable(role) from error
    except DRIVER_ERRORS as error:
        raise translate(error, role) from error


async def _opened(pool: Any, *, connect: bool) -> None:
    """Opens the pool, which connects to nothing, and its first connection, which does."""
    await pool
    if connect:
        await pool.release(await pool.acquire())


async def _closed(connection: Any) -> None:
    """Closes politely; a connection that is already broken needs no goodbye."""
    try:
        await connection.close(timeout=UNDO_TIMEOUT_S)
    except DRIVER_ERRORS:
        return


def _cut(connection: Any) -> None:
    """Drops the connection at once; the pool may have taken a broken one back already."""
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _keep_session(_connection: Any) -> None:
    """Pool reset that does nothing: sessions leave no state behind (see the module docstring)."""
