"""An exchange through ccxt: a scripted one that tells as little, as late and as wrongly as the real ports do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import ccxt
import pytest

from exchanges import ports
from exchanges.choice import resolve
from exchanges.errors import AuthFailed, NotFound, ProtocolViolation, Rejected, Retryable, VenueError
from exchanges.events import (
    BalanceState,
    CoinBalance,
    Event,
    Fill,
    Instrument,
    KeyInfo,
    OpenOrders,
    Order,
    PositionsSnapshot,
    PositionState,
    Price,
)
from exchanges.generic import Generic
from exchanges.inquiry import Findings
from exchanges.portfolio import Portfolio
from exchanges.ports import connect, find
from exchanges.venue import AccountSpec, Credentials, Endpoints
from gateway.config import parse, verify_every_s
from gateway.loading import ConfigError
from tests.exchanges.doubles import StillClock, Watch

Row = dict[str, Any]
SPEC = AccountSpec(name="a", venue="kraken", credentials=Credentials("the-key", "the-secret", "the-phrase"))


def market(base: str = "BTC", **fields: Any) -> Row:
    usual = {"id": f"{base}_USDT", "symbol": f"{base}/USDT:USDT", "base": base, "quote": "USDT", "settle": "USDT"}
    form = {"type": "swap", "contract": True, "linear": True, "inverse": False, "active": True}
    return {**usual, **form, "contractSize": "0.001", "precision": {"price": "0.1"}, **fields}


def position(base: str = "BTC", **fields: Any) -> Row:
    usual = {"symbol": f"{base}/USDT:USDT", "contracts": "3.50", "side": "long", "hedged": False, "marginMode": "cross"}
    figures = {"entryPrice": "100.10", "markPrice": "101.0", "unrealizedPnl": "0.0031", "liquidationPrice": "50.5"}
    return {**usual, **figures, "info": {"mm": "1.20"}, **fields}


class Fake:
    """A ccxt.pro exchange. ``answers``: by method, the last one again and again; an exception is raised, a callable called."""

    def __init__(self, watch: Watch, **answers: list[Any]) -> None:
        self.has: dict[str, Any] = {"fetchPositions": True}
        self.options: dict[str, Any] = {}
        self.answers: dict[str, list[Any]] = {"fetch_positions": [[position()]], "close": [None], **answers}
        self.listed = [market(), market("ETH")]
        self.markets: dict[str, Row] = {}
        self.asked: list[str] = []
        self.arguments: list[tuple[object, ...]] = []
        self._watch = watch

    async def load_markets(self, reload: bool = False) -> dict[str, Row]:
        if reload or not self.markets:
            self.asked.append("load_markets")
            await asyncio.sleep(0)
            self.markets = {one["symbol"]: one for one in self.listed}
        return self.markets

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        async def ask(*arguments: object) -> Any:
            self.asked.append(name)
            self.arguments.append(arguments)
            self._watch.poke()
            found = self.answers[name]
            answer = found.pop(0) if len(found) > 1 else found[0]
            await asyncio.sleep(0)
            if isinstance(answer, BaseException):
                raise answer
            return await answer() if callable(answer) else answer

        return ask


async def never() -> None:
    await asyncio.Event().wait()


class Bench:
    """A generic account over a fake exchange."""

    def __init__(self, *abilities: str, **answers: list[Any]) -> None:
        self.clock = StillClock()
        self.watch = self.clock.watch
        self.fake = Fake(self.watch, **answers)
        self.fake.has |= dict.fromkeys(abilities, True)
        self.prices: list[Event] = []
        self.news = 0
        self.account = Generic(SPEC, self.fake, self.clock, news=self._heard, sink=self._take)

    def _heard(self) -> None:
        self.news += 1
        self.watch.poke()

    def _take(self, events: Any) -> None:
        self.prices += events
        self.watch.poke()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.account.run())
        try:
            yield task
        finally:
            self.account.stop()
            async with asyncio.timeout(5):
                await task

    async def state(self) -> Findings:
        """Ask for the state, letting time pass."""
        asking = asyncio.create_task(self.account.state())
        asking.add_done_callback(lambda _: self.watch.poke())
        await self.elapse(asking.done)
        return asking.result()

    async def elapse(self, until: Callable[[], object]) -> None:
        """Let time pass, alarm by alarm, until a condition holds."""
        while not until():
            await self.watch.until(lambda: until() or self.clock.alarms())
            if not until():
                self.clock.advance(max(self.clock.alarms()[0] - self.clock.now, 1))


def snapshot(found: Findings) -> PositionsSnapshot:
    return next(event for event in found.events if isinstance(event, PositionsSnapshot))


def only(found: Findings, kind: type[Any]) -> Any:
    (event,) = [event for event in found.events if isinstance(event, kind)]
    return event


# --- Positions --------------------------------------------------------------------------------------------------------


async def test_a_position_in_the_exchanges_own_digits() -> None:
    bench = Bench()
    assert bench.fake.number is str
    found = await bench.account.state()
    assert snapshot(found) == PositionsSnapshot(
        account="a",
        scope="all",
        asked_at=bench.clock.now,
        positions=(
            PositionState(
                account="a",
                id="a:BTC_USDT:cross",
                scope="all",
                symbol="BTC_USDT",
                side="long",
                size="3.50",
                margin_mode="cross",
                pool="exchange",
                settle="USDT",
                entry_price="100.10",
                mark_price="101.0",
                venue_unrealized_pnl="0.0031",
                venue_liquidation_price="50.5",
                liquidation_known="price",
            ),
        ),
    )


async def test_a_row_of_no_contracts_and_a_row_that_is_left_out_are_both_closed() -> None:
    closed = position("ETH", contracts="0.0", side=None)
    bench = Bench(fetch_positions=[[position(), position("ETH")], [closed], []])
    assert len(snapshot(await bench.account.state()).positions) == 2
    assert snapshot(await bench.account.state()).positions == ()
    assert snapshot(await bench.account.state()).positions == ()


async def test_unknown_figures_are_none_and_never_zero() -> None:
    bare = position(liquidationPrice="0", markPrice=None, entryPrice=None, unrealizedPnl=None, marginMode=None)
    (state,) = snapshot(await Bench(fetch_positions=[[bare]]).account.state()).positions
    assert (state.venue_liquidation_price, state.liquidation_known) == (None, "unknown")
    assert (state.mark_price, state.entry_price, state.venue_unrealized_pnl, state.margin_mode) == (None,) * 4


async def test_a_margin_that_ccxt_derived_is_not_the_exchanges() -> None:
    told, derived = position(maintenanceMargin="1.20"), position("ETH", maintenanceMargin="543.007")
    (first, second) = snapshot(await Bench(fetch_positions=[[told, derived]]).account.state()).positions
    assert (first.venue_maintenance_margin, second.venue_maintenance_margin) == ("1.20", None)


async def test_legs_of_a_hedge_and_margin_modes_are_positions_of_their_own() -> None:
    both = [position(hedged=True), position(hedged=True, side="short"), position("ETH", marginMode="isolated")]
    states = snapshot(await Bench(fetch_positions=[both]).account.state()).positions
    assert [state.id for state in states] == ["a:BTC_USDT:long:cross", "a:BTC_USDT:short:cross", "a:ETH_USDT:isolated"]
    assert states[2].pool == "iso:a:ETH_USDT:isolated"


async def test_where_an_exchange_does_not_say_whether_it_hedges_sides_are_told_apart() -> None:
    both = [position(hedged=None), position(hedged=None, side="short")]
    assert len(snapshot(await Bench(fetch_positions=[both]).account.state()).positions) == 2


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(position(side="both"), id="a side that is none"),
        pytest.param(position(side=None), id="no side"),
        pytest.param(position(contracts=None), id="no size"),
        pytest.param(position(contracts="many"), id="a size that is no figure"),
        pytest.param(position(contracts="NaN"), id="a size that is not finite"),
        pytest.param(position("ETH"), id="twice the same"),
        pytest.param("a text", id="no row at all"),
    ],
)
async def test_a_row_that_cannot_be_read_spoils_its_list(row: Any) -> None:
    bench = Bench(fetch_positions=[[position("ETH"), row]])
    with pytest.raises(ProtocolViolation):
        await bench.account.state()


async def test_a_contract_listed_since_is_looked_up_once() -> None:
    bench = Bench(fetch_positions=[[], [position("NEW")]])
    await bench.account.state()
    bench.fake.listed.append(market("NEW"))
    found = await bench.account.state()
    assert snapshot(found).positions[0].symbol == "NEW_USDT"
    assert "NEW_USDT" in {event.symbol for event in found.events if isinstance(event, Instrument)}


async def test_a_contract_that_is_nowhere_listed_is_shown_all_the_same() -> None:
    bench = Bench(fetch_positions=[[position("ODD")]])
    for _ in range(3):
        (state,) = snapshot(await bench.account.state()).positions
        assert (state.symbol, state.size, state.settle) == ("ODD/USDT:USDT", "3.50", None)
    assert bench.fake.asked.count("load_markets") == 2


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ccxt.NetworkError("closed"), Retryable),
        (ccxt.RequestTimeout("slow"), Retryable),
        (ccxt.RateLimitExceeded("429"), Retryable),
        (ccxt.DDoSProtection("cloud"), Retryable),
        (ccxt.OnMaintenance("later"), Retryable),
        (ccxt.BadResponse("html"), Retryable),
        (TimeoutError(), Retryable),
        (ccxt.AuthenticationError("no"), AuthFailed),
        (ccxt.PermissionDenied("no"), AuthFailed),
        (ccxt.AccountSuspended("no"), AuthFailed),
        (ccxt.InvalidNonce("clock"), AuthFailed),
        (ccxt.NotSupported("no"), Rejected),
        (ccxt.ArgumentsRequired("symbol"), Rejected),
        (ccxt.BadSymbol("X"), Rejected),
        (ccxt.ExchangeError("no"), Rejected),
        (KeyError("swap"), ProtocolViolation),
    ],
)
async def test_a_failure_is_an_error_by_whose_fault_it_is_and_never_flat(
    raised: Exception, kind: type[VenueError]
) -> None:
    bench = Bench(fetch_positions=[raised], load_time_difference=[0])
    with pytest.raises(kind) as failed:
        await bench.state()
    assert type(failed.value) is kind


async def test_what_passes_is_asked_again_and_a_rate_limit_is_for_the_caller() -> None:
    bench = Bench(fetch_positions=[ccxt.NetworkError("closed"), [position()]])
    assert len(snapshot(await bench.state()).positions) == 1

    bench = Bench(fetch_positions=[ccxt.RateLimitExceeded("429"), [position()]])
    with pytest.raises(Retryable) as limited:
        await bench.account.state()
    assert limited.value.after_s == 10
    assert bench.fake.asked.count("fetch_positions") == 1


async def test_a_clock_that_is_off_is_set_by_the_exchanges() -> None:
    bench = Bench(fetch_positions=[ccxt.InvalidNonce("timestamp"), [position()]], load_time_difference=[5])
    assert len(snapshot(await bench.state()).positions) == 1
    assert bench.fake.asked.count("load_time_difference") == 1


@pytest.mark.parametrize(
    "text",
    [
        "GET https://kraken.test/positions?signature=abc123&user=me 500 oops",
        "wss://stream.test/ws/listen-abc123 closed",
        '{"sign": "abc123", "code": 1}',
        "the header API-SIGN=abc123 is wrong",
        "apiKey: abc123 is unknown",
        "bad the-key or the-secret or the-phrase",
    ],
)
async def test_no_error_tells_a_secret(text: str) -> None:
    bench = Bench(fetch_positions=[ccxt.AuthenticationError(text)])
    with pytest.raises(AuthFailed) as refused:
        await bench.account.state()
    assert not [word for word in ("abc123", "the-key", "the-secret", "the-phrase") if word in str(refused.value)]
    assert refused.value.__cause__ is None


async def test_a_question_that_is_cancelled_ends_and_the_next_one_is_asked() -> None:
    bench = Bench(fetch_positions=[never, [position()]])
    asking = asyncio.create_task(bench.account.state())
    await bench.watch.until(lambda: "fetch_positions" in bench.fake.asked)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert len(snapshot(await bench.account.state()).positions) == 1


# --- Balances, orders, trades -----------------------------------------------------------------------------------------


async def test_balances() -> None:
    told = {"total": {"USDT": "10.50", "BTC": "0"}, "free": {"USDT": "3.20", "BTC": "0"}, "used": {}}
    found = await Bench("fetchBalance", fetch_balance=[told]).account.state()
    balance = only(found, BalanceState)
    assert (balance.full, balance.coins) == (True, (CoinBalance(ccy="USDT", total="10.50", available="3.20"),))


async def test_a_currency_without_a_total_is_not_one_that_is_not_held() -> None:
    told = {"total": {"USDT": None}, "free": {"USDT": "3.20"}, "used": {}}
    bench = Bench("fetchBalance", fetch_balance=[told])
    assert only(await bench.account.state(), BalanceState).full is False
    with pytest.raises(VenueError):
        await Portfolio("a", bench.account, bench.account.position_scope).free("USDT")


ORDER: Row = {"id": 7, "symbol": "BTC/USDT:USDT", "side": "buy", "status": "open", "amount": "2", "price": "99.0"}


async def test_open_orders_and_one_order() -> None:
    bench = Bench(
        "fetchOpenOrders", "fetchOrder", fetch_open_orders=[[ORDER]], fetch_order=[ORDER | {"status": "closed"}]
    )
    listed = only(await bench.account.state(), OpenOrders)
    assert [(one.order_id, one.open, one.symbol, one.price) for one in listed.orders] == [
        ("7", True, "BTC_USDT", "99.0")
    ]
    assert only(await bench.account.order("BTC_USDT", "7"), Order).open is False
    assert bench.fake.arguments[-1] == ("7", "BTC/USDT:USDT")


async def test_an_exchange_that_lists_no_orders_without_a_symbol_has_no_list_and_is_asked_once() -> None:
    bench = Bench("fetchOpenOrders", fetch_open_orders=[ccxt.ArgumentsRequired("symbol")])
    for _ in range(2):
        assert not [event for event in (await bench.account.state()).events if isinstance(event, OpenOrders)]
    assert bench.fake.asked.count("fetch_open_orders") == 1
    assert any("fetchOpenOrders" in flaw for flaw in (await bench.account.audit()).flaws)


async def test_an_order_is_there_or_not_or_could_not_be_asked() -> None:
    bench = Bench(
        "fetchOrder", fetch_order=[ccxt.OrderNotFound("no"), ORDER | {"status": "?"}, ccxt.ExchangeError("x")]
    )
    with pytest.raises(NotFound):
        await bench.account.order("BTC_USDT", "7")
    with pytest.raises(ProtocolViolation):
        await bench.account.order("BTC_USDT", "7")
    with pytest.raises(Rejected):
        await bench.account.order("BTC_USDT", "7")
    with pytest.raises(Rejected, match="no contract"):
        await bench.account.order("XYZ", "7")
    with pytest.raises(Rejected, match="fetchOrder"):
        await Bench().account.order("BTC_USDT", "7")


async def test_trades_turn_ccxts_sign_and_say_what_could_not_be_read() -> None:
    trade = {"id": "t1", "order": "o1", "symbol": "BTC/USDT:USDT", "side": "sell", "amount": "2", "price": "99.5"}
    good = {**trade, "timestamp": 5, "takerOrMaker": "maker", "fee": {"cost": "-0.010", "currency": "USDT"}}
    bench = Bench("fetchMyTrades", fetch_my_trades=[[good, {**good, "id": None}]])
    found = await bench.account.history(1, ["BTC_USDT"])
    fill = only(found, Fill)
    assert (fill.id, fill.side, fill.size, fill.fee, fill.role) == ("a:BTC_USDT:t1:o1", "sell", "2", "0.010", "maker")
    assert len(found.flaws) == 1
    assert bench.fake.arguments[-1] == ("BTC/USDT:USDT", 1)
    assert "fetchMyTrades" in (await Bench().account.history(1, ["BTC_USDT"])).flaws[0]


async def test_the_past_is_our_trades_of_a_window_page_by_page_and_never_whole() -> None:
    usual = {"symbol": "BTC/USDT:USDT", "order": "9", "side": "buy", "amount": "1", "price": "2"}
    pages = [[{**usual, "id": str(at), "timestamp": at} for at in times] for times in ((1, 2, 3), (3, 4), (4, 9))]
    bench = Bench("fetchMyTrades", fetch_my_trades=pages)
    found = [page async for page in bench.account.records(2, 9, ["BTC_USDT", "GONE_USDT"])]
    assert {fill.at for page in found for fill in page.events if isinstance(fill, Fill)} == {2, 3, 4}
    assert bench.fake.arguments[-3:] == [("BTC/USDT:USDT", 2), ("BTC/USDT:USDT", 3), ("BTC/USDT:USDT", 4)]
    assert not any(page.whole for page in found)
    flaws = [flaw for page in found for flaw in page.flaws]
    assert any("no funding" in flaw for flaw in flaws)
    assert any("GONE_USDT is not listed any more" in flaw for flaw in flaws)
    with pytest.raises(Rejected, match="fetchMyTrades"):
        [page async for page in Bench().account.records(2, 9, ["BTC_USDT"])]


# --- What it can do ---------------------------------------------------------------------------------------------------


async def test_contracts_and_what_is_missing_are_declared() -> None:
    bench = Bench("fetchBalance")
    bench.fake.has["watchPositions"] = "emulated"
    bench.fake.listed = [
        market(),
        market("1000PEPE"),
        market(symbol="BTC/USDT", contract=False),
        market(
            id="BTCUSD", symbol="BTC/USD:BTC", quote="USD", settle="BTC", linear=False, inverse=True, contractSize="100"
        ),
    ]
    found = await bench.account.audit()
    instruments = {event.symbol: event for event in found.events if isinstance(event, Instrument)}
    assert set(instruments) == {"BTC_USDT", "1000PEPE_USDT", "BTCUSD"}
    assert (instruments["BTC_USDT"].contract_size, instruments["BTC_USDT"].contract_ccy) == ("0.001", "BTC")
    assert (instruments["BTCUSD"].contract_type, instruments["BTCUSD"].contract_ccy) == ("inverse", "USD")
    assert (instruments["1000PEPE_USDT"].base, instruments["1000PEPE_USDT"].base_multiplier) == ("PEPE", "1000")
    assert not [event for event in found.events if isinstance(event, KeyInfo)]  # that would say: it can only read
    key, abilities, kinds = found.flaws
    assert "what a key may do" in key
    assert "watchPositions" in abilities
    assert "fetchBalance" not in abilities
    assert kinds.endswith("inverse swap")


async def test_without_positions_it_is_refused_by_name() -> None:
    bench = Bench()
    bench.fake.has["fetchPositions"] = "emulated"
    with pytest.raises(Rejected, match="fetchPositions"):
        await bench.account.audit()


async def test_what_a_list_may_leave_out_is_never_read_as_nothing() -> None:
    bench = Bench()
    bench.fake.listed.append(market(id="BTCUSD", symbol="BTC/USD:BTC", settle="BTC", linear=False, inverse=True))
    asked = Portfolio("a", bench.account, bench.account.position_scope)
    assert await asked.position("ETH_USDT") is None
    held = await asked.position("BTC_USDT")
    assert held is not None
    assert [state.size for state in held] == ["3.50"]
    with pytest.raises(ProtocolViolation, match="does not cover BTCUSD"):
        await asked.position("BTCUSD")
    with pytest.raises(Rejected, match="no contract"):
        await asked.position("XYZ")


# --- Watching ---------------------------------------------------------------------------------------------------------


async def test_a_watcher_is_only_the_reason_to_ask() -> None:
    ghost = [position(), position(side="short")]
    bench = Bench("watchPositions", watch_positions=[ghost, never])
    async with bench.running():
        await bench.watch.until(lambda: bench.news == 1)
    assert bench.prices == []


async def test_a_watcher_that_breaks_watches_again() -> None:
    errors = [ccxt.NetworkError("closed code 1006"), ccxt.RateLimitExceeded("429"), KeyError("swap")]
    bench = Bench("watchPositions", watch_positions=[*errors, [], never])
    async with bench.running():
        began = bench.clock.now
        await bench.elapse(lambda: bench.news == 1)
        assert bench.clock.now - began >= 10_000  # the rate limit's own time


@pytest.mark.parametrize("error", [ccxt.NotSupported("watchPositions"), ccxt.AuthenticationError("no")])
async def test_a_watcher_that_is_none_or_not_allowed_is_left_alone(error: Exception) -> None:
    bench = Bench("watchPositions", "watchMyTrades", watch_positions=[error], watch_my_trades=[[], never])
    async with bench.running():
        await bench.watch.until(lambda: bench.news == 1 and bench.fake.asked.count("watch_my_trades") == 2)
        assert bench.fake.asked.count("watch_positions") == 1
        assert bench.account.has("watchPositions") is isinstance(error, ccxt.AuthenticationError)


def tickers(mark: str) -> Row:
    return {"BTC/USDT:USDT": {"symbol": "BTC/USDT:USDT", "markPrice": mark, "timestamp": 5}}


async def test_marks_by_the_best_way() -> None:
    bench = Bench("watchMarkPrices", "watchTickers", watch_mark_prices=[tickers("101.50"), never])
    async with bench.running():
        bench.account.want(["BTC_USDT", "UNLISTED"])
        await bench.watch.until(lambda: bench.prices)
    assert bench.prices == [Price(venue="kraken", env="live", symbol="BTC_USDT", value="101.50", at=5)]
    assert (["BTC/USDT:USDT"],) in bench.fake.arguments


async def test_ways_that_bring_no_mark_are_left_and_a_last_price_is_never_one() -> None:
    last = {"BTC/USDT:USDT": {"symbol": "BTC/USDT:USDT", "last": "7"}}
    bench = Bench(
        "watchMarkPrices", "watchTickers", "fetchMarkPrices", "fetchFundingRates",
        watch_mark_prices=[ccxt.NotSupported("it lied")],
        watch_tickers=[last],
        fetch_mark_prices=[ccxt.NetworkError("closed"), last],
        fetch_funding_rates=[tickers("101.5")],
    )  # fmt: skip
    async with bench.running():
        bench.account.want(["BTC_USDT"])
        await bench.elapse(lambda: bench.prices)
    assert [event.value for event in bench.prices if isinstance(event, Price)] == ["101.5"]
    assert bench.fake.asked.count("watch_mark_prices") == 1
    assert bench.fake.asked.count("watch_tickers") == 3


async def test_without_any_way_marks_come_with_the_positions() -> None:
    rows = [position(timestamp=5), position("ETH", markPrice=None)]
    found = await Bench(fetch_positions=[rows]).account.state()
    assert only(found, Price) == Price(venue="kraken", env="live", symbol="BTC_USDT", value="101.0")
    assert not [one for one in (await Bench("watchTickers").account.state()).events if isinstance(one, Price)]


async def test_other_wishes_are_followed_though_the_old_symbol_is_silent() -> None:
    bench = Bench("watchMarkPrices", watch_mark_prices=[never, tickers("1"), never])
    async with bench.running():
        bench.account.want(["ETH_USDT"])
        await bench.watch.until(lambda: bench.fake.asked.count("watch_mark_prices") == 1)
        bench.account.want(["BTC_USDT"])
        await bench.watch.until(lambda: bench.prices)


async def test_a_defect_of_whoever_takes_the_prices_is_not_swallowed() -> None:
    bench = Bench("watchMarkPrices", watch_mark_prices=[tickers("1")])

    def broken(_events: object) -> None:
        raise ZeroDivisionError

    bench.account._sink = broken
    bench.account.want(["BTC_USDT"])
    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(5):
            await bench.account.run()


async def test_run_can_be_cancelled_and_the_account_closed() -> None:
    bench = Bench("watchPositions", watch_positions=[never])
    task = asyncio.create_task(bench.account.run())
    await bench.watch.until(lambda: "watch_positions" in bench.fake.asked)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await bench.account.close()
    assert bench.fake.asked[-1] == "close"


# --- ccxt itself ------------------------------------------------------------------------------------------------------


def test_a_native_venue_goes_first_and_ccxt_is_not_even_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exchanges.choice.find", lambda name: pytest.fail(f"asked ccxt for {name}"))
    assert resolve("okx").name == "okx"


def test_a_native_venue_costs_no_import_of_ccxt() -> None:
    code = "import sys, gateway.feeds as _; from gateway.config import parse; "
    code += "parse({'accounts': {'a': {'venue': 'okx'}}}, 'x'); sys.exit('ccxt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_configuration_takes_an_exchange_of_ccxt_or_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = {"accounts": {"a": {"venue": "krakenfutures"}}, "engine": {"mark_max_age_ms": {"krakenfutures": 1}}}
    config = parse(accounts, "config.yaml")
    assert verify_every_s(config, "krakenfutures") == 30
    monkeypatch.setattr("exchanges.choice.find", lambda name: None)
    monkeypatch.setattr("exchanges.choice.available", lambda: ())
    with pytest.raises(ConfigError, match=r"accounts.a.venue: unknown venue .*pip install perpwire\[ccxt\]"):
        parse({"accounts": {"a": {"venue": "krakenfutures"}}}, "config.yaml")


def test_any_other_exchange_comes_from_ccxt_with_its_pace() -> None:
    found = resolve("krakenfutures")
    assert (found.name, found.capabilities.verify_every_s) == ("krakenfutures", 30)
    quick = find("bingx")
    assert quick is not None
    assert quick.capabilities.verify_every_s == 10
    with pytest.raises(Rejected, match="did you mean `okx`"):
        resolve("okxx")


def test_without_ccxt_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "available", lambda: ())
    monkeypatch.setattr("exchanges.choice.available", lambda: ())
    ports.find.cache_clear()
    with pytest.raises(Rejected, match=r"pip install perpwire\[ccxt\]"):
        resolve("bingx")
    with pytest.raises(Rejected, match="not installed"):
        connect(SPEC)
    ports.find.cache_clear()


def account(venue: str, **fields: Any) -> AccountSpec:
    return AccountSpec(name="a", venue=venue, credentials=Credentials("k", "s", "p"), **fields)


def test_credentials_go_where_the_exchange_wants_them() -> None:
    usual, wallet = connect(account("krakenfutures")), connect(account("paradex", address="0xabc"))
    assert (usual.apiKey, usual.secret, usual.password) == ("k", "s", "p")
    assert (wallet.privateKey, wallet.walletAddress, wallet.apiKey) == ("s", "0xabc", None)
    assert usual.has["fetchCurrencies"] is False


def test_an_exchange_environment_or_region_that_is_not_there_is_refused() -> None:
    for spec in (account("nowhere"), account("paradex", region="eu"), account("mexc", env="testnet")):
        with pytest.raises(Rejected):
            connect(spec)


def test_hosts_may_be_replaced_and_none_is_left_that_could_be_reached() -> None:
    hosts = Endpoints(rest="http://here:1", ws_public="ws://here:2", ws_private="ws://here:3")
    urls = connect(account("okxus"), hosts).urls["api"]
    assert urls == {"rest": "http://here:1", "ws": "ws://here:2/ws/v5"}
    nested = connect(account("bybiteu"), hosts).urls["api"]["ws"]
    assert nested["public"]["linear"] == "ws://here:2/v5/public/linear"
    assert nested["private"]["contract"] == "ws://here:3/v5/private"
