"""Pools that were thought up: where each rule of a venue shows, through the real engine against the plain Decimal reference."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from gateway.core.explain import explain
from tests.gateway.core.margin.reference import Coin, D, Leg, Pool, Tier
from tests.gateway.core.margin.worlds import LIQUIDATION_FEE, MODES, NOW, Held, Mode, held, tiers_of

MODE = {f"{mode.model}-{mode.ccy}": mode for mode in MODES}
FLAT = (Tier(D(0), D("0.01")),)


def linear(side: int, size: str, mark: str = "1000", base: str = "ETH", **fields: object) -> Leg:
    """Return a linear leg that was opened at its mark."""
    leg = Leg(f"{base}-USDT", base, side, D(size), D(mark), D(mark), FLAT)
    return leg._replace(**fields)  # type: ignore[arg-type]  # the fields of a Leg


def inverse(side: int, size: str, mark: str = "60000", **fields: object) -> Leg:
    """Return an inverse leg in BTC that was opened at its mark."""
    leg = Leg("BTC-USD", "BTC", side, D(size), D(mark), D(mark), FLAT, "BTC", inverse=True)
    return leg._replace(**fields)  # type: ignore[arg-type]  # the fields of a Leg


def okx(leg: Leg) -> Leg:
    return leg._replace(by_size=True, fee_rate=LIQUIDATION_FEE)


def root(pool: Pool, leg: Leg) -> float:
    """Return the reference's trigger of a leg, NaN for none."""
    factor = pool.trigger(leg.base)
    return math.nan if factor is None else float(factor * leg.mark)


def assert_triggers(one: Held) -> None:
    wanted = [root(one.pool, leg) for leg in one.pool.legs]
    assert one.triggers() == pytest.approx(wanted, rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", ["okx_cross-USDT", "aster_cross-USDT", "aster_multi-USD", "bybit_cross-USD"])
@pytest.mark.parametrize("sizes", [("3", "2"), ("2", "3"), ("2.5", "2.5")])
def test_both_legs_of_a_hedge_show_the_pools_root(name: str, sizes: tuple[str, str]) -> None:
    mode = MODE[name]
    legs = [linear(1, sizes[0]), linear(-1, sizes[1]), linear(1, "0.5", "150", "SOL")]
    if mode.venue == "okx":
        legs = [okx(leg) for leg in legs]
    coins = (Coin("USDT", D(300), D(1)),) if mode.coins else ()
    one = held(mode, *legs, cash="0" if mode.coins else "300", coins=coins)
    assert_triggers(one)
    assert one.trigger(0) == one.trigger(1)
    assert one.trigger(0) < 1000 if sizes == ("3", "2") else one.trigger(0) > 1000


def test_a_mark_of_one_coin_moves_no_other_isolated_position() -> None:
    for mode in (mode for mode in MODES if mode.pool is None and mode.linear):
        legs = [linear(1, "2"), linear(-1, "0.1", "60000", "BTC"), linear(1, "20", "150", "SOL")]
        legs = [leg._replace(settle=mode.ccy, tiers=tiers_of(mode.venue, inverse=False)) for leg in legs]
        one = held(mode, *(okx(leg) if mode.venue == "okx" else leg for leg in legs), cash="500")
        before = one.triggers(), one.prices()
        one.mark("BTC-USDT", D("63000"))
        after = one.triggers(), one.prices()
        assert [after[0][0], after[0][2]] == [before[0][0], before[0][2]], mode.model
        assert [after[1][0], after[1][2]] == [before[1][0], before[1][2]], mode.model
        assert one.figure(1, "upnl") == pytest.approx(-300)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: f"{mode.model}-{mode.ccy}")
def test_a_closed_position_changes_nothing(mode: Mode) -> None:
    leg, other = (inverse(1, "6000"), inverse(-1, "900", "61000", symbol="BTC-USD-2612"))
    if mode.linear:
        leg, other = linear(1, "2", settle="USDT"), linear(-1, "1", "150", "SOL")
    coins = (Coin("USDT", D(900), D(1)), Coin("BTC", D("0.02"), D(60000))) if mode.coins else ()
    cash = "0" if mode.coins else "0.05" if mode.ccy == "BTC" else "900"
    alone, both = held(mode, leg, cash=cash, coins=coins), held(mode, leg, other, cash=cash, coins=coins)
    both.report(alone.pool, NOW + 10)
    assert len(both.engine.positions) == 1
    assert both.trigger(0) == pytest.approx(alone.trigger(0), rel=1e-12, nan_ok=True)
    assert both.figure(0, "liq") == pytest.approx(alone.figure(0, "liq"), rel=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    "name", ["hyperliquid_cross-USDC", "aster_cross-USDT", "bybit_cross-USD", "bybit_cross_inverse-USD"]
)
@pytest.mark.parametrize("side", [1, -1])
def test_the_trigger_is_continuous_where_a_table_has_deductions(name: str, side: int) -> None:
    """As the present mark crosses an edge, and as the root does."""
    mode = MODE[name]
    tiers = tiers_of(mode.venue, inverse=mode.inverse)
    edge = tiers[1].lower
    at = [edge * (1 + D(step) / 10**9) for step in (-2, -1, 1, 2)]
    found = []
    for notional in at:  # the present notional on either side of the edge
        mark = 1 / (notional / 60000) if mode.inverse else notional / 50
        leg = inverse(side, "60000") if mode.inverse else linear(side, "50")
        leg = leg._replace(
            tiers=tiers, mark=mark, settle="BTC" if mode.inverse else "USDC" if mode.ccy == "USDC" else "USDT"
        )
        found.append(_moved(mode, leg, "0.1"))
    assert found == pytest.approx([found[0]] * 4, rel=1e-7)
    found = []
    for notional in at:  # the root on either side of the edge
        mark = D(60000) * (1 + side * D("0.05")) if mode.inverse else D(1000) * (1 + side * D("0.05"))
        size = notional * D(60000) if mode.inverse else notional / 1000
        leg = inverse(side, str(size)) if mode.inverse else linear(side, str(size))
        leg = leg._replace(
            tiers=tiers,
            mark=mark,
            entry=mark,
            settle="BTC" if mode.inverse else "USDC" if mode.ccy == "USDC" else "USDT",
        )
        found.append(_moved(mode, leg, "0.06"))
    assert found == pytest.approx([found[0]] * 4, rel=1e-7)


def _moved(mode: Mode, leg: Leg, part: str) -> float:
    """Return the trigger as a multiple of the mark, with a part of the notional at the entry as collateral."""
    amount = D(part) * leg.notional(leg.entry) * (leg.entry if leg.inverse else 1)
    coins = (Coin("USDT", amount, D(1)), Coin("BTC", D(0), leg.mark)) if mode.coins else ()
    one = held(mode, leg, cash="0" if mode.coins else str(amount), coins=coins)
    assert_triggers(one)
    return one.trigger(0) / float(leg.mark)


def test_of_two_roots_the_one_nearest_to_the_mark_is_shown() -> None:
    """Without a deduction maintenance jumps at an edge: a rising short is spent there, regains, and is spent again."""
    mode = MODE["bybit_cross-USD"]
    jumping = (Tier(D(0), D("0.01")), Tier(D(1100), D("0.05")))
    short = linear(-1, "1", tiers=jumping)
    for cash, wanted in (("120", 1100.0), ("111.2", 1100.0), ("90", 1079.2079), ("200", 1142.857)):
        one = held(mode, short, coins=(Coin("USDT", D(cash), D(1)),))
        assert one.trigger(0) == pytest.approx(wanted, rel=1e-6), cash
        assert_triggers(one)
    # A falling long: maintenance falls at the edge, so that the pool is spent above it and stands again below it.
    long = linear(1, "1", "1200", tiers=jumping)
    for cash in ("130", "150", "230"):
        assert_triggers(held(mode, long, coins=(Coin("USDT", D(cash), D(1)),)))


@pytest.mark.parametrize("name", ["okx_multi-USD", "bybit_cross-USD", "aster_multi-USD"])
@pytest.mark.parametrize("side", [1, -1])
def test_a_coin_that_is_collateral_and_underlying_moves_with_the_position(name: str, side: int) -> None:
    """Its haircut tiers count: of 3 BTC here, 2 at 0.95 and 1 at 0.9."""
    mode = MODE[name]
    leg = linear(side, "2", "60000", "BTC", settle="USDT")
    coins = (Coin("USDT", D(-60000), D(1)), Coin("BTC", D(3), D(60000), ((D(0), D("0.95")), (D(2), D("0.9")))))
    one = held(mode, okx(leg) if mode.venue == "okx" else leg, coins=coins)
    assert one.equity == pytest.approx(2.8 * 60000 - 60000)
    assert_triggers(one)
    fixed = held(mode, okx(leg) if mode.venue == "okx" else leg, coins=(Coin("USDT", D(108_000), D(1)),))
    assert not math.isnan(fixed.trigger(0))
    if side < 0:
        assert math.isnan(one.trigger(0)), "more coins than are sold: no price spends the pool"
    else:
        assert one.trigger(0) > fixed.trigger(0) + 10_000, "the collateral falls, too"


@pytest.mark.parametrize("name", ["okx_multi-USD", "bybit_cross-USD", "aster_multi-USD"])
def test_collateral_that_is_switched_off_counts_nothing(name: str) -> None:
    mode = MODE[name]
    leg = linear(1, "2", settle="USDT")
    leg = okx(leg) if mode.venue == "okx" else leg
    without = held(mode, leg, coins=(Coin("USDT", D(500), D(1)),))
    off = held(mode, leg, coins=(Coin("USDT", D(500), D(1)), Coin("BTC", D(3), D(60000), enabled=False)))
    assert off.equity == pytest.approx(500)
    assert off.trigger(0) == pytest.approx(without.trigger(0), rel=1e-12)


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    "name", ["okx_cross-BTC", "okx_multi-USD", "bybit_cross_inverse-USD", "okx_isolated_inverse-BTC"]
)
def test_an_inverse_contract_in_a_pool_of_its_coin_and_of_dollars(name: str, side: int) -> None:
    mode = MODE[name]
    leg = inverse(side, "60000", entry=D(58000))
    leg = okx(leg) if mode.venue == "okx" else leg
    coins = (Coin("USDT", D(20000), D(1)), Coin("BTC", D("0.1"), D(60000))) if mode.coins else ()
    one = held(mode, leg, cash="0" if mode.coins else "0.3", coins=coins)
    assert_triggers(one)
    assert not math.isnan(one.trigger(0)) or side < 0


def test_a_whole_book_at_once_is_the_reference_pool_by_pool() -> None:
    """Rows of all modes in one engine are one vectorised pass: each pool has the figures that it has by itself."""
    for mode in (mode for mode in MODES if mode.pool is None):
        price, cash = (D(60000), "0.02") if mode.inverse else (D(1000), "300")
        legs = []
        for index in range(40):
            side, mark = 1 if index % 3 else -1, price * (1 + D(index) / 500)
            leg = (inverse if mode.inverse else linear)(
                side, str(6000 + 100 * index) if mode.inverse else str(1 + D(index) / 10)
            )
            leg = leg._replace(
                symbol=f"S{index}",
                entry=price,
                mark=mark.quantize(D("0.01")),
                tiers=tiers_of(mode.venue, inverse=mode.inverse),
            )
            leg = leg._replace(settle="BTC" if mode.inverse else mode.ccy)
            legs.append(okx(leg) if mode.venue == "okx" else leg)
        one = held(mode, *legs, cash=cash)
        wanted = [root(Pool(mode.ccy, (leg,), D(cash)), leg) for leg in legs]
        assert one.triggers() == pytest.approx(wanted, rel=1e-9, nan_ok=True), mode.model


def price_alone(pool: Pool, leg: Leg) -> Decimal | None:
    """Return the price of a symbol that moves by itself."""
    factor = pool.alone(leg.symbol)
    return None if factor is None else factor * leg.mark


@pytest.mark.parametrize("name", ["okx_cross-USDT", "hyperliquid_cross-USDC", "aster_cross-USDT", "aster_multi-USD"])
def test_the_published_price_moves_its_own_symbol_alone(name: str) -> None:
    mode = MODE[name]
    settle = "USDT" if mode.ccy == "USD" else mode.ccy
    legs = [
        linear(1, "3", settle=settle), linear(-1, "1", "1010", symbol="ETH-USDT-2612", settle=settle),
        linear(-1, "10", "150", "SOL", settle=settle),
    ]  # fmt: skip
    legs = [okx(leg) if mode.venue == "okx" else leg for leg in legs]
    one = held(
        mode, *legs, cash="0" if mode.coins else "800", coins=(Coin("USDT", D(800), D(1)),) if mode.coins else ()
    )
    wanted = [price_alone(one.pool, leg) for leg in legs]
    assert one.prices() == pytest.approx([math.nan if w is None else float(w) for w in wanted], rel=1e-9, nan_ok=True)
    assert one.prices()[0] != pytest.approx(one.trigger(0), rel=1e-3), "swap and dated contract do not move apart"


def test_a_haircut_that_is_on_profit_too_is_followed_along_its_present_tier() -> None:
    """A limit: where a currency's equity turns into a debt on the way, 5 % of what is lost beyond that are not seen."""
    leg = okx(inverse(1, "60000", entry=D(60000)))
    coins = (Coin("USDT", D(20000), D(1)), Coin("BTC", D("0.1"), D(60000), ((D(0), D("0.95")),)))
    one = held(MODE["okx_multi-USD"], leg, coins=coins)
    wanted = root(one.pool, leg)
    assert one.pool.bends({"BTC": D(wanted) / 60000})
    assert one.trigger(0) != pytest.approx(wanted, rel=1e-3)
    assert (60000 - one.trigger(0)) / (60000 - wanted) == pytest.approx(1.0, abs=0.05)


def test_a_haircut_on_profit_is_found_anew_where_marks_alone_moved() -> None:
    """0.99 BTC and 0.4 of profit: the first whole, what is above it by half, at the index of 60,000 that has not moved."""
    leg = okx(inverse(1, "120000", entry=D(60000)))
    coins = (Coin("BTC", D("0.99"), D(60000), ((D(0), D(1)), (D(1), D("0.5")))),)
    one = held(MODE["okx_multi-USD"], leg, coins=coins)
    assert one.equity == pytest.approx(59_400, rel=1e-12)
    one.mark("BTC-USD", D(75000))
    one.engine.clock(NOW + 2)
    moved = one.pool._replace(legs=(leg._replace(mark=D(75000)),))
    assert one.equity == pytest.approx(71_700, rel=1e-12) == float(moved.value({})[0])
    one.mark("BTC-USD", D(60000))
    one.engine.clock(NOW + 3)
    assert one.equity == pytest.approx(59_400, rel=1e-12)


@pytest.mark.parametrize(("short", "long", "cash", "mark", "wanted"), [
    ("274.2733", "384.2467", "1925.9544", "195.552", math.nan),
    ("4.82", "6.7533", "281.7067695", "184.494", 10_230_464.486600116),
])  # fmt: skip
def test_contracts_of_one_underlying_may_part(short: str, long: str, cash: str, mark: str, wanted: float) -> None:
    """A swap and a dated contract, where the second's mark alone moves by a third: what has a second root is found out anew."""
    mode = MODE["hyperliquid_unified-USDC"]
    tiers = tiers_of("hyperliquid", inverse=False)
    legs = [
        linear(-1, short, "145.5", "SOL", symbol="SOL-USDC-2612", entry=D("130.95"), tiers=tiers, settle="USDC"),
        linear(1, long, "145.5", "SOL", symbol="SOL-USDC", entry=D("130.95"), tiers=tiers, settle="USDC"),
        linear(1, "0.0083", "58200", "BTC", entry=D("52380"), tiers=tiers, settle="USDC"),
    ]
    one = held(mode, *legs, cash=cash)
    one.mark("SOL-USDC-2612", D(mark))
    moved = one.pool._replace(legs=(legs[0]._replace(mark=D(mark)), *legs[1:]))
    assert root(moved, moved.legs[0]) == pytest.approx(wanted, rel=1e-9, nan_ok=True)
    assert one.trigger(0) == pytest.approx(wanted, rel=1e-9, nan_ok=True)
    again = Held(mode, moved)
    assert one.triggers() == pytest.approx(again.triggers(), rel=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", ["okx_isolated-USDT", "hyperliquid_isolated-USDC", "aster_isolated-USDT"])
def test_a_long_that_is_paid_in_full_has_no_price(name: str) -> None:
    """The root is 0; what float64 leaves of it is no price."""
    mode = MODE[name]
    leg = linear(1, "0.0093", "58200", "BTC", entry=D(57618), settle=mode.ccy)
    one = held(mode, okx(leg) if mode.venue == "okx" else leg, cash=str(leg.size * leg.entry))
    one.mark("BTC-USDT", D(40740))
    assert math.isnan(one.trigger(0))
    assert math.isnan(one.figure(0, "liq"))
    told = explain(one.rows[0], one.engine.book)["liquidation_price"]
    assert isinstance(told, dict)
    assert "model" not in told


def test_of_two_roots_of_an_inverse_contract_the_one_before_the_jump_is_shown() -> None:
    """A rising short is spent at 6,450 and stands again from 6,473 on, where what it keeps falls by 0.2 ETH, until 6,527."""
    tiers = (Tier(D(0), D("0.0125")), Tier(D(2), D("0.025")), Tier(D(8), D("0.05")))
    leg = inverse(-1, "51785", "2910", entry=D(2619), symbol="ETH-USD", base="ETH", settle="ETH", tiers=tiers)
    coins = (
        Coin("USDT", D("1035.70"), D("0.9998")),
        Coin("BTC", D("1.0086"), D(60000)),
        Coin("ETH", D("2.8988"), D(3000)),
    )
    one = held(MODE["bybit_cross_inverse-USD"], leg._replace(fixed=D("0.0088977663")), coins=coins)
    assert_triggers(one)
    assert one.trigger(0) == pytest.approx(6450.3505, abs=1e-3)
