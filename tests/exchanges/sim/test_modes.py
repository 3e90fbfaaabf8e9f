"""Switches of mode: closed and opened again where the venue asks for it, in place where it does not."""

from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim.changes import Filled, ModeChanged, PositionChanged
from exchanges.sim.world import Impossible
from tests.exchanges.sim.test_hands import heard, held, shape, world


@pytest.mark.parametrize("account", ["okx-hedge", "bybit-hedge", "aster-hedge"])
def test_legs_are_closed_before_a_switch_and_come_to_one_after_it(account: str) -> None:
    it = world()
    events = heard(it, lambda: it.modes.switch_legs(account, hedge=False))
    (switched,) = [e for e in events if isinstance(e, ModeChanged)]
    assert (switched.hedge, it.truth()["modes"][account]["hedge"]) == (False, False)
    changes = [e for e in events if isinstance(e, PositionChanged)]
    assert {c.cause for c in changes} == {"mode"}
    assert all(change.trade is not None for change in changes)
    place = events.index(switched)
    assert all((c.position.size == 0) == (events.index(c) < place) for c in changes)
    assert {p.leg for p in it.positions(account)} == {"net"}
    ids = {p.id for p in it.positions(account)}
    it.modes.switch_legs(account, hedge=True)
    assert {p.leg for p in it.positions(account)} <= {"long", "short"}
    assert not ids & {p.id for p in it.positions(account)}


def test_bybits_margin_mode_changes_positions_in_place() -> None:
    it = world()
    (option,) = (p.symbol for p in it.positions("bybit-main") if it.contract("bybit", p.symbol).kind == "option")
    with pytest.raises(Impossible, match=f"{option}: Bybit has no options in isolated"):
        it.modes.switch_account("bybit-main", "isolated")
    it.hands.close_position("bybit-main", option)
    before = {p.symbol: p for p in it.positions("bybit-main")}
    events = heard(it, lambda: it.modes.switch_account("bybit-main", "isolated"))
    assert not [e for e in events if isinstance(e, Filled)]
    changes = [e for e in events if isinstance(e, PositionChanged)]
    assert {c.position.symbol for c in changes} == set(before)
    for change in changes:
        assert change.before == before[change.position.symbol]
        assert (change.position.mode, change.position.size) == ("isolated", change.before.size)
        assert change.position.margin is not None
    with pytest.raises(Impossible, match="isolated margin mode"):
        it.hands.open_position("bybit-main", option)
    assert all(p.requirement < p.equity for p in it.pools(it.account("bybit-main")) if p.positions)
    it.modes.switch_account("bybit-main", "cross")
    assert {p.mode for p in it.positions("bybit-main")} == {"cross"}
    told = [(switch["account"], switch["margins"]) for switch in it.truth()["switches"]]
    assert told == [("bybit-main", ("cross", "isolated")), ("bybit-main", ("isolated", "cross"))]


@pytest.mark.parametrize(("account", "back"), [("okx-main", "futures"), ("bybit-main", "cross")])
def test_a_portfolio_is_one_pool_in_dollars(account: str, back: str) -> None:
    it = world()
    it.modes.switch_account(account, "portfolio")
    pools = [pool for pool in it.pools(it.account(account)) if not pool.name.startswith("iso:")]
    assert [(pool.name, pool.requirement < pool.equity) for pool in pools] == [("USD", True)]
    it.modes.switch_account(account, back)
    assert it.account(account).mode == back


def test_hyperliquid_changes_one_coin_in_place_and_okx_by_closing_and_opening() -> None:
    it = world()
    events = heard(it, lambda: it.modes.switch_symbol("hl-main", "BTC", "isolated"))
    assert shape(events) == ["PositionChanged", "BalanceChanged"]
    assert held(it, "hl-main", "BTC").margin is not None
    events = heard(it, lambda: it.modes.switch_symbol("okx-main", "SOL-USDT-SWAP", "isolated"))
    assert [e.cause for e in events if isinstance(e, PositionChanged)] == ["mode", "mode"]
    assert (held(it, "okx-main", "SOL-USDT-SWAP").mode, held(it, "okx-main", "SOL-USDT-SWAP").size) == ("isolated", 300)


def test_okx_holds_one_symbol_cross_and_isolated_at_once() -> None:
    it = world()
    both = [p for p in it.positions("okx-main") if p.symbol == "ETH-USDT-SWAP"]
    assert {p.mode for p in both} == {"cross", "isolated"}
    assert len({p.id for p in both}) == 2


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda it: it.modes.switch_legs("hl-main", hedge=True), "no hedge mode"),
        (lambda it: it.modes.switch_legs("okx-main", hedge=False), "already"),
        (lambda it: it.modes.switch_account("okx-main", "isolated"), "switch it to multi"),
        (lambda it: it.modes.switch_account("aster-main", "multi"), "isolated positions"),
        (lambda it: it.modes.switch_symbol("bybit-main", "BTCUSDT", "isolated"), "whole account"),
        (lambda it: it.modes.switch_symbol("aster-multi", "ETHUSDT", "isolated"), "multi-assets"),
        (lambda it: it.modes.switch_symbol("okx-main", "SOL-USDT-SWAP", "cross"), "does already"),
    ],
)
def test_what_a_venue_does_not_have_is_refused(act: Any, says: str) -> None:
    with pytest.raises(Impossible, match=says):
        act(world())


@pytest.mark.parametrize(("account", "symbol"), [("hl-main", "BTC"), ("aster-main", "BTCUSDT")])
def test_a_switch_of_one_symbol_cancels_its_orders_which_would_open_a_second_position(
    account: str, symbol: str
) -> None:
    it = world()
    contract = it.contract(it.account(account).venue, symbol)
    far = it.mark(contract.venue, symbol) / 2
    it.hands.place_order(account, symbol, True, far - far % contract.tick, contract.lot)
    assert any(order.symbol == symbol for order in it.orders(account))
    it.modes.switch_symbol(account, symbol, "isolated")
    assert not any(order.symbol == symbol for order in it.orders(account))


def test_a_unified_account_is_one_pool_a_token_of_all_dexes_and_the_spot_balance() -> None:
    it = world()
    owner = it.account("hl-dex")
    apart = {pool.name: pool for pool in it.pools(owner) if not pool.name.startswith("iso:")}
    it.modes.switch_account("hl-dex", "unified")
    (pool,) = [pool for pool in it.pools(owner) if not pool.name.startswith("iso:")]
    assert (pool.name, pool.ccy) == ("unified:USDC", "USDC")
    assert pool.equity == apart[""].equity + apart["xyz"].equity + owner.spot["USDC"]
    assert pool.requirement == apart[""].requirement + apart["xyz"].requirement
    assert {p.symbol for p in pool.positions} == {p.symbol for one in apart.values() for p in one.positions}
    it.modes.switch_account("hl-dex", "standard")
    assert {pool.name for pool in it.pools(owner) if not pool.name.startswith("iso:")} == {"", "xyz"}


def test_money_of_one_dex_saves_another_in_a_unified_account_alone() -> None:
    it = world()
    owner = it.account("hl-dex")
    owner.cash["xyz"] = Decimal(0)
    it.modes.switch_account("hl-dex", "unified")
    it.liquidate_due()
    assert any(p.symbol.startswith("xyz:") and p.margin is None for p in it.positions("hl-dex"))
    it.modes.switch_account("hl-dex", "standard")
    it.liquidate_due()
    assert not any(p.symbol.startswith("xyz:") and p.margin is None for p in it.positions("hl-dex"))


def test_a_unified_account_that_is_spent_loses_all_its_cross_positions_and_never_more_than_it_has() -> None:
    it = world()
    owner = it.account("hl-dex")
    it.modes.switch_account("hl-dex", "unified")
    (pool,) = [pool for pool in it.pools(owner) if not pool.name.startswith("iso:")]
    owner.spot["USDC"] -= pool.equity - pool.requirement / 2
    it.liquidate_due()
    assert {p.mode for p in it.positions("hl-dex")} <= {"isolated"}
    (left,) = [pool for pool in it.pools(owner) if not pool.name.startswith("iso:")]
    assert left.equity >= 0
