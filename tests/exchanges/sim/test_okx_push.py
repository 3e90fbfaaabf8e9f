"""What OKX's channels tell of each thing that can happen, and what they keep silent about."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim.world import World
from tests.exchanges.sim.okx_talk import BEGIN, Talk

HOUR_MS = 3_600_000


def subscribe(talk: Talk, *channels: str, **more: Any) -> list[Any]:
    typed = {"positions", "orders", "liquidation-warning"}
    args = [{"channel": c, **({"instType": "ANY"} if c in typed else {}), **more} for c in channels]
    return talk.say({"op": "subscribe", "args": args})


def told(talk: Talk, channel: str, ms: int = 200) -> list[dict[str, Any]]:
    """Return the rows of a channel in the next ``ms``."""
    return [row for _, f in talk.wait(ms) if f.get("arg", {}).get("channel") == channel for row in f["data"]]


def margin(world: World) -> object:
    return world.hands.margin("okx-isolated", "LTC-USDT-SWAP", Decimal("1.5"))


@pytest.mark.parametrize(
    ("account", "act", "kind"),
    [
        ("okx-main", lambda w: w.hands.open_position("okx-main", "BTC-USDT-SWAP", "long", Decimal(1)), "filled"),
        ("okx-main", lambda w: w.hands.liquidate("okx-main", "SOL-USDT-SWAP"), "liquidation"),
        ("okx-main", lambda w: w.hands.deleverage("okx-main", "SOL-USDT-SWAP", share=Decimal("0.5")), "adl"),
        ("okx-main", lambda w: w.hands.pay_funding("okx", "SOL-USDT-SWAP"), "funding_fee"),
        ("okx-isolated", margin, "adjust_margin"),
        ("okx-main", lambda w: w.hands.transfer("okx-main", "USDT", "deposit", Decimal(7)), "transferred"),
        ("okx-main", lambda w: w.hands.expire("okx", future(w)), "delivered"),
        ("okx-main", lambda w: w.hands.settle("okx", future(w)), "settlement"),
    ],
)
def test_balance_and_position_names_what_happened(account: str, act: Callable[[World], object], kind: str) -> None:
    talk = Talk(account=account)
    subscribe(talk, "balance_and_position")
    act(talk.world)
    (row,) = told(talk, "balance_and_position")
    assert row["eventType"] == kind
    assert row["balData"]
    assert bool(row["posData"]) == (kind != "transferred")
    assert bool(row["trades"]) == (kind == "filled")


def future(world: World) -> str:
    return next(c.symbol for c in world.listed("okx") if c.kind == "future" and not c.inverse)


def option(world: World) -> str:
    return next(c.symbol for c in world.listed("okx") if c.kind == "option")


def test_things_of_two_kinds_in_one_moment_are_two_events() -> None:
    talk = Talk(account="okx-main")
    subscribe(talk, "balance_and_position")
    talk.world.hands.pay_funding("okx", "SOL-USDT-SWAP")
    talk.world.hands.transfer("okx-main", "USDT", "withdrawal", Decimal(-5))
    assert [row["eventType"] for row in told(talk, "balance_and_position")] == ["funding_fee", "transferred"]


def test_an_option_that_expires_is_simply_gone() -> None:
    talk = Talk(account="okx-main")
    subscribe(talk, "positions", "balance_and_position", "orders")
    symbol = option(talk.world)
    talk.world.hands.expire("okx", symbol)
    assert talk.wait(1_000) == []
    rows = told(talk, "positions", 5_000)
    assert rows
    assert symbol not in {row["instId"] for row in rows}


def test_a_silent_change_is_seen_in_the_next_repetition_only() -> None:
    talk = Talk(account="okx-main")
    subscribe(talk, "positions", "balance_and_position", "account", "orders")
    talk.world.hands.silent("okx-main", "XRP-USDT-SWAP")
    talk.world.hands.silent("okx-main", "SOL-USDT-SWAP", size=Decimal(17))
    assert talk.wait(1_000) == []
    rows = {row["instId"]: row for row in told(talk, "positions", 5_000)}
    assert "XRP-USDT-SWAP" not in rows
    assert rows["SOL-USDT-SWAP"]["pos"] == "17"


def test_an_event_that_a_silent_change_overtakes_tells_no_ghost() -> None:
    talk = Talk(account="okx-main")
    subscribe(talk, "positions", extraParams='{"updateInterval": "0"}')
    talk.world.hands.open_position("okx-main", "SOL-USDT-SWAP", "long", Decimal(3))
    talk.world.hands.silent("okx-main", "SOL-USDT-SWAP")
    assert told(talk, "positions") == []


def test_a_suppressed_account_hears_nothing_but_whole_states() -> None:
    talk = Talk(account="okx-main")
    subscribe(talk, "positions", "balance_and_position", "orders")
    talk.faults.suppressed.add("okx-main")
    talk.world.close_position("okx-main", "XRP-USDT-SWAP")
    assert talk.wait(1_000) == []
    rows = told(talk, "positions", 5_000)
    assert rows
    assert "XRP-USDT-SWAP" not in {row["instId"] for row in rows}


def test_private_frames_are_doubled_swapped_and_cut_on_demand() -> None:
    talk = Talk(account="okx-main")
    subscribe(talk, "balance_and_position")
    talk.faults.duplicate = 1
    talk.world.hands.pay_funding("okx", "SOL-USDT-SWAP")
    first, again = talk.wait(100)
    assert first[1] == again[1]
    talk.faults.reorder = 1
    talk.world.hands.pay_funding("okx", "SOL-USDT-SWAP")
    talk.world.hands.transfer("okx-main", "USDT", "withdrawal", Decimal(-5))
    assert [row["eventType"] for row in told(talk, "balance_and_position")] == ["transferred", "funding_fee"]
    talk.faults.half_frame = 1
    talk.world.hands.pay_funding("okx", "SOL-USDT-SWAP")
    ((_, cut),) = talk.wait(100)
    assert isinstance(cut, str)
    assert cut.startswith('{"arg":{"channel":"balance_and_position"')


# --- Orders and fills --------------------------------------------------------------------------------------------------


def test_an_order_is_told_when_placed_filled_and_cancelled() -> None:
    talk = Talk(account="okx-hedge")
    subscribe(talk, "orders", "fills")
    world = talk.world
    order = world.hands.place_order("okx-hedge", "SOL-USDT-SWAP", True, Decimal(100), Decimal(4))
    ((_, frame),) = talk.wait(20)
    (live,) = frame["data"]
    assert (live["state"], live["accFillSz"], live["px"], live["tradeId"]) == ("live", "0", "100", "")
    world.hands.fill_order(order, Decimal(3))
    (part, fill) = [f["data"][0] for _, f in talk.wait(20)]
    assert (part["state"], part["fillSz"], part["accFillSz"], part["execType"]) == ("partially_filled", "3", "3", "M")
    assert (fill["ordId"], fill["tradeId"], fill["fillSz"]) == (part["ordId"], part["tradeId"], "3")
    assert Decimal(part["fillFee"]) > 0  # this account's makers are rebated
    world.hands.cancel_orders("okx-hedge")
    (ended,) = told(talk, "orders")
    assert (ended["state"], ended["accFillSz"], ended["fillSz"]) == ("canceled", "3", "0")


def test_the_fills_channel_is_for_those_who_trade_much() -> None:
    talk = Talk(account="okx-main")
    (refused,) = subscribe(talk, "fills")
    assert (refused["event"], refused["code"]) == ("error", "64003")


def test_about_half_of_the_system_orders_are_pushed() -> None:
    """The documentation says both that they are and that they are not: a client may depend on neither."""
    talk = Talk(account="okx-main")
    subscribe(talk, "orders")
    for share in ("0.2", "0.2", "0.2", "0.2"):
        talk.world.hands.deleverage("okx-main", "SOL-USDT-SWAP", share=Decimal(share))
    rows = told(talk, "orders")
    assert 0 < len(rows) < 4
    assert {(row["category"], row["tradeId"], row["ordType"]) for row in rows} == {("adl", "0", "market")}


def test_a_switch_of_the_accounts_level_gives_positions_other_ids() -> None:
    talk = Talk(account="okx-main")
    before = {r["posId"] for f in subscribe(talk, "positions") if "data" in f for r in f["data"]}
    talk.world.modes.switch_account("okx-main", "multi")
    rows = told(talk, "positions")
    assert {row["posId"] for row in rows if row["pos"] == "0"} < before
    assert not {row["posId"] for row in rows if row["pos"] != "0"} & before


# --- Warnings ----------------------------------------------------------------------------------------------------------


def test_a_position_near_its_end_is_warned_about_once_an_hour() -> None:
    talk = Talk(account="okx-isolated")
    assert [f for f in subscribe(talk, "liquidation-warning") if "data" in f] == []
    talk.world.shift("BTC", Decimal("-0.03"))
    (row,) = told(talk, "liquidation-warning", 5_000)
    assert (row["instId"], row["mgnMode"]) == ("BTC-USDT-SWAP", "isolated")
    assert Decimal(1) < Decimal(row["mgnRatio"]) <= 3
    assert "upl" not in row
    talk.now += HOUR_MS - 60_000
    talk.say("ping")
    assert told(talk, "liquidation-warning", 1_000) == []
    talk.now += 60_000
    talk.say("ping")
    assert len(told(talk, "liquidation-warning", 1_000)) == 1


# --- Public channels ---------------------------------------------------------------------------------------------------


def test_an_index_is_told_in_dollars_and_in_tether() -> None:
    talk = Talk("public")
    prices = {}
    for pair in ("BTC-USD", "BTC-USDT", "USDT-USD"):
        _, frame = talk.say({"op": "subscribe", "args": [{"channel": "index-tickers", "instId": pair}]})
        prices[pair] = Decimal(frame["data"][0]["idxPx"])
    assert prices["USDT-USD"] == Decimal("0.9996")
    assert abs(prices["BTC-USDT"] * prices["USDT-USD"] - prices["BTC-USD"]) < Decimal("1e-4")
    (refused,) = talk.say({"op": "subscribe", "args": [{"channel": "index-tickers", "instId": "NOPE-USD"}]})
    assert refused["code"] == "60018"


def test_the_rate_of_the_next_funding() -> None:
    talk = Talk("public")
    _, frame = talk.say({"op": "subscribe", "args": [{"channel": "funding-rate", "instId": "BTC-USDT-SWAP"}]})
    (row,) = frame["data"]
    rate, due = talk.world.funding("okx", "BTC-USDT-SWAP")
    assert (Decimal(row["fundingRate"]), int(row["fundingTime"])) == (rate, due)
    assert int(row["nextFundingTime"]) - due == 8 * HOUR_MS
    (refused,) = talk.say({"op": "subscribe", "args": [{"channel": "funding-rate", "instId": future(talk.world)}]})
    assert refused["code"] == "60018"


@pytest.mark.parametrize(
    ("kind", "act", "symbol", "told_of"),
    [
        ("FUTURES", lambda w: w.hands.expire("okx", future(w)), future, ("expired", "normal")),
        (
            "SWAP",
            lambda w: w.hands.split("okx", "XRP-USDT-SWAP", Decimal(2)),
            lambda w: "XRP-USDT-SWAP",
            ("live", "rebase_contract"),
        ),
    ],
)
def test_instruments_are_told_when_they_change_and_not_before(
    kind: str, act: Callable[[World], object], symbol: Callable[[World], str], told_of: tuple[str, str]
) -> None:
    talk = Talk("public")
    acknowledged = talk.say({"op": "subscribe", "args": [{"channel": "instruments", "instType": kind}]})
    assert len(acknowledged) == 1
    assert told(talk, "instruments", 2_000) == []
    act(talk.world)
    (row,) = told(talk, "instruments", 2_000)
    assert (row["instId"], row["state"], row["ruleType"]) == (symbol(talk.world), *told_of)


def test_the_venues_clock_is_wrong_where_it_is_shown() -> None:
    talk = Talk(account="okx-main")
    talk.faults.clock_skew_ms = 5_000
    frames = [f for f in subscribe(talk, "positions") if "data" in f]
    assert {row["pTime"] for frame in frames for row in frame["data"]} == {str(BEGIN + 5_000)}


@pytest.mark.parametrize(("ahead_ms", "code"), [(29_000, "0"), (31_000, "60006")])
def test_logins_are_checked_by_the_venues_own_clock(ahead_ms: int, code: str) -> None:
    talk = Talk()
    talk.faults.clock_skew_ms = ahead_ms
    (frame,) = talk.say(talk.login("okx-main"))
    assert frame["code"] == code


def test_frames_are_json_without_spaces() -> None:
    talk = Talk(account="okx-main")
    sent: list[str] = []
    talk.wire.send = sent.append  # type: ignore[method-assign]
    talk.session.handle(json.dumps({"op": "subscribe", "args": [{"channel": "account"}]}), talk.now)
    assert all(text == json.dumps(json.loads(text), separators=(",", ":")) for text in sent)
