"""What can be asked of an account: open orders and history page by page, one order, the whole state."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from exchanges.errors import ProtocolViolation
from exchanges.events import (
    AccountMode,
    BalanceState,
    Evidence,
    Fill,
    FundingPayment,
    KeyInfo,
    LiquidationWarning,
    OpenOrders,
    Order,
    PositionsSnapshot,
)
from exchanges.okx import build, tables
from exchanges.okx.link import PrivateLink
from exchanges.venue import Ask, HttpRequest, Malformed, Notice, Output
from tests.exchanges.okx.samples import (
    MULTI,
    T0,
    account,
    bill,
    coin,
    envelope,
    fill_row,
    frame,
    only,
    order,
    position,
    private,
)

DAY = 86_400_000
CONFIG = {
    "acctLv": "3",
    "posMode": "long_short_mode",
    "perm": "read_only",
    "ip": "192.0.2.7",
    "uid": "447",
    "label": "desk",
}


def unconnected() -> PrivateLink:
    """Return a link as it is used for questions: it has no stream and never had one."""
    return private(None, subscribed=False)


def answers(link: PrivateLink, request: HttpRequest, *rows: Any, asked_at: int = T0) -> list[Output]:
    return link.answer(request, envelope(*rows), asked_at, asked_at + 5)


# --- who ---------------------------------------------------------------------------------------------------------------


def test_the_audit_says_who_it_is_and_what_the_key_may_do() -> None:
    link = unconnected()
    (question,) = link.audit()
    mode, key = answers(link, question, CONFIG)
    assert mode == AccountMode(account="main", mode="multi-currency margin mode (acctLv 3)", hedge=True)
    assert key == KeyInfo(account="main", powers=(), owner="447", label="desk", ip_bound=True)


@pytest.mark.parametrize(
    ("perm", "powers"),
    [
        ("read_only", ()),
        ("read_only,trade", ("trade",)),
        ("read_only,withdraw,trade", ("withdraw", "trade")),
        ("trade", ("trade",)),
    ],
)
def test_powers(perm: str, powers: tuple[str, ...]) -> None:
    link = unconnected()
    (key,) = only(KeyInfo, answers(link, link.audit()[0], CONFIG | {"perm": perm, "ip": ""}))
    assert (key.powers, key.ip_bound) == (powers, False)


@pytest.mark.parametrize("perm", ["", None, " , "])
def test_what_is_not_said_of_a_key_is_not_read_only(perm: str | None) -> None:
    link = unconnected()
    out = answers(link, link.audit()[0], CONFIG | {"perm": perm})
    assert only(KeyInfo, out) == []
    assert "perm" in only(Malformed, out)[0].what


# --- state -------------------------------------------------------------------------------------------------------------


def test_the_state_is_asked_and_read_again_and_again() -> None:
    link = unconnected()
    for level, pool in (("2", "USDT"), ("3", "USD"), ("3", "USD")):
        config, held, balance, open_orders = link.state()
        (mode, *_) = answers(link, config, CONFIG | {"acctLv": level})
        assert isinstance(mode, AccountMode)
        snapshots = only(PositionsSnapshot, answers(link, held, position(posSide="long"), asked_at=T0 + 1))
        assert {each.scope for each in snapshots} == {f"positions:{kind}" for kind in tables.KINDS}
        assert {each.asked_at for each in snapshots} == {T0 + 1}
        assert [state.pool for each in snapshots for state in each.positions] == [pool]
        (found,) = answers(link, balance, account(coin(), **(MULTI if level == "3" else {})))
        assert isinstance(found, BalanceState)
        assert (found.full, found.asked_at) == (True, T0)
        assert answers(link, open_orders) == [OpenOrders(account="main", scope="orders", orders=(), asked_at=T0)]


def test_a_flip_of_the_position_mode_leaves_the_former_rows_out_of_the_snapshot() -> None:
    link = unconnected()
    config, held, *_ = link.state()
    answers(link, config, CONFIG | {"posMode": "net_mode"})
    (before,) = [each for each in only(PositionsSnapshot, answers(link, held, position())) if each.positions]
    (mode, *_) = answers(link, config, CONFIG)
    assert isinstance(mode, AccountMode)
    assert mode.hedge
    (after,) = [
        each for each in only(PositionsSnapshot, answers(link, held, position(posSide="long"))) if each.positions
    ]
    assert (before.scope, before.positions[0].id) == ("positions:SWAP", "main:BTC-USDT-SWAP:net:cross:USDT")
    assert (after.scope, after.positions[0].id) == ("positions:SWAP", "main:BTC-USDT-SWAP:long:cross:USDT")


def test_every_kind_of_position_is_in_the_state() -> None:
    link = unconnected()
    config, held, *_ = link.state()
    answers(link, config, CONFIG)
    rows = [
        position(),
        position("BTC-USDT-261225", instType="FUTURES"),
        position("BTC-USD-261225-90000-C", instType="OPTION", ccy="BTC"),
        position("BTC-USDT", instType="MARGIN", posCcy="BTC"),
        position("BTC-ABOVE-DAILY-1", instType="EVENTS"),
    ]
    found = [state for each in only(PositionsSnapshot, answers(link, held, *rows)) for state in each.positions]
    assert [state.kind for state in found] == ["perp", "future", "option", "margin", "event"]


# --- open orders -------------------------------------------------------------------------------------------------------


def page(start: int, count: int = 100) -> list[dict[str, Any]]:
    return [order(ordId=str(9000 - start - n)) for n in range(count)]


def test_open_orders_are_one_list_however_many_pages() -> None:
    link = unconnected()
    (first,) = [each for each in link.state() if each.path.startswith(tables.OPEN_ORDERS_PATH)]
    (ask,) = answers(link, first, *page(0), asked_at=T0)
    assert isinstance(ask, Ask)
    assert ask.request.path == f"{tables.OPEN_ORDERS_PATH}?limit=100&after=8901"
    assert ask.request.signed
    (again,) = answers(link, ask.request, *page(100), asked_at=T0 + 9)
    assert isinstance(again, Ask)
    assert again.request.path.endswith("?limit=100&after=8801")
    # An order of the page before it comes again: it is one order.
    (found,) = answers(link, again.request, *page(199, 3), asked_at=T0 + 20)
    assert isinstance(found, OpenOrders)
    assert (len(found.orders), found.asked_at, found.scope) == (202, T0, "orders")
    assert {each.scope for each in found.orders} == {"orders"}


def test_a_round_that_broke_off_leaves_nothing_behind() -> None:
    link = unconnected()
    first = build.open_orders_request()
    answers(link, first, *page(0))
    (found,) = answers(link, first, order())
    assert isinstance(found, OpenOrders)
    assert len(found.orders) == 1
    with pytest.raises(ProtocolViolation):
        answers(link, build.page_after(first, "8901"), order())


def test_an_unreadable_order_makes_no_list() -> None:
    with pytest.raises(ProtocolViolation, match="side"):
        answers(unconnected(), build.open_orders_request(), order(), order(side="up"))


def test_pages_that_go_in_a_circle_are_a_violation() -> None:
    link = unconnected()
    (ask,) = answers(link, build.open_orders_request(), *page(0))
    assert isinstance(ask, Ask)
    with pytest.raises(ProtocolViolation):
        answers(link, ask.request, *page(0))


def test_one_order() -> None:
    link = unconnected()
    (question,) = link.find_order("BTC-USDT-SWAP", "900")
    assert question.path == "/api/v5/trade/order?instId=BTC-USDT-SWAP&ordId=900"
    (found,) = answers(link, question, order(state="filled", fillSz="2", tradeId="123", fillPx="1"))
    assert isinstance(found, Order)
    assert not found.open
    assert answers(link, question) == []


# --- history -----------------------------------------------------------------------------------------------------------


def paths(link: PrivateLink, back_ms: int) -> list[str]:
    link.sign(build.config_request(), T0)
    return [each.path.partition("?")[0] for each in link.history(T0 - back_ms, ["BTC-USDT-SWAP"])]


def test_history_is_asked_where_it_is_kept() -> None:
    link = unconnected()
    slow, archive = ["/api/v5/trade/fills-history"] * 5, "/api/v5/account/bills-archive"
    assert [each.path.partition("?")[0] for each in link.history(T0, [])] == [archive, *slow]  # no clock was seen yet
    fills, bills = "/api/v5/trade/fills", "/api/v5/account/bills"
    assert paths(link, 2 * DAY) == [bills, fills]
    assert paths(link, 4 * DAY) == [bills, *slow, fills]
    assert paths(link, 30 * DAY) == [archive, bills, *slow, fills]
    assert {"SWAP", "FUTURES", "OPTION", "MARGIN", "SPOT"} == {
        each.path.partition("instType=")[2].partition("&")[0] for each in link.history(T0 - 30 * DAY, [])[2:7]
    }


def test_every_window_has_an_end_for_else_the_oldest_page_comes_and_pages_go_backwards() -> None:
    link = unconnected()
    link.sign(build.config_request(), T0)
    for each in link.history(T0 - 30 * DAY, []):
        query = parse_qs(urlsplit(each.path).query)
        assert int(query["begin"][0]) < int(query["end"][0])


@pytest.mark.parametrize("old", [False, True])
def test_history_goes_on_until_a_page_is_not_full(old: bool) -> None:
    link = unconnected()
    answers(link, build.config_request(), CONFIG | {"posMode": "net_mode"})
    link.sign(build.config_request(), T0)
    asked = link.history(T0 - (30 if old else 1) * DAY, [])
    bills, fills = asked[0], asked[2 if old else 1]
    out = answers(link, fills, *(fill_row(tradeId=str(n), billId=str(9000 - n)) for n in range(100)))
    (ask,) = only(Ask, out)
    assert ask.request.path == f"{fills.path}&after=8901"
    out += answers(link, ask.request, fill_row(tradeId="100", billId="8900"))
    assert len({each.id for each in only(Fill, out)}) == 101
    assert len(only(Ask, out)) == 1
    found = answers(link, bills, bill(pnl="-1"), bill(billId="501", type="5", subType="106", ordId="901"))
    assert [type(each) for each in found] == [FundingPayment, Evidence]


def test_an_unreadable_row_of_history_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="fillPx"):
        answers(unconnected(), build.fills_request(0), fill_row(fillPx=""))
    with pytest.raises(ProtocolViolation, match="billId"):
        answers(unconnected(), build.bills_request(0), bill(billId=""))


# --- warnings and watch ------------------------------------------------------------------------------------------------


def test_a_warning() -> None:
    row = {
        "instId": "ETH-USD-261225", "instType": "FUTURES", "mgnMode": "isolated", "posSide": "long", "ccy": "ETH", "pos": "1",
        "markPx": "2353.849", "mgnRatio": "1.7", "pTime": str(T0), "uTime": str(T0), "cTime": str(T0), "posId": "3",
    }  # fmt: skip
    (found,) = private().receive(frame("liquidation-warning", row, event=None, instType="ANY"), 0)
    assert isinstance(found, LiquidationWarning)
    assert (found.symbol, found.position) == ("ETH-USD-261225", "main:ETH-USD-261225:long:isolated:ETH")
    assert "1.7" in found.what
    assert only(Malformed, private().receive(frame("liquidation-warning", {}, event=None), 0))


def test_channels_that_every_type_has_are_subscribed_at_once() -> None:
    link = private(None, subscribed=False)
    (sent,) = link.subscribe([*link.topics(), *link.price_topics([])])
    assert json.loads(sent)["args"] == [
        {"channel": "positions", "instType": "ANY"},
        {"channel": "account"},
        {"channel": "orders", "instType": "ANY"},
        {"channel": "balance_and_position"},
        {"channel": "liquidation-warning", "instType": "ANY"},
    ]


def test_an_unknown_word_for_maker_or_taker_is_told() -> None:
    link = unconnected()
    request = build.fills_request(T0)
    out = answers(link, request, fill_row(execType="X"))
    assert [fill.role for fill in only(Fill, out)] == [None]
    assert "'X'" in only(Notice, out)[0].what
    assert not only(Notice, answers(link, request, fill_row(execType="")))


@pytest.mark.parametrize("changes", [{"instType": "NEW"}, {"posSide": "NEW"}, {"execType": "NEW"}])
def test_an_unknown_word_of_an_order_is_told_wherever_it_is_read(changes: dict[str, str]) -> None:
    link = unconnected()
    for request in (build.open_orders_request(), build.order_request("BTC-USDT-SWAP", "900")):
        assert "NEW" in only(Notice, answers(link, request, order(**changes)))[0].what
        assert only(Notice, answers(link, request, order())) == []


def test_a_bill_of_an_unknown_type_of_instrument_is_told() -> None:
    out = answers(unconnected(), build.bills_request(T0), bill(instType="NEW", pnl="-1"))
    assert "NEW" in only(Notice, out)[0].what
    assert [each.position for each in only(FundingPayment, out)] == [None]
