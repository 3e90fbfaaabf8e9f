"""The pure half of the write-behind: newest per row wins, what was not written waits again."""

from __future__ import annotations

import msgspec
import pytest

from exchanges.events import AccountMode, BalanceState, CoinBalance, CurrencyPrice, PoolState
from gateway.core.journal import Entry
from gateway.engine import Engine
from gateway.storage.mirror import Mirror, StoredAccount, merged
from tests.gateway.core.chain_worlds import fill
from tests.gateway.events_of import balance as balance_of
from tests.gateway.events_of import engine
from tests.gateway.life import Sink
from tests.gateway.storage.states import balance, collateral, instrument, position, tiers

T0 = 1_760_000_000_000


def test_a_thousand_changes_of_a_row_wait_once() -> None:
    mirror = Mirror()
    for number in range(1000):
        mirror.put_position(position(size=str(number + 1)), seq=number, at=number)
    batch, _ = mirror.take()
    assert [(row[4].size, row[5]) for row in batch.positions] == [("1000", 999)]
    assert len(batch.records["position_changes"]) == 1000, "each change is on record"
    assert len(mirror.dirty) == 0


def test_removed_row_waits_as_its_key_and_size_zero_is_removal() -> None:
    mirror = Mirror()
    gone, flat = position("A"), position("B")
    for state in (gone, flat):
        mirror.put_position(state, 1, 1)
    mirror.take()
    mirror.remove_position(gone.id, 2, 2)
    mirror.put_position(msgspec.structs.replace(flat, size="0.000", side=None), 3, 3)
    batch, _ = mirror.take()
    assert not batch.positions
    assert batch.removed == sorted([gone.id, flat.id])
    assert mirror.seq == 3


def test_each_change_has_a_place_of_its_own_among_those_of_the_journal() -> None:
    """One message may say several things of a position, and what no message said came by none."""
    mirror = Mirror(lambda kind, record_id, account: 7)
    mirror.put_position(position("A", size="1"), 1, T0)
    mirror.put_position(position("A", size="2"), 1, T0)
    entry = mirror.places.next(T0)
    mirror.put_entry(Entry(id=entry, at=T0, kind="clock", epoch="e"))
    mirror.prune((), ["main"], T0)
    rows = mirror.take()[0].records["position_changes"]
    assert [row.state.state and row.state.state.size for row in rows] == ["1", "2", None]
    assert [row.id for row in rows] == [f"{number}:{position('A').id}" for number in (entry - 2, entry - 1, entry + 1)]
    assert [(row.journal, row.state.journal) for row in rows] == [(7, 7), (7, 7), (None, None)]
    assert mirror.take()[0].journal == entry + 1, "what comes in the next life comes behind it"


def test_records_that_wait_are_bounded_on_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.storage.dirty.MOST_RECORDS", 10)
    mirror = Mirror()
    for number in range(30):
        if number % 6 == 0:
            _, taken = mirror.take()
        mirror.put_record("fills", fill(number, 1, "100", T0))
        if number % 6 == 5:
            mirror.give_back(taken)
    batch, taken = mirror.take()
    kept = [row.state.trade_id for row in batch.records["fills"]]
    assert (kept, mirror.given_up) == ([str(number) for number in range(20, 30)], 20), "the oldest go first"
    mirror.give_back(taken)
    assert mirror.given_up == 20


def test_a_fact_that_is_told_again_while_it_is_written_is_whole_afterwards() -> None:
    told = fill(1, 1, "100", T0, role="maker")
    origins = iter((5, 6))
    mirror = Mirror(lambda kind, record_id, account: next(origins))
    mirror.put_record("fills", told)
    _, taken = mirror.take()
    mirror.put_record("fills", msgspec.structs.replace(told, position=None, role=None, realized_pnl="3"))
    mirror.give_back(taken)
    (row,) = mirror.take()[0].records["fills"]
    assert (row.state, row.journal) == (msgspec.structs.replace(told, realized_pnl="3"), 5)


def test_what_was_not_written_is_taken_again_in_its_newest_form() -> None:
    mirror = Mirror()
    mirror.put_position(position("A", size="1"), 1, 1)
    mirror.put_position(position("B", size="1"), 1, 1)
    _, taken = mirror.take()
    mirror.put_position(position("A", size="2"), 2, 2)
    mirror.remove_position(position("B").id, 2, 2)
    mirror.give_back(taken)
    batch, _ = mirror.take()
    assert [row[4].size for row in batch.positions] == ["2"]
    assert batch.removed == [position("B").id]


def test_tiers_are_written_with_every_contract_that_uses_them() -> None:
    mirror = Mirror()
    mirror.put_instrument(instrument("X"), 1)
    mirror.put_instrument(instrument("Y"), 1)
    mirror.put_instrument(instrument("Z", tiers_key=None), 1)
    mirror.take()
    mirror.put_tiers(tiers())
    batch, _ = mirror.take()
    assert [(row[2], row[4]) for row in batch.contracts] == [("X", (tiers(),)), ("Y", (tiers(),))]


def test_tiers_of_a_margin_mode_or_an_account_stand_beside_those_of_all() -> None:
    mirror = Mirror()
    mirror.put_instrument(instrument("X"), 1)
    variants = [msgspec.structs.replace(tiers(), **whose) for whose in ({}, {"margin_mode": "cross"}, {"account": "a"})]
    for one in variants:
        mirror.put_tiers(one)
    mirror.put_tiers(newer := msgspec.structs.replace(variants[2], tiers=tiers("0.0100").tiers))
    (row,) = mirror.take()[0].contracts
    assert sorted(row[4], key=repr) == sorted([*variants[:2], newer], key=repr)
    mirror.learn_tiers(variants[2])
    mirror.put_instrument(instrument("X"), 2)
    (row,) = mirror.take()[0].contracts
    assert newer in row[4], "what was read back never replaces newer knowledge"


def test_the_newest_collateral_of_a_currency_is_written_once() -> None:
    mirror = Mirror()
    mirror.put_collateral(collateral("0.95"), 1)
    mirror.put_collateral(collateral("0.90"), 2)
    mirror.put_collateral(collateral(ccy="ETH"), 3)
    assert len(mirror.dirty) == 2
    batch, taken = mirror.take()
    assert batch.collateral == [
        ("okx", "live", "BTC", collateral("0.90"), 2),
        ("okx", "live", "ETH", collateral(ccy="ETH"), 3),
    ]
    mirror.give_back(taken)
    assert mirror.take()[0].collateral == batch.collateral
    mirror.everything(())
    assert mirror.take()[0].collateral == batch.collateral


def test_account_gives_its_positions_venue_and_env() -> None:
    mirror = Mirror()
    mirror.put_position(position(), 1, 1)
    assert mirror.take()[0].positions[0][2:4] == (None, None)
    mirror.put_account(StoredAccount(name="main", venue="okx", env="demo"), 2)
    mirror.put_mode(AccountMode(account="main", mode="futures"))
    batch, _ = mirror.take()
    assert batch.positions[0][2:4] == ("okx", "demo")
    assert batch.accounts[0][6] == AccountMode(account="main", mode="futures")


def test_pruning_keeps_what_lives_and_touches_no_other_account() -> None:
    mirror = Mirror()
    lives, dead, other = position("A"), position("B"), position("A", account="other")
    for state in (lives, dead, other):
        mirror.put_position(state, 1, 1)
    mirror.take()
    mirror.prune({lives.id}, {"main"}, 2)
    batch, _ = mirror.take()
    assert (batch.prune, batch.keep, batch.removed) == (["main"], [lives.id], [dead.id])
    assert set(mirror.positions) == {lives.id, other.id}


def test_stored_rows_never_replace_newer_knowledge() -> None:
    mirror = Mirror()
    mirror.put_position(position("A", size="2"), 9, 9)
    mirror.remove_position(position("B").id, 9, 9)
    for symbol in ("A", "B", "C"):
        mirror.learn_position(position(symbol, size="1"), 1, 1)
    assert {row.state.symbol: row.state.size for row in mirror.positions.values()} == {"A": "2", "C": "1"}
    batch, _ = mirror.take()
    assert ([row.id for row in batch.positions], batch.removed) == ([position("A").id], [position("B").id])


def test_partial_balance_is_laid_over_the_known_one() -> None:
    mirror = Mirror()
    mirror.put_balance(balance("1000.10"), 1)
    mirror.put_balance(msgspec.structs.replace(balance("5.0", "BTC", full=False), available=None), 2)
    state = mirror.balances["main", "trading"][0]
    assert {coin.ccy: coin.total for coin in state.coins} == {"USDT": "1000.10", "BTC": "5.0"}
    assert {pool.pool for pool in state.pools} == {"USDT", "BTC"}
    assert (state.full, state.available) == (True, "900.00")
    mirror.put_balance(balance("7"), 3)
    assert [coin.total for coin in mirror.balances["main", "trading"][0].coins] == ["7"]


def test_merging_prefers_the_newer_figure_of_the_same_name() -> None:
    assert merged(balance("1"), balance("2", full=False)).coins == balance("2").coins


def test_what_is_kept_of_a_balance_backs_its_pool_as_before_whatever_the_last_report_named() -> None:
    """The coin that it did not name had another price then than when it was named, and has another one now."""
    mirror = Mirror()

    class Kept(Sink):
        def put_balance(self, said: BalanceState) -> None:
            mirror.put_balance(said, 1)

    one = engine(sink=Kept())

    def usd(price: str) -> CurrencyPrice:
        return CurrencyPrice(venue="bybit", env="live", ccy="BTC", usd=price, at=1)

    def said(cash: str, total: str, *others: CoinBalance) -> BalanceState:
        usdt = CoinBalance(ccy="USDT", total=cash, cash=cash, usd_price="1")
        pool = PoolState(pool="USD", ccy="USD", cash=total, from_coins=True)
        return balance_of(account="bybit-main", coins=(usdt, *others), pools=(pool,), full=bool(others))

    def equity(of: Engine) -> float:
        return float(of.book.equity[of.accounts["bybit-main"].pools["USD"].number])

    one.turn([usd("60000")], 1_000)
    one.clock(1_000)
    one.turn(
        [said("1000", "7000", CoinBalance(ccy="BTC", total="0.1", cash="0.1", usd_price="60000", discount="1"))], 1_000
    )
    for at, price in ((20_000, "60900"), (40_000, "61000"), (40_900, "61010")):
        one.turn([usd(price)], at)
        one.clock(at)
    one.turn([said("900", "7000.4")], 41_000)  # of a moment at which BTC was at 61,004
    one.turn([usd("61500")], 60_000)
    one.clock(60_000)
    kept = mirror.balances["bybit-main", "account"].state
    again = engine()
    again.restore([msgspec.json.decode(msgspec.json.encode(kept), type=BalanceState)], 61_000)
    again.turn([usd("61500")], 61_000)
    again.clock(61_000)
    assert again.accounts["bybit-main"].pools["USD"].backing_known
    assert equity(again) == equity(one) == pytest.approx(900 + 6_150)
