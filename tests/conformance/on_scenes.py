"""Cases that make things happen at a simulated venue and look at what connections and questions say of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec

from exchanges.errors import AuthFailed, NotFound, Retryable
from exchanges.events import (
    CurrencyPrice,
    Fill,
    FundingPayment,
    Instrument,
    KeyInfo,
    OpenOrders,
    Order,
    PositionsSnapshot,
    PositionState,
    Price,
)
from exchanges.inquiry import Findings
from exchanges.sim.revalue import Position
from exchanges.sim.world import Account
from exchanges.venue import AccountSpec
from tests.conformance.book import Book
from tests.conformance.case import CASES, scene
from tests.conformance.known import DOLLARS
from tests.conformance.stage import Scene, Stream

__all__ = ["CASES"]

STABLE = ("USDT", "USDC")


# --- Who and what ---------------------------------------------------------------------------------------------------


def main(at: Scene) -> str:
    """Return the account of most cases: the venue's first."""
    return next(iter(at.specs))


def held(at: Scene, account: str, kind: str = "perp", **fields: object) -> Position:
    """Return a position of that account, kind and fields: the smallest by value, which moves the account least."""
    found = [
        p
        for p in at.world.positions(account)
        if at.world.contract(p.venue, p.symbol).kind == kind and all(getattr(p, f) == v for f, v in fields.items())
    ]
    legs = [p.symbol for p in at.world.positions(account)]
    alone = [p for p in found if legs.count(p.symbol) == 1] or found
    assert alone, f"{account} holds no {kind} {fields}"
    return min(alone, key=lambda p: at.world.notional(p) * at.world.usd(at.world.contract(p.venue, p.symbol).settle))


def lots(at: Scene, position: Position, count: int = 1) -> Decimal:
    """Return some lots of a position's contract."""
    return at.world.contract(position.venue, position.symbol).lot * count


def reopen(at: Scene, position: Position) -> None:
    """Open again what was closed."""
    at.hands.open_position(position.account, position.symbol, position.side, position.size)


def found(result: object) -> Findings:
    """Return what a question brought; fail with the error where it was none."""
    assert isinstance(result, Findings), f"not answered: {result!r}"
    assert not result.flaws, result.flaws
    return result


def of(findings: Findings, kind: type[Any]) -> list[Any]:
    """Return the events of one kind."""
    return [event for event in findings.events if isinstance(event, kind)]


# --- Positions ------------------------------------------------------------------------------------------------------


@scene("A position has one id and one scope in the stream, in the first state and in every round")
async def ids_are_the_same_everywhere(at: Scene) -> None:
    await at.agree()
    for account, asker in at.askers.items():
        streamed, asked = at.private[account].book, Book()
        asked.take(found(await at.ask(asker.state)).events, at.clock.now_ms())
        assert asked.held == at.truth(account)
        assert _ids(asked) == _ids(streamed), account


def _ids(book: Book) -> dict[str, tuple[str, str, str]]:
    return {row.id: (row.scope, row.pool, row.symbol) for row in book.positions.values()}


@scene("A round closes what is absent from it, also where nothing was told")
async def a_round_closes_what_is_absent(at: Scene) -> None:
    account, book = main(at), Book()
    gone = held(at, account)
    book.take(found(await at.ask(at.askers[account].state)).events, at.clock.now_ms())
    assert book.held == at.truth(account)
    at.hands.silent(account, gone.symbol, gone.side)
    book.take(found(await at.ask(at.askers[account].state)).events, at.clock.now_ms())
    assert book.held == at.truth(account)
    assert gone.symbol not in {symbol for symbol, _, _ in book.held}
    reopen(at, gone)
    await at.agree()


@scene("A close is told, and touches no other row")
async def a_close_is_told(at: Scene) -> None:
    account = main(at)
    await at.agree(account)
    gone = held(at, account)
    before = _ids(at.private[account].book)
    at.hands.close_position(account, gone.symbol)
    await at.agree(account)
    left = _ids(at.private[account].book)
    assert left == {id_: row for id_, row in before.items() if row[2] != gone.symbol}
    reopen(at, gone)
    await at.agree(account)
    assert _ids(at.private[account].book) == before


@scene("A close in hedge mode closes its own leg", needs="hedge_mode")
async def a_close_closes_its_leg(at: Scene) -> None:
    account = next(a.name for a in at.world.accounts_of(at.venue.name) if a.hedge)  # type: ignore[arg-type]
    gone = next(p for p in at.world.positions(account) if p.side == "long" and _other_leg(at, p))
    await at.agree(account)
    at.hands.close_position(account, gone.symbol, "long")
    await at.agree(account)
    legs = [row.side for row in at.private[account].book.positions.values() if row.symbol == gone.symbol]
    assert legs == ["short"]
    reopen(at, gone)
    await at.agree(account)


def _other_leg(at: Scene, one: Position) -> bool:
    return any(p.symbol == one.symbol and p.side != one.side for p in at.world.positions(one.account))


@scene("What happens while a connection is cut is known once it is back")
async def a_cut_loses_nothing(at: Scene) -> None:
    account = main(at)
    gone = held(at, account)
    stream = at.private[account]
    count = stream.feed.connections
    at.fault("drop", account=account, abort=True)
    at.hands.close_position(account, gone.symbol)
    await at.eventually(lambda: stream.feed.connections > count and stream.feed.state == "live", "back")
    await at.agree(account)
    reopen(at, gone)
    await at.agree(account)


@scene("A late answer does not raise what was closed after it was asked")
async def a_late_answer_raises_nothing(at: Scene) -> None:
    account = main(at)
    await at.agree(account)
    gone = held(at, account)
    asker, book = at.asker(at.specs[account]), at.private[account].book
    asker.rest.hold_after = 1  # the first question settles what the others mean
    asking = asyncio.create_task(at.ask(asker.state))
    await at.eventually(lambda: asker.rest.asked == asker.rest.held > 0, "questions computed")
    at.hands.close_position(account, gone.symbol)
    await at.agree(account)
    asker.rest.release.set()
    book.take(found(await asking).events, at.clock.now_ms())
    assert book.held == at.truth(account)
    reopen(at, gone)
    await at.agree(account)


@scene("A question that fails is an error by whose fault it is, and brings nothing")
async def a_failed_question_is_an_error(at: Scene) -> None:
    for kind in ("server_error", "429"):
        asker = at.asker(at.specs[main(at)])
        at.fault(kind, venue=at.venue.name, count=1000)
        answer = await at.ask(asker.state)
        at.fault("lift", venue=at.venue.name)
        assert isinstance(answer, Retryable), f"{kind}: {answer!r}"


# --- Fills, money and causes ----------------------------------------------------------------------------------------


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


# --- Kinds of position ----------------------------------------------------------------------------------------------


async def _row(at: Scene, position: Position) -> PositionState:
    book = Book()
    book.take(found(await at.ask(at.askers[position.account].state)).events, at.clock.now_ms())
    (row,) = (row for row in book.positions.values() if row.symbol == position.symbol)
    return row


async def _instrument(at: Scene, symbol: str) -> Instrument:
    def listed() -> list[Instrument]:
        return [i for s in at.public.values() for i in s.of(Instrument) if i.symbol == symbol]

    at.want(sorted({p.symbol for account in at.specs for p in at.world.positions(account)}), STABLE)
    await at.eventually(listed, f"the contract {symbol}")
    return listed()[-1]


@scene("Dated futures are rows like perpetuals, and their contract says when they end", needs="dated_futures")
async def dated_futures_end(at: Scene) -> None:
    position = held(at, main(at), "future")
    row, contract = await _row(at, position), await _instrument(at, position.symbol)
    assert (row.kind, contract.kind) == ("future", "future")
    assert contract.expires_at == at.world.contract(position.venue, position.symbol).expires_at
    assert row.entry_price
    assert row.venue_unrealized_pnl


@scene("Options are rows with the venue's own figures", needs="options")
async def options_keep_the_venues_figures(at: Scene) -> None:
    row = await _row(at, held(at, main(at), "option"))
    assert row.kind == "option"
    assert row.venue_unrealized_pnl is not None
    assert row.venue_notional is not None or row.mark_price is not None


@scene("Inverse contracts are settled in their coin and say so", needs="inverse")
async def inverse_contracts_say_so(at: Scene) -> None:
    inverse = (p for p in at.world.positions(main(at)) if at.world.contract(p.venue, p.symbol).inverse)
    position = next(inverse)
    row, contract = await _row(at, position), await _instrument(at, position.symbol)
    assert contract.contract_type == "inverse"
    assert contract.settle == at.world.contract(position.venue, position.symbol).settle
    assert row.settle in (None, contract.settle)


# --- Prices ---------------------------------------------------------------------------------------------------------


@scene("Currencies have dollar prices, stablecoins too: USDT is not 1", needs="currency_prices")
async def currencies_are_priced(at: Scene) -> None:
    accounts = [at.world.account(name) for name in at.specs]
    wanted = {ccy for a in accounts for ccy in ({*a.cash} - {"", "xyz"} | {*a.spot})} - {DOLLARS.get(at.venue.name)}
    at.want(_symbols(at), sorted(wanted))

    def prices() -> dict[str, str]:
        return {price.ccy: price.usd for s in at.public.values() for price in s.of(CurrencyPrice)}

    await at.eventually(lambda: wanted <= prices().keys(), lambda: f"{wanted}: {prices()}")
    assert wanted
    for ccy in wanted:
        assert abs(Decimal(prices()[ccy]) / at.world.usd(ccy) - 1) < Decimal("0.02"), ccy
    assert "USDT" not in wanted or Decimal(prices()["USDT"]) != 1


def _symbols(at: Scene) -> list[str]:
    return sorted({p.symbol for account in at.specs for p in at.world.positions(account)})


@scene("Every price that is asked for is confirmed or refused, and those of all that is held come")
async def prices_are_confirmed_or_refused(at: Scene) -> None:
    at.want(_symbols(at), STABLE)
    wanted = {id(s): set(s.factory().price_topics(_symbols(at), STABLE)) for s in at.public.values()}

    def open_() -> set[str]:
        return {
            topic
            for s in at.public.values()
            for topic in wanted[id(s)] - s.feed.confirmed
            if not any(topic in text for text in s.feed.refused)
        }

    def marked() -> set[str]:
        return {price.symbol for s in at.public.values() for price in s.of(Price)}

    await at.eventually(lambda: not open_(), lambda: f"neither confirmed nor refused: {open_()}")
    await at.eventually(lambda: set(_symbols(at)) <= marked(), lambda: f"no mark: {set(_symbols(at)) - marked()}")


@scene("A refused subscription is told with its topic and the venue's code, and costs no other", needs="refusals")
async def refusals_are_told(at: Scene) -> None:
    stream, topics = _refused_soon(at)
    running = stream in at.public.values()
    task = None if running else asyncio.create_task(stream.supervisor.run())

    def told() -> bool:
        return all(any(topic in text and "(" in text for text in stream.feed.refused) for topic in topics)

    await at.eventually(told, lambda: f"not told: {topics}: {stream.feed.refused} {stream.supervisor.status().error}")
    assert not topics & stream.feed.confirmed
    assert stream.feed.confirmed, "the others stand"
    if task is not None:
        stream.supervisor.stop()
        await task
    at.want(_symbols(at), STABLE)


def _refused_soon(at: Scene) -> tuple[Stream, set[str]]:
    """Return a connection that asks for topics that the venue does not have, and these."""
    if at.venue.name == "hyperliquid":  # its prices come for all coins at once; open orders are followed by dex
        stream = at.stream(msgspec.structs.replace(at.specs[main(at)], dexes=("nope",)))
        return stream, {topic for topic in stream.factory().topics() if "nope" in topic}
    symbol = {"okx": "NOPE-USDT-SWAP", "bybit": "NOPEUSDT"}[at.venue.name]
    at.want([*_symbols(at), symbol], STABLE)
    stream = at.public["public" if at.venue.name == "okx" else "linear"]
    return stream, {topic for topic in stream.factory().price_topics([symbol]) if symbol in topic}


# --- Keys and clocks ------------------------------------------------------------------------------------------------


@scene("What a key may do is reported; one that may trade is told", needs="key_permissions")
async def powers_are_told(at: Scene) -> None:
    account = main(at)
    (plain,) = of(found(await at.ask(at.askers[account].audit)), KeyInfo)
    assert (plain.account, plain.powers) == (account, ())
    at.fault("key_powers", account=account, powers=["read", "trade"])
    answer = await at.ask(at.askers[account].audit)
    at.fault("lift", venue=at.venue.name)
    (able,) = of(found(answer), KeyInfo)
    assert able.powers


@scene("Wrong credentials, or an address that is not the account's, are an error that says what to do")
async def wrong_credentials_are_told(at: Scene) -> None:
    spec = _impostor(at)
    try:
        asker = at.asker(spec)
        refused: object = await at.ask(asker.audit)
        if isinstance(refused, Findings):  # nothing that needs the key was asked yet
            refused = await at.ask(asker.state)
    except AuthFailed as error:  # seen without asking: an agent's address follows from its key
        refused = error
    assert isinstance(refused, AuthFailed), f"{refused!r}"
    assert refused.do
    assert not [secret for secret in at.secrets if secret in str(refused)]


def _impostor(at: Scene) -> AccountSpec:
    spec = at.specs[main(at)]
    if spec.credentials is None:
        return msgspec.structs.replace(spec, address=at.world.account(spec.name).agent)
    secret = spec.credentials.secret
    other = secret[:-1] + ("1" if secret[-1] != "1" else "2")
    return msgspec.structs.replace(spec, credentials=msgspec.structs.replace(spec.credentials, secret=other))


@scene("A refused login ends in a state that says what to do, and is not tried again", needs="login")
async def a_refused_login_is_told(at: Scene) -> None:
    stream = at.stream(_impostor(at))
    task = asyncio.create_task(stream.supervisor.run())
    try:
        await at.eventually(lambda: stream.feed.state == "down" and stream.supervisor.status().error, "refused")
        error = stream.supervisor.status().error or ""
        assert "login refused" in error
        assert not [secret for secret in at.secrets if secret in error]
        assert stream.feed.connections == 1
    finally:
        stream.supervisor.stop()
        await task


@scene("A key that has ended is an error that says what to do", needs="key_permissions")
async def an_expired_key_is_told(at: Scene) -> None:
    account = main(at)
    at.fault("expired_key", account=account)
    answer = await at.ask(at.asker(at.specs[account]).audit)
    at.fault("lift", venue=at.venue.name)
    assert isinstance(answer, AuthFailed), f"{answer!r}"
    assert answer.do


@scene("The venue's clock can be read")
async def the_clock_is_read(at: Scene) -> None:
    request = at.venue.time_request()
    assert request is not None
    for skew in (0, 60_000, -60_000):
        at.fault("clock_skew", venue=at.venue.name, ms=skew)
        body = await at.rest.fetch(request, lambda unsigned: unsigned)
        at.fault("lift", venue=at.venue.name)
        off = at.venue.read_time(body) - at.clock.wall_ms() - skew
        assert abs(off) < 10_000, f"{off} ms off"


# --- Orders ---------------------------------------------------------------------------------------------------------


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


# --- Connections ----------------------------------------------------------------------------------------------------


@scene("The planned end of a connection is announced and obeyed", needs="end_notice")
async def a_planned_end_is_obeyed(at: Scene) -> None:
    for stream, connection in ((at.private[main(at)], "private"), (next(iter(at.public.values())), "public")):
        count = stream.feed.connections
        at.fault("notice", venue=at.venue.name, connection=connection, seconds=600)

        def replaced(stream: Stream = stream, count: int = count) -> bool:
            return stream.feed.connections > count and stream.feed.state == "live"

        await at.eventually(replaced, "another connection before the end of this one")


@scene("Whole states of one scope hold rows of that scope alone")
async def scopes_are_one(at: Scene) -> None:
    for account, asker in at.askers.items():
        snapshots = of(found(await at.ask(asker.state)), PositionsSnapshot)
        assert len({snapshot.scope for snapshot in snapshots}) == len(snapshots), account
        assert all(snapshot.asked_at is not None and not snapshot.routine for snapshot in snapshots)
        streamed = {row.scope for row in at.private[account].book.positions.values()}
        assert streamed <= {snapshot.scope for snapshot in snapshots}
