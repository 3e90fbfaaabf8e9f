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


class HttpRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One REST question as plain data; ``path`` includes the query exactly as it is sent (signatures cover it).

    ``body`` is the exact text of a POST, else None. ``weight`` counts against the venue's limit. ``headers`` are added
    by ``Link.sign``.
    """

    path: str
    method: Literal["GET", "POST"] = "GET"
    body: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    weight: int = 1
    signed: bool = False


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue can do; declared, never guessed.

    ``rest_weight`` in any ``rest_period_s``, at most ``rest_burst`` of it at once: the documented limit, with a margin.
    """

    needs_credentials: bool
    position_snapshot_on_subscribe: bool
    hedge_mode: bool
    mark_time: bool
    rest_weight: int = 20
    rest_period_s: float = 2.0
    rest_burst: int = 10


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


class Pong(Signal, frozen=True, kw_only=True):
    """The venue answered our ping."""


class Notice(Signal, frozen=True, kw_only=True):
    """The venue announces something; ``reconnect`` asks for a new connection before this one is closed."""

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
    needs_login: bool
    ping_every_s: float  # a ping is due when nothing was *sent by the server* for this long
    silent_after_s: float  # with nothing received for this long the connection is dead

    @property
    def ready(self) -> bool:
        """True when every initial state (snapshots, bootstrap answers) has arrived and was emitted."""

    def login(self, now_ms: int) -> str:
        """Return a freshly signed login frame; ``now_ms`` is true wall-clock time."""

    def topics(self) -> tuple[str, ...]:
        """Return the topics that this connection always needs."""

    def price_topics(self, symbols: Iterable[str]) -> tuple[str, ...]:
        """Return the topics that bring marks of those symbols, as far as this connection is the one for them."""

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

    def endpoints(self, env: str, region: str | None) -> Endpoints:
        """Return the hosts. Raises Rejected, naming the known values, for an unknown env or region."""

    def private_links(self, account: AccountSpec, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the account's connections by name. Raises AuthFailed where a credential is missing or malformed."""

    def public_links(self, env: str, endpoints: Endpoints) -> Mapping[str, LinkFactory]:
        """Return the connections that bring marks and instruments of this environment, shared by all its accounts."""

    def is_public(self, request: HttpRequest) -> bool:
        """Say whether a public link answers this question (instruments, tiers) rather than a private one."""

    def check(self, request: HttpRequest, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Return when the answer is a success.

        Raises:
            Retryable | Rejected | AuthFailed: By the venue's documented codes; the message says what to do.
        """
