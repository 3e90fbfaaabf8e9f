"""Cases of what happened: fills, funding, causes and orders of a simulated venue, streamed and asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

from exchanges.errors import NotFound
from exchanges.events import (
    ClosedPnl,
    Event,
    Fill,
    FundingPayment,
    OpenOrders,
    Order,
    Transfer,
)
from exchanges.sim.revalue import Position
from exchanges.sim.world import Account
from tests.conformance.acts import found, held, lots, main, of, reopen
from tests.conformance.book import Book
from tests.conformance.case import scene
from tests.conformance.stage import Scene

# --- Fills, money and causes -----------------------------------------------------------------------------------------


@scene("A fill has one id and one content in the stream and in history", needs="fill_stream")
async def fills_are_the_same_everywhere(at: Scene) -> None:
    account = main(at)
    grown = held(at, account)
    book, since, before = at.private[account].book, at.now(), len(at.world.fills(account))
    at.hands.open_position(account, grown.symbol, grown.side, lots(at, grown, 2))
    at.hands.close_position(account, grown.symbol, grown.side, lots(at, grown))
    true = [(f.trade.size, f.trade.price, f.trade.fee) for f in at.world.fills(account)[before:]]

    def streamed() -> list[Fill]:
        return [fill for fill in book.fills.values() if fill.at >= since and fill.symbol == grown.symbol]

    await at.eventually(lambda: len(streamed()) == len(true), lambda: f"{len(true)} fills: {streamed()}")
    read = of(found(await at.ask(lambda: at.askers[account].history(since, [grown.symbol]))), Fill)
    assert {f.id: _said(f) for f in read if f.at >= since} == {f.id: _said(f) for f in streamed()}
    assert sorted((Decimal(f.size), Decimal(f.price)) for f in streamed()) == sorted((s, p) for s, p, _ in true)
    await at.agree(account)


def _said(fill: Fill) -> tuple[object, ...]:
    figures = (Decimal(fill.size), Decimal(fill.price), Decimal(fill.fee or "NaN").normalize(), fill.role, fill.side)
    return (*(str(figure) for figure in figures), fill.cause, fill.order_id, fill.at)


@scene("Fills state the size before them: a chain shows what is missing", needs="start_position")
async def fills_chain(at: Scene) -> None:
    account = main(at)
    grown = held(at, account)
    book, known = at.private[account].book, set(at.private[account].book.fills)
    for _ in range(2):
        at.hands.open_position(account, grown.symbol, grown.side, lots(at, grown))
    await at.eventually(lambda: len(book.fills.keys() - known) == 2, "two fills")
    sign = 1 if grown.side == "long" else -1
    starts = [Decimal(book.fills[id_].start_position or "NaN") for id_ in book.fills.keys() - known]
    assert sorted(map(abs, starts)) == [grown.size, grown.size + lots(at, grown)]
    assert all(start * sign > 0 for start in starts)


@scene("With a positive rate a long pays funding and a short receives it")
async def longs_pay_and_shorts_receive(at: Scene) -> None:
    symbol = _on_both_sides(at)
    since = at.now()
    counts = {account: len(at.world.payments(account)) for account in at.specs}
    at.hands.pay_funding(at.venue.name, symbol, Decimal("0.0001"))  # type: ignore[arg-type]
    sides = set()
    for account, asker in at.askers.items():
        paid = at.world.payments(account)[counts[account] :]
        read = of(found(await at.ask(lambda asker=asker: asker.history(since, [symbol]))), FundingPayment)  # type: ignore[misc]
        assert sorted(Decimal(p.amount) for p in read) == sorted(p.amount for p in paid), account
        for payment in paid:
            sides.add(payment.position.side)
            mine = [p for p in read if Decimal(p.amount) == payment.amount]
            assert mine
            assert (Decimal(mine[0].amount) < 0) == (payment.position.side == "long")
    assert sides == {"long", "short"}


def _on_both_sides(at: Scene) -> str:
    """Return a perpetual that is held long and short; where there is none, two accounts trade with each other."""
    positions = [p for account in at.specs for p in at.world.positions(account)]
    for one in positions:
        if at.world.contract(one.venue, one.symbol).kind == "perp" and any(
            p.symbol == one.symbol and p.side != one.side for p in positions
        ):
            return one.symbol
    one = held(at, main(at), mode="cross")
    other = next(account for account in at.specs if account != one.account)
    at.hands.open_position(other, one.symbol, "short" if one.side == "long" else "long", lots(at, one, 10))
    return one.symbol


@scene("Each funding payment is pushed, with the id that history gives it", needs="funding_stream")
async def funding_is_streamed(at: Scene) -> None:
    account = main(at)
    paying = held(at, account)
    stream, since = at.private[account], at.now()
    at.hands.pay_funding(at.venue.name, paying.symbol, Decimal("0.0002"))  # type: ignore[arg-type]
    await at.eventually(lambda: [p for p in stream.book.payments.values() if p.at >= since], "a payment")
    read = of(found(await at.ask(lambda: at.askers[account].history(since, [paying.symbol]))), FundingPayment)
    assert {p.id for p in stream.book.payments.values() if p.at >= since} == {p.id for p in read}


@scene("Who takes pays; who makes is paid where the venue rebates")
async def takers_pay_and_makers_are_rebated(at: Scene) -> None:
    owner = next(a for a in at.world.accounts_of(at.venue.name) if a.maker_fee < 0)  # type: ignore[arg-type]
    grown = next(p for p in at.world.positions(owner.name) if not at.world.contract(p.venue, p.symbol).inverse)
    since, buy, mark = at.now(), grown.side == "long", at.world.mark(grown.venue, grown.symbol)
    size = lots(at, grown, 10)  # enough for a fee that does not round to nothing
    at.hands.open_position(owner.name, grown.symbol, grown.side, size)
    price = mark * Decimal("0.99" if buy else "1.01")
    at.hands.fill_order(at.hands.place_order(owner.name, grown.symbol, buy, price, size), size)
    read = of(found(await at.ask(lambda: at.askers[owner.name].history(since, [grown.symbol]))), Fill)
    fees = {fill.role: Decimal(fill.fee) for fill in read if fill.at >= since and fill.fee is not None}
    assert fees["taker"] < 0 < fees["maker"], fees
    await at.agree(owner.name)


async def _named(at: Scene, account: str, symbol: str, cause: str, act: Any) -> None:
    """Act, and find the cause with its evidence in what the stream and history say."""
    since, stream = at.now(), at.private[account]
    asker = at.askers[account]
    act()
    await at.agree(account)

    def names(book: Book) -> list[str]:
        fills = [f.category for f in book.fills.values() if f.cause == cause and f.symbol == symbol and f.at >= since]
        return fills + [e.what for e in book.evidence if e.cause == cause and e.symbol == symbol and e.at >= since]

    read = Book()
    read.take(found(await at.ask(lambda: asker.history(since, [symbol]))).events, at.clock.now_ms())
    named = names(read) + names(stream.book)
    assert named, f"{cause} of {symbol} has no name in history: {list(read.fills.values())}"
    assert all(named), f"{cause} of {symbol} has no evidence"
    assert not [f for f in read.fills.values() if f.symbol == symbol and f.at >= since and f.cause != cause]


@scene("A liquidation is told from a trade, with the venue's words as evidence", needs="liquidation_cause")
async def a_liquidation_is_named(at: Scene) -> None:
    hit = held(at, main(at))
    await _named(at, hit.account, hit.symbol, "liquidation", lambda: at.hands.liquidate(hit.account, hit.symbol))
    reopen(at, hit)
    await at.agree(hit.account)


@scene("Auto-deleveraging is told from a trade, with the venue's words as evidence", needs="adl_cause")
async def adl_is_named(at: Scene) -> None:
    hit = held(at, main(at))
    await _named(at, hit.account, hit.symbol, "adl", lambda: at.hands.deleverage(hit.account, hit.symbol))
    reopen(at, hit)
    await at.agree(hit.account)


@scene("What the venue settles (an expired future, a delisted perpetual) is told from a trade", needs="settlement")
async def a_settlement_is_named(at: Scene) -> None:
    account = main(at)
    dated = "dated_futures" in at.venue.capabilities.features
    hit = held(at, account, "future" if dated else "perp")
    contract = at.world.contract(hit.venue, hit.symbol)
    if not dated:  # a delisting: the perpetual has an end from now on
        at.world.contracts[hit.venue, hit.symbol] = replace(contract, expires_at=at.world.now_ms + 10**9)
    await _named(at, account, hit.symbol, "settlement", lambda: at.hands.expire(hit.venue, hit.symbol))
    at.world.contracts[hit.venue, hit.symbol] = contract
    reopen(at, hit)
    await at.agree(account)


# --- Orders ----------------------------------------------------------------------------------------------------------


def _placed(at: Scene, owner: Account) -> tuple[Any, Position]:
    near = held(at, owner.name)
    buy, mark = near.side == "long", at.world.mark(near.venue, near.symbol)
    price = mark * Decimal("0.95" if buy else "1.05")
    return at.hands.place_order(owner.name, near.symbol, buy, price, lots(at, near, 5)), near


@scene("An order is found by its id while it is open and when it is done; one that is not there is none, not an error")
async def orders_are_found_by_id(at: Scene) -> None:
    owner = at.world.account(main(at))
    _, near = _placed(at, owner)
    scope = found(await at.ask(at.askers[owner.name].state))
    listed = [o for snapshot in of(scope, OpenOrders) for o in snapshot.orders if o.symbol == near.symbol]
    assert len(listed) == 1, listed
    order_id = listed[0].order_id
    (seen,) = of(found(await at.ask(lambda: at.askers[owner.name].order(near.symbol, order_id))), Order)
    assert (seen.id, seen.open) == (listed[0].id, True)
    at.hands.cancel_orders(owner.name, near.symbol)
    (done,) = of(found(await at.ask(lambda: at.askers[owner.name].order(near.symbol, order_id))), Order)
    assert (done.id, done.open) == (listed[0].id, False)
    missing = _unknown(order_id)
    answer = await at.ask(lambda: at.askers[owner.name].order(near.symbol, missing))
    assert isinstance(answer, NotFound) or not of(found(answer), Order), f"{answer!r}"


def _unknown(order_id: str) -> str:
    """Return an id of the same form that nobody was given."""
    return order_id[:-3] + ("999" if order_id[-3:] != "999" else "998")


@scene("A round lists every open order, with the stream's ids and scopes; one that ended is told", needs="order_stream")
async def open_orders_are_complete(at: Scene) -> None:
    owner = at.world.account(main(at))
    book = at.private[owner.name].book
    await at.eventually(lambda: not book.orders, lambda: f"of cases before: {book.orders}")
    order, near = _placed(at, owner)
    await at.eventually(lambda: [o for o in book.orders.values() if o.symbol == near.symbol], "the order")
    answer = found(await at.ask(at.askers[owner.name].state))
    listed = {o.id: (o.scope, o.side) for snapshot in of(answer, OpenOrders) for o in snapshot.orders}
    streamed = {o.id: (o.scope, o.side) for o in book.orders.values()}
    assert listed == streamed, f"asked {listed}, streamed {book.orders}"
    assert len(listed) == len(at.world.orders(owner.name))
    at.hands.fill_order(order, lots(at, near, 2))
    await at.eventually(
        lambda: [o for o in book.orders.values() if Decimal(o.filled or 0) == lots(at, near, 2)], "filled"
    )
    at.hands.cancel_orders(owner.name)
    await at.eventually(lambda: not book.orders, lambda: f"still open: {book.orders}")
    await at.agree(owner.name)


@scene("History brings every fill since a moment, and none of before")
async def history_is_complete(at: Scene) -> None:
    account = main(at)
    grown = held(at, account)
    at.hands.open_position(account, grown.symbol, grown.side, lots(at, grown))
    since, before = at.now() + 200, len(at.world.fills(account))
    await at.eventually(lambda: at.world.now_ms > since, "a moment later")
    for _ in range(3):
        at.hands.open_position(account, grown.symbol, grown.side, lots(at, grown))
    true = at.world.fills(account)[before:]
    read = of(found(await at.ask(lambda: at.askers[account].history(since, [grown.symbol]))), Fill)
    assert len({fill.id for fill in read}) == len(read)
    assert sorted(Decimal(f.size) for f in read) == sorted(f.trade.size for f in true)
    at.hands.close_position(account, grown.symbol, grown.side, lots(at, grown, 4))
    await at.agree(account)


# --- Books -----------------------------------------------------------------------------------------------------------

# Rows of a page, None: as many as the codec asks for. Where pages go by time alone, one must hold all of a moment.
_ROWS: dict[str, tuple[int | None, ...]] = {"okx": (3, 7, None), "bybit": (3, 7, None)}


@scene(
    "The books of windows that touch hold everything once, whatever a page holds and however much happens in a moment"
)
async def books_are_complete(at: Scene) -> None:
    account = main(at)
    grown = held(at, account)
    since, moments = at.now(), _busy_moments(at, grown)
    until = at.now()
    true = {
        Fill: [f for f in at.world.fills(account) if since <= f.at < until],
        FundingPayment: [p for p in at.world.payments(account) if since <= p.at < until],
        Transfer: [t for t in at.world.transfers(account) if since <= t.at < until],
    }
    keeper, traded = at.bookkeeper(account), sorted({fill.symbol for fill in true[Fill]})
    whole = await keeper.records(since, until, traded)
    for kind, happened in true.items():
        assert len([event for event in whole if isinstance(event, kind)]) == len(happened) > 0, kind
    _add_up(whole, true[Fill])
    once = Counter(_name(event) for event in whole)
    assert set(once.values()) == {1}, [name for name, count in once.items() if count > 1]
    random, chosen = Random(5), _ROWS.get(at.venue.name, (None,))
    for rows in chosen:
        moment = random.choice(moments)  # borders at a busy moment, beside one, and anywhere
        inside = {moment + 1, random.choice(moments), random.randrange(since, until)} if len(chosen) > 1 else {moment}
        borders = sorted({since, until, *inside})
        parts = [event for window in pairwise(borders) for event in await keeper.records(*window, traded, rows)]
        told = Counter(_name(event) for event in parts)
        assert told == once, f"{rows} rows a page, borders {borders}: too many {told - once}, too few {once - told}"
    await at.agree(account)


def _busy_moments(at: Scene, grown: Position) -> list[int]:
    """Let much happen to an account in single milliseconds, and return them."""
    account, symbol, lot = grown.account, grown.symbol, lots(at, grown)
    purse, moments = next(iter(at.world.account(account).cash)), []
    others = [
        p
        for p in at.world.positions(account)
        if p.symbol != symbol and at.world.contract(p.venue, p.symbol).kind == "perp"
    ]
    for _ in range(3):
        hands = at.hands
        moments.append(at.world.now_ms)
        for _ in range(3):
            hands.open_position(account, symbol, grown.side, lot * 2)
        for _ in range(2):
            hands.close_position(account, symbol, grown.side, lot)
            hands.transfer(account, purse, "deposit", Decimal("0.5"))
        for other in others[:3]:
            hands.open_position(account, other.symbol, other.side, lots(at, other))
            hands.close_position(account, other.symbol, other.side, lots(at, other))
        hands.pay_funding(at.venue.name, symbol, Decimal("0.0001"))  # type: ignore[arg-type]
    return moments


def _name(event: Event) -> tuple[str, str]:
    return type(event).__name__, getattr(event, "id", str(event))


def _add_up(events: Sequence[Event], fills: list[Any]) -> None:
    """Hold what the venue says that it realised against what it did, to the last digit."""
    brought = sum((fill.trade.pnl for fill in fills), Decimal(0))
    told = [Decimal(e.realized_pnl) for e in events if isinstance(e, Fill) and e.realized_pnl is not None]
    assert sum(told, Decimal(0)) == brought
    closed = [event for event in events if isinstance(event, ClosedPnl)]
    assert closed
    for one in closed:
        parts = (one.realized_pnl, one.fees, one.funding, one.liquidation_fee)
        net = one.realized_net
        assert net is None or Decimal(net) == sum((Decimal(part) for part in parts if part is not None), Decimal(0)), (
            one
        )
