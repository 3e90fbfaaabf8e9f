"""Which formula a position gets, by who shares its pool and what backs it: through the engine, against figures by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.events import CoinBalance, CollateralTier, CollateralTiers, CurrencyPrice, PoolState, PositionState
from gateway.core.margin import CATALOG
from gateway.engine import Engine
from tests.gateway.events_of import balance, engine, instrument, mark, position, row

RATE = 0.005 + 0.0005  # maintenance as the message implies, and OKX's liquidation fee
BTC_TIERS = (("0", "0.98"), ("10", "0.95"))


def ratios(venue: str, *tiers: tuple[str, str], ccy: str = "BTC") -> CollateralTiers:
    rows = tuple(CollateralTier(lower=lower, rate=rate) for lower, rate in tiers)
    return CollateralTiers(venue=venue, env="live", ccy=ccy, tiers=rows)


def coin(ccy: str, cash: str, usd: str, **fields: Any) -> CoinBalance:
    return CoinBalance(ccy=ccy, total=cash, cash=cash, usd_price=usd, **fields)


def inverse(account: str, symbol: str, **fields: Any) -> PositionState:
    """1,000 dollars short of BTC from 50,000, at mark 50,000."""
    given: dict[str, Any] = {
        "side": "short", "size": "1000", "entry_price": "50000", "mark_price": "50000", "venue_unrealized_pnl": "0",
        "settle": "BTC", "contract_type": "inverse", "contract_size": "1", "venue_maintenance_margin": "0.0001",
    }  # fmt: skip
    return position(symbol, account, **(given | fields))


def btc_usd(symbol: str, venue: str) -> Any:
    return instrument(symbol, venue, settle="BTC", contract_type="inverse", contract_ccy="USD", tick_size="0.1")


def surplus(one: Engine, account: str, pool: str) -> float:
    number = one.accounts[account].pools[pool].number
    return float(one.book.equity[number] - one.book.maintenance[number])


def model_of(one: Engine, state: PositionState) -> str | None:
    return one.positions[state.id].maintenance.model


def test_okx_multi_currency_counts_coins_by_their_tiers_and_their_profit_with_them() -> None:
    one = engine(promoted=CATALOG)
    usdt, btc = coin("USDT", "1000", "1", discount="1"), coin("BTC", "0.5", "50000")
    pool = PoolState(
        pool="USD",
        ccy="USD",
        from_coins=True,
        pnl_discounted=True,
        held="100",
        equity_after_held=True,
        venue_equity="25000",
    )
    linear = position(pool="USD", mark_price="110")
    short = inverse("okx-main", "BTC-USD-SWAP", pool="USD")
    contracts = [instrument(base="SOL"), btc_usd("BTC-USD-SWAP", "okx"), ratios("okx", *BTC_TIERS)]
    one.turn([*contracts, balance(coins=(usdt, btc), pools=(pool,)), linear, short], 1_000)
    shown = row(one, "accounts", "okx-main")["pools"]["USD"]
    assert shown["source"] == "model"
    assert shown["equity"] == pytest.approx(1_000 + 20 + 0.5 * 0.98 * 50_000 - 100)
    assert model_of(one, linear) == model_of(one, short) == "okx_multi"
    one.turn([mark("55000", "BTC-USD-SWAP")], 2_000)
    pnl = -1_000 * (1 / 50_000 - 1 / 55_000)
    shown = row(one, "accounts", "okx-main")["pools"]["USD"]
    assert shown["equity"] == pytest.approx(1_020 + (0.5 + pnl) * 0.98 * 50_000 - 100), "profit is cut with the balance"


@pytest.mark.parametrize(("entry", "at", "shown"), [("0", "50000", 0.0), ("50000", "0", None), ("0", "0", None)])
def test_a_report_with_a_price_of_zero_costs_that_figure_alone(entry: str, at: str, shown: float | None) -> None:
    one = engine(promoted=CATALOG)
    short = inverse("okx-main", "BTC-USD-SWAP", pool="BTC", entry_price=entry, mark_price=at)
    pools = (PoolState(pool="BTC", ccy="BTC", cash="1"),)
    one.turn([btc_usd("BTC-USD-SWAP", "okx"), balance(coins=(coin("BTC", "1", "50000"),), pools=pools), short], 1_000)
    found = row(one, "positions", short.id)
    assert (found.get("unrealized_pnl"), "mark_price" in found) == (shown, shown is not None)
    one.turn([mark("40000", "BTC-USD-SWAP")], 2_000)
    found = row(one, "positions", short.id)
    wanted = {"0": None if at == "0" else 1_000 * (1 / 40_000 - 1 / 50_000), "50000": 1_000 * (1 / 40_000 - 1 / 50_000)}
    assert found.get("unrealized_pnl") == (wanted[entry] and pytest.approx(wanted[entry]))
    one.turn([mark("0", "BTC-USD-SWAP", at=3_000)], 3_000)
    found = row(one, "positions", short.id)
    assert (found["mark_price"], found["mark_at"]) == (40_000.0, 2_000), "the last mark stays, and ages"


@pytest.mark.parametrize("at", ["0.04", "0", None])
def test_what_was_stated_of_an_option_stands_without_a_mark(at: str | None) -> None:
    one = engine(promoted=CATALOG)
    option = position(
        "BTC-USD-251226-100000-C", side="long", kind="option", pool="BTC", settle="BTC", contract_type=None, contract_size=None,
        entry_price="0.03", mark_price=at, venue_unrealized_pnl="0.1", venue_value="0.4", venue_maintenance_margin=None,
    )  # fmt: skip
    short = inverse("okx-main", "BTC-USD-SWAP", pool="BTC", size="100000", venue_maintenance_margin="0.01")
    pools = (PoolState(pool="BTC", ccy="BTC", cash="1"),)
    report = balance(coins=(coin("BTC", "1", "50000"),), pools=pools)
    one.turn([btc_usd("BTC-USD-SWAP", "okx"), report, option, short], 1_000)
    found = row(one, "positions", option.id)
    assert (found["unrealized_pnl"], found.get("mark_price")) == (0.1, 0.04 if at == "0.04" else None)
    assert row(one, "accounts", "okx-main")["pools"]["BTC"]["equity"] == pytest.approx(1.4)
    assert row(one, "positions", short.id)["liquidation_source"] == "model"
    one.turn([mark("0.05", option.symbol)], 2_000)
    assert row(one, "positions", option.id)["mark_price"] == 0.05


def test_what_backs_a_pool_has_to_be_known() -> None:
    one = engine(promoted=CATALOG)
    held = position("BTCUSDT", "bybit-main", pool="USD", venue_liquidation_price="7", liquidation_known="price")
    pool = PoolState(pool="USD", ccy="USD", cash="49100", from_coins=True)
    btc = balance(account="bybit-main", coins=(coin("USDT", "100", "1"), coin("BTC", "1", "50000")), pools=(pool,))
    one.turn([instrument("BTCUSDT", "bybit"), btc, held], 1_000)
    assert model_of(one, held) is None, "how much of the coin counts is not known"
    assert row(one, "positions", held.id)["liquidation_source"] == "venue"
    one.turn([ratios("bybit", *BTC_TIERS)], 2_000)
    assert model_of(one, held) == "bybit_cross"
    one.turn([balance(account="bybit-main", coins=(coin("USDT", "100", "1"),), pools=(pool,))], 3_000)
    assert model_of(one, held) is None, "the coins do not make up the balance"


def test_a_lone_position_on_one_collateral_is_the_measured_model() -> None:
    one = engine()
    held = position("BTCUSDT", "bybit-main", pool="USD")
    pool = PoolState(pool="USD", ccy="USD", cash="150", from_coins=True)
    one.turn(
        [
            instrument("BTCUSDT", "bybit"),
            balance(account="bybit-main", coins=(coin("USDT", "150", "1"),), pools=(pool,)),
            held,
        ],
        1_000,
    )
    shown = row(one, "positions", held.id)
    assert (model_of(one, held), shown["liquidation_source"]) == ("bybit_cross_single", "model")
    assert shown["liquidation_price"] == pytest.approx(100 - (150 - 1.1) / 2), "maintenance held at its present value"
    other = position("ETHUSDT", "bybit-main", pool="USD")
    one.turn([instrument("ETHUSDT", "bybit", base="ETH"), other], 2_000)
    assert model_of(one, held) == "bybit_cross"


def test_bybits_trigger_follows_the_real_maintenance() -> None:
    one = engine()
    held = position("BTCUSDT", "bybit-main", pool="USD")
    pool = PoolState(pool="USD", ccy="USD", cash="150", from_coins=True)
    said = balance(account="bybit-main", coins=(coin("USDT", "150", "1"),), pools=(pool,))
    one.turn([instrument("BTCUSDT", "bybit"), said, held], 1_000)
    at = one.book.figures(one.positions[held.id].handle)["trigger"]
    assert 150 + 2 * (at - 100) == pytest.approx(0.005 * 2 * at)
    one.turn([mark(repr(at), "BTCUSDT", "bybit")], 2_000)
    assert surplus(one, "bybit-main", "USD") == pytest.approx(0.0, abs=1e-9)
    assert row(one, "positions", held.id)["liquidation_distance"] == pytest.approx(0.0, abs=1e-12)


def test_bybits_inverse_contract_and_its_coin_share_one_trigger() -> None:
    """Long 50,000 dollars of BTC on 0.2 BTC: falling, the coin loses with the position. Solved by hand in dollars."""
    one = engine(promoted=CATALOG)
    held = inverse("bybit-main", "BTCUSD", side="long", size="50000", pool="USD", venue_maintenance_margin="0.005")
    pool = PoolState(pool="USD", ccy="USD", cash="9800", from_coins=True)
    said = balance(account="bybit-main", coins=(coin("BTC", "0.2", "50000"),), pools=(pool,))
    one.turn([btc_usd("BTCUSD", "bybit"), ratios("bybit", *BTC_TIERS), said, held], 1_000)
    assert model_of(one, held) == "bybit_cross_inverse"
    at = one.book.figures(one.positions[held.id].handle)["trigger"]
    # 0.2 * 0.98 * P + 50,000 * (P / 50,000 - 1) = 0.005 * 50,000
    assert at == pytest.approx((50_000 + 250) / (0.2 * 0.98 + 1))


def test_a_written_option_or_a_margin_position_leaves_its_pool_to_the_venue() -> None:
    one = engine(promoted=CATALOG)
    held = position(venue_liquidation_price="7", liquidation_known="price")
    one.turn([balance("100"), held], 1_000)
    assert model_of(one, held) == "okx_cross"
    option = position("BTC-USD-261225-100000-C", kind="option", side="short", venue_value="-3")
    one.turn([option], 2_000)
    assert model_of(one, held) is None, "what the option must keep is no formula's"
    assert row(one, "positions", held.id)["liquidation_source"] == "venue"
    one.turn([position("BTC-USD-261225-100000-C", kind="option", side="short", size="0", fence=(2,))], 3_000)
    assert model_of(one, held) == "okx_cross"
    bought = position("BTC-USD-261225-100000-P", kind="option", side="long", venue_value="3")
    one.turn([bought], 4_000)
    assert model_of(one, held) == "okx_cross", "a bought one is paid for: its value stands in the pool"


def test_what_orders_hold_backs_no_position() -> None:
    one = engine(promoted=CATALOG)
    held = position()
    one.turn([balance(pools=(PoolState(pool="USDT", ccy="USDT", cash="100", held="30"),)), held], 1_000)
    assert row(one, "positions", held.id)["liquidation_price"] == pytest.approx((200 - 70) / (2 * (1 - RATE)))


def test_the_legs_of_a_hedge_are_charged_each_for_itself_and_share_the_trigger() -> None:
    one = engine(promoted=CATALOG)
    long, short = position(size="3"), position(id="okx-main:BTC-USDT-SWAP:short", side="short", size="1")
    one.turn([balance("100"), long, short], 1_000)
    pool = row(one, "accounts", "okx-main")["pools"]["USDT"]
    assert pool["maintenance_margin"] == pytest.approx((330 + 110) * RATE), "gross"
    triggers = {one.book.figures(one.positions[state.id].handle)["trigger"] for state in (long, short)}
    assert len(triggers) == 1


def test_an_underlying_has_one_number_whatever_it_is_called() -> None:
    one = engine(promoted=CATALOG)
    held = position("1000PEPE-USDT-SWAP")
    other = position("XBT-USDT-SWAP")
    one.turn([instrument("1000PEPE-USDT-SWAP", base="PEPE", base_multiplier="1000"), held, other], 1_000)
    rows = one.book.rows()
    names = {int(handle): one.book.bases.name(int(base)) for handle, base in zip(rows.handle, rows.base, strict=True)}
    assert names[one.positions[held.id].handle] == "PEPE"
    assert names[one.positions[other.id].handle] == "XBT-USDT-SWAP", "without a contract an underlying of its own"
    one.turn([instrument("XBT-USDT-SWAP", base="XBT")], 2_000)
    rows = one.book.rows()
    names = {int(handle): one.book.bases.name(int(base)) for handle, base in zip(rows.handle, rows.base, strict=True)}
    assert names[one.positions[other.id].handle] == "BTC"


# --- a push that names some of the coins ----------------------------------------------------------------------------------

FOUR = ("BTC", "ETH", "SOL", "USDT")
CALM_S = 8  # longer than any price of before a move counts
AMOUNTS = st.lists(st.floats(-5.0, 50.0).map(lambda amount: round(amount, 4)), min_size=4, max_size=4)
PRICES = st.lists(st.floats(0.5, 2_000.0).map(lambda price: round(price, 6)), min_size=4, max_size=4)
MOVES = st.lists(st.floats(-0.2, 0.2), min_size=4, max_size=4)
NAMED = st.sets(st.sampled_from(FOUR))


class Wallet:
    """A Bybit account of four coins that count whole, and of one that is switched off and has no price anywhere."""

    def __init__(self, amounts: list[float], prices: list[float]) -> None:
        self.engine = engine(promoted=CATALOG)
        self.amounts = dict(zip(FOUR, amounts, strict=True))
        self.seq, self.now = 0, 1_000
        self.index(prices)
        self.engine.clock(self.now)
        self.pass_by(CALM_S)
        self.say(prices, FOUR, self.worth(prices), full=True)

    def index(self, prices: list[float]) -> None:
        """Let the venue's indices go there."""
        told = [
            CurrencyPrice(venue="bybit", env="live", ccy=ccy, usd=repr(usd))
            for ccy, usd in zip(FOUR, prices, strict=True)
        ]
        self.engine.turn(told, self.now)

    def pass_by(self, seconds: float) -> None:
        self.now += int(seconds * 1_000)
        self.engine.clock(self.now)

    def say(self, prices: list[float], named: Iterable[str], stated: float, *, full: bool = False) -> None:
        """Let the venue report its balance, with some of the coins at these prices."""
        self.seq += 1
        usd = dict(zip(FOUR, prices, strict=True))
        coins = [coin(ccy, repr(self.amounts[ccy]), repr(usd[ccy]), discount="1") for ccy in FOUR if ccy in named]
        idle = CoinBalance(ccy="ZRX", total="7", cash="7", collateral=False)
        pool = PoolState(pool="USD", ccy="USD", cash=repr(stated), from_coins=True, held="0")
        said = balance(
            account="bybit-main", coins=(*coins, *([idle] if full else [])), pools=(pool,), full=full, fence=(self.seq,)
        )
        self.engine.turn([said], self.now)

    def worth(self, prices: list[float]) -> float:
        return sum(self.amounts[ccy] * usd for ccy, usd in zip(FOUR, prices, strict=True))

    @property
    def known(self) -> bool:
        """Say whether the coins are taken to make up the balance."""
        return self.engine.accounts["bybit-main"].pools["USD"].backing_known

    @property
    def equity(self) -> float:
        return float(self.engine.book.equity[self.engine.accounts["bybit-main"].pools["USD"].number])


def moved(prices: list[float], moves: list[float], share: float = 1.0) -> list[float]:
    return [price * (1 + share * move) for price, move in zip(prices, moves, strict=True)]


def room(stated: float) -> float:
    """Return how far coins may be from the balance that they make up: the venue's roundings."""
    return 1e-4 * abs(stated) + 0.01


@settings(deadline=None)
@given(
    AMOUNTS, PRICES, MOVES, MOVES, NAMED, st.one_of(st.floats(-0.9, 0.9), st.floats(-300, -1.2), st.floats(1.2, 300))
)
def test_coins_that_a_push_does_not_name_count_at_the_prices_of_its_moment(
    amounts: list[float], prices: list[float], first: list[float], then: list[float], named: set[str], off: float
) -> None:
    """Known where they truly make up the balance, and nowhere else; and what was known stays so while prices go on."""
    one = Wallet(amounts, prices)
    assert one.known
    now = moved(prices, first)
    one.index(now)
    one.pass_by(CALM_S)
    assert one.known
    short = off * room(one.worth(now))
    one.say(now, named, one.worth(now) + short)
    assert one.known == (abs(short) <= room(one.worth(now) + short))
    if one.known:
        one.pass_by(CALM_S)
        later = moved(now, then)
        one.index(later)
        one.pass_by(CALM_S)
        assert one.known
        assert one.equity == pytest.approx(one.worth(later) + short, abs=1e-5 * (1 + sum(map(abs, later)) * 50))


@settings(deadline=None)
@given(AMOUNTS, PRICES, MOVES, NAMED, st.floats(0.0, 1.0))
def test_in_a_market_that_moves_a_push_may_be_of_any_moment_just_before(
    amounts: list[float], prices: list[float], moves: list[float], named: set[str], share: float
) -> None:
    """Coins that it did not name may have been at any price of the last moments; beyond all of them they make up nothing."""
    one = Wallet(amounts, prices)
    one.pass_by(CALM_S)
    one.index(moved(prices, moves))
    one.pass_by(0.2)
    written = moved(prices, moves, share)
    one.say(written, named, one.worth(written))
    assert one.known
    one.index(moved(prices, moves))
    one.pass_by(CALM_S)
    now = one.worth(moved(prices, moves))
    assert one.equity == pytest.approx(now, abs=1e-5 * (1 + sum(prices) * 50))
    most = sum(
        abs(one.amounts[ccy] * usd * move)
        for ccy, usd, move in zip(FOUR, prices, moves, strict=True)
        if ccy not in named
    )
    for more in (1.1, -1.1):
        beyond = one.worth(written) + more * (most + room(one.worth(written)) + 0.01)
        one.say(written, named, beyond)
        assert not one.known


def test_what_counts_nothing_needs_no_price() -> None:
    """In another coin's place: switched off, or of a rate of 0; with nothing known of its price, wherever it is asked for."""
    one = engine(promoted=CATALOG)
    held = position("BTCUSDT", "bybit-main", pool="USD")
    coins = (
        coin("USDT", "150", "1"),
        CoinBalance(ccy="ZRX", total="7", cash="7", collateral=False),
        CoinBalance(ccy="OLD", total="7", cash="7"),
    )
    pool = PoolState(pool="USD", ccy="USD", cash="150", from_coins=True)
    contracts = [instrument("BTCUSDT", "bybit"), ratios("bybit", ("0", "0"), ccy="OLD")]
    one.turn([*contracts, balance(account="bybit-main", coins=coins, pools=(pool,)), held], 1_000)
    assert row(one, "positions", held.id)["liquidation_source"] == "model"
    number = one.accounts["bybit-main"].pools["USD"]
    assert dict(one.pools.coins(number)) == {"USDT": 150.0}
