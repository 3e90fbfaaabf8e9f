"""What is put on record of a life: which inputs become entries, and which prices become samples before them."""

from __future__ import annotations

from exchanges.events import CurrencyPrice, FundingRate, Price
from gateway.core.alerts.records import Silence
from gateway.core.journal import Entry, MarkSample, decode
from gateway.core.records import Demanded
from gateway.core.scribe import Group
from tests.gateway.events_of import BYBIT, OKX, balance, feed, fill, instrument, mark, position, snapshot
from tests.gateway.life import Life

T0 = 1_760_000_000_000
BTC, ETH = "BTC-USDT-SWAP", "ETH-USDT-SWAP"


def holding() -> Life:
    """Return a life in which OKX holds BTC and ETH and Bybit holds BTC, with nothing put down since."""
    life = Life(OKX, BYBIT, at=T0)
    life.turn(position(), position(ETH), position(account="bybit-main"), at=T0)
    life.rows.clear()
    return life


def told(row: Entry | MarkSample) -> object:
    """Return what a row says in short."""
    if isinstance(row, MarkSample):
        return row.kind, row.venue, row.symbol, row.value
    return row.kind, row.account, [type(event).__name__ for event in decode(row.body)] if row.body else []


def test_prices_alone_are_no_entry_and_each_is_sampled_once_before_the_next_clock_turn() -> None:
    life = holding()
    life.turn(mark("120", at=T0 + 5), at=T0 + 10)
    life.turn(mark("121", at=T0 + 15), mark("50", ETH, at=T0 + 15), at=T0 + 20)
    assert life.rows == []
    life.clock(T0 + 1_000)
    assert [told(row) for row in life.rows] == [
        ("mark", "okx", BTC, "121"), ("mark", "okx", ETH, "50"), ("clock", None, []),
    ]  # fmt: skip
    sample = life.samples()[0]
    assert (sample.at, sample.venue_at, sample.turn) == (T0 + 20, T0 + 15, life.rows[-1].turn), "as it came, and seen"
    life.rows.clear()
    life.clock(T0 + 2_000)
    assert [told(row) for row in life.rows] == [("clock", None, [])], "nothing came since"


def test_before_an_accounts_turn_goes_what_the_account_holds_and_nothing_else() -> None:
    life = holding()
    life.turn(mark("120"), mark("50", ETH), mark("99", BTC, "bybit"), at=T0 + 10)
    life.turn(fill(account="bybit-main"), at=T0 + 20)
    assert [told(row) for row in life.rows] == [
        ("mark", "bybit", BTC, "99"), ("turn", "bybit-main", ["Fill"]),
    ]  # fmt: skip
    life.rows.clear()
    life.turn(fill(at=6_000), at=T0 + 30)
    assert [told(row) for row in life.rows] == [
        ("mark", "okx", BTC, "120"), ("mark", "okx", ETH, "50"), ("turn", "okx-main", ["Fill"]),
    ]  # fmt: skip


def test_a_price_between_two_events_of_a_turn_stays_between_them() -> None:
    life = holding()
    life.turn(
        mark("120", at=T0 + 1), position(fence=(2,), venue_at=T0 + 2), mark("121", at=T0 + 3), mark("122", at=T0 + 4),
        mark("7", BTC, "bybit"), fill(), at=T0 + 10,
    )  # fmt: skip
    assert [told(row) for row in life.rows] == [
        ("mark", "okx", BTC, "120"),
        ("turn", "okx-main", ["PositionState"]),
        ("mark", "okx", BTC, "122"),
        ("turn", "okx-main", ["Fill"]),
    ], "the newest of neighbours; that of another account waits"
    assert len({row.turn for row in life.rows}) == 1
    assert [row.id for row in life.rows] == sorted(row.id for row in life.rows)


def test_entries_of_a_turn_are_of_one_account_each_and_know_their_raw_entries() -> None:
    life = holding()
    one = life.scribe.raw("ws", "okx-main", "okx", "private", b'{"a":1}', T0 + 9, request_id="r", venue_at=T0 + 8)
    two = life.scribe.raw("rest", "bybit-main", "bybit", "rest", "\0", T0 + 9, request="/v5/positions")
    groups: list[Group] = [
        (one, [fill(), balance("7")]),
        (None, [feed("live", None)]),
        (two, [fill(account="bybit-main", id="x")]),
    ]
    life.groups(groups, at=T0 + 10)
    assert [(row.account, row.user, row.venue, row.causes) for row in life.entries("turn")] == [
        ("okx-main", "ann", "okx", (one,)), (None, None, None, ()), ("bybit-main", "ann", "bybit", (two,)),
    ]  # fmt: skip
    raw = life.entries("ws", "rest")
    assert [(row.id, row.turn, row.body, row.request, row.request_id, row.venue_at) for row in raw] == [
        (one, 0, '{"a":1}', None, "r", T0 + 8), (two, 0, "�", "/v5/positions", None, None),
    ]  # fmt: skip


def test_what_is_put_in_a_turn_came_by_an_entry_of_that_turn() -> None:
    life = holding()
    old = life.scribe.raw("ws", "okx-main", "okx", "private", "{}", T0 + 8)
    one = life.scribe.raw("ws", "okx-main", "okx", "private", "{}", T0 + 9)
    two = life.scribe.raw("ws", "bybit-main", "bybit", "private", "{}", T0 + 9)
    life.scribe.raw("ws", "okx-main", "okx", "private", "{}", T0 + 10)
    origin = life.scribe.origin
    life.scribe.begin([(old, [fill()]), (one, [balance("7")]), (two, [fill(account="bybit-main", id="x")])], T0 + 10)
    assert origin("fills", fill().id, "okx-main") == old
    assert origin("fills", "x", "bybit-main") == two
    assert origin("balances", "okx-main:account", "okx-main") == one, "else the last that told of the account"
    assert origin("fills", "y", "nobody") is None
    life.scribe.end(1)
    life.scribe.begin_clock(T0 + 11)
    assert origin("current_positions", position().id, "okx-main") is None, "time said so"
    assert origin("fills", fill().id, "okx-main") is None
    life.scribe.end(2)
    assert origin("current_positions", position().id, "okx-main") is None, "nor does what came before say it"


def test_records_of_the_books_came_by_the_last_answer() -> None:
    """They are no events of turns: who reads them puts them as soon as they came."""
    life = holding()
    answer = life.scribe.raw("rest", "okx-main", "okx", "rest", "[]", T0 + 8)
    life.scribe.raw("ws", "okx-main", "okx", "private", "{}", T0 + 9)
    assert life.scribe.origin("fills", "z", "okx-main") == answer
    assert life.scribe.origin("fills", "z", "bybit-main") is None
    life.scribe.begin_clock(T0 + 10)
    assert life.scribe.origin("fills", "z", "okx-main") is None


def test_the_positions_of_a_snapshot_are_known_by_their_own_ids() -> None:
    life = holding()
    life.scribe.begin([(41, [snapshot(position(fence=(3,)))])], T0)
    assert life.scribe.origin("positions", position().id, "okx-main") == 41
    life.scribe.end(0)


def test_what_is_announced_again_unchanged_is_no_news() -> None:
    life = holding()
    life.turn(instrument(), at=T0 + 10)
    life.turn(instrument(), at=T0 + 20)
    life.turn(instrument(max_leverage="50"), at=T0 + 30)
    assert [told(row) for row in life.rows] == [("turn", None, ["Instrument"])] * 2


def test_funding_rates_and_index_prices_wait_for_the_clock_and_currencies_say_what_they_count_as() -> None:
    life = holding()
    life.turn(balance(), at=T0 + 5)
    life.rows.clear()

    def rate(value: str, at: int) -> FundingRate:
        return FundingRate(venue="okx", env="live", symbol=BTC, rate=value, at=at)

    life.turn(rate("0.0001", 1), rate("0.0002", 2), at=T0 + 10)
    life.turn(Price(venue="okx", env="live", symbol=BTC, value="119", kind="index"), at=T0 + 11)
    life.turn(CurrencyPrice(venue="okx", env="live", ccy="BTC", usd="100", quote="USDT"), at=T0 + 12)
    life.turn(CurrencyPrice(venue="okx", env="live", ccy="USDT", usd="0.999"), at=T0 + 13)
    life.clock(T0 + 1_000)
    assert [told(row) for row in life.rows] == [
        ("index", "okx", BTC, "119"), ("usd", "okx", "BTC", "99.9"), ("usd", "okx", "USDT", "0.999"),
        ("turn", None, ["FundingRate"]), ("clock", None, []),
    ]  # fmt: skip
    life.rows.clear()
    life.turn(rate("0.0002", 3), CurrencyPrice(venue="okx", env="live", ccy="USDT", usd="0.9990001"), at=T0 + 1_010)
    life.clock(T0 + 2_000)
    assert [told(row) for row in life.rows] == [("clock", None, [])], "the same rate; and a hair does not count"


def test_what_people_order_and_what_is_corrected_is_on_record() -> None:
    life = holding()
    silence = Silence(id="s", at=T0, until=T0 + 9, by="ann")
    life.order(silence)
    life.order(Demanded(account="okx-main"))
    assert [(row.account, list(decode(row.body))) for row in life.entries("operator")] == [
        (None, [silence]), ("okx-main", [Demanded(account="okx-main")]),
    ]  # fmt: skip
    life.turn(snapshot(account="okx-main", asked_at=T0 + 4), at=T0 + 5)
    life.clock(T0 + 20_000)
    assert [list(decode(row.body)) for row in life.entries("correction")] == [[one] for one in life.sink.corrections]
    assert life.sink.corrections
