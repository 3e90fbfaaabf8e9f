"""The two connections: an account's state as full snapshots per dex, and marks with their universes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from exchanges.errors import ProtocolViolation
from exchanges.events import AccountMode, BalanceState, Instrument, MarginTiers, PositionsSnapshot, Price
from exchanges.hyperliquid import build, tables
from exchanges.hyperliquid.link import Known, PrivateLink, PublicLink
from exchanges.venue import Ask, HttpRequest, LoginRefused, Malformed, Notice
from tests.exchanges.hyperliquid.samples import OTHER, USER, all_dexs, captured_states, frame, meta, row, spot, state
from tests.recordings import needs_recordings, recordings

T = TypeVar("T")
VECTOR = "q1ZyCnFWsqpWyk0syg6oULJSsjQ3NTDQM1Wq1VFyDfFAkTI2MzXQMwJLVVRWWfmFuTiiyBuamOoZKdXWAgA="
BTC = row("BTC", "1.0", "100.0")
GOLD = row("xyz:GOLD", "-2.0", "10.0")


def only(kind: type[T], outputs: Sequence[object]) -> list[T]:
    return [each for each in outputs if isinstance(each, kind)]


def questions(outputs: Sequence[object]) -> list[dict[str, Any]]:
    return [build.question(each.request) for each in only(Ask, outputs)]


def private(mode: str | None = "default") -> PrivateLink:
    link = PrivateLink("wss://host/ws", "main", "live", USER)
    link.subscribe(link.topics())
    if mode is not None:
        answer(link, "userAbstraction", mode)
    return link


def public(env: str = "live") -> PublicLink:
    link = PublicLink("wss://host/ws", env)
    link.subscribe(link.topics())
    return link


def answer(link: PrivateLink | PublicLink, kind: str, body: object, at: int = 50, **params: str) -> list[object]:
    user = {"user": USER} if isinstance(link, PrivateLink) else {}
    return [*link.answer(build.info(kind, **user, **params), json.dumps(body).encode(), at - 1, at)]


def scopes(outputs: Sequence[object]) -> dict[str, list[str]]:
    return {each.scope: [row.symbol for row in each.positions] for each in only(PositionsSnapshot, outputs)}


# --- Private: states ----------------------------------------------------------------------------------------------------


def test_topics_and_questions_carry_the_lower_case_address() -> None:
    link = private()
    assert [json.loads(topic) for topic in link.topics()] == [
        {"type": "allDexsClearinghouseState", "user": USER},
        {"type": "spotState", "user": USER},
    ]
    assert [build.question(request) for request in link.bootstrap()] == [
        {"type": "userRole", "user": USER},
        {"type": "userAbstraction", "user": USER},
    ]


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
        lambda: answer(link, "userRole", {"role": "user"}),
        lambda: answer(link, "userAbstraction", "default"),
    ]
    for step in steps:
        assert not link.ready
        step()
    assert link.ready


def test_a_later_connection_waits_for_states_alone_and_asks_for_the_mode_alone() -> None:
    known = Known()
    first = PrivateLink("wss://host/ws", "main", "live", USER, known)
    answer(first, "userRole", {"role": "user"})
    answer(first, "userAbstraction", "default")
    answer(first, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD", token=360)])
    second = PrivateLink("wss://host/ws", "main", "live", USER, known)
    second.subscribe(second.topics())
    assert [build.question(request)["type"] for request in second.bootstrap()] == ["userAbstraction"]
    outputs = second.receive(all_dexs(main=state(BTC), xyz=state(GOLD)), 1)
    # The mode as it was last said decides about money until it is said again; the collateral is not asked again.
    assert [pool.cash for each in only(BalanceState, outputs) for pool in each.pools] == ["1000.0", "1000.0"]
    assert questions(outputs) == []
    second.receive(spot(), 2)
    assert second.ready
    assert [each.mode for each in only(AccountMode, answer(second, "userAbstraction", "unifiedAccount"))] == [
        "unifiedAccount"
    ]


def test_a_remembered_mode_says_nothing_of_a_dex_that_is_not_listed() -> None:
    link = PrivateLink("wss://host/ws", "main", "live", USER, Known(role=True, mode="default"))
    link.subscribe(link.topics())
    link.receive(all_dexs(main=state(), xyz=state(GOLD)), 1)
    outputs = link.receive(all_dexs(main=state()), 2)
    assert scopes(outputs) == {"dex:": []}
    assert {"type": "clearinghouseState", "user": USER, "dex": "xyz"} in questions(outputs)


@pytest.mark.parametrize("role", ["agent", "missing", "stranger"])
def test_a_role_that_cannot_be_followed_is_asked_again(role: str) -> None:
    known = Known()
    answer(PrivateLink("wss://host/ws", "main", "live", USER, known), "userRole", {"role": role})
    again = PrivateLink("wss://host/ws", "main", "live", USER, known).bootstrap()
    assert [build.question(request)["type"] for request in again] == ["userRole", "userAbstraction"]


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
    answer(link, "userRole", {"role": "user"})
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
    (balance,) = private().receive(spot({"coin": "USDC", "token": 0, "total": "5.0", "hold": "1.0"}), 1)
    assert isinstance(balance, BalanceState)
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


@pytest.mark.parametrize(("mode", "computable"), [("default", True), ("disabled", True), ("unifiedAccount", False)])
def test_the_mode_is_said_in_the_venues_words(mode: str, computable: bool) -> None:
    outputs = answer(private(None), "userAbstraction", mode)
    assert outputs == [AccountMode(account="main", mode=mode, computable=computable)]


def test_an_unknown_mode_is_not_computable_and_said_aloud() -> None:
    mode, notice = answer(private(None), "userAbstraction", "quantumMargin")
    assert mode == AccountMode(account="main", mode="quantumMargin", computable=False)
    assert isinstance(notice, Notice)
    assert "quantumMargin" in notice.what


def cash(outputs: Sequence[object]) -> list[str | None]:
    return [pool.cash for each in only(BalanceState, outputs) for pool in each.pools]


def test_money_waits_for_the_mode_and_is_withheld_where_it_means_nothing() -> None:
    link = private(None)
    assert cash(link.receive(all_dexs(main=state(BTC)), 1)) == [None]
    assert cash(answer(link, "userAbstraction", "default")) == ["1000.0"]
    assert cash(link.receive(all_dexs(main=state(BTC)), 2)) == ["1000.0"]
    assert cash(answer(link, "userAbstraction", "unifiedAccount")) == [None]
    assert cash(link.receive(all_dexs(main=state(BTC)), 3)) == [None]


def test_a_recording_without_a_mode_is_read_as_standard() -> None:
    link = PrivateLink("", "main", "live", OTHER)
    assert cash(link.receive(all_dexs(main=state(BTC)), 1)) == ["1000.0"]


def test_a_change_of_mode_at_run_time_is_seen_in_webdata3() -> None:
    link = private("default")
    same = frame("webData3", {"userState": {"user": USER}})
    assert link.receive(same, 1) == []
    outputs = link.receive(frame("webData3", {"userState": {"user": USER, "abstraction": "unifiedAccount"}}), 2)
    assert only(AccountMode, outputs) == [AccountMode(account="main", mode="unifiedAccount", computable=False)]


def test_an_agents_address_is_refused_with_the_masters() -> None:
    (refused,) = answer(private(), "userRole", {"role": "agent", "data": {"user": OTHER}})
    assert isinstance(refused, LoginRefused)
    assert (refused.code, refused.retry) == ("agent", False)
    assert USER in refused.what
    assert OTHER in refused.do


@pytest.mark.parametrize(
    "role", [{"role": "user"}, {"role": "vault"}, {"role": "subAccount", "data": {"master": OTHER}}]
)
def test_users_vaults_and_sub_accounts_have_states_of_their_own(role: dict[str, Any]) -> None:
    assert answer(private(), "userRole", role) == []


@pytest.mark.parametrize("role", ["missing", "oracle"])
def test_a_missing_or_unknown_role_is_said_aloud(role: str) -> None:
    (notice,) = answer(private(), "userRole", {"role": role})
    assert isinstance(notice, Notice)
    assert USER in notice.what


def test_the_collateral_of_a_dex_is_asked_for_once_and_names_its_currency() -> None:
    link = private()
    first = link.receive(all_dexs(main=state(), xyz=state(GOLD)), 1)
    assert [asked["type"] for asked in questions(first)] == ["allPerpMetas"]
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


# --- Public --------------------------------------------------------------------------------------------------------------


def marks(outputs: Sequence[object]) -> dict[str, str]:
    return {each.symbol: each.value for each in only(Price, outputs)}


def test_public_is_ready_with_its_first_marks_and_its_contracts() -> None:
    link = public()
    assert [json.loads(topic) for topic in link.topics()] == [{"type": "fastAssetCtxs"}]
    assert [build.question(request) for request in link.bootstrap()] == [{"type": "allPerpMetas"}]
    answer(link, "allPerpMetas", [meta("BTC")])
    assert not link.ready
    assert marks(link.receive(frame("fastAssetCtxs", VECTOR), 1)) == {
        "BTC": "97500.5",
        "ETH": "3650.25",
        "xyz:NVDA": "145.2",
    }
    assert link.ready


def test_a_later_public_connection_waits_for_marks_alone() -> None:
    known = Known()
    answer(PublicLink("wss://host/ws", "live", known), "allPerpMetas", [meta("BTC")])
    link = PublicLink("wss://host/ws", "live", known)
    assert [build.question(request)["type"] for request in link.bootstrap()] == ["allPerpMetas"]
    link.subscribe(link.topics())
    link.receive(frame("fastAssetCtxs", VECTOR), 1)
    assert link.ready


def test_an_unreadable_first_frame_does_not_make_ready() -> None:
    link = public()
    answer(link, "allPerpMetas", [meta("BTC")])
    (bad,) = link.receive(frame("fastAssetCtxs", "####"), 1)
    assert isinstance(bad, Malformed)
    assert not link.ready


def test_contracts_of_all_dexes_at_once() -> None:
    outputs = answer(public(), "allPerpMetas", [meta("BTC", "kPEPE"), meta("xyz:GOLD", token=360)])
    found = {each.symbol: each.unified_symbol for each in only(Instrument, outputs)}
    assert found == {"BTC": "BTC/USDC:USDC", "kPEPE": "KPEPE/USDC:USDC", "xyz:GOLD": "XYZ-GOLD/USDH:USDH"}
    assert [each.key for each in only(MarginTiers, outputs)] == [":20", "xyz:20"]


def test_a_collateral_token_without_a_name_is_looked_up_before_its_contracts_are_shown() -> None:
    link = public("testnet")
    first = answer(link, "allPerpMetas", [meta("BTC"), meta("xyz:GOLD", token=360)])
    assert [each.symbol for each in only(Instrument, first)] == ["BTC"]
    assert questions(first) == [{"type": "spotMeta"}]
    then = answer(link, "spotMeta", {"tokens": [{"name": "USDH", "index": 360, "szDecimals": 2}], "universe": []})
    assert [each.unified_symbol for each in only(Instrument, then)] == ["XYZ-GOLD/USDH:USDH"]


def test_one_coins_context() -> None:
    link = public()
    assert marks(link.receive(frame("activeAssetCtx", {"coin": "BTC", "ctx": {"markPx": "85814.0"}}), 1)) == {
        "BTC": "85814.0"
    }
    assert link.receive(frame("activeAssetCtx", {"coin": "BTC", "ctx": {"markPx": None, "midPx": "5"}}), 2) == []
    assert link.receive(frame("activeSpotAssetCtx", {"coin": "@107", "ctx": {"markPx": "1"}}), 3) == []


def test_mids_are_no_marks() -> None:
    assert public().receive(frame("allMids", {"mids": {"BTC": "85801.5"}}), 1) == []


@pytest.mark.parametrize("channel", ["assetCtxs", "allDexsAssetCtxs"])
def test_positional_marks_need_a_universe_that_fits(channel: str) -> None:
    def ctxs(*values: str) -> str:
        rows = [{"markPx": value} for value in values]
        return frame(channel, {"dex": "xyz", "ctxs": rows} if channel == "assetCtxs" else {"ctxs": [["xyz", rows]]})

    link = public()
    notice, ask = link.receive(ctxs("1.5", "2.5"), 1)
    assert isinstance(notice, Notice)
    assert notice.code == "universe_unknown"
    assert questions([ask]) == [{"type": "meta", "dex": "xyz"}]
    answer(link, "meta", meta("xyz:A", "xyz:B"), dex="xyz")
    assert marks(link.receive(ctxs("1.5", "2.5"), 2)) == {"xyz:A": "1.5", "xyz:B": "2.5"}
    # A new listing: three contexts for two coins. None is used, or every coin behind it could get another's mark.
    outputs = link.receive(ctxs("1.5", "2.5", "3.5"), 20_000)
    assert marks(outputs) == {}
    assert questions(outputs) == [{"type": "meta", "dex": "xyz"}]
    assert only(Ask, link.receive(ctxs("1.5", "2.5", "3.5"), 21_000)) == []


def test_meta_with_contexts_gives_both() -> None:
    outputs = answer(public(), "metaAndAssetCtxs", [meta("BTC", "ETH"), [{"markPx": "1.0"}, {"markPx": None}]])
    assert [each.symbol for each in only(Instrument, outputs)] == ["BTC", "ETH"]
    assert marks(outputs) == {"BTC": "1.0"}


def test_public_answers_that_nothing_reads_are_passed_over() -> None:
    assert answer(public(), "perpDexs", [None, {"name": "xyz"}]) == []
    assert answer(public(), "exchangeStatus", {"time": 1}) == []


@pytest.mark.parametrize("body", ["null", "[null]", '[{"universe":[{}]}]', '{"universe":[]}', "x"])
def test_contracts_that_cannot_be_read_are_refused(body: str) -> None:
    with pytest.raises(ProtocolViolation):
        public().answer(HttpRequest(path='{"type":"allPerpMetas"}', method="POST"), body.encode(), 1, 2)


@needs_recordings
def test_captured_positional_marks_of_all_dexs() -> None:
    (source,) = recordings("hyperliquid", "ws-allDexsAssetCtxs")
    (found,) = source.messages()
    dexes = found["data"]["ctxs"]
    link = public()
    assert len(only(Ask, link.receive(json.dumps(found), 1))) == len(dexes) == 9
    for dex, ctxs in dexes:
        prefix = f"{dex}:" if dex else ""
        answer(link, "meta", meta(*(f"{prefix}C{at}" for at in range(len(ctxs)))), dex=dex)
    outputs = link.receive(json.dumps(found), 2)
    assert len(marks(outputs)) == sum(len(ctxs) for _, ctxs in dexes) == 412
    assert not only(Malformed, outputs)
    assert marks(outputs)["C0"] == "77562.0"
