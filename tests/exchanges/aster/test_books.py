"""What an account is asked and what its answers mean, without any stream, again and again."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from exchanges.aster import tables
from exchanges.aster.private import PrivateLink
from exchanges.errors import AuthFailed, ProtocolViolation
from exchanges.events import (
    AccountMode,
    BalanceState,
    ClosedPnl,
    Evidence,
    Fill,
    FundingPayment,
    KeyInfo,
    OpenOrders,
    Order,
    PositionsSnapshot,
    Transfer,
)
from exchanges.venue import Ask, HttpRequest, Malformed, Output
from tests.exchanges.aster.samples import (
    LEGACY,
    NOW,
    USER,
    WALLET,
    account,
    answer,
    asked,
    events,
    flat,
    income,
    order_row,
    private,
    row,
    trade,
)
from tests.recordings import needs_recordings, recordings

DAY = 86_400_000


def parameters(request: HttpRequest) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(request.path).query).items()}


def pages(outputs: list[Output]) -> list[HttpRequest]:
    return [output.request for output in outputs if isinstance(output, Ask)]


def agent(**fields: Any) -> dict[str, Any]:
    usual = {
        "agentAddress": WALLET, "agentName": "perpwire", "ipWhitelist": "", "expired": 1867945395040, "source": "web",
        "canRead": True, "canSpotTrade": False, "canPerpTrade": False, "canWithdraw": False,
    }  # fmt: skip
    return {**usual, **fields}


def audit(link: PrivateLink, *agents: dict[str, Any]) -> KeyInfo:
    (info,) = answer(link, link.audit()[0], list(agents))
    assert isinstance(info, KeyInfo)
    return info


# --- Permissions ----------------------------------------------------------------------------------------------------


def test_what_an_api_wallet_may_do_is_its_own_not_the_accounts() -> None:
    info = audit(
        private(), agent(agentAddress=USER, canWithdraw=True), agent(agentAddress=WALLET.upper().replace("X", "x"))
    )
    assert (info.powers, info.owner, info.label) == ((), USER.lower(), "perpwire")
    assert (info.expires_at, info.ip_bound) == (1867945395040, False)


def test_an_api_wallet_that_is_too_powerful_says_so() -> None:
    info = audit(private(), agent(canSpotTrade=True, canPerpTrade=True, canWithdraw=True, ipWhitelist="1.2.3.4"))
    assert (info.powers, info.ip_bound) == (("spot trade", "perp trade", "withdraw"), True)


def test_an_api_wallet_that_is_not_approved_needs_the_operator() -> None:
    with pytest.raises(AuthFailed, match="not approved"):
        audit(private(), agent(agentAddress=USER))
    with pytest.raises(AuthFailed, match="may not read"):
        audit(private(), agent(canRead=False))


@pytest.mark.parametrize(
    ("trade_", "withdraw", "powers"),
    [(True, True, ("trade", "withdraw")), (True, False, ("trade",)), (False, False, ())],
)
def test_what_an_api_key_may_do_is_what_its_account_says(trade_: bool, withdraw: bool, powers: Any) -> None:
    link = private(LEGACY)
    outputs = answer(link, link.audit()[0], account(canTrade=trade_, canWithdraw=withdraw))
    assert [event.powers for event in events(outputs) if isinstance(event, KeyInfo)] == [powers]


def test_a_wallets_account_answer_says_nothing_of_the_wallet() -> None:
    link = private()
    assert not [event for event in answer(link, link.state()[1], account()) if isinstance(event, KeyInfo)]


@needs_recordings
def test_the_audit_brings_both_modes() -> None:
    link = private()
    _, multi, dual = link.audit()
    (single,) = answer(link, multi, {"multiAssetsMargin": False})
    (recording,) = recordings("aster", "rest-positionSide-dual")
    (hedged,) = answer(link, dual, recording.messages()[0])
    assert isinstance(single, AccountMode)
    assert isinstance(hedged, AccountMode)
    assert (single.mode, single.computable, single.hedge) == ("single-asset", True, None)
    assert hedged.hedge is True


# --- State ----------------------------------------------------------------------------------------------------------


def state(
    link: PrivateLink, rows: list[dict[str, Any]], *, multi: bool = False, orders: Any = (), at: int = 9
) -> list[Output]:
    outputs: list[Output] = []
    bodies: dict[str, Any] = {
        "multiAssetsMargin": {"multiAssetsMargin": multi},
        "accountWithJoinMargin": account(),
        "positionRisk": rows,
        "openOrders": orders,
    }
    for request in link.state():
        body = next(body for path, body in bodies.items() if path in request.path)
        outputs += answer(link, request, body, at)
    return outputs


def test_the_mode_is_asked_now_and_then() -> None:
    link = private()
    for now, weights in (
        (NOW, [30, 5, 5, 40]),
        (NOW + tables.MODE_MS - 1, [5, 5, 40]),
        (NOW + tables.MODE_MS, [30, 5, 5, 40]),
    ):
        link.sign(link.audit()[0], now)
        assert [request.weight for request in link.state()] == weights
        state(link, [row()])


def test_a_round_asks_for_everything_and_states_its_weight() -> None:
    assert [request.weight for request in private().state()] == [30, 5, 5, 40]


def test_rounds_repeat_on_one_link() -> None:
    link = private()
    for at in (10, 20):
        found = events(state(link, [row()], at=at))
        assert {type(event) for event in found} >= {BalanceState, PositionsSnapshot, OpenOrders}
        assert {
            event.asked_at for event in found if isinstance(event, PositionsSnapshot | BalanceState | OpenOrders)
        } == {at}


def test_a_position_that_is_gone_is_not_in_the_snapshot() -> None:
    link = private()
    state(link, [row()])
    (snapshot,) = [event for event in state(link, [flat()]) if isinstance(event, PositionsSnapshot)]
    assert snapshot.positions == ()


def test_a_changed_mode_changes_the_pool() -> None:
    link = private()
    pools = []
    for now, multi in ((NOW, False), (NOW + tables.MODE_MS, True)):
        link.sign(link.audit()[0], now)
        found = state(link, [row()], multi=multi)
        pools += [event.positions[0].pool for event in found if isinstance(event, PositionsSnapshot)]
    assert pools == ["USDT", "USD"]


def test_margins_of_the_account_go_with_their_rows() -> None:
    link = private()
    link_state = link.state()
    answer(link, link_state[0], {"multiAssetsMargin": False})
    margins = {"symbol": "BTCUSDT", "positionAmt": "0.500", "positionInitialMargin": "3005", "maintMargin": "150.25"}
    answer(link, link_state[1], account(margins))
    (snapshot,) = [event for event in answer(link, link_state[2], [row()]) if isinstance(event, PositionsSnapshot)]
    assert (snapshot.positions[0].venue_maintenance_margin, snapshot.positions[0].venue_initial_margin) == (
        "150.25",
        "3005",
    )


def test_the_position_mode_is_learned_from_the_legs_that_exist() -> None:
    link = private()
    modes = [
        event.hedge
        for event in state(link, [flat(positionSide="LONG"), flat(positionSide="SHORT")])
        if isinstance(event, AccountMode)
    ]
    assert modes == [None, True]


@pytest.mark.parametrize(
    "body", [{}, {"code": 1}, [{"symbol": "BTCUSDT"}], [row(positionAmt="")], [row(positionAmt="NaN")], b"<html>"]
)
def test_a_broken_list_is_never_flat(body: Any) -> None:
    link = private()
    with pytest.raises(ProtocolViolation):
        answer(link, link.state()[2], body)


def test_open_orders_and_one_order() -> None:
    link = private()
    (orders,) = answer(link, link.state()[3], [order_row(), order_row(orderId=2)])
    assert isinstance(orders, OpenOrders)
    assert [each.order_id for each in orders.orders] == ["1917641", "2"]
    (question,) = link.find_order("BTCUSDT", "1917641")
    assert parameters(question) == {"symbol": "BTCUSDT", "orderId": "1917641"}
    (found,) = answer(link, question, order_row(status="FILLED"))
    assert isinstance(found, Order)
    assert not found.open


def test_a_symbol_of_an_unknown_margin_asset_is_kept_and_told() -> None:
    outputs = state(private(), [row("BTCEUR")])
    assert [each.what for each in outputs if isinstance(each, Malformed)] == [
        "aster: BTCEUR: its margin asset is not known"
    ]
    assert [len(e.positions) for e in outputs if isinstance(e, PositionsSnapshot)] == [1]


# --- History --------------------------------------------------------------------------------------------------------


def test_history_asks_for_causes_first() -> None:
    link = private()
    questions = link.history(NOW, ["BTCUSDT", "ETHUSDT"])
    assert asked([Ask(request=each) for each in questions]) == [
        "forced",
        "income",
        "margins",
        "margins",
        "trades",
        "trades",
    ]
    forced = order_row(clientOrderId="autoclose-1", orderId=13351197194, status="FILLED", executedQty="0.40")
    (evidence,) = answer(link, questions[0], [forced])
    assert isinstance(evidence, Evidence)
    (fill,) = [each for each in answer(link, questions[4], [trade()]) if isinstance(each, Fill)]
    assert (fill.cause, fill.category) == ("liquidation", "autoclose-")


def test_the_books_name_further_symbols_whose_fills_are_asked_for_once() -> None:
    link = private()
    _, books, *_ = link.history(NOW, ["BTCUSDT"])
    kinds = (
        ("BTCUSDT", "COMMISSION"),
        ("ETHUSDT", "COMMISSION"),
        ("ETHUSDT", "REALIZED_PNL"),
        ("SOLUSDT", "FUNDING_FEE"),
    )
    lines = [income(tranId=str(n), symbol=symbol, incomeType=kind) for n, (symbol, kind) in enumerate(kinds)]
    (fills,) = pages(answer(link, books, lines))
    assert (parameters(fills)["symbol"], parameters(fills)["startTime"]) == ("ETHUSDT", str(NOW))
    assert pages(answer(link, books, lines)) == []
    stream = private()  # one that asks the books alone, since money moved
    assert pages(answer(stream, stream._books.booked(NOW), lines)) == []


def test_fills_are_read_in_windows_of_a_week_up_to_now() -> None:
    link = private(LEGACY)
    *_, question = link.history(NOW - 15 * DAY, ["BTCUSDT"])
    seen = []
    while True:
        link.sign(question, NOW)
        seen.append(parameters(question))
        found = pages(answer(link, question, []))
        if not found:
            break
        (question,) = found
    starts = [int(each["startTime"]) for each in seen]
    assert starts == [NOW - 15 * DAY, NOW - 8 * DAY, NOW - 1 * DAY]
    assert all(int(each["endTime"]) - int(each["startTime"]) == tables.WINDOW_MS for each in seen)


def test_a_full_page_of_fills_goes_on_by_id_without_times() -> None:
    link = private()
    *_, question = link.history(NOW, ["BTCUSDT"])
    (further,) = pages(answer(link, question, [trade(id=number) for number in range(1, tables.TRADES_PAGE + 1)]))
    assert parameters(further) == {"symbol": "BTCUSDT", "fromId": str(tables.TRADES_PAGE + 1), "limit": "1000"}
    assert pages(answer(link, further, [trade(id=2000)])) == []


def test_a_full_page_of_the_books_goes_on_from_its_last_line() -> None:
    link = private()
    _, question = link.history(NOW, [])
    lines = [income(tranId=str(number), time=NOW + number) for number in range(tables.INCOME_PAGE)]
    (further,) = pages(answer(link, question, lines))
    assert parameters(further)["startTime"] == str(NOW + tables.INCOME_PAGE - 1)
    crowd = [income(tranId=str(n), time=NOW + tables.INCOME_PAGE - 1) for n in range(tables.INCOME_PAGE)]
    outputs = answer(link, further, crowd)
    assert ["within the millisecond" in each.what for each in outputs if isinstance(each, Malformed)] == [True]
    (behind,) = pages(outputs)
    assert parameters(behind)["startTime"] == str(NOW + tables.INCOME_PAGE)


def test_a_full_page_of_forced_orders_is_asked_in_halves_and_windows_follow() -> None:
    link = private(LEGACY)
    question = link.history(NOW - 8 * DAY, [])[0]
    link.sign(question, NOW)
    full = [order_row(clientOrderId="adl_autoclose", time=NOW - 7 * DAY + n) for n in range(tables.FORCED_PAGE)]
    (half,) = pages(answer(link, question, full))
    assert (parameters(half)["startTime"], parameters(half)["endTime"]) == (
        str(NOW - 8 * DAY),
        str(NOW - 8 * DAY + tables.WINDOW_MS // 2),
    )
    (rest,) = pages(answer(link, half, []))
    assert parameters(rest)["startTime"] == str(NOW - 8 * DAY + tables.WINDOW_MS // 2 + 1)
    assert pages(answer(link, rest, [])) == []
    (window,) = pages(answer(link, question, []))
    assert parameters(window)["startTime"] == str(NOW - DAY + 1)
    assert pages(answer(link, window, [])) == []
    moment = link._books.ask("forced", startTime=NOW, endTime=NOW, limit=tables.FORCED_PAGE)
    assert [type(each) for each in answer(link, moment, full) if not isinstance(each, Evidence)] == [Malformed]


# --- Books of a window ------------------------------------------------------------------------------------------------


def test_every_question_of_a_window_ends_before_its_end() -> None:
    link = private()
    questions = link.records(NOW - DAY, NOW, ["BTCUSDT"])
    assert asked([Ask(request=each) for each in questions]) == ["forced", "income", "trades"]
    assert {(parameters(each)["startTime"], parameters(each)["endTime"]) for each in questions} == {
        (str(NOW - DAY), str(NOW - 1))
    }
    for question in questions:
        link.sign(question, NOW + DAY)
        assert pages(answer(link, question, [])) == []


def test_the_books_of_a_window_bring_what_trades_realised_and_cost_and_name_every_symbol() -> None:
    link = private()
    _, question = link.records(NOW - DAY, NOW, [])
    lines = [
        income("REALIZED_PNL", "1.50", tranId="7", tradeId="99", symbol="BTCUSDT", time=NOW - 5),
        income("COMMISSION", "-0.02", tranId="7", tradeId="99", symbol="BTCUSDT", time=NOW - 5),
        income("FUNDING_FEE", "-0.01", tranId="8", symbol="SOLUSDT", time=NOW - 4),
        income("TRANSFER", "5", tranId="9", symbol="", time=NOW - 3),
    ]
    outputs = answer(link, question, lines)
    pnl, fee = [each for each in outputs if isinstance(each, ClosedPnl)]
    assert (pnl.realized_pnl, pnl.fees, pnl.trade_id, pnl.source) == ("1.50", None, "99", "income")
    assert (fee.realized_pnl, fee.fees, fee.what) == (None, "-0.02", "COMMISSION")
    assert pnl.id != fee.id
    assert [parameters(each)["symbol"] for each in pages(outputs)] == ["BTCUSDT", "SOLUSDT"]
    assert [each.id for each in outputs if isinstance(each, FundingPayment | Transfer)] == [
        "main:FUNDING_FEE:8",
        "main:TRANSFER:9",
    ]


def test_fills_by_id_stop_at_the_end_of_the_window() -> None:
    link = private()
    *_, question = link.records(NOW - DAY, NOW, ["BTCUSDT"])
    full = [trade(id=number, time=NOW - 10) for number in range(1, tables.TRADES_PAGE + 1)]
    (further,) = pages(answer(link, question, full))
    later = [trade(id=2_000 + n, time=NOW - 1 + n // 2) for n in range(tables.TRADES_PAGE)]
    outputs = answer(link, further, later)
    assert [each.trade_id for each in outputs if isinstance(each, Fill)] == ["2000", "2001"]
    assert pages(outputs) == []


def test_full_pages_of_the_books_end_with_the_window() -> None:
    link = private()
    _, question = link.records(NOW - DAY, NOW, [])
    lines = [income(tranId=str(n), symbol="", time=NOW - 1) for n in range(tables.INCOME_PAGE)]
    (further,) = pages(answer(link, question, lines))
    assert (parameters(further)["startTime"], parameters(further)["endTime"]) == (str(NOW - 1), str(NOW - 1))
    outputs = answer(link, further, lines)
    assert pages(outputs) == []
    assert sum(isinstance(each, Malformed) for each in outputs) == 1


def changed_margin() -> dict[str, Any]:
    return {"symbol": "BTCUSDT", "amount": "1", "asset": "USDT", "time": NOW, "type": 2, "positionSide": "BOTH"}


@pytest.mark.parametrize("index", [0, 1, 2, 3])
def test_a_bad_line_of_history_costs_no_other(index: int) -> None:
    link = private()
    good: Any = (order_row(clientOrderId="adl_autoclose"), income(), changed_margin(), trade())[index]
    outputs = answer(link, link.history(NOW, ["BTCUSDT"])[index], [{"symbol": "?"}, good])
    assert sum(isinstance(each, Malformed) for each in outputs) == 1
    assert events(outputs)


def test_signing_leaves_the_question_that_is_recorded_unsigned() -> None:
    link = private()
    question = link.state()[1]
    signed = link.sign(question, NOW)
    assert "signature" in signed.path
    assert "signature" not in question.path
    assert json.loads(msgspec.json.encode(question))["signed"] is True


@needs_recordings
def test_recorded_changes_of_margin_are_evidence() -> None:
    link = private()
    (question,) = [each for each in link.history(NOW, ["BTCUSDT"]) if "positionMargin" in each.path]
    (recording,) = recordings("aster", "rest-positionMargin-history")
    (added, leg) = answer(link, question, recording.messages()[0])
    assert isinstance(added, Evidence)
    assert (added.cause, added.symbol, added.at) == ("margin", "BTCUSDT", 1578047897183)
    assert "23.36332311 USDT" in added.what
    assert isinstance(leg, Evidence)
    assert leg.position is not None
    assert leg.position.endswith(":LONG")
