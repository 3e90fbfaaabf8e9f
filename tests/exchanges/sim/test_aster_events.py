"""Aster's account stream over a long, eventful time: what it has said adds up to what is."""

from __future__ import annotations

import random
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from exchanges.sim.aster_events import Events
from exchanges.sim.state import Account, Impossible
from exchanges.sim.world import World
from tests.exchanges.sim.aster_client import BEGIN


class Listener:
    """Keeps money and positions of one account as its frames tell them: each is absolute, each tells only a part."""

    def __init__(self, account: Account) -> None:
        self.cash = dict(account.cash)
        self.positions = {
            (p.symbol, "BOTH" if p.leg == "net" else p.leg.upper()): p.sign * p.size for p in account.positions.values()
        }

    def hear(self, frame: dict[str, Any]) -> None:
        for row in frame.get("a", {}).get("B", []):
            self.cash[row["a"]] = Decimal(row["wb"])
        for row in frame.get("a", {}).get("P", []):
            self.positions[row["s"], row["ps"]] = Decimal(row["pa"])


def act(world: World, account: str, whim: random.Random) -> None:
    """Let something happen to one of an account's positions."""
    position = whim.choice(world.positions(account) or [None])
    hands, money = world.hands, next(iter(world.account(account).cash))
    hands.transfer(account, money, "deposit", Decimal("12.5"))
    if position is None:
        return
    symbol, side = position.symbol, position.side
    match whim.randrange(6):
        case 0:
            world.close_position(account, symbol, position.leg)
        case 1:
            hands.liquidate(account, symbol, side, Decimal("0.5"))
        case 2:
            hands.deleverage(account, symbol, side, Decimal("0.3"))
        case 3:
            hands.split("aster", symbol, Decimal(2))
        case 4:
            hands.pay_funding("aster", symbol)
        case _:
            world.modes.switch_legs(account, hedge=not world.account(account).hedge)


@pytest.mark.parametrize("seed", range(4))
def test_the_stream_adds_up_to_the_truth(seed: int) -> None:
    world = World(seed, BEGIN)
    events, cursor, whim = Events(world, random.Random(seed)), world.cursor(), random.Random(seed)
    listeners = {account.name: Listener(account) for account in world.accounts_of("aster")}
    heard = 0
    for turn in range(1, 400):
        world.step(BEGIN + turn * 500)
        if turn % 8 == 0:
            with suppress(Impossible):  # a mode that cannot be switched now; the money came all the same
                act(world, whim.choice(list(listeners)), whim)
        happened, cursor = world.events_since(cursor)
        for name, frame in events.frames(happened):
            listeners[name].hear(frame)
            heard += 1
    assert heard > 100
    for name, listener in listeners.items():
        account = world.account(name)
        assert listener.cash == account.cash
        assert {key: size for key, size in listener.positions.items() if size} == Listener(account).positions
