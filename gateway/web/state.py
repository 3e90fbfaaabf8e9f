"""What the web layer is given: everything it needs to know of the gateway, and nothing more."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core.access import Principal
from gateway.core.protocol import Limits
from gateway.core.tables import Tables
from gateway.hub import Hub
from gateway.metrics import Metrics, serving
from gateway.web.auth import local_principal


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(kw_only=True)
class ServerState:
    """Shared by all handlers of one server.

    Attributes:
        hub: Its tables and limits are the server's.
        version: Of Perpwire, for the hello and the API description.
        accounts: Returns the names of all configured accounts.
        ready: Returns whether every required feed is live, and each feed's state for humans.
        config_view: Returns the running configuration without secrets.
        instruments: Returns the contract table.
        now_ms: Wall clock.
        principal: Returns for whom a request is made, from its headers (names in lower case); None: not known, 401.
        allowed_hosts, allowed_origins: Further names than loopback's, and further whole origins.
        static: The dashboard's directory, served at ``/``.
    """

    hub: Hub
    version: str
    accounts: Callable[[], Collection[str]]
    ready: Callable[[], tuple[bool, dict[str, object]]] = lambda: (True, {})
    config_view: Callable[[], dict[str, object]] = dict
    instruments: Callable[[], list[dict[str, object]]] = list
    now_ms: Callable[[], int] = _wall_clock_ms
    principal: Callable[[Mapping[str, str]], Principal | None] = local_principal
    allowed_hosts: Collection[str] = ()
    allowed_origins: Collection[str] = ()
    static: Path | None = None
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.metrics.watch(serving(self.hub))

    @property
    def tables(self) -> Tables:
        """What is served."""
        return self.hub.tables

    @property
    def limits(self) -> Limits:
        """What one client may use."""
        return self.hub.limits

    @property
    def server_name(self) -> str:
        """Name and version."""
        return f"perpwire/{self.version}"
