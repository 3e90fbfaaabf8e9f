"""What expires: always in the future, on the venues' day, under the venues' names; and what an option is worth on the way."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from exchanges.sim import dated
from exchanges.sim.world import World

BEGIN = 1_763_683_200_000


@given(st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC)))
def test_an_expiry_is_the_last_friday_of_a_quarter_a_week_to_four_months_ahead(now: datetime) -> None:
    at = dated.expiry(int(now.timestamp() * 1000))
    assert timedelta(days=7) <= at - now + timedelta(seconds=1) <= timedelta(days=106)
    assert (at.weekday(), at.hour, at.minute, at.month % 3) == (4, 8, 0, 0)
    assert (at + timedelta(days=7)).month != at.month


def test_symbols_are_spelt_as_each_venue_spells_them() -> None:
    listed = {contract.symbol: contract for contract in dated.contracts(BEGIN) if contract.kind != "perp"}
    assert set(listed) == {
        "BTC-USDT-251226",
        "BTC-USD-251226",
        "BTC-USD-251226-100000-C",
        "BTCUSDT-26DEC25",
        "BTCUSDZ25",
        "BTC-26DEC25-100000-C-USDT",
    }
    assert {c.expires_at for c in listed.values()} == {1_766_736_000_000}
    assert [c.symbol for c in listed.values() if c.inverse] == ["BTC-USD-251226", "BTCUSDZ25"]
    assert dated.spelt("BTCUSDT-{ddmmmyy}", datetime(2027, 9, 3, tzinfo=UTC)) == "BTCUSDT-3SEP27"


def test_an_option_is_worth_less_with_time_and_is_quoted_in_its_settle_currency() -> None:
    now, later = World(1, BEGIN), World(1, BEGIN + 14 * 86_400_000)
    coins, dollars = now.mark("okx", "BTC-USD-251226-100000-C"), now.mark("bybit", "BTC-26DEC25-100000-C-USDT")
    assert 0 < later.mark("okx", "BTC-USD-251226-100000-C") < coins
    assert 0 < later.mark("bybit", "BTC-26DEC25-100000-C-USDT") < dollars
    assert abs(coins * now.usd("BTC") / dollars - 1) < Decimal("0.05")
