"""The turns of the gateway: what arrives together is one turn, and a defect costs one event."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from exchanges.clock import SystemClock
from gateway.config import Config
from gateway.core.journal import DAY_MS, Places
from gateway.core.protocol import Limits
from gateway.engine import Engine
from gateway.hub import Hub
from gateway.journalling import Journal
from gateway.rewind import conditions
from gateway.turns import Turns
from tests.gateway.events_of import OKX, engine, mark, position


def turns(one: Engine) -> tuple[Turns, list[int]]:
    wanted: list[int] = []
    hub = Hub.on(asyncio.get_running_loop(), one.tables, Limits())
    return Turns(one, hub, SystemClock(), lambda: wanted.append(one.market.version)), wanted


async def passed() -> None:
    """Return after one more pass of the loop."""
    await asyncio.sleep(0)


async def test_what_arrives_in_one_pass_of_the_loop_is_one_turn() -> None:
    one = engine()
    taking, wanted = turns(one)
    seq = one.tables.seq
    taking.take([(None, [position()])])
    taking.take([(None, [mark("120")])])
    await passed()
    assert one.tables.seq == seq + 1
    assert one.tables["positions"].get(position().id).row["mark_price"] == 120.0  # type: ignore[union-attr]
    assert len(wanted) == 1, "once after a turn"
    taking.take([(None, [mark("121", at=3_000)])])
    await passed()
    assert len(wanted) == 2


async def test_a_defect_costs_one_event_and_is_counted() -> None:
    one = engine()
    taking, _ = turns(one)
    taking.take([(None, [position(), msgspec.structs.replace(position("ETH-USDT-SWAP"), size="much"), mark("120")])])
    await passed()
    assert taking.failures == 2, "the turn, and the one event in it"
    assert one.tables["positions"].get(position().id).row["mark_price"] == 120.0  # type: ignore[union-attr]


async def test_a_clock_turn_that_fails_does_not_end_the_gateway() -> None:
    one = engine()
    taking, _ = turns(one)
    taking.take([(None, [position(leverage="ten")])])  # no codec lets such a figure through
    await passed()
    taking.clock({})
    assert taking.failures == 1


async def test_a_row_that_cannot_be_computed_does_not_stop_the_others() -> None:
    one = engine()
    taking, _ = turns(one)
    taking.take([(None, [position("ETH-USDT-SWAP", pnl_price="no price"), position()])])
    await passed()
    assert taking.failures > 0
    taking.take([(None, [mark("130")])])
    await passed()
    assert one.tables["positions"].get(position().id).row["mark_price"] == 130.0  # type: ignore[union-attr]


async def test_a_judgement_that_fails_holds_no_figure_back(monkeypatch: pytest.MonkeyPatch) -> None:
    one = engine()
    taking, _ = turns(one)
    taking.take([(None, [position()])])
    await passed()

    def broken(*_: object) -> None:
        raise ArithmeticError("a rule met what it does not know")

    monkeypatch.setattr(one.alerts, "turn", broken)
    seq = one.tables.seq
    taking.take([(None, [mark("130")])])
    await passed()
    assert taking.failures == 1
    assert one.tables.seq == seq + 1, "published all the same"
    assert one.tables["positions"].get(position().id).row["mark_price"] == 130.0  # type: ignore[union-attr]


async def test_what_waits_for_a_copy_at_a_stop_is_put_down_before_the_end_and_nothing_changes_afterwards() -> None:
    one, rows, steps = engine(), list[Any](), list[Any]()
    journal, clock = Journal(steps.append), SystemClock()
    now = clock.now_ms()
    kept = SimpleNamespace(put_entry=rows.append, put_sample=rows.append)
    journal.open(one, (), conditions(Config()), (OKX,), now, None, kept, Places())
    taking = Turns(one, Hub.on(asyncio.get_running_loop(), one.tables, Limits()), clock, lambda: None, journal)
    journal.clock(one, now + DAY_MS, {})
    assert journal.copying
    taking.take([(None, [position()])])
    await passed()
    assert position().id not in one.positions, "it waits"
    taking.settle()
    assert rows[-1].kind == "turn"
    assert position().id in one.positions
    journal.close(one, now)
    written, seq = len(rows), one.tables.seq
    taking.take([(None, [position(size="7", fence=(9,))])])
    await passed()
    assert (len(rows), one.tables.seq) == (written, seq)
