"""What distinguishes Bybit, as data: hosts, paths, topics, limits, words, and what each refusal means.

Owns no logic. Source: Bybit v5 API documentation (guide, error codes, WebSocket connect and topic pages) unless a line says
otherwise; "seen live" marks what is only known from captured messages.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from exchanges.events import ContractType, Kind, Side
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
LINEAR_PATH: Final = "/v5/public/linear"  # one public socket per category; the category is known from the URL alone

# --- REST -----------------------------------------------------------------------------------------------------------

PUBLIC_PREFIX: Final = "/v5/market/"
ACCOUNT_INFO: Final = "/v5/account/info"
POSITION_LIST: Final = "/v5/position/list"
WALLET_BALANCE: Final = "/v5/account/wallet-balance"
INSTRUMENTS_INFO: Final = "/v5/market/instruments-info"
RISK_LIMIT: Final = "/v5/market/risk-limit"

RECV_WINDOW_MS: Final = 5_000  # accepted: server − window <= timestamp < server + 1 s
POSITIONS_PAGE: Final = 200  # the maximum; the default of 20 would truncate
INSTRUMENTS_PAGE: Final = 1_000
MAX_PAGES: Final = 100  # a cursor that never ends is a protocol violation, not a reason to ask for ever
# linear positions are listed per settle coin; forgetting one hides its positions
SETTLE_COINS: Final = ("USDT", "USDC")
MODE_POLL_MS: Final = 60_000  # a change of margin mode has no event of its own

# --- Streams --------------------------------------------------------------------------------------------------------

LOGIN_VALID_MS: Final = 10_000  # ``expires`` must lie ahead of the server's clock; stamped when the frame is sent
PING_EVERY_S: Final = 20.0
SILENT_AFTER_S: Final = 50.0  # two pings and a half unanswered
MAX_ARGS_CHARS: Final = 21_000  # total length of the args of one public connection
TOPICS_PER_FRAME: Final = 50  # linear has no limit; one bad topic fails its whole request, so requests stay small
MAX_PENDING: Final = 1_000  # requests without an answer that are remembered
MAX_BUFFERED: Final = 5_000  # position legs and wallet messages kept while REST is asked
MARK_REPEAT_MS: Final = 1_000  # an unchanged mark is confirmed at most this often

PRIVATE_TOPICS: Final = ("position", "wallet")
# Known, and of no use here: a frame of another topic than these and the parsed ones is reported as malformed.
OTHER_TOPICS: Final = frozenset({"execution", "order", "greeks"})

# --- Words ----------------------------------------------------------------------------------------------------------

# "None" is what classic accounts sent for an empty hedge leg (seen live, 2023).
SIDES: Final[dict[str, Side | None]] = {"Buy": "long", "Sell": "short", "": None, "None": None}
POSITION_STATUSES: Final = frozenset({"Normal", "Liq", "Adl", ""})

CROSS: Final = "REGULAR_MARGIN"
ISOLATED: Final = "ISOLATED_MARGIN"
PORTFOLIO: Final = "PORTFOLIO_MARGIN"
MARGIN_MODES: Final = frozenset({CROSS, ISOLATED, PORTFOLIO})
POOL: Final = "USD"  # the unified account is one pool, kept in US dollars

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

    fault: Literal["auth", "rejected", "retry"]
    what: str
    do: str | None = None
    after_s: float | None = None


CLOCK_DO: Final = "Synchronise this machine's clock (NTP); Bybit accepts 5 s late but only 1 s ahead"
KEY_DO: Final = (
    "Check the key, and that its environment matches `env` and `region`: live, testnet and demo keys are different keys"
)
SECRET_DO: Final = "Check the secret: copy it again from Bybit, or make a new key"
IP_BAN_S: Final = 600.0

RETCODES: Final[dict[int, Refusal]] = {
    10000: Refusal("retry", "the server timed out"),
    10001: Refusal("rejected", "a parameter is wrong"),
    10002: Refusal("auth", "the request is outside the server's time window", CLOCK_DO),
    10003: Refusal("auth", "the API key is not valid here", KEY_DO),
    10004: Refusal("auth", "the signature is wrong", SECRET_DO),
    10005: Refusal("auth", "the key lacks a permission", "Give the key read permission for positions and the wallet"),
    10006: Refusal("retry", "too many requests for this user", None, 1.0),
    10007: Refusal("auth", "user authentication failed", KEY_DO),
    10008: Refusal("auth", "the user is banned", "Contact Bybit support"),
    10009: Refusal("auth", "this IP address is banned", "Ask Bybit support, or connect from another address"),
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
    33004: Refusal("auth", "the API key has expired", "Make a new key (a key without bound IP expires after 90 days)"),
}

# Login replies without a code: the first text that occurs in the lower-cased message decides.
LOGIN_TEXTS: Final[tuple[tuple[str, str, Refusal], ...]] = (
    (
        "params error",
        "params_error",
        # Seen live when ``expires`` had passed (after a laptop's sleep): the next login is stamped anew.
        Refusal("retry", "the login was out of date when it arrived (or malformed)", CLOCK_DO),
    ),
    ("expire", "expired", Refusal("retry", "the login was out of date when it arrived", CLOCK_DO)),
    ("timestamp", "10002", Refusal("auth", "the login is outside the server's time window", CLOCK_DO)),
    ("sign", "10004", RETCODES[10004]),
    ("usvc1111", "10003", RETCODES[10003]),
    ("key", "10003", RETCODES[10003]),
)
REPEATED_LOGIN: Final = 20001  # already logged in: harmless
