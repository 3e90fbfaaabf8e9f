"""Whatever is done to the world: its log tells all of it, and money adds up."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.sim.changes import BalanceChanged, Filled, FundingPaid, PositionChanged, Transferred
from exchanges.sim.ledger import to_entry
from exchanges.sim.revalue import Position
from exchanges.sim.state import Account
from exchanges.sim.world import Impossible, UnknownName, World
from tests.exchanges.sim.test_hands import world


def pay_in_another_coin(account: Account) -> None:
    """Where the venue knows of it; the coin is one that the account holds."""
    if account.venue in ("bybit", "aster"):
        account.fee_ccy = list(account.cash)[-1]


ACTS: tuple[Callable[[World, str, Position, Decimal], Any], ...] = (
    lambda it, name, p, x: it.close_position(name, p.symbol, p.side),
    lambda it, name, p, x: it.hands.close_position(name, p.symbol, p.side, it.contract(p.venue, p.symbol).lot),
    lambda it, name, p, x: it.open_position(name, p.symbol),
    lambda it, name, p, x: it.hands.liquidate(name, p.symbol, p.side, x),
    lambda it, name, p, x: it.hands.deleverage(name, p.symbol, p.side, x),
    lambda it, name, p, x: it.hands.pay_funding(p.venue, p.symbol),
    lambda it, name, p, x: it.hands.settle(p.venue, p.symbol),
    lambda it, name, p, x: it.hands.expire(p.venue, p.symbol),
    lambda it, name, p, x: it.hands.split(p.venue, p.symbol, Decimal(2)),
    lambda it, name, p, x: it.hands.silent(name, p.symbol, p.side),
    lambda it, name, p, x: it.hands.margin(name, p.symbol, x * 10, p.side),
    lambda it, name, p, x: it.hands.transfer(name, next(iter(it.account(name).cash)), "deposit", x),
    lambda it, name, p, x: it.modes.switch_legs(name, hedge=not it.account(name).hedge),
    lambda it, name, p, x: it.modes.switch_symbol(name, p.symbol, "isolated"),
    lambda it, name, p, x: it.modes.switch_account(name, "isolated" if p.venue == "bybit" else "multi"),
    lambda it, name, p, x: it.step(it.now_ms + int(x * 9_000)),
    lambda it, name, p, x: pay_in_another_coin(it.account(name)),
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(ACTS), st.integers(0, 11), st.integers(0, 20), st.decimals("0.05", "1", places=2)),
        max_size=25,
    )
)
def test_whatever_is_done_the_log_tells_all_of_it_and_money_adds_up(acts: list[Any]) -> None:
    """From the log alone: every position continues what it was before, and every purse is its fills, funding and transfers."""
    it = world()
    positions = {(p.account, p.key): p for name in it.accounts for p in it.positions(name)}
    cash = {(a.name, purse): amount for a in it.accounts.values() for purse, amount in a.cash.items()}
    cursor = it.cursor()
    for act, account, nth, amount in acts:
        name = list(it.accounts)[account]
        mine = it.positions(name)
        if mine:
            try:
                act(it, name, mine[nth % len(mine)], amount)
            except (Impossible, UnknownName):
                continue
    for event in it.events_since(cursor)[0]:
        match event:
            case PositionChanged():
                if event.before is not None:
                    assert positions.pop((event.account, event.before.key)) == event.before
                    purse = it.contract(event.position.venue, event.position.symbol).purse
                    cash[event.account, purse] += event.position.settled - event.before.settled
                assert event.was == (event.before.size if event.before else 0)
                assert (event.account, event.position.key) not in positions
                if event.position.size:
                    positions[event.account, event.position.key] = event.position
            case Filled(trade=trade):
                purse = it.contract(event.position.venue, event.symbol).purse
                cash[event.account, purse] += trade.pnl + trade.own_fee + trade.premium
                if trade.paid is not None:
                    cash[event.account, trade.paid_in] += trade.paid
            case FundingPaid():
                cash[event.account, it.contract(event.position.venue, event.position.symbol).purse] += event.amount
            case Transferred():
                cash[event.account, event.purse] += event.amount
            case BalanceChanged(cause="expired"):
                cash[event.account, event.purse] = event.cash
            case BalanceChanged():
                assert cash[event.account, event.purse] == event.cash
            case _:
                pass
    assert positions == {(p.account, p.key): p for name in it.accounts for p in it.positions(name)}
    assert cash == {(a.name, purse): amount for a in it.accounts.values() for purse, amount in a.cash.items()}


def test_an_average_entry_is_finer_than_the_prices_that_it_is_of() -> None:
    """What a record of a position says that it brought is held against its fills: a coarser average would not come to it."""
    for contract in world().contracts.values():
        between = contract.tick * Decimal("1.5")
        assert to_entry(contract, between) == between, contract.symbol


def test_a_fee_of_another_coin_is_worth_what_it_would_have_been() -> None:
    it = world()
    account = it.account("bybit-main")
    before, account.fee_ccy = dict(account.cash), "BTC"
    cursor = it.cursor()
    it.open_position("bybit-main", "ETHUSDT")
    it.open_position("bybit-main", "BTCUSD")  # inverse: of what it settles in
    linear, inverse = (event.trade for event in it.events_since(cursor)[0] if isinstance(event, Filled))
    assert linear.paid is not None
    assert (linear.own_fee, linear.paid_in, inverse.paid) == (0, "BTC", None)
    assert abs(linear.paid * it.usd("BTC") - linear.fee * it.usd("USDT")) < Decimal("0.001")
    assert account.cash == before | {"BTC": before["BTC"] + linear.paid + inverse.fee}
