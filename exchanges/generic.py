"""Any other exchange through ccxt, behind the same questions as the native venues; optional: ``pip install perpwire[ccxt]``.

Owns one ccxt instance per account (its credentials and caches are the instance's). Its watchers are never believed: they keep
positions that were closed (a flip leaves both sides, a watched symbol that closes is never told), so that what they say is only
the reason to ask ``fetch_positions`` now, which is asked on a timer anyway. What an exchange can do is asked (``has``, exactly
True) and declared; a missing ability is an error that names it. Nothing is computed that the adapter does not know for certain:
margins and liquidation prices are the exchange's own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from exchanges.backoff import Backoff
from exchanges.clock import Clock, sleep_until
from exchanges.errors import AuthFailed, NotFound, ProtocolViolation, Rejected, Retryable, VenueError
from exchanges.events import AccountMode, Event, OpenOrders, PositionsSnapshot
from exchanges.inquiry import Findings
from exchanges.unified import SCOPE, Reader
from exchanges.venue import AccountSpec

_ABILITIES = ("fetchPositions", "watchPositions", "fetchBalance", "fetchOpenOrders", "fetchMyTrades", "fetchOrder")
_ADDRESS = re.compile(r"\w+://\S+")
_SECRET = re.compile(r"(?i)\b(\w*(?:sign|key|secret|token|passphrase|password)\w*)([\"']?\s*[=:]\s*[\"']?)[^\s\"'&,}]+")
_PRICE_POLL_S = 2.0
_BACKOFF = Backoff(base_s=0.5, cap_s=30.0)
_RATE_PAUSE_S = 10.0
_ATTEMPTS = 3
_EMPTY_TICKERS = 3  # answers without any mark in a row, before the next way is tried
_CLOCK = "clock"  # the code of a refusal for our time

# Amounts of fetchFundingHistory have the sign that each exchange gives them, and a ledger's types are each exchange's own.
_NOT_TOLD = (
    "through ccxt the past has trades alone, of symbols that are known to have been held: no funding, no transfers"
)

T = TypeVar("T")


class Generic:
    """One account of one exchange; the same questions as ``exchanges.inquiry.Inquirer``, and watchers.

    Args:
        exchange: A ccxt.pro instance of this account's own.
        news: Called when a watcher says that something changed: ask for the state soon.
        sink: Takes prices.
        random: Returns uniform fractions in [0, 1), for jitter.
    """

    def __init__(
        self,
        spec: AccountSpec,
        exchange: Any,
        clock: Clock,
        *,
        news: Callable[[], None] = lambda: None,
        sink: Callable[[Sequence[Event]], None] = lambda events: None,
        random: Callable[[], float] = lambda: 0.5,
    ) -> None:
        exchange.timeout_on_exit = 0  # ccxt would wait a quarter of a second, ``close`` has nothing left to wait for
        exchange.number = str  # figures stay the digits that the exchange sent
        self.exchange = exchange
        self._spec, self._clock, self._news, self._sink, self._random = spec, clock, news, sink, random
        self._read = Reader(spec.name, spec.venue, spec.env)
        self._turn = asyncio.Lock()
        self._wanted: frozenset[str] = frozenset()
        self._changed = asyncio.Event()  # other marks are wanted
        self._stopped = asyncio.Event()
        self._unlisted: set[str] = set()  # contracts that the exchange does not list, though it tells of them
        self._refused: set[str] = set()  # abilities that were declared and are none

    def has(self, name: str) -> bool:
        """Say whether the exchange has an ability: exactly True ('emulated' and None are no), and not refused when asked."""
        return self.exchange.has.get(name) is True and name not in self._refused

    # --- Questions -----------------------------------------------------------------------------------------------------

    async def audit(self) -> Findings:
        """Load the contracts and declare what can be read. Raises Rejected where positions cannot."""
        if not self.has("fetchPositions"):
            raise Rejected(self._spec.venue, "ccxt has no fetchPositions for it: its positions cannot be read")
        asked_at = self._clock.now_ms()
        async with self._turn:
            await self._load(again=True)
        return Findings(
            asked_at=asked_at,
            events=(
                *self._read.instruments(),
                AccountMode(account=self._spec.name, mode=f"ccxt {self._spec.venue}", computable=False),
            ),
            flaws=tuple(self._limits()),
        )

    async def state(self) -> Findings:
        """Ask for positions, balances and open orders, as far as the exchange has them.

        Raises:
            VenueError: One of them has no answer, or holds a row that cannot be read: it is never left out of a full list.
        """
        async with self._turn:
            await self._load()
            asked_at = self._clock.now_ms()
            news: list[Event] = []
            rows = await self._ask("fetch_positions")
            if unlisted := self._understood(
                lambda: self._unlisted_in(rows)
            ):  # listed since: its size and kind are not known yet
                await self._load(again=True)
                self._unlisted |= unlisted
                news += self._read.instruments()
                asked_at = self._clock.now_ms()
                rows = await self._ask("fetch_positions")
            positions = self._understood(lambda: self._read.positions(rows))
            news.append(PositionsSnapshot(account=self._spec.name, scope=SCOPE, positions=positions, asked_at=asked_at))
            if self._mark_way() is None:  # then marks come with the positions alone
                news += self._understood(lambda: self._read.marks(rows, timed=False))
            if self.has("fetchBalance"):
                balance = await self._ask("fetch_balance")
                news.append(self._understood(lambda: self._read.balance(balance, asked_at)))
            if self.has("fetchOpenOrders"):
                news += await self._open_orders()
        return Findings(events=tuple(news), asked_at=asked_at)

    async def history(self, since_ms: int, symbols: Sequence[str]) -> Findings:
        """Ask for our trades of those symbols since then: one page of each, as long as the exchange makes it."""
        asked_at = self._clock.now_ms()
        if not self.has("fetchMyTrades"):
            why = "ccxt has no fetchMyTrades here: causes stay unknown"
            return Findings(events=(), asked_at=asked_at, flaws=(why,), whole=False)
        events: list[Event] = []
        flaws: list[str] = []
        async with self._turn:
            await self._load()
            for symbol in symbols:
                rows = await self._ask("fetch_my_trades", self._read.unified(symbol), since_ms)
                fills, unread = self._understood(partial(self._read.fills, rows))
                events += fills
                flaws += unread
        # Trades have no profit in ccxt's form, and payments are not among them.
        return Findings(events=tuple(events), asked_at=asked_at, flaws=tuple(flaws), whole=False)

    async def records(self, since_ms: int, until_ms: int, symbols: Sequence[str]) -> AsyncIterator[Findings]:
        """Ask for our trades of those symbols in a window, and yield what each page brought; never whole.

        Raises:
            Rejected: ccxt has no fetchMyTrades for this exchange.
        """
        if not self.has("fetchMyTrades"):
            raise Rejected(self._spec.venue, "ccxt has no fetchMyTrades for it: its past cannot be read")
        yield Findings(events=(), asked_at=self._clock.now_ms(), flaws=(_NOT_TOLD,), whole=False)
        async with self._turn:
            await self._load()
        for symbol in symbols:
            async for found in self._trades(symbol, since_ms, until_ms):
                yield found

    async def _trades(self, symbol: str, since_ms: int, until_ms: int) -> AsyncIterator[Findings]:
        """Ask page after page from the last trade's moment on, until one brings nothing later or goes beyond the window."""
        asked_at, start = self._clock.now_ms(), since_ms
        if not self._read.lists(symbol):
            flaw = f"{symbol} is not listed any more: its past cannot be asked for"
            yield Findings(events=(), asked_at=asked_at, flaws=(flaw,), whole=False)
            return
        while start < until_ms:
            async with self._turn:
                rows = await self._ask("fetch_my_trades", self._read.unified(symbol), start)
            fills, flaws = self._understood(partial(self._read.fills, rows))
            inside = tuple(fill for fill in fills if since_ms <= fill.at < until_ms)
            yield Findings(events=inside, asked_at=asked_at, flaws=flaws, whole=False)
            latest = max((fill.at for fill in fills), default=start)
            if latest <= start:
                return
            start = latest

    async def order(self, symbol: str, order_id: str) -> Findings:
        """Ask for one order. Raises NotFound where there is none, Rejected where the exchange has no such question."""
        if not self.has("fetchOrder"):
            raise Rejected(self._spec.venue, "ccxt has no fetchOrder for it")
        asked_at = self._clock.now_ms()
        async with self._turn:
            await self._load()
            row = await self._ask("fetch_order", order_id, self._read.unified(symbol))
        return Findings(events=self._understood(lambda: self._read.orders([row])), asked_at=asked_at)

    async def free(self, ccy: str) -> Findings:
        """Find nothing: ccxt knows what is free from balances alone."""
        return Findings(events=(), asked_at=self._clock.now_ms())

    def position_scope(self, symbol: str) -> str:
        """Return the scope whose list would hold a position of a symbol; one that is never asked where that is not certain.

        Raises:
            Rejected: No such contract is listed, as far as the contracts were loaded (``state`` does).
        """
        family = self._read.family(symbol)
        return SCOPE if family in self._certain() else " ".join(family)

    # --- Watching ------------------------------------------------------------------------------------------------------

    def want(self, symbols: Iterable[str]) -> None:
        """State the symbols whose marks are wanted from now on."""
        wanted = frozenset(symbols)
        if wanted != self._wanted:
            self._wanted = wanted
            self._changed.set()

    def stop(self) -> None:
        """Let ``run`` end."""
        self._stopped.set()

    async def close(self) -> None:
        """Release every connection; after ``run`` and all questions have ended."""
        await self._call(self.exchange.close)

    async def run(self) -> None:
        """Watch until stopped or cancelled; what cannot be watched is asked for by the rounds alone."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._prices())]
            tasks += [group.create_task(self._watch(name)) for name in ("watchPositions", "watchMyTrades")]
            await self._stopped.wait()
            for task in tasks:
                task.cancel()

    async def _watch(self, ability: str) -> None:
        """Take every update as news; the state itself is asked."""
        attempt = 0
        while self.has(ability):
            try:
                await self._call(getattr(self.exchange, _snake(ability)))
            except AuthFailed:
                return  # the rounds say so
            except Rejected:
                self._refused.add(ability)
            except VenueError as error:
                await self._pause(attempt, error)
                attempt += 1
            else:
                attempt = 0
                self._news()

    async def _prices(self) -> None:
        """Bring marks of the wanted symbols, by the first way that brings any; anew when others are wanted."""
        while True:
            self._changed.clear()
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._follow(self._wanted))
                await self._changed.wait()
                following.cancel()

    async def _follow(self, wanted: frozenset[str]) -> None:
        """Hand on marks until there is no way left that brings any: then they come with the positions alone."""
        attempt = empty = 0
        while wanted:
            way = self._mark_way()
            if way is None:
                return
            try:
                await self._load()
                marks = await self._marks(way, wanted)
            except Rejected:
                self._refused.add(way)
                continue
            except VenueError as error:
                await self._pause(attempt, error)
                attempt += 1
                continue
            attempt, empty = 0, 0 if marks else empty + 1
            if marks:
                self._sink(marks)
            elif empty >= _EMPTY_TICKERS:
                self._refused.add(way)
                empty = 0
            if way.startswith("fetch"):
                await self._sleep(_PRICE_POLL_S)

    def _mark_way(self) -> str | None:
        return next((name for name in _MARK_WAYS if self.has(name)), None)

    async def _marks(self, way: str, wanted: frozenset[str]) -> Sequence[Event]:
        names = [self._read.unified(symbol) for symbol in sorted(wanted) if self._read.lists(symbol)]
        if not names:
            return ()
        rows = await self._call(lambda: getattr(self.exchange, _snake(way))(names))
        return self._understood(lambda: self._read.marks(rows.values()))

    async def _pause(self, attempt: int, error: VenueError) -> None:
        delay_s = _BACKOFF.delay_s(attempt, self._random())
        await self._sleep(max(delay_s, (isinstance(error, Retryable) and error.after_s) or 0.0))

    async def _sleep(self, seconds: float) -> None:
        await sleep_until(self._clock, self._clock.now_ms() + round(1000 * seconds))

    # --- Inside --------------------------------------------------------------------------------------------------------

    async def _load(self, *, again: bool = False) -> None:
        """Have the contracts; ``again``: as they are listed now."""
        await self._retried(lambda: self.exchange.load_markets(again))
        self._understood(lambda: self._read.learn(self.exchange.markets))

    def _unlisted_in(self, rows: Sequence[Mapping[str, Any]]) -> set[str]:
        return {str(row.get("symbol")) for row in rows if not self._read.knows(row)} - self._unlisted

    async def _open_orders(self) -> Sequence[Event]:
        asked_at = self._clock.now_ms()
        try:
            rows = await self._ask("fetch_open_orders")
        except Rejected:  # some ports want a symbol: then there is no complete list, and none is claimed
            self._refused.add("fetchOpenOrders")
            return ()
        orders = self._understood(lambda: self._read.orders(rows, listed=True))
        return (OpenOrders(account=self._spec.name, scope=SCOPE, orders=orders, asked_at=asked_at),)

    def _certain(self) -> frozenset[tuple[str, str]]:
        """Return the families of contracts that ccxt's list of positions certainly holds: its default one, or the only one."""
        families = self._read.families()
        settle = str(self.exchange.options.get("defaultSettle") or "USDT").upper()
        return families if len(families) == 1 else families & {("linear swap", settle)}

    def _limits(self) -> Iterable[str]:
        """Yield what cannot be read here, in words."""
        yield "ccxt does not say what a key may do: make sure that this one can only read"  # no KeyInfo: nothing is known
        missing = sorted(name for name in _ABILITIES if not self.has(name))
        if missing:
            yield f"ccxt has no {', '.join(missing)} here"
        uncertain = sorted({form for form, _ in self._read.families() - self._certain()})
        if uncertain:
            yield f"ccxt does not say whether its list of positions holds every kind of contract: {', '.join(uncertain)}"

    async def _ask(self, method: str, *args: object) -> Any:
        return await self._retried(lambda: getattr(self.exchange, method)(*args))

    async def _retried(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again what may pass, a bounded number of times; a rate limit is for the caller to wait for.

        A clock that is off is set by the exchange's, where ccxt knows how.
        """
        for attempt in range(_ATTEMPTS - 1):
            try:
                return await self._call(ask)
            except Retryable as error:
                if error.after_s is not None:
                    raise
            except AuthFailed as error:
                if error.code != _CLOCK or attempt:
                    raise
                await self._call(self.exchange.load_time_difference)
            await self._sleep(_BACKOFF.delay_s(attempt, self._random()))
        return await self._call(ask)

    async def _call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask ccxt; its errors become ours, by whose fault they are."""
        try:
            return await ask()
        except Exception as error:  # noqa: BLE001 - sorted by class below; a port's own bugs come out as any exception
            raise self._sorted(error) from None

    def _understood(self, read: Callable[[], T]) -> T:
        """Read an answer; one of another shape than ccxt's is the exchange's or the port's violation."""
        try:
            return read()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ProtocolViolation(self._spec.venue, f"ccxt's answer cannot be read: {type(error).__name__}") from None

    def _sorted(self, error: Exception) -> VenueError:
        """Return our error for one of ccxt's."""
        import ccxt

        venue, what = self._spec.venue, f"{type(error).__name__}: {self._safe(str(error))}"
        match error:
            case ccxt.RateLimitExceeded() | ccxt.DDoSProtection():
                return Retryable(venue, what, after_s=_RATE_PAUSE_S)
            case ccxt.InvalidNonce():
                return AuthFailed(venue, what, code=_CLOCK, do="Set this machine's clock (NTP)")
            case ccxt.OperationFailed() | OSError() | TimeoutError():
                return Retryable(venue, what)
            case ccxt.OrderNotFound():
                return NotFound(venue, what)
            case ccxt.AuthenticationError() | ccxt.AccountSuspended():
                return AuthFailed(venue, what, do="Check key, secret, passphrase and the key's permissions")
            case ccxt.ExchangeError():
                return Rejected(venue, what)
        return ProtocolViolation(venue, f"ccxt failed: {what}")

    def _safe(self, told: str) -> str:
        """Return a text without what must not be told: addresses (signatures stand in queries) and the account's own secrets."""
        told = _SECRET.sub(r"\1\2…", _ADDRESS.sub("…", told))
        login = self._spec.credentials
        for secret in (login.key, login.secret, login.passphrase) if login else ():
            told = told.replace(secret, "…") if secret else told
        return told[:300]


# The ways to marks, best first. What a way brings without a mark is no mark: there is no falling back to a last price.
_MARK_WAYS = ("watchMarkPrices", "watchTickers", "fetchMarkPrices", "fetchFundingRates")


def _snake(ability: str) -> str:
    """Return ccxt's name of the method of an ability."""
    return re.sub(r"([A-Z])", lambda found: f"_{found[1].lower()}", ability)
