"""What positions brought and cost, live: on the rows of open ones, and on those of closed ones, whatever comes first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exchanges.events import (
    AccountMode,
    Event,
    Fill,
    FundingPayment,
    HistoryRead,
    Transfer,
)
from gateway.core.records import ClosedCycle, OpenCycle
from gateway.engine import Engine
from tests.gateway.events_of import closed, engine, feed, instrument, position, row, rows, snapshot
from tests.gateway.events_of import fill as plain_fill

DAY = 20_000 * 86_400_000
T0 = DAY + 60_000
BTC = position(venue_at=T0, opened_at=T0)
AMOUNTS = ("realized_pnl", "fees", "funding", "liquidation_fee", "realized_net")


class Kept:
    """A sink that keeps closed cycles and fills, and takes everything else."""

    def __init__(self) -> None:
        self.closed: dict[str, ClosedCycle] = {}
        self.fills: dict[str, Fill] = {}

    def put_closed(self, cycle: ClosedCycle) -> None:
        self.closed[cycle.id] = cycle

    def put_fill(self, fill: Fill) -> None:
        self.fills[fill.id] = fill

    def __getattr__(self, _: str) -> Any:
        return lambda *_: None


def fill(side: Any, size: str, price: str, at: int, *, fee: str | None = "-0.1", **fields: Any) -> Fill:
    known = {"position": BTC.id, "fee": fee, "fee_ccy": "USDT", "price": price} | fields
    return plain_fill(side, size, at=at, **known)


def paid(amount: str, at: int) -> FundingPayment:
    return FundingPayment(
        account="okx-main", id=f"f{at}", symbol=BTC.symbol, amount=amount, ccy="USDT", at=at, position=BTC.id
    )


def started(sink: Any = None) -> Engine:
    """Return an engine whose only account is heard, and flat."""
    one = engine(sink=sink)
    one.turn(
        [instrument(), AccountMode(account="okx-main", mode="net_mode", hedge=False), feed("live"), snapshot()], DAY + 1
    )
    one.turn([HistoryRead(account="okx-main", since=DAY, asked_at=DAY + 6_001)], DAY + 7_000)
    return one


def amounts(found: dict[str, object]) -> list[object]:
    return [found.get(name) for name in AMOUNTS]


@pytest.mark.parametrize("order", [1, -1], ids=["fill first", "report first"])
def test_a_position_says_what_it_brought_since_it_was_opened(order: int) -> None:
    one = started()
    opened: list[Event] = [fill("buy", "3", "100", T0), position(size="3", venue_at=T0 + 1, opened_at=T0)]
    for event in opened[::order]:
        one.turn([event], T0 + 1)
    smaller: list[Event] = [
        fill("sell", "1", "110", T0 + 50, realized_pnl="10"),
        position(size="2", fence=(2,), venue_at=T0 + 51, opened_at=T0),
    ]
    for event in smaller[::order]:
        one.turn([event], T0 + 60)
    one.turn([paid("-0.5", T0 + 70)], T0 + 80)
    one.clock(T0 + 1_000)
    assert amounts(row(one, "positions", BTC.id)) == ["10", "-0.2", "-0.5", "0", "9.3"]


@pytest.mark.parametrize("order", [1, -1], ids=["fill first", "end first"])
def test_a_closed_position_has_its_amounts_whatever_comes_first(order: int) -> None:
    kept = Kept()
    one = started(kept)
    one.turn([fill("buy", "2", "100", T0), BTC], T0 + 1)
    ended: list[Event] = [fill("sell", "2", "110", T0 + 5_000, realized_pnl="19.99"), closed(BTC, (2,))]
    for event in ended[::order]:
        one.turn([event], T0 + 5_003)
    found = row(one, "closed", f"{BTC.id}@{T0}")
    assert amounts(found) == ["19.99", "-0.2", "0", "0", "19.79"]
    assert (found["exit_price"], found["entry_price"], found["duration_ms"]) == ("110", "100", 5_003)
    assert kept.closed[f"{BTC.id}@{T0}"].realized_net == "19.79"


def test_what_is_booked_after_the_end_is_added() -> None:
    one = started()
    one.turn([fill("buy", "2", "100", T0), BTC], T0 + 1)
    one.turn([fill("sell", "2", "90", T0 + 5_000, cause="liquidation"), closed(BTC, (2,))], T0 + 5_003)
    cost = Transfer(
        account="okx-main", id="t", kind="liquidation", ccy="USDT", amount="-3", at=T0 + 5_100, symbol=BTC.symbol
    )
    one.turn([cost], T0 + 5_200)
    one.turn([cost], T0 + 5_300)
    assert amounts(rows(one, "closed")[0]) == ["-20", "-0.2", "0", "-3", "-23.2"]


def test_a_fill_that_comes_late_is_put_into_its_place() -> None:
    one = started()
    one.turn([fill("buy", "1", "100", T0), BTC], T0 + 1)
    one.turn([fill("sell", "2", "110", T0 + 5_000), closed(BTC, (2,))], T0 + 5_003)
    one.turn([fill("buy", "1", "104", T0 + 1_000)], T0 + 6_000)
    found = rows(one, "closed")[0]
    assert (found["realized_pnl"], found["fees"], found["exit_price"]) == ("16", "-0.3", "110")


def test_a_position_whose_beginning_nobody_saw_says_nothing() -> None:
    one = engine()
    one.turn([instrument(), feed("live"), snapshot(BTC)], T0 + 60_000)
    one.turn([fill("sell", "1", "110", T0 + 90_000), position(size="1", fence=(2,), venue_at=T0 + 90_001)], T0 + 90_002)
    assert amounts(row(one, "positions", BTC.id)) == [None] * 5
    one.turn([fill("sell", "1", "110", T0 + 95_000), closed(BTC, (3,))], T0 + 95_002)
    assert amounts(rows(one, "closed")[0]) == [None] * 5


def test_while_a_row_does_not_show_a_fill_its_amounts_stay() -> None:
    one = started()
    one.turn([fill("buy", "2", "100", T0), BTC], T0 + 1)
    one.turn([fill("sell", "1", "110", T0 + 50)], T0 + 60)
    found = row(one, "positions", BTC.id)
    assert (found["realized_pnl"], found["stale"]) == ("0", {"since": T0 + 60, "reason": "fill_pending"})
    one.turn([position(size="1", fence=(2,), venue_at=T0 + 61, opened_at=T0)], T0 + 61)
    assert row(one, "positions", BTC.id)["realized_pnl"] == "10"


def test_a_restart_goes_on_where_the_stored_chain_ended() -> None:
    one = started()
    first = fill("buy", "2", "100", T0)
    one.turn([first, BTC], T0 + 1)
    stored = one.chains(T0 + 1)
    assert [(type(each), each.symbol) for each in stored] == [(OpenCycle, BTC.symbol)]

    again = engine()
    again.restore([instrument(), BTC, first, paid("1", T0 + 1), *stored], T0 + 60_000, T0 + 2)
    assert amounts(row(again, "positions", BTC.id))[:2] == ["0", "-0.1"]
    again.turn([feed("live"), snapshot(position(venue_at=T0 + 60_500, opened_at=T0, fence=(2,)))], T0 + 61_000)
    again.turn([fill("sell", "2", "110", T0 + 62_000), closed(BTC, (3,))], T0 + 62_001)
    assert amounts(rows(again, "closed")[0]) == ["20", "-0.2", "0", "0", "19.8"]


def test_an_end_without_a_fill_has_no_amounts_and_the_next_position_begins_flat() -> None:
    one = started()
    one.turn([fill("buy", "2", "100", T0), BTC], T0 + 1)
    one.turn([closed(BTC, (2,))], T0 + 9_000)
    assert amounts(rows(one, "closed")[0]) == [None] * 5
    later = T0 + 60_000
    one.turn(
        [fill("buy", "1", "100", later), position(size="1", fence=(3,), venue_at=later, opened_at=later)], later + 1
    )
    assert row(one, "positions", BTC.id)["fees"] == "-0.1"


def test_a_fill_is_of_the_position_that_is_named_whenever_that_is() -> None:
    kept = Kept()
    one = started(kept)
    mine = position(id="okx-main:BTC-USDT-SWAP:isolated", margin_mode="isolated", pool="iso", venue_at=T0, opened_at=T0)
    entries = [fill("buy", "2", "100", T0), fill("buy", "2", "101", T0 + 1, position=mine.id)]
    one.turn([*entries, BTC, mine], T0 + 2)
    ends = [
        fill("sell", "2", "120", T0 + 5_000, position=None, realized_pnl="38"),
        fill("sell", "2", "110", T0 + 5_001, position=None, realized_pnl="20"),
    ]
    one.turn([*ends, closed(BTC, (2,)), closed(mine, (2,))], T0 + 5_003)
    named = [msgspec.structs.replace(end, position=id_) for end, id_ in zip(ends, (mine.id, BTC.id), strict=True)]
    one.turn(named, T0 + 6_000)  # by what names them
    again = [msgspec.structs.replace(end, position=None, role="taker") for end in ends]
    one.turn(again, T0 + 7_000)  # by what does not
    found = {cycle["position"]: cycle["realized_pnl"] for cycle in rows(one, "closed")}
    assert found == {mine.id: "38", BTC.id: "20"}
    assert {end.id: row(one, "fills", end.id)["position"] for end in ends} == {end.id: end.position for end in named}
    assert [kept.fills[end.id].position for end in ends] == [mine.id, BTC.id]


def test_a_fill_whose_money_is_told_later_stays_of_its_position() -> None:
    kept = Kept()
    one = started(kept)
    first = fill("buy", "2", "100", T0, fee=None)
    one.turn([first, BTC], T0 + 1)
    one.turn([msgspec.structs.replace(first, position=None, fee="-0.3", realized_pnl="0")], T0 + 2)
    assert (kept.fills[first.id].position, kept.fills[first.id].fee) == (BTC.id, "-0.3")
    assert row(one, "fills", first.id)["position"] == BTC.id
