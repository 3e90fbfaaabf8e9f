"""The seam between Perpwire and a venue: what a venue is, and what one connection to it must be able to do.

Owns the interfaces and the plain data that cross them. Never does I/O. A venue is a package with tables (hosts, topics,
quirks with their source), ``sign``, ``build`` and ``parse``, all pure, behind one ``Venue`` and one ``Link`` per connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from exchanges.events import Event

Data = str | bytes


class Credentials(msgspec.Struct, frozen=True):
    """Secrets of one key. Its repr shows no secret, so that no log or traceback ever can."""

    key: str
    secret: str
    passphrase: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(key={self.key[:4]}…, secret=…)"


class Endpoints(msgspec.Struct, frozen=True):
    """Base addresses without a trailing slash: ``https://…`` and ``wss://…``; paths belong to links and requests."""

    rest: str
    ws_public: str
    ws_private: str


class AccountSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One configured account: what a venue needs to speak for it."""

    name: str
    venue: str
    env: Literal["live", "demo", "testnet"] = "live"
    region: str | None = None
    credentials: Credentials | None = None
    address: str | None = None
    dexes: tuple[str, ...] | None = (
        None  # Hyperliquid: which dexes besides the main one; None: all where it holds something
    )


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One REST question as plain data; ``path`` includes the query exactly as it is sent (signatures cover it).

    ``body`` is the exact text of a POST or PUT, else None. ``weight`` counts against the venue's limit. ``headers`` are added
    by ``Link.sign``, which may add to path and body too. ``host``: another base address of the venue than ``Endpoints.rest``.
    ``patient``: it leaves room in the venue's limits for whoever cannot wait.
    """

    path: str
    host: str | None = None
    method: Literal["GET", "POST", "PUT"] = "GET"
    body: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    weight: int = 1
    signed: bool = False
    patient: bool = False


Feature = Literal[
    "login",  # the private stream is logged in with a signature
    "position_stream",  # position changes are pushed by the event (not only as a periodic full state)
    "order_stream",
    "fill_stream",
    "funding_stream",  # each funding payment is pushed
    "liquidation_cause",  # a liquidation can be told from a trade
    "adl_cause",
    "settlement",  # what ends or is delisted is closed by the venue, which says so
    "dated_futures",  # futures with an expiry are listed
    "inverse",
    "options",
    "key_permissions",  # the venue says what a key may do
    "currency_prices",
    "start_position",  # fills state the size before them
    "refusals",  # a subscription of what does not exist is refused, rather than confirmed and silent
    "end_notice",  # the planned end of a connection is announced
    "collateral_tiers",  # how much of each currency counts as collateral is public
    "unified_accounts",  # one balance of a token may back all that is settled in it, and its pool can be rebuilt
]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue can do; declared, never guessed.

    Attributes:
        rest_weight: In any ``rest_period_s``, at most ``rest_burst`` of it at once, per host and IP address: the documented
            limit, with a margin. ``path_limits``: how many questions of a path in ``rest_period_s``, of those that the venue
            counts each for itself. ``key_weight`` likewise per key and ``key_period_s``; None: the venue counts no keys.
        verify_every_s: How often the whole state of an account may be asked for verification.
        records_window_s: The longest window that the venue's books may be asked for at once (``Link.records``).
        records_reach_s: How far back they can be asked for; None: to the beginning.
        unrecorded: Scopes of positions (``Venue.position_scope``) whose closings are in no record of realised PnL (``ClosedPnl``).
        frame_stamp: Patterns of the venue's own id of a private frame, and of its time (ms), near the beginning of the frame.
        stream_users: How many accounts the venue streams to one IP address; those beyond are polled. None: no such limit.
    """

    needs_credentials: bool
    position_snapshot_on_subscribe: bool
    hedge_mode: bool
    mark_time: bool
    rest_weight: int = 20
    rest_period_s: float = 2.0
    rest_burst: int = 10
    path_limits: Mapping[str, int] = {}
    key_weight: int | None = None
    key_period_s: float = 1.0
    verify_every_s: float = 10.0
    records_window_s: float = 7 * 86_400.0
    records_reach_s: float | None = None
    unrecorded: frozenset[str] = frozenset()
    frame_stamp: tuple[str | None, str | None] = (None, None)
    stream_users: int | None = None
    features: frozenset[Feature] = frozenset()


# --- Signals: what a link tells its feed. They never reach the engine. -------------------------------------------------


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all signals."""


class LoggedIn(Signal, frozen=True, kw_only=True):
    """The login was accepted: subscribe now."""


class LoginRefused(Signal, frozen=True, kw_only=True):
    """The login was refused. ``retry`` is False where only the operator can help; ``what`` and ``do`` are for humans."""

    code: str
    what: str
    do: str
    retry: bool = False


class Subscribed(Signal, frozen=True, kw_only=True):
    """These topics are confirmed."""

    topics: tuple[str, ...]


class SubscribeRefused(Signal, frozen=True, kw_only=True):
    """These topics are refused. ``permanent``: do not ask again on this or a later connection."""

    topics: tuple[str, ...]
    code: str
    what: str
    permanent: bool


class Heard(Signal, frozen=True, kw_only=True):
    """These topics brought something; needed only for topics that ``Link.watch`` names."""

    topics: tuple[str, ...]


class ConnectionCount(Signal, frozen=True, kw_only=True):
    """How many connections of this account hold a channel, and the venue's limit."""

    channel: str
    count: int
    limit: int


class Pong(Signal, frozen=True, kw_only=True):
    """The venue answered our ping."""


OUT_OF_REACH = "records"


class Notice(Signal, frozen=True, kw_only=True):
    """The venue announces something; ``reconnect`` asks for a new connection before this one is closed.

    One of the code ``OUT_OF_REACH`` says that records of the window that was asked for cannot be had.
    """

    code: str
    what: str
    reconnect: bool = False


class Ask(Signal, frozen=True, kw_only=True):
    """The link needs this REST answer to go on (a further page, a refresh): fetch it and call ``Link.answer``."""

    request: HttpRequest


class Refresh(Signal, frozen=True, kw_only=True):
    """The link's protocol state is not to be trusted any more (a gap): reconnect."""

    why: str


class Malformed(Signal, frozen=True, kw_only=True):
    """A message that could not be understood: counted, shown with its reason, skipped."""

    what: str


Output = Event | Signal


class Link(Protocol):
    """One connection's dialect: pure translation with protocol state only. A new one is made for every connection.

    The feed calls, in this order: ``login`` (when ``needs_login``) → on ``LoggedIn`` (or at once) ``subscribe(topics())``
    → when every topic is confirmed, the requests of ``bootstrap()`` are fetched and given to ``answer``. From the first
    frame on every received frame goes to ``receive``. The feed is live when all topics are settled and ``ready`` is True.
    """

    connection: str  # "private", "public", "linear", …: unique among the links of an account or venue
    url: str
    polled: bool  # there is no stream (``url`` is ""): the account is read by ``state`` alone
    needs_login: bool
    ping_every_s: float  # a ping is due when nothing was *sent by the server* for this long
    silent_after_s: float  # with nothing received for this long the connection is dead

    @property
    def ready(self) -> bool:
        """True when every initial state (snapshots, bootstrap answers) has arrived and was emitted."""

    def prepare(self) -> list[HttpRequest]:
        """Return what must be asked before connecting (a listen key); ``url`` is read once ``answer`` had all of it."""

    def login(self, now_ms: int) -> str:
        """Return a freshly signed login frame; ``now_ms`` is true wall-clock time."""

    def topics(self) -> tuple[str, ...]:
        """Return the topics that this connection always needs."""

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return the topics that bring marks and funding rates of those symbols and dollar prices of those currencies, as far
        as this connection is the one for them."""

    def watch(self) -> Mapping[str, float]:
        """Return the topics that bring something at least this often (seconds, with a margin), however quiet the market.

        A confirmed one that stays silent for longer is dead though its connection lives: the feed replaces the connection
        (a topic of ``topics()``) or subscribes it again (a wanted one). ``receive`` says ``Heard`` for each.
        """

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that subscribe those topics, split to the venue's limits."""

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the frames that unsubscribe those topics."""

    def ping(self) -> str:
        """Return the heartbeat frame."""

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one received frame; ``at`` is the receive time.

        Never raises on bad input: what cannot be understood becomes ``Malformed`` and the connection lives on.
        """

    def bootstrap(self) -> list[HttpRequest]:
        """Return what must be asked by REST once subscribed, in order."""

    def audit(self) -> list[HttpRequest]:
        """Return what says who the account is and what its key may do: mode, role, permissions. Answers bring ``KeyInfo``.

        ``answer`` raises AuthFailed where only the operator can help (an agent's address).
        """

    def state(self) -> list[HttpRequest]:
        """Return what the whole present state is asked with: positions of every scope, open orders, balances.

        Used for verification, from a link that has no stream; the first question settles what the others need (the mode).
        """

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return what brings fills, funding payments, transfers and causes since then, oldest first where there is a choice.

        ``symbols`` are those in question, for venues that answer by symbol alone.
        """

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return what brings the account's books of one window, ``since_ms`` ≤ time < ``until_ms``: every fill, funding payment and
        transfer, and the venue's own realised PnL (``ClosedPnl``); further pages come by ``Ask``.

        The window is at most ``Capabilities.records_window_s`` long. ``symbols``: those that are known to have been held, for
        venues that answer by symbol alone; what else the venue names is asked too. What lies farther back than the venue
        answers is a ``Notice`` of the code ``OUT_OF_REACH`` (``records_reach_s``).
        """

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Return the question for one order, open or done. Its answer is one ``Order`` or nothing: it does not exist."""

    def free(self, ccy: str) -> list[HttpRequest]:
        """Return the question for the free amount of a currency where balances do not say it; empty: they do.

        Its answer is one ``FreeBalance``.
        """

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate a successful REST answer (``Venue.check`` passed it).

        Raises:
            ProtocolViolation: The answer is not what the venue documents. It is never read as "flat".
        """

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request with authentication headers; unchanged where it needs none."""

    def closed(self, code: int | None, reason: str) -> LoginRefused | None:
        """Say whether a close code means that only the operator can help (e.g. key deleted); None: reconnect."""


LinkFactory = Callable[[], Link]


class Venue(Protocol):
    """A venue: tables and factories. All methods are pure."""

    name: str
    capabilities: Capabilities
    read_only_help: str  # how to make a read-only key at this venue, one sentence

    def sites(self) -> tuple[tuple[str, str | None], ...]:
        """Return every (env, region) that ``endpoints`` knows."""

    def time_request(self) -> HttpRequest | None:
        """Return the public question for the venue's clock; None where it has none."""

    def read_time(self, body: bytes) -> int:
        """Return the venue's clock (ms) from that answer. Raises ProtocolViolation."""

    def endpoints(self, env: str, region: str | None) -> Endpoints:
        """Return the hosts. Raises Rejected, naming the known values, for an unknown env or region."""

    def private_links(self, account: AccountSpec, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the account's connections by name. Raises AuthFailed where a credential is missing or malformed."""

    def public_links(self, env: str, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the connections that bring marks and instruments of this environment, shared by all its accounts."""

    def position_scope(self, symbol: str) -> str:
        """Return the scope whose full list (``PositionsSnapshot``) would hold a position of a symbol, by its name.

        Raises Rejected where no symbol of this venue is of that form.
        """

    def is_public(self, request: HttpRequest) -> bool:
        """Say whether a public link answers this question (instruments, tiers) rather than a private one."""

    def check(self, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Return when the answer is a success.

        Raises:
            Retryable | Rejected | NotFound | AuthFailed: By the venue's documented codes; the message says what to do.
        """
