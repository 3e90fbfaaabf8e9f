"""The world by itself: deterministic, exact, bounded, and liquidated by full revaluation."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.sim import dated
from exchanges.sim.catalog import CONTRACTS, MARK_EVERY_MS, TAKER_FEE, VENUES
from exchanges.sim.changes import Filled, OrderChanged, Transferred
from exchanges.sim.roster import ACCOUNTS
from exchanges.sim.world import BalanceChanged, Impossible, MarkChanged, PositionChanged, UnknownName, World

BEGIN = 1_763_683_200_000


def world(seed: int = 1) -> World:
    return World(seed, BEGIN)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), cuts=st.lists(st.integers(1, 4_000), max_size=12))
def test_the_same_seed_gives_the_same_world_however_time_is_cut(seed: int, cuts: list[int]) -> None:
    whole, pieces = world(seed), world(seed)
    for cut in cuts:
        pieces.step(pieces.now_ms + cut)
    end = pieces.now_ms
    while whole.now_ms < end:
        whole.step(min(end, whole.now_ms + 9_000))
    assert whole.truth() == pieces.truth()
    assert [a.secret for a in whole.accounts.values()] == [a.secret for a in pieces.accounts.values()]


def test_another_seed_gives_another_world() -> None:
    assert world(1).truth() != world(2).truth()
    assert world(1).account("okx-main").secret != world(2).account("okx-main").secret


def test_it_opens_with_positions_of_every_kind_on_every_venue() -> None:
    positions = [p for account in world().accounts for p in world().positions(account)]
    assert len(positions) >= 30
    for venue in VENUES:
        mine = [p for p in positions if p.venue == venue]
        assert {p.side for p in mine} == {"long", "short"}
        assert {p.mode for p in mine} == {"cross", "isolated"}
    assert any(p.leg == "short" for p in positions)
    assert any(c.inverse and p.symbol == c.symbol for p in positions for c in CONTRACTS)


def test_nobody_is_in_danger_for_an_hour_of_trading() -> None:
    it = world(7)
    traded = 0
    cursor = it.cursor()
    for _ in range(360):
        it.step(it.now_ms + 10_000)
        events, cursor = it.events_since(cursor)
        traded += sum(isinstance(event, PositionChanged) for event in events)
        for account in it.accounts.values():
            for pool in it.pools(account):
                assert pool.requirement < pool.equity or not pool.positions
    assert traded > 360
    assert not any(position["liquidated"] for position in it.truth()["positions"])


def test_marks_move_at_each_venues_own_cadence_and_no_faster() -> None:
    it = world()
    cursor = it.cursor()
    it.step(BEGIN + 9_000)
    events, _ = it.events_since(cursor)
    marks = [event for event in events if isinstance(event, MarkChanged)]
    for venue in VENUES:
        times = {event.at - BEGIN for event in marks if event.venue == venue}
        assert times
        assert all(time % MARK_EVERY_MS[venue] == 0 for time in times)
    assert len([e for e in marks if e.symbol == "BTC-USDT-SWAP"]) > 40


def test_balances_and_positions_add_up_from_the_trades_alone() -> None:
    """An independent book, kept from the fills of the log, ends at the same cash, size and average entry."""
    it = world(3)
    cash = {(a.name, purse): amount for a in it.accounts.values() for purse, amount in a.cash.items()}
    size = {(p.account, p.key): p.sign * p.size for a in it.accounts for p in it.positions(a)}
    cursor = it.cursor()
    for _ in range(30):
        it.step(it.now_ms + 10_000)
    events, _ = it.events_since(cursor)
    for event in events:
        if isinstance(event, Transferred):
            cash[event.account, event.purse] += event.amount
        if isinstance(event, Filled):
            position, trade = event.position, event.trade
            account = it.account(event.account)
            contract = it.contract(position.venue, position.symbol)
            cash[position.account, contract.purse] += trade.fee + trade.pnl
            where = (position.account, position.key)
            assert size.get(where, Decimal(0)) == trade.before
            size[where] = trade.before + (trade.size if trade.buy else -trade.size)
            assert abs(size[where]) == position.size
            value = trade.size * contract.contract_size
            value = value / trade.price if contract.inverse else value * trade.price
            rate = account.maker_fee if trade.maker else TAKER_FEE[position.venue]
            # Off by half a unit of what the venue books at most.
            digits = 8 if position.venue in ("bybit", "aster") else 12
            assert abs(trade.fee + value * rate) <= Decimal(5).scaleb(-digits - 1)
    for account in it.accounts.values():
        for purse, amount in account.cash.items():
            assert cash[account.name, purse] == amount
        for position in account.positions.values():
            assert size[account.name, position.key] == position.sign * position.size
    assert {BalanceChanged, Filled, Transferred, OrderChanged} <= {type(event) for event in events}
    assert {e.trade.fee > 0 for e in events if isinstance(e, Filled) and e.trade.maker} == {True, False}


def test_adding_averages_the_entry_and_closing_realises_the_difference() -> None:
    it = world()
    before = it.account("hl-single").positions.copy()
    (held,) = before.values()
    (after,) = it.open_position("hl-single", "HYPE", "short", Decimal(80))
    mark = it.mark("hyperliquid", "HYPE")
    assert after.size == held.size + 80
    mean = (held.entry_price * held.size + mark * 80) / after.size
    assert abs(after.entry_price - mean) <= Decimal("0.00000001")
    cash = it.account("hl-single").cash[""]
    (closed,) = it.close_position("hl-single", "HYPE")
    assert closed == after
    pnl = -after.size * (mark - after.entry_price)
    fee = after.size * mark * TAKER_FEE["hyperliquid"]
    assert abs(it.account("hl-single").cash[""] - (cash + pnl - fee)) < Decimal("1e-9")
    assert it.positions("hl-single") == []


def test_paused_nothing_moves_but_hands_still_act_and_time_is_not_caught_up() -> None:
    it = world()
    it.step(BEGIN + 5_000)
    it.pause()
    still = {**it.truth(), "at": None}
    it.step(BEGIN + 605_000)
    assert {**it.truth(), "at": None} == still
    it.close_position("okx-hedge", "BTC-USDT-SWAP", "short")
    left = [p.leg for p in it.positions("okx-hedge") if p.symbol == "BTC-USDT-SWAP"]
    assert left == ["long"]
    it.resume()
    cursor = it.cursor()
    it.step(BEGIN + 605_250)
    events, _ = it.events_since(cursor)
    assert {event.at for event in events} <= set(range(BEGIN + 605_000, BEGIN + 605_251))


def test_time_that_a_machine_slept_is_skipped() -> None:
    it = world()
    it.step(BEGIN + 3_600_000)
    cursor = it.cursor()
    it.step(BEGIN + 3_600_500)
    events, _ = it.events_since(cursor)
    assert events
    assert all(event.at > BEGIN + 3_600_000 for event in events)


def test_a_crash_liquidates_what_is_out_of_margin_and_truth_says_so() -> None:
    it = world()
    cursor = it.cursor()
    it.shift("LTC", Decimal("-0.2"))
    events, _ = it.events_since(cursor)
    (gone,) = [e for e in events if isinstance(e, PositionChanged)]
    assert (gone.cause, gone.position.symbol, gone.position.size, gone.trade) == (
        "liquidated",
        "LTC-USDT-SWAP",
        0,
        None,
    )
    row = next(p for p in it.truth()["positions"] if p["symbol"] == "LTC-USDT-SWAP")
    assert (row["liquidated"], row["size"]) == (True, "0")
    assert it.account("okx-isolated").cash["USDT"] > 0


def test_a_cross_pool_goes_together_and_never_below_nothing() -> None:
    it = world()
    it.shift("BTC", Decimal("-0.9"))
    gone = {p["symbol"] for p in it.truth()["positions"] if p["account"] == "hl-main" and p["liquidated"]}
    assert gone == {"BTC", "ETH", "SOL", "kPEPE", "DOGE"}
    assert it.account("hl-main").cash[""] >= it.account("hl-main").isolated_margin({"LINK"})


def test_opening_again_takes_back_the_mark_of_a_liquidation() -> None:
    it = world()
    it.shift("LTC", Decimal("-0.2"))
    it.open_position("okx-isolated", "LTC-USDT-SWAP")
    row = next(p for p in it.truth()["positions"] if p["symbol"] == "LTC-USDT-SWAP")
    assert (row["liquidated"], row["size"]) == (False, "140")


def test_the_log_forgets_and_says_so() -> None:
    it = world()
    for _ in range(80):
        it.step(it.now_ms + 9_900)
    assert it.cursor() > 100_000
    with pytest.raises(LookupError, match="start anew"):
        it.events_since(0)


@pytest.mark.parametrize(
    ("act", "fault", "says"),
    [
        (lambda it: it.open_position("nobody", "BTC"), UnknownName, "there are okx-main"),
        (lambda it: it.open_position("hl-main", "NOPE"), UnknownName, "it has BTC, ETH"),
        (lambda it: it.close_position("hl-main", "HYPE"), UnknownName, "open are BTC, DOGE"),
        (lambda it: it.open_position("okx-main", "ETH-USD-SWAP"), Impossible, "holds no ETH"),
        (lambda it: it.open_position("hl-main", "BTC", "short"), Impossible, "close it first"),
        (
            lambda it: it.open_position("hl-main", "BTC", "long", Decimal("0.000001")),
            Impossible,
            "multiples of 0.00001",
        ),
        (lambda it: it.shift("TULIP", Decimal(1)), UnknownName, "there are BTC"),
        (lambda it: it.shift("BTC", Decimal(-1)), Impossible, "at most"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_can(act, fault, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(fault, match=says):
        act(world())


def test_no_secret_is_in_a_representation() -> None:
    for account in world().accounts.values():
        assert account.secret not in repr(account)
        assert account.passphrase not in repr(account)


def test_the_catalog_is_consistent() -> None:
    contracts = dated.contracts(BEGIN)
    listed = {(c.venue, c.symbol): c for c in contracts}
    assert len(listed) == len(contracts)
    for contract in contracts:
        assert [tier.lower for tier in contract.tiers] == sorted({tier.lower for tier in contract.tiers})
        for low, high in zip(contract.tiers, contract.tiers[1:], strict=False):
            if contract.venue != "okx":  # no jump of maintenance at a boundary
                assert high.lower * (high.rate - low.rate) == high.deduction - low.deduction
    for spec in dated.accounts(ACCOUNTS, BEGIN):
        for opening in spec.openings:
            contract = listed[spec.venue, opening.symbol]
            assert opening.size % contract.lot == 0
            assert opening.leverage <= contract.max_leverage
            assert contract.purse in spec.cash


def test_marks_move_before_anybody_is_liquidated_and_due_is_who_is_out_of_margin() -> None:
    it = world()
    it.pause()
    it.move({"HYPE": Decimal("0.6"), "ETH": Decimal("0.01")})
    assert any(p.symbol == "HYPE" for p in it.positions("hl-single"))
    assert [(account.name, pool.name) for account, pool in it.due()] == [("hl-single", "")]
    it.liquidate_due()
    assert not it.positions("hl-single")
    assert it.due() == []


def test_a_scaled_view_is_how_it_would_stand_and_changes_nothing() -> None:
    it, moved = world(), world()
    before = it.truth()
    view = it.scaled({"BTC": Decimal("0.9")})
    moved.move({"BTC": Decimal("-0.1")})
    for account in it.accounts.values():
        for seen, real in zip(view.pools(account), moved.pools(account), strict=True):
            if not any(it.contracts[p.venue, p.symbol].kind == "option" for p in seen.positions):
                assert float(seen.equity) == pytest.approx(float(real.equity), rel=1e-4)
                assert float(seen.requirement) == pytest.approx(float(real.requirement), rel=1e-4)
    assert it.truth() == before
