"""Messages in Aster's shapes, for tests: written from the documentation, figures our own unless a line says otherwise."""

from __future__ import annotations

import json
from typing import Any

from exchanges.aster import VENUE, tables
from exchanges.aster.address import AddressLink
from exchanges.aster.private import PrivateLink
from exchanges.aster.public import PublicLink
from exchanges.events import Event
from exchanges.venue import AccountSpec, Ask, Credentials, HttpRequest, Output

ENDPOINTS = VENUE.endpoints("live", None)
# The documentation's own demonstration wallet, which owns nothing.
USER = "0x63DD5aCC6b1aa0f563956C0e534DD30B6dcF7C4e"
WALLET = "0x21cF8Ae13Bb72632562c6Fff438652Ba1a151bb0"
PRIVATE_KEY = "0x4fd0a42218f3eae43a6ce26d22544e986139a01e5b34a62db53757ffca81bae1"
SPEC = AccountSpec(name="main", venue="aster", credentials=Credentials(WALLET, PRIVATE_KEY), address=USER)
LEGACY = AccountSpec(name="old", venue="aster", credentials=Credentials("k" * 64, "s" * 64))
LISTEN_KEY = "pqia91ma19a5s61cv6a81va65sdf19v8a65a1a5s61cv6a81va65sdf19v8a65a1"
NOW = 1_768_551_627_710

# Recorded by ccxt from the live venue (pro/test/static, positions of aster).
RECORDED_UPDATE = (
    '{"e":"ACCOUNT_UPDATE","T":1768551627708,"E":1768551627710,"a":{"B":[{"a":"USDT","wb":"39.41184271","cw":"39.41184271",'
    '"bc":"0"}],"P":[{"s":"ETHUSDT","pa":"0","ep":"0.00000000","cr":"-0.59070000","up":"0","mt":"isolated","iw":"0",'
    '"ps":"BOTH","ma":"USDT"}],"m":"ORDER"}}'
)
RECORDED_MARK = (
    '{"e":"markPriceUpdate","E":1754660466000,"s":"BTCUSDT","p":"116809.60000000","i":"116836.93534884",'
    '"P":"116595.54012838","r":"0.00010000","T":1754668800000}'
)


def private(spec: AccountSpec = SPEC) -> PrivateLink:
    """Return a fresh private link."""
    link = VENUE.private_links(spec, ENDPOINTS)["private"]()
    assert isinstance(link, PrivateLink)
    return link


def connected(spec: AccountSpec = SPEC, *, multi: bool = False, positions: Any = (), at: int = 100) -> PrivateLink:
    """Return a private link that is ready: prepared and answered at ``at``."""
    link = private(spec)
    answer(link, link.prepare()[0], {"listenKey": LISTEN_KEY}, at)
    for request, body in zip(link.bootstrap(), ({"multiAssetsMargin": multi}, account(), positions, []), strict=True):
        answer(link, request, body, at)
    assert link.ready
    return link


def public() -> PublicLink:
    """Return a fresh public link."""
    link = VENUE.public_links("live", ENDPOINTS)["public"]()
    assert isinstance(link, PublicLink)
    return link


def by_address(address: str = USER) -> AddressLink:
    """Return a link that reads by address."""
    link = VENUE.private_links(AccountSpec(name="main", venue="aster", address=address), ENDPOINTS)["private"]()
    assert isinstance(link, AddressLink)
    return link


def answer(
    link: PrivateLink | PublicLink | AddressLink, request: HttpRequest, body: Any, asked_at: int = 100
) -> list[Output]:
    """Give a link an answer: JSON, or bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return link.answer(request, data, asked_at, asked_at + 20)


def events(outputs: list[Output]) -> list[Event]:
    """Return the events among outputs."""
    return [output for output in outputs if isinstance(output, Event)]


def asked(outputs: list[Output]) -> list[str]:
    """Return the names of the questions among outputs."""
    paths = [output.request.path.partition("?")[0] for output in outputs if isinstance(output, Ask)]
    return [tables.NAMES.get(path, path) for path in paths]


def row(symbol: str = "BTCUSDT", **fields: Any) -> dict[str, Any]:
    """Return an open cross long as ``positionRisk`` shows it."""
    usual = {
        "symbol": symbol, "positionAmt": "0.500", "entryPrice": "60000.00000000", "markPrice": "60100.00000000",
        "unRealizedProfit": "50.00000000", "liquidationPrice": "31000.5", "leverage": "10", "maxNotionalValue": "20000000",
        "marginType": "cross", "isolatedMargin": "0.00000000", "isAutoAddMargin": "false", "positionSide": "BOTH",
        "notional": "30050.00000000", "isolatedWallet": "0", "updateTime": NOW - 1000,
    }  # fmt: skip
    return {**usual, **fields}


def flat(symbol: str = "BTCUSDT", **fields: Any) -> dict[str, Any]:
    """Return a symbol without a position, which is listed too."""
    nothing = {"positionAmt": "0.000", "entryPrice": "0.0", "unRealizedProfit": "0.00000000", "liquidationPrice": "0"}
    return row(symbol, **{**nothing, "notional": "0", "updateTime": 0, **fields})


def account(*positions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return an account with 1000 USDT; ``positions`` are rows of its margins."""
    asset = {
        "asset": "USDT", "walletBalance": "1000.5", "unrealizedProfit": "50", "marginBalance": "1050.5",
        "maintMargin": "150.25", "initialMargin": "3005", "positionInitialMargin": "3005", "openOrderInitialMargin": "12",
        "crossWalletBalance": "900.5", "crossUnPnl": "50", "availableBalance": "500", "maxWithdrawAmount": "500",
        "marginAvailable": True, "updateTime": 0,
    }  # fmt: skip
    empty = {**dict.fromkeys(asset, "0.00000000"), "asset": "ASTER", "marginAvailable": True}
    usual = {
        "canTrade": True, "canDeposit": True, "canWithdraw": True, "assets": [asset, empty], "positions": list(positions),
        "totalCrossWalletBalance": "2000", "totalCrossUnPnl": "-10", "totalMaintMargin": "160",
        "totalPositionInitialMargin": "800", "totalOpenOrderInitialMargin": "0", "availableBalance": "1100",
        "maxWithdrawAmount": "1000",
    }  # fmt: skip
    return {**usual, **fields}


def leg(symbol: str = "BTCUSDT", **fields: Any) -> dict[str, Any]:
    """Return a pushed leg: the position of ``row``."""
    usual = {
        "s": symbol, "pa": "0.500", "ep": "60000.00000000", "cr": "0", "up": "50", "mt": "cross", "iw": "0", "ps": "BOTH",
        "ma": "USDT",
    }  # fmt: skip
    return {**usual, **fields}


def update(
    *legs: dict[str, Any], at: int = NOW, reason: str = "ORDER", balances: Any = (), event_at: int | None = None
) -> str:
    """Return an ``ACCOUNT_UPDATE``."""
    body = {"B": list(balances), "P": list(legs), "m": reason}
    return json.dumps({"e": "ACCOUNT_UPDATE", "T": at, "E": at + 2 if event_at is None else event_at, "a": body})


def money(wallet: str = "1000.5", cross: str = "900.5", asset: str = "USDT", change: str = "0") -> dict[str, str]:
    """Return a pushed balance."""
    return {"a": asset, "wb": wallet, "cw": cross, "bc": change}


def order_push(at: int = NOW, **fields: Any) -> str:
    """Return an ``ORDER_TRADE_UPDATE``: a market order of 0.5 that is filled, taking."""
    usual = {
        "s": "BTCUSDT", "c": "web_1", "S": "BUY", "o": "MARKET", "f": "GTC", "q": "0.500", "p": "0", "ap": "60000", "sp": "0",
        "x": "TRADE", "X": "FILLED", "i": 13351197194, "l": "0.500", "z": "0.500", "L": "60000.0", "n": "12.00000000",
        "N": "USDT", "T": at, "t": 458032604, "b": "0", "a": "0", "m": False, "R": False, "wt": "CONTRACT_PRICE",
        "ot": "MARKET", "ps": "BOTH", "cp": False, "rp": "0",
    }  # fmt: skip
    return json.dumps({"e": "ORDER_TRADE_UPDATE", "E": at + 1, "T": at, "o": {**usual, **fields}})


def trade(**fields: Any) -> dict[str, Any]:
    """Return the fill of ``order_push`` as ``userTrades`` shows it."""
    usual = {
        "symbol": "BTCUSDT", "id": 458032604, "orderId": 13351197194, "side": "BUY", "price": "60000.0", "qty": "0.500",
        "quoteQty": "30000", "commission": "12.00000000", "commissionAsset": "USDT", "time": NOW, "positionSide": "BOTH",
        "maker": False, "buyer": True, "realizedPnl": "0",
    }  # fmt: skip
    return {**usual, **fields}


def order_row(**fields: Any) -> dict[str, Any]:
    """Return an open limit order."""
    usual = {
        "symbol": "BTCUSDT", "orderId": 1917641, "clientOrderId": "abc", "price": "59000", "avgPrice": "0.00000",
        "origQty": "0.40", "executedQty": "0", "cumQuote": "0", "status": "NEW", "timeInForce": "GTC", "type": "LIMIT",
        "side": "BUY", "positionSide": "BOTH", "stopPrice": "0", "reduceOnly": False, "time": NOW - 500, "updateTime": NOW,
    }  # fmt: skip
    return {**usual, **fields}


def income(kind: str = "FUNDING_FEE", value: str = "-0.37500000", **fields: Any) -> dict[str, Any]:
    """Return a line of the books."""
    usual = {
        "symbol": "BTCUSDT", "incomeType": kind, "income": value, "asset": "USDT", "info": kind, "time": NOW,
        "tranId": "9689322392", "tradeId": "",
    }  # fmt: skip
    return {**usual, **fields}
