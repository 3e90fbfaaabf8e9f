"""The books of random windows, in pages so small that a busy millisecond almost fills one: every record exactly once.

Links ask and simulated venues answer, without a network between them. Venues whose pages have a size of the asker's choice are in
the conformance suite; here are those that page by time or by id.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from exchanges import VENUES
from exchanges.aster import build as aster_build
from exchanges.aster import tables as aster_tables
from exchanges.events import ClosedPnl, Event, Fill, FundingPayment, Side, Transfer
from exchanges.hyperliquid import build as hl_build
from exchanges.hyperliquid import tables as hl_tables
from exchanges.sim import aster_history, hyperliquid_info
from exchanges.sim.world import World
from exchanges.venue import AccountSpec, Ask, HttpRequest, Link, Malformed, Notice, Output
from tests.exchanges.aster.samples import private

BEGIN = 1_790_000_000_000
DAY = 86_400_000
Answer = Callable[[HttpRequest], Any]
KINDS = (Fill, FundingPayment, Transfer, ClosedPnl)


def lived(account: str, symbols: Sequence[str], seed: int) -> tuple[World, list[int]]:
    """Return a world in which an account did much, some of it within single milliseconds, and these moments."""
    random, world = Random(seed), World(11, BEGIN)
    world.pause()
    moments = []
    for _ in range(40):
        world.step(world.now_ms + random.choice((1, 2, 1_000, DAY // 4)))
        moments.append(world.now_ms)
        for _ in range(random.choice((1, 1, 4))):
            symbol = random.choice(symbols)
            lot = world.contract(world.account(account).venue, symbol).lot
            side: Side = next((p.side for p in world.positions(account) if p.symbol == symbol), "long")
            world.hands.open_position(account, symbol, side, lot * 2)
            world.hands.close_position(account, symbol, side, lot)
        act = random.randrange(4)
        if act == 0:
            world.hands.pay_funding(world.account(account).venue, random.choice(symbols), Decimal("0.0001"))
        if act == 1:
            world.hands.transfer(account, next(iter(world.account(account).cash)), "deposit", Decimal("0.5"))
    world.step(world.now_ms + 1)
    return world, moments


def read(
    link: Link, answer: Answer, since: int, until: int, symbols: Sequence[str]
) -> tuple[list[Event], list[Output]]:
    """Return the records of a window, each page read once, and what was said beside them."""
    waiting, events, said = list(link.records(since, until, symbols)), list[Event](), list[Output]()
    asked: set[HttpRequest] = set()
    while waiting:
        request = waiting.pop(0)
        assert request not in asked, "a circle"
        asked.add(request)
        link.sign(request, BEGIN + 100 * DAY)
        outputs = link.answer(request, json.dumps(answer(request)).encode(), 1, 2)
        waiting = [output.request for output in outputs if isinstance(output, Ask)] + waiting
        events += [output for output in outputs if isinstance(output, KINDS)]
        said += [output for output in outputs if isinstance(output, Malformed | Notice)]
    return events, said


def names(events: Sequence[Event]) -> set[tuple[str, str]]:
    return {(type(event).__name__, str(getattr(event, "id", ""))) for event in events}


def check(
    world: World, account: str, link: Link, answer: Answer, moments: Sequence[int], symbols: Sequence[str]
) -> None:
    """Hold windows against what is true, and their parts against them."""
    random, until = Random(3), world.now_ms
    whole, said = read(link, answer, BEGIN, until, symbols)
    assert not said
    fills = [fill for fill in world.fills(account) if BEGIN <= fill.at < until]
    counts = Counter(kind for kind, _ in names(whole))
    assert counts["Fill"] == len(fills) > 80
    assert counts["FundingPayment"] == len(world.payments(account)) > 0
    assert counts["Transfer"] == len([t for t in world.transfers(account) if t.at >= BEGIN]) > 0
    told = {
        event.id: Decimal(event.realized_pnl) for event in whole if isinstance(event, ClosedPnl) and event.realized_pnl
    }
    assert sum(told.values()) == sum(fill.trade.pnl for fill in fills)
    fees = {event.id: Decimal(event.fees) for event in whole if isinstance(event, ClosedPnl) and event.fees}
    assert sum(fees.values()) == sum(fill.trade.fee for fill in fills)
    for _ in range(6):
        inside = {random.choice(moments), random.choice(moments) + 1, random.randrange(BEGIN, until)}
        parts = [names(read(link, answer, *window, symbols)[0]) for window in pairwise(sorted({BEGIN, until, *inside}))]
        assert Counter(name for part in parts for name in part) == Counter(names(whole))


@pytest.mark.parametrize("page", [9, 10, 14])
def test_hyperliquid_pages_by_time(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    account = "hl-main"
    world, moments = lived(account, ("BTC", "SOL"), 1)  # SOL is traded in slices here, which have pages of their own
    for name in ("FILLS_PER_ANSWER", "FUNDINGS_PER_ANSWER"):
        monkeypatch.setattr(hyperliquid_info, name, page)
    monkeypatch.setattr(hl_tables, "PAGE", page)
    monkeypatch.setattr(hl_tables, "FULL", {})
    info = hyperliquid_info.Info(world, lambda: world.now_ms)
    spec = AccountSpec(name=account, venue="hyperliquid", address=world.account(account).address)
    venue = VENUES["hyperliquid"]
    link = venue.private_links(spec, venue.endpoints("live", None))["private"]()

    def answer(request: HttpRequest) -> Any:
        return info.answer(hl_build.question(request))

    check(world, account, link, answer, moments, ())


@pytest.mark.parametrize("page", [19, 20, 30])
def test_aster_pages_by_id_and_by_time(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    account = "aster-main"
    world, moments = lived(account, ("BTCUSDT", "ETHUSDT"), 2)
    monkeypatch.setattr(aster_tables, "INCOME_PAGE", page)
    monkeypatch.setattr(aster_tables, "TRADES_PAGE", page // 4)
    past = aster_history.History(world, lambda: world.now_ms)
    link = private()

    def answer(request: HttpRequest) -> Any:
        name, parameters = aster_build.asked(request)
        answers: dict[str | None, Callable[..., Any]] = {
            "forced": past.forced, "income": past.income, "trades": past.trades,
        }  # fmt: skip
        return answers[name](world.account(account), parameters)

    check(world, account, link, answer, moments, ("BTCUSDT",))  # the other one is named by the books
