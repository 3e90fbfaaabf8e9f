"""The way to the database: a small pool for readers, and the one session that may write.

Owns connections and the writer lock. Never knows what is stored. A connection is made when it is first needed and made
again when it broke; whoever asks meanwhile is told ``PostgresAway``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TypeAlias, cast
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from gateway.storage.errors import BadDsn, PostgresAway, PostgresRefused, WriterLockHeld

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_WRITER_LOCK = 0x7065727077697202  # "perpwir" and 2; advisory locks are per database
_POOL_SIZE = 4
_CONNECT_S = 5.0
_COMMAND_S = 15.0
# How long a start waits for a predecessor that was just killed: its server side ends as soon as it reads the closed socket.
_LOCK_WAIT_MS = 1500
# A holder whose machine died keeps the lock until the server notices: 10 s of silence, then three probes, 5 s apart.
_KEEPALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"

_HOLDER = """
    SELECT activity.pid, activity.application_name, coalesce(host(activity.client_addr), 'this machine') AS host
    FROM pg_locks AS held
    LEFT JOIN pg_stat_activity AS activity ON activity.pid = held.pid
    WHERE held.locktype = 'advisory' AND held.granted
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND held.classid = ($1::bigint >> 32)::oid AND held.objid = ($1::bigint & 4294967295)::oid AND held.objsubid = 1
"""

# The server answers and will answer the same until somebody changes something.
_REFUSALS = (
    asyncpg.InvalidAuthorizationSpecificationError,  # with InvalidPasswordError below it
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
# A statement or a value of ours is wrong: never disguised as trouble of the server.
_OURS = (asyncpg.SyntaxOrAccessError, asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
# Everything else that a connection can raise: the network, the server's end, a connection closed under us, time over.
_FAILURES = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)


def place(dsn: str) -> str:
    """Return host and database of a DSN for messages: never user, password or options.

    Raises:
        BadDsn: It is not ``postgresql://…``.
    """
    try:
        parts = urlsplit(dsn)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    if parts.scheme not in ("postgresql", "postgres"):
        raise BadDsn("database DSN", "it is not a postgresql:// address", "Write postgresql://user@host:5432/name")
    query = parse_qs(parts.query)
    host = host or query.get("host", ["localhost"])[0]
    return f"postgres {host}{f':{port}' if port else ''}/{unquote(parts.path.strip('/'))}"


class Database:
    """One database by its DSN.

    Attributes:
        where: Host and database name, for messages.
        application_name: How our sessions appear in pg_stat_activity; unique to this object.
    """

    def __init__(
        self,
        dsn: str,
        *,
        name: str = "perpwire",
        pool_size: int = _POOL_SIZE,
        settings: Mapping[str, str] | None = None,
        reset: bool = True,
    ) -> None:
        """Nothing is connected yet.

        Args:
            pool_size: How many connections ``connection`` lends at most. ``settings``: of the server, for its sessions.
            reset: False: borrowers leave sessions of the pool as they found them, which spares a question to the server each time.

        Raises:
            BadDsn: The address is malformed.
        """
        self.where = place(dsn)
        self.application_name = f"{name} {socket.gethostname()[:30]}:{os.getpid()} {secrets.token_hex(4)}"[:63]
        self._dsn = dsn
        self._pool_size, self._settings, self._reset = pool_size, dict(settings or {}), reset
        self._pool: Pool | None = None
        self._making = asyncio.Lock()

    async def connect(self) -> Connection:
        """Make a connection outside the pool; the caller closes it.

        Raises:
            PostgresAway | PostgresRefused | BadDsn: See there.
        """
        with self.failures():
            return await asyncpg.connect(
                self._dsn,
                timeout=_CONNECT_S,
                command_timeout=_COMMAND_S,
                server_settings={"application_name": self.application_name},
            )

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection of the pool (at most so many; further callers wait, bounded) for reading.

        Raises:
            PostgresAway | PostgresRefused | BadDsn: Also where a statement inside fails because the server went away.
        """
        with self.failures():
            pool = await self._open_pool()
            async with pool.acquire(timeout=_CONNECT_S) as lent:
                yield cast(Connection, lent)

    async def close(self) -> None:
        """Close the pool; what is still borrowed is cut after two seconds. Harmless when repeated."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), 2.0)
        except _FAILURES:
            pool.terminate()

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what the server and the driver raise inside into errors of ours; a wrong statement stays what it is."""
        try:
            yield
        except asyncpg.exceptions.ClientConfigurationError as error:
            raise BadDsn(self.where, f"the DSN cannot be used: {error}", "Correct it in config.yaml") from None
        except _REFUSALS as error:
            do = "Check user, password, database name and rights of the DSN in config.yaml"
            raise PostgresRefused(self.where, f"the server refuses: {error}", do) from error
        except _OURS:
            raise
        except _FAILURES as error:
            raise PostgresAway(self.where, str(error) or type(error).__name__) from error

    async def _open_pool(self) -> Pool:
        async with self._making:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    self._dsn,
                    min_size=0,  # a floor would make the pool reconnect by itself, with a traceback in the log each time
                    max_size=self._pool_size,
                    timeout=_CONNECT_S,
                    command_timeout=_COMMAND_S,
                    server_settings={"application_name": self.application_name, **self._settings},
                    reset=None if self._reset else _leave,
                )
        return self._pool


async def _leave(connection: object) -> None:
    """Leave a session that comes back as it is; a transaction that is open was rolled back before (asyncpg)."""


class Writer:
    """The session that holds the writer lock, and the only one that writes.

    Lock and writes share the connection on purpose: when the server has taken the lock away, the connection is gone too,
    and nothing can be written by somebody who only believes to hold it.
    """

    def __init__(self, database: Database, *, on_lost: Callable[[], None] | None = None) -> None:
        """Args:
        on_lost: Called when the connection breaks; not when ``close`` ends it. Must not raise.
        """
        self._database = database
        self._on_lost = on_lost
        self._connection: Connection | None = None
        self._closed = False

    @property
    def held(self) -> bool:
        """True while the lock is ours, as far as the connection knows."""
        return self._connection is not None and not self._connection.is_closed()

    async def session(self) -> tuple[Connection, bool]:
        """Return the connection that holds the lock, and whether it is a new one (the lock was taken just now).

        Raises:
            WriterLockHeld: Another gateway holds it.
            PostgresAway | PostgresRefused | BadDsn: No connection.
        """
        if self._connection is not None and not self._connection.is_closed():
            return self._connection, False
        connection = await self._database.connect()
        try:
            with self._database.failures():
                await self._take(connection)
            if self._closed:
                raise PostgresAway(self._database.where, "the writer was closed meanwhile")
        except BaseException:  # also a cancelled attempt must not keep the lock
            connection.terminate()
            raise
        connection.add_termination_listener(self._terminated)
        self._connection = connection
        return connection, True

    def drop(self) -> None:
        """Cut the connection (its state is unknown after a failure); the next ``session`` makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    async def close(self) -> None:
        """Give the lock back for good; an attempt to take it that is under way fails."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_FAILURES):  # it is gone one way or the other
                await connection.close(timeout=2.0)

    def _terminated(self, connection: object) -> None:
        if connection is self._connection:
            self._connection = None
            if self._on_lost is not None:
                self._on_lost()

    async def _take(self, connection: Connection) -> None:
        await connection.execute(_KEEPALIVE)
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", _WRITER_LOCK):
            return
        for session in await connection.fetch(_HOLDER, _WRITER_LOCK):
            if session["application_name"] == self._database.application_name:
                # Our own session from before the network was cut: the server has not noticed its end yet.
                await connection.execute("SELECT pg_terminate_backend($1)", session["pid"])
        await connection.execute(f"SET lock_timeout = {_LOCK_WAIT_MS}")
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _WRITER_LOCK)
        except asyncpg.LockNotAvailableError:
            holder = await connection.fetchrow(_HOLDER, _WRITER_LOCK)
            name, pid, host = (
                (holder["application_name"], holder["pid"], holder["host"]) if holder else ("", None, "unknown")
            )
            raise WriterLockHeld(self._database.where, name or "", pid, host or "unknown") from None
        await connection.execute("SET lock_timeout = 0")
