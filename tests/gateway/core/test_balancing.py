"""What currencies were worth, by the samples of equity."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from exchanges.events import Fill
from gateway.core.alerts.records import EquitySample
from gateway.core.balancing import Ends, Flows, balance, price_range
from gateway.core.records import Finding

T0, MINUTE = 1_763_683_200_000, 60_000


def sample(minute: int, **usd: float) -> EquitySample:
    at = T0 + minute * MINUTE
    return EquitySample(account="main", at=at, equity_usd=0.0, high_usd=0.0, high_at=at, equity={}, usd=usd)


def test_a_price_is_known_by_the_samples_from_a_minute_before_to_a_minute_after() -> None:
    samples = [sample(minute, COIN=50.0 + minute, USDT=0.5) for minute in range(10)]
    assert price_range(samples, "COIN", "USDT", T0 + 3 * MINUTE, T0 + 4 * MINUTE) == (Decimal(104), Decimal(110))
    assert price_range(samples, "USDT", "COIN", T0, T0) == (Decimal("0.5") / 51, Decimal("0.5") / 50)


def test_a_price_between_thinned_samples_is_known_by_the_nearest_on_each_side() -> None:
    samples = [sample(60 * hour, COIN=50.0 + hour, USDT=1.0) for hour in range(5)]
    samples.insert(2, sample(80, USDT=1.0))  # knows one of both
    assert price_range(samples, "COIN", "USDT", T0 + 90 * MINUTE, T0 + 90 * MINUTE) == (Decimal(51), Decimal(52))
    assert price_range(samples, "COIN", "USDT", T0 + 90 * MINUTE, T0 + 130 * MINUTE) == (Decimal(51), Decimal(53))
    assert price_range(samples, "COIN", "USDT", T0 - 90 * MINUTE, T0 - 90 * MINUTE) is None


def test_what_no_sample_knows_has_no_price() -> None:
    samples = [sample(0, COIN=50.0), sample(1, USDT=1.0), sample(2, COIN=0.0, USDT=1.0)]
    assert price_range(samples, "COIN", "USDT", T0, T0 + 9 * MINUTE) is None
    assert price_range([], "COIN", "USDT", T0, T0) is None
    assert price_range([sample(0, COIN=50.0, USDT=1.0)], "COIN", "USDT", T0 + 9 * MINUTE, T0 + 9 * MINUTE) is None


@pytest.mark.parametrize(
    ("off", "left"), [({"fees": "-9"}, "0"), ({"size": "1", "fees": "-9"}, "0"), ({"funding": "-9"}, "1")]
)
def test_what_is_wrong_with_a_fill_may_be_its_fee_taken_of_another_coin(off: dict[str, str], left: str) -> None:
    told = {
        "account": "main", "id": "main:1", "symbol": "XUSDT", "order_id": "o", "side": "sell", "size": "1", "price": "9",
        "at": T0 + MINUTE, "position": None, "trade_id": "1", "fee": "-1.001", "fee_ccy": "COIN", "realized_pnl": "0",
    }  # fmt: skip
    flows = Flows([msgspec.convert(told, Fill)], [], [])
    finding = Finding(
        cls="unexplained",
        what="an order",
        symbol="XUSDT",
        since=T0,
        at=T0 + MINUTE,
        ccy="USDT",
        differences=off,
        effect="-9",
    )
    first, last = (
        EquitySample(
            account="main", at=T0 + minute * MINUTE, equity_usd=0.0, high_usd=0.0, high_at=T0,
            equity={"USDT": 100.0, "COIN": coins}, usd={"USDT": 1.0, "COIN": 9_000.0},
        )
        for minute, coins in ((0, 1.0), (2, 0.999))
    )  # fmt: skip
    rows = {
        one.ccy: one for one in balance(Ends(first, last), flows, {"XUSDT": "USDT"}.get, [finding], Decimal("1e-8"))
    }
    assert float(rows["COIN"].unexplained) == pytest.approx(float(left), abs=1e-12)
    assert float(rows["USDT"].unexplained) == 0
