"""Fills for the tests of chains: random ones, and a plain count of what they come to, in fractions and without any cleverness."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from hypothesis import strategies as st

from exchanges.events import Fill, FundingPayment, position_id
from gateway.core.chains import Chain, Evidence, Item
from gateway.core.folding import fold
from gateway.core.records import PastPosition
from gateway.core.round_trips import Contract

ACCOUNT, SYMBOL = "main", "BTC-USDT-SWAP"
POSITION = position_id(ACCOUNT, SYMBOL, "net")
LINEAR, INVERSE = Contract("USDT", Decimal("0.01")), Contract("BTC", Decimal(100), inverse=True)
FEE = Decimal("-0.004")  # of one contract
T0 = 1_763_683_200_000


class Trade(NamedTuple):
    """One trade: ms since the last one, signed size, price in cents, whether the venue says what it realised."""

    after: int
    size: int
    cents: int


TRADES = st.lists(
    st.builds(
        Trade,
        st.sampled_from((0, 0, 1, 700, 1_999, 2_001, 60_000, 3_600_000)),
        st.integers(-5, 5).filter(bool),
        st.integers(100, 9_999_999),
    ),
    min_size=1,
    max_size=25,
)


class Plain(NamedTuple):
    """One cycle by the plain count: sums of size and of size x price (inverse: / price) that went in and came out."""

    opener: str
    side: str
    opened_at: int
    closed_at: int
    largest: int
    went_in: tuple[int, Fraction]
    came_out: tuple[int, Fraction]
    fees: Decimal
    fills: int
    partial_closes: int


def fills_of(trades: list[Trade], *, states_start: bool, realized: bool = False) -> list[Fill]:
    """Return the fills of trades of a flat account. ``realized``: the venue says what each brought, by a rule of its own."""
    at, held, found = T0, 0, []
    for number, trade in enumerate(trades, 1):
        at += trade.after if found else 0
        closes = held and (held > 0) != (trade.size > 0)
        found.append(
            fill(
                number, trade.size, str(Decimal(trade.cents) / 100), at, start=str(held) if states_start else None,
                realized=(f"{number}.25" if closes else "0") if realized else None,
            )
        )  # fmt: skip
        held += trade.size
    return found


def fill(number: int, size: int | str, price: str, at: int, *, start: str | None = None, **fields: object) -> Fill:
    """Return a fill: trade ids rise. ``realized``: its profit."""
    signed = Decimal(size)
    known: dict[str, object] = {"fee": str(FEE * abs(signed)), "fee_ccy": None, "position": POSITION}
    known |= {"realized_pnl": fields.pop("realized", None)} | fields
    return Fill(
        account=ACCOUNT, id=position_id(ACCOUNT, SYMBOL, str(number), "1"), symbol=SYMBOL, order_id="1",
        side="buy" if signed > 0 else "sell", size=str(abs(signed)), price=price, at=at, trade_id=str(number),
        start_position=start, **known,  # type: ignore[arg-type]
    )  # fmt: skip


def payment(number: int, amount: str, at: int, **fields: object) -> FundingPayment:
    """Return a funding payment."""
    known: dict[str, object] = {"ccy": "USDT", "position": POSITION} | fields
    return FundingPayment(account=ACCOUNT, id=f"main:funding:{number}", symbol=SYMBOL, amount=amount, at=at, **known)  # type: ignore[arg-type]


def evidence(contract: Contract = LINEAR, **fields: object) -> Evidence:
    """Return what is known besides: here that the account's fills are whole, and when the first position was opened."""
    return Evidence(contract, **({"covered": 0, "opened": (T0,)} | fields))  # type: ignore[arg-type]


def whole(items: list[Item], known: Evidence | None = None) -> tuple[list[PastPosition], Chain]:
    """Return the cycles of all records in one pass, and the chain after it."""
    chain = Chain(account=ACCOUNT, symbol=SYMBOL)
    ended = {one.id: one for each in fold(chain, items, known or evidence()) for one in each.cycles}
    return list(ended.values()), chain


def plainly(fills: list[Fill], contract: Contract) -> list[Plain]:
    """Count what fills of a flat account come to, one contract at a time."""
    found: list[Plain] = []
    held: list[Fill] = []  # of the cycle under way: one entry a contract that went in
    out: list[Fill] = []
    size = largest = partial = 0
    opener = fills[0]
    in_it: set[str] = set()
    for one in fills:
        step = 1 if one.side == "buy" else -1
        closed_here = False
        for _ in range(int(one.size)):
            if size == 0:
                held, out, largest, opener, in_it, partial = [], [], 0, one, set(), 0
            grows = size == 0 or (size > 0) == (step > 0)
            (held if grows else out).append(one)
            in_it.add(one.id)
            size += step
            largest = max(largest, abs(size))
            closed_here = size == 0
            if closed_here:
                opened = "long" if step < 0 else "short"
                sums = _sum(held, contract), _sum(out, contract)
                fees = FEE * (len(held) + len(out))
                found.append(Plain(opener.id, opened, opener.at, one.at, largest, *sums, fees, len(in_it), partial))
        if not closed_here and size and out and out[-1] is one:
            partial += 1
    return found


def _sum(units: list[Fill], contract: Contract) -> tuple[int, Fraction]:
    weights = (1 / Fraction(one.price) if contract.inverse else Fraction(one.price) for one in units)
    return len(units), sum(weights, Fraction(0))
