"""The outer door: which addresses may be bound, and which Host and Origin a request may carry. Pure.

A page of another site can make a browser send requests here: DNS rebinding is refused by ``Host``, cross-site WebSockets
and requests by ``Origin``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from gateway.core.access import LOCAL, Principal
from gateway.core.protocol import Refusal

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class BindRefused(Exception):
    """The gateway would be reachable from other machines, by anybody."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host

    def __str__(self) -> str:
        return (
            f"refusing to listen on {self.host!r}: other machines could read every position without a token. "
            "Listen on 127.0.0.1, and reach it through ssh -L or a proxy that authenticates"
        )


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach what is bound to ``host``. A name other than localhost counts as no."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind(host: str, auth_configured: bool) -> None:
    """Return when this address may be bound.

    Raises:
        BindRefused: It is not loopback, and there is no auth.
    """
    if not auth_configured and not is_loopback(host):
        raise BindRefused(host)


def local_principal(headers: Mapping[str, str]) -> Principal | None:
    """Return the principal of every request while there is no auth. None would be: not known."""
    return LOCAL


def check_host(host: str | None, allowed: Collection[str]) -> None:
    """Return when the Host header names this gateway; ``allowed`` are further names than loopback's.

    Raises:
        Refusal: forbidden_host.
    """
    if host is None or _split(f"//{host}")[0] not in LOOPBACK_NAMES | set(allowed):
        raise Refusal(
            "forbidden_host",
            f"Host {host!r} is not a name of this gateway; add it to the allowed hosts in the configuration",
        )


def check_origin(origin: str | None, host: str | None, allowed: Collection[str], hosts: Collection[str] = ()) -> None:
    """Return when the page that asks is ours: no Origin (no browser), our own name and port, or an allowed origin.

    Args:
        host: The Host header of the same request, which passed ``check_host``.
        allowed: Whole origins, such as ``https://desk.example``.
        hosts: As for ``check_host``.

    Raises:
        Refusal: forbidden_origin.
    """
    if origin is None or origin in allowed:
        return
    name, port = _split(origin)
    # Names may differ (localhost, 127.0.0.1), the port may not: another local program is another site.
    if host is not None and name in LOOPBACK_NAMES | set(hosts) and port == _split(f"//{host}")[1]:
        return
    raise Refusal("forbidden_origin", f"Origin {origin!r} may not read this gateway; add it to the allowed origins")


def _split(url: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.port
    except ValueError:  # a port or IPv6 address that is none
        return None, None
