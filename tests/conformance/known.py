"""What the cases have to know of each venue: its enumerations, and which captured messages cannot be read, and why. Tables."""

from __future__ import annotations

import re

# Fields whose values are words of a closed list at the venue.
ENUMS: dict[str, frozenset[str]] = {
    "okx": frozenset(
        {"mgnMode", "posSide", "ctType", "instType", "side", "state", "ordType", "category", "execType", "eventType", "subType",
         "acctLv", "posMode"}
    ),
    "bybit": frozenset(
        {"side", "positionStatus", "execType", "orderStatus", "createType", "category", "contractType", "marginMode", "type",
         "orderType", "topic", "status"}
    ),
    "hyperliquid": frozenset({"channel", "side", "dir", "type", "status", "role", "abstraction", "marginMode"}),
    "aster": frozenset(
        {"e", "m", "mt", "ps", "S", "X", "x", "o", "positionSide", "marginType", "side", "status", "type", "incomeType",
         "contractType"}
    ),
}  # fmt: skip

# Captured files by name, and the text of what is unreadable in them.
UNREADABLE: dict[str, str] = {
    # a reply that the source put before the message, of another program's request
    "ws-position/nautechsystems_nautilus_trader__ws_account_position_with_open_time": "unknown reply",
    # the acknowledgement of an order, on a connection that places orders
    "ws-private-sequence/textindex-71646491371__SOLUSDT_open_UTA_cross": "unknown reply 'order.create'",
    # topics that lost a part of their symbol in the source
    "ws-tickers/JKorf_Bybit.Net__Subscriptions_V5_Option_Ticker": "BTC-6JAN23-17500-C",
    "ws-tickers/thrasher-corp_gocryptotrader__wsTicker": "BTCUSDT",
    # fills of 2023, before they had an id
    "rest-userFills/hyperliquid-dex_hyperliquid-python-sdk__test_get_user_fills_e5c9d39_0": "missing required field `tid`",
}

# The currency that a venue's dollar prices are in, which has no price there.
DOLLARS = {"hyperliquid": "USDC"}

# Objects whose fields are a list of what there is: a further one is a further thing (a permission, an event), not a detail.
MAPS = {"bybit": frozenset({"permissions"}), "hyperliquid": frozenset({"data"})}

# Figures that are sums of several that were sent, and how such messages look.
SUMS = {("Fill.fee", "bybit"): re.compile(r'"extraFees":\s*("[^"]|\[\{)')}
