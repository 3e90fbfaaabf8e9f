"""What is added up once a second, against sums made row by row."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.events import CurrencyPrice, FundingRate, Price
from gateway.core.accounts import AccountInfo
from gateway.core.margin import CATALOG
from gateway.core.rows import liquidation_source
from gateway.core.slow import significant
from gateway.engine import Engine
from tests.gateway.events_of import BYBIT, OKX, balance, closed, engine, instrument, mark, position, row, rows

SHARED = AccountInfo(name="joes", venue="okx", env="live", user="joe")
HL = AccountInfo(name="hl-main", venue="hyperliquid", env="live", user="ann")
ACCOUNTS = (OKX, BYBIT, SHARED)

held = st.lists(
    st.tuples(
        st.sampled_from(ACCOUNTS),
        st.sampled_from(["BTC", "ETH", "SOL"]),
        st.sampled_from(["long", "short"]),
        st.integers(1, 50),
        st.sampled_from(["1", "5", "10", None]),  # leverage
        st.sampled_from(["110", "90", None]),  # mark
        st.sampled_from(["USDT", "NOUSD"]),
        st.sampled_from(["price", "none", "unknown"]),
    ),
    max_size=8,
    unique_by=lambda leg: (leg[0].name, leg[1], leg[2]),
)


def filled(legs: list[tuple[Any, ...]], promoted: Collection[str] = ()) -> Engine:
    one = engine(*ACCOUNTS, promoted=promoted)
    for info, base, side, size, leverage, price, settle, word in legs:
        symbol = f"{base}-{info.venue}-{settle}"
        said: dict[str, Any] = {"liquidation_known": word, "venue_liquidation_price": "80" if word == "price" else None}
        one.turn([instrument(symbol, info.venue, base=base, settle=settle)], 500)
        one.turn(
            [
                position(
                    symbol, info.name, side=side, size=str(size), leverage=leverage, mark_price=price, pool=settle,
                    settle=settle, **said,
                )
            ],
            1_000,
        )  # fmt: skip
    one.turn([balance("500"), balance("300", account="bybit-main")], 1_500)
    one.clock(2_000)
    return one


@settings(max_examples=80, deadline=None)
@given(held)
def test_a_summary_is_the_sum_of_its_rows(legs: list[tuple[Any, ...]]) -> None:
    one = filled(legs)
    for user in {info.user for info in ACCOUNTS}:
        version = one.tables["summary"].get(user)
        mine = [found for found in rows(one, "positions") if found["user"] == user]
        if version is None:
            assert not mine
            continue
        total = version.row
        assert total["total_positions"] == len(mine)
        notional = [found.get("notional_usd", math.nan) for found in mine]
        gross: dict[str, float] = defaultdict(float)
        net: dict[str, float] = defaultdict(float)
        for found, usd in zip(mine, notional, strict=True):
            gross[found["base"]] += usd
            net[found["base"]] += usd if found["side"] == "long" else -usd
        for field, by_base in (("gross_exposure", gross), ("net_exposure", net)):
            assert total[field] == pytest.approx(
                {base: usd for base, usd in by_base.items() if not math.isnan(usd)}, abs=0.01
            )
        upnl = sum(found.get("unrealized_pnl_usd", math.nan) for found in mine)
        assert total.get("total_unrealized_pnl_usd", math.nan) == pytest.approx(upnl, abs=0.01, nan_ok=True)
        accounts = [found for found in rows(one, "accounts") if found["user"] == user]
        equity = [found["equity_usd"] for found in accounts if "equity_usd" in found]
        whole = all("equity_usd" in found for found in accounts if found["positions"])
        if whole and equity and "unpriced" not in total:
            assert total["total_equity_usd"] == pytest.approx(sum(equity), abs=0.01)
        leverages = [float(found["leverage"]) for found in mine if "leverage" in found]
        assert total.get("max_leverage") == max(leverages, default=None)
        scores = [found["risk_score"] for found in mine if not found.get("dust")]
        assert total.get("max_risk_score") == max(scores, default=None)
        assert total["high_risk_positions"] == sum(score >= 0.7 for score in scores)
        near = [
            found
            for found in mine
            if not found.get("dust")
            and found["liquidation_source"] != "none"
            and found.get("liquidation_distance", -1.0) <= 0.1
        ]
        assert total["liquidation_risk_positions"] == len(near)
        if sum(notional) > 0:
            assert total["portfolio_concentration"] == pytest.approx(
                sum((usd / sum(notional)) ** 2 for usd in gross.values()), abs=1e-4
            )
            assert sum(total["exchange_distribution"].values()) == pytest.approx(1, abs=1e-3)


@settings(max_examples=80, deadline=None)
@given(held, st.sampled_from([(), tuple(CATALOG)]))
def test_what_no_price_liquidates_is_the_same_in_the_columns_and_in_the_rows(
    legs: list[tuple[Any, ...]], promoted: Collection[str]
) -> None:
    one = filled(legs, promoted)
    for slot, distance in zip(*(one.portfolio.standing()[i].tolist() for i in (0, 6)), strict=True):
        found = one.position_at(slot)
        source = liquidation_source(found, one.book.figures(found.handle), one.book)
        shown = row(one, "positions", found.state.id)
        # A leg may have a published price of its own where no price of the underlying spends the pool.
        assert math.isinf(distance) == (source == "none" or (source == "model" and "liquidation_distance" not in shown))
        assert ("liquidation_distance" in shown) == math.isfinite(distance)
        if "liquidation_distance" in shown:
            assert distance == pytest.approx(shown["liquidation_distance"])
        else:
            assert source in ("none", "unknown") or "mark_price" not in shown


@settings(max_examples=60, deadline=None)
@given(held)
def test_a_score_names_what_it_was_made_without(legs: list[tuple[Any, ...]]) -> None:
    for found in rows(filled(legs), "positions"):
        missing = set(found.get("missing", ()))
        assert ("weight" in missing) == ("weight" not in found)
        assert ("leverage" in missing) == ("leverage" not in found)
        unknown = "liquidation_distance" not in found and found["liquidation_source"] != "none"
        assert ("liquidation_distance" in missing) == unknown
        assert found["risk_score"] >= 0.5 or not unknown


def test_slow_figures_of_a_slot_are_never_another_positions() -> None:
    one = engine(OKX)
    first = position()
    one.turn([instrument(), instrument("ETH-USDT-SWAP", base="ETH"), balance(), first], 1_000)
    one.clock(2_000)
    assert row(one, "positions", first.id)["weight"] == 1.0
    other = position("ETH-USDT-SWAP")
    one.turn([closed(first, (2,)), other], 3_000)
    assert not {"weight", "risk_score"} & row(one, "positions", other.id).keys()
    one.portfolio.refresh(one.accounts.values())
    assert not {"weight", "risk_score"} & row(one, "positions", other.id).keys(), "read anew, not added up yet"
    one.clock(4_000)
    assert row(one, "positions", other.id)["weight"] == 1.0


def test_the_price_of_a_currency_that_moves_counts_in_totals_and_shares() -> None:
    one = engine(OKX)
    one.turn([instrument(), balance(), position(), CurrencyPrice(venue="okx", env="live", ccy="USDT", usd="1")], 1_000)
    one.clock(2_000)
    assert row(one, "summary", "ann")["total_equity_usd"] == 1020.0
    one.turn([CurrencyPrice(venue="okx", env="live", ccy="USDT", usd="0.9")], 2_500)
    one.clock(3_000)
    assert row(one, "summary", "ann")["total_equity_usd"] == 918.0
    assert row(one, "summary", "ann")["gross_exposure"] == {"BTC": 198.0}


def test_hyperliquid_pays_funding_on_its_oracle() -> None:
    one = engine(HL)
    held = position("BTC", "hl-main", pool="USDC", settle="USDC")
    rate = FundingRate(venue="hyperliquid", env="live", symbol="BTC", rate="0.0001", next_at=9_000, paid_on="index")
    one.turn([instrument("BTC", "hyperliquid", settle="USDC"), held, rate], 1_000)
    one.clock(2_000)
    found = row(one, "positions", held.id)
    assert found["funding_rate"] == 0.0001
    assert "next_funding" not in found, "the mark's notional would be another amount"
    assert "index_price" in found["missing"]
    one.turn([Price(venue="hyperliquid", env="live", symbol="BTC", value="100", kind="index")], 2_500)
    one.clock(3_000)
    found = row(one, "positions", held.id)
    assert found["next_funding"] == pytest.approx(-0.02)
    assert "index_price" not in found.get("missing", ())
    assert found["mark_price"] == 110.0, "an index is no mark"


def test_an_older_funding_rate_is_ignored_and_one_from_before_the_position_counts() -> None:
    one = engine(OKX)
    said = {"venue": "okx", "env": "live", "symbol": "BTC-USDT-SWAP"}
    one.turn([FundingRate(rate="0.0002", at=5_000, **said), FundingRate(rate="0.0009", at=4_000, **said)], 900)
    one.turn([instrument(), position()], 1_000)
    one.clock(2_000)
    assert row(one, "positions", position().id)["funding_rate"] == 0.0002


@given(st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-12))
def test_rounding_to_significant_digits_is_what_is_written(value: float) -> None:
    (found,) = significant(np.array([value]), 4).tolist()
    assert found == pytest.approx(float(f"{value:.4g}"), rel=2e-4)
    assert float(f"{found:.4g}") == found, "the nearest float of a number with four digits"
    assert math.copysign(1.0, found) == 1.0 or found < 0.0


def test_a_mark_that_moves_nothing_that_is_shown_publishes_no_slow_figure() -> None:
    one = engine(OKX)
    one.turn([instrument(), balance(), position()], 1_000)
    one.clock(2_000)
    seq = one.tables.seq
    assert not one.clock(3_000)
    assert one.tables.seq == seq
    one.turn([mark("110.0000001")], 3_500)
    moved = one.tables.seq
    assert not one.clock(4_000)
    assert one.tables.seq == moved


@pytest.mark.parametrize("short", ["150", "90"])
def test_the_venues_price_of_a_leg_is_met_from_where_its_message_had_the_mark(short: str) -> None:
    """The larger leg of a hedge decides for both at some venues; elsewhere each leg has its own price."""
    one = engine(OKX)
    said: dict[str, Any] = {"liquidation_known": "price"}
    legs = [
        position(size="5", venue_liquidation_price="90", **said),
        position(size="2", side="short", venue_liquidation_price=short, **said),
    ]
    one.turn([instrument(), balance(cash=None), *legs], 1_000)
    for leg in legs:
        found = row(one, "positions", leg.id)
        assert found["liquidation_source"] == "venue"
        assert found["liquidation_distance"] == pytest.approx(abs(1 - found["liquidation_price"] / 110))
    one.turn([mark("160" if short == "150" else "80")], 2_000)
    assert row(one, "positions", legs[1].id)["liquidation_distance"] < 0, "through it"
