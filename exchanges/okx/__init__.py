"""OKX (API v5): ``VENUE``, behind the seam of ``exchanges.venue``. Pure: tables, signatures, frames, parsers."""

from __future__ import annotations

from collections.abc import Mapping

from exchanges.errors import AuthFailed, Rejected
from exchanges.okx import build, faults, parse, tables, wire
from exchanges.okx.link import PrivateLink
from exchanges.okx.public import PublicLink
from exchanges.venue import AccountSpec, Capabilities, Credentials, Endpoints, HttpRequest, LinkFactory


class Okx:
    """The venue; see ``exchanges.venue.Venue`` for what each method promises."""

    name = tables.NAME
    capabilities = Capabilities(
        needs_credentials=True,
        position_snapshot_on_subscribe=True,
        hedge_mode=True,
        mark_time=True,
        rest_weight=tables.REST_WEIGHT,
        rest_period_s=2.0,
        rest_burst=tables.REST_BURST,
        path_limits=tables.PUBLIC_LIMITS,
        key_weight=tables.KEY_WEIGHT,
        key_period_s=2.0,
        verify_every_s=10.0,
        frame_stamp=(None, r'"pTime":\s*"(\d{13})"'),  # of positions alone; orders and fills have times of their own
        records_window_s=tables.RECORDS_WINDOW_MS / 1000,
        records_reach_s=tables.RECORDS_REACH_MS / 1000,
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
                "end_notice",
                "collateral_tiers",
            }
        ),
    )

    read_only_help = tables.READ_ONLY_HELP

    def sites(self) -> tuple[tuple[str, str | None], ...]:
        """Return every environment and region."""
        return tuple((env, region) for region, hosts in tables.HOSTS.items() for env in hosts)

    def time_request(self) -> HttpRequest:
        """Ask for the venue's clock."""
        return build.time_request()

    def read_time(self, body: bytes) -> int:
        """Return the venue's clock in ms. Raises ProtocolViolation."""
        return wire.read_time(body)

    def endpoints(self, env: str, region: str | None) -> Endpoints:
        """Return the hosts; no region means the global site. Raises Rejected for an unknown env or region."""
        hosts = tables.HOSTS.get(region or "global")
        if hosts is None:
            raise Rejected(self.name, f"unknown region {region!r}", do=f"Use one of: {', '.join(tables.HOSTS)}")
        if env not in hosts:
            place = f"env {env!r} does not exist in region {region or 'global'}"
            raise Rejected(self.name, place, do=f"Use one of: {', '.join(hosts)}")
        return hosts[env]

    def private_links(self, account: AccountSpec, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the account's one connection. Raises AuthFailed where a part of the key is missing or malformed."""
        credentials = _complete(account)
        url = endpoints.ws_private + tables.WS_PRIVATE_PATH
        demo = account.env == "demo"
        return {PrivateLink.connection: lambda: PrivateLink(url, account.name, credentials, demo)}

    def public_links(self, env: str, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the one connection for marks and contracts."""
        url = endpoints.ws_public + tables.WS_PUBLIC_PATH
        return {PublicLink.connection: lambda: PublicLink(url, env)}

    def position_scope(self, symbol: str) -> str:
        """Return the scope of a symbol's type, by its name. Raises Rejected where the name is of no known form."""
        return parse.position_scope(parse.type_of(symbol))

    def is_public(self, request: HttpRequest) -> bool:
        """Say whether a question is about the market rather than an account."""
        return request.path.startswith(tables.PUBLIC_PREFIXES)

    def check(self, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Return when the answer is a success; else raise by the documented code."""
        faults.check(request, status, headers, body)


def _complete(account: AccountSpec) -> Credentials:
    credentials = account.credentials
    where = f"{tables.NAME} account {account.name}"
    parts = {
        "key": credentials.key if credentials else "",
        "secret": credentials.secret if credentials else "",
        "passphrase": (credentials.passphrase if credentials else "") or "",
    }
    missing = [name for name, value in parts.items() if not value]
    if credentials is None or missing:
        do = "Set it for this account: OKX keys have a key, a secret and a passphrase"
        raise AuthFailed(where, f"no {', no '.join(missing)}", do=do)
    for name, value in parts.items():
        if value != value.strip() or not value.isprintable():
            do = "Copy it again: there is a blank, a line end or another invisible character in it"
            raise AuthFailed(where, f"the {name} is malformed", do=do)
        if name != "passphrase" and not value.isascii():
            raise AuthFailed(where, f"the {name} holds characters that no OKX {name} has", do="Copy it again")
    return credentials


VENUE = Okx()
