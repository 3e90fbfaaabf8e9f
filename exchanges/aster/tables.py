"""What distinguishes Aster, as data: hosts, paths, weights, words, and what each refusal means.

Owns no logic. Source: github.com/asterdex/api-docs (futures API V3 and V1, chain RPC, error codes) unless a line says otherwise.
Aster descends from Binance's USDⓈ-M API of 2021; what its own pages leave open follows Binance's of that time.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from exchanges.events import Cause, TransferKind
from exchanges.venue import Endpoints

NAME: Final = "aster"

# --- Hosts ----------------------------------------------------------------------------------------------------------

# The testnet's market pages name wss://fstream5…, its user-data and depth pages the one used here for both.
HOSTS: Final[dict[str, Endpoints]] = {
    "live": Endpoints("https://fapi.asterdex.com", "wss://fstream.asterdex.com", "wss://fstream.asterdex.com"),
    "testnet": Endpoints(
        "https://fapi.asterdex-testnet.com", "wss://fstream.asterdex-testnet.com", "wss://fstream.asterdex-testnet.com"
    ),
}
INDEX_QUOTE: Final = "USDT"  # what its indices count in: it has no index of a dollar
CHAIN_HOST: Final = "https://tapi.asterdex.com"  # reads by address, without a key; the live network alone
CHAIN_PATH: Final = "/info"
WS_PATH: Final = "/ws"
CHAIN_IDS: Final = {"live": 1666, "testnet": 714}  # of the signature's domain

# --- Questions ------------------------------------------------------------------------------------------------------

Style = Literal["v3", "v1"]  # API wallets (typed-data signatures), or the older API keys (HMAC)
Name = Literal[
    "account", "positions", "dual", "multi", "brackets", "trades", "income", "forced", "orders", "order", "listen", "agents",
    "margins",
]  # fmt: skip


class Question(NamedTuple):
    """One signed question: its path for API wallets, its path for API keys, and its weight."""

    v3: str
    v1: str
    weight: int


QUESTIONS: Final[dict[Name, Question]] = {
    "account": Question("/fapi/v3/accountWithJoinMargin", "/fapi/v4/account", 5),
    "positions": Question("/fapi/v3/positionRisk", "/fapi/v2/positionRisk", 5),
    "dual": Question("/fapi/v3/positionSide/dual", "/fapi/v1/positionSide/dual", 30),
    "multi": Question("/fapi/v3/multiAssetsMargin", "/fapi/v1/multiAssetsMargin", 30),
    "brackets": Question("/fapi/v3/leverageBracket", "/fapi/v1/leverageBracket", 1),
    "trades": Question("/fapi/v3/userTrades", "/fapi/v1/userTrades", 5),
    "income": Question("/fapi/v3/income", "/fapi/v1/income", 30),
    "forced": Question("/fapi/v3/forceOrders", "/fapi/v1/forceOrders", 50),
    "margins": Question("/fapi/v3/positionMargin/history", "/fapi/v1/positionMargin/history", 1),
    "orders": Question("/fapi/v3/openOrders", "/fapi/v1/openOrders", 40),
    "order": Question("/fapi/v3/order", "/fapi/v1/order", 1),
    "listen": Question("/fapi/v3/listenKey", "/fapi/v1/listenKey", 1),
    # Listed in the builder pages alone; answers what each API wallet of the account may do. API keys have no such question.
    "agents": Question("/fapi/v3/agent", "", 1),
}
NAMES: Final[dict[str, Name]] = {
    path: name for name, question in QUESTIONS.items() for path in (question.v3, question.v1) if path
}
TIME: Final = "/fapi/v3/time"
INSTRUMENTS: Final = "/fapi/v3/exchangeInfo"
PUBLIC_PATHS: Final = frozenset({TIME, INSTRUMENTS})

RECV_WINDOW_MS: Final = 5_000  # API keys: server - window <= timestamp < server + 1 s
TRADES_PAGE: Final = 1_000
INCOME_PAGE: Final = 1_000
MARGINS_PAGE: Final = 500
MODE_MS: Final = 120_000  # the multi-assets mode is not asked again before
BRACKETS_MS: Final = 6 * 3_600_000  # how old margin brackets become before they are asked again
FORCED_PAGE: Final = 100
WINDOW_MS: Final = 7 * 24 * 3_600_000  # the longest that one question about trades may cover
CHAIN_ORDERS: Final = 1_000  # the most that one answer lists: a full one may be cut off

# --- Streams --------------------------------------------------------------------------------------------------------

PING_EVERY_S: Final = 20.0  # the server's own ping frames come every 5 minutes, and never reach the application
SILENT_AFTER_S: Final = 60.0
LIVES_MS: Final = 23 * 3_600_000  # a connection is ended after 24 h: leave before
# A listen key lives for 60 minutes from its last extension. Extending it costs nothing, and is the only way to notice that
# another program has ended it: the socket of a dead key stays open and is mute.
EXTEND_MS: Final = 5 * 60_000
REFRESH_MS: Final = (
    1_000  # leverage, liquidation prices and margins are never pushed: asked after a push, at most this often
)
BOOKS_MS: Final = 5_000  # as above, for funding and transfers, which have no id on the stream
# A line of funding has the time of the full hour (seen live), its push that of the booking a little later; a line may be written
# after the push of another one that it is older than. So far back the books are asked.
BOOKS_BACK_MS: Final = 600_000
# The documentation warns that positionRisk lags behind the stream: for so long a push may be newer than an answer.
LAG_MS: Final = 5_000
TOPICS_PER_CONNECTION: Final = 200
TOPICS_PER_FRAME: Final = 50
MARK_SUFFIX: Final = "@markPrice@1s"
MARK_SILENT_S: Final = 15.0
INSTRUMENTS_MS: Final = (
    6 * 3_600_000
)  # the contract table is limited aggressively (seen on the testnet): kept for hours
NEW_SYMBOL_MS: Final = 10 * 60_000  # a symbol that it lacks has it asked again, at most this often
MOST_KEPT: Final = 5_000

SCOPE: Final = "perp"  # one list covers every position, and one every open order
POOL_MULTI: Final = "USD"

# --- Words ----------------------------------------------------------------------------------------------------------

# Margin assets by the end of a symbol's name, longest first; where none fits the stream's ``ma`` tells.
QUOTES: Final = ("USDT", "USDC", "USD1", "BUSD", "USDF", "USD")
ISOLATED: Final = frozenset({"isolated"})
CROSS: Final = frozenset({"cross", "crossed"})  # the margin call spells it CROSSED
OPEN_STATUSES: Final = frozenset({"NEW", "PARTIALLY_FILLED"})
DONE_STATUSES: Final = frozenset({"FILLED", "CANCELED", "REJECTED", "EXPIRED"})
SPECIAL_STATUSES: Final = frozenset({"NEW_INSURANCE", "NEW_ADL"})  # liquidation: open until wholly filled
EXECUTIONS: Final = frozenset({"NEW", "CANCELED", "CALCULATED", "EXPIRED", "TRADE", "AMENDMENT"})
FILLING: Final = frozenset({"TRADE", "CALCULATED"})

# The client order id of what the venue itself closes; the longer prefix first. The third is Binance's (delivery).
FORCED_PREFIXES: Final[tuple[tuple[str, Cause], ...]] = (
    ("settlement_autoclose-", "settlement"),
    ("adl_autoclose", "adl"),
    ("autoclose-", "liquidation"),
)
STATUS_CAUSES: Final[dict[str, Cause]] = {"NEW_INSURANCE": "liquidation", "NEW_ADL": "adl"}

# Reasons of ACCOUNT_UPDATE. Those that name the cause of a position's change:
REASON_CAUSES: Final[dict[str, Cause]] = {
    "FUNDING_FEE": "funding",
    "ADJUSTMENT": "adjustment",
    "INSURANCE_CLEAR": "liquidation",
    "MARGIN_TRANSFER": "margin",
    "MARGIN_TYPE_CHANGE": "margin",
}
# Those that moved money which only the books (income) give an id:
REASON_BOOKED: Final = frozenset(
    {
        "FUNDING_FEE", "DEPOSIT", "WITHDRAW", "WITHDRAW_REJECT", "ADJUSTMENT", "INSURANCE_CLEAR", "ADMIN_DEPOSIT",
        "ADMIN_WITHDRAW", "ASSET_TRANSFER", "OPTIONS_PREMIUM_FEE", "OPTIONS_SETTLE_PROFIT", "AUTO_EXCHANGE",
    }
)  # fmt: skip
REASONS: Final = REASON_BOOKED | {"ORDER", "MARGIN_TRANSFER", "MARGIN_TYPE_CHANGE"}

FUNDING_INCOME: Final = "FUNDING_FEE"
PNL_INCOME: Final = "REALIZED_PNL"
TRADE_INCOME: Final = frozenset({PNL_INCOME, "COMMISSION"})  # said by the fills themselves
# The first, second and last three are documented, the others Binance's. What is not listed is "other", in its own word.
INCOME_KINDS: Final[dict[str, TransferKind]] = {
    "TRANSFER": "transfer",
    "WELCOME_BONUS": "bonus",
    "INTERNAL_TRANSFER": "transfer",
    "CROSS_COLLATERAL_TRANSFER": "transfer",
    "COIN_SWAP_DEPOSIT": "conversion",
    "COIN_SWAP_WITHDRAW": "conversion",
    "AUTO_EXCHANGE": "conversion",
    "DELIVERED_SETTELMENT": "settlement",
    "REFERRAL_KICKBACK": "rebate",
    "COMMISSION_REBATE": "rebate",
    "API_REBATE": "rebate",
    "CONTEST_REWARD": "reward",
    "INSURANCE_CLEAR": "liquidation",
    "MARKET_MERCHANT_RETURN_REWARD": "rebate",
}

# --- Refusals -------------------------------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """What a code means. ``fault``: who has to act (see ``exchanges.errors``); ``do`` is for the operator."""

    fault: Literal["auth", "rejected", "missing", "retry"]
    what: str
    do: str | None = None


CLOCK_DO: Final = "Synchronise this machine's clock (NTP)"
WALLET_DO: Final = (
    "Check that the API wallet is approved for this account at asterdex.com (API wallet, Pro API) and has not expired, that "
    "`address` is the main wallet's, and that `env` is that of the wallet: live and testnet are different"
)
KEY_DO: Final = (
    "Check the key, its bound IP addresses and its permissions, and that it has not expired; keys of the live venue do not work "
    "on the testnet"
)
SIGNATURE_DO: Final = "Check the secret, and that `env` is right: signatures of live and testnet differ"
READ_ONLY: Final = (
    "At asterdex.com, API wallet, Pro API: authorise a new API wallet with spot trading, perpetual trading and withdrawals all "
    "switched off, and configure its address, its private key, and your main wallet's address; or configure the main wallet's "
    "address alone, without any key"
)

NO_LISTEN_KEY: Final = -1125
TOO_MANY: Final = -1003
OUT_OF_TIME: Final = -1021
CODES: Final[dict[int, Refusal]] = {
    -1000: Refusal("retry", "the server failed for an unknown reason"),
    -1001: Refusal("retry", "the server is disconnected"),
    -1002: Refusal("auth", "not authorised", WALLET_DO),
    -1003: Refusal("retry", "too many requests from this IP address (2,400 weight a minute)"),
    -1006: Refusal("retry", "an unexpected answer inside the venue"),
    -1007: Refusal("retry", "the server timed out"),
    -1008: Refusal("retry", "the server is overloaded"),
    -1011: Refusal(
        "auth", "this IP address may not use the API", "Add this machine's public IP address to the API wallet"
    ),
    -1015: Refusal("retry", "too many orders"),
    -1016: Refusal("retry", "the service is shutting down"),
    -1020: Refusal("rejected", "not supported"),
    -1021: Refusal("auth", "the request is outside the server's time window", CLOCK_DO),
    -1022: Refusal("auth", "the signature is wrong", SIGNATURE_DO),
    -1100: Refusal("rejected", "a parameter contains characters that are not allowed"),
    -1102: Refusal("rejected", "a parameter is missing or malformed"),
    -1109: Refusal("auth", "the account is not valid", WALLET_DO),
    -1121: Refusal("rejected", "the symbol does not exist here"),
    -1125: Refusal("retry", "the listen key does not exist any more"),
    -1130: Refusal("rejected", "a parameter is wrong"),
    -2013: Refusal("missing", "the order does not exist"),
    -2014: Refusal("auth", "the API key is malformed", KEY_DO),
    -2015: Refusal("auth", "the key, the address of this machine, or a permission is refused", KEY_DO),
    -2023: Refusal("retry", "the account is being liquidated"),
    -4225: Refusal(
        "retry",
        "the nonce has expired",
        CLOCK_DO
        + ", and give this gateway an API wallet of its own: two programs that sign with one wallet disturb each other",
    ),
    -5050: Refusal(
        "auth",
        "the main wallet has never deposited: Aster answers signed questions only after a first deposit",
        "Deposit once with the main wallet, or configure its `address` alone",
    ),
}
# Texts under codes that say nothing (-1000 mostly): the first that occurs in the lower-cased message decides.
TEXTS: Final[tuple[tuple[str, Refusal], ...]] = (
    ("signature check failed", Refusal("auth", "the signature is wrong", SIGNATURE_DO)),
    ("no agent found", Refusal("auth", "the API wallet is not approved for this account", WALLET_DO)),
    ("agent", Refusal("auth", "the API wallet is refused", WALLET_DO)),
    ("expired", Refusal("auth", "the API wallet or its request has expired", WALLET_DO)),
)
BAN_S: Final = 120.0  # the shortest ban (2 minutes to 3 days)
LONGEST_S: Final = 3 * 24 * 3_600.0
LIMITED_S: Final = 10.0  # where a 429 names no time
