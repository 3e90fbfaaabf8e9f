"""Hyperliquid behind the seam: perpetuals of the main dex and of every HIP-3 dex, read by address, without any key."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from exchanges.errors import Rejected, Retryable
from exchanges.hyperliquid import build, parse, tables, wire
from exchanges.hyperliquid.private import PrivateLink
from exchanges.hyperliquid.public import PublicLink
from exchanges.hyperliquid.session import Known
from exchanges.venue import AccountSpec, Capabilities, Endpoints, HttpRequest, LinkFactory

__all__ = ["VENUE", "Hyperliquid"]


class Hyperliquid:
    """The venue: tables and factories."""

    name = tables.NAME
    read_only_help = "Hyperliquid needs no key to read: set the account's public address and remove every key"
    capabilities = Capabilities(
        needs_credentials=False,
        position_snapshot_on_subscribe=True,
        hedge_mode=False,
        mark_time=False,
        # 1,200 a minute and address, shared with whatever else runs there
        rest_weight=1_000,
        rest_period_s=60.0,
        rest_burst=600,
        verify_every_s=tables.VERIFY_EVERY_S,
        records_window_s=tables.RECORDS_WINDOW_S,
        stream_users=tables.STREAM_USERS,
        features=frozenset(
            {
                "order_stream",
                "fill_stream",
                "funding_stream",
                "liquidation_cause",
                "adl_cause",
                "settlement",
                "currency_prices",
                "refusals",
                "start_position",
                "unified_accounts",
            }
        ),
    )

    def sites(self) -> tuple[tuple[str, str | None], ...]:
        """Return the environments; there are no regions."""
        return tuple((env, None) for env in tables.HOSTS)

    def time_request(self) -> HttpRequest:
        """Return ``exchangeStatus``, whose ``time`` is the venue's clock."""
        return build.info("exchangeStatus")

    def read_time(self, body: bytes) -> int:
        """Return that clock (ms). Raises ProtocolViolation."""
        return wire.decode(parse.ExchangeStatus, body, "exchangeStatus").time

    def endpoints(self, env: str, region: str | None) -> Endpoints:
        """Return the hosts of ``live`` or ``testnet``.

        Raises:
            Rejected: Another environment (there is no demo trading), or any region (there are none).
        """
        if env not in tables.HOSTS:
            known = " or ".join(tables.HOSTS)
            raise Rejected(self.name, f"there is no environment {env!r}", do=f"Set env to {known}")
        if region:
            raise Rejected(self.name, f"there is no region {region!r}", do="Leave region out: one host serves all")
        return tables.HOSTS[env]

    def private_links(self, account: AccountSpec, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the account's one connection.

        Raises:
            AuthFailed: The address is missing or malformed, or a key is configured.
        """
        url = endpoints.ws_private + tables.WS_PATH
        address = build.address(account)
        make = partial(PrivateLink, url, account.name, account.env, address, Known(), account.dexes)
        return {PrivateLink.connection: make}

    def public_links(self, env: str, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the one connection that brings marks and instruments."""
        return {PublicLink.connection: partial(PublicLink, endpoints.ws_public + tables.WS_PATH, env, Known())}

    def position_scope(self, symbol: str) -> str:
        """Return the scope of the dex that a coin's name carries."""
        return parse.scope_of(wire.dex_of(symbol))

    def is_public(self, request: HttpRequest) -> bool:
        """Say whether a question asks nothing about a user.

        Raises:
            Rejected: It is no info request.
        """
        return build.question(request)["type"] in tables.PUBLIC_INFO

    def check(self, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Return when the venue answered. Errors have plain or empty bodies; the status alone counts.

        Raises:
            Retryable: 429 (1,200 weight a minute and address) or 5xx.
            Rejected: 422 (malformed question) and every other status.
        """
        if status == 200:
            return
        where, code = f"{self.name} {(request.body or request.path)[:100]}", str(status)
        said = body[:100].decode(errors="replace").strip()
        if status == 429:
            raise Retryable(
                where,
                "too many requests: 1,200 weight a minute and address",
                code=code,
                do="Poll less, or from another address",
                after_s=_after_s(headers),
            )
        if status >= 500:
            raise Retryable(where, f"the venue cannot answer now {said}".rstrip(), code=code)
        if status == 422:
            raise Rejected(where, f"the venue does not understand the question: {said}", code=code)
        raise Rejected(where, f"the venue refuses: {said}", code=code, do="Check the host, and whether it serves here")


def _after_s(headers: Mapping[str, str]) -> float | None:
    """Return Retry-After in seconds; the venue documents none, a proxy before it may send one."""
    found = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    return float(found) if found.isdecimal() and len(found) < 6 else None


VENUE = Hyperliquid()
