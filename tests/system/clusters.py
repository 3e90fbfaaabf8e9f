"""A Postgres of its own for a test: stopped, killed and started again under an address that stays the same."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from gateway.storage.embedded import EmbeddedPostgres


class Cluster:
    """A server reached by a name that stays the same through its ends and starts."""

    def __init__(self, folder: Path) -> None:
        self._server, self._name = EmbeddedPostgres(folder / "cluster"), folder / "sockets"

    async def start(self) -> str:
        """Start it and return its DSN."""
        dsn = await self._server.start()
        sockets = parse_qs(urlsplit(dsn).query)["host"][0]
        self._name.unlink(missing_ok=True)
        self._name.symlink_to(sockets)
        return dsn.replace(quote(sockets, safe=""), quote(str(self._name), safe=""))

    async def stop(self) -> None:
        """Stop it in order."""
        await self._server.stop()

    @property
    def pid(self) -> int:
        """The server's first process. Who kills it sees it started again at once."""
        assert self._server.pid is not None, "it runs"
        return self._server.pid

    @property
    def restarts(self) -> int:
        """How often it was started again after a kill."""
        return self._server.restarts
