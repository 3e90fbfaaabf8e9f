"""Sums of what was realised: exact, each line once, whatever the order."""

from __future__ import annotations

import random
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import Fill, FundingPayment, Transfer
from gateway.core.realized import Day, line_of

DAY_MS = 86_400_000
BEGINS = 20_000 * DAY_MS

amounts = st.decimals(-10_000, 10_000, places=12, allow_nan=False, allow_infinity=False).map(
    lambda one: format(one, "f")
)
moments = st.integers(BEGINS - 5, BEGINS + 5)
fills = st.builds(
    lambda number, at, pnl, fee, ccy, symbol: Fill(
        account="a", id=f"f{number}", symbol=symbol, order_id="1", side="buy", size="1", price="1", at=at,
        realized_pnl=pnl, fee=fee, fee_ccy=ccy,
    ),
    st.integers(0, 9), moments, amounts, amounts, st.sampled_from([None, "USDT", "BNB"]), st.sampled_from(["BTC", "ETH", "SPOT"]),
)  # fmt: skip
payments = st.builds(
    lambda number, at, amount: FundingPayment(account="a", id=f"p{number}", symbol="BTC", amount=amount, ccy="USDT", at=at),
    st.integers(0, 9), moments, amounts,
)  # fmt: skip
transfers = st.builds(
    lambda number, at, amount, kind: Transfer(account="a", id=f"t{number}", kind=kind, ccy="USDC", amount=amount, at=at),
    st.integers(0, 9), moments, amounts, st.sampled_from(["settlement", "liquidation", "deposit", "other"]),
)  # fmt: skip
events = st.lists(st.one_of(fills, payments, transfers), max_size=20, unique_by=lambda one: one.id)
Event = Fill | FundingPayment | Transfer


def settle(symbol: str) -> str | None:
    return {"BTC": "USDT", "ETH": "ETH"}.get(symbol)


def total(told: list[Event], since: int = BEGINS, *, late: bool = False) -> dict[str, Decimal]:
    day = Day()
    if not late:
        day.begin(BEGINS)
    for event in told:
        line = line_of(event)
        if line is not None:
            day.put(event.id, line)
    if late:
        day.begin(BEGINS)
    return day.total(since, settle)


def reckoned(told: list[Event], since: int = BEGINS) -> dict[str, int]:
    """Return the sums in units of 1e-12, as whole numbers."""
    found: dict[str, int] = {}

    def add(ccy: str, amount: str) -> None:
        found[ccy] = found.get(ccy, 0) + int(Decimal(amount).scaleb(12))

    for event in told:
        if event.at < since:
            continue
        if isinstance(event, Fill):
            own = settle(event.symbol)
            if own is not None and event.realized_pnl is not None and event.fee is not None:
                add(own, event.realized_pnl)
                add(event.fee_ccy or own, event.fee)
        elif isinstance(event, FundingPayment) or event.kind in ("settlement", "liquidation"):
            add(event.ccy, event.amount)
    return {ccy: amount for ccy, amount in found.items() if amount}


def whole(sums: dict[str, Decimal]) -> dict[str, int]:
    return {ccy: int(amount.scaleb(12)) for ccy, amount in sums.items() if amount}


@given(events, st.integers(0, 2**32), st.integers(BEGINS, BEGINS + 6), st.booleans())
def test_any_order_and_any_repetition_give_the_same_exact_sum(
    told: list[Event], seed: int, since: int, late: bool
) -> None:
    again = [*told, *told]
    random.Random(seed).shuffle(again)
    assert whole(total(again, since, late=late)) == reckoned(told, since)


@given(events, st.integers(0, 2**32))
def test_a_fill_whose_money_another_channel_tells_counts_once_with_it(told: list[Event], seed: int) -> None:
    bare = [msgspec.structs.replace(one, realized_pnl=None) for one in told if isinstance(one, Fill)]
    both: list[Event] = [*told, *bare]
    random.Random(seed).shuffle(both)
    assert whole(total(both)) == reckoned(told)


def test_sums_keep_all_their_digits() -> None:
    big, small = "123456789012345678901234567890", "0.000000000000000001"
    told: list[Event] = [
        FundingPayment(account="a", id=str(number), symbol="BTC", amount=amount, ccy="USDT", at=BEGINS)
        for number, amount in enumerate((big, small, small))
    ]
    assert total(told) == {"USDT": Decimal(f"{big}.000000000000000002")}


def test_of_a_fill_whose_money_nobody_told_nothing_counts_and_its_moment_is_known() -> None:
    fill = Fill(
        account="a", id="1", symbol="BTC", order_id="1", side="buy", size="1", price="1", at=BEGINS + 7, fee="-1"
    )
    spot = msgspec.structs.replace(fill, id="2", symbol="SPOT", at=BEGINS + 9)
    day = Day()
    for one in (fill, spot):
        line = line_of(one)
        assert line is not None
        day.put(one.id, line)
    assert (day.total(0, settle), day.unknown_until(settle)) == ({}, BEGINS + 7)
