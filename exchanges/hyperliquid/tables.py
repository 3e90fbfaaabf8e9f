"""Hyperliquid as data: hosts, weights, channels, account modes, limits, and the quirks with their source.

Owns every constant of the venue. Never builds, parses or decides. Sources: Hyperliquid docs (API: info endpoint, WebSocket,
rate limits; trading: margin tiers, liquidations, account abstraction modes), the official Python SDK, and captured messages.
"""

from __future__ import annotations

import re

from exchanges.events import Cause
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

# Weight of an info request against 1,200 a minute and address; everything not named weighs 20. Lists of records weigh 20 and one
# for 20 items: counted here as a page of 500, and what follows a full page as another full one (docs, rate limits).
WEIGHTS = {
    "allMids": 2,
    "clearinghouseState": 2,
    "exchangeStatus": 2,
    "l2Book": 2,
    "orderStatus": 2,
    "spotClearinghouseState": 2,
    "userFillsByTime": 45,
    "userFunding": 45,
    "userNonFundingLedgerUpdates": 45,
    "userRole": 60,
    "userTwapSliceFillsByTime": 45,
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
        "allMids",
        "bbo",
        "candle",
        "l2Book",
        "notification",
        "post",
        "trades",
        "twapStates",
        "userHistoricalOrders",
        "userTwapHistory",
    }
)

# What one account costs a connection, of its own since two of these channels do not say whose they are:
#
#   allDexsClearinghouseState, spotState, webData3                     the whole state every 4 to 5 s
#   openOrders                                                         one a dex that is configured, and the main one
#   userFills, userTwapSliceFills, userFundings, userEvents,
#   userNonFundingLedgerUpdates, orderUpdates                          when something happens
#
# 10 subscriptions with the main dex, so that 8 accounts need 80 of the 1,000 that one IP address may have, beside 8 of its 10
# connections and 8 of its 10 users. The two connections that remain are for prices (one is used, one is for its successor).
USER_TOPICS = (
    "allDexsClearinghouseState",
    "spotState",
    "webData3",
    "userFills",
    "userTwapSliceFills",
    "userFundings",
    "userNonFundingLedgerUpdates",
    "userEvents",
    "orderUpdates",
)
INITIAL = ("allDexsClearinghouseState", "spotState", "webData3")  # what a connection is not live without
STREAM_USERS = 8
# Measured: each comes every 4 to 5 s, changed or not. Marks of several hundred coins do not all stand still for longer.
STATES_WITHIN_S = 20.0
PERIODIC = frozenset({"allDexsClearinghouseState", "spotState", "webData3", "openOrders"})
MARKS_WITHIN_S = 30.0
# Contexts of single coins that one connection subscribes at most: what is left of 1,000 by 8 accounts with many dexes.
MAX_CONTEXTS = 700

# What REST costs, of 1,200 a minute and address: a round of verification asks 10 dexes for positions (2 each), spot balances (2)
# and open orders of the main dex and of one other that holds something (20 each): 42 to 62. Eight streamed accounts every
# 30 s need 700 to 1,000; a polled one 90 to 125 more.
VERIFY_EVERY_S = 30.0
MOST_DEXES = 20  # of those that seem to hold nothing, in one round: mainnet has about ten, testnet more than a hundred
# The mode decides what the money of a state means, and costs 20 to ask; webData3 tells streamed accounts at once.
MODE_EVERY_MS = 300_000
# "Responses that take a time range will only return 500 elements or distinct blocks of data" (docs, info endpoint); some kinds
# return 2,000. A page of this size or more may not be the last one; ``FULL``: of those that certainly are cut at another size.
PAGE = 500
FULL = {"userFillsByTime": 2_000, "userTwapSliceFillsByTime": 2_000}
# "Only the 10000 most recent fills are available" (docs, info endpoint: userFillsByTime).
FILLS_REACHABLE = 10_000
# Nothing bounds a window; a month is a handful of pages for most accounts, and is read anew where it was broken off.
RECORDS_WINDOW_S = 30 * 86_400.0
HISTORY = ("userFillsByTime", "userTwapSliceFillsByTime", "userFunding", "userNonFundingLedgerUpdates")

# Directions of fills, for display by the docs and an open set: those that are trades, those that name another cause, and the
# beginning of those of a liquidated user ("Liquidated Cross Long").
TRADES = frozenset(
    {
        "Open Long",
        "Open Short",
        "Close Long",
        "Close Short",
        "Long > Short",
        "Short > Long",
        "Buy",
        "Sell",
        "Spot Dust Conversion",
    }
)
CAUSES: dict[str, Cause] = {"Auto-Deleveraging": "adl", "Settlement": "settlement"}
LIQUIDATED = "Liquidated"

# An open set of order statuses, told by their endings (docs, info endpoint: order status).
OPEN = frozenset({"open", "triggered"})
ENDED = frozenset({"filled"})
ENDINGS = ("anceled", "ejected", "Cancel")

DOLLAR = "USDC"  # what the venue means by "usdc" and "usd"; its prices of spot tokens are in it too
DOLLAR_TOKEN = 0

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
SHARED_MODES = frozenset({"unifiedAccount", "portfolioMargin"})  # pools span dexes
COMPUTABLE_MODES = STANDARD_MODES | {"unifiedAccount"}
# A spot state has no time of its own. Both kinds of state come in the same round of pushes, every 4 to 5 s, while marks move every
# 3 s: received within this of each other they speak of one moment.
TOGETHER_MS = 1_500
KNOWN_MODES = STANDARD_MODES | SHARED_MODES | {"dexAbstraction"}
ROLES = frozenset({"user", "vault", "subAccount"})  # beside "agent" and "missing", which need words

# Names of collateral tokens by their index in spotMeta, where they are known beforehand; others are asked for.
COLLATERAL = {"live": {0: "USDC", 235: "USDE", 268: "USDT0", 360: "USDH"}, "testnet": {0: "USDC"}}

# Margin tables below this id are not listed in meta: they have one tier whose maximum leverage is the id (live captures).
IMPLICIT_TABLES_BELOW = 50

# Bounds on what a frame may make us hold. Mainnet has about ten dexes, testnet more than a hundred; a frame of all marks is
# about 30 KB inflated.
MAX_DEXES = 1024
MAX_INFLATED_BYTES = 8 * 1024 * 1024
# A dex that the venue stopped mentioning, a universe that no longer fits: asked for at most this often; and again when a
# question was given up unanswered.
ASK_AGAIN_MS = 10_000
FORGOTTEN_MS = 120_000
MAX_STRANGE = 1_000  # coins without a contract for which the contracts are asked again
# Funding payments that wait for the collateral of their dex.
MAX_WAITING = 5_000
