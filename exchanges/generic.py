"""Any other exchange through ccxt, behind the same questions as the native venues; optional: ``pip install perpwire[ccxt]``.

Owns one ccxt instance per account (its credentials and caches are the instance's). Its watchers are never believed: they keep
positions that were closed (a flip leaves both sides, a watched symbol that closes is never told), so that what they say is only
the reason to ask ``fetch_positions`` now, which is asked on a timer anyway. What an exchange can do is asked (``has``, exactly
True) and declared; a missing ability is an error that names it. Nothing is computed that the adapter does not know for certain:
margins and liquidation prices are the exchange's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from exchanges.backoff import Backoff
from exchanges.clock import Clock
from exchanges.errors import AuthFailed, NotFound, ProtocolViolation, Rejected, Retryable, VenueError
from exchanges.events import (
    AccountMode,
    BalanceState,
    CoinBalance,
    Event,
    Fill,
    Instrument,
    KeyInfo,
    Kind,
    MarginMode,
    OpenOrders,
    Order,
    PositionsSnapshot,
    PositionState,
    Price,
    Side,
    position_id,
)
from exchanges.inquiry import Findings
from exchanges.venue import AccountSpec

SCOPE = "all"
POOL = "exchange"  # ccxt does not say what is liquidated together
_KINDS: dict[str, Kind] = {"swap": "perp", "future": "future", "option": "option"}
_ADDRESS = re.compile(r"https?://\S+")
_PRICE_POLL_S = 2.0
_BACKOFF = Backoff(base_s=0.5, cap_s=30.0)
_RATE_PAUSE_S = 10.0

T = TypeVar("T")


def available() -> tuple[str, ...]:
    """Return the exchanges that ccxt can stream; empty where ccxt is not installed."""
    try:
        import ccxt.pro as ccxtpro
    except ImportError:
        return ()
    return tuple(ccxtpro.exchanges)


def connect(spec: AccountSpec) -> Any:
    """Return a ccxt instance for an account.

    Raises:
        Rejected: ccxt is not installed, or does not have that exchange or environment.
    """
    try:
        import ccxt.pro as ccxtpro
    except ImportError:
        do = "Install it: pip install 'perpwire[ccxt]'"
        raise Rejected(spec.venue, "is no venue of Perpwire's own, and ccxt is not installed", do=do) from None
    if spec.venue not in ccxtpro.exchanges:
        raise Rejected(spec.venue, "is neither a venue of Perpwire's own nor an exchange of ccxt")
    options: dict[str, Any] = {"enableRateLimit": True, "newUpdates": True, "options": {"defaultType": "swap"}}
    if spec.credentials is not None:
        options |= {"apiKey": spec.credentials.key, "secret": spec.credentials.secret}
        options |= {"password": spec.credentials.passphrase} if spec.credentials.passphrase else {}
    if spec.address is not None:
        options["walletAddress"] = spec.address
    exchange = getattr(ccxtpro, spec.venue)(options)
    if spec.env != "live":
        try:
            exchange.set_sandbox_mode(True)
        except Exception as error:  # noqa: BLE001 - whatever a port raises here means that it has no such environment
            raise Rejected(spec.venue, f"has no env {spec.env} in ccxt: {type(error).__name__}") from None
    return exchange


class Generic:
    """One account of one exchange; the same questions as ``exchanges.inquiry.Inquirer``, and watchers.

    Args:
        exchange: A ccxt.pro instance of this account's own.
        news: Called when a watcher says that something changed: ask for the state soon.
        sink: Takes prices.
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
        exchange.number = str  # figures stay the digits that the exchange sent
        self.exchange = exchange
        self._spec, self._clock, self._news, self._sink, self._random = spec, clock, news, sink, random
        self._turn = asyncio.Lock()
        self._wanted: frozenset[str] = frozenset()
        self._wants = asyncio.Event()
        self.abilities: dict[str, bool] = {}

    def has(self, name: str) -> bool:
        """Say whether the exchange has an ability: exactly True ('emulated' and None are no)."""
        return self.exchange.has.get(name) is True

    # --- Questions -----------------------------------------------------------------------------------------------------

    async def audit(self) -> Findings:
        """Load the contracts and declare what can be read. Raises Rejected where positions cannot."""
        names = ("fetchPositions", "watchPositions", "fetchBalance", "fetchOpenOrders", "fetchMyTrades", "fetchOrder")
        self.abilities = {name: self.has(name) for name in names}
        if not self.abilities["fetchPositions"]:
            raise Rejected(self._spec.venue, "ccxt has no fetchPositions for it: its positions cannot be read")
        asked_at = self._clock.now_ms()
        async with self._turn:
            await self._call(self.exchange.load_markets)
        missing = sorted(name for name, can in self.abilities.items() if not can)
        return Findings(
            asked_at=asked_at,
            events=(
                *self._instruments(),
                AccountMode(account=self._spec.name, mode=f"ccxt {self._spec.venue}", computable=False),
                KeyInfo(account=self._spec.name, powers=(), label="ccxt does not say what a key may do"),
            ),
            flaws=(f"ccxt has no {', '.join(missing)} here",) if missing else (),
        )

    async def state(self) -> Findings:
        """Ask for positions, balances and open orders, as far as the exchange has them."""
        async with self._turn:
            await self._call(self.exchange.load_markets)  # cached after the first time
            asked_at = self._clock.now_ms()
            flaws: list[str] = []
            rows = await self._call(self.exchange.fetch_positions)
            positions = [state for row in rows for state in self._positions(row, flaws)]
            events: list[Event] = [
                PositionsSnapshot(account=self._spec.name, scope=SCOPE, positions=tuple(positions), asked_at=asked_at)
            ]
            events += [price for row in rows for price in self._marks(row)]
            if self.has("fetchBalance"):
                events.append(self._balance(await self._call(self.exchange.fetch_balance), asked_at))
            if self.has("fetchOpenOrders"):
                events += await self._open_orders(asked_at, flaws)
        return Findings(events=tuple(events), asked_at=asked_at, flaws=tuple(flaws))

    async def history(self, since_ms: int, symbols: Sequence[str]) -> Findings:
        """Ask for our trades of those symbols since then."""
        asked_at = self._clock.now_ms()
        if not self.has("fetchMyTrades"):
            return Findings(
                events=(), asked_at=asked_at, flaws=("ccxt has no fetchMyTrades here: causes stay unknown",)
            )
        fills: list[Event] = []
        async with self._turn:
            for symbol in symbols:
                unified = self._unified(symbol)
                rows = await self._call(partial(self.exchange.fetch_my_trades, unified, since_ms))
                fills += [fill for row in rows if (fill := self._fill(row)) is not None]
        return Findings(events=tuple(fills), asked_at=asked_at)

    async def order(self, symbol: str, order_id: str) -> Findings:
        """Ask for one order. Raises NotFound where there is none, Rejected where the exchange has no such question."""
        if not self.has("fetchOrder"):
            raise Rejected(self._spec.venue, "ccxt has no fetchOrder for it")
        asked_at = self._clock.now_ms()
        async with self._turn:
            row = await self._call(lambda: self.exchange.fetch_order(order_id, self._unified(symbol)))
        return Findings(events=tuple(self._orders([row], [])), asked_at=asked_at)

    # --- Watching ------------------------------------------------------------------------------------------------------

    def want(self, symbols: Iterable[str]) -> None:
        """State the symbols whose marks are wanted from now on."""
        wanted = frozenset(symbols)
        if wanted != self._wanted:
            self._wanted = wanted
            self._wants.set()

    async def run(self) -> None:
        """Watch until cancelled; what cannot be watched is asked for by the rounds alone."""
        watchers = [self._prices()]
        for ability, name in (("watchPositions", "watch_positions"), ("watchMyTrades", "watch_my_trades")):
            if self.has(ability):
                watchers.append(self._watch(name))
        try:
            async with asyncio.TaskGroup() as group:
                for work in watchers:
                    group.create_task(work)
        finally:
            with contextlib.suppress(Exception):  # a port's own failure to close must not hide why we stop
                await self.exchange.close()

    async def _watch(self, name: str) -> None:
        """Take every update as news; the state itself is asked."""
        attempt = 0
        while True:
            try:
                await self._call(getattr(self.exchange, name))
            except (AuthFailed, Rejected):
                return  # the rounds say so; a port that only pretends to have the watcher costs nothing further
            except VenueError:
                await asyncio.sleep(_BACKOFF.delay_s(attempt, self._random()))
                attempt += 1
            else:
                attempt = 0
                self._news()

    async def _prices(self) -> None:
        """Bring marks of the wanted symbols, by the best way that the exchange has."""
        attempt = 0
        while True:
            self._wants.clear()
            if not self._wanted:
                await self._wants.wait()
            try:
                found = await self._marks_once()
            except VenueError:
                await asyncio.sleep(_BACKOFF.delay_s(attempt, self._random()))
                attempt += 1
                continue
            attempt = 0
            if found:
                self._sink(found)

    async def _marks_once(self) -> list[Event]:
        symbols = sorted(self._unified(symbol) for symbol in self._wanted)
        if self.has("watchMarkPrices"):
            tickers = await self._call(lambda: self.exchange.watch_mark_prices(symbols))
        elif self.has("watchTickers"):
            tickers = await self._call(lambda: self.exchange.watch_tickers(symbols))
        elif self.has("fetchMarkPrices"):
            tickers = await self._call(lambda: self.exchange.fetch_mark_prices(symbols))
            await asyncio.sleep(_PRICE_POLL_S)
        else:
            await self._wants.wait()  # marks come with the positions alone
            return []
        return [price for ticker in tickers.values() for price in self._marks(ticker)]

    # --- Translation ---------------------------------------------------------------------------------------------------

    def _instruments(self) -> Iterator[Instrument]:
        for market in self.exchange.markets.values():
            kind = _KINDS.get(market.get("type") or "")
            if kind is None or not market.get("contract"):
                continue
            inverse = bool(market.get("inverse"))
            quanto = market.get("settle") not in (market.get("base"), market.get("quote"))
            yield Instrument(
                venue=self._spec.venue,
                env=self._spec.env,
                symbol=market["id"],
                unified_symbol=market["symbol"],
                base=market["base"],
                quote=market["quote"],
                settle=market["settle"],
                kind=kind,
                contract_type="inverse" if inverse else "quanto" if quanto else "linear",
                contract_size=_text(market.get("contractSize")) or "1",
                contract_ccy=market["quote"] if inverse else market["base"],
                tick_size=_text((market.get("precision") or {}).get("price")),
                expires_at=market.get("expiry"),
                status="live" if market.get("active", True) else "closed",
            )

    def _positions(self, row: Mapping[str, Any], flaws: list[str]) -> Iterator[PositionState]:
        size, symbol = _text(row.get("contracts")), row.get("symbol")
        market = self.exchange.markets.get(symbol)
        if size is None or market is None:
            flaws.append(f"a position without size or of an unknown contract: {symbol}")
            return
        if float(size) == 0:
            return
        side = row.get("side")
        if side not in ("long", "short"):
            flaws.append(f"{symbol}: a position whose side is {side!r}")
            return
        mode: MarginMode | None = row["marginMode"] if row.get("marginMode") in ("cross", "isolated") else None
        # Two margin modes or sides of a symbol may be held at once: what a row does not say does not tell them apart.
        legs = [side] if row.get("hedged") else []
        yield PositionState(
            account=self._spec.name,
            id=position_id(self._spec.name, market["id"], *legs, mode or ""),
            scope=SCOPE,
            symbol=market["id"],
            kind=_KINDS.get(market.get("type") or "", "perp"),
            side=_side(side),
            size=size.lstrip("-"),
            margin_mode=mode,
            pool=POOL,
            venue_at=row.get("timestamp"),
            settle=market.get("settle"),
            entry_price=_text(row.get("entryPrice")),
            leverage=_text(row.get("leverage")),
            mark_price=_text(row.get("markPrice")),
            venue_unrealized_pnl=_text(row.get("unrealizedPnl")),
            venue_notional=_text(row.get("notional")),
            venue_initial_margin=_text(row.get("initialMargin")),
            venue_maintenance_margin=_text(row.get("maintenanceMargin")),
            venue_liquidation_price=_positive(row.get("liquidationPrice")),
            liquidation_known="price" if _positive(row.get("liquidationPrice")) else "unknown",
        )

    def _marks(self, row: Mapping[str, Any]) -> Iterator[Price]:
        market, mark = self.exchange.markets.get(row.get("symbol")), _positive(row.get("markPrice"))
        if market is not None and mark is not None:
            yield Price(
                venue=self._spec.venue,
                env=self._spec.env,
                symbol=market["id"],
                value=mark,
                at=row.get("timestamp"),
            )

    def _balance(self, row: Mapping[str, Any], asked_at: int) -> BalanceState:
        totals, free = row.get("total") or {}, row.get("free") or {}
        coins = tuple(
            CoinBalance(ccy=ccy, total=total, available=_text(free.get(ccy)))
            for ccy, value in sorted(totals.items())
            if (total := _text(value)) is not None and float(total) != 0
        )
        return BalanceState(
            account=self._spec.name,
            scope=SCOPE,
            full=True,
            coins=coins,
            asked_at=asked_at,
            venue_at=row.get("timestamp"),
        )

    async def _open_orders(self, asked_at: int, flaws: list[str]) -> list[Event]:
        try:
            rows = await self._call(self.exchange.fetch_open_orders)
        except Rejected as error:  # some ports want a symbol: then there is no complete list, and none is claimed
            flaws.append(f"open orders: {error.what}")
            return []
        orders = tuple(self._orders(rows, flaws))
        return [OpenOrders(account=self._spec.name, scope=SCOPE, orders=orders, asked_at=asked_at)]

    def _orders(self, rows: Iterable[Mapping[str, Any]], flaws: list[str]) -> Iterator[Order]:
        for row in rows:
            market = self.exchange.markets.get(row.get("symbol"))
            if market is None or row.get("side") not in ("buy", "sell") or not row.get("id"):
                flaws.append(f"an order without id, side or of an unknown contract: {row.get('symbol')}")
                continue
            yield Order(
                account=self._spec.name,
                scope=SCOPE,
                symbol=market["id"],
                order_id=str(row["id"]),
                open=row.get("status") == "open",
                side="buy" if row["side"] == "buy" else "sell",
                type=row.get("type") or "",
                status=row.get("status") or "",
                price=_text(row.get("price")),
                size=_text(row.get("amount")),
                filled=_text(row.get("filled")),
                average_price=_text(row.get("average")),
                reduce_only=row.get("reduceOnly"),
                client_id=row.get("clientOrderId"),
                created_at=row.get("timestamp"),
                updated_at=row.get("lastUpdateTimestamp"),
            )

    def _fill(self, row: Mapping[str, Any]) -> Fill | None:
        market = self.exchange.markets.get(row.get("symbol"))
        size, price = _text(row.get("amount")), _text(row.get("price"))
        if market is None or size is None or price is None or row.get("timestamp") is None:
            return None
        fee = row.get("fee") or {}
        cost = _text(fee.get("cost"))
        parts = (market["id"], str(row.get("id")), str(row.get("order")))
        role = row.get("takerOrMaker")
        return Fill(
            account=self._spec.name,
            id=position_id(self._spec.name, *parts),
            symbol=market["id"],
            order_id=parts[2],
            trade_id=parts[1],
            side="buy" if row.get("side") == "buy" else "sell",
            size=size,
            price=price,
            at=row["timestamp"],
            fee=None if cost is None else _turned(cost),  # ccxt: + is paid
            fee_ccy=fee.get("currency"),
            role="maker" if role == "maker" else "taker" if role == "taker" else None,
        )

    def _unified(self, symbol: str) -> str:
        found = self.exchange.markets_by_id.get(symbol) or []
        if not found:
            raise Rejected(self._spec.venue, f"lists no {symbol}")
        unified: str = (found[0] if isinstance(found, list) else found)["symbol"]
        return unified

    async def _call(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask ccxt; its errors become ours, by whose fault they are."""
        try:
            return await ask()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - sorted by class below; a port's own bugs come out as any exception
            raise _sorted(self._spec.venue, error) from None


def _sorted(venue: str, error: Exception) -> VenueError:
    """Return our error for one of ccxt's; its text loses every address, since signatures stand in queries."""
    import ccxt

    what = f"{type(error).__name__}: {_ADDRESS.sub('…', str(error))[:300]}"
    match error:
        case ccxt.RateLimitExceeded() | ccxt.DDoSProtection():
            return Retryable(venue, what, after_s=_RATE_PAUSE_S)
        case ccxt.InvalidNonce():
            return AuthFailed(venue, what, do="Set this machine's clock (NTP)")
        case ccxt.NetworkError() | ccxt.OperationFailed():
            return Retryable(venue, what)
        case ccxt.OrderNotFound():
            return NotFound(venue, what)
        case ccxt.AuthenticationError() | ccxt.AccountSuspended():
            return AuthFailed(venue, what, do="Check key, secret, passphrase and the key's permissions")
        case ccxt.ExchangeError():
            return Rejected(venue, what)
    return ProtocolViolation(venue, f"ccxt failed: {what}")


def _text(value: object) -> str | None:
    """Return a figure as it was sent; None and empty are unknown."""
    return None if value is None or value == "" else str(value)


def _positive(value: object) -> str | None:
    """Return a price; what is not above zero is none."""
    text = _text(value)
    return text if text is not None and float(text) > 0 else None


def _turned(amount: str) -> str:
    """Turn the sign and leave the digits."""
    if amount.startswith("-"):
        return amount[1:]
    return amount if float(amount) == 0 else f"-{amount}"


def _side(word: str) -> Side:
    return "long" if word == "long" else "short"
