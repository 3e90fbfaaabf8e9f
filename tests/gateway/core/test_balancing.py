"""What currencies were worth, by the samples of equity."""

from __future__ import annotations

from decimal import Decimal

from gateway.core.alerts.records import EquitySample
from gateway.core.balancing import price_range

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
