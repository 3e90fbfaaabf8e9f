"""Acts by hand: what each writes into the log and the truth, that the books add up, and what is refused."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim.catalog import Contract
from exchanges.sim.changes import (
    BalanceChanged,
    Filled,
    FundingPaid,
    OrderChanged,
    PositionChanged,
    Transferred,
    WorldEvent,
)
from exchanges.sim.revalue import Position
from exchanges.sim.world import Impossible, UnknownName, World

BEGIN = 1_763_683_200_000


def world(seed: int = 1) -> World:
    return World(seed, BEGIN)


def heard(it: World, act: Callable[[], Any]) -> list[WorldEvent]:
    """Return what the log says of an act."""
    cursor = it.cursor()
    act()
    return it.events_since(cursor)[0]


def shape(events: list[WorldEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def held(it: World, account: str, symbol: str) -> Position:
    return next(p for p in it.positions(account) if p.symbol == symbol)


def dated(it: World, kind: str, *, inverse: bool = False, venue: str = "okx") -> Contract:
    return next(c for c in it.contracts.values() if (c.venue, c.kind, c.inverse) == (venue, kind, inverse))


def last_change(it: World) -> dict[str, Any]:
    change: dict[str, Any] = it.truth()["changes"][-1]
    return change


# --- Fills ---------------------------------------------------------------------------------------------------------------


def test_a_fill_is_an_order_a_fill_a_position_and_a_balance() -> None:
    it = world()
    events = heard(it, lambda: it.close_position("hl-single", "HYPE"))
    assert shape(events) == ["OrderChanged", "Filled", "PositionChanged", "BalanceChanged"]
    order, filled, changed, _balance = events
    assert isinstance(order, OrderChanged)
    assert isinstance(filled, Filled)
    assert isinstance(changed, PositionChanged)
    assert (order.order.status, order.order.reduce_only, order.order.filled) == ("filled", True, order.order.size)
    assert filled.trade == changed.trade
    assert filled.trade.order_id == order.order.id
    assert changed.before is not None
    assert filled.trade.before == -changed.before.size
    assert it.fills("hl-single") == [filled]
    assert it.order("hl-single", order.order.id) == order.order
    assert it.orders("hl-single") == []
    told = last_change(it)
    assert (told["cause"], told["trace"], told["after"]) == ("closed", True, None)
    assert told["ids"] == {"trade": str(filled.trade.id), "order": str(order.order.id)}
    assert told["before"]["size"] == "420"


def test_a_resting_order_fills_as_a_maker_at_its_price_and_may_be_paid_for_it() -> None:
    it = world()
    mark = it.mark("bybit", "BTCUSDT")
    order = it.hands.place_order("bybit-main", "BTCUSDT", True, mark * Decimal("0.9"), Decimal("0.2"))
    assert [o["id"] for o in it.truth()["orders"]] == [str(order.id)]
    it.shift("BTC", Decimal("-0.05"))
    it.step(BEGIN + 100)
    assert it.orders("bybit-main") == [order]
    it.shift("BTC", Decimal("-0.06"))
    events = heard(it, lambda: it.step(BEGIN + 200))
    half = next(e for e in events if isinstance(e, Filled) and e.trade.order_id == order.id)
    assert (half.trade.size, half.trade.price, half.trade.maker) == (Decimal("0.1"), order.price, True)
    assert half.trade.fee == half.trade.size * order.price * Decimal("0.00005")
    assert it.orders("bybit-main")[0].status == "partially_filled"
    it.step(BEGIN + 300)
    done = it.order("bybit-main", order.id)
    assert done is not None
    assert (done.status, done.filled) == ("filled", done.size)


def test_orders_that_only_reduce_end_with_their_position() -> None:
    it = world()
    mark = it.mark("bybit", "BTCUSDT")
    reducing = it.hands.place_order("bybit-main", "BTCUSDT", False, mark * 2, Decimal("0.2"))
    adding = it.hands.place_order("bybit-main", "BTCUSDT", True, mark / 2, Decimal("0.2"))
    assert (reducing.reduce_only, adding.reduce_only) == (True, False)
    it.close_position("bybit-main", "BTCUSDT")
    assert it.orders("bybit-main") == [adding]
    assert [o.status for o in [it.order("bybit-main", reducing.id)] if o] == ["cancelled"]
    assert it.hands.cancel_orders("bybit-main") == [adding]
    assert it.orders("bybit-main") == []


def test_two_accounts_of_ours_share_the_id_of_their_trade() -> None:
    it = world()
    sizes = [held(it, name, "BTC-USDT-SWAP").size for name in ("okx-main", "okx-isolated")]
    heard_of = heard(it, lambda: it.hands.trade_between("okx-main", "okx-isolated", "BTC-USDT-SWAP", Decimal(2)))
    buy, sell = [e.trade for e in heard_of if isinstance(e, Filled)]
    assert (buy.id, buy.price, buy.size) == (sell.id, sell.price, sell.size)
    assert (buy.buy, buy.maker, sell.buy, sell.maker) == (True, False, False, True)
    assert buy.order_id != sell.order_id
    after = [held(it, name, "BTC-USDT-SWAP").size for name in ("okx-main", "okx-isolated")]
    assert after == [sizes[0] + 2, sizes[1] - 2]


# --- What the venue does -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "category", "cause"),
    [
        (lambda it: it.hands.liquidate("okx-main", "SOL-USDT-SWAP"), "liquidation", "liquidated"),
        (lambda it: it.hands.deleverage("okx-main", "SOL-USDT-SWAP"), "adl", "adl"),
    ],
)
def test_a_takeover_is_an_order_and_a_fill_that_the_position_does_not_count(
    act: Any, category: str, cause: str
) -> None:
    it = world()
    before = held(it, "okx-main", "SOL-USDT-SWAP")
    order, filled, changed, balance = heard(it, lambda: act(it))
    assert isinstance(order, OrderChanged)
    assert isinstance(filled, Filled)
    assert isinstance(changed, PositionChanged)
    assert isinstance(balance, BalanceChanged)
    assert (order.order.category, filled.trade.category) == (category, category)
    assert (changed.cause, balance.cause, changed.trade, changed.before) == (cause, cause, None, before)
    assert (changed.position.trade_id, changed.position.size) == (before.trade_id, 0)
    assert changed.position.liquidated == (cause == "liquidated")
    assert last_change(it)["ids"] == {"trade": str(filled.trade.id), "order": str(order.order.id)}


def test_a_partial_liquidation_leaves_the_rest_open_and_cancels_orders_first() -> None:
    it = world()
    it.hands.place_order("okx-isolated", "LTC-USDT-SWAP", True, Decimal(10), Decimal(5))
    events = heard(it, lambda: it.hands.liquidate("okx-isolated", "LTC-USDT-SWAP", share=Decimal("0.25")))
    assert isinstance(events[0], OrderChanged)
    assert events[0].order.status == "cancelled"
    rest = held(it, "okx-isolated", "LTC-USDT-SWAP")
    assert (rest.size, rest.liquidated) == (105, False)
    assert it.account("okx-isolated").liquidated == {}


def test_funding_is_paid_by_longs_and_received_by_shorts_when_the_rate_is_positive() -> None:
    it = world()
    rate = Decimal("0.0001")
    events = heard(it, lambda: it.hands.pay_funding("aster", "BTCUSDT", rate))
    paid = {(e.account, e.position.side): e for e in events if isinstance(e, FundingPaid)}
    assert set(paid) == {("aster-main", "long"), ("aster-hedge", "long"), ("aster-hedge", "short")}
    for (account, side), payment in paid.items():
        value = payment.position.size * it.mark("aster", "BTCUSDT")
        assert payment.amount == (-1 if side == "long" else 1) * (value * rate).quantize(Decimal("1e-8"))
        assert payment.position.funding == payment.amount
        assert payment in it.payments(account)
    assert shape(events)[:3] == ["FundingPaid", "PositionChanged", "BalanceChanged"]
    assert last_change(it)["cause"] == "funding"
    assert "payment" in last_change(it)["ids"]


def test_funding_comes_due_at_the_hour_by_the_rate_that_was_announced() -> None:
    it = World(1, BEGIN + 3_595_000)
    rate, due = it.funding("hyperliquid", "BTC")
    assert due == BEGIN + 3_600_000
    it.step(due - 100)
    assert it.payments("hl-main") == []
    it.step(due)
    (payment,) = [p for p in it.payments("hl-main") if p.position.symbol == "BTC"]
    assert (payment.rate, payment.at) == (rate, due)
    assert it.funding("hyperliquid", "BTC")[1] == due + 3_600_000
    assert it.payments("okx-main") == []


def test_a_settlement_moves_profit_into_the_balance_and_counts_from_the_mark_on() -> None:
    it = world()
    future = dated(it, "future")
    it.shift("BTC", Decimal("0.02"))
    before, profit = held(it, "okx-main", future.symbol), it.unrealized_pnl(held(it, "okx-main", future.symbol))
    cash = it.account("okx-main").cash["USDT"]
    changed, balance = heard(it, lambda: it.hands.settle("okx", future.symbol))
    assert isinstance(changed, PositionChanged)
    assert isinstance(balance, BalanceChanged)
    after = changed.position
    assert (changed.cause, after.size, after.first_entry) == ("settled", before.size, before.entry_price)
    assert (after.entry_price, it.unrealized_pnl(after)) == (it.mark("okx", future.symbol), 0)
    assert (after.settled, balance.cash) == (profit, cash + profit)
    it.open_position("okx-main", future.symbol, "short", before.size)
    twice = held(it, "okx-main", future.symbol)
    assert (twice.first_entry or 0) - twice.entry_price == (before.entry_price - after.entry_price) / 2


def test_a_dated_future_is_delivered_and_never_traded_again() -> None:
    it = world()
    future = dated(it, "future", inverse=True)
    assert future.expires_at is not None
    assert future.expires_at > BEGIN
    before = held(it, "okx-main", future.symbol)
    order, filled, changed, _ = heard(it, lambda: it.hands.expire("okx", future.symbol))
    assert isinstance(order, OrderChanged)
    assert isinstance(filled, Filled)
    assert isinstance(changed, PositionChanged)
    assert (filled.trade.category, changed.cause, filled.trade.fee) == ("delivery", "settled", 0)
    assert filled.trade.price == it.mark("okx", future.symbol)
    assert changed.before == before
    assert it.expired(it.contract("okx", future.symbol))
    with pytest.raises(Impossible, match="has expired"):
        it.open_position("okx-main", future.symbol)
    mark = it.mark("okx", future.symbol)
    it.step(BEGIN + 9_000)
    assert it.mark("okx", future.symbol) == mark


def test_what_expires_while_the_world_runs_settles_by_itself() -> None:
    expires_at = dated(world(), "future").expires_at
    assert expires_at is not None
    it = World(1, expires_at - 7 * 86_400_000 - 1_000)
    future = dated(it, "future")
    assert future.expires_at == expires_at
    it.now_ms = expires_at - 9_000
    it.step(it.now_ms)
    it.step(expires_at - 4_000)
    assert held(it, "okx-main", future.symbol)
    it.step(expires_at + 1_000)
    assert future.symbol not in {p.symbol for p in it.positions("okx-main")}


@pytest.mark.parametrize("end", ["close_position", "liquidate", "deleverage"])
def test_whoever_parts_with_an_option_gets_what_it_is_worth_however_that_comes(end: str) -> None:
    it = world()
    option = dated(it, "option")
    position = held(it, "okx-main", option.symbol)
    before = it.account("okx-main").cash[option.purse]
    getattr(it.hands, end)("okx-main", option.symbol)
    trade = it.fills("okx-main")[-1].trade
    price = position.size * option.contract_size * trade.price
    assert trade.pnl + trade.premium == pytest.approx(price, abs=Decimal("1e-11"))
    assert it.account("okx-main").cash[option.purse] == before + trade.pnl + trade.premium + trade.fee


def test_an_option_expires_without_a_push_and_pays_only_what_it_is_worth() -> None:
    it = world()
    option = dated(it, "option")
    position = held(it, "okx-main", option.symbol)
    assert it.worth(position) == position.size * option.contract_size * it.mark("okx", option.symbol)
    (changed,) = heard(it, lambda: it.hands.expire("okx", option.symbol))
    assert isinstance(changed, PositionChanged)
    assert (changed.cause, changed.trade, changed.position.size) == ("expired", None, 0)
    assert (last_change(it)["trace"], last_change(it)["ids"]) == (False, {})
    it.shift("BTC", Decimal("0.5"))
    bybit = dated(it, "option", venue="bybit")
    events = heard(it, lambda: it.hands.expire("bybit", bybit.symbol))
    assert shape(events) == ["PositionChanged", "BalanceChanged"]


def test_a_split_multiplies_sizes_and_divides_prices_so_that_values_stay() -> None:
    it = world()
    before, mark = held(it, "hl-main", "kPEPE"), it.mark("hyperliquid", "kPEPE")
    upnl = it.unrealized_pnl(before)
    it.hands.split("hyperliquid", "kPEPE", Decimal(2))
    after = held(it, "hl-main", "kPEPE")
    assert after.size == before.size * 2
    assert abs(after.entry_price * 2 - before.entry_price) < Decimal("0.0000001")
    assert abs(it.mark("hyperliquid", "kPEPE") * 2 - mark) <= Decimal("0.000002")
    assert abs(it.unrealized_pnl(after) - upnl) < 10  # the tick of the halved price times three million
    assert last_change(it)["cause"] == "split"


def test_silent_changes_leave_only_the_position() -> None:
    it = world()
    cash = dict(it.account("bybit-main").cash)
    (changed,) = heard(it, lambda: it.hands.silent("bybit-main", "SOLUSDT", size=Decimal(50)))
    assert isinstance(changed, PositionChanged)
    assert (changed.cause, changed.position.size, changed.trade) == ("silent", 50, None)
    assert (it.account("bybit-main").cash, it.fills("bybit-main"), last_change(it)["trace"]) == (cash, [], False)
    it.hands.silent("bybit-main", "SOLUSDT")
    assert "SOLUSDT" not in {p.symbol for p in it.positions("bybit-main")}


# --- Money ---------------------------------------------------------------------------------------------------------------


def test_margin_moves_between_what_is_free_and_the_position() -> None:
    it = world()
    owner, before = it.account("okx-isolated"), held(it, "okx-isolated", "LTC-USDT-SWAP")
    free = it.cross_cash(owner, "USDT")
    events = heard(it, lambda: it.hands.margin("okx-isolated", "LTC-USDT-SWAP", Decimal(25)))
    assert shape(events) == ["PositionChanged", "BalanceChanged"]
    after = held(it, "okx-isolated", "LTC-USDT-SWAP")
    assert (after.margin, it.cross_cash(owner, "USDT")) == ((before.margin or 0) + 25, free - 25)


def test_a_transfer_is_told_before_the_balance() -> None:
    it = world()
    moved, balance = heard(it, lambda: it.hands.transfer("okx-main", "BTC", "withdrawal", Decimal("-0.1")))
    assert isinstance(moved, Transferred)
    assert isinstance(balance, BalanceChanged)
    assert (moved.kind, moved.amount, balance.cash) == (
        "withdrawal",
        Decimal("-0.1"),
        it.account("okx-main").cash["BTC"],
    )
    assert it.transfers("okx-main") == [moved]


@pytest.mark.parametrize(
    ("act", "fault", "says"),
    [
        (lambda it: it.hands.trade_between("okx-main", "bybit-main", "X", Decimal(1)), Impossible, "of one venue"),
        (
            lambda it: it.hands.trade_between("okx-main", "okx-isolated", "ETH-USDT-SWAP", Decimal(9000)),
            Impossible,
            "turn",
        ),
        (lambda it: it.hands.liquidate("okx-main", "SOL-USDT-SWAP", share=Decimal(2)), Impossible, "at most 1"),
        (lambda it: it.hands.pay_funding("okx", dated(it, "future").symbol), Impossible, "no perpetual"),
        (lambda it: it.hands.settle("okx", "BTC-USDT-SWAP"), Impossible, "futures are"),
        (lambda it: it.hands.expire("okx", "BTC-USDT-SWAP"), Impossible, "never expires"),
        (lambda it: it.hands.split("bybit", "BTCUSDT", Decimal("0.0001")), Impossible, "multiples of 0.001"),
        (lambda it: it.hands.split("bybit", "BTCUSD", Decimal(2)), Impossible, "only linear"),
        (lambda it: it.hands.margin("okx-main", "SOL-USDT-SWAP", Decimal(1)), Impossible, "only isolated"),
        (lambda it: it.hands.margin("okx-isolated", "LTC-USDT-SWAP", Decimal(-(10**6))), Impossible, "cannot move"),
        (lambda it: it.hands.transfer("okx-main", "DOGE", "deposit", Decimal(1)), UnknownName, "it has 'USDT'"),
        (lambda it: it.hands.transfer("okx-main", "USDT", "withdrawal", Decimal(-(10**9))), Impossible, "has only"),
        (lambda it: it.open_position("okx-main", dated(it, "option").symbol, "short"), Impossible, "only be bought"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_can(act: Any, fault: type[Exception], says: str) -> None:
    with pytest.raises(fault, match=says):
        act(world())
