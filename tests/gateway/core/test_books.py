"""Books of whole accounts in a running engine: what is published, since when, and the funding of open positions."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exchanges.events import AccountMode, Event, FundingPayment, HistoryFailed, HistoryRead, Transfer
from gateway.core.accounts import AccountInfo
from gateway.core.records import Correction, Covered
from gateway.engine import Engine
from tests.gateway.events_of import BYBIT, DEMO, OKX, balance, closed, engine, feed, fill, instrument, position, row

DAY_MS = 86_400_000
DAY = 20_000 * DAY_MS
NOON = DAY + DAY_MS // 2
LIVE = NOON - 20_000  # when streams became live
ASKED = NOON - 1_000
OTHER = AccountInfo(name="okx-other", venue="okx", env="live", user="ann")


def read(account: str, since: int, asked_at: int, *, whole: bool = True) -> HistoryRead:
    return HistoryRead(account=account, since=since, asked_at=asked_at, whole=whole)


def live(*accounts: AccountInfo) -> Engine:
    """Return an engine whose streams are live and whose accounts hold dollars; nothing of the past was asked yet."""
    one = engine(*(accounts or (OKX,)))
    for info in accounts or (OKX,):
        told = [feed("live", info.name, info.venue, env=info.env), balance(account=info.name)]
        one.turn([instrument(venue=info.venue, env=info.env), *told], LIVE)
    for now in range(LIVE, NOON, 1_000):  # the day is asked for meanwhile
        one.clock(now)
    return one


def whole(*accounts: AccountInfo) -> Engine:
    """Return such an engine of which today was asked."""
    one = live(*accounts)
    for info in accounts or (OKX,):
        one.turn([read(info.name, DAY, ASKED)], NOON)
    one.wants_books.clear()
    return one


def told(one: Engine, now: int, summary: str = "ann") -> dict[str, Any]:
    """Return what a summary says of today's result."""
    one.clock(now)
    found = row(one, "summary", summary)
    names = ("total_realized_pnl_usd", "realized_since", "realized_incomplete")
    return {name: found[name] for name in names if name in found}


def trade(at: int = NOON, pnl: str | None = "10", account: str = "okx-main", **fields: Any) -> Event:
    return fill(
        at=at, account=account, id=f"{account}:{at}", realized_pnl=pnl, fee="-0.5", fee_ccy="USDT", **fields
    )  # fmt: skip


def payment(at: int, amount: str = "-0.25", account: str = "okx-main", **fields: Any) -> FundingPayment:
    given = {"symbol": "BTC-USDT-SWAP", "ccy": "USDT", "id": f"{account}:funding:{at}"}
    return FundingPayment(account=account, amount=amount, at=at, **(given | fields))


def test_the_day_is_asked_for_once_and_then_all_of_it_counts() -> None:
    one = live()
    assert told(one, NOON) == {"realized_incomplete": ["okx-main"]}
    assert one.wants_books == {"okx-main": DAY}
    one.wants_books.clear()
    settled = Transfer(account="okx-main", id="s", kind="settlement", ccy="USDT", amount="3", at=NOON)
    deposit = msgspec.structs.replace(settled, id="d", kind="deposit")
    told_of: list[Event] = [trade(DAY), trade(DAY - 1), payment(DAY + 1), settled, deposit]
    one.turn([*told_of, *told_of, read("okx-main", DAY, ASKED)], NOON + 100)
    assert told(one, NOON + 6_000) == {"total_realized_pnl_usd": 12.25, "realized_since": DAY}
    one.clock(NOON + 600_000)
    assert one.wants_books == {}


def test_midnight_comes_by_the_clock() -> None:
    one = whole()
    midnight = DAY + DAY_MS
    one.turn([trade(), trade(midnight + 3)], midnight - 10)  # the venue's clock runs ahead of ours
    assert told(one, midnight - 1)["realized_since"] == DAY
    assert told(one, midnight) == {"total_realized_pnl_usd": 9.5, "realized_since": midnight}
    one.turn([trade(midnight - 1), trade(midnight + 3)], midnight + 20)  # late, and again
    assert told(one, midnight + 1_000) == {"total_realized_pnl_usd": 9.5, "realized_since": midnight}


def test_a_user_is_whole_since_the_latest_of_its_live_accounts_and_nothing_from_before_counts() -> None:
    one = live(OKX, OTHER)
    began = NOON + 500
    one.turn([trade(NOON), trade(NOON, account="okx-other"), trade(began + 1)], began)
    one.turn([read("okx-main", DAY, ASKED), read("okx-other", DAY, ASKED)], began + 100)
    assert told(one, began + 1_000) == {"total_realized_pnl_usd": 28.5, "realized_since": DAY}
    silent = Correction(
        id="1", account="okx-other", position="p", symbol="BTC-USDT-SWAP", cls="unknown", before={"size": "1"},
        after={"size": "0"}, found_at=NOON + 2, since=NOON, trigger="timer",
    )  # fmt: skip
    one.books.corrected(silent)
    assert told(one, began + 2_000) == {"total_realized_pnl_usd": 9.5, "realized_since": NOON + 3}


def test_accounts_of_which_nothing_is_whole_are_named_and_left_out() -> None:
    one = live(OKX, OTHER)
    one.turn([trade(), trade(account="okx-other"), read("okx-main", DAY, ASKED)], NOON + 5_100)
    one.turn([read("okx-other", DAY, ASKED, whole=False)], NOON + 5_200)
    expected = {"total_realized_pnl_usd": 9.5, "realized_since": DAY, "realized_incomplete": ["okx-other"]}
    assert told(one, NOON + 6_000) == expected


def test_demo_accounts_never_count_as_live() -> None:
    one = whole(OKX, DEMO)
    one.turn([trade(), trade(pnl="1000", account="okx-demo")], NOON + 6_000)
    assert told(one, NOON + 7_000)["total_realized_pnl_usd"] == 9.5
    assert told(one, NOON + 7_000, "ann:demo")["total_realized_pnl_usd"] == 999.5


def test_while_a_stream_is_down_the_account_is_incomplete_and_its_gap_is_asked_for_afterwards() -> None:
    one = whole()
    one.turn([feed("down")], NOON + 60_000)
    assert told(one, NOON + 61_000)["realized_incomplete"] == ["okx-main"]
    back = NOON + 70_000
    one.turn([feed("live")], back)
    one.clock(back + 5_000)
    assert one.wants_books == {"okx-main": NOON - 60_000}
    one.turn([trade(NOON + 65_000), read("okx-main", NOON - 60_000, back + 5_001)], back + 5_100)
    assert told(one, back + 6_000) == {"total_realized_pnl_usd": 9.5, "realized_since": DAY}


def test_a_day_of_records_that_takes_minutes_is_asked_for_once_and_again_only_after_it_failed() -> None:
    one = live()
    one.wants_books.clear()
    for now in range(NOON, NOON + 300_000, 1_000):
        one.clock(now)
    assert one.wants_books == {}
    one.turn([HistoryFailed(account="okx-main", since=DAY, asked_at=NOON - 15_000)], NOON + 300_000)
    one.clock(NOON + 359_999)
    assert one.wants_books == {}
    one.clock(NOON + 360_000)
    assert one.wants_books.keys() == {"okx-main"}


def test_a_fill_without_its_profit_is_asked_about_and_counts_with_it() -> None:
    one = whole()
    at = NOON + 10_000
    one.turn([trade(at, pnl=None)], at)
    assert told(one, at + 1_000) == {
        "total_realized_pnl_usd": 0.0, "realized_since": at + 1, "realized_incomplete": ["okx-main"],
    }  # fmt: skip
    one.clock(at + 5_000)
    assert one.wants_books == {"okx-main": at}
    one.turn([trade(at), read("okx-main", at, at + 5_001)], at + 5_100)
    assert told(one, at + 6_000) == {"total_realized_pnl_usd": 9.5, "realized_since": DAY}
    assert row(one, "fills", f"okx-main:{at}")["realized_pnl"] == "10"


def test_fills_of_what_is_no_contract_count_nothing() -> None:
    one = whole()
    one.turn([trade(symbol="BTC-USDT")], NOON + 6_000)
    assert told(one, NOON + 7_000)["total_realized_pnl_usd"] == 0.0


def test_a_currency_without_a_price_is_left_out_and_named() -> None:
    one = whole()
    one.turn([payment(NOON, ccy="XYZ"), payment(NOON + 1)], NOON + 6_000)
    assert told(one, NOON + 7_000)["total_realized_pnl_usd"] == -0.25
    assert row(one, "summary", "ann")["unpriced"] == ["XYZ"]


class Kept:
    """A sink that keeps what is put."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event, *_: object) -> None:
        self.events.append(event)

    put_position = put_instrument = put_tiers = put_collateral = put_balance = put_mode = put_fill = put_funding = put
    put_transfer = put_correction = put_closed = put_covered = put_alert = put_silence = put_equity = put

    def remove_position(self, row_id: str, seq: int) -> None: ...


def test_a_restart_goes_on_from_what_is_stored_and_asks_for_the_time_between() -> None:
    sink = Kept()
    one = engine(OKX, sink=sink)
    one.turn([instrument(), feed("live"), balance()], LIVE)
    one.clock(ASKED)
    one.turn([trade(), read("okx-main", DAY, ASKED)], NOON + 5_100)
    (covered,) = [event for event in sink.events if isinstance(event, Covered)]
    assert (covered.since, covered.until) == (DAY, None)

    two = engine(OKX)
    stored_at, start = NOON + 600_000, NOON + 900_000
    two.restore(sink.events, start, stored_at)
    assert told(two, start) == {
        "total_realized_pnl_usd": 9.5, "realized_since": DAY, "realized_incomplete": ["okx-main"],
    }  # fmt: skip
    two.turn([feed("live")], start + 1_000)
    two.clock(start + 6_000)
    assert two.wants_books == {"okx-main": stored_at - 60_000}
    two.turn([trade(NOON + 700_000), read("okx-main", stored_at - 60_000, start + 6_001)], start + 6_100)
    assert told(two, start + 7_000) == {"total_realized_pnl_usd": 19.0, "realized_since": DAY}


def test_a_gap_that_begins_shortly_before_an_end_is_asked_for_with_the_last_minute_before_it() -> None:
    sink = Kept()
    one = engine(OKX, sink=sink)
    one.turn([instrument(), feed("live"), balance()], LIVE)
    one.clock(ASKED)
    one.turn([read("okx-main", DAY, ASKED)], NOON + 5_100)
    end = NOON + 600_000
    one.turn([trade(end - 1_000, None)], end)  # a fill whose money the stream leaves out
    assert sink.events[-1] == Covered(id="okx-main", account="okx-main", since=DAY, until=end - 1_000, at=end)

    two = engine(OKX, sink=Kept())
    two.restore(sink.events, end + 2_000, end)
    two.turn([feed("live")], end + 3_000)
    two.turn([read("okx-main", end - 1_000, end + 5_000)], end + 5_100)  # asked for something else
    two.clock(end + 8_000)
    assert two.wants_books == {"okx-main": end - 60_000}


def test_a_life_that_ends_before_it_asks_leaves_the_gap_that_it_found() -> None:
    kept = Kept()
    two = engine(OKX, sink=kept)
    covered = Covered(id="okx-main", account="okx-main", since=DAY, at=NOON)
    two.restore([balance(), covered], NOON + 2_000, NOON)
    two.clock(NOON + 3_000)
    (found,) = [event for event in kept.events if isinstance(event, Covered)]
    assert (found.since, found.until) == (DAY, NOON - 60_000)


# --- funding of open positions ----------------------------------------------------------------------------------------------


def held(at: int, **fields: Any) -> Any:
    return position("BTCUSDT", "bybit-main", venue_at=at, scope="linear", **fields)


def of_bybit() -> Engine:
    one = whole(BYBIT)
    one.turn([instrument("BTCUSDT", "bybit")], NOON + 6_000)
    return one


def funding(one: Engine, now: int) -> str | None:
    one.clock(now)
    found: str | None = row(one, "positions", held(0).id).get("funding")
    return found


def paid(at: int, amount: str = "-0.25", leg: str | None = "its own") -> FundingPayment:
    own = held(0).id if leg == "its own" else leg
    return payment(at, amount, "bybit-main", symbol="BTCUSDT", position=own)


def test_funding_since_a_position_was_opened_is_added_up_where_the_venue_does_not_state_it() -> None:
    one = of_bybit()
    opened = NOON + 10_000
    one.turn([held(opened, opened_at=opened)], opened)
    assert funding(one, opened + 1_000) == "0"
    told_of = [
        paid(opened - 1, "-7"),
        paid(opened + 1),
        paid(opened + 2, "0.05"),
        paid(opened + 3, "9", "bybit-main:x"),
    ]
    one.turn([*told_of, *told_of], opened + 2_000)
    assert funding(one, opened + 3_000) == "-0.20"
    one.turn([held(opened + 4_000, opened_at=opened, size="3", fence=(2,))], opened + 4_000)
    assert funding(one, opened + 5_000) == "-0.20"
    one.turn([closed(held(0), (3,)), held(opened + 6_000, opened_at=opened + 6_000, fence=(4,))], opened + 6_000)
    assert row(one, "positions", held(0).id).get("funding") is None  # until it is added up
    assert funding(one, opened + 7_000) == "0"


@pytest.mark.parametrize("stated", ["-3", "0"])
def test_what_the_venue_states_stays(stated: str) -> None:
    one = of_bybit()
    one.turn([held(NOON, opened_at=NOON, funding=stated), paid(NOON + 1)], NOON + 10_000)
    assert funding(one, NOON + 11_000) == stated


def test_a_part_of_the_funding_is_never_shown_as_all_of_it() -> None:
    one = of_bybit()
    one.turn([held(NOON, opened_at=DAY - 1), paid(NOON)], NOON + 10_000)
    assert funding(one, NOON + 11_000) is None  # opened before the records begin
    one = of_bybit()
    one.turn([held(NOON, opened_at=NOON), paid(NOON + 1)], NOON + 10_000)
    one.turn([feed("down", "bybit-main", "bybit")], NOON + 20_000)
    assert funding(one, NOON + 21_000) is None  # a payment may be missing
    back = NOON + 30_000
    one.turn([feed("live", "bybit-main", "bybit")], back)
    one.turn([paid(NOON + 25_000), read("bybit-main", DAY, back + 5_000)], back + 5_100)
    assert funding(one, back + 6_000) == "-0.50"


@pytest.mark.parametrize(("hedge", "expected"), [(None, None), (True, None), (False, "-0.25")])
def test_a_payment_that_names_no_leg_counts_only_where_there_are_no_legs(
    hedge: bool | None, expected: str | None
) -> None:
    one = of_bybit()
    mode = AccountMode(account="bybit-main", mode="m", hedge=hedge)
    one.turn([mode, held(NOON, opened_at=NOON), paid(NOON + 1, leg=None)], NOON + 10_000)
    assert funding(one, NOON + 11_000) == expected


def test_where_the_venue_does_not_say_when_a_position_was_opened_it_counts_from_the_report_that_brought_it() -> None:
    one = of_bybit()
    opened = NOON + 10_000
    one.turn([paid(opened - 1), held(opened)], opened)
    assert funding(one, opened + 1_000) == "0"
    one.turn([held(opened + 2_000, size="3", fence=(2,)), paid(opened + 2_500)], opened + 3_000)
    assert funding(one, opened + 4_000) == "-0.25"
    one.turn([held(opened + 5_000, side="short", id=held(0).id, fence=(3,))], opened + 5_000)
    assert funding(one, opened + 6_000) == "0"  # turned round: another position
    two = live(BYBIT)  # nobody knows what was before
    two.turn([instrument("BTCUSDT", "bybit"), held(opened)], opened)
    two.turn([read("bybit-main", DAY, opened + 1_000)], opened + 1_100)
    assert funding(two, opened + 2_000) is None


def test_settled_profit_that_no_stream_tells_of_is_asked_for() -> None:
    one = of_bybit()
    one.turn([held(NOON + 10_000)], NOON + 10_000)
    one.turn([held(NOON + 20_000, pnl_price="105", fence=(2,))], NOON + 20_000)
    one.clock(NOON + 25_000)
    assert one.wants_books == {"bybit-main": NOON + 10_000}
    one.turn([read("bybit-main", NOON + 10_000, NOON + 25_001)], NOON + 25_100)
    one.wants_books.clear()
    for fence, price in enumerate([None, "105", None, "105"], 3):  # a channel that does not say it
        one.turn([held(NOON + 30_000 + fence, pnl_price=price, fence=(fence,))], NOON + 30_000 + fence)
    one.clock(NOON + 50_000)
    assert one.wants_books == {}
