"""What distinguishes Bybit, as data: hosts, paths, topics, limits, words, and what each refusal means.

Owns no logic. Source: Bybit v5 API documentation (guide, error codes, WebSocket connect and topic pages) unless a line says
otherwise; "seen live" marks what is only known from captured messages.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from exchanges.events import Cause, ContractType, Kind, OrderSide, Side, TransferKind
from exchanges.venue import Endpoints

NAME: Final = "bybit"

# --- Hosts ----------------------------------------------------------------------------------------------------------

_WS: Final = "wss://stream.bybit.com"
_WS_TESTNET: Final = "wss://stream-testnet.bybit.com"

# A key works only on the domain that it was made for (else 10003). ``None`` is the global site. Where Bybit names no
# regional stream host (nl, ae, and the private stream of eu) the global one is used.
HOSTS: Final[dict[tuple[str, str | None], Endpoints]] = {
    ("live", None): Endpoints("https://api.bybit.com", _WS, _WS),
    ("live", "bytick"): Endpoints("https://api.bytick.com", _WS, _WS),
    ("live", "nl"): Endpoints("https://api.bybit.nl", _WS, _WS),
    ("live", "tr"): Endpoints("https://api.bybit.tr", "wss://stream.bybit.tr", "wss://stream.bybit.tr"),
    ("live", "kz"): Endpoints("https://api.bybit.kz", "wss://stream.bybit.kz", "wss://stream.bybit.kz"),
    ("live", "ge"): Endpoints(
        "https://api.bybitgeorgia.ge", "wss://stream.bybitgeorgia.ge", "wss://stream.bybitgeorgia.ge"
    ),
    ("live", "ae"): Endpoints("https://api.bybit.ae", _WS, _WS),
    ("live", "eu"): Endpoints("https://api.bybit.eu", "wss://stream.bybit.eu", "wss://stream.bybit.eu"),
    ("live", "id"): Endpoints("https://api.bybit.id", "wss://stream.bybit.id", "wss://stream.bybit.id"),
    ("live", "jp"): Endpoints("https://api.manepa.jp", "wss://stream.manepa.jp", "wss://stream.manepa.jp"),
    ("testnet", None): Endpoints("https://api-testnet.bybit.com", _WS_TESTNET, _WS_TESTNET),
    ("testnet", "jp"): Endpoints("https://api-testnet.manepa.jp", _WS_TESTNET, _WS_TESTNET),
    # Demo trading has no public stream of its own (404): the mainnet's is documented as the one to use.
    ("demo", None): Endpoints("https://api-demo.bybit.com", _WS, "wss://stream-demo.bybit.com"),
}
PRIVATE_PATH: Final = "/v5/private"
PUBLIC_PATH: Final = "/v5/public/"  # one public socket per category; the category is known from the URL alone

# --- REST -----------------------------------------------------------------------------------------------------------

PUBLIC_PREFIXES: Final = ("/v5/market/", "/v5/spot-margin-trade/collateral")
ACCOUNT_INFO: Final = "/v5/account/info"
POSITION_LIST: Final = "/v5/position/list"
WALLET_BALANCE: Final = "/v5/account/wallet-balance"
TRANSFERABLE: Final = "/v5/account/withdrawal"
INSTRUMENTS_INFO: Final = "/v5/market/instruments-info"
RISK_LIMIT: Final = "/v5/market/risk-limit"
COLLATERAL_RATIOS: Final = "/v5/spot-margin-trade/collateral"
TABLES_EVERY_MS: Final = 6 * 3_600_000  # margin tiers and collateral ratios change every few weeks, by announcement
SERVER_TIME: Final = "/v5/market/time"
KEY_INFO: Final = "/v5/user/query-api"
OPEN_ORDERS: Final = "/v5/order/realtime"
ORDER_HISTORY: Final = "/v5/order/history"
EXECUTIONS: Final = "/v5/execution/list"
TRANSACTIONS: Final = "/v5/account/transaction-log"
CLOSED_PNL: Final = "/v5/position/closed-pnl"

RECV_WINDOW_MS: Final = 5_000  # accepted: server − window <= timestamp < server + 1 s
POSITIONS_PAGE: Final = 200  # the maximum; the default of 20 would truncate
ORDERS_PAGE: Final = 50
EXECUTIONS_PAGE: Final = 100
TRANSACTIONS_PAGE: Final = 50
CLOSED_PAGE: Final = 100
INSTRUMENTS_PAGE: Final = 1_000
MAX_PAGES: Final = 200  # a cursor that never ends is a protocol violation, not a reason to ask for ever
MAX_TRADES: Final = 200_000  # entries of the log that wait for their executions: of one window
HISTORY_WINDOW_MS: Final = 7 * 86_400_000  # the longest span of one history question
RECORDS_WINDOW_MS: Final = 6 * 86_400_000  # shorter, so that a question for a window is told from one that goes on
# Two years; a window that begins before is refused, and the boundary moves on while a long past is read.
RECORDS_REACH_MS: Final = 729 * 86_400_000
CLOSED_CATEGORIES: Final = ("linear", "inverse")  # of the closed PnL
DERIVATIVES: Final = (*CLOSED_CATEGORIES, "option")
OPTION_BASES: Final = (
    "BTC",
    "ETH",
    "SOL",
)  # executions of options are listed by base coin: BTC alone where none is named
# Together these lists hold every position and order of derivatives: linear ones are listed per settle coin, and forgetting one
# hides what it holds.
SCOPES: Final = ("linear:USDT", "linear:USDC", "inverse", "option")
MODE_POLL_MS: Final = 60_000  # a change of margin mode has no event of its own
MODE_DOUBT_MS: Final = 5_000  # ... but what it changes elsewhere is reason to ask at once, at most this often

# --- Streams --------------------------------------------------------------------------------------------------------

LOGIN_VALID_MS: Final = 10_000  # ``expires`` must lie ahead of the server's clock; stamped when the frame is sent
PING_EVERY_S: Final = 20.0
SILENT_AFTER_S: Final = 50.0  # two pings and a half unanswered
MAX_ARGS_CHARS: Final = 21_000  # total length of the args of one public connection
TOPICS_PER_FRAME: Final = 50  # linear has no limit; one bad topic fails its whole request, so requests stay small
MAX_PENDING: Final = 1_000  # requests without an answer that are remembered
MAX_BUFFERED: Final = 5_000  # position legs and wallet messages kept while REST is asked
MARK_REPEAT_MS: Final = 1_000  # an unchanged mark is confirmed at most this often

# Never ``dcp``: subscribing it arms the cancellation of the user's orders when this connection is lost.
PRIVATE_TOPICS: Final = ("position", "wallet", "execution", "order")
# Known, and of no use here: a frame of another topic than these and the parsed ones is reported as malformed.
OTHER_TOPICS: Final = frozenset({"greeks", "execution.fast"})


class Category(NamedTuple):
    """A public socket: ``table``: its contracts are listed at once (options by the thousand: one by one, as they are wanted);
    ``tiers``: it has margin tiers; ``per_frame``: topics in one subscribe request."""

    table: bool
    tiers: bool
    per_frame: int


TOPICS_PER_SPOT_FRAME: Final = 10
CATEGORIES: Final[dict[str, Category]] = {
    "linear": Category(table=True, tiers=True, per_frame=TOPICS_PER_FRAME),
    "inverse": Category(table=True, tiers=True, per_frame=TOPICS_PER_FRAME),
    "option": Category(table=False, tiers=False, per_frame=TOPICS_PER_FRAME),
}
SPOT: Final = "spot"
# Any pair of a coin carries its dollar index; of several, the one quoted in the first of these (else any) is watched.
PREFERRED_QUOTES: Final = ("USDT", "USDC", "EUR")

# --- Words ----------------------------------------------------------------------------------------------------------

# "None" is what classic accounts sent for an empty hedge leg (seen live, 2023).
SIDES: Final[dict[str, Side | None]] = {"Buy": "long", "Sell": "short", "": None, "None": None}
POSITION_STATUSES: Final[dict[str, Cause | None]] = {"Normal": None, "": None, "Liq": "liquidation", "Adl": "adl"}

CROSS: Final = "REGULAR_MARGIN"
ISOLATED: Final = "ISOLATED_MARGIN"
PORTFOLIO: Final = "PORTFOLIO_MARGIN"
MARGIN_MODES: Final = frozenset({CROSS, ISOLATED, PORTFOLIO})
POOL: Final = "USD"  # the unified account is one pool, kept in US dollars
# Statuses of accounts (unified 1.0) whose inverse contracts live in an account of their own, with a pool per coin.
INVERSE_APART: Final = frozenset({3, 4})

ORDER_SIDES: Final[dict[str, OrderSide]] = {"Buy": "buy", "Sell": "sell"}
POSITION_SIDES: Final[dict[int, Side | None]] = {0: None, 1: "long", 2: "short"}
# Triggered is documented as the instant between Untriggered and New: the order lives on.
ORDER_STATUSES: Final[dict[str, bool]] = {
    **dict.fromkeys(("New", "PartiallyFilled", "Untriggered", "Triggered", "Created"), True),
    **dict.fromkeys(("Rejected", "PartiallyFilledCanceled", "Filled", "Cancelled", "Deactivated"), False),
}
NO_WORDS: Final = frozenset({"", "UNKNOWN", "None"})  # what Bybit writes where an order has no such word
# Orders are taken away to free margin before a liquidation begins.
LIQUIDATION_CANCELS: Final = frozenset({"CancelByPrepareLiq", "CancelAllBeforeLiq"})

FUNDING: Final = "Funding"
EXECUTION_TYPES: Final[dict[str, Cause]] = {
    "Trade": "trade",
    "BlockTrade": "trade",
    "FutureSpread": "trade",
    "MovePosition": "trade",  # between the user's own accounts, at a price
    "AdlTrade": "adl",
    "BustTrade": "liquidation",
    "Delivery": "settlement",
    "Settle": "settlement",
    "SessionSettlePnL": "settlement",
    "CorporateAction": "adjustment",
}
# The order's origin decides where the execution itself is an ordinary trade (laddered liquidation).
CREATE_TYPES: Final[dict[str, Cause]] = {
    "CreateByLiq": "liquidation",
    "CreateByTakeOver_PassThrough": "liquidation",
    "CreateByAdl_PassThrough": "adl",
    "CreateBySettle": "settlement",
}
# Of the transaction log: types that name a cause; the money of these comes with the executions.
LOG_CAUSES: Final[dict[str, Cause]] = {
    "DELIVERY": "settlement",
    "LIQUIDATION": "liquidation",
    "ADL": "adl",
}
LOG_TRADE: Final = "TRADE"
LOG_SETTLEMENT: Final = "SETTLEMENT"  # funding, and in USDC contracts the session's settlement beside it
# Transfers by the first part of the type that occurs here; any other type is "other", in the venue's word.
LOG_TRANSFERS: Final[tuple[tuple[str, TransferKind], ...]] = (
    ("BONUS", "bonus"),
    ("AIRDROP", "bonus"),
    ("FEE_REFUND", "rebate"),
    ("INTEREST", "interest"),
    ("CURRENCY_", "conversion"),
    ("CONVERT", "conversion"),
    ("IDN_CONVERT", "conversion"),
    ("SPOT_REPAYMENT", "conversion"),
    ("TRANSFER_", "transfer"),
    ("PEF_TRANSFER", "transfer"),
    ("INSTITUTION_LOAN_TRANSFER", "transfer"),
)

CONTRACT_TYPES: Final[dict[str, tuple[Kind, ContractType]]] = {
    "LinearPerpetual": ("perp", "linear"),
    "LinearFutures": ("future", "linear"),
    "InversePerpetual": ("perp", "inverse"),
    "InverseFutures": ("future", "inverse"),
}
INSTRUMENT_STATUSES: Final = {"Trading": "live"}  # any other status is passed on in the venue's own word, lower case

# --- Refusals -------------------------------------------------------------------------------------------------------


class Refusal(NamedTuple):
    """What a code means. ``fault``: who has to act (see ``exchanges.errors``); ``do`` is for the operator."""

    fault: Literal["auth", "rejected", "retry", "absent"]
    what: str
    do: str | None = None
    after_s: float | None = None


READ_ONLY_HELP: Final = (
    "Make one at Bybit under Account, API, Create New Key: choose Read-Only, tick Contract (orders and positions) and Unified "
    "Trading, and bind it to this machine's IP address (else it expires after 90 days)"
)
CLOCK_DO: Final = "Synchronise this machine's clock (NTP); Bybit accepts 5 s late but only 1 s ahead"
KEY_DO: Final = (
    "Check the key, and that its environment matches `env` and `region`: keys of live, demo and testnet, and of Bybit's "
    "regional sites, are different keys and work on their own hosts alone"
)
SECRET_DO: Final = (
    "Check the secret: copy it again from Bybit, or make a new key (of a self-generated RSA key the secret is the private "
    "key file)"
)
EXPIRED: Final = Refusal(
    "auth", "the API key has expired", "Make a new key (a key without bound IP address expires after 90 days)"
)
IP_BAN_S: Final = 600.0

RETCODES: Final[dict[int, Refusal]] = {
    -2015: EXPIRED,
    -1: Refusal("retry", "the request was out of date when it arrived", CLOCK_DO),
    429: Refusal("retry", "the server is under high load"),
    10000: Refusal("retry", "the server timed out"),
    10001: Refusal("rejected", "a parameter is wrong"),
    10002: Refusal("auth", "the request is outside the server's time window", CLOCK_DO),
    10003: Refusal("auth", "the API key is not valid here", KEY_DO),
    10004: Refusal("auth", "the signature is wrong", SECRET_DO),
    10005: Refusal(
        "auth", "the key lacks a permission", "Give the key read permission for orders, positions and the wallet"
    ),
    10006: Refusal("retry", "too many requests for this user", None, 1.0),
    10007: Refusal("auth", "user authentication failed", KEY_DO),
    10008: Refusal(
        "auth", "the account is banned or of another kind", "Check the account's mode, or contact Bybit support"
    ),
    10009: Refusal(
        "auth", "Bybit does not serve this region", "Set `region` to the site of the account, or contact Bybit support"
    ),
    10010: Refusal("auth", "this IP address is not bound to the key", "Add this machine's public IP to the key"),
    10016: Refusal("retry", "the server failed"),
    10017: Refusal("rejected", "the path is unknown"),
    10018: Refusal("retry", "too many requests from this IP address", None, IP_BAN_S),
    10024: Refusal("auth", "compliance rules forbid this account", "See the message, or contact Bybit support"),
    10027: Refusal("auth", "trading is banned for this account", "Contact Bybit support"),
    10028: Refusal(
        "auth", "only unified accounts are supported here", "Upgrade the account to a unified trading account"
    ),
    10029: Refusal("rejected", "the symbol is not in the key's whitelist"),
    10032: Refusal("rejected", "demo trading does not support this request"),
    10429: Refusal("retry", "system protection: too many requests"),
    33004: EXPIRED,
    110001: Refusal("absent", "the order does not exist"),
    170143: Refusal("absent", "the order cannot be found"),
    170213: Refusal("absent", "the order does not exist"),
    500011: Refusal(
        "auth", "the user has no unified trading account", "Upgrade the account to a unified trading account"
    ),
    3100197: Refusal("retry", "the account is being upgraded to a unified one", None, 60.0),
}

# Login replies without a code: the first text that occurs in the lower-cased message decides.
LOGIN_TEXTS: Final[tuple[tuple[str, str, Refusal], ...]] = (
    (
        "params error",
        "params_error",
        # Seen live when ``expires`` had passed (after a laptop's sleep): the next login is stamped anew.
        Refusal("retry", "the login was out of date when it arrived (or malformed)", CLOCK_DO),
    ),
    ("key has expired", "33004", EXPIRED),
    ("expire", "expired", Refusal("retry", "the login was out of date when it arrived", CLOCK_DO)),
    ("timestamp", "10002", Refusal("auth", "the login is outside the server's time window", CLOCK_DO)),
    ("sign", "10004", RETCODES[10004]),
    ("unmatched ip", "10010", RETCODES[10010]),
    ("permission", "10005", RETCODES[10005]),
    ("usvc1111", "10003", RETCODES[10003]),
    ("key", "10003", RETCODES[10003]),
)
REPEATED_LOGIN: Final = 20001  # already logged in: harmless
