"""What a verification says of a day: the balance, with what the venue did not say of every fill."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from exchanges.events import Fill
from gateway.core.alerts.records import EquitySample
from gateway.core.balancing import Flows
from gateway.core.chains import Evidence
from gateway.core.records import Balance, Verification
from gateway.core.round_trips import Contract
from gateway.core.verified import Material, unexplained, verify
from gateway.core.verify import Book

T0 = 1_763_683_200_000
MINUTE = 60_000
OPTION = "BTC-25DEC26-100000-C-USDT"
CONTRACT = Contract("USDT", Decimal(1))


def fill(name: str, side: str, size: str, price: str, minute: int, **fields: Any) -> Fill:
    known = {
        "account": "main", "id": name, "symbol": OPTION, "order_id": f"o-{name}", "side": side, "size": size, "price": price,
        "at": T0 + minute * MINUTE, "position": f"main:{OPTION}", "trade_id": name, "fee": "-0.10000000", "fee_ccy": "USDT",
    }  # fmt: skip
    return msgspec.convert(known | fields, Fill)


def verified(fills: list[Fill], equity: float, contract: Contract | None = CONTRACT) -> list[Verification]:
    """Return what is said where these fills moved the equity by so much, and the venue has no records of them."""
    samples = [
        EquitySample(
            account="main", at=T0 + minute * MINUTE, equity_usd=held, high_usd=held, high_at=T0, equity={"USDT": held},
            usd={"USDT": 1.0},
        )
        for minute, held in ((0, 100.0), (60, 100.0 + equity))
    ]  # fmt: skip
    book = Book("main", OPTION, Evidence(contract, covered=T0), fills, [], [], [], "order")
    flows = Flows(fills, [], [])
    return verify(Material("main", T0, T0 + 61 * MINUTE, [book], flows, samples, [], {OPTION: "USDT"}.get), T0)


def balance(rows: list[Verification]) -> Balance:
    return next(one for row in rows for one in row.balance if one.ccy == "USDT")


IN = fill("in", "buy", "2", "100", 5, realized_pnl="0")
PART, OUT = fill("part", "sell", "0.5", "110", 10), fill("out", "sell", "1.5", "90", 20)


def test_what_the_venue_does_not_say_of_a_closing_follows_from_what_opened_the_position() -> None:
    rows = verified([IN, PART, OUT], 5 - 15 - 0.3)
    assert not unexplained(rows)
    assert balance(rows).realized == "-10.3"


def test_what_the_venue_says_of_a_closing_counts() -> None:
    rows = verified([IN, PART, msgspec.structs.replace(OUT, realized_pnl="-15.1")], 5 - 15 - 0.3)
    (found,) = unexplained(rows)
    assert found.differences == {"equity": balance(rows).unexplained}
    assert float(balance(rows).unexplained) == pytest.approx(0.1)


@pytest.mark.parametrize(("fills", "contract"), [([PART, OUT], CONTRACT), ([IN, PART, OUT], None)])
def test_a_closing_counts_nothing_where_nothing_tells_what_it_brought(
    fills: list[Fill], contract: Contract | None
) -> None:
    rows = verified(fills, 5 - 15 - 0.3, contract)
    assert [one.symbol for one in unexplained(rows)] == [None]
