"""Cases of positions: what a simulated venue holds, and what streams and rounds say of it."""

from __future__ import annotations

import asyncio

from exchanges.errors import Retryable
from exchanges.events import (
    Instrument,
    PositionState,
)
from exchanges.sim.revalue import Position
from tests.conformance.acts import STABLE, found, held, main, reopen
from tests.conformance.book import Book
from tests.conformance.case import scene
from tests.conformance.stage import Scene

# --- Positions -------------------------------------------------------------------------------------------------------


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


# --- Kinds of position -----------------------------------------------------------------------------------------------


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
