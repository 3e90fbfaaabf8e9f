"""Messages in Bybit's shapes, for tests: written from the documentation, figures our own."""

from __future__ import annotations

import json
from typing import Any

from exchanges.bybit import VENUE, tables
from exchanges.bybit.markets import MarketLink
from exchanges.bybit.private import PrivateLink
from exchanges.venue import AccountSpec, Credentials, HttpRequest, Output

ENDPOINTS = VENUE.endpoints("live", None)
ACCOUNT = AccountSpec(name="main", venue="bybit", credentials=Credentials(key="XXXXXXXXXX", secret="XXXXXXXXXXSECRET"))
INFO = HttpRequest(path="/v5/account/info", signed=True)
WALLET = HttpRequest(path="/v5/account/wallet-balance?accountType=UNIFIED", signed=True)


def private() -> PrivateLink:
    """Return a fresh private link."""
    link = VENUE.private_links(ACCOUNT, ENDPOINTS)["private"]()
    assert isinstance(link, PrivateLink)
    return link


def linear() -> MarketLink:
    """Return a fresh link of the linear stream."""
    link = VENUE.public_links("live", ENDPOINTS)["linear"]()
    assert isinstance(link, MarketLink)
    return link


def position(symbol: str = "BTCUSDT", **fields: Any) -> dict[str, Any]:
    """Return an open long leg as the ``position`` topic shows it."""
    row = {
        "positionIdx": 0,
        "tradeMode": 0,
        "riskId": 1,
        "riskLimitValue": "2000000",
        "symbol": symbol,
        "side": "Buy",
        "size": "0.5",
        "entryPrice": "60000",
        "sessionAvgPrice": "",
        "leverage": "10",
        "positionValue": "30000",
        "positionBalance": "0",
        "markPrice": "60100",
        "positionIM": "3014.85",
        "positionMM": "165.1",
        "takeProfit": "0",
        "stopLoss": "0.00",
        "unrealisedPnl": "50",
        "createdTime": "1690000000000",
        "updatedTime": "1700000000000",
        "liqPrice": "31000.5",
        "category": "linear",
        "positionStatus": "Normal",
        "adlRankIndicator": 2,
        "seq": 100,
    }
    return {**row, **fields}


def closed(symbol: str = "BTCUSDT", **fields: Any) -> dict[str, Any]:
    """Return the push of a leg that was closed: without side, and nothing but zeros."""
    gone = {"side": "", "size": "0", "entryPrice": "0", "positionValue": "0", "liqPrice": "0", "unrealisedPnl": "0"}
    return position(symbol, **{**gone, **fields})


def push(topic: str, rows: list[dict[str, Any]], created: int = 1_700_000_000_100) -> str:
    """Return a private push."""
    return json.dumps({"id": "x", "topic": topic, "creationTime": created, "data": rows})


def wallet(*coins: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a wallet row of an account in cross margin."""
    row = {
        "accountMMRate": "0.0226",
        "totalWalletBalance": "1000.5",
        "totalMarginBalance": "1050.5",
        "totalAvailableBalance": "700",
        "totalPerpUPL": "50",
        "totalInitialMargin": "300",
        "totalMaintenanceMargin": "20",
        "coin": list(coins) or [coin()],
        "accountType": "UNIFIED",
    }
    return {**row, **fields}


def coin(name: str = "USDT", **fields: Any) -> dict[str, Any]:
    """Return a coin row."""
    row = {
        "coin": name,
        "equity": "1050",
        "usdValue": "1050.42",
        "walletBalance": "1000",
        "availableToWithdraw": "",
        "totalPositionIM": "300",
        "totalPositionMM": "20",
        "unrealisedPnl": "50",
        "spotBorrow": "0",
    }
    return {**row, **fields}


def execution(symbol: str = "BTCUSDT", **fields: Any) -> dict[str, Any]:
    """Return a purchase by a market order as the ``execution`` topic shows it."""
    row = {
        "category": "linear",
        "symbol": symbol,
        "closedSize": "0",
        "execFee": "0.0256322",
        "execId": "exec-1",
        "execPrice": "233.02",
        "execQty": "0.2",
        "execType": "Trade",
        "execValue": "46.604",
        "feeRate": "0.00055",
        "leavesQty": "0",
        "orderId": "order-1",
        "orderType": "Market",
        "side": "Buy",
        "execTime": "1759432560940",
        "isMaker": False,
        "seq": 227170130491,
        "execPnl": "0",
        "createType": "CreateByUser",
        "extraFees": "",
        "feeCurrency": "",
    }
    return {**row, **fields}


def order(symbol: str = "BTCUSDT", **fields: Any) -> dict[str, Any]:
    """Return an open limit order as the ``order`` topic and ``/v5/order/realtime`` show it."""
    row = {
        "category": "linear",
        "symbol": symbol,
        "orderId": "order-1",
        "orderLinkId": "",
        "side": "Buy",
        "positionIdx": 0,
        "orderStatus": "New",
        "createType": "CreateByUser",
        "cancelType": "UNKNOWN",
        "price": "58895.2",
        "qty": "0.001",
        "avgPrice": "",
        "cumExecQty": "0",
        "orderType": "Limit",
        "stopOrderType": "",
        "triggerPrice": "",
        "reduceOnly": False,
        "createdTime": "1719443133613",
        "updatedTime": "1719443133614",
    }
    return {**row, **fields}


def answer(result: dict[str, Any], time: int | None = 1_700_000_000_500) -> bytes:
    """Return a successful REST answer."""
    return json.dumps({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": time}).encode()


def info(mode: str = "REGULAR_MARGIN") -> bytes:
    """Return the answer of ``/v5/account/info``."""
    return answer({"marginMode": mode, "unifiedMarginStatus": 6, "updatedTime": "1697078946000"})


def listed(*rows: dict[str, Any], cursor: str = "", time: int | None = 1_700_000_000_500) -> bytes:
    """Return the answer of ``/v5/position/list``, where the entry price has another name."""
    renamed = [{("avgPrice" if name == "entryPrice" else name): value for name, value in row.items()} for row in rows]
    return answer({"category": "linear", "list": renamed, "nextPageCursor": cursor}, time)


def balance(*rows: dict[str, Any], time: int | None = 1_700_000_000_500) -> bytes:
    """Return the answer of ``/v5/account/wallet-balance``."""
    return answer({"list": list(rows)}, time)


def subscribe_all(link: PrivateLink) -> None:
    """Subscribe the link's topics and confirm them."""
    for frame in link.subscribe(link.topics()):
        ack = {"success": True, "ret_msg": "", "op": "subscribe", "req_id": json.loads(frame)["req_id"]}
        link.receive(json.dumps(ack), 0)


def start(link: PrivateLink, mode: str = "REGULAR_MARGIN") -> list[Output]:
    """Bring a link to ready with empty lists; return what it said."""
    subscribe_all(link)
    bodies = [info(mode), *[listed()] * len(tables.SCOPES), balance(wallet())]
    asked = zip(link.bootstrap(), bodies, strict=True)
    return [output for request, body in asked for output in link.answer(request, body, 1000, 1010)]
