"""Bybit's private stream of one account, and the questions about it. Pure protocol state.

Owns frames, topics and questions; what pushes and answers mean, and which of them must wait for another, is
``exchanges.bybit.desk``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Raw

from exchanges.bybit import build, history, parse, sign, tables
from exchanges.bybit.acks import Requests
from exchanges.bybit.desk import Desk, Mode
from exchanges.bybit.wire import Frame, decode
from exchanges.errors import ProtocolViolation
from exchanges.venue import Ask, Data, HttpRequest, LoginRefused, Malformed, Output


class PrivateLink:
    """Positions, orders, executions and wallet of one account; see ``exchanges.venue.Link`` for what is called when.

    Args:
        account: The account's name.
        signer: Signs with the account's key.
        url: Address of the private stream.
        demo: Whether it is a demo trading account, whose key cannot be asked about.
    """

    connection = "private"
    polled = False
    needs_login = True
    ping_every_s = tables.PING_EVERY_S
    silent_after_s = tables.SILENT_AFTER_S

    def __init__(
        self, account: str, signer: sign.Signer, url: str, demo: bool = False, mode: Mode | None = None
    ) -> None:
        self.url = url
        self._signer, self._demo = signer, demo
        self._requests = Requests()
        self._desk = Desk(account, mode)

    @property
    def ready(self) -> bool:
        """True when mode, positions of every scope and wallet have been answered."""
        return self._desk.complete

    def prepare(self) -> list[HttpRequest]:
        """Return nothing: the address is known."""
        return []

    def login(self, now_ms: int) -> str:
        """Return a freshly signed login frame: it expires, so it is made when it is sent."""
        return build.login(self._signer, now_ms, self._requests.next_id("auth"))

    def topics(self) -> tuple[str, ...]:
        """Return the topics that this connection always needs."""
        return tables.PRIVATE_TOPICS

    def price_topics(self, symbols: Iterable[str], currencies: Iterable[str] = ()) -> tuple[str, ...]:
        """Return nothing: prices come over the public streams."""
        return ()

    def watch(self) -> Mapping[str, float]:
        """Return nothing: every private topic is silent while nothing happens."""
        return {}

    def subscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the subscribe frames; from here on pushes are held back until REST has answered."""
        self._desk.use = "stream"
        return self._requests.subscribe(topics)

    def unsubscribe(self, topics: Sequence[str]) -> list[str]:
        """Return the unsubscribe frames."""
        return self._requests.unsubscribe(topics)

    def ping(self) -> str:
        """Return the heartbeat frame."""
        return self._requests.ping()

    def sign(self, request: HttpRequest, now_ms: int) -> HttpRequest:
        """Return the request with authentication headers."""
        return sign.sign_request(self._signer, request, now_ms)

    def closed(self, code: int | None, reason: str) -> LoginRefused | None:
        """Return None: Bybit refuses in replies, never by close code."""
        return None

    # --- Questions --------------------------------------------------------------------------------------------------

    def bootstrap(self) -> list[HttpRequest]:
        """Return the questions in order; the margin mode first, since every position's meaning depends on it."""
        self._desk.use = "stream"
        return [build.account_info(), *build.present()]

    def audit(self) -> list[HttpRequest]:
        """Return the questions for margin mode and key. A demo account's key cannot be asked about, and moves no money."""
        self._without_stream()
        return [build.account_info()] if self._demo else [build.account_info(), build.key_info()]

    def state(self) -> list[HttpRequest]:
        """Return the questions for the whole present state, the margin mode first."""
        self._without_stream()
        return [build.account_info(), *build.present(), *(build.open_orders(scope) for scope in tables.SCOPES)]

    def history(self, since_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return the first questions for executions and transactions since then; see ``exchanges.bybit.history``."""
        self._without_stream()
        return history.questions(since_ms, symbols)

    def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> list[HttpRequest]:
        """Return the questions for the books of one window; see ``exchanges.bybit.history``."""
        self._without_stream()
        return history.records(since_ms, until_ms, symbols)

    def find_order(self, symbol: str, order_id: str) -> list[HttpRequest]:
        """Return the question for one order; where the newest ones lack it, the answer asks among all that ended."""
        self._without_stream()
        return [build.find_order(tables.OPEN_ORDERS, parse.category_of(symbol), symbol, order_id)]

    def free(self, ccy: str) -> list[HttpRequest]:
        """Return the question for what could leave the wallet: its ``availableToWithdraw`` is empty in unified accounts."""
        self._without_stream()
        return [build.transferable(ccy)]

    def _without_stream(self) -> None:
        if self._desk.use == "replay":
            self._desk.use = "questions"

    def answer(self, request: HttpRequest, body: bytes, asked_at: int, at: int) -> list[Output]:
        """Translate a successful REST answer.

        Raises:
            ProtocolViolation: Not as documented; it is never read as "flat".
        """
        return self._desk.answer(request, body, asked_at, at)

    # --- Stream -----------------------------------------------------------------------------------------------------

    def receive(self, data: Data, at: int) -> list[Output]:
        """Translate one frame; a row that cannot be understood becomes ``Malformed``, its neighbours stand."""
        try:
            output = self._translate(decode(data, Frame, "a frame"))
        except ProtocolViolation as error:
            output = [Malformed(what=str(error))]
        if self._desk.mode_due(at):
            output.append(Ask(request=build.account_info()))
        return output

    def _translate(self, frame: Frame) -> list[Output]:
        head, _, category = frame.topic.partition(".")
        read = self._desk.readers.get(head)
        if frame.topic in tables.OTHER_TOPICS:
            return []
        if read is not None:
            rows = decode(frame.data, list[Raw], f"data of {frame.topic}")
            pushed_at = frame.creation_time or 0
            return [output for raw in rows for output in read(raw, category, pushed_at)]
        if head:
            raise ProtocolViolation("bybit", f"unknown private topic {frame.topic!r}")
        return [*self._requests.reply(frame)]
