"""Which addresses a webhook may go to: the public internet, and this network only where the operator says so.

A name is resolved once per connection, every address it stands for is checked, and the connection is made to exactly these: a name
that changes its answer between check and use (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
# All that IANA gives out as global unicast (RFC 4291, 2.4). What lies outside is local or obsolete, also where ``is_global``
# does not know it: site-local (fec0::/10), translation within a network (64:ff9b:1::/48, RFC 8215), IPv4-compatible (::/96).
_UNICAST = ipaddress.IPv6Network("2000::/3")


class PrivateAddress(OSError):
    """A host stands for an address that is not public."""


def is_public(text: str) -> bool:
    """Say whether an IP address is one of the public internet, also the IPv4 address inside an IPv6 one."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if address not in _UNICAST:
            return False
    return address.is_global and not address.is_multicast


def is_address(host: str) -> bool:
    """Say whether a host is an address already, which nobody resolves."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses.

    Raises (``resolve``):
        PrivateAddress: One of the host's addresses is not public.
    """

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host, all of them checked."""
        found = await self._inner.resolve(host, port, family)
        if not all(is_public(one["host"]) for one in found):
            raise PrivateAddress("the host stands for an address of a private network")
        return found

    async def close(self) -> None:
        """Let go of the resolver behind it."""
        await self._inner.close()
