"""One position, a free balance, an order: "not there" is None, "could not ask" an error, on every venue."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import pytest

from exchanges import VENUES
from exchanges.clock import SystemClock
from exchanges.errors import AuthFailed, NotFound, ProtocolViolation, Rejected, Retryable, VenueError
from exchanges.events import (
    BalanceState,
    CoinBalance,
    Event,
    FreeBalance,
    OpenOrders,
    Order,
    PoolState,
    PositionsSnapshot,
    PositionState,
)
from exchanges.inquiry import Findings, Inquirer
from exchanges.portfolio import Portfolio
from exchanges.rest import Limits, RestClient
from exchanges.sim import bybit_account
from exchanges.sim.server import Simulator, start
from exchanges.venue import AccountSpec, Credentials, Endpoints

# --- What an answer settles -------------------------------------------------------------------------------------------


class Answers:
    """Answers every question with what it is given; the one for what is free with ``told_free``."""

    def __init__(self, *events: Event, flaws: tuple[str, ...] = (), error: VenueError | None = None) -> None:
        self.found, self.error = Findings(events=events, asked_at=1, flaws=flaws), error
        self.told_free: tuple[Event, ...] = ()
        self.asked_free: list[str] = []

    async def state(self) -> Findings:
        if self.error is not None:
            raise self.error
        return self.found

    async def order(self, symbol: str, order_id: str) -> Findings:
        return await self.state()

    async def free(self, ccy: str) -> Findings:
        self.asked_free.append(ccy)
        found = await self.state()
        return Findings(events=self.told_free, asked_at=found.asked_at)


def portfolio(*events: Event, flaws: tuple[str, ...] = (), error: VenueError | None = None) -> Portfolio:
    return Portfolio("a", Answers(*events, flaws=flaws, error=error), lambda symbol: symbol.partition(":")[0])


def position(symbol: str, size: str = "1") -> PositionState:
    return PositionState(
        account="a", id=f"a:{symbol}", scope="x", symbol=symbol, side="long", size=size, margin_mode=None, pool="p"
    )


def listed(scope: str, *positions: PositionState) -> PositionsSnapshot:
    return PositionsSnapshot(account="a", scope=scope, positions=positions)


def balance(*coins: CoinBalance, full: bool = True, pools: tuple[PoolState, ...] = ()) -> BalanceState:
    return BalanceState(account="a", scope="b", full=full, coins=coins, pools=pools)


def order(order_id: str) -> Order:
    return Order(account="a", scope="o", symbol="x:BTC", order_id=order_id, open=False, side="buy")


async def test_every_leg_of_a_position() -> None:
    long, short = position("x:BTC"), position("x:BTC", "2")
    assert await portfolio(listed("x", long, position("x:ETH"), short)).position("x:BTC") == (long, short)


async def test_no_position_is_none_and_so_is_one_of_size_zero() -> None:
    assert await portfolio(listed("x", position("x:ETH"), position("x:BTC", "0.0"))).position("x:BTC") is None


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(portfolio(), id="no list"),
        pytest.param(portfolio(listed("y")), id="the list of another scope"),
        pytest.param(portfolio(listed("x"), flaws=("a row that cannot be read",)), id="a flawed answer"),
        pytest.param(portfolio(position("x:BTC")), id="a position outside of a full list"),
        pytest.param(portfolio(error=Retryable("v", "busy")), id="unreachable"),
        pytest.param(portfolio(error=AuthFailed("v", "bad key")), id="refused"),
        pytest.param(portfolio(error=NotFound("v", "no such path")), id="not found, of a state"),
    ],
)
async def test_a_position_that_could_not_be_asked_is_an_error(asked: Portfolio) -> None:
    with pytest.raises(VenueError):
        await asked.position("x:BTC")


async def test_what_is_free_in_the_venues_digits() -> None:
    usdt = CoinBalance(ccy="USDT", total="5", available="1.50")
    assert await portfolio(balance(usdt)).free("USDT") == "1.50"
    assert await portfolio(balance(usdt), flaws=("elsewhere",)).free("USDT") == "1.50"
    assert await portfolio(balance(usdt)).free("USDC") is None
    assert await portfolio(balance()).free("USDC") is None


async def test_what_balances_do_not_say_is_asked_for() -> None:
    silent, telling = CoinBalance(ccy="USDT", total="5"), CoinBalance(ccy="USDC", total="5", available="1.50")
    answers = Answers(balance(silent, telling))
    answers.told_free = (
        FreeBalance(account="a", ccy="BTC", amount="9"),
        FreeBalance(account="a", ccy="USDT", amount="0.0"),
    )
    asked = Portfolio("a", answers, lambda symbol: symbol)
    assert await asked.free("USDC") == "1.50"
    assert await asked.free("XAUT") is None
    assert answers.asked_free == []
    assert await asked.free("USDT") == "0.0"
    assert answers.asked_free == ["USDT"]
    answers.told_free = answers.told_free[:1]
    with pytest.raises(ProtocolViolation, match="free of it alone"):
        await asked.free("USDT")


async def test_purses_add_up_exactly() -> None:
    spot = balance(CoinBalance(ccy="USDC", total="2", available="0.1"))
    dex = balance(pools=(PoolState(pool="main", ccy="USDC", available="0.2"),))
    empty = balance(pools=(PoolState(pool="xyz", ccy="USDC", available="0.0"),))
    assert await portfolio(spot, dex, empty).free("USDC") == "0.3"
    assert await portfolio(dex, empty).free("USDC") == "0.2"
    assert await portfolio(empty).free("USDC") == "0.0"


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(portfolio(listed("x")), id="no balance"),
        pytest.param(portfolio(balance(full=False)), id="a part of the balances"),
        pytest.param(portfolio(balance(), flaws=("a row that cannot be read",)), id="a flawed answer"),
        pytest.param(portfolio(balance(CoinBalance(ccy="USDT", total="5"))), id="held, and what is free is not said"),
        pytest.param(portfolio(error=Retryable("v", "busy")), id="unreachable"),
    ],
)
async def test_a_balance_that_could_not_be_asked_is_an_error(asked: Portfolio) -> None:
    with pytest.raises(VenueError):
        await asked.free("USDT")


async def test_an_order_or_none() -> None:
    assert await portfolio(order("7")).order("x:BTC", "7") == order("7")
    assert await portfolio(order("8")).order("x:BTC", "7") is None
    assert await portfolio().order("x:BTC", "7") is None
    assert await portfolio(error=NotFound("v", "no such order")).order("x:BTC", "7") is None


@pytest.mark.parametrize("error", [Rejected("v", "no such symbol"), Retryable("v", "busy"), AuthFailed("v", "bad key")])
async def test_an_order_that_could_not_be_asked_is_an_error(error: VenueError) -> None:
    with pytest.raises(type(error)):
        await portfolio(error=error).order("x:BTC", "7")
    with pytest.raises(ProtocolViolation, match="cannot be read"):
        await portfolio(flaws=("a row that cannot be read",)).order("x:BTC", "7")


# --- On every venue ---------------------------------------------------------------------------------------------------

# account, a symbol held, one that is not held (of another scope where the venue has several), a currency held
HELD = [
    pytest.param("okx-main", "BTC-USDT-SWAP", "ETH-USDT-261225", "USDT", id="okx"),
    pytest.param("bybit-main", "BTCUSDT", "ETHPERP", "USDT", id="bybit"),
    pytest.param("hl-main", "BTC", "xyz:NVDA", "USDC", id="hyperliquid"),
    pytest.param("aster-main", "BTCUSDT", "DOGEUSDT", "USDT", id="aster"),
]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    running = await start(3)
    running.control.pause()
    yield running
    await running.stop()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


def over(simulator: Simulator, session: aiohttp.ClientSession, account: str, secret: str | None = None) -> Portfolio:
    name = simulator.world.account(account).venue
    venue, rest = VENUES[name], simulator.urls[name]
    login = next(row for row in simulator.fronts[name].credentials() if row["name"] == account)
    key = Credentials(login["key"], secret or login["secret"], login.get("passphrase")) if login.get("key") else None
    spec = AccountSpec(name=account, venue=name, credentials=key, address=login.get("address"))
    stream = "ws" + rest.removeprefix("http")
    links = venue.private_links(spec, Endpoints(rest=rest, ws_public=stream, ws_private=stream))
    client = RestClient(rest, venue, session, SystemClock(), Limits(weight=10_000, period_s=1.0, burst=10_000))
    inquirer = Inquirer(next(iter(links.values()))(), client.for_key(account), SystemClock(), random.random)
    return Portfolio(account, inquirer, venue.position_scope)


@pytest.mark.parametrize(("account", "held", "other", "ccy"), HELD)
async def test_positions_at_a_venue(
    simulator: Simulator, session: aiohttp.ClientSession, account: str, held: str, other: str, ccy: str
) -> None:
    asked = over(simulator, session, account)
    true = [p for p in simulator.control.truth()["positions"] if (p["account"], p["symbol"]) == (account, held)]
    found = await asked.position(held)
    assert found is not None
    assert {(p.side, Decimal(p.size)) for p in found} == {(p["side"], Decimal(p["size"])) for p in true}
    assert await asked.position(other) is None
    simulator.control.fault({"kind": "close_position", "account": account, "symbol": held})
    assert await asked.position(held) is None


@pytest.mark.parametrize(("account", "held", "other", "ccy"), HELD)
async def test_orders_at_a_venue(
    simulator: Simulator, session: aiohttp.ClientSession, account: str, held: str, other: str, ccy: str
) -> None:
    asked = over(simulator, session, account)
    contract = simulator.world.contract(simulator.world.account(account).venue, held)
    price = simulator.world.mark(contract.venue, held) / 2
    simulator.world.hands.place_order(account, held, True, price, contract.lot)
    state = await asked.inquiry.state()
    full = [event for event in state.events if isinstance(event, OpenOrders)]
    placed = min((o for one in full for o in one.orders if o.symbol == held), key=lambda o: Decimal(o.price or 0))
    found = await asked.order(held, placed.order_id)
    assert found is not None
    assert (found.id, found.open, found.side, found.price) == (placed.id, True, "buy", placed.price)
    assert await asked.order(held, "123456") is None


@pytest.mark.parametrize(("account", "held", "other", "ccy"), HELD)
async def test_balances_at_a_venue(
    simulator: Simulator, session: aiohttp.ClientSession, account: str, held: str, other: str, ccy: str
) -> None:
    asked = over(simulator, session, account)
    assert await asked.free("XAUT") is None
    free = await asked.free(ccy)
    assert free is not None
    assert 0 < Decimal(free) < 1_000_000


@pytest.mark.parametrize(("account", "held", "other", "ccy"), HELD)
async def test_what_is_free_is_a_question_of_its_own_at_bybit_alone(
    simulator: Simulator, session: aiohttp.ClientSession, account: str, held: str, other: str, ccy: str
) -> None:
    found = await over(simulator, session, account).inquiry.free(ccy)
    told = [event.ccy for event in found.events if isinstance(event, FreeBalance)]
    assert (told, found.flaws) == ([ccy] if account == "bybit-main" else [], ())


async def test_a_failure_of_the_question_for_what_is_free_alone_is_an_error(
    simulator: Simulator, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = over(simulator, session, "bybit-main")
    assert await asked.free("USDT")
    monkeypatch.setattr(bybit_account, "MAX_COINS", 0)  # one coin is too many
    with pytest.raises(Rejected, match="coinName"):
        await asked.free("USDT")


@pytest.mark.parametrize(("account", "held", "other", "ccy"), HELD)
async def test_a_venue_that_fails_is_never_read_as_nothing(
    simulator: Simulator, session: aiohttp.ClientSession, account: str, held: str, other: str, ccy: str
) -> None:
    asked = over(simulator, session, account)
    simulator.fronts[simulator.world.account(account).venue].faults.server_error = 1_000
    for question in (asked.position(other), asked.free("XAUT"), asked.order(held, "123456")):
        with pytest.raises(VenueError):
            await question


async def test_a_symbol_whose_name_settles_nothing_is_an_error(
    simulator: Simulator, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(Rejected, match="kind of instrument"):
        await over(simulator, session, "okx-main").position("WHO-WINS-YES")


async def test_a_refused_key_is_never_read_as_nothing(simulator: Simulator, session: aiohttp.ClientSession) -> None:
    asked = over(simulator, session, "okx-main", secret="not the secret")
    for question in (asked.position("BTC-USDT-SWAP"), asked.free("XAUT"), asked.order("BTC-USDT-SWAP", "123456")):
        with pytest.raises(AuthFailed):
            await question
