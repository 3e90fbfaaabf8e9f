"""The state asked again and again on a link without a stream, modes that change, and what hints at a change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exchanges.bybit import build, tables
from exchanges.errors import ProtocolViolation
from exchanges.events import (
    AccountMode,
    BalanceState,
    Evidence,
    FreeBalance,
    OpenOrders,
    Order,
    PositionsSnapshot,
    PositionState,
)
from exchanges.venue import Ask, HttpRequest, Malformed, Output
from tests.exchanges.bybit.samples import (
    ACCOUNT,
    INFO,
    WALLET,
    answer,
    balance,
    coin,
    info,
    listed,
    order,
    position,
    private,
    push,
    start,
    wallet,
)
from tests.recordings import needs_recordings, recordings

USDT, USDC, INVERSE, OPTION = (build.position_list(scope) for scope in tables.SCOPES)


def _round(link: Any, bodies: dict[str, bytes], asked_at: int = 1000) -> list[Output]:
    """Ask the whole state as a round of verification does: in order, further pages before the next question."""
    output: list[Output] = []
    for request in link.state():
        waiting = [request]
        while waiting:
            question = waiting.pop(0)
            path = question.path.partition("?")[0]
            body = bodies.get(question.path) or bodies.get(path) or answer({"list": [], "nextPageCursor": ""})
            for one in link.answer(question, body, asked_at, asked_at + 5):
                (waiting if isinstance(one, Ask) else output).append(one.request if isinstance(one, Ask) else one)
    return output


def _bodies(mode: str = "REGULAR_MARGIN", **lists: bytes) -> dict[str, bytes]:
    return {INFO.path: info(mode), WALLET.path: balance(wallet()), **lists}


def test_a_round_asks_for_everything_the_mode_first() -> None:
    assert private().state() == [
        INFO,
        USDT,
        USDC,
        INVERSE,
        OPTION,
        WALLET,
        *(build.open_orders(scope) for scope in tables.SCOPES),
    ]


def test_a_round_says_everything_every_time() -> None:
    link = private()
    for asked_at in (1000, 2000, 3000):
        output = _round(link, _bodies(**{USDT.path: listed(position(), cursor="c")}), asked_at)
        assert [type(one) for one in output] == [
            AccountMode,
            *[PositionsSnapshot] * 4,
            BalanceState,
            *[OpenOrders] * 4,
        ]
        snapshots = [one for one in output if isinstance(one, PositionsSnapshot)]
        assert [(one.scope, len(one.positions), one.asked_at, one.routine) for one in snapshots] == [
            ("linear:USDT", 1, asked_at, False),
            ("linear:USDC", 0, asked_at, False),
            ("inverse", 0, asked_at, False),
            ("option", 0, asked_at, False),
        ]
        lists = [one for one in output if isinstance(one, OpenOrders)]
        assert [(one.scope, one.asked_at) for one in lists] == [(scope, asked_at) for scope in tables.SCOPES]


def test_a_change_of_mode_is_found_by_the_next_round_and_everything_in_it_is_of_the_new_mode() -> None:
    link = private()
    bodies = {USDT.path: listed(position())}
    _round(link, _bodies(**bodies))
    output = _round(link, _bodies("ISOLATED_MARGIN", **bodies), 2000)
    mode, snapshot = output[0], output[1]
    assert mode == AccountMode(account="main", mode="ISOLATED_MARGIN")
    assert isinstance(snapshot, PositionsSnapshot)
    assert (snapshot.positions[0].margin_mode, snapshot.positions[0].pool) == ("isolated", "iso:main:linear:BTCUSDT:0")
    assert sum(isinstance(one, PositionsSnapshot) for one in output) == len(tables.SCOPES), "asked once, not twice"


def test_a_round_that_broke_off_leaves_nothing_behind() -> None:
    link = private()
    link.state()
    link.answer(INFO, info(), 1000, 1001)
    (ask,) = link.answer(USDT, listed(position("AUSDT"), cursor="c"), 1000, 1001)
    assert isinstance(ask, Ask)
    _, snapshot, *_ = _round(link, _bodies(**{USDT.path: listed(position("BUSDT"))}), 2000)
    assert isinstance(snapshot, PositionsSnapshot)
    assert [state.symbol for state in snapshot.positions] == ["BUSDT"]


def test_portfolio_margin_lacks_figures_and_is_not_computed() -> None:
    link = private()
    bare = position(leverage="", positionIM="", positionMM="", positionIMByMp="", liqPrice="", riskLimitValue="0")
    for name in ("positionMM", "positionIM"):
        bare.pop(name)
    mode, snapshot, *_ = _round(link, _bodies("PORTFOLIO_MARGIN", **{USDT.path: listed(bare)}))
    assert mode == AccountMode(account="main", mode="PORTFOLIO_MARGIN", computable=False)
    assert isinstance(snapshot, PositionsSnapshot)
    (state,) = snapshot.positions
    assert (state.venue_initial_margin, state.venue_maintenance_margin, state.leverage) == (None, None, None)
    assert (state.margin_mode, state.liquidation_known) == ("cross", "unknown")
    assert state.venue_unrealized_pnl == position()["unrealisedPnl"]


def test_options_keep_the_venues_figures() -> None:
    link = private()
    symbol = "BTC-27MAR26-70000-P-USDT"
    rows = listed(
        position(
            symbol,
            category="option",
            entryPrice="1200",
            markPrice="1100",
            unrealisedPnl="-50",
            leverage="",
            delta="0.1",
        )
    )
    output = _round(link, _bodies(**{OPTION.path: rows}))
    (state,) = [one for snap in output if isinstance(snap, PositionsSnapshot) for one in snap.positions]
    assert (state.kind, state.scope, state.settle, state.id) == ("option", "option", "USDT", f"main:option:{symbol}:0")
    assert (state.mark_price, state.venue_unrealized_pnl) == ("1100", "-50")


def test_the_documented_inverse_position() -> None:
    """Bybit's own sample of /v5/position/list: 300 USD short of BTCUSD."""
    row = {
        "positionIdx": 0, "riskId": 1, "riskLimitValue": "150", "symbol": "BTCUSD", "side": "Sell", "size": "300",
        "avgPrice": "27464.50441675", "positionValue": "0.01092319", "tradeMode": 0, "positionStatus": "Normal",
        "adlRankIndicator": 2, "leverage": "10", "positionBalance": "0.00139186", "markPrice": "28224.50", "liqPrice": "",
        "bustPrice": "999999.00", "positionMM": "0.0000015", "positionIM": "0.00010923", "unrealisedPnl": "-0.00029413",
        "seq": 5723621632, "sessionAvgPrice": "", "createdTime": "1676538056258", "updatedTime": "1697673600012",
    }  # fmt: skip
    body = answer({"list": [row], "nextPageCursor": "", "category": "inverse"})
    output = _round(private(), _bodies(**{INVERSE.path: body}))
    (state,) = [one for snap in output if isinstance(snap, PositionsSnapshot) for one in snap.positions]
    assert (state.scope, state.settle, state.contract_type, state.side) == ("inverse", "BTC", "inverse", "short")
    assert (state.size, state.entry_price, state.venue_unrealized_pnl) == ("300", "27464.50441675", "-0.00029413")
    assert (state.pool, state.margin_mode, state.liquidation_known) == ("USD", "cross", "none")


@pytest.mark.parametrize(("trade_mode", "pool"), [(0, "inverse:BTC"), (1, "iso:main:inverse:BTCUSD:0")])
def test_inverse_contracts_of_older_accounts_are_margined_apart(trade_mode: int, pool: str) -> None:
    link = private()
    older = answer({"marginMode": "REGULAR_MARGIN", "unifiedMarginStatus": 4})
    rows = listed(position("BTCUSD", category="inverse", tradeMode=trade_mode))
    output = _round(link, {**_bodies(**{INVERSE.path: rows}), INFO.path: older})
    (state,) = [one for snap in output if isinstance(snap, PositionsSnapshot) for one in snap.positions]
    assert state.pool == pool
    assert state.margin_mode == ("isolated" if trade_mode else "cross")


@pytest.mark.parametrize(("status", "cause"), [("Liq", "liquidation"), ("Adl", "adl")])
def test_a_position_that_is_being_taken_says_so(status: str, cause: str) -> None:
    link = private()
    start(link)
    state, evidence = link.receive(push("position", [position(positionStatus=status)]), 0)
    assert isinstance(state, PositionState)
    assert isinstance(evidence, Evidence)
    assert (evidence.cause, evidence.position, evidence.symbol) == (cause, state.id, "BTCUSDT")
    assert status in evidence.what


def test_a_list_knows_the_settle_coin_better_than_a_name_does() -> None:
    link = private()
    odd = "SOMETHINGNEW"
    lists = {
        USDT.path: listed(position(odd), position()),
        build.open_orders("linear:USDT").path: answer({"list": [order(odd)], "nextPageCursor": ""}),
    }
    output = _round(link, _bodies(**lists))
    snapshots = {one.scope: one.positions for one in output if isinstance(one, PositionsSnapshot)}
    assert [(one.symbol, one.settle, one.scope) for one in snapshots["linear:USDT"]] == [
        (odd, "USDT", "linear:USDT"),
        ("BTCUSDT", "USDT", "linear:USDT"),
    ]
    assert snapshots["linear:USDC"] == ()
    assert [len(one.orders) for one in output if isinstance(one, OpenOrders)] == [1, 0, 0, 0]
    pushed, listed_order = (link.receive(push(topic, [row]), 0)[0] for topic, row in _news(odd))
    assert isinstance(pushed, PositionState)
    assert isinstance(listed_order, Order)
    assert (pushed.scope, listed_order.scope) == ("linear:USDT", "linear:USDT")


def _news(symbol: str) -> list[tuple[str, dict[str, Any]]]:
    return [("position", position(symbol, seq=500)), ("order", order(symbol))]


# --- Hints at another mode ------------------------------------------------------------------------------------------

ISOLATED_WALLET = {
    "totalWalletBalance": "",
    "totalMarginBalance": "0",
    "totalInitialMargin": "",
    "totalMaintenanceMargin": "",
}


@pytest.mark.parametrize(
    ("mode", "row", "asks"),
    [
        ("REGULAR_MARGIN", wallet(**ISOLATED_WALLET), True),
        ("REGULAR_MARGIN", wallet(), False),
        ("REGULAR_MARGIN", wallet(coin(usdValue="0"), **ISOLATED_WALLET), False),
        ("ISOLATED_MARGIN", wallet(), True),
        ("ISOLATED_MARGIN", wallet(**ISOLATED_WALLET), False),
        ("PORTFOLIO_MARGIN", wallet(), True),
    ],
)
def test_a_wallet_that_contradicts_the_mode_is_reason_to_ask_at_once(
    mode: str, row: dict[str, Any], asks: bool
) -> None:
    link = private()
    start(link, mode)
    link.answer(INFO, info(mode), 1000, 1001)
    at = 1000 + tables.MODE_DOUBT_MS
    link.receive(push("position", []), at)  # whatever the bootstrap's own wallet hinted at has been asked about
    later = link.receive(push("wallet", [row]), at + tables.MODE_DOUBT_MS)
    assert [one.request for one in later if isinstance(one, Ask)] == ([INFO] if asks else [])
    again = link.receive(push("wallet", [row]), at + tables.MODE_DOUBT_MS + 1)
    assert not [one for one in again if isinstance(one, Ask)], "not at every push"


# --- Collateral -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switches", "collateral"),
    [
        ({"collateralSwitch": True, "marginCollateral": True}, True),
        ({"collateralSwitch": False, "marginCollateral": True}, False),
        ({"collateralSwitch": True, "marginCollateral": False}, False),
        ({"marginCollateral": True}, None),
        ({}, None),
    ],
)
def test_a_coin_backs_positions_where_bybit_and_the_user_say_so(
    switches: dict[str, bool], collateral: bool | None
) -> None:
    (state,) = private().receive(push("wallet", [wallet(coin(**switches))]), 0)
    assert isinstance(state, BalanceState)
    assert (state.coins[0].collateral, state.coins[0].discount) == (collateral, None)


@needs_recordings
def test_captured_wallets_price_their_coins() -> None:
    (recording,) = recordings("bybit", "ws-wallet", "captured")
    (state,) = private().receive(json.dumps(recording.messages()[0]), 0)
    assert isinstance(state, BalanceState)
    (usdt,) = state.coins
    assert (usdt.ccy, usdt.collateral) == ("USDT", True)
    assert float(usdt.usd_price or 0) == pytest.approx(75.53450032 / 75.5601152)


# --- Bad answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [INFO, USDT, INVERSE, OPTION, WALLET, build.open_orders("inverse")])
@pytest.mark.parametrize("body", [b"{}", b"[]", b"", b'{"retCode":0,"result":{"list":null}}', b'{"retCode":0}'])
def test_no_question_of_a_round_reads_rubbish_as_nothing_there(request_: HttpRequest, body: bytes) -> None:
    link = private()
    link.state()
    with pytest.raises(Exception, match="bybit"):
        link.answer(request_, body, 0, 1)


def test_an_unknown_order_ends_no_stream() -> None:
    link = private()
    start(link)
    (malformed,) = link.receive(push("order", [order(orderStatus="?")]), 0)
    assert isinstance(malformed, Malformed)


# --- What is free -----------------------------------------------------------------------------------------------------


def test_what_could_leave_the_wallet_is_asked_by_coin() -> None:
    link = private()
    (request,) = link.free("USDT")
    assert request == build.transferable("USDT")
    told = answer({"availableWithdrawal": "4.54549050", "availableWithdrawalMap": {"USDT": "4.54549050"}})
    free = FreeBalance(account=ACCOUNT.name, ccy="USDT", amount="4.54549050")
    assert [link.answer(request, told, at, at + 1) for at in (1000, 2000)] == [[free], [free]]


@pytest.mark.parametrize("told", [{}, {"availableWithdrawalMap": {"USDT": ""}}, {"availableWithdrawalMap": None}])
def test_what_could_leave_is_never_read_from_an_answer_without_it(told: dict[str, Any]) -> None:
    link = private()
    (request,) = link.free("USDT")
    with pytest.raises(ProtocolViolation):
        link.answer(request, answer(told), 1000, 1001)
