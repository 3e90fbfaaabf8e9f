"""The exchanges that ccxt can stream: which there are, how often one may be asked, and a connected instance for an account.

Owns everything that is settled before the first question (credentials, environment, hosts, options). Imports ccxt, which takes a
second and is an optional extra, only once it is asked for.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from exchanges.errors import Rejected
from exchanges.venue import AccountSpec, Capabilities, Endpoints

INSTALL = "pip install perpwire[ccxt]"
_FASTEST_S, _SLOWEST_S = 10.0, 30.0
_ROUND_UNITS = 100  # a round is reckoned at ten units of the exchange's pace, and may take a tenth of it


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange as configuration sees it: what a native ``Venue`` is, as far as ccxt can say it."""

    name: str
    capabilities: Capabilities
    read_only_help: str


@functools.cache
def find(name: str) -> Exchange | None:
    """Return an exchange that ccxt can stream; None where it has none of that name, or is not installed (``installed``)."""
    if name not in available():
        return None
    import ccxt.pro as ccxtpro

    pace_s = float(getattr(ccxtpro, name)().rateLimit) / 1000  # per unit
    return Exchange(
        name=name,
        capabilities=Capabilities(
            needs_credentials=True,
            position_snapshot_on_subscribe=False,
            hedge_mode=True,
            mark_time=False,
            verify_every_s=min(max(pace_s * _ROUND_UNITS, _FASTEST_S), _SLOWEST_S),
        ),
        read_only_help=f"Make a key at {name} that may read and nothing else.",
    )


@functools.cache
def available() -> tuple[str, ...]:
    """Return the exchanges that ccxt can stream; empty where it is not installed."""
    try:
        import ccxt.pro as ccxtpro
    except ImportError:
        return ()
    return tuple(ccxtpro.exchanges)


def connect(spec: AccountSpec, hosts: Endpoints | None = None) -> Any:
    """Return a ccxt instance for an account; nothing is sent yet.

    Args:
        hosts: Base addresses in place of the exchange's own; an empty one keeps it.

    Raises:
        Rejected: ccxt is not installed, or does not have that exchange, environment or region.
    """
    if not available():
        raise Rejected(spec.venue, "is no venue of Perpwire's own, and ccxt is not installed", do=INSTALL)
    if spec.venue not in available():
        raise Rejected(spec.venue, "is neither a venue of Perpwire's own nor an exchange that ccxt can stream")
    if spec.region:
        raise Rejected(
            spec.venue, "has no regions in ccxt", do="Leave region out: some are exchanges of their own there"
        )
    import ccxt.pro as ccxtpro

    kind = getattr(ccxtpro, spec.venue)
    exchange = kind({"enableRateLimit": True, "newUpdates": True, "options": _OPTIONS} | _login(spec, kind()))
    exchange.has["fetchCurrencies"] = False  # asked with the markets: of no use here, and often another permission
    if spec.env != "live":
        try:
            exchange.set_sandbox_mode(True)
        except Exception as error:  # noqa: BLE001 - whatever a port raises here means that it has no such environment
            raise Rejected(spec.venue, f"has no env {spec.env} in ccxt: {type(error).__name__}") from None
    if hosts is not None:
        exchange.urls["api"] = _redirected(exchange.urls["api"], hosts, private=False)
    return exchange


_OPTIONS: dict[str, Any] = {
    "defaultType": "swap",
    "adjustForTimeDifference": True,
    # The list of all open orders is wanted, and paid for.
    "warnOnFetchOpenOrdersWithoutSymbol": False,
    "fetchOpenOrders": {"warnIfNoSymbol": False},
}


def _login(spec: AccountSpec, exchange: Any) -> dict[str, str]:
    """Return the credentials by the names that the exchange has for them."""
    needs = exchange.requiredCredentials
    found: dict[str, str | None] = {"walletAddress": spec.address}
    if spec.credentials is not None:
        if needs.get("privateKey") and not needs.get("secret"):
            found |= {"privateKey": spec.credentials.secret, "walletAddress": spec.address or spec.credentials.key}
        else:
            found |= {"apiKey": spec.credentials.key, "secret": spec.credentials.secret}
            found |= {"password": spec.credentials.passphrase}
    return {name: value for name, value in found.items() if value}


def _redirected(urls: Any, hosts: Endpoints, *, private: bool) -> Any:
    if isinstance(urls, Mapping):
        return {name: _redirected(part, hosts, private=private or "rivate" in name) for name, part in urls.items()}
    if not isinstance(urls, str):
        return urls
    stream = hosts.ws_private if private and hosts.ws_private else hosts.ws_public or hosts.ws_private
    host = stream if urls.startswith("ws") else hosts.rest
    return re.sub(r"^\w+://[^/]+", host, urls) if host else urls
