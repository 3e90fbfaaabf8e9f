"""The engine by what clients see: turns go in, rows come out."""

from __future__ import annotations

import msgspec
import pytest

from exchanges import events
from exchanges.events import AccountMode, CoinBalance, PoolState, PositionsSnapshot, PositionState
from gateway.core.records import ClosedCycle
from tests.gateway.events_of import (
    BYBIT,
    DEMO,
    OKX,
    balance,
    closed,
    engine,
    feed,
    instrument,
    mark,
    position,
    row,
    rows,
    snapshot,
)


def test_every_mark_tick_moves_pnl_and_the_other_cross_positions() -> None:
    one = engine()
    btc = position(fence=(1,))
    eth = position("ETH-USDT-SWAP", size="10", entry_price="50", mark_price="50")
    one.turn([balance(), btc, eth], 1_000)
    before = row(one, "positions", eth.id)
    assert one.turn([mark("120")], 2_000)
    after = row(one, "positions", btc.id)
    assert after["mark_price"] == 120.0
    assert after["unrealized_pnl"] == pytest.approx(40.0)
    assert after["notional"] == pytest.approx(240.0)
    assert after["roe"] == pytest.approx(40.0 / 20.0)
    assert row(one, "accounts", "okx-main")["equity_usd"] == pytest.approx(1040.0)
    assert row(one, "positions", eth.id) == before, (
        "a model that is not trusted: the venue's figure, which no tick moves"
    )


def test_cross_positions_are_solved_whatever_else_their_pool_holds() -> None:
    one = engine(promoted=["okx_cross"])
    btc = position()
    one.turn([balance("100"), btc], 1_000)
    rate = 0.005 + 0.0005
    solved = row(one, "positions", btc.id)
    assert solved["liquidation_source"] == "model"
    assert solved["liquidation_price"] == pytest.approx((200 - 100) / (2 * (1 - rate)))
    assert solved["liquidation_distance"] == pytest.approx(1 - solved["liquidation_price"] / 110)
    eth = position("ETH-USDT-SWAP")
    one.turn([eth], 2_000)
    both = row(one, "positions", btc.id)
    assert both["liquidation_source"] == "model"
    others = 20 - 220 * rate  # profit and maintenance of the other one, held at its mark
    assert both["liquidation_price"] == pytest.approx((200 - 100 - others) / (2 * (1 - rate)))
    one.turn([closed(eth, (2,))], 3_000)
    assert row(one, "positions", btc.id) == solved


def test_a_model_that_is_not_trusted_runs_beside_the_venues_word() -> None:
    one = engine()
    told = position(venue_liquidation_price="7", liquidation_known="price")
    silent, none = position("ETH-USDT-SWAP"), position("XRP-USDT-SWAP", liquidation_known="none")
    one.turn([balance("100"), told, silent, none], 1_000)
    shown = row(one, "positions", told.id)
    assert (shown["liquidation_source"], shown["liquidation_price"]) == ("venue", 7.0)
    assert shown["liquidation_distance"] == pytest.approx(1 - 7 / 110), (
        "to the venue's price, not to the model's trigger"
    )
    assert row(one, "positions", silent.id)["liquidation_source"] == "unknown"
    assert row(one, "positions", none.id)["liquidation_source"] == "none"
    assert one.positions[told.id].maintenance.model == "okx_cross"
    one.turn([mark("120")], 2_000)
    after = row(one, "positions", told.id)
    assert after["liquidation_price"] == 7.0
    assert after["liquidation_distance"] == pytest.approx(1 - 7 / 120)


def test_an_isolated_position_has_a_pool_of_its_own() -> None:
    one = engine()
    btc = position(margin_mode="isolated", isolated_cash="20", isolated_margin="20")
    one.turn([instrument(), btc], 1_000)
    found, account = row(one, "positions", btc.id), row(one, "accounts", "okx-main")
    assert found["pool"] == f"iso:{btc.id}"
    assert account["pools"][found["pool"]]["equity"] == pytest.approx(40.0)
    assert found["liquidation_price"] == pytest.approx((200 - 20) / (2 * (1 - 0.0055)) + 0.1), "OKX adds one tick"
    one.turn([closed(btc, (2,))], 2_000)
    assert "pools" not in row(one, "accounts", "okx-main")
    assert one.tables["positions"].get(btc.id) is None


def test_a_snapshot_closes_what_is_not_in_it_and_nothing_else() -> None:
    one = engine()
    kept, gone, other = position(), position("ETH-USDT-SWAP"), position("XRP-USDT-SWAP", scope="elsewhere")
    one.turn([kept, gone, other], 1_000)
    one.turn([PositionsSnapshot(account="okx-main", scope="positions", positions=(kept,))], 2_000)
    assert set(one.tables["positions"].ids()) == {kept.id, other.id}
    assert one.counters["closed_by_snapshot"] == 1


def test_a_late_rest_answer_neither_revives_the_dead_nor_closes_the_new() -> None:
    one = engine()
    old, new = position(), position("ETH-USDT-SWAP", fence=(9,))
    one.turn([old], 1_000)
    one.turn([closed(old, (5,)), new], 3_000)
    late = PositionsSnapshot(account="okx-main", scope="positions", positions=(old,), asked_at=2_000)
    one.turn([late], 4_000)
    assert set(one.tables["positions"].ids()) == {new.id}
    fresh = PositionsSnapshot(account="okx-main", scope="positions", positions=(old,), asked_at=5_000)
    one.turn([fresh], 6_000)
    assert set(one.tables["positions"].ids()) == {old.id}, (
        "asked after the close, the venue itself says that it is open"
    )


def test_an_older_report_is_ignored_and_counted() -> None:
    one = engine()
    one.turn([position(fence=(5,))], 1_000)
    one.turn([position(fence=(4,), size="9")], 2_000)
    assert row(one, "positions", position().id)["size"] == "2"
    assert one.counters["older_ignored"] == 1


def test_hedge_legs_are_two_rows() -> None:
    one = engine()
    long, short = position(), position(side="short", size="1")
    one.turn([long, short], 1_000)
    one.turn([closed(long, (2,))], 2_000)
    assert set(one.tables["positions"].ids()) == {short.id}
    assert row(one, "positions", short.id)["quantity"] == "-1"


def test_unknown_figures_are_absent_never_zero() -> None:
    one = engine()
    bare = position(contract_size=None, contract_type=None, leverage=None, venue_maintenance_margin=None)
    one.turn([bare], 1_000)
    found = row(one, "positions", bare.id)
    assert found["venue_unrealized_pnl"] == "20.0"
    assert not {"unrealized_pnl", "notional", "quantity", "roe", "liquidation_price", "fees", "funding"} & set(found)
    assert found["liquidation_source"] == "unknown"
    assert found["missing"] == ["contract_size", "maintenance"]
    one.turn([instrument()], 2_000)
    assert row(one, "positions", bare.id)["unrealized_pnl"] == pytest.approx(20.0), "the contract came later"


def test_an_anchor_that_does_not_fit_its_entry_is_refused_and_counted() -> None:
    one = engine()
    odd = position(venue_unrealized_pnl="500")
    one.turn([odd], 1_000)
    found = row(one, "positions", odd.id)
    assert found["unrealized_pnl"] == pytest.approx(20.0), "counted from the exact entry instead"
    assert found["missing"] == ["anchor_refused"]
    assert one.counters["anchor_refused"] == 1


def test_marks_never_go_back_and_a_positions_mark_does_not_replace_a_live_feed() -> None:
    one = engine()
    btc = position()
    one.turn([btc, mark("120", at=2_000)], 2_000)
    one.turn([mark("90", at=1_999)], 3_000)
    one.turn([position(fence=(2,), mark_price="95", venue_at=3_000)], 3_000)
    found = row(one, "positions", btc.id)
    assert (found["mark_price"], found["mark_source"]) == (120.0, "feed")
    assert found["unrealized_pnl"] == pytest.approx(40.0), "re-anchored at 95, moved with the mark to 120"


def test_blindness_is_a_state() -> None:
    one = engine()
    btc = position()
    one.turn([btc, balance(), feed("live"), feed("live", None, connection="public"), mark("110")], 10_000)
    assert "stale" not in row(one, "positions", btc.id)
    one.turn([feed("down")], 20_000)
    assert row(one, "positions", btc.id)["stale"] == {"since": 20_000, "reason": "private_feed"}
    assert row(one, "accounts", "okx-main")["stale"]["reason"] == "private_feed"
    assert row(one, "feeds", "okx-main:private")["state"] == "down"
    one.turn([feed("live")], 21_000)
    one.turn([feed("connecting", None, connection="public")], 22_000)
    assert row(one, "positions", btc.id)["stale"] == {"since": 22_000, "reason": "mark_feed"}
    one.turn([feed("live", None, connection="public")], 23_000)
    assert "stale" not in row(one, "positions", btc.id)
    one.clock(34_999)
    assert "stale" not in row(one, "positions", btc.id)
    one.clock(35_001)
    assert row(one, "positions", btc.id)["stale"] == {"since": 10_000, "reason": "mark_feed"}, "a symbol that stopped"
    one.turn([mark("111", at=36_000)], 36_000)
    assert "stale" not in row(one, "positions", btc.id)


def test_a_mark_that_comes_with_positions_alone_is_as_fresh_as_any() -> None:
    """No stream has this symbol (a delisted one, say): its mark is that of the venue's last word of the position."""
    one = engine()
    btc, other = position(), position(account="bybit-main", symbol="BTCUSDT")
    one.turn([btc, other, feed("live", None, connection="public")], 10_000)
    one.clock(35_001)
    assert row(one, "positions", btc.id)["stale"] == {"since": 10_000, "reason": "mark_feed"}
    one.turn([position(fence=(2,), mark_price="130", venue_at=40_000)], 40_000)
    found = row(one, "positions", btc.id)
    assert (found["mark_price"], found["mark_source"], "stale" in found) == (130.0, "position", False)
    one.clock(65_000)
    assert "stale" not in row(one, "positions", btc.id)
    one.clock(65_001)
    assert row(one, "positions", btc.id)["stale"] == {"since": 40_000, "reason": "mark_feed"}


def test_where_a_stream_stopped_the_marks_of_positions_make_every_row_of_the_symbol_fresh() -> None:
    one = engine(OKX, msgspec.structs.replace(OKX, name="okx-other"))
    btc, same = position(), position(account="okx-other")
    one.turn([btc, same, feed("live", None, connection="public"), mark("110")], 10_000)
    one.clock(35_001)
    held = [row(one, "positions", each.id) for each in (btc, same)]
    assert [found["stale"]["reason"] for found in held] == ["mark_feed", "mark_feed"]
    one.turn([position(fence=(2,), mark_price="110", venue_at=40_000)], 40_000)  # the mark is no other one: only fresh
    assert ["stale" in row(one, "positions", each.id) for each in (btc, same)] == [False, False]


def test_slow_figures_of_feeds_come_with_the_clock() -> None:
    one = engine()
    one.turn([position(), feed("live", None, connection="public"), mark("111", at=9_958)], 10_000)
    assert "lag_ms" not in row(one, "feeds", "okx:public")
    one.clock(11_000, {"okx:public": 10_400})
    found = row(one, "feeds", "okx:public")
    assert (found["last_message_at"], found["lag_ms"]) == (10_000, 40)
    assert not one.clock(12_000, {"okx:public": 10_900}), "nothing that is shown changed"


def test_restored_rows_say_so_until_the_venue_speaks() -> None:
    one = engine()
    kept, gone = position(), position("ETH-USDT-SWAP")
    one.restore([instrument(), balance(), kept, gone, position(account="unconfigured")], 10_000)
    assert row(one, "positions", kept.id)["stale"] == {"since": 10_000, "reason": "restored"}
    assert row(one, "positions", kept.id)["unrealized_pnl"] == pytest.approx(20.0)
    assert len(one.positions) == 2, "accounts that are not configured any more are not shown"
    one.turn([PositionsSnapshot(account="okx-main", scope="positions", positions=(kept,))], 11_000)
    assert set(one.tables["positions"].ids()) == {kept.id}
    assert "stale" not in row(one, "positions", kept.id)


def test_what_was_restored_gives_way_to_a_venue_whose_order_began_anew() -> None:
    one = engine()
    kept = position(fence=(900,))
    one.restore([msgspec.structs.replace(balance(), fence=(900,)), kept], 10_000)
    said = position(size="3", fence=(5,))
    snapshot = PositionsSnapshot(account="okx-main", scope="positions", positions=(said,), asked_at=10_500)
    one.turn([snapshot, msgspec.structs.replace(balance(), fence=(5,), available="7")], 11_000)
    found = row(one, "positions", kept.id)
    assert (found["size"], "stale" in found) == ("3", False)
    assert row(one, "accounts", "okx-main")["available"] == "7"
    one.turn([position(size="2", fence=(4,))], 12_000)
    assert row(one, "positions", kept.id)["size"] == "3", "from then on the venue's order counts again"


def test_isolated_margins_are_counted_once_whether_the_venue_took_them_out_of_the_balance_or_not() -> None:
    one = engine()
    isolated = position(margin_mode="isolated", isolated_cash="20")
    inside = CoinBalance(ccy="USDT", total="1000", cash="1000", usd_price="1")
    for apart, equity in ((False, 1020.0), (True, 1040.0)):
        coin = msgspec.structs.replace(inside, isolated_apart=apart)
        one.turn([isolated, balance(coins=(coin,), pools=())], 1_000)
        assert row(one, "accounts", "okx-main")["equity"] == {"USDT": pytest.approx(equity)}


def test_equity_without_a_stated_cash_is_anchored_on_the_venues() -> None:
    one = engine()
    pool = PoolState(pool="USDT", ccy="USDT", cash=None, venue_equity="500")
    one.turn([position(), balance(pools=(pool,))], 1_000)
    one.turn([mark("115")], 2_000)
    found = row(one, "accounts", "okx-main")["pools"]["USDT"]
    assert found["equity"] == pytest.approx(510.0)
    assert found["source"] == "venue"


@pytest.mark.parametrize(("asked_at", "kept"), [(1_000, 30.0), (8_000, 0.0)])
def test_what_an_equity_holds_beyond_its_rows_is_kept_only_of_one_answer(asked_at: int, kept: float) -> None:
    # Two questions of one round: the mark moved between their answers, and what it moved is no money of the account.
    one = engine()
    pool = PoolState(pool="USDT", ccy="USDT", cash="1000", venue_equity="1050")
    asked = [balance(pools=(pool,), scope="positions", asked_at=1_000), snapshot(position(), asked_at=asked_at)]
    one.turn([*asked, mark("110")], 9_000)
    assert row(one, "accounts", "okx-main")["pools"]["USDT"]["equity"] == pytest.approx(1_020.0 + kept)


def test_an_account_in_a_mode_that_cannot_be_computed_keeps_the_venues_figures() -> None:
    one = engine()
    btc = position(venue_liquidation_price=None, liquidation_known="unknown")
    one.turn([balance(), btc, AccountMode(account="okx-main", mode="portfolio margin", computable=False)], 1_000)
    assert row(one, "positions", btc.id)["liquidation_source"] == "unknown"
    assert row(one, "accounts", "okx-main")["mode"] == "portfolio margin"
    assert row(one, "accounts", "okx-main")["nearest_liquidation"] == {"id": btc.id}, "unknown is nearest of all"


def test_options_keep_the_venues_figures() -> None:
    one = engine()
    option = position(
        "BTC-USD-260101-100000-C", kind="option", venue_unrealized_pnl="-0.5", mark_price="0.01", entry_price="0.02"
    )
    one.turn([balance(), option], 1_000)
    found = row(one, "positions", option.id)
    assert found["unrealized_pnl"] == pytest.approx(-0.5)
    assert "notional" not in found
    assert row(one, "accounts", "okx-main")["partly_modelled"] == [option.id]


def test_summary_and_shares_are_published_by_the_clock_only_when_they_change() -> None:
    one = engine(OKX, BYBIT, DEMO)
    btc = position()
    other = position("BTCUSDT", "bybit-main", side="short", pool="USD")
    demo = position(account="okx-demo", size="100")
    one.turn([balance(), instrument(), instrument("BTCUSDT", "bybit"), btc, other, demo], 1_000)
    assert one.clock(2_000)
    found = row(one, "summary", "ann")
    assert found["total_positions"] == 2, "demo never enters live totals"
    assert found["net_exposure"] == {"BTC": 0.0}
    assert found["gross_exposure"] == {"BTC": 440.0}
    assert found["exchange_distribution"] == {"bybit": 0.5, "okx": 0.5}
    assert row(one, "summary", "ann:demo")["total_positions"] == 1
    assert row(one, "positions", btc.id)["weight"] == 0.5
    assert not one.clock(3_000)


def test_marks_are_wanted_for_open_positions_alone() -> None:
    one = engine()
    version = one.market.version
    btc = position()
    one.turn([btc], 1_000)
    assert one.market.wanted() == {("okx", "live"): {"BTC-USDT-SWAP"}}
    assert one.market.wanted_currencies() == {("okx", "live"): {"USDT"}}
    assert one.market.version > version
    one.turn([closed(btc, (2,))], 2_000)
    assert one.market.wanted() == {}


def test_events_of_an_unknown_account_are_counted_not_shown() -> None:
    one = engine()
    one.turn([position(account="nobody"), balance(account="nobody")], 1_000)
    assert one.counters["unknown_account"] == 2
    assert not len(one.tables["positions"])


def test_a_venue_that_counts_anew_after_our_restart_is_believed() -> None:
    one = engine()
    one.restore([position(fence=(900,)), balance(fence=(900,))], 10_000)
    fresh = position(fence=(3,), size="7")
    one.turn([PositionsSnapshot(account="okx-main", scope="positions", positions=(fresh,), asked_at=10_001)], 10_002)
    one.turn([balance("1500", fence=(3,))], 10_003)
    assert row(one, "positions", fresh.id)["size"] == "7"
    assert "stale" not in row(one, "positions", fresh.id)
    assert row(one, "accounts", "okx-main")["balances"] == {"USDT": "1500"}


class Written:
    """A sink that remembers the last state."""

    def __init__(self) -> None:
        self.positions: dict[str, PositionState] = {}
        self.others: list[object] = []

    def put_position(self, state: PositionState, seq: int) -> None:
        self.positions[state.id] = state

    def remove_position(self, row_id: str, seq: int) -> None:
        del self.positions[row_id]

    def put_instrument(self, instrument: object) -> None:
        self.others.append(instrument)

    put_tiers = put_collateral = put_balance = put_mode = put_instrument
    put_fill = put_funding = put_transfer = put_correction = put_closed = put_instrument


def test_what_is_durable_goes_to_the_sink_and_what_was_restored_does_not() -> None:
    sink = Written()
    one = engine(sink=sink)
    btc, eth = position(), position("ETH-USDT-SWAP")
    one.restore([btc], 1_000)
    assert not sink.positions
    one.turn([instrument(), balance(), eth], 2_000)
    assert set(sink.positions) == {eth.id}
    assert len(sink.others) == 2
    one.turn([closed(eth, (2,))], 3_000)
    assert not sink.positions
    assert isinstance(sink.others[-1], ClosedCycle)


def test_every_event_of_the_seam_has_its_handler() -> None:
    """A type that the codecs can emit and the engine does not know would fail the turn it comes in."""
    # Parts of other events, never emitted themselves; and the answer to a question that a service asks, not the gateway.
    # The venues' own books go past the engine, to the storage.
    parts = {"CoinBalance", "PoolState", "MarginTier", "CollateralTier", "FreeBalance", "ClosedPnl"}
    stored = {"AlertRecord", "Silence", "EquitySample"}  # our own records: they come from storage alone
    one = engine()
    emitted = {cls for cls in vars(events).values() if isinstance(cls, type) and issubclass(cls, events.Event)}
    named = {cls.__name__ for cls in emitted - {events.Event}} - parts
    assert named | stored == {cls.__name__ for cls in one._public | one._of_account}


def test_a_bought_option_binds_no_margin_is_no_dust_and_no_price_liquidates_it() -> None:
    one = engine()
    option = position(
        "BTC-USD-261225-100000-C",
        kind="option",
        venue_unrealized_pnl="0.5",
        leverage=None,
        venue_maintenance_margin=None,
        venue_liquidation_price=None,
    )
    one.turn([option, position()], 1_000)
    row = one.tables["positions"].get(option.id).row  # type: ignore[union-attr]
    assert row["liquidation_source"] == "none"
    assert row["margin"] == 0
    assert row["maintenance_margin"] == 0
    assert "dust" not in row
    assert "base_quantity" not in row
    assert "maintenance" not in row.get("missing", ())


def test_a_summary_of_accounts_of_which_nothing_is_known_any_more_goes_away() -> None:
    one = engine(BYBIT)
    one.turn([position(account="bybit-main")], 1_000)
    one.clock(2_000)
    assert [found["total_positions"] for found in rows(one, "summary")] == [1]
    one.forget_account_rows("bybit-main", "gone", 3_000)
    one.clock(4_000)
    assert rows(one, "summary") == []
