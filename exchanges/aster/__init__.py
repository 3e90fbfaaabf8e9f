"""Aster behind the seam: perpetuals read with an API wallet (typed-data signatures), an older API key, or by address alone.

``VENUE`` is the whole interface. Everything here is pure; see ``exchanges.venue`` for who calls what, when.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from exchanges.aster import tables
from exchanges.aster.address import AddressLink
from exchanges.aster.check import check
from exchanges.aster.memory import Memory
from exchanges.aster.private import PrivateLink
from exchanges.aster.public import Listed, PublicLink
from exchanges.aster.sign import address_of, signer_of
from exchanges.aster.wire import ServerTime, decode
from exchanges.errors import AuthFailed, Rejected
from exchanges.venue import AccountSpec, Capabilities, Endpoints, HttpRequest, LinkFactory, Venue

__all__ = ["VENUE", "Aster"]


class Aster:
    """The venue: tables and factories."""

    name = tables.NAME
    read_only_help = tables.READ_ONLY
    capabilities = Capabilities(
        needs_credentials=False,  # an address alone is polled
        position_snapshot_on_subscribe=False,
        hedge_mode=True,
        mark_time=True,
        # 2,400 a minute and IP address, shared with whatever else runs there
        rest_weight=2_000,
        rest_period_s=60.0,
        rest_burst=600,
        # A round weighs 80, half of it the open orders: at 30 s a dozen accounts fit.
        verify_every_s=30.0,
        frame_stamp=(None, r'"E":\s*(\d{13})'),  # {"e": "ACCOUNT_UPDATE", "E": 1564745798939, …}
        features=frozenset(
            {"position_stream", "order_stream", "fill_stream", "liquidation_cause", "adl_cause", "key_permissions"}
        ),
    )

    def sites(self) -> tuple[tuple[str, str | None], ...]:
        """Return every (env, region) that ``endpoints`` knows."""
        return tuple((env, None) for env in tables.HOSTS)

    def time_request(self) -> HttpRequest | None:
        """Return the question for the venue's clock."""
        return HttpRequest(path=tables.TIME)

    def read_time(self, body: bytes) -> int:
        """Return the venue's clock (ms). Raises ProtocolViolation."""
        return decode(body, ServerTime, "the server's time").server_time

    def endpoints(self, env: str, region: str | None) -> Endpoints:
        """Return the hosts of ``live`` or ``testnet``.

        Raises:
            Rejected: Another environment (there is no demo trading), or any region (there are none).
        """
        if env not in tables.HOSTS:
            raise Rejected(self.name, f"there is no environment {env!r}", do=f"Set env to {' or '.join(tables.HOSTS)}")
        if region:
            raise Rejected(self.name, f"there is no region {region!r}", do="Leave region out: one host serves all")
        return tables.HOSTS[env]

    def private_links(self, account: AccountSpec, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the account's one connection. Its links share nonces and memory: ask for the factories once an account.

        Raises:
            AuthFailed: A part of the credential is missing, malformed or too powerful; or the address is.
        """
        if account.credentials is None:
            return {AddressLink.connection: self._by_address(account, endpoints)}
        signer, memory = signer_of(account), Memory()
        url = endpoints.ws_private + tables.WS_PATH
        return {PrivateLink.connection: partial(PrivateLink, account, signer, memory, url)}

    def _by_address(self, account: AccountSpec, endpoints: Endpoints) -> LinkFactory:
        address = address_of(account)
        if account.env != "live":
            where = f"account {account.name} (aster)"
            raise AuthFailed(where, "accounts can be read by address on the live venue alone", do=tables.READ_ONLY)
        # Another REST address than the venue's own (a simulator's, a proxy's) serves both.
        host = tables.CHAIN_HOST if endpoints.rest == tables.HOSTS["live"].rest else None
        return partial(AddressLink, account.name, address, host)

    def public_links(self, env: str, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the one connection for marks and contracts."""
        return {PublicLink.connection: partial(PublicLink, env, endpoints.ws_public + tables.WS_PATH, Listed())}

    def position_scope(self, symbol: str) -> str:
        """Return the one scope: a single list holds every position."""
        return tables.SCOPE

    def is_public(self, request: HttpRequest) -> bool:
        """Say whether a public link answers this question."""
        return request.path.partition("?")[0] in tables.PUBLIC_PATHS

    def check(self, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Return when the answer is a success, else raise by whose fault it is; see ``exchanges.aster.check``."""
        check(request, status, headers, body)


VENUE: Venue = Aster()
