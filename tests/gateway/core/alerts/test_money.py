"""The day's peak: losses alone are a drawdown, in whatever order and however late flows, balances and prices are told."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import CoinBalance, CurrencyPrice, Transfer, TransferKind
from gateway.config import EngineSettings
from gateway.core.accounts import Span
from gateway.core.alerts.money import Days, Purses
from gateway.core.alerts.records import EquitySample
from gateway.core.alerts.rules import DAY_MS, RuleSettings, rules
from gateway.engine import Engine
from tests.gateway.core.alerts.test_alerts import LIVE, T0, Sink, desk, states, ticks, told
from tests.gateway.events_of import OKX, balance, position, row, snapshot

DOWN = "down:okx-main"


def watched(at: float = 0.1) -> Engine:
    """Return an engine of one account that is worth 1,020, and is watched for drawdowns."""
    one = desk(builtin=False, down=RuleSettings("drawdown", steps={"warning": at}))
    one.turn([*LIVE, position()], T0)
    one.clock(T0 + 1_000)
    return one


def money(amount: str, at: int, kind: TransferKind = "deposit", **fields: str) -> Transfer:
    given_ = {"account": "okx-main", "id": f"t{at}", "ccy": "USDT"} | fields
    return Transfer(kind=kind, amount=amount, at=at, **given_)  # type: ignore[arg-type]


# --- in turns ---------------------------------------------------------------------------------------------------------------


def test_drawdown_counts_losses_and_not_what_was_withdrawn() -> None:
    one = watched()
    one.turn([balance("500", fence=(2,)), money("-500", T0 + 2_000, "withdrawal")], T0 + 2_000)
    one.clock(T0 + 2_500)
    assert states(one) == {}, "520 of 520"
    ticks(one, "80", at=T0 + 3_000)  # 460 of 520
    assert told(one) == [(DOWN, "firing", "warning")]


def test_a_withdrawal_that_is_told_before_its_balance_is_no_drawdown() -> None:
    one = watched()
    one.turn([money("-500", T0 + 2_000, "withdrawal")], T0 + 2_000)
    one.clock(T0 + 2_500)
    one.clock(T0 + 3_500)
    one.turn([balance("500", fence=(2,), venue_at=T0 + 2_000)], T0 + 4_000)
    for second in range(5, 300):
        one.clock(T0 + 1_000 * second)
        if second % 10 == 0:
            one.turn([balance("500", fence=(second,), venue_at=T0 + 1_000 * second)], T0 + 1_000 * second)
    assert (told(one), states(one)) == ([], {})
    ticks(one, "80", at=T0 + 301_000)  # 460 of 520
    assert told(one) == [(DOWN, "firing", "warning")]


@pytest.mark.parametrize("dated", [T0 + 500, T0 + 2_000])  # close to the balance before it, and far from it
def test_a_deposit_that_is_told_before_its_balance_is_no_drawdown(dated: int) -> None:
    one = watched()
    one.turn([money("500", dated)], T0 + 2_000)
    ticks(one, "111", "110", at=T0 + 2_200)
    one.clock(T0 + 2_500)
    one.turn([balance("1500", fence=(2,), venue_at=dated)], T0 + 4_000)
    one.clock(T0 + 4_500)
    one.turn([balance("1500", fence=(3,), venue_at=T0 + 10_000)], T0 + 10_000)
    one.clock(T0 + 10_500)
    assert (told(one), states(one)) == ([], {})
    ticks(one, "20", at=T0 + 11_000)  # 1,340 of 1,522
    assert told(one) == [(DOWN, "firing", "warning")]


def test_a_deposit_of_a_venue_whose_clock_is_ahead_is_no_drawdown() -> None:
    one = watched()
    one.turn([balance("1500", fence=(2,), venue_at=T0 + 3_000)], T0 + 2_000)
    one.clock(T0 + 2_500)
    one.turn([money("500", T0 + 3_000)], T0 + 3_100)
    for second in range(4, 20):
        one.clock(T0 + 1_000 * second)
    assert (told(one), states(one)) == ([], {})


@pytest.mark.parametrize("stated", [True, False])
def test_a_deposit_dated_a_moment_after_its_balance_is_no_drawdown(stated: bool) -> None:
    one = watched()
    at = T0 + 1_998 if stated else None
    one.turn([balance("1500", fence=(2,), venue_at=at)], T0 + 2_000)
    one.clock(T0 + 2_500)
    one.turn([money("500", T0 + 2_010)], T0 + 3_100)
    one.clock(T0 + 3_500)
    one.turn([balance("1500", fence=(3,), venue_at=T0 + 10_000)], T0 + 10_000)
    one.clock(T0 + 10_500)
    assert (told(one), states(one)) == ([], {})


def test_an_answer_shows_what_had_happened_when_it_was_asked_whatever_time_it_states() -> None:
    one = watched()
    one.turn([money("500", T0 + 10_000)], T0 + 10_000)
    answer = balance("1500", fence=(2,), venue_at=T0 + 500, asked_at=T0 + 20_000)
    one.turn([answer], T0 + 20_000)
    one.clock(T0 + 20_500)
    ticks(one, "20", at=T0 + 21_000)  # 1,340 of 1,520
    assert told(one) == [(DOWN, "firing", "warning")]


# --- prices that are not known yet --------------------------------------------------------------------------------------------


def test_a_flow_without_a_price_counts_once_it_has_one() -> None:
    prices = {"BTC": math.nan}
    days = Days()
    days.see({"a": 100.0}, lambda _: Span(T0, T0), T0)
    days.transfer(money("-1", T0 + 5_000, account="a", ccy="BTC"), lambda: prices["BTC"], T0 + 6_000)
    assert math.isnan(days.peaks(["a"], T0 + 7_000)[0]), "nobody knows how much left"
    prices["BTC"] = 40.0
    days.see({"a": 60.0}, lambda _: Span(T0 + 8_000, T0 + 8_000), T0 + 8_000)
    assert days.peaks(["a"], T0 + 8_000).tolist() == [60.0]


def test_a_coin_whose_price_is_not_known_yet_is_no_drawdown() -> None:
    sink, given_ = Sink(), rules({"down": RuleSettings("drawdown", steps={"warning": 0.2})}, builtin=False)
    usdt = CoinBalance(ccy="USDT", total="1000", cash="1000", usd_price="1")
    coins = balance("1000", coins=(usdt, CoinBalance(ccy="BTC", total="1", cash="1")))
    price = CurrencyPrice(venue="okx", env="live", ccy="BTC", usd="5000", quote="USD", at=T0)
    one = Engine("e", (OKX,), EngineSettings(), sink, rules=given_)  # type: ignore[arg-type]  # a sink of any kind
    one.turn([LIVE[0], coins, *LIVE[2:], position(), price], T0)
    for second in range(1, 130):
        one.clock(T0 + 1_000 * second)
    assert {sample.high_usd for sample in sink.equity.values()} == {6_020.0}
    other = Engine("e2", (OKX,), EngineSettings(), rules=given_)
    other.restore([LIVE[0], coins, position(), *sink.events()], T0 + 200_000)
    back = [
        *LIVE[2:],
        msgspec.structs.replace(coins, fence=(2,)),
        snapshot(position(fence=(2,)), asked_at=T0 + 200_500),
    ]
    other.turn(back, T0 + 201_000)
    other.clock(T0 + 202_000)
    assert row(other, "accounts", "okx-main")["unpriced"] == ["BTC"]
    assert (told(other), states(other)) == ([], {}), "nobody knows what it is worth"
    other.turn([msgspec.structs.replace(price, usd="3000", at=T0 + 203_000)], T0 + 203_000)
    other.clock(T0 + 204_000)
    assert told(other) == [(DOWN, "firing", "warning")], "4,020 of 6,020"


def test_a_currency_without_a_price_of_which_there_is_nothing_hides_nothing() -> None:
    usdt = CoinBalance(ccy="USDT", total="1000", cash="1000", usd_price="1")
    coins = balance("1000", coins=(usdt, CoinBalance(ccy="XYZ", total="0", cash="0")), fence=(2,))
    one = watched()
    one.turn([coins], T0 + 1_500)
    ticks(one, "40", at=T0 + 3_000)  # 880 of 1,020
    assert told(one) == [(DOWN, "firing", "warning")]


# --- the day ---------------------------------------------------------------------------------------------------------------


def see(days: Days, equity: float, at: int, of: int | None = None) -> None:
    """Take an equity by the balances ``of`` a moment, now unless said otherwise."""
    days.see({"a": equity}, lambda _: Span(of or at, of or at), at)


def flow(days: Days, amount: str, at: int, told_at: int) -> None:
    days.transfer(money(amount, at, account="a"), lambda: 1.0, told_at)


def test_the_peak_follows_transfers_also_those_that_are_told_of_late() -> None:
    days = Days()
    see(days, 100.0, T0)
    see(days, 150.0, T0 + 60_000)  # 50 came, and nobody said so yet
    flow(days, "50", T0 + 30_000, T0 + 90_000)
    assert days.peaks(["a"], T0 + 90_000).tolist() == [150.0]
    flow(days, "50", T0 + 30_000, T0 + 91_000)
    assert days.peaks(["a"], T0 + 90_000).tolist() == [150.0], "the same transfer again"
    flow(days, "-100", T0 + 120_000, T0 + 130_000)
    assert days.peaks(["a"], T0 + 130_000).tolist() == [50.0]


def test_gains_and_fees_of_the_account_itself_are_no_flows() -> None:
    days = Days()
    see(days, 100.0, T0)
    days.transfer(money("-50", T0 + 30_000, "interest", account="a"), lambda: 1.0, T0 + 30_000)
    assert days.peaks(["a"], T0 + 31_000).tolist() == [100.0]


def test_a_new_day_has_a_peak_of_its_own() -> None:
    days = Days()
    see(days, 100.0, T0)
    assert math.isnan(days.peaks(["a"], T0 + DAY_MS)[0])
    see(days, 80.0, T0 + DAY_MS)
    assert days.peaks(["a"], T0 + DAY_MS).tolist() == [80.0]


def test_what_came_before_the_first_balance_of_the_day_is_in_it() -> None:
    days = Days()
    see(days, 100.0, T0 + DAY_MS)
    flow(days, "50", T0 + DAY_MS // 2, T0 + DAY_MS + 1_000)
    flow(days, "30", T0 - DAY_MS, T0 + DAY_MS + 2_000)
    assert days.peaks(["a"], T0 + DAY_MS + 3_000).tolist() == [100.0]


def test_samples_of_yesterday_are_no_peak_of_today() -> None:
    days = Days()
    for at, high in ((T0 - DAY_MS, 500.0), (T0, 100.0)):
        days.restore(
            EquitySample(account="a", at=at, equity_usd=1.0, high_usd=high, high_at=at, equity={}), T0 + 60_000
        )
    assert days.peaks(["a"], T0 + 60_000).tolist() == [100.0]


def test_a_minute_is_stored_with_its_highest_and_once() -> None:
    days = Days()
    for second, equity in enumerate((90.0, 120.0, 100.0)):
        see(days, equity, T0 + 1_000 * second)
    held = {"a": Purses({"USDT": 100.0}, {"USDT": 4.0}, {"USDT": 1.0})}
    (sample,) = days.close_minute({"a": 100.0, "b": 5.0}, held, T0 + 2_000)
    assert (sample.unrealized, sample.usd) == ({"USDT": 4.0}, {"USDT": 1.0})
    assert (sample.equity_usd, sample.high_usd, sample.high_at, sample.equity) == (
        100.0,
        120.0,
        T0 + 1_000,
        {"USDT": 100.0},
    )
    assert days.close_minute({"a": 100.0}, {}, T0 + 3_000) == []


steps = st.lists(st.tuples(st.integers(-40, 60), st.integers(0, 2)), min_size=1, max_size=30)


@given(steps)
def test_flows_alone_are_never_a_drawdown_whenever_they_are_told(script: list[tuple[int, int]]) -> None:
    """Money comes and goes; each flow is told before, with or after the balance that shows it."""
    days, equity, late = Days(), 1_000.0, list[tuple[str, int]]()
    see(days, equity, T0)
    for number, (amount, when) in enumerate(script, 1):
        at = T0 + 10_000 * number
        told_of = (str(amount), at)
        for one in (*late, *((told_of,) if when < 2 else ())):
            flow(days, *one, told_at=at)
        late = [told_of] if when == 2 else []
        if when == 0:  # the balance that shows it is still to come
            see(days, equity, at, of=at - 5_000)
        equity += amount
        see(days, equity, at)
        see(days, equity, at + 5_000)
    for one in late:
        flow(days, *one, told_at=at)
    assert days.peaks(["a"], at + 6_000).tolist() == [pytest.approx(equity)]
