"""Verification finds what was done to books, each fault in one line, and nothing in books that nobody touched."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exchanges.events import ClosedPnl, Fill
from gateway.core.alerts.records import EquitySample
from gateway.core.balancing import QUIET_MS, Flows
from gateway.core.chains import Seen
from gateway.core.journal import DAY_MS
from gateway.core.records import Finding
from gateway.core.round_trips import Contract
from gateway.core.verified import Material, unexplained, verify
from gateway.core.verify import Book, Unit, compare
from tests.books.captured import compared
from tests.books.worlds import HOUR, INVERSE, LINEAR, STYLES, T0, World
from tests.recordings import needs_recordings

SEEDS = range(12)
T = TypeVar("T")


@pytest.fixture(params=[(venue, contract) for venue in STYLES for contract in (LINEAR, INVERSE)], ids=str)
def worlds(request: pytest.FixtureRequest) -> list[World]:
    venue, contract = request.param
    return [World(venue, random.Random(seed), contract).live(random.Random(seed).randint(3, 40)) for seed in SEEDS]


def lines(book: Book) -> list[Finding]:
    """Return what is not rounding."""
    return [unit.finding for unit in compare(book) if unit.finding is not None and unit.finding.cls != "rounding"]


def test_untouched_books_agree_within_the_venues_rounding(worlds: list[World]) -> None:
    units: list[Unit] = [unit for world in worlds for unit in compare(world.book())]
    assert len(units) >= len(worlds)
    assert {None if unit.finding is None else unit.finding.cls for unit in units} <= {None, "rounding"}


def test_a_deleted_fill_is_one_line(worlds: list[World]) -> None:
    for world in worlds:
        gone = world.whim.randrange(len(world.fills))
        (found,) = lines(world.book()._replace(fills=[*world.fills[:gone], *world.fills[gone + 1 :]]))
        assert (found.cls, found.symbol) == ("unexplained", world.symbol)
        assert found.since <= world.fills[gone].at or found.at >= world.fills[gone].at
        assert found.records or found.fills


def test_an_altered_fee_is_one_line_that_names_its_fill_or_what_it_opened(worlds: list[World]) -> None:
    for world in worlds:
        place = world.whim.randrange(len(world.fills))
        fill = world.fills[place]
        altered = msgspec.structs.replace(fill, fee=str(2 * Decimal(fill.fee or 0)))
        (found,) = lines(world.book()._replace(fills=[*world.fills[:place], altered, *world.fills[place + 1 :]]))
        assert found.cls == "unexplained"
        assert found.differences.keys() <= {"fees", "realized_net"}
        assert abs(Decimal(found.effect) + Decimal(fill.fee or 0)) < Decimal("1e-4")


def test_a_doubled_funding_is_one_line_with_both_ids(worlds: list[World]) -> None:
    paid = [world for world in worlds if world.payments]
    assert paid
    for world in paid:
        payment = world.whim.choice(world.payments)
        twice = msgspec.structs.replace(payment, id=f"{payment.id}#2")
        (found,) = lines(world.book()._replace(payments=[*world.payments, twice]))
        assert (found.cls, found.payments) == ("unexplained", (payment.id, twice.id))
        assert Decimal(found.effect) == -Decimal(payment.amount)


def test_a_missing_and_a_doubled_record_are_one_line_each(worlds: list[World]) -> None:
    for world in worlds:
        records = list(world.records.values())
        gone = world.whim.choice(records)
        (found,) = lines(world.book()._replace(records=[one for one in records if one is not gone]))
        assert found.cls == "unexplained"
        twice = msgspec.structs.replace(gone, id=f"{gone.id}#2")
        (found,) = lines(world.book()._replace(records=[*records, twice]))
        assert (found.cls, found.records, found.effect) == ("unexplained", (gone.id, twice.id), "0")


def unexplained_of(world: World, book: Book) -> list[Finding]:
    """Return the lines of a verification whose balance is that of the untouched world: the balances' own are among them."""
    brought = sum((Decimal(one.fee or 0) + Decimal(one.realized_pnl or 0) for one in world.fills), funded(world))
    ccy = world.contract.settle
    equity = [sample(T0, ccy, 0.0), sample(world.at + 2 * QUIET_MS, ccy, float(brought))]
    flows = Flows(book.fills, book.payments, [])
    return unexplained(
        verify(
            Material("main", T0, world.at + 3 * QUIET_MS, [book], flows, equity, book.records, lambda _: ccy), world.at
        )
    )


def funded(world: World) -> Decimal:
    return sum((Decimal(one.amount) for one in world.payments), Decimal(0))


def sample(at: int, ccy: str, equity: float) -> EquitySample:
    return msgspec.convert(
        {"account": "main", "at": at, "equity_usd": equity, "high_usd": equity, "high_at": at, "equity": {ccy: equity},
         "usd": {ccy: 1.0}}, EquitySample,
    )  # fmt: skip


def without(whim: random.Random, rows: Sequence[T]) -> list[T]:
    gone = whim.randrange(len(rows))
    return [*rows[:gone], *rows[gone + 1 :]]


def fee_doubled(whim: random.Random, rows: Sequence[ClosedPnl]) -> list[ClosedPnl]:
    place = whim.choice([place for place, one in enumerate(rows) if one.fees])
    one = rows[place]
    net = one.realized_net and str(Decimal(one.realized_net) + Decimal(one.fees or 0))
    altered = msgspec.structs.replace(one, fees=str(2 * Decimal(one.fees or 0)), realized_net=net)
    return [*rows[:place], altered, *rows[place + 1 :]]


@pytest.mark.parametrize("fault", ["fill missing", "record missing", "record altered"])
def test_what_is_missing_or_altered_leaves_no_second_line_in_the_balance(worlds: list[World], fault: str) -> None:
    """A fill of which nobody has heard moved the balance, a record did not."""
    short = [world for world in worlds if world.at < T0 + DAY_MS - HOUR]
    assert short
    for world in short:
        book = world.book()
        assert not unexplained_of(world, book)
        match fault:
            case "fill missing":
                book = book._replace(fills=without(world.whim, book.fills))
            case "record missing":
                book = book._replace(records=without(world.whim, book.records))
            case _:
                book = book._replace(records=fee_doubled(world.whim, book.records))
        (found,) = unexplained_of(world, book)
        assert found.symbol == world.symbol


def test_what_is_missing_of_the_balance_alone_is_its_line(worlds: list[World]) -> None:
    """Where the other lines say what they come to they explain no more than that."""
    short = [world for world in worlds if world.at < T0 + DAY_MS - HOUR and world.payments]
    assert short
    for world in short:
        book = world.book()
        twice = msgspec.structs.replace(world.fills[0], id="again")
        payments = without(world.whim, book.payments)
        found = unexplained_of(world, book._replace(fills=[*book.fills, twice], payments=payments))
        funding = world.symbol if world.venue == "okx" else None  # of which records say it
        assert {(one.symbol, *one.differences) for one in found} == {
            (world.symbol, "realized_net"),
            (funding, "funding" if funding else "equity"),
        }


@pytest.mark.parametrize("venue", ["hyperliquid", "aster"])
def test_what_a_missing_trade_comes_to_is_known_by_its_record(venue: str) -> None:
    """It hides nothing else that the balance lacks, whatever sizes are off since."""
    lives = [World(venue, random.Random(seed)).live(12) for seed in SEEDS]
    short = [world for world in lives if world.at < T0 + DAY_MS - HOUR and world.payments]
    assert short
    for world in short:
        fills, payments = without(world.whim, world.fills), without(world.whim, world.payments)
        found = unexplained_of(world, world.book()._replace(fills=fills, payments=payments))
        assert sorted(one.symbol or "balance" for one in found) == sorted([world.symbol, "balance"])


def test_records_that_were_never_read_are_not_missed(worlds: list[World]) -> None:
    for world in worlds:
        assert not lines(world.book()._replace(records=[], read=None))


def test_what_began_before_history_is_not_held_against_anybody(worlds: list[World]) -> None:
    for world in worlds:
        cut = next(n for n, one in enumerate(world.fills) if n and one.at > world.fills[n - 1].at)
        began: Fill = world.fills[cut]
        signed = (Decimal(one.size) if one.side == "buy" else -Decimal(one.size) for one in world.fills[:cut])
        held = Seen(began.at - 60_000, world.position, sum(signed, Decimal(0)))
        book = world.book()
        book = book._replace(
            fills=world.fills[cut:], evidence=book.evidence._replace(covered=began.at), read=(began.at, world.at + 1),
            records=[one for one in book.records if one.at >= began.at], seen=(held,),
        )  # fmt: skip
        assert {one.cls for one in lines(book)} <= {"before_history"}, (world.venue, lines(book))


# --- one thing altered at random ------------------------------------------------------------------------------------------------

LIVES = st.tuples(
    st.sampled_from(sorted(STYLES)), st.sampled_from([LINEAR, INVERSE]), st.integers(0, 1 << 32), st.integers(3, 25)
)
FACTORS = st.sampled_from(["-1", "0", "0.5", "0.9", "1.1", "2", "10"])


def life(drawn: tuple[str, Contract, int, int]) -> World:
    venue, contract, seed, steps = drawn
    return World(venue, random.Random(seed), contract).live(steps)


def names(found: Finding) -> set[str]:
    return {*found.fills, *found.payments, *found.records}


def noticeable(world: World, change: Decimal) -> bool:
    """Say whether a change is more than rounding can be, however many amounts it is shared by."""
    return abs(change) > Decimal(1).scaleb(-world.style.money) * 10 * (len(world.fills) + 1)


@settings(max_examples=150, deadline=None)
@given(LIVES, FACTORS, st.data())
def test_any_altered_fee_is_one_line_that_names_its_fill(drawn: Any, factor: str, data: st.DataObject) -> None:
    world = life(drawn)
    place = data.draw(st.integers(0, len(world.fills) - 1))
    fill = world.fills[place]
    fee = world.style.amount(Decimal(fill.fee or 0) * Decimal(factor))
    assume(noticeable(world, fee - Decimal(fill.fee or 0)))
    altered = msgspec.structs.replace(fill, fee=format(fee, "f"))
    (found,) = lines(world.book()._replace(fills=[*world.fills[:place], altered, *world.fills[place + 1 :]]))
    assert found.cls == "unexplained"
    assert found.differences.keys() <= {"fees", "realized_net"}
    assert fill.id in names(found)
    least = Decimal(1).scaleb(-world.style.money) * 10 * (len(world.fills) + 1)
    assert abs(Decimal(found.effect) - (Decimal(fill.fee or 0) - fee)) <= least


@settings(max_examples=150, deadline=None)
@given(LIVES, st.data())
def test_any_fill_that_is_missing_is_one_line(drawn: Any, data: st.DataObject) -> None:
    world = life(drawn)
    place = data.draw(st.integers(0, len(world.fills) - 1))
    assume(world.at < T0 + DAY_MS - HOUR)
    (found,) = unexplained_of(world, world.book()._replace(fills=[*world.fills[:place], *world.fills[place + 1 :]]))
    assert found.cls == "unexplained"


@settings(max_examples=150, deadline=None)
@given(LIVES, st.sampled_from(["0.9", "1.1", "2"]), st.data())
def test_any_altered_price_is_one_line_that_names_its_fill(drawn: Any, factor: str, data: st.DataObject) -> None:
    world = life(drawn)
    assume(world.contract is LINEAR)
    place = data.draw(st.integers(0, len(world.fills) - 1))
    fill = world.fills[place]
    altered = msgspec.structs.replace(fill, price=str(Decimal(fill.price) * Decimal(factor)))
    (found,) = lines(world.book()._replace(fills=[*world.fills[:place], altered, *world.fills[place + 1 :]]))
    assert found.cls == "unexplained"
    assert fill.id in names(found)


@settings(max_examples=100, deadline=None)
@given(LIVES, FACTORS, st.data())
def test_any_altered_payment_of_funding_is_one_line_that_names_it(drawn: Any, factor: str, data: st.DataObject) -> None:
    """By the venue's record of the position where there is one (OKX); elsewhere the balance of the day has it."""
    world = life(drawn)
    assume(world.payments)
    place = data.draw(st.integers(0, len(world.payments) - 1))
    payment = world.payments[place]
    amount = world.style.amount(Decimal(payment.amount) * Decimal(factor))
    assume(noticeable(world, amount - Decimal(payment.amount)))
    altered = msgspec.structs.replace(payment, amount=format(amount, "f"))
    payments = [*world.payments[:place], altered, *world.payments[place + 1 :]]
    assume(world.at < T0 + DAY_MS - HOUR)
    (found,) = unexplained_of(world, world.book()._replace(payments=payments))
    if world.venue == "okx":
        assert payment.id in found.payments
        assert set(found.differences) == {"funding"}
        assert Decimal(found.differences["funding"]) == Decimal(payment.amount) - amount
    else:
        assert (found.what[:14], set(found.differences)) == ("the balance of", {"equity"})
        assert float(found.differences["equity"]) == pytest.approx(float(Decimal(payment.amount) - amount), abs=1e-6)


@needs_recordings
def test_captured_fills_come_to_what_their_venue_says() -> None:
    found = compared()
    assert found["hyperliquid"].n >= 20
    assert all(not one.classes["unexplained"] for one in found.values()), found
