"""The venue's own record of a closed position, and the questions that bring the books of a window."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchanges.events import ClosedPnl
from exchanges.okx import VENUE, build, tables
from exchanges.okx.link import PrivateLink
from exchanges.venue import OUT_OF_REACH, Ask, HttpRequest, Notice, Output
from tests.exchanges.okx.samples import T0, envelope, only, private
from tests.recordings import needs_recordings, recordings

DAY = 86_400_000
QUESTION = build.positions_history_request(T0 - DAY, T0)


def closed(**changes: Any) -> dict[str, Any]:
    """Return a row: a long of 30 contracts, closed at a profit of 12 less fees of 3, funding of 1 paid."""
    row = {
        "instType": "SWAP", "instId": "BTC-USDT-SWAP", "mgnMode": "cross", "posSide": "net", "direction": "long",
        "ccy": "USDT", "posId": "7001", "type": "2", "cTime": str(T0 - 9_000), "uTime": str(T0), "closeTotalPos": "30",
        "openMaxPos": "30", "openAvgPx": "60000", "nonSettleAvgPx": "", "closeAvgPx": "60040.0000000000000007",
        "pnl": "12", "fee": "-3", "fundingFee": "-1", "liqPenalty": "0", "settledPnl": "", "realizedPnl": "8",
        "pnlRatio": "0.1", "lever": "10.0", "triggerPx": "", "uly": "BTC-USDT",
    }  # fmt: skip
    return row | changes


def asker(now_ms: int | None = T0) -> PrivateLink:
    link = private(None, subscribed=False)
    if now_ms is not None:
        link.sign(build.config_request(), now_ms)
    return link


def told(*rows: dict[str, Any], question: HttpRequest = QUESTION, now_ms: int | None = T0) -> list[Output]:
    return asker(now_ms).answer(question, envelope(*rows), T0, T0 + 5)


# --- rows --------------------------------------------------------------------------------------------------------------


def test_a_row_is_one_record_with_the_venues_digits() -> None:
    assert told(closed()) == [
        ClosedPnl(
            account="main", id="main:positions-history:7001:1789999991000", source="positions-history",
            symbol="BTC-USDT-SWAP", at=T0, position="main:BTC-USDT-SWAP:net:cross:USDT", side="long", ccy="USDT",
            size="30", entry_price="60000", exit_price="60040.0000000000000007", realized_pnl="12", fees="-3",
            funding="-1", liquidation_fee="0", realized_net="8", opened_at=T0 - 9_000, what="closed",
        )
    ]  # fmt: skip


def test_more_of_the_same_position_closed_replaces_its_record_and_a_reopened_one_has_its_own() -> None:
    partly, whole, again = only(
        ClosedPnl,
        told(closed(type="1", uTime=str(T0 - 5)), closed(), closed(cTime=str(T0 - 2), posId="7001")),
    )
    assert partly.id == whole.id != again.id
    assert (partly.what, whole.what) == ("closed partly", "closed")


def test_what_daily_settlements_moved_is_a_part_of_what_the_price_brought() -> None:
    (found,) = only(
        ClosedPnl, told(closed(settledPnl="-2.50", pnl="12.125", openAvgPx="60100", nonSettleAvgPx="60000"))
    )
    assert (found.realized_pnl, found.entry_price) == ("9.625", "60000")


def test_what_is_not_said_is_unknown() -> None:
    (found,) = only(ClosedPnl, told(closed(posSide="", pnl="", fundingFee="", realizedPnl="", direction="")))
    assert (found.position, found.side, found.realized_pnl, found.funding, found.realized_net) == (None,) * 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "7"}, "type of close '7'"),
        ({"instType": "NEW"}, "type of instrument 'NEW'"),
        ({"direction": "up"}, "direction 'up'"),
        ({"posSide": "both"}, "posSide 'both'"),
    ],
)
def test_a_word_that_is_not_documented_is_told_beside_the_record(changes: dict[str, str], words: str) -> None:
    found, note = told(closed(**changes))
    assert isinstance(found, ClosedPnl)
    assert isinstance(note, Notice)
    assert words in note.what


@needs_recordings
def test_recorded_answers() -> None:
    """Nothing was captured of it (n = 0): the documentation's sample (n = 1) adds up by the documented sum."""
    found = []
    for recording in recordings("okx", "rest-account-positions-history"):
        (body,) = recording.messages()
        found += only(ClosedPnl, asker().answer(QUESTION, json.dumps(body).encode(), T0, T0))
    (one,) = found
    parts = (one.realized_pnl, one.fees, one.funding, one.liquidation_fee)
    assert sum(Decimal(part or "NaN") for part in parts) == Decimal(one.realized_net or "NaN")
    assert (one.symbol, one.side, one.position) == ("BTC-USD-SWAP", "long", None)


# --- questions ---------------------------------------------------------------------------------------------------------


def _asked(link: PrivateLink, since: int, until: int) -> dict[str, list[tuple[int, int]]]:
    """Return the windows that each endpoint is asked for; of executions by type, one of them."""
    found: dict[str, list[tuple[int, int]]] = {}
    for request in link.records(since, until, []):
        target = urlsplit(request.path)
        query = parse_qs(target.query)
        if query.get("instType", ["SWAP"]) != ["SWAP"]:
            continue
        if target.path == tables.POSITIONS_HISTORY_PATH:  # neither end is in the answer
            window = (int(query["before"][0]) + 1, int(query["after"][0]) - 1)
        else:
            window = (int(query["begin"][0]), int(query["end"][0]))
        found.setdefault(target.path, []).append(window)
    return found


def test_records_are_asked_where_they_are_kept() -> None:
    link = asker()
    fresh = _asked(link, T0 - DAY, T0)
    assert set(fresh) == {tables.FILLS_PATH, tables.BILLS_PATH, tables.POSITIONS_HISTORY_PATH}
    old = _asked(link, T0 - 30 * DAY, T0 - 23 * DAY)
    assert set(old) == {tables.FILLS_HISTORY_PATH, tables.BILLS_ARCHIVE_PATH, tables.POSITIONS_HISTORY_PATH}
    assert set(_asked(asker(None), T0 - DAY, T0)) == set(old)  # while no clock is known, where it is kept longest
    kinds = [parse_qs(urlsplit(r.path).query).get("instType") for r in link.records(T0 - 30 * DAY, T0 - 29 * DAY, [])]
    assert [kind[0] for kind in kinds if kind] == list(tables.HISTORY_TYPES)


@given(st.integers(0, 100 * DAY), st.integers(1, 7 * DAY))
def test_the_windows_of_all_endpoints_of_a_kind_are_the_window_asked_for(back: int, length: int) -> None:
    since, until = T0 - back, T0 - back + length
    found = _asked(asker(), since, until)
    for kind in (
        (tables.FILLS_HISTORY_PATH, tables.FILLS_PATH),
        (tables.BILLS_ARCHIVE_PATH, tables.BILLS_PATH),
        (tables.POSITIONS_HISTORY_PATH,),
    ):
        windows = [window for path in kind for window in found.get(path, [])]
        assert [begin for begin, _ in windows] == [since, *(end + 1 for _, end in windows[:-1])]
        assert windows[-1][1] == until - 1


def test_pages_go_on_behind_the_last_millisecond_until_one_is_not_full() -> None:
    link = asker()
    rows = [closed(posId=str(n), uTime=str(T0 - n // 3)) for n in range(102)]  # the page's last millisecond is whole
    *found, ask = link.answer(QUESTION, envelope(*rows), T0, T0)
    assert len(found) == 102
    assert isinstance(ask, Ask)
    query = parse_qs(urlsplit(ask.request.path).query)
    assert (query["after"], query["before"]) == ([rows[-1]["uTime"]], [str(T0 - DAY - 1)])
    assert only(Ask, link.answer(ask.request, envelope(*rows[:99]), T0, T0)) == []


def test_what_lies_behind_the_venues_memory_is_told() -> None:
    since = T0 - tables.RECORDS_REACH_MS - 1
    question = build.positions_history_request(since, since + DAY)
    (note,) = told(question=question)
    assert isinstance(note, Notice)
    assert (note.code, "90 days" in note.what) == (OUT_OF_REACH, True)
    assert told(question=build.positions_history_request(since + 1, since + DAY)) == []
    assert told(question=question, now_ms=None) == []
    reach, window = VENUE.capabilities.records_reach_s, VENUE.capabilities.records_window_s
    assert (reach, window) == (90 * 86_400, 7 * 86_400)
