"""Each fault of the simulator through the whole gateway: seen, said, survived, and afterwards equal to the truth."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from exchanges.clock import SystemClock, Timer
from exchanges.sim.server import Simulator
from gateway.client import Client
from tests.system.desk import Desk, desk, eventually, stored_at

HAND_S = 5.0  # within which a position that was opened or closed by hand is at the client …
STATE_S = {
    "okx": 0.0,
    "bybit": 0.0,
    "hyperliquid": 5.0,
    "aster": 0.0,
}  # … after the venue has told of it: Hyperliquid repeats states


class Hasty(SystemClock):
    """The gateway's monotone clock at many times its speed: half a minute of silence is over in seconds."""

    SPEED = 12

    def __init__(self) -> None:
        super().__init__()
        self._began_ms = super().now_ms()

    def now_ms(self) -> int:
        return self._began_ms + (super().now_ms() - self._began_ms) * self.SPEED

    def call_at(self, at_ms: int, callback: Callable[[], None]) -> Timer:
        wait_ms = max(at_ms - self.now_ms(), 1) / self.SPEED
        return asyncio.get_running_loop().call_later(wait_ms / 1000, callback)


@pytest.fixture
async def hasty(simulator: Simulator, dsn: str, folder: Path) -> AsyncIterator[Desk]:
    """A desk whose gateway lives fast."""
    async with desk(simulator, folder, changes=(stored_at(dsn),), clock=Hasty()) as started:
        await started.live()
        yield started


async def equal_to_the_truth(running: Desk) -> None:
    """Check that all is well again: live, equal, and the client went through it without a gap."""
    await running.live()
    running.simulator.control.pause()
    await running.settled()
    assert running.gaps() == []


def stale_everywhere(client: Client) -> bool:
    return all("stale" in row for row in client.tables["positions"].values())


# --- Connections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abort", [False, True], ids=["closed", "cut off"])
async def test_a_drop_makes_rows_stale_until_the_venue_has_spoken_again(running: Desk, abort: bool) -> None:
    assert len(running.fault("drop", abort=abort)) == len(running.reconnects())
    await running.client.wait_for(stale_everywhere)
    await equal_to_the_truth(running)
    assert set(running.reconnects().values()) == {1}


async def test_a_drop_of_one_account_concerns_no_other(running: Desk) -> None:
    affected = running.fault("drop", account="bybit-main")
    assert [(one["venue"], one["accounts"]) for one in affected] == [("bybit", ["bybit-main"])]
    touched: set[str] = set()

    def seen(client: Client) -> bool:
        rows = client.tables["positions"].values()
        touched.update(row["account"] for row in rows if row.get("stale", {}).get("reason") == "private_feed")
        return running.feeds["bybit-main:private"]["reconnects"] == 1 and running.all_live()

    await running.client.wait_for(seen)
    assert touched == {"bybit-main"}
    await equal_to_the_truth(running)
    assert sum(running.reconnects().values()) == 1


async def test_silence_is_found_by_its_age_and_left(hasty: Desk) -> None:
    """Sockets stay open and say nothing: no frame, no pong, no close."""
    assert len(hasty.fault("stall")) == len(hasty.reconnects())
    reasons: dict[str, str] = {}
    stale: set[str] = set()

    def seen(client: Client) -> bool:
        feeds, positions = client.tables["feeds"], client.tables["positions"]
        reasons.update({name: row["last_error"] for name, row in feeds.items() if row["state"] == "stale"})
        stale.update(id_ for id_, row in positions.items() if "stale" in row)
        return reasons.keys() == feeds.keys() and stale >= positions.keys()

    await hasty.client.wait_for(seen, timeout_s=20)
    # Whichever finds it first: the bound of the connection, that of a subscription, or a look at the venue.
    found = ("nothing received for ", "silent for ", "did not tell of")
    assert all(any(words in reason for words in found) for reason in reasons.values()), reasons
    await equal_to_the_truth(hasty)


async def test_a_notice_moves_okx_over_before_it_hangs_up(running: Desk) -> None:
    affected = running.fault("notice", seconds=30)
    assert {one["venue"] for one in affected} == {"okx"}
    assert len(affected) == 4
    await eventually(lambda: sum(running.reconnects().values()) == 4 and running.all_live(), "okx is moved over", 10)
    assert {name for name, count in running.reconnects().items() if count} == {
        name for name in running.reconnects() if name.startswith("okx")
    }
    await equal_to_the_truth(running)


async def test_malformed_frames_are_counted_and_cost_nothing(running: Desk) -> None:
    running.fault("malformed")
    counted = {name: s.feed.statistics for name, s in running.gateway.feeds.supervisors.items()}
    await eventually(lambda: all(count().malformed == 1 for count in counted.values()), "each frame is counted")
    for name, row in running.feeds.items():
        await running.client.wait_for(lambda c, n=name: "malformed" in c.tables["feeds"][n].get("last_error", ""))
        assert row["reconnects"] == 0
    await equal_to_the_truth(running)
    assert sum(running.reconnects().values()) == 0


# --- Refusals -----------------------------------------------------------------------------------------------------------


async def test_a_venue_that_has_enough_of_us_is_asked_again_later(running: Desk) -> None:
    """Reconnecting needs REST at Bybit, and REST is refused for a second."""
    await eventually(lambda: running.quiet("bybit"), "nothing is being asked")
    running.fault("429", venue="bybit", seconds=1)
    running.fault("drop", venue="bybit")
    errors: set[str] = set()

    def seen(client: Client) -> bool:
        feeds = client.tables["feeds"].items()
        errors.update(row.get("last_error", "") for name, row in feeds if name.startswith("bybit"))
        return any("too many requests" in error for error in errors)

    await running.client.wait_for(seen)
    assert not running.all_live()
    await equal_to_the_truth(running)
    assert {name for name, count in running.reconnects().items() if count == 1} == {
        name for name in running.reconnects() if name.startswith("bybit")
    }


async def test_a_refused_question_does_not_keep_a_known_account_from_being_live(running: Desk) -> None:
    """Hyperliquid's states come by themselves; what its connections ask besides is asked again."""
    await eventually(lambda: running.quiet("hyperliquid"), "nothing is being asked")
    running.fault("429", venue="hyperliquid", count=4)
    running.fault("drop", venue="hyperliquid")
    await running.client.wait_for(
        lambda client: any("too many requests" in row.get("last_error", "") for row in client.tables["feeds"].values())
    )
    await running.live()
    await eventually(lambda: running.quiet("hyperliquid"), "every question is answered", 60)
    await equal_to_the_truth(running)


@pytest.mark.parametrize(("account", "code"), [("okx-main", "60009"), ("bybit-main", "10004")])
async def test_a_refused_login_is_said_and_not_repeated(running: Desk, account: str, code: str) -> None:
    venue = account.partition("-")[0]
    faults = running.simulator.fronts[venue].faults
    running.fault("wrong_login", venue=venue, count=100, code=code)
    running.fault("drop", account=account)
    name = f"{account}:private"
    await running.client.wait_for(lambda client: "login refused" in client.tables["feeds"][name].get("last_error", ""))
    row = running.feeds[name]
    assert (row["state"], code in row["last_error"]) == ("down", True)
    assert (faults.wrong_logins, running.reconnects()[name]) == (99, 1)
    # Others come and go meanwhile; this one does not ask again, and its rows say since when they are old.
    faults.wrong_logins, told = 0, row["last_error"]
    running.fault("drop", venue="hyperliquid")
    await eventually(lambda: sum(running.reconnects().values()) >= 5, "the others are made again")
    others = [n for n in running.feeds if n != name]
    await running.client.wait_for(lambda client: all(client.tables["feeds"][n]["state"] == "live" for n in others))
    assert (running.feeds[name]["state"], running.feeds[name]["last_error"]) == ("down", told)
    assert running.reconnects()[name] == 1
    mine = [row for row in running.positions.values() if row["account"] == account]
    assert mine
    assert {row["stale"]["reason"] for row in mine} == {"private_feed"}


# --- Acts in the world ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("venue", "account", "symbol"),
    [
        ("okx", "okx-main", "SOL-USDT-SWAP"),
        ("bybit", "bybit-main", "ETHUSDT"),
        ("hyperliquid", "hl-main", "ETH"),
        ("aster", "aster-main", "ETHUSDT"),
    ],
)
async def test_what_is_closed_and_opened_by_hand_goes_and_comes(
    running: Desk, venue: str, account: str, symbol: str
) -> None:
    running.simulator.control.pause()

    def rows(client: Client) -> list[dict[str, object]]:
        rows = client.tables["positions"].values()
        return [row for row in rows if (row["account"], row["symbol"]) == (account, symbol)]

    assert len(rows(running.client)) == 1
    bound_s = HAND_S + STATE_S[venue]
    running.fault("close_position", account=account, symbol=symbol)
    await running.client.wait_for(lambda client: not rows(client), bound_s)
    (opened,) = running.fault("open_position", account=account, symbol=symbol)
    await running.client.wait_for(lambda client: bool(rows(client)), bound_s)
    assert rows(running.client)[0]["side"] == opened["side"]
    await running.settled()
    assert running.gaps() == []
