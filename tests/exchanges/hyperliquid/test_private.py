"""The private connection: full snapshots per dex, modes and roles, what is asked of an account, what happened to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from exchanges.errors import AuthFailed, ProtocolViolation
from exchanges.events import AccountMode, BalanceState, ClosedPnl, Fill, FundingPayment, KeyInfo, PositionsSnapshot
from exchanges.hyperliquid import build, tables
from exchanges.hyperliquid.private import PrivateLink
from exchanges.hyperliquid.session import Known
from exchanges.venue import Ask, Heard, HttpRequest, Malformed, Notice
from tests.exchanges.hyperliquid.samples import (
    OTHER,
    USER,
    all_dexs,
    answer,
    captured_states,
    fill,
    frame,
    meta,
    only,
    private,
    questions,
    row,
    scopes,
    spot,
    state,
)
from tests.recordings import needs_recordings, recordings

BTC = row("BTC", "1.0", "100.0")
GOLD = row("xyz:GOLD", "-2.0", "10.0")


# --- Private: states ----------------------------------------------------------------------------------------------------


def test_topics_and_questions_carry_the_lower_case_address() -> None:
    link = private()
    topics = [json.loads(topic) for topic in link.topics()]
    assert {topic["type"] for topic in topics} == {*tables.USER_TOPICS, "openOrders"}
    assert {topic["user"] for topic in topics} == {USER}
    assert {question["user"] for question in map(build.question, link.audit()) if "user" in question} == {USER}


def test_every_dex_becomes_a_full_snapshot_and_a_pool() -> None:
    outputs = private().receive(all_dexs(main=state(BTC), xyz=state(GOLD, cash="50.0"), flx=state()), 1)
    assert scopes(outputs) == {"dex:": ["BTC"], "dex:xyz": ["xyz:GOLD"], "dex:flx": []}
    pools = [pool for each in only(BalanceState, outputs) for pool in each.pools]
    assert [(pool.pool, pool.ccy, pool.cash) for pool in pools] == [
        ("main", "USDC", "1000.0"), ("xyz", "USDC", "50.0"), ("flx", "USDC", "1000.0"),
    ]  # fmt: skip


def test_ready_when_every_initial_state_has_arrived() -> None:
    link = private(mode=None)
    steps: list[Callable[[], object]] = [
        lambda: link.receive(all_dexs(main=state()), 1),
        lambda: link.receive(spot(), 1),
        lambda: link.receive(frame("webData3", {"userState": {"user": USER}}), 1),
    ]
    for step in steps:
        assert not link.ready
        step()
    assert link.ready
    assert link.bootstrap() == []


def test_a_later_connection_reads_money_by_the_mode_that_was_last_said() -> None:
    known = Known()
    first = PrivateLink("wss://host/ws", "main", "live", USER, known)
    answer(first, "userAbstraction", "default")
    answer(first, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD", token=360)])
    second = PrivateLink("wss://host/ws", "main", "live", USER, known)
    second.subscribe(second.topics())
    outputs = second.receive(all_dexs(main=state(BTC), xyz=state(GOLD)), 1)
    # The mode as it was last said decides about money until it is said again; the collateral is not asked again.
    assert [pool.cash for each in only(BalanceState, outputs) for pool in each.pools] == ["1000.0", "1000.0"]
    assert [asked["type"] for asked in questions(outputs)] == ["frontendOpenOrders"]
    assert [each.mode for each in only(AccountMode, answer(second, "userAbstraction", "unifiedAccount"))] == [
        "unifiedAccount"
    ]


def test_a_remembered_mode_says_nothing_of_a_dex_that_is_not_listed() -> None:
    link = PrivateLink("wss://host/ws", "main", "live", USER, Known(mode="default"))
    link.subscribe(link.topics())
    link.receive(all_dexs(main=state(), xyz=state(GOLD)), 1)
    outputs = link.receive(all_dexs(main=state()), 2)
    assert scopes(outputs) == {"dex:": []}
    assert {"type": "clearinghouseState", "user": USER, "dex": "xyz"} in questions(outputs)


def test_a_closed_position_is_not_in_the_next_snapshot() -> None:
    link = private()
    link.receive(all_dexs(main=state(BTC)), 1)
    assert scopes(link.receive(all_dexs(main=state()), 2)) == {"dex:": []}


def test_one_dex_that_cannot_be_read_costs_that_dex_alone() -> None:
    link = private()
    outputs = link.receive(all_dexs(main=state(BTC), xyz={"assetPositions": 5}), 1)
    assert scopes(outputs) == {"dex:": ["BTC"]}
    assert len(only(Malformed, outputs)) == 1


def test_a_first_frame_that_cannot_be_read_whole_does_not_make_ready() -> None:
    link = private()
    link.receive(spot(), 1)
    link.receive(frame("webData3", {"userState": {"user": USER}}), 1)
    link.receive(all_dexs(main=state(BTC), xyz={"assetPositions": 5}), 1)
    assert not link.ready
    link.receive(all_dexs(main=state(BTC), xyz=state()), 2)
    assert link.ready


def test_a_single_dex_frame_and_its_rest_answer_say_the_same() -> None:
    pushed = private().receive(
        frame("clearinghouseState", {"dex": "xyz", "user": USER, "clearinghouseState": state(GOLD)}), 1
    )
    asked = answer(private(), "clearinghouseState", state(GOLD), dex="xyz")
    assert scopes(pushed) == scopes(asked) == {"dex:xyz": ["xyz:GOLD"]}
    (from_push,), (from_rest,) = only(PositionsSnapshot, pushed), only(PositionsSnapshot, asked)
    assert from_push.positions == from_rest.positions
    assert (from_push.asked_at, from_rest.asked_at) == (None, 49)


def test_a_rest_answer_that_cannot_be_read_is_never_flat() -> None:
    for body in (b"null", b"", b"[]", b'{"assetPositions":null}'):
        with pytest.raises(ProtocolViolation):
            private().answer(build.info("clearinghouseState", user=USER, dex=""), body, 1, 2)


def test_a_state_of_another_user_is_refused_on_a_live_connection() -> None:
    other = frame("spotState", {"user": OTHER, "spotState": {"balances": []}})
    (refused,) = private().receive(other, 1)
    assert isinstance(refused, Malformed)
    recorded = PrivateLink("", "main", "live", USER)  # a recording is read without subscribing
    assert only(BalanceState, recorded.receive(other, 1))


def test_spot_balances_are_a_scope_of_their_own_without_pools() -> None:
    (balance,) = only(
        BalanceState, private().receive(spot({"coin": "USDC", "token": 0, "total": "5.0", "hold": "1.0"}), 1)
    )
    assert (balance.scope, balance.full, balance.pools) == ("spot", True, ())
    assert [(coin.ccy, coin.total) for coin in balance.coins] == [("USDC", "5.0")]
    (asked,) = answer(private(), "spotClearinghouseState", {"balances": []})
    assert isinstance(asked, BalanceState)
    assert (asked.scope, asked.asked_at) == ("spot", 49)


# --- Private: dexes that the list does not mention ------------------------------------------------------------------------


def test_in_standard_mode_a_dex_gone_from_the_list_is_flat() -> None:
    link = private("default")
    link.receive(all_dexs(main=state(), xyz=state(GOLD)), 1)
    outputs = link.receive(all_dexs(main=state(time=1_790_000_005_000)), 2)
    assert scopes(outputs) == {"dex:": [], "dex:xyz": []}
    gone = only(PositionsSnapshot, outputs)[1]
    assert gone.fence == (1_790_000_005_000,)
    emptied = [each for each in only(BalanceState, outputs) if each.scope == "dex:xyz"]
    assert [(each.full, each.pools) for each in emptied] == [(True, ())]
    assert scopes(link.receive(all_dexs(main=state()), 3)) == {"dex:": []}


@pytest.mark.parametrize("mode", ["unifiedAccount", "portfolioMargin", "dexAbstraction", None])
def test_in_other_modes_a_short_list_says_nothing_and_the_venue_is_asked(mode: str | None) -> None:
    link = private(mode)
    link.receive(all_dexs(main=state(), xyz=state(GOLD)), 1)
    outputs = link.receive(all_dexs(main=state()), 2)
    assert scopes(outputs) == {"dex:": []}
    assert questions(outputs) == [{"type": "clearinghouseState", "user": USER, "dex": "xyz"}]


def test_a_missing_dex_is_asked_for_once_until_answered_and_then_not_at_every_frame() -> None:
    link = private("unifiedAccount")
    link.receive(all_dexs(main=state(), xyz=state(GOLD)), 0)

    def asked(at: int) -> int:
        return len(only(Ask, link.receive(all_dexs(main=state()), at)))

    assert [asked(at) for at in range(5_000, 60_000, 5_000)] == [1] + [0] * 10
    answer(link, "clearinghouseState", state(GOLD), at=60_000, dex="xyz")
    assert [asked(at) for at in (65_000, 70_000, 75_000)] == [0, 1, 0]
    answer(link, "clearinghouseState", state(), at=76_000, dex="xyz")
    assert asked(90_000) == 0


@pytest.mark.parametrize("mode", ["default", "unifiedAccount"])
def test_a_list_without_the_main_dex_is_never_flat(mode: str) -> None:
    link = private(mode)
    link.receive(all_dexs(main=state(BTC)), 1)
    outputs = link.receive(all_dexs(), 2)
    assert scopes(outputs) == {}
    assert questions(outputs) == [{"type": "clearinghouseState", "user": USER, "dex": ""}]


# --- Private: modes, roles, collateral -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "computable"),
    [("default", True), ("disabled", True), ("unifiedAccount", True), ("portfolioMargin", False)],
)
def test_the_mode_is_said_in_the_venues_words(mode: str, computable: bool) -> None:
    outputs = answer(private(None), "userAbstraction", mode)
    assert outputs == [AccountMode(account="main", mode=mode, computable=computable, hedge=False)]


def test_an_unknown_mode_is_not_computable_and_said_aloud() -> None:
    mode, notice = answer(private(None), "userAbstraction", "quantumMargin")
    assert mode == AccountMode(account="main", mode="quantumMargin", computable=False, hedge=False)
    assert isinstance(notice, Notice)
    assert "quantumMargin" in notice.what


def cash(outputs: Sequence[object]) -> list[str | None]:
    return [pool.cash for each in only(BalanceState, outputs) for pool in each.pools]


def test_money_waits_for_the_mode_and_is_withheld_where_it_means_nothing() -> None:
    link = private(None)
    assert cash(link.receive(all_dexs(main=state(BTC)), 1)) == [None]
    assert cash(answer(link, "userAbstraction", "default")) == ["1000.0"]
    assert cash(link.receive(all_dexs(main=state(BTC)), 2)) == ["1000.0"]
    assert cash(answer(link, "userAbstraction", "dexAbstraction")) == [None]
    assert cash(link.receive(all_dexs(main=state(BTC)), 3)) == [None]
    assert cash(answer(link, "userAbstraction", "unifiedAccount")) == []  # the dex is no pool any more
    assert cash(link.receive(all_dexs(main=state(BTC)), 4)) == []


def test_a_recording_without_a_mode_is_read_as_standard() -> None:
    link = PrivateLink("", "main", "live", OTHER)
    assert cash(link.receive(all_dexs(main=state(BTC)), 1)) == ["1000.0"]


def test_a_change_of_mode_at_run_time_is_seen_in_webdata3() -> None:
    link = private("default")
    same = frame("webData3", {"userState": {"user": USER}})
    assert only(AccountMode, link.receive(same, 1)) == []
    outputs = link.receive(frame("webData3", {"userState": {"user": USER, "abstraction": "unifiedAccount"}}), 2)
    assert [(each.mode, each.computable) for each in only(AccountMode, outputs)] == [("unifiedAccount", True)]


def test_a_push_that_leaves_the_mode_out_does_not_rename_a_standard_one() -> None:
    link = private("disabled")
    absent = frame("webData3", {"userState": {"user": USER}})
    assert only(AccountMode, link.receive(absent, 1)) == []
    link.receive(frame("webData3", {"userState": {"user": USER, "abstraction": "portfolioMargin"}}), 2)
    assert [each.mode for each in only(AccountMode, link.receive(absent, 3))] == ["default"]


def test_a_mode_that_is_asked_again_and_is_the_same_repeats_nothing_that_was_read_before() -> None:
    link = private("default", stream=False)
    answer(link, "clearinghouseState", state(BTC), dex="")
    assert [type(each) for each in answer(link, "userAbstraction", "default", at=400_000)] == [AccountMode]


def test_a_legacy_mode_that_pushes_leave_out_stays_and_is_seen_by_its_flag() -> None:
    link = private("dexAbstraction")
    assert only(AccountMode, link.receive(frame("webData3", {"userState": {"user": USER}}), 1)) == []
    flag = frame("webData3", {"userState": {"user": USER, "dexAbstractionEnabled": True}})
    assert [each.computable for each in only(AccountMode, private("default").receive(flag, 2))] == [False]


@pytest.mark.parametrize(
    "role", [{"role": "user"}, {"role": "vault"}, {"role": "subAccount", "data": {"master": OTHER}}]
)
def test_users_vaults_and_sub_accounts_have_states_of_their_own(role: dict[str, Any]) -> None:
    assert answer(private(), "userRole", role) == [KeyInfo(account="main", powers=(), owner=USER, label=role["role"])]


@pytest.mark.parametrize("role", ["missing", "oracle"])
def test_a_missing_or_unknown_role_is_said_aloud(role: str) -> None:
    (notice,) = only(Notice, answer(private(), "userRole", {"role": role}))
    assert USER in notice.what


def test_the_collateral_of_a_dex_is_asked_for_once_and_names_its_currency() -> None:
    link = private()
    first = link.receive(all_dexs(main=state(), xyz=state(GOLD)), 1)
    assert [asked["type"] for asked in questions(first)] == ["allPerpMetas", "frontendOpenOrders"]
    assert only(Ask, link.receive(all_dexs(main=state(), xyz=state(GOLD)), 5_000)) == []
    assert answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD", token=360)]) == []
    outputs = link.receive(all_dexs(main=state(BTC), xyz=state(GOLD)), 20_000)
    assert only(Ask, outputs) == []
    assert [pool.ccy for each in only(BalanceState, outputs) for pool in each.pools] == ["USDC", "USDH"]
    assert [row.settle for each in only(PositionsSnapshot, outputs) for row in each.positions] == ["USDC", "USDH"]


def test_a_collateral_without_a_known_name_is_named_by_its_number_or_by_the_accounts_own_balance() -> None:
    link = private()
    answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD", token=777)])
    one = frame("clearinghouseState", {"dex": "xyz", "user": USER, "clearinghouseState": state(GOLD)})
    (balance,) = only(BalanceState, link.receive(one, 1))
    assert balance.pools[0].ccy == "token:777"
    link.receive(spot({"coin": "NEWUSD", "token": 777, "total": "1.0"}), 2)
    (balance,) = only(BalanceState, link.receive(one, 3))
    assert balance.pools[0].ccy == "NEWUSD"


def test_dexes_are_bounded() -> None:
    many = {f"d{at}": state() for at in range(tables.MAX_DEXES + 1)}
    (refused,) = private().receive(all_dexs(**many), 1)
    assert isinstance(refused, Malformed)


@needs_recordings
def test_captured_states_become_one_snapshot_and_one_pool_each() -> None:
    seen = 0
    for source in captured_states():
        link = PrivateLink("", "main", "live", USER)
        outputs = answer(link, "clearinghouseState", source.state, dex=source.dex)
        (snapshot,), (balance,) = only(PositionsSnapshot, outputs), only(BalanceState, outputs)
        assert len(snapshot.positions) == len(source.state["assetPositions"])
        assert [pool.pool for pool in balance.pools] == [source.dex or "main"]
        assert not only(Malformed, outputs)
        seen += 1
    assert seen >= 10


@needs_recordings
def test_captured_frames_of_a_state_are_read() -> None:
    frames = [found for source in recordings("hyperliquid", "ws-clearinghouseState") for found in source.messages()]
    assert frames
    for found in frames:
        outputs = PrivateLink("", "main", "live", USER).receive(json.dumps(found), 1)
        assert [len(each.positions) for each in only(PositionsSnapshot, outputs)] == [3]


# --- Private: what is asked of an account ----------------------------------------------------------------------------------


def kinds(requests: Sequence[HttpRequest]) -> list[tuple[str, str]]:
    asked = [build.question(request) for request in requests]
    return [(each["type"], each.get("dex", "")) for each in asked]


def test_an_audit_refuses_an_agent_and_says_whose_it_is() -> None:
    link = private(None, stream=False)
    assert [kind for kind, _ in kinds(link.audit())] == ["userRole", "userAbstraction", "allPerpMetas"]
    with pytest.raises(AuthFailed) as refused:
        answer(link, "userRole", {"role": "agent", "data": {"user": OTHER}})
    said = str(refused.value)
    assert USER in said
    assert OTHER in str(refused.value.do)
    assert "agent (API wallet)" in said
    assert "empty" in said


def test_a_first_round_learns_the_mode_and_the_dexes_and_asks_each_for_its_state() -> None:
    link = private(None, stream=False)
    assert kinds(link.state()) == [
        ("userAbstraction", ""),
        ("allPerpMetas", ""),
        ("clearinghouseState", ""),
        ("spotClearinghouseState", ""),
        ("frontendOpenOrders", ""),
    ]
    answer(link, "userAbstraction", "default", at=1_000)
    asks = only(Ask, answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD"), meta("flx:OIL")], at=1_000))
    assert kinds([each.request for each in asks]) == [("clearinghouseState", "xyz"), ("clearinghouseState", "flx")]
    later = link.state()
    assert kinds(later) == [
        ("clearinghouseState", ""),
        ("clearinghouseState", "xyz"),
        ("clearinghouseState", "flx"),
        ("spotClearinghouseState", ""),
        ("frontendOpenOrders", ""),
    ]
    assert sum(each.weight for each in later) == 3 * 2 + 2 + 20
    assert only(Ask, answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD")])) == []


def test_the_mode_is_asked_again_after_a_while_and_open_orders_of_other_dexes_in_turn() -> None:
    link = private("default", stream=False)
    answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD"), meta("flx:OIL")])
    answer(link, "clearinghouseState", state(GOLD), at=60_000, dex="xyz")
    rounds = [kinds(link.state()) for _ in range(20)]
    assert all(("frontendOpenOrders", "") in each for each in rounds)
    others = [[dex for kind, dex in each if kind == "frontendOpenOrders" and dex] for each in rounds]
    assert others.count(["xyz"]) >= 18
    assert ["flx"] in others
    assert not any(("userAbstraction", "") in each for each in rounds)
    answer(link, "clearinghouseState", state(GOLD), at=tables.MODE_EVERY_MS + 60, dex="xyz")
    assert kinds(link.state())[0] == ("userAbstraction", "")


def test_very_many_dexes_are_asked_a_few_at_a_time_until_each_had_its_turn() -> None:
    many = [f"d{at}" for at in range(3 * tables.MOST_DEXES - 5)]
    link = private("default", stream=False)
    answer(link, "allPerpMetas", [meta("BTC"), *(meta(f"{dex}:A") for dex in many)])
    rounds = [{dex for kind, dex in kinds(link.state()) if kind == "clearinghouseState"} for _ in range(4)]
    assert all(len(each) == tables.MOST_DEXES + 1 for each in rounds)
    assert set().union(*rounds) == {"", *many}


def test_configured_dexes_are_asked_without_discovery_and_held_ones_too() -> None:
    link = private("default", stream=False, dexes=("xyz",))
    assert kinds(link.state())[:2] == [("clearinghouseState", ""), ("clearinghouseState", "xyz")]
    answer(link, "clearinghouseState", state(row("flx:OIL", "1.0", "5.0")), dex="flx")
    assert ("clearinghouseState", "flx") in kinds(link.state())
    (notice,) = only(Notice, answer(link, "allPerpMetas", [meta("BTC"), meta("flx:OIL")]))
    assert "xyz" in notice.what
    assert ("clearinghouseState", "xyz") not in kinds(link.state())


def test_a_round_on_a_link_without_a_stream_is_a_correction_not_routine() -> None:
    link = private("default", stream=False)
    for at in (50, 60):
        (found,) = only(PositionsSnapshot, answer(link, "clearinghouseState", state(BTC), at=at, dex=""))
        assert (found.asked_at, found.routine) == (at - 1, False)


def test_only_the_first_push_of_a_connection_may_correct() -> None:
    link = private()
    first = only(PositionsSnapshot, link.receive(all_dexs(main=state(BTC)), 1))
    then = only(PositionsSnapshot, link.receive(all_dexs(main=state(BTC), xyz=state(GOLD)), 2))
    gone = only(PositionsSnapshot, link.receive(all_dexs(main=state(BTC)), 3))
    assert [each.routine for each in first] == [False]
    assert [each.routine for each in then] == [True, True]
    assert [each.routine for each in gone] == [True, True]
    (asked,) = only(PositionsSnapshot, answer(link, "clearinghouseState", state(BTC), dex=""))
    assert not asked.routine


def test_history_is_asked_by_user_and_paged_by_time_from_the_last_moment_on() -> None:
    link = private(stream=False)
    answer(link, "allPerpMetas", [meta("BTC")])
    asked = [build.question(request) for request in link.history(1_000, ["BTC"])]
    assert [(each["type"], each["startTime"]) for each in asked] == [(kind, 1_000) for kind in tables.HISTORY]
    page = [fill("BTC", "B", "1.0", "5.0", time=1_000 + at, tid=at) for at in range(tables.PAGE)]
    outputs = answer(link, "userFillsByTime", page, startTime=1_000)
    assert len(only(Fill, outputs)) == tables.PAGE
    assert questions(outputs) == [{"type": "userFillsByTime", "user": USER, "startTime": 1_000 + tables.PAGE - 1}]
    last = answer(link, "userFillsByTime", page[-1:], startTime=1_000 + tables.PAGE - 1)
    assert only(Ask, last) == []
    assert only(Fill, last)[0].id == only(Fill, outputs)[-1].id
    # A page within one millisecond: time goes on, or the same page would be asked for ever.
    crowded = [fill("BTC", "B", "1.0", "5.0", time=1_000, tid=at) for at in range(tables.PAGE)]
    (next_one,) = questions(answer(link, "userFillsByTime", crowded, startTime=1_000))
    assert next_one["startTime"] == 1_001


def test_books_of_a_window_end_before_its_end_and_bring_what_each_fill_realised() -> None:
    link = private(stream=False)
    answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD", token=360)])
    probe, *asked = [build.question(request) for request in link.records(1_000, 2_000, [])]
    assert (probe["startTime"], probe["endTime"], probe["aggregateByTime"]) == (0, 999, False)
    assert [(each["type"], each["startTime"], each["endTime"]) for each in asked] == [
        (kind, 1_000, 1_999) for kind in tables.HISTORY
    ]
    rows = [
        fill("BTC", "A", "1.5", "60000.0", time=1_500, tid=1, startPosition="1.0", closedPnl="12.5", fee="0.2"),
        fill("BTC", "A", "1.0", "60000.0", time=1_500, tid=2, startPosition="-0.5", closedPnl="0.0", fee="-0.1"),
        fill("xyz:GOLD", "B", "1.0", "5.0", time=1_600, tid=3, startPosition="-3.0", closedPnl="-1.0", fee="0.2"),
        fill("@107", "A", "1.0", "5.0", time=1_700, tid=4, closedPnl="3.0"),
    ]
    outputs = answer(link, "userFillsByTime", rows, startTime=1_000, endTime=1_999)
    assert len(only(Fill, outputs)) == 4
    flip, opened, gold = only(ClosedPnl, outputs)
    assert (flip.realized_pnl, flip.fees, flip.side, flip.size, flip.ccy) == ("12.5", "-0.2", "long", "1.0", "USDC")
    assert (opened.realized_pnl, opened.fees, opened.side) == ("0.0", "0.1", None)
    assert (gold.realized_pnl, gold.side, gold.ccy, gold.fees) == ("-1.0", "short", "USDH", None)  # its fee is in USDC
    assert only(ClosedPnl, answer(link, "userFillsByTime", rows, startTime=1_000)) == []


def test_a_page_of_a_window_that_one_millisecond_fills_is_told_and_pages_end_with_the_window() -> None:
    link = private(stream=False)
    crowd = [fill("BTC", "B", "1.0", "5.0", time=1_000, tid=at) for at in range(tables.FULL["userFillsByTime"])]
    outputs = answer(link, "userFillsByTime", crowd, startTime=1_000, endTime=1_500)
    assert len(only(Malformed, outputs)) == 1
    (behind,) = questions(outputs)
    assert (behind["startTime"], behind["endTime"]) == (1_001, 1_500)
    assert only(Ask, answer(link, "userFillsByTime", crowd, startTime=1_000, endTime=1_000)) == []


def test_the_dexes_are_learned_before_history_that_is_paid_in_their_collateral() -> None:
    link = private(stream=False)
    assert kinds(link.history(0, []))[0] == ("allPerpMetas", "")


def test_funding_of_a_dex_waits_until_its_collateral_is_known() -> None:
    link = private()
    row = {"time": 5, "coin": "xyz:GOLD", "usdc": "-1.0", "szi": "1.0", "fundingRate": "0.1"}
    outputs = link.receive(frame("userFundings", {"user": USER, "fundings": [row]}), 1)
    assert questions(outputs) == [{"type": "allPerpMetas"}]
    (paid,) = only(FundingPayment, answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD", token=360)]))
    assert (paid.ccy, paid.amount) == ("USDH", "-1.0")
    unnamed = answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD", token=999)])
    assert only(FundingPayment, unnamed) == []
    assert questions(link.receive(frame("userFundings", {"user": USER, "fundings": [row]}), 2)) == [
        {"type": "spotMeta"}
    ]
    named = answer(link, "spotMeta", {"tokens": [{"name": "NEWUSD", "index": 999}], "universe": []})
    assert [each.ccy for each in only(FundingPayment, named)] == ["NEWUSD"]


def test_the_periodic_states_are_watched_each_by_itself() -> None:
    link = private(dexes=("xyz",))
    watched = {(topic["type"], topic.get("dex")) for topic in map(json.loads, link.watch())}
    assert watched == {
        ("allDexsClearinghouseState", None),
        ("spotState", None),
        ("webData3", None),
        ("openOrders", ""),
        ("openOrders", "xyz"),
    }
    assert set(link.watch()) <= set(link.topics())
    assert all(bound > 5 for bound in link.watch().values())
    assert only(Heard, link.receive(spot(), 1)) == [Heard(topics=(build.topic("spotState", user=USER),))]
    quiet = frame("userFills", {"user": USER, "fills": []})
    assert link.receive(quiet, 1) == []


# --- Private: pools of the modes -------------------------------------------------------------------------------------------


def test_in_a_unified_account_the_dexes_of_one_token_are_one_pool() -> None:
    link = private("unifiedAccount")
    answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD"), meta("flx:OIL", token=360)])
    isolated = row("ETH", "1.0", "100.0", cross=False)
    states = all_dexs(main=state(BTC, isolated), xyz=state(GOLD), flx=state(row("flx:OIL", "1.0", "5.0")))
    usdc, usdh = {"coin": "USDC", "token": 0, "total": "110.0"}, {"coin": "USDH", "token": 360, "total": "5.0"}
    link.receive(spot(usdc, usdh), 1)
    outputs = link.receive(states, 2)
    pools = {each.symbol: each.pool for found in only(PositionsSnapshot, outputs) for each in found.positions}
    assert pools == {
        "BTC": "unified:USDC", "ETH": "iso:main:ETH", "xyz:GOLD": "unified:USDC", "flx:OIL": "unified:USDH",
    }  # fmt: skip
    (shared,) = [each for each in only(BalanceState, outputs) if each.scope == "shared"]
    # (2.5 + 2.5) / (110 - 10): maintenance of both dexes over the spot balance less the margin of the isolated position.
    figures = [(each.pool, each.venue_equity, each.venue_maintenance_margin, each.venue_ratio) for each in shared.pools]
    assert figures == [("unified:USDC", "100", "5", "0.05"), ("unified:USDH", "5", "2.5", "0.5")]
    # The spot balance holds the profit of the cross positions, 1 each.
    assert [each.cash for each in shared.pools] == ["98", "4"]
    assert all(not each.pools for each in only(BalanceState, outputs) if each.scope.startswith("dex:"))


def test_the_cash_of_a_unified_account_is_reckoned_of_one_moment_and_holds_until_positions_change() -> None:
    link = private("unifiedAccount")

    def pool(frame: str, at: int) -> tuple[str | None, str | None]:
        (shared,) = [each for each in only(BalanceState, link.receive(frame, at)) if each.scope == "shared"]
        (found,) = shared.pools
        return found.cash, found.venue_equity

    def usdc(total: str) -> str:
        return spot({"coin": "USDC", "token": 0, "total": total})

    later = tables.TOGETHER_MS + 1
    link.receive(usdc("110.0"), 0)
    assert pool(all_dexs(main=state(BTC)), later) == (None, "110"), "of two moments: nothing is reckoned yet"
    assert pool(usdc("111.0"), later + 5) == ("110", "111")
    up = row("BTC", "1.0", "90.0", unrealizedPnl="-9.0")
    assert pool(all_dexs(main=state(up)), 4 * later) == ("110", None), "the marks moved, the cash did not"
    assert pool(usdc("101.0"), 4 * later) == ("110", "101")
    more = row("BTC", "2.0", "90.0", unrealizedPnl="-9.0")
    assert pool(all_dexs(main=state(more)), 8 * later) == (None, "101"), "what it was reckoned with is gone"
    assert pool(usdc("100.5"), 8 * later) == ("109.5", "100.5")


def test_what_two_reckonings_agree_on_outlives_one_between_which_and_its_partner_marks_moved() -> None:
    link = private("unifiedAccount")

    def cash(frame: str, at: int) -> str | None:
        (shared,) = [each for each in only(BalanceState, link.receive(frame, at)) if each.scope == "shared"]
        return shared.pools[0].cash

    def usdc(total: str) -> str:
        return spot({"coin": "USDC", "token": 0, "total": total})

    down = all_dexs(main=state(row("BTC", "1.0", "90.0", unrealizedPnl="-9.0")))
    link.receive(usdc("111.0"), 0)
    assert cash(all_dexs(main=state(BTC)), 1) == "110"
    assert cash(usdc("111.0"), 5_000) == "110", "too far from the dex's state to be reckoned"
    assert cash(down, 6_000) == "120", "the newest, while none agree: the mark moved between the two"
    assert cash(usdc("101.0"), 6_500) == "110", "two agree"
    link.receive(usdc("101.0"), 11_000)
    assert cash(all_dexs(main=state(BTC)), 12_000) == "110", "the mark moved again, two still agree"
    assert cash(usdc("116.0"), 12_500) == "110", "money came in: told once"
    link.receive(usdc("116.0"), 17_000)
    assert cash(all_dexs(main=state(BTC)), 17_100) == "115", "told twice"
    for one in range(6):
        at = 22_000 + 5_000 * one
        link.receive(usdc(f"{100 + one}.0"), at)
        assert cash(down, at + 1) == "115", f"the mark moved {one + 1} times, each time by something else"


def test_a_round_whose_answers_come_too_far_apart_keeps_the_cash_that_the_stream_reckoned() -> None:
    known = Known(mode="unifiedAccount")
    stream, asking = (PrivateLink("wss://host/ws", "main", "live", USER, known) for _ in range(2))
    stream.subscribe(stream.topics())
    stream.receive(spot({"coin": "USDC", "token": 0, "total": "110.0"}), 0)
    stream.receive(all_dexs(main=state(BTC)), 1)
    answer(asking, "spotClearinghouseState", {"balances": [{"coin": "USDC", "token": 0, "total": "111.0"}]}, at=1)
    found = answer(asking, "clearinghouseState", state(BTC), dex="", at=tables.TOGETHER_MS + 2)
    (shared,) = [each for each in only(BalanceState, found) if each.scope == "shared"]
    assert [each.cash for each in shared.pools] == ["109"]


def test_a_change_of_mode_moves_positions_into_their_new_pool_and_back() -> None:
    link = private("default")
    link.receive(spot({"coin": "USDC", "token": 0, "total": "110.0"}), 1)
    link.receive(all_dexs(main=state(BTC)), 2)
    there = answer(link, "userAbstraction", "unifiedAccount")
    (moved,) = only(PositionsSnapshot, there)
    assert [(each.symbol, each.pool) for each in moved.positions] == [("BTC", "unified:USDC")]
    assert (moved.routine, moved.asked_at) == (True, None)
    back = answer(link, "userAbstraction", "default")
    (again,) = only(PositionsSnapshot, back)
    assert [each.pool for each in again.positions] == ["main"]
    assert ("shared", ()) in [(each.scope, each.pools) for each in only(BalanceState, back)]


def test_portfolio_margin_shows_the_venues_ratio_and_nothing_of_ours() -> None:
    link = private("portfolioMargin")
    spot_state = {
        "balances": [{"coin": "HYPE", "token": 150, "total": "5.0", "ltv": "0.5"}],
        "portfolioMarginRatio": "0.42",
    }
    outputs = link.receive(frame("spotState", {"user": USER, "spotState": spot_state}), 1)
    (shared,) = [each for each in only(BalanceState, outputs) if each.scope == "shared"]
    assert [
        (each.pool, each.venue_ratio, each.liquidated_at, each.venue_equity, each.cash) for each in shared.pools
    ] == [("portfolio", "0.42", "0.95", None, None)]
    (coin,) = [coin for each in only(BalanceState, outputs) for coin in each.coins]
    assert (coin.collateral, coin.discount) == (True, "0.5")
