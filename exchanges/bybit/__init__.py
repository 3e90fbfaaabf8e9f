"""Bybit v5, unified trading account: positions, wallet, marks and contracts of linear perpetuals and futures.

``VENUE`` is the whole interface. Everything here is pure; see ``exchanges.venue`` for who calls what, when.
"""

from __future__ import annotations

from collections.abc import Mapping

from exchanges.bybit import tables
from exchanges.bybit.check import check
from exchanges.bybit.private import PrivateLink
from exchanges.bybit.public import LinearLink
from exchanges.bybit.sign import credentials_of
from exchanges.errors import Rejected
from exchanges.venue import AccountSpec, Capabilities, Endpoints, HttpRequest, LinkFactory, Venue


class Bybit:
    """The venue: tables and factories."""

    name = tables.NAME
    capabilities = Capabilities(
        needs_credentials=True,
        position_snapshot_on_subscribe=False,
        hedge_mode=True,
        mark_time=True,
        # 600 in 5 s and address, and who exceeds it is shut out for ten minutes; 50 a second and user (no account asks as much).
        rest_weight=400,
        rest_period_s=5.0,
        rest_burst=100,
    )

    def endpoints(self, env: str, region: str | None) -> Endpoints:
        """Return the hosts. Raises Rejected, naming the known values, for an unknown env or region."""
        found = tables.HOSTS.get((env, region))
        if found is not None:
            return found
        environments = list(dict.fromkeys(known for known, _ in tables.HOSTS))
        if env not in environments:
            raise Rejected("bybit", f"unknown env {env!r}", do=f"Use one of: {', '.join(environments)}")
        regions = [known for of, known in tables.HOSTS if of == env and known]
        what = f"env {env} has no region {region!r}"
        raise Rejected(
            "bybit",
            what,
            do=f"Leave region out, or use one of: {', '.join(regions)}" if regions else "Leave region out",
        )

    def private_links(self, account: AccountSpec, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the account's connection. Raises AuthFailed where a credential is missing or malformed."""
        credentials = credentials_of(account)
        url = endpoints.ws_private + tables.PRIVATE_PATH
        return {PrivateLink.connection: lambda: PrivateLink(account.name, credentials, url)}

    def public_links(self, env: str, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the connection for marks and contracts."""
        url = endpoints.ws_public + tables.LINEAR_PATH
        return {LinearLink.connection: lambda: LinearLink(env, url)}

    def is_public(self, request: HttpRequest) -> bool:
        """Say whether a public link answers this question."""
        return request.path.startswith(tables.PUBLIC_PREFIX)

    def check(self, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Return when the answer is a success, else raise by whose fault it is; see ``exchanges.bybit.check``."""
        check(request, status, headers, body)


VENUE: Venue = Bybit()
