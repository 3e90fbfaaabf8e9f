"""What backs a pool in dollars: haircuts by amount, debts, coins that are switched off, and coins that move with what they back."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import CoinBalance, CollateralTier, CollateralTiers
from gateway.core.collateral import Backing, backing, counted
from gateway.core.currencies import Then
from gateway.core.margin.pool import Maintenance
from gateway.core.positions import Book, Row

PRICES = {"USDT": 1.0, "USDC": 1.0, "BTC": 60_000.0, "ETH": 3_000.0, "ZRX": 0.5}


def tiers(ccy: str, *steps: tuple[str, str], marginal: bool = True) -> CollateralTiers:
    rows = tuple(CollateralTier(lower=lower, rate=rate) for lower, rate in steps)
    return CollateralTiers(venue="okx", env="live", ccy=ccy, tiers=rows, marginal=marginal)


BTC = tiers("BTC", ("0", "0.98"), ("10", "0.95"), ("20", "0"))


def coin(ccy: str, cash: str | None, **fields: Any) -> CoinBalance:
    return CoinBalance(ccy=ccy, total=cash or "1", cash=cash, **fields)


def found(
    *coins: CoinBalance, pnl: dict[str, float] | None = None, stated: float | None = None, **then: Then
) -> Backing:
    return backing(
        coins,
        pnl,
        lambda ccy: BTC if ccy == "BTC" else None,
        lambda ccy: PRICES.get(ccy, math.nan),
        lambda ccy: then.get(ccy) or Then(*[PRICES.get(ccy, math.nan)] * 3),
        stated,
    )


def test_the_help_centers_example_of_tiers() -> None:
    """OKX help center, discount rate: 11,000,000 USDT count 5,000,000 whole, 5,000,000 at 0.975 and the rest at 0.95."""
    usdt = tiers("USDT", ("0", "1"), ("5000000", "0.975"), ("10000000", "0.95"))
    assert counted("USDT", 11_000_000.0, coin("USDT", "11000000"), usdt) == pytest.approx((10_825_000.0, 0.95))


def test_one_rate_for_all_of_it_where_the_tiers_are_not_marginal() -> None:
    whole = tiers("BTC", ("0", "0.98"), ("10", "0.95"), marginal=False)
    assert counted("BTC", 20.0, coin("BTC", "20"), whole) == pytest.approx((19.0, 0.95))


def test_what_counts_of_a_coin() -> None:
    assert counted("BTC", 15.0, coin("BTC", "15"), BTC) == pytest.approx((9.8 + 4.75, 0.95))
    assert counted("BTC", 25.0, coin("BTC", "25"), BTC) == pytest.approx((9.8 + 9.5, 0.0)), "nothing more counts"
    assert counted("BTC", -2.0, coin("BTC", "-2", collateral=False), BTC) == (-2.0, 1.0), "a debt has no haircut"
    assert counted("BTC", 2.0, coin("BTC", "2", collateral=False), BTC) == (0.0, 0.0), "switched off"
    assert counted("ETH", 2.0, coin("ETH", "2", discount="0.9"), None) == (1.8, 0.9)
    assert counted("ETH", 2.0, coin("ETH", "2"), None) is None, "not known is not all of it"
    assert counted("USDT", 2.0, coin("USDT", "2"), None) == (2.0, 1.0)


@given(amount=st.floats(-50.0, 50.0), more=st.floats(0.0, 50.0))
def test_more_of_a_coin_never_counts_less(amount: float, more: float) -> None:
    less, _ = counted("BTC", amount, coin("BTC", "1"), BTC) or (math.nan, 0.0)
    rest, _ = counted("BTC", amount + more, coin("BTC", "1"), BTC) or (math.nan, 0.0)
    assert less <= rest + 1e-9
    assert rest - less <= more + 1e-9


def test_coins_that_make_up_the_stated_balance_after_haircuts() -> None:
    btc, usdt = coin("BTC", "1"), coin("USDT", "1000")
    known = found(btc, usdt, stated=60_000 * 0.98 + 1_000 + 0.004)
    assert known.known
    assert known.parts["BTC"].amount == pytest.approx(0.98)
    assert known.beside == pytest.approx(0.004), "rounding stays in"
    assert known.held == {"BTC", "USDT"}
    assert found(coin("USDT", "1000"), coin("BTC", "0"), stated=1_000.0).held == {"USDT"}


def test_a_balance_that_the_coins_do_not_make_up_stands_still() -> None:
    other = found(coin("BTC", "1"), coin("USDT", "1000"), stated=50_000.0)
    assert (other.known, other.parts, other.beside) == (False, {}, 50_000.0)
    assert not found(coin("NEW", "5"), stated=5.0).known, "a coin of unknown price"
    assert not found(coin("BTC", None)).known, "a coin of unknown amount"
    unknown = found(coin("ETH", "1"), stated=3_000.0)
    assert not unknown.known, "how much of it counts is not known"
    assert unknown.parts["ETH"].amount == 1.0, "its price moves the balance all the same"


@given(cash=st.floats(-5.0, 30.0), pnl=st.floats(-5.0, 5.0), change=st.floats(-0.01, 0.01))
def test_profit_is_cut_like_the_coin_that_it_is_settled_in(cash: float, pnl: float, change: float) -> None:
    """Amount and fraction reproduce what counts of balance and PnL together, also a little further on in the same tier."""
    part = found(coin("BTC", repr(cash)), pnl={"BTC": pnl}).parts["BTC"]
    value, slope = counted("BTC", cash + pnl, coin("BTC", "1"), BTC) or (math.nan, 0.0)
    assert part.amount + part.counts * pnl == pytest.approx(value, abs=1e-9)
    further, same = counted("BTC", cash + pnl + change, coin("BTC", "1"), BTC) or (math.nan, math.nan)
    if slope == same:
        assert part.amount + part.counts * (pnl + change) == pytest.approx(further, abs=1e-9)


def test_profit_counts_whole_where_only_balances_are_cut() -> None:
    part = found(coin("BTC", "15")).parts["BTC"]
    assert (part.amount, part.counts) == pytest.approx((14.55, 1.0))


# --- in the columns -----------------------------------------------------------------------------------------------------


@given(
    amount=st.floats(0.1, 2.0),
    short=st.floats(0.1, 5.0),
    counts=st.floats(0.5, 1.0),
    dollars=st.floats(-50_000.0, 50_000.0),
)
def test_a_coin_and_an_inverse_short_on_it_move_together(
    amount: float, short: float, counts: float, dollars: float
) -> None:
    """At the trigger, with the coin at that price too, equity meets maintenance: revalued by hand, profit cut, maintenance not."""
    price, rate, size = 60_000.0, 0.01, -short * 60_000.0
    book = Book()
    pool, base = book.add_pool(), book.bases.number("BTC")
    book.cash[pool] = dollars
    symbol = book.symbols.add()
    book.symbols.orient(symbol, inverse=True)
    book.symbols.set(symbol, price)
    handle = book.add(symbol, pool, 0, base)
    model = Maintenance("okx_multi", rate=rate, rate_at_liquidation=rate)
    x0 = -1.0 / 58_000.0
    book.put(
        handle,
        Row(size, 0.0, x0, False, price, False, math.nan, model, scales_offset=True, counts=counts),
    )
    book.put_coin(book.add_coin(pool, base), amount, price)
    book.recompute()

    def surplus(at: float) -> float:
        pnl = size * (-1.0 / at - x0)
        return dollars + amount * at + counts * pnl * at - abs(size) / at * rate * at

    scale = abs(dollars) + amount * price + abs(size)
    assert book.equity[pool] - book.maintenance[pool] == pytest.approx(surplus(price), abs=1e-9 * scale)
    trigger = book.figures(handle).get("trigger")
    if trigger is None:
        assert surplus(1e-6) * surplus(price) > 0, "none on the way down"
        assert surplus(price) * surplus(1e9) > 0, "nor up"
    else:
        assert surplus(trigger) == pytest.approx(0.0, abs=1e-9 * (scale + abs(size) * trigger / price))


def test_the_published_price_holds_the_coin_and_cuts_profit() -> None:
    """One linear row settled in a coin at 2 dollars of which 0.9 counts: 0.9 of its profit meets all of its maintenance."""
    book = Book()
    pool, symbol = book.add_pool(), book.symbols.add()
    book.cash[pool] = 100.0
    book.symbols.set(symbol, 100.0)
    handle = book.add(symbol, pool, 0, book.bases.number("SOL"))
    model = Maintenance("okx_multi", rate=0.01, rate_at_liquidation=0.01)
    book.put(handle, Row(5.0, 0.0, 100.0, False, 2.0, True, math.nan, model, counts=0.9))
    book.recompute()
    price = book.figures(handle)["liq"]
    assert 100.0 + 2.0 * 0.9 * 5.0 * (price - 100.0) == pytest.approx(2.0 * 0.01 * 5.0 * price)
    assert book.figures(handle)["trigger"] == pytest.approx(price)
