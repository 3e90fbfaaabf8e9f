"""Money that moves though nobody says why: what happened is asked, and until it is answered nothing is taken for a loss."""

from __future__ import annotations

import pytest

from exchanges.events import BalanceState, CoinBalance, Event, HistoryRead, PoolState
from gateway.core.alerts.rules import RuleSettings
from gateway.engine import Engine
from tests.gateway.core.alerts.test_alerts import LIVE, T0, Sink, desk, states, ticks, told
from tests.gateway.core.alerts.test_money import DOWN, money, watched
from tests.gateway.events_of import OKX, balance, feed, fill, position, row, snapshot

SECOND = 1_000


def read(asked_at: int, since: int = T0 - 3_600_000, *, whole: bool = True) -> HistoryRead:
    return HistoryRead(account="okx-main", since=since, asked_at=asked_at, whole=whole)


def settled() -> Engine:
    """Return an engine of one account that is worth 1,020 and whose records are whole, 20 s later."""
    one = watched()
    return asked(one)


def asked(one: Engine) -> Engine:
    """Return an engine of which today's records were asked."""
    assert wait(one, 1, 10) == [5]
    one.turn([read(T0 + 9 * SECOND)], T0 + 10 * SECOND)
    assert wait(one, 11, 20) == []
    return one


def left(at: int, cash: str = "600") -> list[Event]:
    return [balance(cash, fence=(at,), venue_at=at)]


def wait(one: Engine, start: int, end: int) -> list[int]:
    """Let seconds pass; return those at which history is wanted."""
    found = []
    for second in range(start, end):
        one.clock(T0 + second * SECOND)
        if one.wants_books:
            found.append(second)
            one.wants_books.clear()
    return found


def test_a_withdrawal_that_only_the_history_tells_is_asked_for_and_is_no_drawdown() -> None:
    one = settled()
    one.turn(left(T0 + 20 * SECOND), T0 + 20 * SECOND)
    ticks(one, "111", "110", at=T0 + 20_100)
    assert wait(one, 21, 30) == [27], "two seconds for its own word, five for the venue's books"
    assert row(one, "summary", "ann")["realized_incomplete"] == ["bybit-main", "okx-main"]
    one.turn([money("-400", T0 + 20 * SECOND, "withdrawal"), read(T0 + 27 * SECOND)], T0 + 31 * SECOND)
    assert wait(one, 32, 60) == []
    one.turn(left(T0 + 61 * SECOND), T0 + 61 * SECOND)
    one.clock(T0 + 62 * SECOND)
    assert (told(one), states(one)) == ([], {})
    ticks(one, "70", at=T0 + 63 * SECOND)  # 540 of 622
    assert told(one) == [(DOWN, "firing", "warning")]


def test_what_is_told_within_the_grace_is_not_asked_for() -> None:
    one = settled()
    one.turn(left(T0 + 20 * SECOND), T0 + 20 * SECOND)
    one.clock(T0 + 21 * SECOND)
    one.turn([money("-400", T0 + 20 * SECOND, "withdrawal")], T0 + 21_500)
    assert wait(one, 22, 60) == []
    assert (told(one), states(one)) == ([], {})


def test_what_the_venue_does_not_explain_is_a_loss() -> None:
    one = settled()
    one.turn(left(T0 + 20 * SECOND), T0 + 20 * SECOND)
    assert wait(one, 21, 30) == [27]
    assert told(one) == []
    one.turn([read(T0 + 27 * SECOND)], T0 + 31 * SECOND)
    one.clock(T0 + 32 * SECOND)
    assert told(one) == [(DOWN, "firing", "warning")]
    assert wait(one, 33, 60) == [], "once"


def test_a_venue_that_does_not_answer_hides_a_loss_for_two_minutes_at_most() -> None:
    one = settled()
    one.turn(left(T0 + 20 * SECOND), T0 + 20 * SECOND)
    wait(one, 21, 140)
    assert told(one, of="down") == []
    wait(one, 140, 142)
    assert told(one, of="down") == [(DOWN, "firing", "warning")]


@pytest.mark.parametrize("first", ["fill", "balance"])
def test_a_loss_that_a_fill_explains_fires_at_once(first: str) -> None:
    one = settled()
    lost = fill(at=T0 + 20 * SECOND, realized_pnl="-399", fee="-1", fee_ccy="USDT")
    moves: list[Event] = left(T0 + 20 * SECOND)
    both = [[lost], moves] if first == "fill" else [moves, [lost]]
    for events in both:
        one.turn(events, T0 + 20 * SECOND)
    one.turn([snapshot(fence=(9,), asked_at=T0 + 20 * SECOND)], T0 + 20_100)
    one.clock(T0 + 21 * SECOND)
    assert told(one) == [(DOWN, "firing", "warning")]
    assert wait(one, 22, 60) == []


def test_one_coin_for_another_is_no_move() -> None:
    one = settled()
    usdt = CoinBalance(ccy="USDT", total="600", cash="600", usd_price="1")
    eth = CoinBalance(ccy="ETH", total="4", cash="4", usd_price="100")
    one.turn([balance("600", coins=(usdt, eth), fence=(T0,))], T0 + 20 * SECOND)
    assert wait(one, 21, 60) == []
    assert (told(one), states(one)) == ([], {})


def test_a_move_of_next_to_nothing_is_not_asked_for() -> None:
    one = settled()
    one.turn(left(T0 + 20 * SECOND, "996"), T0 + 20 * SECOND)
    assert wait(one, 21, 60) == []


def test_without_a_rule_of_losses_nothing_is_asked_for() -> None:
    one = desk()
    one.turn([*LIVE, position()], T0)
    one = asked(one)
    one.turn(left(T0 + 20 * SECOND), T0 + 20 * SECOND)
    assert wait(one, 21, 60) == []


def test_what_was_withdrawn_while_nobody_listened_is_no_drawdown() -> None:
    sink, down = Sink(), RuleSettings("drawdown", steps={"warning": 0.1})
    one = desk(OKX, sink=sink, builtin=False, down=down)
    one.turn([*LIVE, position()], T0)
    for second in range(1, 130):
        one.clock(T0 + second * SECOND)
    other = desk(OKX, builtin=False, down=down)
    other.restore(
        [LIVE[0], balance("1000", venue_at=T0), position(), *sink.events()], T0 + 200 * SECOND, T0 + 130 * SECOND
    )
    other.turn([feed("live"), feed("live", account=None)], T0 + 201 * SECOND)
    back = [*left(T0 + 201 * SECOND), snapshot(position(fence=(2,)), asked_at=T0 + 201 * SECOND)]
    other.turn(back, T0 + 202 * SECOND)
    for second in range(203, 215):
        other.clock(T0 + second * SECOND)
    assert told(other, of="down") == []
    gone = money("-400", T0 + 150 * SECOND, "withdrawal")
    other.turn([gone, read(T0 + 210 * SECOND)], T0 + 215 * SECOND)
    for second in range(216, 400):
        other.clock(T0 + second * SECOND)
    assert (told(other, of="down"), DOWN in states(other)) == ([], False)


# --- what explains, and what does not -----------------------------------------------------------------------------------------


def coins(at: int, usdt: str, eth: str) -> BalanceState:
    """Return balances of dollars, and of a coin of 100 of them."""
    held = (
        CoinBalance(ccy="USDT", total=usdt, cash=usdt, usd_price="1"),
        CoinBalance(ccy="ETH", total=eth, cash=eth, usd_price="100"),
    )
    return balance(usdt, coins=held, fence=(at,), venue_at=at)


def test_what_a_coin_is_bought_with_leaves_after_it_came_and_is_no_peak() -> None:
    one = settled()
    one.turn([coins(T0 + 20 * SECOND, "1000", "4")], T0 + 20 * SECOND)
    one.clock(T0 + 20_500)
    one.turn([coins(T0 + 20_700, "600", "4")], T0 + 20_700)
    assert wait(one, 21, 60) == []
    assert (told(one), states(one)) == ([], {})


@pytest.mark.parametrize("kind", ["transfer", "fill"])
def test_what_was_in_the_balance_before_explains_nothing_of_what_comes(kind: str) -> None:
    one = settled()
    earlier = T0 - 60 * SECOND
    before = (
        money("-400", earlier) if kind == "transfer" else fill(at=earlier, realized_pnl="-400", fee="0", fee_ccy="USDT")
    )
    one.turn([before, read(T0 + 15 * SECOND)], T0 + 19 * SECOND)
    one.turn(left(T0 + 20 * SECOND), T0 + 20 * SECOND)
    assert wait(one, 21, 30) == [27]


def test_what_explained_one_move_does_not_explain_another() -> None:
    one = settled()
    gone = money("-400", T0 + 20 * SECOND, "withdrawal")
    one.turn([*left(T0 + 20 * SECOND), gone], T0 + 20 * SECOND)
    assert wait(one, 21, 30) == []
    one.turn([gone, *left(T0 + 30 * SECOND, "200")], T0 + 30 * SECOND)
    assert wait(one, 31, 40) == [37]


def test_a_transfer_goes_on_waiting_for_its_balance_while_others_are_explained() -> None:
    one = settled()
    one.turn([money("-400", T0 + 21 * SECOND, "withdrawal")], T0 + 20 * SECOND)
    won = fill(at=T0 + 19_900, realized_pnl="50", fee="0", fee_ccy="USDT")
    one.turn([won, *left(T0 + 20 * SECOND, "1050")], T0 + 20_100)
    one.turn(left(T0 + 21 * SECOND, "650"), T0 + 21 * SECOND)
    assert wait(one, 22, 60) == []
    assert (told(one), states(one)) == ([], {})


def test_a_settlement_explains_its_amount_once() -> None:
    one = settled()
    one.turn([money("-400", T0 + 20 * SECOND, "settlement"), *left(T0 + 20 * SECOND)], T0 + 20 * SECOND)
    one.clock(T0 + 20_500)
    assert told(one) == [(DOWN, "firing", "warning")]
    assert wait(one, 21, 60) == []


def test_a_currency_whose_positions_count_by_their_value_needs_no_explanation() -> None:
    one = watched()
    by_value = (PoolState(pool="USDT", ccy="USDT", cash="1000", basis="value"),)
    one.turn([balance("1000", pools=by_value, fence=(2,), venue_at=T0 + SECOND)], T0 + SECOND)
    one = asked(one)
    one.turn([balance("1300", pools=by_value, fence=(3,), venue_at=T0 + 20 * SECOND)], T0 + 20 * SECOND)
    assert wait(one, 21, 60) == []
