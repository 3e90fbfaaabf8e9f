"""What happens by itself: everything happens, and nothing grows without end."""

from collections import Counter
from decimal import Decimal

import pytest

from exchanges.sim.catalog import Side
from exchanges.sim.changes import Filled, MarkChanged, OrderChanged, PositionChanged, Transferred, WorldEvent
from exchanges.sim.whims import MAX_ORDERS
from exchanges.sim.world import World

BEGIN = 1_763_683_200_000
SEED = 4


@pytest.fixture(scope="module")
def hour() -> tuple[World, list[WorldEvent]]:
    """An hour of the world: how it ends, and what happened besides the marks."""
    it, events = World(SEED, BEGIN), list[WorldEvent]()
    cursor = it.cursor()
    for _ in range(360):
        it.step(it.now_ms + 10_000)
        fresh, cursor = it.events_since(cursor)
        events += [event for event in fresh if not isinstance(event, MarkChanged)]
        assert all(len(it.orders(name)) <= MAX_ORDERS for name in it.accounts)
    return it, events


def test_an_hour_brings_everything_and_ends_where_it_began(hour: tuple[World, list[WorldEvent]]) -> None:
    it, events = hour
    begun = World(SEED, BEGIN)
    statuses = {e.order.status for e in events if isinstance(e, OrderChanged)}
    assert statuses == {"open", "partially_filled", "filled", "cancelled"}
    causes = {e.cause for e in events if isinstance(e, PositionChanged)}
    assert causes == {"opened", "trade", "closed", "margin", "funding"}
    assert any(isinstance(event, Transferred) for event in events)
    for name, account in begun.accounts.items():
        planned = {key: position.size for key, position in account.positions.items()}
        for key, position in it.accounts[name].positions.items():
            assert position.size < 2 * planned[key]
        for purse, cash in account.cash.items():
            assert abs(it.accounts[name].cash[purse] - cash) < cash * Decimal("0.2")


def test_accounts_of_ours_meet_and_share_a_trade_with_one_maker(hour: tuple[World, list[WorldEvent]]) -> None:
    _, events = hour
    fills = [event for event in events if isinstance(event, Filled)]
    seen = Counter((fill.position.venue, fill.symbol, fill.trade.id) for fill in fills)
    shared = [key for key, count in seen.items() if count == 2]
    assert len(shared) > 10
    assert {venue for venue, _, _ in shared} == {"okx", "bybit", "aster"}
    assert max(seen.values()) == 2
    for key in shared:
        one, other = [f for f in fills if (f.position.venue, f.symbol, f.trade.id) == key]
        assert one.account != other.account
        assert {one.trade.buy, other.trade.buy} == {one.trade.maker, other.trade.maker} == {True, False}


def test_fills_lead_from_size_to_size_also_of_positions_that_were_turned_round_by_hand() -> None:
    it = World(SEED, BEGIN)
    for position in it.positions("okx-main") + it.positions("okx-isolated"):
        alone = len(it.hands.held(position.account, position.symbol)) == 1
        if alone and it.contract("okx", position.symbol).kind == "perp":
            it.close_position(position.account, position.symbol)
            side: Side = "short" if position.side == "long" else "long"
            it.hands.open_position(position.account, position.symbol, side, position.size)
    fills, cursor = list[Filled](), it.cursor()
    for _ in range(90):
        it.step(it.now_ms + 10_000)
        fresh, cursor = it.events_since(cursor)
        fills += [event for event in fresh if isinstance(event, Filled)]
    assert len(fills) > 100
    for fill in fills:
        moved = fill.trade.size if fill.trade.buy else -fill.trade.size
        assert fill.trade.before + moved == fill.position.sign * fill.position.size
