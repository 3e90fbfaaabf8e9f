"""Bybit v5, unified trading account: positions, orders, executions, wallet, prices and contracts of all its derivatives.

``VENUE`` is the whole interface. Everything here is pure; see ``exchanges.venue`` for who calls what, when.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from exchanges.bybit import build, parse, tables, wire
from exchanges.bybit.check import check
from exchanges.bybit.currencies import CurrencyLink
from exchanges.bybit.desk import Mode
from exchanges.bybit.markets import MarketLink
from exchanges.bybit.private import PrivateLink
from exchanges.bybit.sign import signer_of
from exchanges.errors import Rejected
from exchanges.venue import AccountSpec, Capabilities, Endpoints, HttpRequest, LinkFactory, Venue


class Bybit:
    """The venue: tables and factories."""

    name = tables.NAME
    read_only_help = tables.READ_ONLY_HELP
    capabilities = Capabilities(
        needs_credentials=True,
        position_snapshot_on_subscribe=False,
        hedge_mode=True,
        mark_time=True,
        # 600 in 5 s and address, and who exceeds it is shut out for ten minutes.
        rest_weight=400,
        rest_period_s=5.0,
        rest_burst=100,
        # Each path has a limit of its own per user: 50 a second, of the transaction log 25.
        key_weight=20,
        key_period_s=1.0,
        # {"id": "…", "topic": "position", "creationTime": 1697682317044, "data": …}
        frame_stamp=(r'"id":\s*"([^"]+)"', r'"creationTime":\s*(\d{13})'),
        records_window_s=tables.RECORDS_WINDOW_MS / 1000,
        records_reach_s=tables.RECORDS_REACH_MS / 1000,
        unrecorded=frozenset({"option"}),
        features=frozenset(
            {
                "login",
                "position_stream",
                "order_stream",
                "fill_stream",
                "funding_stream",
                "liquidation_cause",
                "adl_cause",
                "settlement",
                "dated_futures",
                "inverse",
                "options",
                "key_permissions",
                "currency_prices",
                "refusals",
                "collateral_tiers",
            }
        ),
    )

    def sites(self) -> tuple[tuple[str, str | None], ...]:
        """Return every (env, region) that has hosts."""
        return tuple(tables.HOSTS)

    def time_request(self) -> HttpRequest:
        """Return the public question for Bybit's clock."""
        return build.server_time()

    def read_time(self, body: bytes) -> int:
        """Return Bybit's clock (ms). Raises ProtocolViolation."""
        raw, _ = wire.result(body)
        return int(wire.decode(raw, wire.ServerTime, "the server's time").time_nano) // 1_000_000

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
        signer = signer_of(account)
        url = endpoints.ws_private + tables.PRIVATE_PATH
        mode = Mode()  # what one link learns of it, all of the account know
        return {PrivateLink.connection: lambda: PrivateLink(account.name, signer, url, account.env == "demo", mode)}

    def public_links(self, env: str, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return a connection for each category of derivatives, and the spot one for currencies."""
        base = endpoints.ws_public + tables.PUBLIC_PATH
        links: dict[str, LinkFactory] = {
            category: partial(MarketLink, category, env, base + category) for category in tables.CATEGORIES
        }
        return {**links, tables.SPOT: partial(CurrencyLink, env, base + tables.SPOT)}

    def position_scope(self, symbol: str) -> str:
        """Return the scope that a symbol's name suggests; see ``exchanges.bybit.parse.contract_of``."""
        category = parse.category_of(symbol)
        return parse.scope_of(category, parse.contract_of(category, symbol)[2])

    def is_public(self, request: HttpRequest) -> bool:
        """Say whether a public link answers this question."""
        return request.path.startswith(tables.PUBLIC_PREFIXES)

    def check(self, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Return when the answer is a success, else raise by whose fault it is; see ``exchanges.bybit.check``."""
        check(request, status, headers, body)


VENUE: Venue = Bybit()
