"""Every class of difference on the smallest books that show it, and beside each the same difference without the reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from exchanges.events import ClosedPnl, Fill, FundingPayment, Transfer
from gateway.core.chains import Evidence, Seen
from gateway.core.records import Finding
from gateway.core.round_trips import Contract
from gateway.core.verify import Book, compare

T0 = 1_763_683_200_000
MINUTE = 60_000
POSITION = "main:BTC"
CONTRACT = Contract("USDT", Decimal(1))


def fill(name: str, side: str, size: str, price: str, minute: int, **fields: Any) -> Fill:
    told = {
        "fee": "-0.10000000",
        "fee_ccy": "USDT",
        "order_id": f"o-{name}",
        "trade_id": name,
        "position": POSITION,
    } | fields
    return msgspec.convert(
        {"account": "main", "id": name, "symbol": "BTC", "side": side, "size": size, "price": price, "at": T0 + minute * MINUTE}
        | told, Fill,
    )  # fmt: skip


def record(source: str, minute: int, **fields: Any) -> ClosedPnl:
    told = {"id": "r", "ccy": "USDT", "side": "long", "position": POSITION} | fields
    return msgspec.convert(
        {"account": "main", "source": source, "symbol": "BTC", "at": T0 + minute * MINUTE} | told, ClosedPnl
    )


def paid(kind: str, amount: str, minute: int, name: str = "p") -> Transfer:
    return msgspec.convert(
        {"account": "main", "id": name, "kind": kind, "amount": amount, "ccy": "USDT", "at": T0 + minute * MINUTE,
         "symbol": "BTC", "position": POSITION, "what": kind}, Transfer,
    )  # fmt: skip


def book(fills: list[Fill], records: list[ClosedPnl], unit: str, **fields: Any) -> Book:
    told: dict[str, Any] = {"payments": [], "transfers": [], "covered": T0, "read": (T0, T0 + 99 * MINUTE)} | fields
    covered = told.pop("covered")
    payments, transfers = told.pop("payments"), told.pop("transfers")
    return Book("main", "BTC", Evidence(CONTRACT, covered=covered), fills, payments, transfers, records, unit, **told)  # type: ignore[arg-type]


def findings(of: Book) -> list[Finding]:
    return [unit.finding for unit in compare(of) if unit.finding is not None]


def only(of: Book) -> Finding:
    (found,) = findings(of)
    return found


def order(**fields: Any) -> ClosedPnl:
    """Return Bybit's record of the closing order ``o-out``."""
    told = {"order_id": "o-out", "size": "1", "realized_pnl": "10", "fees": "-0.2", "realized_net": "9.8"} | fields
    return record("closed-pnl", 10, **told)


def cycle(**fields: Any) -> ClosedPnl:
    """Return OKX's record of the position."""
    told = {
        "opened_at": T0 + MINUTE, "size": "1", "realized_pnl": "10", "fees": "-0.2", "funding": "0", "liquidation_fee": "0",
    } | fields  # fmt: skip
    return record("positions-history", 10, **told)


IN, OUT = fill("in", "buy", "1", "100", 1, realized_pnl="0"), fill("out", "sell", "1", "110", 10)


def test_what_is_equal_is_no_finding() -> None:
    assert not findings(book([IN, OUT], [order()], "order"))
    assert not findings(book([IN, OUT], [cycle()], "position"))


# --- rounding ---------------------------------------------------------------------------------------------------------------


def rounded(venue: str) -> Book:
    fills = [IN, fill("more", "buy", "2", "100.01", 2, realized_pnl="0"), fill("out", "sell", "3", "101", 10)]
    # 3 x (101 - 100.00666667), where the fills come to 2.98.
    said = order(size="3", realized_pnl=venue, fees="-0.3", entry_price="100.00666667")
    return book(fills, [said], "order")


def test_rounding_is_what_the_last_decimal_of_entry_and_amounts_can_make() -> None:
    found = only(rounded("2.97999999"))
    assert (found.cls, found.effect, found.records) == ("rounding", "0", ("r",))
    assert found.fills == ("out",)


def test_more_than_rounding_is_unexplained() -> None:
    assert only(rounded("2.97999")).cls == "unexplained"


# --- before_history ---------------------------------------------------------------------------------------------------------

HELD = Seen(T0 - 2_001, POSITION, Decimal(1), T0 - 60 * MINUTE, "100")
CLOSES = fill("out", "sell", "1", "110", 10, realized_pnl="10")


def test_what_opened_before_history_is_compared_with_nothing() -> None:
    found = only(book([CLOSES], [order()], "order", seen=(HELD,)))
    assert (found.cls, found.differences, found.effect) == ("before_history", {"fees": "-0.1"}, "0")


def test_the_same_difference_of_a_position_that_opened_since_is_unexplained() -> None:
    free = msgspec.structs.replace(IN, fee="0")
    found = only(book([free, OUT], [order()], "order"))
    assert (found.cls, found.differences) == ("unexplained", {"fees": "-0.1"})
    assert set(found.fills) == {"in", "out"}


def test_what_is_known_by_id_is_of_its_own_moment_though_its_position_opened_before() -> None:
    """The venue's record of a trade and the fill state the same fee, whatever was held."""
    said = record("fills", 10, trade_id="out", realized_pnl="10", fees="-0.2")
    found = only(book([CLOSES], [said], "trade", seen=(HELD,)))
    assert (found.cls, found.differences, found.fills) == ("unexplained", {"fees": "-0.1"}, ("out",))


def test_a_trade_before_history_is_not_missed() -> None:
    said = record("fills", -10, trade_id="old", realized_pnl="10", fees="-0.2")
    assert only(book([], [said], "trade")).cls == "before_history"
    assert only(book([], [said], "trade", covered=T0 - 60 * MINUTE)).cls == "unexplained"


# --- fee_currency -----------------------------------------------------------------------------------------------------------


def in_coin(fee: str, **fields: Any) -> Book:
    """Return books whose opening was paid for in a coin that is worth 50 to 51; the record counts everything in USDT."""
    opening = msgspec.structs.replace(IN, fee=fee, fee_ccy="COIN")
    known = {"prices": lambda *_: (Decimal(50), Decimal(51))} | fields
    return book([opening, OUT], [order()], "order", **known)


def test_a_fee_in_another_currency_that_is_worth_the_difference_explains_it() -> None:
    found = only(in_coin("-0.002"))
    assert (found.cls, found.differences, found.fills, found.effect) == ("fee_currency", {"fees": "-0.1"}, ("in",), "0")
    cycles = in_coin("-0.002")._replace(records=[cycle()], unit="position")
    assert only(cycles).cls == "fee_currency"


def test_a_fee_in_another_currency_that_is_worth_something_else_explains_nothing() -> None:
    assert only(in_coin("-0.004")).cls == "unexplained"
    assert only(in_coin("0.002")).cls == "unexplained"
    assert only(in_coin("-0.002", prices=None)).cls == "unexplained"
    altered = msgspec.structs.replace(OUT, fee="-0.12")
    assert only(in_coin("-0.002")._replace(fills=[in_coin("-0.002").fills[0], altered])).cls == "unexplained"


def test_a_fee_in_another_currency_is_held_against_the_record_in_that_currency() -> None:
    coin = msgspec.structs.replace(IN, fee="-0.002", fee_ccy="COIN", realized_pnl="0")
    said = record("income", 1, trade_id="in", fees="-0.002", ccy="COIN")
    assert not findings(book([coin], [said], "trade"))
    found = only(book([msgspec.structs.replace(coin, fee="-0.003")], [said], "trade"))
    assert (found.cls, found.ccy, found.differences, found.effect) == (
        "unexplained",
        "COIN",
        {"fees": "0.001"},
        "0.001",
    )
    assert (found.fills, found.records) == (("in",), ("r",))


# --- settlement, liquidation_fee, rebate: booked apart -------------------------------------------------------------------------


def test_profit_that_was_settled_before_the_end_and_that_the_record_leaves_out() -> None:
    settled = [cycle(realized_pnl="5")]
    found = only(book([IN, OUT], settled, "position", transfers=[paid("settlement", "5", 5)]))
    assert (found.cls, found.differences, found.payments) == ("settlement", {"realized_pnl": "-5"}, ("p",))
    for transfers in ([], [paid("settlement", "4", 5)], [paid("settlement", "5", 50)], [paid("rebate", "5", 5)]):
        (other,) = [
            one for one in findings(book([IN, OUT], settled, "position", transfers=transfers)) if one.cls != "rounding"
        ]
        assert other.cls == "unexplained", transfers


def test_a_position_that_ended_at_its_expiry_by_a_payment_and_no_fill() -> None:
    delivered = [cycle(realized_pnl="10", fees="-0.1")]
    found = only(book([IN], delivered, "position", transfers=[paid("settlement", "10", 10)]))
    assert (found.cls, found.differences, found.payments, found.effect) == ("settlement", {"size": "1"}, ("p",), "0")
    for transfers in ([], [paid("settlement", "9", 10)], [paid("settlement", "10", 5)]):
        assert only(book([IN], delivered, "position", transfers=transfers)).cls == "unexplained"
    more = [msgspec.structs.replace(IN, size="2")]
    assert only(book(more, delivered, "position", transfers=[paid("settlement", "10", 10)])).cls == "unexplained"


def test_what_a_liquidation_took_in_the_fee_of_its_fill_and_the_venue_shows_apart() -> None:
    said = [cycle(fees="-0.2", liquidation_fee="-2")]
    taken = msgspec.structs.replace(OUT, fee="-2.1", cause="liquidation")
    found = only(book([IN, taken], said, "position"))
    assert (found.cls, found.fills) == ("liquidation_fee", ("out",))
    assert only(book([IN, msgspec.structs.replace(OUT, fee="-2.1")], said, "position")).cls == "unexplained"
    assert only(book([IN, msgspec.structs.replace(taken, fee="-2.2")], said, "position")).cls == "unexplained"


def test_a_liquidation_of_the_moment_of_a_settlement_that_realised_nothing_since() -> None:
    """OKX starts the average entry of a cross future anew with each settlement: what closes at its price brings nothing."""
    bought = fill("in", "buy", "2", "100", 1, realized_pnl="0")
    taken = fill("taken", "sell", "1", "110", 10, realized_pnl="0", fee="-2.1", cause="liquidation")
    said = [cycle(realized_pnl="20", fees="-0.1", liquidation_fee="-2.1")]
    found = only(book([bought, taken], said, "position", transfers=[paid("settlement", "20", 10)]))
    assert (found.cls, found.fills) == ("liquidation_fee", ("taken",))
    twice = [paid("settlement", "20", 10, "a"), paid("settlement", "20", 10, "b")]
    for transfers in ([], [paid("settlement", "19", 10)], twice):
        assert only(book([bought, taken], said, "position", transfers=transfers)).cls == "unexplained", transfers
    more = [bought, msgspec.structs.replace(taken, fee="-2.2")]
    assert only(book(more, said, "position", transfers=[paid("settlement", "20", 10)])).cls == "unexplained"


def test_what_a_liquidation_took_beside_its_fill_and_the_record_leaves_out() -> None:
    fee = [paid("liquidation", "-2", 10)]
    found = only(book([IN, OUT], [cycle()], "position", transfers=fee))
    assert (found.cls, found.payments) == ("liquidation_fee", ("p",))
    missing = only(book([IN, OUT], [cycle(liquidation_fee="-2")], "position"))
    assert (missing.cls, missing.differences, missing.effect) == ("unexplained", {"liquidation_fee": "-2"}, "-2")


def test_a_rebate_that_the_record_has_in_its_fees() -> None:
    said = [order(fees="-0.15", realized_net="9.85")]
    found = only(book([IN, OUT], said, "order", transfers=[paid("rebate", "0.05", 10)]))
    assert (found.cls, found.differences, found.payments) == ("rebate", {"fees": "0.05"}, ("p",))
    for transfers in ([], [paid("rebate", "0.04", 10)], [paid("rebate", "0.05", 50)]):
        assert only(book([IN, OUT], said, "order", transfers=transfers)).cls == "unexplained"


def test_a_reason_for_one_figure_explains_no_other() -> None:
    said = [order(realized_pnl="10.05", realized_net="9.85")]
    assert only(book([IN, OUT], said, "order", transfers=[paid("rebate", "0.05", 10)])).cls == "unexplained"


# --- unexplained ------------------------------------------------------------------------------------------------------------


def test_a_record_without_a_fill_names_the_record_and_what_it_would_bring() -> None:
    found = only(book([IN], [order()], "order"))
    assert (found.cls, found.records, found.differences["size"]) == ("unexplained", ("r",), "1")
    assert found.effect == "9.9"  # what opening cost is stored


def test_a_closing_that_is_not_among_the_records_names_its_fills() -> None:
    found = only(book([IN, OUT], [], "order"))
    assert (found.cls, found.records, set(found.fills)) == ("unexplained", (), {"in", "out"})
    assert not findings(book([IN, OUT], [], "order", read=None))


def test_a_payment_that_is_stored_twice_names_both() -> None:
    one = FundingPayment(account="main", id="f", symbol="BTC", amount="-1", ccy="USDT", at=T0 + 5 * MINUTE)
    twice = [one, msgspec.structs.replace(one, id="f#2")]
    found = only(book([IN, OUT], [cycle(funding="-1")], "position", payments=twice))
    assert (found.cls, found.payments, found.effect) == ("unexplained", ("f", "f#2"), "1")


def test_two_legs_that_are_paid_the_same_in_one_moment_are_no_double() -> None:
    one = FundingPayment(account="main", id="f", symbol="BTC", amount="0", ccy="USDT", at=T0 + 5 * MINUTE, side="long")
    legs = [one, msgspec.structs.replace(one, id="g", side="short")]
    assert not findings(book([IN, OUT], [order()], "order", payments=legs))


@pytest.mark.parametrize("wrong", ["fees", "size"])
def test_fills_that_are_missing_between_two_are_found_unless_an_earlier_line_says_so(wrong: str) -> None:
    """A fee that differs explains no size."""
    told = [(IN, "0"), (fill("more", "buy", "1", "100", 2, realized_pnl="0"), "1"), (OUT, "3")]
    fills = [msgspec.structs.replace(one, start_position=start) for one, start in told]
    missed = record("fills", 1, id="m", trade_id="missed", realized_pnl="0", fees="-0.1")
    altered = record("fills", 1, trade_id="in", realized_pnl="0", fees="-0.3")
    found = findings(book(fills, [missed if wrong == "size" else altered], "trade", read=None))
    gaps = [one for one in found if "fills are missing" in one.what]
    assert [one.fills for one in gaps] == ([] if wrong == "size" else [("out",)])
    assert all(one.cls == "unexplained" for one in found)
    assert len(found) == (1 if wrong == "size" else 2)


def test_a_closing_fill_that_is_missing_would_bring_what_the_record_says_without_the_opening_that_is_stored() -> None:
    found = only(book([IN], [order()], "order"))
    assert Decimal(found.effect) == Decimal("9.9")
    half = msgspec.structs.replace(OUT, size="0.4", fee="-0.04", realized_pnl="4")
    found = only(book([IN, half], [order()], "order"))
    # 6 for the price and -0.06 for the fee of the rest.
    assert (Decimal(found.effect), found.differences["size"]) == (Decimal("5.94"), "0.6")
