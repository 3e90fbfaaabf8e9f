"""A life gone through again stands as the one that was lived: its tables whole after a good end, what venues said at any entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from exchanges.events import (
    AccountMode,
    CoinBalance,
    CurrencyPrice,
    Event,
    FundingPayment,
    FundingRate,
    HistoryRead,
    OpenOrders,
    PoolState,
    PositionState,
    Price,
    Transfer,
    VerificationFailed,
    Verified,
)  # fmt: skip
from gateway.config import Config
from gateway.core.accounts import AccountInfo
from gateway.core.alerts.records import Silence
from gateway.core.beginning import Base
from gateway.core.journal import DAY_MS, Entry, Lost, Places, decode, moment
from gateway.core.records import Demanded, Forgotten
from gateway.engine import Engine
from gateway.journalling import Journal
from gateway.replay import Replay
from gateway.rewind import GapInJournal, NothingKept, Rewind, conditions
from tests.gateway.events_of import (
    BYBIT,
    OKX,
    balance,
    feed,
    fill,
    instrument,
    mark,
    order,
    position,
    snapshot,
)  # fmt: skip
from tests.gateway.life import Life, again, venue_sent, whole
from tests.recordings import needs_recordings, recordings

T0 = 1_760_000_000_000
SYMBOLS = ("BTC-USDT-SWAP", "ETH-USDT-SWAP")
CCYS = ("USDT", "BTC")


def price(ccy: str, usd: str, venue: str = "okx", quote: str = "USD") -> CurrencyPrice:
    return CurrencyPrice(venue=venue, env="live", ccy=ccy, usd=usd, quote=quote)


Make = Callable[[int, int], Event]  # of a moment, with a number that rises


def made(build: Callable[..., Event], *drawn: st.SearchStrategy[Any]) -> st.SearchStrategy[Make]:
    """Draw events that are made of a moment, a number that rises, and what is drawn."""
    return st.tuples(*drawn).map(lambda found: lambda at, fence: build(at, fence, *found))


def held(at: int, fence: int, account: str, symbol: str, size: str, side: str, mark_price: str) -> PositionState:
    """Return a report of a position, which has a liquidation price."""
    return position(
        symbol, account, size=size, side=side, id=f"{account}:{symbol}", fence=(fence,), venue_at=at - 5,
        mark_price=mark_price, venue_liquidation_price="60" if side == "long" else "170", liquidation_known="price",
    )  # fmt: skip


def full(at: int, fence: int, account: str, rows: list[tuple[str, str, str, str]]) -> Event:
    """Return an answer with every position of an account."""
    states = {symbol: held(at, fence, account, symbol, *row) for symbol, *row in rows}
    return snapshot(*states.values(), account=account, asked_at=at - 20, fence=(fence,))


def funds(at: int, _fence: int, account: str, cash: int, btc: int) -> Event:
    """Return balances: a pool in USDT on OKX, one in dollars on Bybit."""
    own = PoolState(pool="USDT", ccy="USDT", cash=str(cash)) if account == "okx-main" else (
        PoolState(pool="USDT", ccy="USD", from_coins=True)
    )  # fmt: skip
    coins = (
        CoinBalance(ccy="USDT", total=str(cash), cash=str(cash), usd_price="1"),
        CoinBalance(ccy="BTC", total=str(btc / 100), cash=str(btc / 100), usd_price="100"),
    )
    return balance(str(cash), account, venue_at=at - 3, coins=coins, pools=(own,))


def filled(at: int, _fence: int, account: str, symbol: str, number: int, side: Any) -> Event:
    """Return a fill that says what it brought."""
    return fill(
        side, "1", at - 10, account=account, symbol=symbol, id=f"{account}:f{number}", fee="-0.1", fee_ccy="USDT",
        realized_pnl="3.5",
    )  # fmt: skip


ACCOUNT, SYMBOL = st.sampled_from(("okx-main", "bybit-main")), st.sampled_from(SYMBOLS)
SIZE, SIDE = st.sampled_from(("1", "2", "3.5")), st.sampled_from(("long", "short"))
CENTS = st.integers(5_000, 15_000).map(lambda n: f"{n / 100:.2f}")
FEW, HAIRS = st.integers(0, 5), st.integers(-60, 60)
PRICES = (
    made(lambda at, _, s, v, late: mark(v, s, "okx", at - late), SYMBOL, CENTS, st.sampled_from((0, 100, 3_000))),
    made(lambda _at, _, s, v: mark(v, s, "bybit", None), SYMBOL, CENTS),
    made(lambda at, _, s, v: Price(venue="okx", env="live", symbol=s, value=v, kind="index", at=at), SYMBOL, CENTS),
    made(lambda _at, _, c, n: price(c, f"{1 + n / 10_000_000:.7f}"), st.sampled_from(CCYS), HAIRS),
    made(lambda _at, _, n: price("BTC", f"{100 + n / 10_000:.4f}", "bybit", "USDT"), HAIRS),
    made(
        lambda at, _, s, n: FundingRate(
            venue="okx", env="live", symbol=s, rate=f"0.000{n}", next_at=T0 + 9**8, at=at, paid_on="index"
        ),
        SYMBOL, FEW,
    ),
)  # fmt: skip
RECORDS = (
    made(filled, ACCOUNT, SYMBOL, st.integers(0, 12), st.sampled_from(("buy", "sell"))),
    made(
        lambda at, _, a, s, n: FundingPayment(account=a, id=f"{a}:p{n}", symbol=s, amount="-0.25", ccy="USDT", at=at - 7),
        ACCOUNT, SYMBOL, FEW,
    ),
    made(
        lambda at, _, a, n: Transfer(account=a, id=f"{a}:t{n}", kind="deposit", ccy="BTC", amount="1", at=at), ACCOUNT, FEW
    ),
    made(lambda _at, fence, a, n, is_open: order(str(n), account=a, open=is_open, fence=(fence,)), ACCOUNT, FEW, st.booleans()),
    made(lambda at, _, a: OpenOrders(account=a, scope="orders", orders=(), asked_at=at - 15), ACCOUNT),
    made(lambda at, _, a: Verified(account=a, asked_at=at - 30), ACCOUNT),
    made(lambda at, _, a: VerificationFailed(account=a, at=at, error="away"), ACCOUNT),
    made(lambda at, _, a: HistoryRead(account=a, since=at - 60_000, asked_at=at - 5), ACCOUNT),
)  # fmt: skip
STANDING = (
    made(funds, ACCOUNT, st.integers(10, 2_000), st.integers(0, 300)),
    made(lambda _at, _, a, m: AccountMode(account=a, mode=m), ACCOUNT, st.sampled_from(("one", "two"))),
    made(lambda at, _, state, a: feed(state, a, at=at), st.sampled_from(("live", "down")), ACCOUNT),
    made(
        lambda at, _, state, v: feed(state, None, v, at=at), st.sampled_from(("live", "down")), st.sampled_from(("okx", "bybit"))
    ),
    made(
        lambda _at, _, s, v, most: instrument(s, v, max_leverage=most),
        SYMBOL, st.sampled_from(("okx", "bybit")), st.sampled_from(("50", "100")),
    ),
)  # fmt: skip
POSITIONS = (
    made(held, ACCOUNT, SYMBOL, SIZE | st.just("0"), SIDE, CENTS),
    made(full, ACCOUNT, st.lists(st.tuples(SYMBOL, SIZE, SIDE, CENTS), max_size=2)),
)
MAKE = st.one_of(*PRICES, *PRICES, *POSITIONS, *POSITIONS, *RECORDS, *STANDING)
ORDERS: tuple[Callable[[int], Any], ...] = (
    lambda _: Demanded(account="okx-main"),
    lambda _: Forgotten(account="bybit-main", reason="gone"),
    lambda at: Silence(id="s", at=at, until=at + 5_000, by="ann"),
)
STEP = st.one_of(
    *[st.lists(MAKE, min_size=1, max_size=5)] * 4, st.just("clock"), st.just("clock"), st.sampled_from(ORDERS)
)
PAUSE = st.sampled_from((0, 1, 40, 300, 1_000, 2_500, 11_000))


def steps() -> st.SearchStrategy[list[tuple[str, Any]]]:
    """Draw a life: turns of events of two accounts, clock turns, and orders; times rise."""
    return st.lists(st.tuples(PAUSE, STEP), min_size=5, max_size=40).map(dated)


def dated(drawn: list[tuple[int, Any]]) -> list[tuple[str, Any]]:
    """Give what was drawn its moments and numbers."""
    found: list[tuple[str, Any]] = []
    at, fence = T0, 0
    for pause, step in drawn:
        at += pause
        if step == "clock":
            found.append(("clock", at))
        elif isinstance(step, list):
            found.append(("turn", ([make(at, fence + number) for number, make in enumerate(step, 1)], at)))
            fence += len(step)
        else:
            found.append(("order", (step(at), at)))
    return found


def live(drawn: list[tuple[str, Any]], config: Config | None = None) -> Life:
    """Live a drawn life."""
    life = Life(OKX, BYBIT, at=T0, config=config)
    for kind, what in drawn:
        going_on(life, kind, what)
    return life


def going_on(life: Life, kind: str, what: Any) -> None:
    """Live a step."""
    if kind == "clock":
        life.clock(what)
    elif kind == "order":
        life.order(*what)
    else:
        events, at = what
        life.turn(*events, at=at)


CONFIG = Config(models=Config().models.__class__(promoted=("okx_cross", "bybit_cross")))


@settings(max_examples=100)
@given(steps())
def test_after_a_good_end_the_tables_are_the_same_whole(drawn: list[tuple[str, Any]]) -> None:
    life = live(drawn, CONFIG)
    life.close()
    assert whole(again(life.rows)) == whole(life.engine)


@settings(max_examples=150)
@given(steps(), st.data())
def test_a_replay_from_a_base_in_the_middle_of_a_life_ends_with_the_same_tables(
    drawn: list[tuple[str, Any]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(drawn)))
    life = live(drawn[:cut], CONFIG)
    before, rest = len(life.rows), life.base()
    for kind, what in [*drawn[cut:], ("end", None)]:
        next(rest, None)
        if kind != "end":
            going_on(life, kind, what)
    for _ in rest:
        pass
    life.close()
    assert whole(again(life.rows[before:])) == whole(life.engine)
    assert whole(again(life.rows)) == whole(life.engine)


@settings(max_examples=60)
@given(steps(), st.data())
def test_at_every_entry_it_stands_as_the_venues_said(drawn: list[tuple[str, Any]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(drawn)))
    life = live(drawn[:cut])
    kept, sent = len(life.rows), venue_sent(life.engine)
    for kind, what in drawn[cut:]:
        if kind == "turn":
            life.turn(*what[0], at=what[1])
    assert venue_sent(again(life.rows[:kept])) == sent


def test_without_a_base_nothing_can_be_said() -> None:
    with pytest.raises(NothingKept, match="choose a later moment"):
        Rewind().finish()


def some(life: Life) -> Life:
    """Let a life have a bit of everything."""
    life.turn(feed("live"), feed("live", None), instrument(), balance(), at=T0)
    life.turn(position(fence=(1,), venue_at=T0), order("1"), fill("buy", at=T0 - 5), at=T0 + 5)
    life.clock(T0 + 1_000)
    life.turn(mark("120", at=T0 + 1_100), price("USDT", "0.9991"), at=T0 + 1_100)
    life.turn(
        position(fence=(2,), size="3", venue_at=T0 + 1_200, mark_price="121"),
        fill("buy", "1", T0 + 1_150),
        at=T0 + 1_200,
    )
    life.clock(T0 + 2_000)
    return life


def test_a_base_in_the_middle_of_a_life_is_begun_with_where_something_is_missing() -> None:
    life = some(Life(OKX, at=T0))
    before = len(life.rows)
    now = T0 + 2_500
    for _ in life.base(now):
        pass
    life.turn(position(fence=(3,), size="4", venue_at=now, mark_price="122"), at=now + 500)
    life.clock(now + 1_000)
    life.close()
    assert whole(again(life.rows)) == whole(life.engine), "a life that is whole goes on"
    from_there = again(life.rows[before:])
    assert venue_sent(from_there) == venue_sent(life.engine)
    assert whole(from_there)["fills"] == whole(life.engine)["fills"]
    torn = [*life.rows[: before - 4], lost(life.rows[before - 4 : before]), *life.rows[before:]]
    assert whole(again(torn)) == whole(from_there), "behind a gap it begins anew"


def lost(given_up: list[Any]) -> Entry:
    """Return the entry that stands for rows that were given up."""
    gap = Lost(since=given_up[0].id, until=given_up[-1].id, entries=len(given_up))
    return Entry(id=gap.until, at=T0, kind="lost", epoch="lived", body=msgspec.json.encode(gap).decode())


def test_nothing_goes_on_across_a_gap() -> None:
    life = some(Life(OKX, at=T0))
    gap, behind = life.rows[-6:-2], life.rows[-2:]
    torn = [*life.rows[:-6], lost(gap), *behind]
    known = moment(gap[0].id) - 1
    with pytest.raises(GapInJournal, match=f"4 entries and 0 samples.* can be said .*--until {known}") as refused:
        again(torn)
    assert refused.value.until == known
    assert refused.value.gap == Lost(since=gap[0].id, until=gap[-1].id, entries=4)
    later = [*torn[:-1], lost(behind[-1:])]
    with pytest.raises(GapInJournal) as refused:
        again(later)
    assert refused.value.gap == Lost(since=gap[0].id, until=behind[-1].id, entries=5), "neither is crossed"
    with pytest.raises(GapInJournal, match="no earlier moment either"):
        again([lost(life.rows[:4]), *life.rows[4:]])


def test_a_gap_of_which_nobody_knew_the_beginning_begins_behind_what_is_kept() -> None:
    life = some(Life(OKX, at=T0))
    before, gone = life.rows[:-6], life.rows[-6:-2]
    gap = Lost(since=1, until=gone[-1].id, file="spool.sqlite.unreadable-7")
    entry = Entry(id=gap.until, at=T0, kind="lost", epoch="lived", body=msgspec.json.encode(gap).decode())
    with pytest.raises(GapInJournal) as refused:
        again([*before, entry])
    assert refused.value.gap.since == before[-1].id + 1
    assert refused.value.until == moment(before[-1].id + 1) - 1


def test_rows_given_up_besides_an_unreadable_spool_may_have_what_is_kept_between_them() -> None:
    life = some(Life(OKX, at=T0))
    gap = Lost(since=life.rows[-9].id, until=life.rows[-5].id, entries=1, file="spool.sqlite.unreadable-7")
    entry = Entry(id=gap.until, at=T0, kind="lost", epoch="lived", body=msgspec.json.encode(gap).decode())
    with pytest.raises(GapInJournal) as refused:
        again([*life.rows[:-9], *life.rows[-8:-5], entry])
    assert refused.value.gap == gap


def test_a_gap_within_a_base_breaks_it_off() -> None:
    life = many(some(Life(OKX, at=T0)))
    before, now = len(life.rows), T0 + 6_000
    rest = life.base(now)
    next(rest)
    life.turn(position(fence=(3,), size="4", venue_at=now, mark_price="122"), at=now + 100)
    turns = life.rows[before + 1 :]
    for _ in rest:
        pass
    torn = [*life.rows[: before + 1], lost(turns), *life.rows[before + 1 + len(turns) :]]
    for rows in (torn, torn[before:]):
        with pytest.raises(GapInJournal):
            again(rows)
    for _ in life.base(now + 200):
        pass
    life.close()
    assert venue_sent(again([*torn, *life.rows[len(torn) - 1 + len(turns) :]])) == venue_sent(life.engine)


def many(life: Life) -> Life:
    """Let a life hold so much that a base of it is several entries."""
    for at in range(T0 + 3_000, T0 + 3_000 + 1_200):
        life.turn(fill("buy", at=at), at=T0 + 5_000)
    return life


def test_a_base_is_entries_of_bounded_size_and_turns_between_them_come_after_it() -> None:
    life = many(some(Life(OKX, at=T0)))
    before, now = len(life.rows), T0 + 6_000
    rest = life.base(now)
    next(rest)
    life.turn(position(fence=(3,), size="4", venue_at=now, mark_price="122"), at=now + 100)
    life.clock(now + 1_000)
    for number, _ in enumerate(rest):
        life.turn(position(fence=(4 + number,), size=str(5 + number), venue_at=now, mark_price="122"), at=now + 1_100)
    life.close()
    parts = [row for row in life.rows[before:] if isinstance(row, Entry) and row.kind == "base"]
    assert len({(row.epoch, row.turn) for row in parts}) == 1
    assert [row.seq for row in parts] == [len(parts)] * len(parts)
    assert len(parts) >= 2
    assert all(len(decode(bytes(msgspec.json.decode(row.body, type=Base).events))) <= 500 for row in parts)
    assert whole(again(life.rows)) == whole(life.engine), "a life that is whole goes on"
    from_there = again(life.rows[before:])
    assert venue_sent(from_there) == venue_sent(life.engine)
    assert whole(from_there)["fills"] == whole(life.engine)["fills"]
    with pytest.raises(NothingKept):
        again(life.rows[before : life.rows.index(parts[-1])])


def test_a_base_that_was_broken_off_is_no_beginning_and_the_next_one_is() -> None:
    life = many(some(Life(OKX, at=T0)))
    before, now = len(life.rows), T0 + 6_000
    next(life.base(now))
    life.turn(position(fence=(3,), size="4", venue_at=now, mark_price="122"), at=now + 100)
    for _ in life.base(now + 200):
        pass
    life.turn(position(fence=(4,), size="5", venue_at=now, mark_price="122"), at=now + 300)
    life.close()
    assert venue_sent(again(life.rows[before:])) == venue_sent(life.engine)


def test_a_turn_that_failed_fails_again_and_leaves_the_same_behind() -> None:
    life = Life(OKX, at=T0)
    bad = msgspec.structs.replace(position("ETH-USDT-SWAP"), size="much")
    with pytest.raises(ValueError):
        life.turn(position(), bad, mark("120"), at=T0 + 10)
    for one in (position(), bad, mark("120", at=T0 + 5)):
        with suppress(ValueError):
            life.turn(one, at=T0 + 10)
    life.close()
    rewind = Rewind()
    for row in life.rows:
        rewind.feed(row)
    assert whole(rewind.finish()) == whole(life.engine)
    assert rewind.failures == {"ValueError": 2}


def test_of_several_lives_the_last_one_stands() -> None:
    first, places = some(Life(OKX, at=T0)), Places()
    second = Life(OKX, at=T0 + 60_000, places=places, epoch="second", restored=(position(fence=(8,)),))
    second.turn(position(fence=(9,), size="7", venue_at=T0 + 61_000), at=T0 + 61_000)
    second.close()
    assert whole(again([*first.rows, *second.rows])) == whole(second.engine)


def captured(venue: str) -> Iterator[tuple[list[Event], int]]:
    """Yield the turns that captured messages of a venue's streams become, by its codecs."""
    turns: list[tuple[list[Event], int]] = []
    reader = Replay(lambda _: None)  # not every stream is read by both kinds of connections
    taken = reader.engine.turn

    def turn(events: Sequence[Event], now: int) -> bool:
        turns.append((list(events), now))
        return taken(events, now)

    reader.engine.turn = turn  # type: ignore[method-assign]
    at = T0
    for recording in recordings(venue, status="captured"):
        for message in recording.messages()[:30] if recording.kind.startswith("ws") else ():
            at += 250
            for via in ("ws-private", "ws-public"):
                line = {"at": at, "venue": venue, "account": "main", "via": via, "data": message}
                reader.feed([msgspec.json.encode(line)], recording.path.name)
    yield from ((events, now) for events, now in turns if events)


@needs_recordings
@pytest.mark.parametrize("venue", ["okx", "bybit", "hyperliquid"])  # of Aster no stream was captured
def test_what_venues_really_sent_is_gone_through_again_to_the_same_tables(venue: str) -> None:
    life, turns = Life(AccountInfo(name="main", venue=venue, env="live"), at=T0), list(captured(venue))
    for number, (events, at) in enumerate(turns):
        life.turn(*events, at=at)
        if number % 4 == 0:
            life.clock(at)
    life.close()
    assert turns
    assert whole(again(life.rows)) == whole(life.engine)


def test_a_price_that_comes_back_within_a_millisecond_is_no_repetition() -> None:
    life = Life(OKX, at=T0)
    life.turn(position(), at=T0)
    life.turn(mark("120", at=T0), at=T0)
    life.clock(T0)
    life.turn(mark("121", at=T0), fill(), at=T0)
    life.turn(mark("120", at=T0), at=T0)
    life.close()
    assert whole(again(life.rows)) == whole(life.engine)


def test_a_balance_counts_its_coins_at_the_prices_that_nobody_sampled() -> None:
    life = Life(BYBIT, at=T0)
    own = PoolState(pool="USDT", ccy="USD", cash="304", from_coins=True)  # BTC at 102
    coins = CoinBalance(ccy="USDT", total="100", cash="100", usd_price="1"), CoinBalance(ccy="BTC", total="2", cash="2")
    life.turn(balance("304", "bybit-main", coins=coins, pools=(own,)), at=T0)
    for at, usd in ((0, "100"), (200, "103"), (400, "101")):
        life.turn(price("BTC", usd, "bybit"), price("USDT", "1", "bybit"), at=T0 + at)
        if not at:
            life.clock(T0)
    some = balance("304", "bybit-main", coins=coins[:1], pools=(own,), full=False, venue_at=T0 + 450)
    life.turn(some, at=T0 + 500)
    life.clock(T0 + 1_000)
    life.close()
    assert life.engine.accounts["bybit-main"].prices_apart("account") == {"BTC": (101.0, 100.0, 103.0)}
    assert whole(again(life.rows)) == whole(life.engine)


def test_while_the_state_is_copied_the_time_waits_and_a_turn_copies_the_rest_first() -> None:
    steps_: list[Callable[[], None]] = []
    rows: list[Any] = []
    kept = SimpleNamespace(put_entry=rows.append, put_sample=rows.append)
    journal, engine = Journal(steps_.append), Engine("lived", (OKX,), Config().engine)
    journal.open(engine, (), conditions(Config()), (OKX,), T0, None, kept, Places())
    engine.restore((), T0)
    engine.errands()
    journal.turn(engine, [(None, [position(), balance(), feed("live")])], T0)
    journal.clock(engine, T0 + 1_000, {})
    before, tomorrow = len(rows), T0 // DAY_MS * DAY_MS + DAY_MS
    assert not journal.clock(engine, tomorrow, {})
    assert (journal.copying, len(steps_)) == (True, 1)
    assert len(rows) == before, "nothing is put down of what is not whole"
    journal.turn(engine, [(None, [position(size="7", fence=(9,))])], tomorrow + 5)
    assert not journal.copying
    assert rows[before].kind == "base", "it stands before the turn"
    assert rows[-1].kind == "turn"
    journal.clock(engine, tomorrow + 1_000, {})
    journal.close(engine, tomorrow + 2_000)
    again_ = again(rows[before:])
    assert whole(again_) == whole(engine)
    assert again_.positions.keys() == engine.positions.keys()
    assert not [one for one in again_.positions.values() if one.restored_at is not None]


def broken_base(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> tuple[Journal, Engine, list[Any], list[Callable[[], None]]]:
    """Return a life in which a day has begun whose base cannot be put down, with its rows and what is to be done later."""
    steps_: list[Callable[[], None]] = []
    rows: list[Any] = []
    journal, engine = Journal(steps_.append), Engine("lived", (OKX,), Config().engine)
    kept = SimpleNamespace(put_entry=rows.append, put_sample=rows.append)
    journal.open(engine, (), conditions(Config()), (OKX,), T0, None, kept, Places())
    engine.restore((), T0)
    journal.turn(engine, [(None, [position(), balance(), feed("live")])], T0)

    def broken() -> Iterator[None]:
        yield
        raise RuntimeError("dictionary changed size during iteration")

    def portion() -> str:
        raise TypeError("cannot pickle this")

    image = SimpleNamespace(
        copy=broken if where == "copy" else lambda: iter([None]), portions=lambda: [portion, lambda: ""]
    )
    monkeypatch.setattr(engine, "image", lambda: image)
    journal.clock(engine, T0 // DAY_MS * DAY_MS + DAY_MS, {})
    assert journal.copying
    return journal, engine, rows, steps_


@pytest.mark.parametrize("where", ["copy", "portion"])
def test_a_base_that_cannot_be_put_down_holds_up_nothing_and_is_counted(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    journal, engine, rows, steps_ = broken_base(monkeypatch, where)
    while steps_:
        steps_.pop()()
    assert not journal.copying
    assert journal.failures == 1
    assert journal.turn(engine, [(None, [position(size="7", fence=(9,))])], T0 + DAY_MS)
    assert rows[-1].kind == "turn"
    monkeypatch.undo()
    journal.renew(T0 + DAY_MS)
    while steps_:
        steps_.pop()()
    journal.close(engine, T0 + DAY_MS)
    assert journal.failures == 1
    assert whole(again(rows)) == whole(engine)


@pytest.mark.parametrize("where", ["copy", "portion"])
def test_a_turn_goes_on_where_the_rest_of_the_copy_fails(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    journal, engine, rows, _ = broken_base(monkeypatch, where)
    assert journal.turn(engine, [(None, [position(size="7", fence=(9,))])], T0 + DAY_MS)
    assert rows[-1].kind == "turn"


@pytest.mark.parametrize("where", ["copy", "portion"])
def test_a_life_ends_in_good_order_where_its_last_base_fails(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    journal, engine, rows, _ = broken_base(monkeypatch, where)
    journal.close(engine, T0 + DAY_MS)
    assert journal.failures == 1
    assert whole(again(rows)) == whole(engine)
