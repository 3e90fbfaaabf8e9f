"""Corrections by what clients see of them: what an answer changes that nothing had told of, its class and its evidence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from exchanges.events import AccountMode, Event, Evidence, FundingPayment, HistoryRead, PositionState, Verified
from gateway.core.records import ClosedCycle, Correction
from gateway.engine import Engine
from tests.gateway.events_of import checked, closed, engine, feed, fill, position, row, rows, snapshot

BTC = position(venue_at=1_000)


def live(*held: PositionState, at: int = 2_000) -> Engine:
    """Return an engine whose stream is live and whose rows a snapshot has told."""
    one = engine()
    one.turn([snapshot(*held), feed("live")], at)
    return one


def away(*held: PositionState) -> Engine:
    """Return an engine whose stream went down at 3 s, and is down."""
    one = live(*held)
    one.turn([feed("down")], 3_000)
    return one


def only(one: Engine) -> dict[str, Any]:
    """Return the only correction."""
    found = rows(checked(one), "reconciliations")
    assert len(found) == 1, found
    return found[0]


def test_the_first_state_of_an_account_corrects_nothing() -> None:
    assert rows(live(BTC), "reconciliations") == []


def test_what_an_event_announced_is_no_correction() -> None:
    one = live(BTC)
    one.turn([closed(BTC, (2,))], 4_000)
    one.turn([snapshot(asked_at=5_000)], 5_100)
    one.clock(60_000)
    assert rows(one, "reconciliations") == []


def test_what_a_routine_push_shows_is_no_correction() -> None:
    one = live(BTC)
    one.turn([snapshot(routine=True)], 5_000)
    one.clock(60_000)
    assert rows(one, "reconciliations") == []


def test_a_position_closed_while_we_were_away_is_pending_until_its_history_is_read() -> None:
    one = away(BTC)
    one.turn([snapshot(asked_at=9_000)], 9_100)
    found = only(one)
    assert found["pending"] is True
    assert "class" not in found
    assert (found["before"]["size"], found["after"], found["trigger"]) == ("2", {"size": "0"}, "reconnect")
    assert one.wants_history == {"okx-main": (1_000, frozenset({"BTC-USDT-SWAP"}))}
    one.wants_history.clear()
    one.turn([fill(at=6_000), HistoryRead(account="okx-main", since=1_000, asked_at=9_200)], 9_300)
    found = only(one)
    assert found["class"] == "closed_on_venue"
    assert found["evidence"] == ["okx-main:fill:6000:sell:2"]
    assert "pending" not in found
    assert one.wants_history == {}
    assert [cycle["reason"] for cycle in rows(one, "closed")] == ["trade"]


def test_without_evidence_a_correction_is_unknown_and_the_cycle_reconciled() -> None:
    one = away(BTC)
    one.turn([snapshot(asked_at=9_000)], 9_100)
    one.turn([HistoryRead(account="okx-main", since=1_000, asked_at=9_000)], 9_200)
    assert only(one)["pending"], "asked before it was found: that says nothing of it"
    one.turn([HistoryRead(account="okx-main", since=1_000, asked_at=9_200)], 9_300)
    assert only(one)["class"] == "unknown"
    assert [cycle["reason"] for cycle in rows(one, "closed")] == ["reconciled"]


def test_evidence_that_comes_late_still_explains_what_was_unknown() -> None:
    one = away(BTC)
    one.turn([snapshot(asked_at=9_000)], 9_100)
    one.turn([HistoryRead(account="okx-main", since=1_000, asked_at=9_200)], 9_300)
    one.turn([fill(at=6_000, cause="liquidation", category="full_liquidation")], 20_000)
    assert only(one)["class"] == "liquidated"
    assert only(one)["evidence"] == ["okx-main:fill:6000:sell:2", "full_liquidation"]
    cycle = rows(one, "closed")[0]
    assert (cycle["reason"], cycle["status"]) == ("liquidated", "liquidated")


def test_evidence_that_comes_ten_minutes_later_changes_no_record() -> None:
    one = away(BTC)
    one.turn([snapshot(asked_at=9_000)], 9_100)
    one.turn([HistoryRead(account="okx-main", since=1_000, asked_at=9_200)], 9_300)
    one.clock(700_000)
    one.turn([fill(at=6_000)], 700_100)
    assert only(one)["class"] == "unknown"


@pytest.mark.parametrize(
    ("after", "evidence", "cls"),
    [
        ((), fill(at=6_000), "closed_on_venue"),
        ((), fill(at=6_000, cause="liquidation"), "liquidated"),
        ((), fill(at=6_000, cause="adl"), "adl"),
        ((), Evidence(account="okx-main", symbol=BTC.symbol, cause="settlement", what="delivery", at=6_000), "settled"),
        ((position(size="5", venue_at=6_000),), fill("buy", "3", 6_000), "size"),
        ((position(side="short", id=BTC.id, size="1"),), fill("sell", "3", 6_000), "size"),
        ((position(size="1", venue_at=6_000),), fill("sell", "1", 6_000, cause="adl"), "adl"),
        ((BTC, position("ETH-USDT-SWAP")), fill("buy", at=6_000, symbol="ETH-USDT-SWAP"), "opened_on_venue"),
        ((position(size="20", entry_price="10"),),
         Evidence(account="okx-main", symbol=BTC.symbol, cause="adjustment", what="split 1:10", at=6_000), "adjusted"),
        ((position(entry_price="105"),),
         Evidence(account="okx-main", symbol=BTC.symbol, cause="settlement", what="periodic", at=6_000), "settled"),
        ((position(leverage="20"),),
         Evidence(account="okx-main", symbol=BTC.symbol, cause="margin", what="leverage", at=6_000), "margin"),
    ],
)  # fmt: skip
def test_classes_of_what_happened_while_we_were_away(
    after: tuple[PositionState, ...], evidence: Event, cls: str
) -> None:
    one = away(BTC)
    one.turn([snapshot(*after, asked_at=9_000)], 9_100)
    one.turn([evidence, HistoryRead(account="okx-main", since=1_000, asked_at=9_200)], 9_300)
    assert only(one)["class"] == cls


def test_a_leverage_that_changed_without_a_trace_is_unknown() -> None:
    one = away(BTC)
    one.turn([snapshot(position(leverage="20"), asked_at=9_000)], 9_100)
    assert only(one)["before"] == {"leverage": "10"}
    one.turn([HistoryRead(account="okx-main", since=1_000, asked_at=9_200)], 9_300)
    assert only(one)["class"] == "unknown"


def test_what_the_live_stream_should_have_told_is_a_missed_event() -> None:
    one = live(BTC)
    one.turn([snapshot(asked_at=9_000), Verified(account="okx-main", asked_at=9_000)], 9_100)
    assert rows(one, "positions") == [], "the venue is right at once"
    assert rows(one, "reconciliations") == [], "the stream's own event may be under way"
    one.clock(11_000)
    assert rows(one, "reconciliations") == []
    one.clock(11_100)
    assert only(one)["pending"]
    one.turn([fill(at=6_000), HistoryRead(account="okx-main", since=1_000, asked_at=11_200)], 11_300)
    found = only(one)
    assert (found["class"], found["trigger"]) == ("missed_event", "timer")


def test_an_answer_that_ran_ahead_of_the_streams_own_event_is_no_correction() -> None:
    one = live(BTC)
    one.turn([snapshot(position(size="5", fence=(2,)), asked_at=9_000)], 9_100)
    one.turn([position(size="5", fence=(2,))], 9_500)
    one.clock(60_000)
    assert rows(one, "reconciliations") == []
    assert one.counters["answers_ahead_of_stream"] == 1
    assert one.wants_history == {}


def test_an_answer_that_ran_ahead_of_the_streams_close_is_no_correction() -> None:
    one = live(BTC)
    one.turn([snapshot(asked_at=9_000)], 9_100)
    one.turn([closed(BTC, (2,))], 9_500)
    one.clock(60_000)
    assert rows(one, "reconciliations") == []


def test_another_state_from_the_stream_does_not_excuse_the_missed_one() -> None:
    one = live(BTC)
    one.turn([snapshot(position(size="5", fence=(2,)), asked_at=9_000)], 9_100)
    one.turn([position(size="6", fence=(3,))], 9_500)
    one.clock(60_000)
    assert only(one)["after"]["size"] == "5"


@pytest.mark.parametrize("before", [True, False], ids=["fill first", "answer first"])
def test_what_fills_of_the_stream_explain_is_no_correction(before: bool) -> None:
    one = live(BTC)
    told, answer = fill("buy", "1", 8_000), snapshot(position(size="3", venue_at=8_500), asked_at=9_000)
    one.turn([told if before else answer], 9_100)
    one.turn([answer if before else told], 9_200)
    one.clock(60_000)
    assert rows(one, "reconciliations") == []


def test_fills_that_do_not_add_up_explain_nothing() -> None:
    one = live(BTC)
    one.turn([fill("buy", "1", 8_000)], 8_100)
    one.turn([snapshot(position(size="5", venue_at=8_500), asked_at=9_000)], 9_100)
    one.clock(12_000)
    assert only(one)["pending"]


def test_the_backlog_of_a_new_connection_explains_but_does_not_excuse() -> None:
    one = away(BTC)
    one.turn([fill(at=6_000), snapshot(asked_at=9_000), feed("live")], 9_100)
    assert only(one)["class"] == "closed_on_venue"


def test_a_venue_that_tells_by_periodic_states_is_waited_for() -> None:
    one = engine()
    one.turn([snapshot(BTC, repeats=True), feed("live")], 2_000)  # the first of a connection says so
    one.turn([snapshot(position(leverage="20"), asked_at=5_000)], 5_100)
    one.clock(8_000)
    assert rows(one, "reconciliations") == []
    one.turn([snapshot(position(leverage="20"), routine=True)], 9_000)
    one.clock(60_000)
    assert rows(one, "reconciliations") == []


def test_funding_that_the_stream_told_explains_an_isolated_margin() -> None:
    isolated = position(margin_mode="isolated", isolated_cash="20")
    after = position(margin_mode="isolated", isolated_cash="19.5")
    paid = FundingPayment(account="okx-main", id="f1", symbol=BTC.symbol, amount="-0.5", ccy="USDT", at=8_000)
    one = live(isolated)
    one.turn([paid, snapshot(after, asked_at=9_000)], 9_100)
    one.clock(60_000)
    assert rows(one, "reconciliations") == []
    other = away(isolated)
    other.turn([snapshot(after, asked_at=9_000), paid], 9_100)
    assert only(other)["class"] == "margin"
    assert only(other)["evidence"] == ["f1", "funding"]


def test_legs_that_vanish_with_a_change_of_mode_are_leftovers() -> None:
    one = engine()
    one.turn([AccountMode(account="okx-main", mode="futures", hedge=True), snapshot(BTC), feed("live")], 2_000)
    one.turn([feed("down")], 3_000)
    net = position(id="okx-main:BTC-USDT-SWAP:one")
    one.turn([AccountMode(account="okx-main", mode="futures", hedge=False), snapshot(net, asked_at=9_000)], 9_100)
    since, _ = one.wants_history["okx-main"]
    one.turn([HistoryRead(account="okx-main", since=since, asked_at=9_200)], 9_300)
    found = rows(one, "reconciliations")
    assert {one_["class"] for one_ in found} == {"mode_leftover"}
    assert found[0]["evidence"] == ["futures, hedge → futures, one-way"]


def test_a_mode_that_is_merely_told_more_fully_is_no_change_of_mode() -> None:
    one = engine()
    one.turn([AccountMode(account="okx-main", mode="futures"), snapshot(BTC), feed("live")], 2_000)
    one.turn([feed("down")], 3_000)
    one.turn([AccountMode(account="okx-main", mode="futures", hedge=False), snapshot(asked_at=9_000)], 9_100)
    one.turn([HistoryRead(account="okx-main", since=1_000, asked_at=9_200)], 9_300)
    assert only(one)["class"] == "unknown"


def test_a_restart_corrects_what_it_restored_in_every_scope() -> None:
    kept, gone, grown = position(), position("ETH-USDT-SWAP"), position("XRP-USDT-SWAP", scope="other")
    one = engine()
    one.restore([kept, gone, grown], 10_000, stored_at=5_000)
    one.turn([snapshot(kept, asked_at=10_100)], 10_200)
    more = position("XRP-USDT-SWAP", scope="other", size="9")
    new = position("SOL-USDT-SWAP", scope="other")
    one.turn([snapshot(more, new, scope="other", asked_at=10_100)], 10_300)
    found = {record["symbol"]: record for record in rows(one, "reconciliations")}
    assert {symbol: record["trigger"] for symbol, record in found.items()} == {
        "ETH-USDT-SWAP": "start", "XRP-USDT-SWAP": "start", "SOL-USDT-SWAP": "start",
    }  # fmt: skip
    assert found["XRP-USDT-SWAP"]["after"] == {"side": "long", "size": "9"}
    assert one.wants_history["okx-main"][1] == {"ETH-USDT-SWAP", "XRP-USDT-SWAP", "SOL-USDT-SWAP"}


def test_what_was_stored_without_the_venues_time_is_explained_by_what_happened_since_the_last_write() -> None:
    one = engine()
    one.restore([position(venue_at=None)], 200_000, stored_at=100_000)
    one.turn([feed("live")], 200_500)
    one.turn([snapshot(position(size="1", fence=(2,)), asked_at=201_000)], 201_100)
    one.clock(203_200)
    assert one.wants_history == {"okx-main": (40_000, frozenset({"BTC-USDT-SWAP"}))}
    one.turn([fill(size="1", at=150_000), HistoryRead(account="okx-main", since=40_000, asked_at=203_300)], 203_400)
    assert only(one)["class"] == "size"


def test_a_flat_account_that_was_restored_finds_what_was_opened_meanwhile() -> None:
    one = engine()
    one.restore([AccountMode(account="okx-main", mode="futures")], 10_000)
    one.turn([snapshot(BTC, asked_at=10_100)], 10_200)
    assert only(one)["before"] == {"size": "0"}


def test_a_question_on_demand_is_named() -> None:
    one = live(BTC)
    one.ask_because("okx-main", "demand")
    one.turn([snapshot(asked_at=9_000), Verified(account="okx-main", asked_at=9_000)], 9_100)
    one.clock(12_000)
    assert only(one)["trigger"] == "demand"
    one.turn([snapshot(BTC, asked_at=19_000), Verified(account="okx-main", asked_at=19_000)], 19_100)
    one.clock(22_000)
    assert sorted(record["trigger"] for record in rows(one, "reconciliations")) == ["demand", "timer"]


def test_rows_of_an_account_out_of_reach_are_closed_on_the_operators_word() -> None:
    one = live(BTC, position("ETH-USDT-SWAP"))
    assert one.forget_account_rows("okx-main", "venue closed down", 9_000)
    assert rows(checked(one), "positions") == []
    found = rows(one, "reconciliations")
    assert [(record["class"], record["evidence"]) for record in found] == [
        ("unknown", ["forced: venue closed down"])
    ] * 2
    assert {cycle["reason"] for cycle in rows(one, "closed")} == {"reconciled"}


def test_records_come_back_as_they_were_put() -> None:
    class Kept:
        def __init__(self) -> None:
            self.records: dict[str, Event] = {}

        def keep(self, record: Any) -> None:
            self.records[record.id] = record

        put_correction = put_closed = put_fill = keep

        def ignore(self, *_: object) -> None: ...

        put_position = remove_position = put_instrument = put_tiers = put_collateral = ignore
        put_balance = put_mode = put_funding = put_transfer = ignore
        put_alert = put_silence = put_equity = ignore

    sink = Kept()
    one = engine(sink=sink)
    one.turn([snapshot(BTC), feed("live")], 2_000)
    one.turn([feed("down")], 3_000)
    one.turn([snapshot(asked_at=9_000), fill("buy", "1", 1_500)], 9_100)
    stored = [msgspec.json.decode(msgspec.json.encode(record), type=type(record)) for record in sink.records.values()]
    assert {type(record).__name__ for record in stored} == {"Correction", "ClosedCycle", "Fill"}
    later = engine()
    later.restore(stored, 20_000)
    for table in ("reconciliations", "closed", "fills"):
        assert rows(later, table) == rows(one, table)
    later.turn([], 21_000)
    later.clock(22_000)
    assert later.wants_history["okx-main"][1] == {"BTC-USDT-SWAP"}, "it goes on asking what was pending"
    later.turn([fill(at=6_000), HistoryRead(account="okx-main", since=1_000, asked_at=22_100)], 22_200)
    assert only(later)["class"] == "closed_on_venue"


def test_corrections_are_bounded() -> None:
    one = away()
    for number in range(1_010):
        held = (position(f"S{number}"),)
        one.turn([snapshot(*held, asked_at=10_000 + number)], 10_000 + number)
    found = list(one.tables["reconciliations"].ids())
    assert len(found) == 1_000
    assert row(one, "reconciliations", found[-1])["found_at"] == 11_009


def test_the_class_is_named_class_in_storage() -> None:
    record = Correction(id="x", account="a", cls="size", before={}, after={}, found_at=1, since=0, trigger="timer")
    assert b'"class":"size"' in msgspec.json.encode(record)
    assert not record.pending
    assert ClosedCycle.__struct_fields__[0] == "id"


@pytest.mark.parametrize(("before_it", "anew"), [("live", True), ("down", False)])
def test_only_a_stream_that_should_have_told_is_made_anew(before_it: str, anew: bool) -> None:
    """One that is just coming up missed nothing: the one before it did, and that one is gone."""
    one = live(BTC)
    if before_it == "down":
        one.turn([feed("down")], 9_000)
    one.turn([snapshot(asked_at=9_100)], 9_200)
    one.turn([feed("live")], 9_300)
    one.clock(12_000)
    one.turn([fill("sell", at=6_000), HistoryRead(account=BTC.account, since=0, asked_at=12_100)], 12_200)
    assert only(one)["class"] == "missed_event"
    assert one.deaf == ({BTC.account} if anew else set())


def test_what_happened_while_an_answer_was_under_way_is_evidence_still() -> None:
    """An answer speaks of the moment it was asked, not of the one at which it came."""
    held = position(venue_at=None)
    one = live(held)
    one.turn([snapshot(held, asked_at=9_000)], 9_900)
    one.turn([snapshot(asked_at=10_000)], 10_100)
    one.clock(13_000)
    one.turn([fill(at=9_400), HistoryRead(account="okx-main", since=9_000, asked_at=13_100)], 13_200)
    assert only(one)["evidence"] == ["okx-main:fill:9400:sell:2"]
