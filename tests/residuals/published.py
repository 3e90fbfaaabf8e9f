"""Worked examples that venues publish, as messages in their wire form: for modes of which nothing was captured. Plain data.

Each says where it is from, and what had to be added to make a message of it. Figures that an example does not state are left blank
and are then left out of the comparison by their rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.residuals.recorded import Case, line, okx_contract


def cases() -> Iterator[Case]:
    """Yield the published examples."""
    yield _okx_isolated_inverse()
    yield _okx_cross()
    yield _bybit_isolated()
    yield _bybit_isolated_inverse()
    yield _aster_isolated_hedge()
    yield _aster_cross()


def _okx_isolated_inverse() -> Case:
    row = {
        "adl": "1", "availPos": "1", "avgPx": "2566.31", "cTime": "1619507758793", "ccy": "ETH", "imr": "",
        "instId": "ETH-USD-210430", "instType": "FUTURES", "interest": "0", "lever": "10", "liqPx": "2352.8496681818233",
        "markPx": "2565.656", "margin": "0.0003896645377994", "mgnMode": "isolated", "mgnRatio": "11.731726509588816",
        "mmr": "0.0000311811092368", "optVal": "", "pos": "1", "posCcy": "", "posId": "307173036051017730", "posSide": "long",
        "tradeId": "109844", "uTime": "1619507761462", "upl": "-0.0000009932766034", "nonSettleAvgPx": "", "settledPnl": "",
    }  # fmt: skip
    return Case(
        "okx",
        "OKX API guide, positions channel, push example (its mark is the one that its own upl and mmr imply)",
        (line("okx", {"code": "0", "msg": "", "data": [row]}, request="/api/v5/account/positions?instType=FUTURES"),),
        "published",
        (okx_contract("ETH-USD-210430", "10", "0.01", inverse=True),),
    )


def _okx_cross() -> Case:
    row = {
        "adl": "1", "availPos": "", "avgPx": "0.52668", "cTime": "1", "ccy": "USDT", "imr": "17.564000000000004",
        "instId": "XRP-USDT-SWAP", "instType": "SWAP", "interest": "", "lever": "3", "liqPx": "0.3287514731020614",
        "markPx": "0.52692", "margin": "", "mgnMode": "cross", "mgnRatio": "", "mmr": "0.26346", "optVal": "", "pos": "1",
        "posCcy": "", "posId": "1", "posSide": "net", "tradeId": "1", "uTime": "1", "upl": "0.0240000000000018",
    }  # fmt: skip
    coin = {
        "ccy": "USDT", "cashBal": "19.973666000000005", "eq": "19.997666000000007", "upl": "0.0240000000000018", "isoEq": "0",
        "imr": "17.564000000000004", "mmr": "0.26346", "mgnRatio": "", "uTime": "1", "liab": "", "interest": "",
        "ordFrozen": "0",
    }  # fmt: skip
    header = {"adjEq": "", "imr": "", "mmr": "", "mgnRatio": "", "totalEq": "20", "uTime": "1", "details": [coin]}
    return Case(
        "okx",
        "Cross row in the tests of ccxt (its collateral is recovered from its own margin ratio, which is left out)",
        (
            line("okx", {"code": "0", "msg": "", "data": [header]}, request="/api/v5/account/balance"),
            line("okx", {"code": "0", "msg": "", "data": [row]}, request="/api/v5/account/positions?instType=SWAP"),
        ),
        "published",
        (okx_contract("XRP-USDT-SWAP", "100", "0.0001"),),
    )


def _bybit_isolated() -> Case:
    """Margin added by hand: 3,000. Margins as the example has them, with 21.56 for closing in both."""
    row = _bybit_row(
        "BTCUSDT", "Buy", "1", "40000", "50", "36380.25", margin="821.56", maintenance="221.56", balance="3821.56"
    )
    return _bybit_example("linear&settleCoin=USDT", row, "1 BTC at 40,000 with 50x, 0.5 % and 3,000 USDT added")


def _bybit_isolated_inverse() -> Case:
    row = _bybit_row(
        "BTCUSD", "Sell", "30000", "60000", "10", "66333.33", margin="0.0502475", maintenance="0.0027475",
        balance="0.0502475",
    )  # fmt: skip
    return _bybit_example("inverse", row, "a short of 30,000 USD at 60,000 with 10x and 0.5 %")


def _bybit_example(category: str, row: dict[str, Any], what: str) -> Case:
    mode = {"marginMode": "ISOLATED_MARGIN", "unifiedMarginStatus": 5, "updatedTime": "1"}
    listed = {"nextPageCursor": "", "category": category.partition("&")[0], "list": [row]}
    asked = f"/v5/position/list?category={category}&limit=200"
    return Case(
        "bybit",
        f"Bybit help center, Trading Rules: Liquidation Process (Unified Trading Account), August 2026: {what} (its mark "
        "is the entry, which its own maintenance is counted from)",
        (
            line("bybit", {"retCode": 0, "retMsg": "OK", "result": mode, "time": 1}, request="/v5/account/info"),
            line("bybit", {"retCode": 0, "retMsg": "OK", "result": listed, "time": 1}, request=asked),
        ),
        "published",
    )


def _bybit_row(
    symbol: str,
    side: str,
    size: str,
    entry: str,
    leverage: str,
    price: str,
    *,
    margin: str,
    maintenance: str,
    balance: str,
) -> dict[str, Any]:
    return {
        "symbol": symbol, "leverage": leverage, "autoAddMargin": 0, "avgPrice": entry, "liqPrice": price,
        "riskLimitValue": "2000000", "takeProfit": "", "positionValue": "", "isReduceOnly": False, "tpslMode": "Full",
        "riskId": 1, "trailingStop": "0", "unrealisedPnl": "0", "markPrice": entry, "adlRankIndicator": 2,
        "cumRealisedPnl": "0", "positionMM": maintenance, "createdTime": "1", "positionIdx": 0, "positionIM": margin,
        "seq": 1, "updatedTime": "1", "side": side, "bustPrice": "", "positionBalance": balance,
        "leverageSysUpdatedTime": "", "curRealisedPnl": "0", "size": size, "positionStatus": "Normal",
        "mmrSysUpdatedTime": "", "stopLoss": "", "tradeMode": 0, "sessionAvgPrice": "",
    }  # fmt: skip


def _aster_isolated_hedge() -> Case:
    rows = [
        _aster_row(
            "BTCUSDT", "20.000", "6563.665", "6679.50671178", "2316.83423560", "5930.78", "LONG", "13200.70726908"
        ),
        _aster_row(
            "BTCUSDT", "-10.000", "6563.86", "6679.50671178", "-1156.46711780", "7189.95", "SHORT", "6570.42511771"
        ),
    ]
    return Case(
        "aster",
        "Aster API guide, position information, sample of both legs (bracket 0.5 %, cum 50)",
        (_aster_mode(), _aster_brackets({"BTCUSDT": ("0.005", "50")}), _aster_positions(rows)),
        "published",
        (_aster_contracts("BTCUSDT"),),
    )


def _aster_cross() -> Case:
    rows = [
        _aster_row("ETHUSDT", "3683.979", "1456.84", "1335.18", "-448192.89", "1153.26"),
        _aster_row("BTCUSDT", "109.488", "32481.98", "31967.27", "-56354.57", "26316.89"),
    ]
    asset = {
        "asset": "USDT", "walletBalance": "1535443.01", "crossWalletBalance": "1535443.01", "marginAvailable": True,
    }  # fmt: skip
    account = {"assets": [asset], "positions": []}
    return Case(
        "aster",
        "Binance FAQ b3c689c1f50a44cabb3a84e663b81d93, example of two cross positions (Aster's margin system is Binance's)",
        (
            _aster_mode(),
            _aster_brackets({"ETHUSDT": ("0.1", "135365"), "BTCUSDT": ("0.025", "16300")}),
            line("aster", account, request="/fapi/v3/accountWithJoinMargin"),
            _aster_positions(rows),
        ),
        "published",
        (_aster_contracts("ETHUSDT", "BTCUSDT"),),
    )


def _aster_mode() -> bytes:
    return line("aster", {"multiAssetsMargin": False}, request="/fapi/v3/multiAssetsMargin")


def _aster_row(
    symbol: str,
    amount: str,
    entry: str,
    mark: str,
    upnl: str,
    price: str,
    side: str = "BOTH",
    wallet: str | None = None,
) -> dict[str, str]:
    return {
        "symbol": symbol, "positionAmt": amount, "entryPrice": entry, "markPrice": mark, "unRealizedProfit": upnl,
        "liquidationPrice": price, "leverage": "10", "marginType": "isolated" if wallet else "cross",
        "isolatedMargin": "0" if wallet is None else str(float(wallet) + float(upnl)), "isolatedWallet": wallet or "0",
        "positionSide": side,
    }  # fmt: skip


def _aster_positions(rows: list[dict[str, str]]) -> bytes:
    return line("aster", rows, request="/fapi/v3/positionRisk")


def _aster_brackets(brackets: dict[str, tuple[str, str]]) -> bytes:
    answer = [
        {
            "symbol": symbol,
            "brackets": [
                {"bracket": 1, "initialLeverage": 10, "notionalCap": 1e12, "notionalFloor": 0,
                 "maintMarginRatio": float(rate), "cum": float(cum)}
            ],
        }
        for symbol, (rate, cum) in brackets.items()
    ]  # fmt: skip
    return line("aster", answer, request="/fapi/v3/leverageBracket")


def _aster_contracts(*symbols: str) -> bytes:
    rows: list[dict[str, Any]] = [
        {
            "symbol": symbol, "contractType": "PERPETUAL", "baseAsset": symbol.removesuffix("USDT"), "quoteAsset": "USDT",
            "marginAsset": "USDT", "status": "TRADING", "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.01"}],
        }
        for symbol in symbols
    ]  # fmt: skip
    return line("aster", {"symbols": rows}, request="/fapi/v3/exchangeInfo", public=True)
