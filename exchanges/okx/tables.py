"""OKX as data: hosts, paths, channels, limits and the documented codes with what a human should do about them.

Source, unless a line says otherwise: OKX v5 docs (overview, trading account, public data, error code; 2026-07 edition).
Never does anything.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from exchanges.events import Kind
from exchanges.venue import Endpoints

NAME = "okx"

WS_PUBLIC_PATH = "/ws/v5/public"
WS_PRIVATE_PATH = "/ws/v5/private"

# Region → environment → hosts. The demo site shares the REST host and differs by a header. Docs overview; the sub-domain
# of a region is that of the site an account was opened at (eea: my.okx.com, us: app.okx.com incl. Australia, tr: tr.okx.com).
HOSTS: dict[str, dict[str, Endpoints]] = {
    "global": {
        "live": Endpoints("https://openapi.okx.com", "wss://ws.okx.com:8443", "wss://ws.okx.com:8443"),
        "demo": Endpoints("https://openapi.okx.com", "wss://wspap.okx.com:8443", "wss://wspap.okx.com:8443"),
    },
    "eea": {
        "live": Endpoints("https://eea.okx.com", "wss://wseea.okx.com:8443", "wss://wseea.okx.com:8443"),
        "demo": Endpoints("https://eea.okx.com", "wss://wseeapap.okx.com:8443", "wss://wseeapap.okx.com:8443"),
    },
    "us": {
        "live": Endpoints("https://us.okx.com", "wss://wsus.okx.com:8443", "wss://wsus.okx.com:8443"),
        "demo": Endpoints("https://us.okx.com", "wss://wsuspap.okx.com:8443", "wss://wsuspap.okx.com:8443"),
    },
    # The Turkish pages show the global WebSocket host and no demo site.
    "tr": {"live": Endpoints("https://tr.okx.com", "wss://ws.okx.com:8443", "wss://ws.okx.com:8443")},
}
DEMO_HEADER = ("x-simulated-trading", "1")

# The server closes (4004) after 30 s without a push. A ping after 20 s leaves the pong ten.
PING_EVERY_S = 20.0
SILENT_AFTER_S = 30.0

# One subscribe request: 64 KiB of arguments at most and 480 requests an hour. Few arguments a request keep a refused one
# (whose error carries no argument) easy to name.
ARGS_PER_REQUEST = 40
FAMILIES_PER_REQUEST = 5
# A connection that subscribes nothing for 30 s is closed: this mark is always wanted.
ALWAYS_SYMBOL = "BTC-USDT-SWAP"

# Rows of a page of orders, fills and bills: the most that may be asked for.
PAGE_ROWS = 100
_DAY_MS = 86_400_000
# How far back the quick endpoints reach (three and seven days), less an hour for the time that a question takes.
FILLS_REACH_MS = 3 * _DAY_MS - 3_600_000
BILLS_REACH_MS = 7 * _DAY_MS - 3_600_000
RECORDS_REACH_MS = 90 * _DAY_MS  # "three months": of fills, bills and positions
RECORDS_WINDOW_MS = 7 * _DAY_MS  # the venue names none: a week at a time is a round that ends soon
LATEST_MS = 9_999_999_999_999  # the end of a window that has none
# Types of GET /trade/fills-history, which answers one at a time; EVENTS exist on some sites only and are refused elsewhere.
HISTORY_TYPES = ("SWAP", "FUTURES", "OPTION", "MARGIN", "SPOT")

# Private questions count per user, public ones per address, every endpoint for itself (docs overview, "Rate limits"). No limit
# of all together is documented: this one keeps any number of accounts civil.
REST_WEIGHT, REST_BURST = 60, 30
KEY_WEIGHT = 10

# How many connections of a sub-account may have one private channel (docs, "connection count limit").
MOST_CONNECTIONS = 30

# How long a subscription can be quiet (s): the documented period of its repetitions, several times.
STATE_SILENT_S = 25.0  # positions and account: about every 5 s
MARK_SILENT_S = 35.0  # every 10 s when unchanged
INDEX_SILENT_S = 200.0  # once a minute when unchanged
FUNDING_SILENT_S = 300.0  # every 30 to 90 s

# Position tiers and discount rates change every few weeks, by announcement, within an hour of a morning.
TABLES_EVERY_MS = 6 * 3_600_000

# A snapshot beyond this many rows is not a snapshot of one account.
MAX_ROWS = 20_000

TIME_PATH = "/api/v5/public/time"
CONFIG_PATH = "/api/v5/account/config"
OPEN_ORDERS_PATH = "/api/v5/trade/orders-pending"
ORDER_PATH = "/api/v5/trade/order"
FILLS_PATH = "/api/v5/trade/fills"
FILLS_HISTORY_PATH = "/api/v5/trade/fills-history"
BILLS_PATH = "/api/v5/account/bills"
BILLS_ARCHIVE_PATH = "/api/v5/account/bills-archive"
INDEX_PATH = "/api/v5/market/index-tickers"
BALANCE_PATH = "/api/v5/account/balance"
POSITIONS_HISTORY_PATH = "/api/v5/account/positions-history"
POSITIONS_PATH = "/api/v5/account/positions"
INSTRUMENTS_PATH = "/api/v5/public/instruments"
TIERS_PATH = "/api/v5/public/position-tiers"
DISCOUNTS_PATH = "/api/v5/public/discount-rate-interest-free-quota"
MARK_PRICE_PATH = "/api/v5/public/mark-price"
# How many public questions in 2 s (docs, at each endpoint).
PUBLIC_LIMITS = {TIME_PATH: 10, INSTRUMENTS_PATH: 20, TIERS_PATH: 10, INDEX_PATH: 20, DISCOUNTS_PATH: 2}
PUBLIC_PREFIXES = ("/api/v5/public/", "/api/v5/market/", "/api/v5/system/")

# EVENTS are contracts that pay a fixed amount when something comes true.
KINDS: dict[str, Kind] = {
    "SWAP": "perp",
    "FUTURES": "future",
    "OPTION": "option",
    "MARGIN": "margin",
    "EVENTS": "event",
}
# Every type of instrument that the venue documents; "": what a record is about is no instrument.
INSTRUMENT_TYPES = frozenset({"", "SPOT", *KINDS})
# What the latest close of a position was, by ``type`` of its history.
CLOSES: dict[str, str] = {
    "1": "closed partly",
    "2": "closed",
    "3": "liquidated",
    "4": "liquidated partly",
    "5": "deleveraged partly",
    "6": "deleveraged",
}
# The types whose figures are computed here; the others keep what the venue said.
MODELLED = ("SWAP", "FUTURES")

MODES = {
    "1": "spot mode",
    "2": "futures mode",
    "3": "multi-currency margin mode",
    "4": "portfolio margin mode",
}


READ_ONLY_HELP = (
    "On the site where the account was opened (okx.com, my.okx.com, app.okx.com): Profile, API, Create API key, tick Read "
    "alone, choose a passphrase, and enter this machine's public IP address"
)


class Fault(msgspec.Struct, frozen=True):
    """A documented code: whose fault it is, what it means and what to do. ``after_s``: the venue's window, if any."""

    kind: Literal["auth", "retry", "rejected", "missing"]
    what: str
    do: str | None = None
    after_s: float | None = None


_CLOCK = "The clock of this machine is off by more than 30 s: synchronise it (NTP), then start again"
_KEY = (
    "Check the key, and that it was created on the site of this region and for this environment (live or demo); it may have "
    "been deleted, or have expired: one that may trade or withdraw and is bound to no address does after 14 days without use"
)
_SECRET = "Check the secret that belongs to this key"
_PASSPHRASE = "Check the passphrase: it was chosen when the key was created and is not the account's password"
_ENVIRONMENT = (
    "Set env to the one the key was created for: demo keys work with env: demo only, live keys with env: live"
)
_WAIT = "Nothing to do: the connection is tried again"

# Codes of the WebSocket login. "retry" faults are tried again without a human.
LOGIN_FAULTS: dict[str, Fault] = {
    "50101": Fault("auth", "the key belongs to another environment", _ENVIRONMENT),
    "60004": Fault("auth", "the login's timestamp is not valid", _CLOCK),
    "60005": Fault("auth", "the key is not known", _KEY),
    "60006": Fault("auth", "the login's timestamp has expired", _CLOCK),
    "60007": Fault("auth", "the signature is wrong", _SECRET),
    "60009": Fault("auth", "the login failed", "Check key, secret and passphrase, and that they belong together"),
    "60023": Fault("retry", "too many logins in a short time", _WAIT),
    "60024": Fault("auth", "the passphrase is wrong", _PASSPHRASE),
    "60026": Fault("auth", "login by key and by token were mixed", "Report this: a login frame holds one key only"),
    "60031": Fault("retry", "this connection has logged in already", _WAIT),
    "60032": Fault("auth", "the key does not exist", _KEY),
    "63999": Fault("retry", "the venue failed to log in for an internal reason", _WAIT),
}
NOT_LOGGED_IN = "60011"
UNKNOWN_TOPIC = "60018"
UPGRADE_NOTICE = "64008"
# Refusals of a subscription that a repetition cannot change; every other code may pass when asked again.
PERMANENT_REFUSALS = frozenset(
    {"60008", "60012", "60013", "60018", "60019", "60027", "60028", "60033", "64000", "64001", "64002", "64003"}
)

# Close codes that a human has to act upon.
CLOSE_FAULTS: dict[int, Fault] = {
    4003: Fault(
        "auth",
        "the key is subscribed more than 100 times",
        "Close other programs that use this key, or give each its own",
    ),
    4007: Fault("auth", "the key was changed or deleted", "Enter the new key, secret and passphrase"),
}
CLOSE_LOGIN_FAILED = 4001

_FROZEN = "The account is being liquidated, deleveraged or settled; asked again by itself"
# Codes of REST answers.
REST_FAULTS: dict[str, Fault] = {
    "50001": Fault("retry", "the service is not available (maintenance or overload)", after_s=5.0),
    "50004": Fault("retry", "the venue did not answer in time"),
    "50011": Fault("retry", "the rate limit is reached", after_s=2.0),
    "50013": Fault("retry", "the venue is busy", after_s=2.0),
    "50026": Fault("retry", "the venue has an internal error"),
    "50040": Fault("retry", "this is asked too often", after_s=2.0),
    "50061": Fault("retry", "the sub-account's rate limit is reached", after_s=2.0),
    **{code: Fault("retry", "the account is frozen", _FROZEN, 5.0) for code in ("50009", "50020", "50021", "50022")},
    **{code: Fault("retry", "the account is frozen", _FROZEN, 5.0) for code in ("50017", "50018", "50019", "50023")},
    "50046": Fault("retry", "this is under maintenance", after_s=30.0),
    "50005": Fault("rejected", "the venue has withdrawn this endpoint"),
    "50007": Fault("auth", "the user is frozen", "Ask the venue's support to release the account"),
    "50008": Fault("auth", "the user does not exist", _KEY),
    "50012": Fault("auth", "the account's status does not allow this", "Look at the account on the venue's site"),
    "50041": Fault("auth", "the user is not on the venue's list for this", "Ask the venue's support"),
    "50051": Fault(
        "auth", "not offered in the account's country", "Set region to the site where the account was opened"
    ),
    "50059": Fault("auth", "the regulator asks for a further step", "Log in on the venue's site: it says which"),
    "50060": Fault("auth", "the identity of the account's owner is not verified", "Verify it on the venue's site"),
    "50067": Fault(
        "auth", "the account belongs to another site", "Set region to the site where the account was opened"
    ),
    "50121": Fault("auth", "this address may not use the key", "Add this machine's public IP address to the key"),
    "50100": Fault("auth", "the API is frozen for this account", "Ask the venue's support to release it"),
    "50101": Fault("auth", "the key belongs to another environment", _ENVIRONMENT),
    "50102": Fault("auth", "the request's timestamp has expired", _CLOCK),
    "50103": Fault("auth", "the key is missing", "Configure the key of this account"),
    "50104": Fault("auth", "the passphrase is missing", "Configure the passphrase of this account"),
    "50105": Fault("auth", "the passphrase is wrong", _PASSPHRASE),
    "50106": Fault("auth", "the signature is missing", "Configure the secret of this account"),
    "50107": Fault("auth", "the timestamp is missing", "Report this: every signed request holds one"),
    "50110": Fault("auth", "this address is not on the key's list", "Add this machine's public IP address to the key"),
    "50111": Fault("auth", "the key is not valid", _KEY),
    "50112": Fault("auth", "the request's timestamp is not valid", _CLOCK),
    "50113": Fault("auth", "the signature is wrong", _SECRET),
    "50114": Fault("auth", "the authorisation is not valid", _KEY),
    "50119": Fault("auth", "the key does not exist", _KEY),
    "50120": Fault("auth", "the key may not do this", "Give the key the permission to read"),
    "50030": Fault("auth", "the key may not use this endpoint", "Give the key the permission to read"),
    "50035": Fault(
        "auth", "this endpoint needs a key bound to an address", "Bind the key to this machine's public IP address"
    ),
    "50014": Fault("rejected", "a parameter is missing"),
    "50038": Fault("rejected", "this is not offered on the demo site"),
    "51603": Fault("missing", "there is no such order"),
    "51001": Fault(
        "rejected", "the instrument does not exist", "Check its name, and that it is listed in this environment"
    ),
}
