"""Hyperliquid as data: hosts, weights, channels, account modes, limits, and the quirks with their source.

Owns every constant of the venue. Never builds, parses or decides. Sources: Hyperliquid docs (API: info endpoint, WebSocket,
rate limits; trading: margin tiers, liquidations, account abstraction modes), the official Python SDK, and captured messages.
"""

from __future__ import annotations

import re

from exchanges.venue import Endpoints

NAME = "hyperliquid"

# One host serves REST and both kinds of WebSocket data; there are no regions (docs, API: servers).
HOSTS = {
    "live": Endpoints(
        rest="https://api.hyperliquid.xyz",
        ws_public="wss://api.hyperliquid.xyz",
        ws_private="wss://api.hyperliquid.xyz",
    ),
    "testnet": Endpoints(
        rest="https://api.hyperliquid-testnet.xyz",
        ws_public="wss://api.hyperliquid-testnet.xyz",
        ws_private="wss://api.hyperliquid-testnet.xyz",
    ),
}
WS_PATH = "/ws"
INFO_PATH = "/info"

# The server closes a socket on which *it* sent nothing for 60 s; a ping every 25 s keeps quiet ones open (docs, WebSocket:
# timeouts and heartbeats).
PING_EVERY_S = 25.0
SILENT_AFTER_S = 60.0

# Weight of an info request against 1,200 a minute and address; everything not named weighs 20 (docs, rate limits).
WEIGHTS = {
    "allMids": 2,
    "clearinghouseState": 2,
    "exchangeStatus": 2,
    "l2Book": 2,
    "orderStatus": 2,
    "spotClearinghouseState": 2,
    "userRole": 60,
}
DEFAULT_WEIGHT = 20

# Info requests that ask nothing about a user: a public link answers them.
PUBLIC_INFO = frozenset(
    {
        "allMids",
        "allPerpMetas",
        "exchangeStatus",
        "fundingHistory",
        "l2Book",
        "marginTable",
        "meta",
        "metaAndAssetCtxs",
        "perpDexs",
        "spotMeta",
        "spotMetaAndAssetCtxs",
    }
)

# Channels that exist and that nothing here reads. allMids is among them on purpose: it carries mids, and a mid is never a
# mark (docs, robust price indices).
UNREAD_CHANNELS = frozenset(
    {
        "activeAssetData",
        "activeSpotAssetCtx",
        "allMids",
        "bbo",
        "candle",
        "l2Book",
        "notification",
        "openOrders",
        "orderUpdates",
        "post",
        "trades",
        "twapStates",
        "user",
        "userFills",
        "userFundings",
        "userHistoricalOrders",
        "userNonFundingLedgerUpdates",
        "userTwapHistory",
        "userTwapSliceFills",
    }
)

# Old servers greeted with a bare text frame; the SDK still guards against it.
GREETING = "Websocket connection established."

# Error texts that echo what they are about, as JSON behind the prefix; the venue sends no code and no request id.
ALREADY_SUBSCRIBED = "Already subscribed"
ALREADY_UNSUBSCRIBED = "Already unsubscribed"
INVALID_SUBSCRIPTION = "Invalid subscription"
UNKNOWN_SUBSCRIPTION = "Error parsing JSON into valid websocket request"
# The docs say 10 users, a captured error says 15: the server's own number is what is shown.
TOO_MANY_USERS = re.compile(r"Cannot track more than (\d+) total users")

# Modes in which each dex's clearinghouse holds its own collateral, so that its money fields mean what they say. In the
# others (unifiedAccount, portfolioMargin, the legacy dexAbstraction) spot balances back the perps, and "individual perp dex
# user states are not meaningful" (docs, account abstraction modes).
STANDARD_MODES = frozenset({"default", "disabled"})
KNOWN_MODES = STANDARD_MODES | {"unifiedAccount", "portfolioMargin", "dexAbstraction"}
ROLES = frozenset({"user", "vault", "subAccount"})  # beside "agent" and "missing", which need words

# Names of collateral tokens by their index in spotMeta, where they are known beforehand; others are asked for.
COLLATERAL = {"live": {0: "USDC", 235: "USDE", 268: "USDT0", 360: "USDH"}, "testnet": {0: "USDC"}}

# Margin tables below this id are not listed in meta: they have one tier whose maximum leverage is the id (live captures).
IMPLICIT_TABLES_BELOW = 50

# Bounds on what a frame may make us hold. Mainnet has about ten dexes, testnet more than a hundred; a frame of all marks is
# about 30 KB inflated.
MAX_DEXES = 1024
MAX_INFLATED_BYTES = 8 * 1024 * 1024
# A dex that the venue stopped mentioning, a universe that no longer fits: asked for at most this often.
ASK_AGAIN_MS = 10_000
