"""The private link: subscribe first, hold back, complete by REST, and lose nothing on the way."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exchanges.bybit import build, tables
from exchanges.bybit.private import PrivateLink
from exchanges.errors import ProtocolViolation
from exchanges.events import AccountMode, BalanceState, PositionsSnapshot, PositionState
from exchanges.venue import Ask, HttpRequest, Malformed, Output, Refresh, Subscribed
from tests.exchanges.bybit.samples import (
    INFO,
    WALLET,
    balance,
    closed,
    coin,
    execution,
    info,
    listed,
    order,
    position,
    private,
    push,
    start,
    subscribe_all,
    wallet,
)
from tests.recordings import needs_recordings, recordings

USDT = build.position_list("linear:USDT")
USDC = build.position_list("linear:USDC")
INVERSE = build.position_list("inverse")
OPTION = build.position_list("option")


def _states(output: list[Output]) -> list[PositionState]:
    return [one for one in output if isinstance(one, PositionState)]


# --- Contract with the feed -----------------------------------------------------------------------------------------


def test_what_the_feed_is_told() -> None:
    link = private()
    assert link.url == "wss://stream.bybit.com/v5/private"
    assert (link.needs_login, link.ping_every_s, link.connection) == (True, 20.0, "private")
    assert link.topics() == ("position", "wallet", "execution", "order")
    assert (link.price_topics(["BTCUSDT"], ["USDT"]), link.watch(), link.prepare()) == ((), {}, [])
    assert link.closed(1006, "") is None
    login = json.loads(link.login(1_700_000_000_000))
    assert login["args"][1] == 1_700_000_010_000
    assert json.loads(link.ping())["op"] == "ping"
    (frame,) = link.unsubscribe(["wallet"])
    assert json.loads(frame)["args"] == ["wallet"]
    assert dict(link.sign(INFO, 5).headers)["X-BAPI-TIMESTAMP"] == "5"


def test_the_bootstrap_asks_the_mode_first() -> None:
    assert private().bootstrap() == [INFO, USDT, USDC, INVERSE, OPTION, WALLET]


def test_ready_means_that_everything_was_answered() -> None:
    link = private()
    subscribe_all(link)
    answers = [info(), listed(), listed(), listed(), listed(), balance(wallet())]
    for request, body in zip(link.bootstrap(), answers, strict=True):
        assert not link.ready
        link.answer(request, body, 1000, 1010)
    assert link.ready


def test_a_confirmation_reaches_the_feed() -> None:
    link = private()
    (frame,) = link.subscribe(link.topics())
    ack = json.dumps({"success": True, "op": "subscribe", "req_id": json.loads(frame)["req_id"]})
    assert link.receive(ack, 0) == [Subscribed(topics=link.topics())]


def test_other_private_topics_are_not_errors_and_unknown_ones_are() -> None:
    link = private()
    assert link.receive(push("execution.fast", [{"a": 1}]), 0) == []
    assert link.receive(push("greeks", []), 0) == []
    (malformed,) = link.receive(push("weather", []), 0)
    assert isinstance(malformed, Malformed)


# --- Pushes and REST ------------------------------------------------------------------------------------------------


def test_pushes_wait_for_the_answer_and_then_pass_when_newer() -> None:
    link = private()
    subscribe_all(link)
    link.answer(INFO, info(), 1000, 1010)
    older = position("BTCUSDT", seq=99, size="1")
    newer = position("ETHUSDT", seq=201, size="2")
    unseen = position("SOLUSDT", seq=5, size="3")
    assert link.receive(push("position", [older, newer, unseen]), 1000) == []
    rows = [position("BTCUSDT", seq=100), position("ETHUSDT", seq=200)]
    snapshot, *passed = link.answer(USDT, listed(*rows), 1000, 1010)
    assert isinstance(snapshot, PositionsSnapshot)
    assert (snapshot.scope, snapshot.asked_at) == ("linear:USDT", 1000)
    assert [state.symbol for state in snapshot.positions] == ["BTCUSDT", "ETHUSDT"]
    assert [(state.symbol, state.size) for state in _states(passed)] == [("ETHUSDT", "2"), ("SOLUSDT", "3")]
    (live,) = link.receive(push("position", [position(seq=300)]), 1020)
    assert isinstance(live, PositionState)


def test_each_settle_coin_waits_for_its_own_list() -> None:
    link = private()
    subscribe_all(link)
    link.answer(INFO, info(), 1000, 1010)
    link.answer(USDT, listed(), 1000, 1010)
    assert link.receive(push("position", [position("BTCPERP")]), 1020) == []
    assert len(_states(link.receive(push("position", [position("BTCUSDT")]), 1020))) == 1
    assert [state.symbol for state in _states(link.answer(USDC, listed(), 1000, 1030))] == ["BTCPERP"]


def test_a_close_that_was_held_back_is_not_lost() -> None:
    link = private()
    subscribe_all(link)
    link.receive(push("position", [position(seq=101, positionIdx=1), position(seq=102, positionIdx=2)]), 1000)
    link.receive(push("position", [closed(seq=103, positionIdx=1)]), 1000)
    link.answer(INFO, info(), 1000, 1010)
    stale = listed(position(seq=101, positionIdx=1), position(seq=102, positionIdx=2))
    (gone,) = _states(link.answer(USDT, stale, 1000, 1010))
    assert (gone.id, gone.size, gone.side) == ("main:linear:BTCUSDT:1", "0", None)


@pytest.mark.parametrize(("symbol", "request_"), [("BTCUSD", INVERSE), ("BTC-27MAR26-70000-P-USDT", OPTION)])
def test_every_category_waits_for_its_list(symbol: str, request_: HttpRequest) -> None:
    link = private()
    subscribe_all(link)
    scope = "inverse" if request_ == INVERSE else "option"
    frame = push(f"position.{scope}", [position(symbol, category="", size="100")])
    link.answer(INFO, info("ISOLATED_MARGIN"), 1000, 1010)
    assert link.receive(frame, 1000) == []
    snapshot, state = link.answer(request_, listed(), 1000, 1010)
    assert isinstance(snapshot, PositionsSnapshot)
    assert isinstance(state, PositionState)
    assert (snapshot.scope, state.scope, state.margin_mode) == (scope, scope, "isolated")
    assert len(_states(link.receive(frame, 1000))) == 1


def test_a_close_of_a_linear_contract_with_another_settle_coin_waits_for_the_mode_only() -> None:
    link = private()
    subscribe_all(link)
    link.answer(INFO, info(), 1000, 1010)
    odd = push("position", [position("BTCUSD", category="linear")])  # listed nowhere: taken for USDC's
    assert link.receive(odd, 1000) == []
    link.answer(USDC, listed(), 1000, 1010)
    assert len(_states(link.receive(odd, 1000))) == 1


def test_held_back_pushes_take_the_mode_that_is_told_later() -> None:
    link = private()
    subscribe_all(link)
    link.receive(push("position", [position(seq=500)]), 1000)
    link.answer(INFO, info("ISOLATED_MARGIN"), 1000, 1010)
    (state,) = _states(link.answer(USDT, listed(), 1000, 1010))
    assert (state.margin_mode, state.pool) == ("isolated", "iso:main:linear:BTCUSDT:0")


def test_what_is_held_back_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_BUFFERED", 2)
    link = private()
    subscribe_all(link)
    assert link.receive(push("position", [position("A1USDT"), position("A2USDT"), position("A1USDT")]), 0) == []
    (refresh,) = link.receive(push("position", [position("A3USDT")]), 0)
    assert isinstance(refresh, Refresh)
    assert link.receive(push("wallet", [wallet(coin("A"))]), 0) == []
    assert link.receive(push("wallet", [wallet(coin("B"))]), 0) == []
    assert link.receive(push("wallet", [wallet(coin("B"))]), 0) == []
    (refresh,) = link.receive(push("wallet", [wallet(coin("C"))]), 0)
    assert isinstance(refresh, Refresh)


def test_pages_make_one_snapshot_of_the_first_moment() -> None:
    link = private()
    start(link)
    (ask,) = link.answer(USDT, listed(position("BTCUSDT"), cursor="BTC%2C1"), 2000, 2010)
    assert ask == Ask(request=build.page(USDT, "BTC%2C1"))
    (snapshot,) = link.answer(ask.request, listed(position("ETHUSDT")), 2020, 2030)
    assert isinstance(snapshot, PositionsSnapshot)
    assert [state.symbol for state in snapshot.positions] == ["BTCUSDT", "ETHUSDT"]
    assert snapshot.asked_at == 2000


def test_a_leg_on_two_pages_counts_once_and_empty_rows_are_no_positions() -> None:
    link = private()
    start(link)
    (ask,) = link.answer(USDT, listed(position(seq=1), closed("XUSDT"), cursor="c"), 2000, 2010)
    assert isinstance(ask, Ask)
    (snapshot,) = link.answer(ask.request, listed(position(seq=2, size="9")), 2020, 2030)
    assert isinstance(snapshot, PositionsSnapshot)
    assert [state.size for state in snapshot.positions] == ["9"]


def test_a_question_about_one_symbol_replaces_nothing() -> None:
    link = private()
    start(link)
    request = HttpRequest(path="/v5/position/list?category=linear&symbol=BTCUSDT", signed=True)
    rows = listed(closed(positionIdx=1), position(positionIdx=2, side="Sell"))
    assert [(state.size, state.side) for state in _states(link.answer(request, rows, 2000, 2010))] == [
        ("0", None),
        ("0.5", "short"),
    ]


def test_the_order_of_an_answer_is_the_moment_it_was_asked_on_bybits_clock() -> None:
    link = private()
    start(link)
    (snapshot,) = link.answer(USDT, listed(position(), time=1_700_000_000_500), 2000, 2120)
    assert isinstance(snapshot, PositionsSnapshot)
    assert snapshot.positions[0].fence == (100, 1_700_000_000_000, 1_700_000_000_380)
    assert snapshot.positions[0].venue_at == 1_700_000_000_500


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (USDT, b'{"retCode":0,"result":{}}'),
        (USDT, b'{"retCode":0,"result":{"list":null}}'),
        (USDT, b'{"retCode":0}'),
        (USDT, b"[]"),
        (USDT, b""),
        (USDT, listed({"symbol": "BTCUSDT"})),
        (USDT, listed(position(side="?"))),
        (INVERSE, listed(position("BTCUSDT"))),
        (INFO, b'{"retCode":0,"result":{}}'),
        (WALLET, balance()),
        (WALLET, balance(wallet(), wallet())),
        (HttpRequest(path="/v5/order/realtime"), info()),
        (build.page(USDT, "cursor-of-nothing"), listed()),
    ],
)
def test_an_answer_that_is_not_understood_is_never_read_as_flat(request_: HttpRequest, body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        private().answer(request_, body, 1000, 1010)


# --- Margin mode ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "computable"), [("REGULAR_MARGIN", True), ("ISOLATED_MARGIN", True), ("PORTFOLIO_MARGIN", False)]
)
def test_the_mode_is_told_once(mode: str, computable: bool) -> None:
    link = private()
    subscribe_all(link)
    assert link.answer(INFO, info(mode), 1000, 1010) == [AccountMode(account="main", mode=mode, computable=computable)]
    assert link.answer(INFO, info(mode), 1000, 1010) == []


def test_an_unknown_mode_does_not_pass_silently() -> None:
    mode, note = private().answer(INFO, info("GALACTIC_MARGIN"), 1000, 1010)
    assert mode == AccountMode(account="main", mode="GALACTIC_MARGIN", computable=False)
    assert isinstance(note, Malformed)


def test_a_change_of_mode_has_no_event_so_it_is_asked_for_and_everything_read_again() -> None:
    link = private()
    start(link)
    assert link.receive("{}", 1000 + tables.MODE_POLL_MS - 1)[1:] == []
    *_, ask = link.receive("{}", 1000 + tables.MODE_POLL_MS)
    assert ask == Ask(request=INFO)
    assert link.receive("{}", 1001 + tables.MODE_POLL_MS)[1:] == []
    mode, *asks = link.answer(INFO, info("ISOLATED_MARGIN"), 62_000, 62_010)
    assert isinstance(mode, AccountMode)
    assert asks == [Ask(request=question) for question in (USDT, USDC, INVERSE, OPTION, WALLET)]


# --- Wallet ---------------------------------------------------------------------------------------------------------


def test_wallet_pushes_wait_and_pass_when_newer() -> None:
    link = private()
    subscribe_all(link)
    old, usdt, btc = 1_700_000_000_400, 1_700_000_000_600, 1_700_000_000_700
    assert link.receive(push("wallet", [wallet(coin("ETH"))], old), 900) == []
    assert link.receive(push("wallet", [wallet(coin(walletBalance="7"))], old), 900) == []
    assert link.receive(push("wallet", [wallet(coin(walletBalance="8"))], usdt), 1000) == []
    assert link.receive(push("wallet", [wallet(coin("BTC"))], btc), 1000) == []
    full, *passed = link.answer(WALLET, balance(wallet()), 1000, 1010)
    assert isinstance(full, BalanceState)
    assert (full.full, full.asked_at, full.fence) == (True, 1000, (1_700_000_000_490,))
    assert [(one.full, one.coins[0].ccy, one.coins[0].total) for one in passed if isinstance(one, BalanceState)] == [
        (False, "USDT", "8"),
        (False, "BTC", "1000"),
    ]
    assert len(link.receive(push("wallet", [wallet()], btc + 1), 1020)) == 1


# --- Bad input ------------------------------------------------------------------------------------------------------


def test_a_bad_row_leaves_its_neighbours() -> None:
    link = private()
    start(link)
    rows = [position("A1USDT"), {"symbol": "B"}, position("C1USDT", positionStatus="Odd")]
    kinds = [type(one) for one in link.receive(push("position", rows), 0)]
    assert kinds == [PositionState, Malformed, PositionState, Malformed]
    assert [type(one) for one in link.receive(push("wallet", [{"coin": 7}, wallet()]), 0)] == [Malformed, BalanceState]


def test_known_price_ranges_unmask_sentinels() -> None:
    link = private()
    start(link)
    contract = {
        "symbol": "BTCUSDT",
        "contractType": "LinearPerpetual",
        "baseCoin": "BTC",
        "quoteCoin": "USDT",
        "settleCoin": "USDT",
        "priceFilter": {"minPrice": "0.1", "maxPrice": "999999"},
    }
    body = json.dumps({"retCode": 0, "result": {"list": [contract]}}).encode()
    assert link.answer(build.instruments_info("linear"), body, 0, 0) == []
    (state,) = _states(link.receive(push("position", [position(liqPrice="999999.00")]), 0))
    assert state.liquidation_known == "none"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn) -> str | bytes:
    """Return a frame of this venue with a field changed, dropped, or its bytes damaged."""
    message: dict[str, Any] = json.loads(
        draw(
            st.sampled_from(
                [
                    push("position", [position(), closed(positionIdx=2)]),
                    push("wallet", [wallet()]),
                    push("execution", [execution(), execution(execType="Funding")]),
                    push("order", [order(), order(orderStatus="Filled")]),
                    '{"success":true,"ret_msg":"","op":"subscribe","req_id":"subscribe-1"}',
                    '{"op":"auth","success":false,"retCode":10003,"retMsg":"no"}',
                    '{"args":["1"],"op":"pong"}',
                ]
            )
        )
    )
    rows = message.get("data")
    target = draw(st.sampled_from([message, *rows])) if rows else message
    field = draw(st.sampled_from(sorted(target)))
    if draw(st.booleans()):
        target[field] = draw(JSON)
    else:
        del target[field]
    text = json.dumps(message)
    cut = draw(st.integers(0, len(text)))
    return draw(st.sampled_from([text, text[:cut], text.encode()[:cut] + draw(st.binary(max_size=4))]))


@given(st.lists(mutated(), max_size=5), st.booleans())
@settings(max_examples=300, deadline=None)
def test_no_frame_raises(frames: list[str | bytes], live: bool) -> None:
    link = private()
    if live:
        start(link)
    for frame in frames:
        for output in link.receive(frame, 0):
            assert output is not None


@given(
    st.sampled_from(
        [
            INFO,
            USDT,
            USDC,
            OPTION,
            WALLET,
            build.key_info(),
            build.open_orders("inverse"),
            build.find_order(tables.OPEN_ORDERS, "linear", "BTCUSDT", "1"),
            build.transferable("USDT"),
            build.executions("linear", 0),
            build.transactions(0),
            build.instruments_info("linear"),
            HttpRequest(path="/v5/position/list?limit=x"),
        ]
    ),
    st.dictionaries(
        st.sampled_from(sorted({**position(), **execution(), **order()})),
        JSON | st.sampled_from(["0", "", "-1", "1e99", "Sell"]),
        max_size=4,
    ),
    st.sampled_from(["position", "coin", "wallet", "execution", "order"]),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_an_answer_is_understood_or_a_violation(
    request_: HttpRequest, fields: dict[str, Any], kind: str, live: bool
) -> None:
    row = {
        "position": position(**fields),
        "coin": wallet(coin(**fields)),
        "wallet": wallet(**fields),
        "execution": execution(**fields),
        "order": order(**fields),
    }[kind]
    link = private()
    if live:
        start(link)
    with contextlib.suppress(ProtocolViolation):
        assert isinstance(link.answer(request_, balance(row), 0, 0), list)


# --- Recordings -----------------------------------------------------------------------------------------------------

_EVENTS = {
    "ws-position": [1, 1, 1, 0, 1, 2, 2],  # the file with 0 holds a bare row, not a frame
    "ws-wallet": [1, 1, 1],
    "ws-private-mixed": [3],
    "ws-private-sequence": [2],
}


@needs_recordings
@pytest.mark.parametrize("kind", _EVENTS)
def test_recorded_pushes_pass_without_a_session(kind: str) -> None:
    counts = []
    for recording in recordings("bybit", kind):
        link = private()
        output = [one for frame in _frames(recording.messages()) for one in link.receive(frame, 0)]
        counts.append(sum(isinstance(one, PositionState | BalanceState) for one in output))
    assert counts == _EVENTS[kind]


@needs_recordings
def test_no_recording_raises() -> None:
    seen = 0
    for recording in recordings("bybit"):
        link = private()
        for frame in _frames(recording.messages()):
            link.receive(frame, 0)
            seen += 1
    assert seen >= 60


def _frames(messages: list[Any]) -> list[str]:
    flat = [one for message in messages for one in (message if isinstance(message, list) else [message])]
    return [json.dumps(one) for one in flat]


@needs_recordings
def test_recorded_answers_pass_without_a_session() -> None:
    counts = {}
    paths = {"rest-position-list": USDT, "rest-wallet-balance": WALLET, "rest-account-info": INFO}
    for kind, request in paths.items():
        output = [
            one
            for recording in recordings("bybit", kind)
            for message in recording.messages()
            for one in private().answer(request, json.dumps(message).encode(), 1000, 1000)
        ]
        counts[kind] = [type(one).__name__ for one in output]
        positions = [
            one for snapshot in output if isinstance(snapshot, PositionsSnapshot) for one in snapshot.positions
        ]
        assert kind != "rest-position-list" or len(positions) == 8
    assert counts == {
        "rest-position-list": ["PositionsSnapshot"] * 4,
        "rest-wallet-balance": ["BalanceState"] * 2,
        "rest-account-info": ["AccountMode"] * 2,
    }


@needs_recordings
def test_a_recording_without_account_info_betrays_its_mode() -> None:
    (recording,) = recordings("bybit", "ws-private-sequence")
    link = private()
    states = _states([one for frame in _frames(recording.messages()) for one in link.receive(frame, 0)])
    assert [(state.margin_mode, state.pool) for state in states] == [("cross", "USD")]


# --- The race between pushes and REST -------------------------------------------------------------------------------

Leg = tuple[str, int]
LEGS: list[Leg] = [("BTCUSDT", 1), ("BTCUSDT", 2), ("BTCPERP", 0)]
ACTIONS = ["deliver", "deliver", "trade", "edit"]
Move = tuple[str, Leg, int]


class World:
    """A venue with three legs, its push queue and its REST desk, all on one clock that our own differs from."""

    def __init__(self, skew: int) -> None:
        self.now, self.skew = 1_700_000_000_000, skew
        self.rows = {leg: closed(leg[0], positionIdx=leg[1], seq=-1, updatedTime="") for leg in LEGS}
        self.seq = 0
        self.pushes: list[str] | None = None

    @property
    def ours(self) -> int:
        return self.now + self.skew

    def trade(self, leg: Leg, size: int) -> None:
        """Fill: a new size, a new sequence; size 0 closes."""
        self.seq += 1
        fields = {
            "positionIdx": leg[1],
            "seq": self.seq,
            "updatedTime": str(self.now),
            "leverage": str(self.seq % 7 + 1),
        }
        self.rows[leg] = position(leg[0], size=str(size), **fields) if size else closed(leg[0], **fields)
        self._push(leg)

    def edit(self, leg: Leg, leverage: int) -> None:
        """Change leverage: neither sequence nor update time moves."""
        self.rows[leg] = {**self.rows[leg], "leverage": str(leverage)}
        self._push(leg)

    def _push(self, leg: Leg) -> None:
        if self.pushes is not None:
            self.pushes.append(push("position", [self.rows[leg]], self.now))

    def read(self, request: HttpRequest) -> list[dict[str, Any]]:
        """The REST desk looks at the state, some time between question and answer."""
        lists = {USDT: ("BTCUSDT",), USDC: ("BTCPERP",)}
        return [row for row in self.rows.values() if row["size"] != "0" and row["symbol"] in lists.get(request, ())]

    def answer(self, request: HttpRequest, read: list[dict[str, Any]]) -> bytes:
        """The answer leaves, stamped with the present time, which is later than what it says."""
        if request == INFO:
            return info()
        return balance(wallet(), time=self.now) if request == WALLET else listed(*read, time=self.now)

    def truth(self) -> dict[str, tuple[str, str]]:
        return {
            f"main:linear:{symbol}:{index}": (row["size"], row["leverage"])
            for (symbol, index), row in self.rows.items()
            if row["size"] != "0"
        }


class Table:
    """What a consumer keeps: newest by fence; a snapshot closes what it lacks, unless that changed since it was asked."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[PositionState, int]] = {}

    def apply(self, output: list[Output], now: int) -> None:
        for one in output:
            if isinstance(one, PositionState):
                self._put(one, now)
            elif isinstance(one, PositionsSnapshot):
                for state in one.positions:
                    self._put(state, now)
                present = {state.id for state in one.positions}
                for row_id, (state, applied_at) in list(self.held.items()):
                    if state.scope == one.scope and row_id not in present and applied_at <= (one.asked_at or 0):
                        del self.held[row_id]

    def _put(self, state: PositionState, now: int) -> None:
        held = self.held.get(state.id)
        if held is None or state.fence >= held[0].fence:
            self.held[state.id] = state, now

    def open(self) -> dict[str, tuple[str, str]]:
        return {
            row_id: (state.size, state.leverage or "") for row_id, (state, _) in self.held.items() if state.size != "0"
        }


def _move(world: World, link: PrivateLink, table: Table, move: Move) -> None:
    """Do one thing if it can be done now."""
    action, leg, amount = move
    world.now += 3
    if action == "trade":
        world.trade(leg, amount)
    elif action == "edit" and world.rows[leg]["size"] != "0":
        world.edit(leg, amount + 10)
    elif action == "deliver" and world.pushes:
        table.apply(link.receive(world.pushes.pop(0), world.ours), world.ours)


def _connect(world: World, table: Table, gaps: Iterator[list[Move]]) -> None:
    """Live through one connection: moves before each question is asked, before it is read, before its answer arrives."""
    link = private()
    subscribe_all(link)
    world.pushes = []
    for request in link.bootstrap():
        racing = request in (USDT, USDC)
        for move in next(gaps) if racing else ():
            _move(world, link, table, move)
        asked_at = world.ours
        for move in next(gaps) if racing else ():
            _move(world, link, table, move)
        read = world.read(request)
        for move in next(gaps) if racing else ():
            _move(world, link, table, move)
        table.apply(link.answer(request, world.answer(request, read), asked_at, world.ours), world.ours)
    for move in next(gaps):
        _move(world, link, table, move)
    while world.pushes:
        _move(world, link, table, ("deliver", LEGS[0], 0))
    assert link.ready
    assert table.open() == world.truth()
    world.pushes = None


MOVES = st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(LEGS), st.integers(0, 2)), max_size=5)


@given(
    outages=st.lists(MOVES, min_size=2, max_size=2),
    gaps=st.lists(MOVES, min_size=14, max_size=14),
    skew=st.integers(-3000, 3000),
)
@settings(max_examples=200, deadline=None)
def test_any_interleaving_ends_in_the_newest_state(
    outages: list[list[Move]], gaps: list[list[Move]], skew: int
) -> None:
    """Two connections with an outage before each: trades and edits race with the questions on both."""
    world, table, gap = World(skew), Table(), iter(gaps)
    for outage in outages:
        for move in outage:
            _move(world, private(), table, move)
        _connect(world, table, gap)
