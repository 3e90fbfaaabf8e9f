"""The private link: a listen key before connecting, state after it, pushes that are partial, and what is asked after them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchanges.aster import VENUE, tables
from exchanges.aster.private import PrivateLink
from exchanges.errors import ProtocolViolation
from exchanges.events import (
    AccountMode,
    BalanceState,
    Evidence,
    Fill,
    FundingPayment,
    LiquidationWarning,
    MarginTiers,
    OpenOrders,
    Order,
    PositionsSnapshot,
    PositionState,
)
from exchanges.venue import Ask, HttpRequest, Malformed, Notice, Output, Pong, Refresh
from tests.exchanges.aster.samples import (
    ENDPOINTS,
    LEGACY,
    LISTEN_KEY,
    NOW,
    RECORDED_UPDATE,
    SPEC,
    account,
    answer,
    asked,
    connected,
    events,
    flat,
    income,
    leg,
    money,
    order_push,
    private,
    row,
    trade,
    update,
)
from tests.recordings import needs_recordings, recordings

CONFIG = {"e": "ACCOUNT_CONFIG_UPDATE", "E": NOW + 5, "T": NOW + 4}


def positions(outputs: list[Output]) -> list[PositionState]:
    return [event for event in events(outputs) if isinstance(event, PositionState)]


def pinged(link: PrivateLink, at: int) -> list[Output]:
    """Answer a heartbeat: what is due is asked then, however quiet the account is."""
    number = json.loads(link.ping())["id"]
    return link.receive(json.dumps({"result": False, "id": number}), at)


def test_the_listen_key_is_asked_first_and_becomes_part_of_the_address() -> None:
    link = private()
    (request,) = link.prepare()
    assert (request.method, request.path, request.signed) == ("POST", "/fapi/v3/listenKey", True)
    assert answer(link, request, {"listenKey": LISTEN_KEY}) == []
    assert link.url == f"wss://fstream.asterdex.com/ws/{LISTEN_KEY}"
    assert (link.needs_login, link.polled, link.topics()) == (False, False, ())


@pytest.mark.parametrize("key", ["", "../ws/other", "a b c d e f g h"])
def test_a_listen_key_that_is_none_is_a_violation(key: str) -> None:
    link = private()
    with pytest.raises(ProtocolViolation):
        answer(link, link.prepare()[0], {"listenKey": key})


def test_an_api_key_asks_the_older_paths() -> None:
    link = private(LEGACY)
    paths = [request.path for request in (*link.prepare(), *link.bootstrap())]
    assert paths == [
        "/fapi/v1/listenKey", "/fapi/v1/multiAssetsMargin", "/fapi/v4/account", "/fapi/v2/positionRisk", "/fapi/v1/openOrders",
    ]  # fmt: skip


def test_the_bootstrap_brings_mode_balances_positions_and_orders_and_asks_for_brackets() -> None:
    link = private()
    answer(link, link.prepare()[0], {"listenKey": LISTEN_KEY})
    outputs: list[Output] = []
    for request, body in zip(
        link.bootstrap(), ({"multiAssetsMargin": False}, account(), [row(), flat("ETHUSDT")], []), strict=True
    ):
        assert not link.ready
        outputs += answer(link, request, body, 50)
    assert link.ready
    kinds = [type(event) for event in events(outputs)]
    assert kinds == [AccountMode, BalanceState, AccountMode, PositionsSnapshot, OpenOrders]
    snapshot = next(event for event in events(outputs) if isinstance(event, PositionsSnapshot))
    assert [state.id for state in snapshot.positions] == ["main:BTCUSDT:BOTH"]
    assert (snapshot.asked_at, snapshot.routine) == (50, False)
    assert asked(outputs) == ["brackets"]


def test_brackets_are_this_accounts_tiers() -> None:
    link = private()
    body = [{"symbol": "ETHUSDT", "brackets": [{"bracket": 1, "initialLeverage": 75, "notionalCap": 10000, "notionalFloor": 0,
                                               "maintMarginRatio": 0.0065, "cum": 0}]}]  # fmt: skip
    (tiers,) = answer(link, link._books.brackets(), body)
    assert isinstance(tiers, MarginTiers)
    assert (tiers.key, tiers.tiers[0].rate, tiers.tiers[0].max_leverage) == ("ETHUSDT", "0.0065", "75")
    assert tiers.account == "main", "another account's may differ"


def test_brackets_are_asked_again_after_some_hours() -> None:
    link = connected(positions=[row("ETHUSDT")])
    frame = '{"result":null,"id":99}'
    later = tables.BRACKETS_MS
    assert "brackets" not in asked(link.receive(frame, later // 2))
    assert "brackets" in asked(link.receive(frame, 2 * later))
    assert "brackets" not in asked(link.receive(frame, 2 * later + 1))


def test_the_recorded_close() -> None:
    link = connected(positions=[row("ETHUSDT", marginType="isolated", isolatedWallet="5")])
    outputs = link.receive(RECORDED_UPDATE, 5_000)
    (state,) = positions(outputs)
    assert (state.id, state.side, state.size, state.settle) == ("main:ETHUSDT:BOTH", None, "0", "USDT")
    assert state.fence == (1768551627708, 1768551627710)
    (balance,) = [event for event in events(outputs) if isinstance(event, BalanceState)]
    assert (balance.full, balance.coins[0].total, balance.pools[0].cash) == (False, "39.41184271", "39.41184271")
    assert balance.coins[0].collateral is True, "what was known stays"
    assert asked(outputs) == ["account", "positions"], "what pushes never say"


def test_a_partial_push_erases_nothing_that_is_known() -> None:
    link = connected(positions=[row()])
    (state,) = positions(link.receive(update(leg(), balances=[money()]), 5_000))
    assert (state.leverage, state.venue_liquidation_price, state.liquidation_known) == ("10", "31000.5", "price")


def test_hedge_mode_pushes_three_rows() -> None:
    link = connected(
        positions=[row(positionSide="LONG"), row(positionSide="SHORT", positionAmt="-0.2", notional="-12000")]
    )
    found = positions(
        link.receive(update(leg(pa="0"), leg(pa="20", ps="LONG"), leg(pa="-10", ps="SHORT"), at=NOW), 5_000)
    )
    assert [(state.id.rpartition(":")[2], state.side, state.size) for state in found] == [
        ("BOTH", None, "0"), ("LONG", "long", "20"), ("SHORT", "short", "10"),
    ]  # fmt: skip


@needs_recordings
def test_the_recorded_hedge_push() -> None:
    (recording,) = recordings("binance", "ws-ACCOUNT_UPDATE")
    found = positions(connected().receive(json.dumps(recording.messages()[0]), 5_000))
    assert [(state.side, state.size, state.isolated_cash) for state in found] == [
        (None, "0", None), ("long", "20", "13200.70726908"), ("short", "10", "6570.42511771"),
    ]  # fmt: skip


def test_a_push_that_arrives_late_changes_nothing() -> None:
    link = connected()
    link.receive(update(leg(pa="0"), at=NOW), 5_000)
    assert positions(link.receive(update(leg(), at=NOW - 10), 5_100)) == []


def test_figures_are_asked_at_most_once_a_second_and_never_forgotten() -> None:
    link = connected(at=100)
    assert asked(link.receive(update(leg(pa="0.6"), at=NOW), 5_000)) == ["account", "positions"]
    assert asked(link.receive(update(leg(pa="0.7"), at=NOW + 1), 5_300)) == []
    assert asked(link.receive(update(leg(pa="0.8"), at=NOW + 2), 5_900)) == []
    assert asked(pinged(link, 6_000)) == ["account", "positions"]
    assert asked(pinged(link, 9_000)) == [], "nothing new came"


def test_an_answer_that_lags_behind_the_stream_does_not_bring_a_closed_position_back() -> None:
    link = connected(positions=[row()])
    outputs = link.receive(update(leg(pa="0"), at=NOW), 5_000)
    question = next(o.request for o in outputs if isinstance(o, Ask) and "positionRisk" in o.request.path)
    (snapshot,) = [e for e in events(answer(link, question, [row()], 5_010)) if isinstance(e, PositionsSnapshot)]
    assert snapshot.positions == ()
    (later,) = [
        e for e in events(answer(link, question, [row()], 5_000 + tables.LAG_MS)) if isinstance(e, PositionsSnapshot)
    ]
    assert len(later.positions) == 1, "asked later, the venue is right"


def test_every_account_has_a_memory_that_its_links_share() -> None:
    make = VENUE.private_links(SPEC, ENDPOINTS)["private"]
    stream, other = make(), make()
    stream.receive(update(leg(pa="0"), at=NOW), 5_000)
    (snapshot,) = [
        event
        for event in other.answer(other.state()[2], json.dumps([row()]).encode(), 5_010, 5_020)
        if isinstance(event, PositionsSnapshot)
    ]
    assert snapshot.positions == ()


def test_funding_of_a_cross_position_has_no_row_and_is_read_from_the_books() -> None:
    link = connected(positions=[row()])
    outputs = link.receive(update(reason="FUNDING_FEE", balances=[money(change="-0.375")]), 5_000)
    assert (positions(outputs), asked(outputs)) == ([], ["account", "positions"])
    later = pinged(link, 5_000 + tables.BOOKS_MS)
    (question,) = [output.request for output in later if isinstance(output, Ask)]
    assert f"startTime={NOW - tables.BOOKS_BACK_MS}" in question.path  # its line is of the full hour, before the push
    (payment,) = answer(link, question, [income()])
    assert isinstance(payment, FundingPayment)
    assert (payment.amount, payment.position) == ("-0.37500000", "main:BTCUSDT:BOTH")
    assert asked(pinged(link, 30_000)) == []


def test_funding_of_an_isolated_position_is_evidence_too() -> None:
    link = connected()
    outputs = link.receive(update(leg(mt="isolated", iw="599"), reason="FUNDING_FEE", balances=[money()]), 5_000)
    (evidence,) = [event for event in events(outputs) if isinstance(event, Evidence)]
    assert (evidence.cause, evidence.what, evidence.position) == ("funding", "FUNDING_FEE", "main:BTCUSDT:BOTH")


@pytest.mark.parametrize("reason", ["MARGIN_TRANSFER", "MARGIN_TYPE_CHANGE", "ADJUSTMENT"])
def test_reasons_are_evidence(reason: str) -> None:
    outputs = connected().receive(update(leg(), reason=reason), 5_000)
    (evidence,) = [event for event in events(outputs) if isinstance(event, Evidence)]
    assert evidence.cause == ("adjustment" if reason == "ADJUSTMENT" else "margin")


@pytest.mark.parametrize("reason", sorted(tables.REASONS))
def test_every_documented_reason_is_known(reason: str) -> None:
    assert not [
        each for each in connected().receive(update(leg(), reason=reason), 5_000) if isinstance(each, Malformed)
    ]


def test_an_unknown_reason_is_told_and_its_rows_are_applied() -> None:
    outputs = connected().receive(update(leg(), reason="WHIM"), 5_000)
    assert [each.what for each in outputs if isinstance(each, Malformed)] == [
        "aster: ACCOUNT_UPDATE for the unknown reason 'WHIM'; it is applied"
    ]
    assert len(positions(outputs)) == 1


def test_a_bad_row_costs_no_other() -> None:
    outputs = connected().receive(update(leg(ps="SIDEWAYS"), leg("ETHUSDT"), balances=[{"a": "X"}, money()]), 5_000)
    assert [state.symbol for state in positions(outputs)] == ["ETHUSDT"]
    assert sum(isinstance(each, Malformed) for each in outputs) == 2
    assert sum(isinstance(each, BalanceState) for each in outputs) == 1


def test_orders_and_fills() -> None:
    order, fill = events(connected().receive(order_push(), 5_000))
    assert isinstance(order, Order)
    assert isinstance(fill, Fill)
    assert (order.open, order.fence[:2]) == (False, (NOW, NOW + 1))
    assert (fill.order_id, fill.fee, fill.at) == (order.order_id, "-12.00000000", NOW)


def test_a_liquidation_seen_on_the_stream_is_the_cause_of_its_fills_read_later() -> None:
    link = connected()
    link.receive(order_push(c="autoclose-1", x="NEW", X="NEW", l="0", z="0", t=0), 5_000)
    (question,) = [each for each in link.history(NOW, ["BTCUSDT"]) if "userTrades" in each.path]
    (fill,) = [each for each in answer(link, question, [trade()]) if isinstance(each, Fill)]
    assert (fill.cause, fill.category) == ("liquidation", "autoclose-")


def test_a_new_leverage_reaches_the_row_at_once_and_the_rest_is_asked() -> None:
    link = connected(positions=[row()])
    outputs = link.receive(json.dumps({**CONFIG, "ac": {"s": "BTCUSDT", "l": 25}}), 5_000)
    (state,) = positions(outputs)
    assert (state.leverage, state.size, state.fence) == ("25", "0.500", (NOW + 4, NOW + 5))
    assert asked(outputs) == ["account", "positions"]


def test_a_new_mode_is_told_and_everything_is_read_again() -> None:
    link = connected()
    outputs = link.receive(json.dumps({**CONFIG, "ai": {"j": True, "f": True, "d": True}}), 5_000)
    (mode,) = [event for event in events(outputs) if isinstance(event, AccountMode)]
    assert (mode.mode, mode.computable, mode.hedge) == ("multi-assets", True, True)
    assert asked(outputs) == ["account", "positions", "orders"]
    assert link.receive(json.dumps({**CONFIG, "ai": {"j": True, "f": False, "d": True}}), 5_100) == []


def test_in_multi_assets_mode_a_push_moves_coins_and_the_pool_is_asked() -> None:
    link = connected(multi=True)
    (balance,) = [e for e in events(link.receive(update(balances=[money()]), 5_000)) if isinstance(e, BalanceState)]
    assert (len(balance.coins), balance.pools) == (1, ())


def test_a_margin_call_is_a_warning_in_every_spelling() -> None:
    call = {"e": "MARGIN_CALL", "E": NOW, "cw": "3.1", "p": [{"s": "ETHUSDT", "ps": "LONG", "pa": "1.327", "mt": "CROSSED",
            "iw": "0", "mp": "187.17127", "up": "-1.166074", "mm": "1.614445"}]}  # fmt: skip
    (warning,) = connected().receive(json.dumps(call), 5_000)
    assert isinstance(warning, LiquidationWarning)
    assert (warning.symbol, warning.position, warning.at) == ("ETHUSDT", "main:ETHUSDT:LONG", NOW)
    assert "maintenance margin 1.614445" in warning.what


@needs_recordings
@pytest.mark.parametrize("kind", ["ws-MARGIN_CALL", "ws-ACCOUNT_CONFIG_UPDATE"])
def test_recorded_frames_come_wrapped_too(kind: str) -> None:
    (recording,) = recordings("aster", kind)
    link = connected(positions=[row()])
    outputs = [output for frame in recording.messages()[0] for output in link.receive(json.dumps(frame), 5_000)]
    assert not [each for each in outputs if isinstance(each, Malformed)]
    assert events(outputs)


def test_announcements_have_no_time_and_are_only_told() -> None:
    frame = {"e": "announcement", "en": {"i": 1, "t": "title", "s": "sub", "c": "DIRECT", "C": "<p>x</p>"}, "zh": {}}
    assert connected().receive(json.dumps(frame), 5_000) == [Notice(code="announcement DIRECT", what="title: sub")]


def test_an_expired_key_leads_to_a_new_connection() -> None:
    (output,) = connected().receive('{"e":"listenKeyExpired","E":1576653824250,"listenKey":"x"}', 5_000)
    assert isinstance(output, Refresh)


def test_the_key_is_extended_every_few_minutes_however_quiet_the_account() -> None:
    link = connected(at=100)
    assert asked(pinged(link, tables.EXTEND_MS)) == []
    (due,) = [each for each in pinged(link, tables.EXTEND_MS + 100) if isinstance(each, Ask)]
    assert (due.request.method, due.request.path) == ("PUT", "/fapi/v3/listenKey")
    assert answer(link, due.request, {}) == []
    assert asked(pinged(link, tables.EXTEND_MS + 20_000)) == []
    assert asked(pinged(link, 2 * tables.EXTEND_MS + 100)) == ["listen"]


def test_a_key_that_somebody_else_ended_leads_to_a_new_connection() -> None:
    link = connected(at=100)
    (due,) = [each for each in pinged(link, tables.EXTEND_MS + 100) if isinstance(each, Ask)]
    (output,) = answer(link, due.request, {"code": -1125, "msg": "This listenKey does not exist."})
    assert isinstance(output, Refresh)


def test_a_connection_is_left_before_the_venue_ends_it() -> None:
    link = connected()
    assert [type(each) for each in pinged(link, 1_000)] == [Pong]
    notices = [each for each in pinged(link, 1_000 + tables.LIVES_MS) if isinstance(each, Notice)]
    assert [notice.reconnect for notice in notices] == [True]
    assert not [each for each in pinged(link, 2_000 + tables.LIVES_MS) if isinstance(each, Notice)], "said once"


@pytest.mark.parametrize(
    "frame",
    [
        "", "{", "[]", "null", '"x"', "{}", '{"e":"ACCOUNT_UPDATE"}', b"\xff\xfe", RECORDED_UPDATE[:90],
        '{"e":"ACCOUNT_UPDATE","E":0,"a":{"B":[],"P":[],"m":"ORDER"}}', "[" * 5000, '{"e":"ORDER_TRADE_UPDATE","E":1,"o":{}}',
    ],
)  # fmt: skip
def test_a_frame_that_cannot_be_read_is_lost_so_the_venue_is_asked_what_it_holds(frame: Any) -> None:
    link = connected()
    outputs = link.receive(frame, 5_000)
    assert isinstance(outputs[0], Malformed)
    assert asked(outputs) == ["account", "positions"]
    assert asked(link.receive(frame, 5_500)) == [], "at most once a second"
    assert positions(link.receive(update(leg()), 5_600)), "the connection lives on"


def test_an_unknown_event_is_told_and_costs_no_question() -> None:
    (output,) = connected().receive('{"e":"SOMETHING_NEW","E":1}', 5_000)
    assert isinstance(output, Malformed)


def test_a_link_that_was_never_prepared_answers_questions_and_asks_nothing_of_its_own() -> None:
    link = private()
    for request, body in zip(link.state(), ({"multiAssetsMargin": False}, account(), [row()], []), strict=True):
        assert asked(answer(link, request, body)) == []
    assert asked(link.receive(update(leg()), 10**9)) == []


def test_nothing_is_said_of_a_foreign_answer() -> None:
    with pytest.raises(ProtocolViolation, match="no account asks"):
        answer(private(), HttpRequest(path="/fapi/v3/time"), {})
