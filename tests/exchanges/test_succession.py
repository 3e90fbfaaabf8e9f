"""A connection that is replaced before the venue ends it, against real sockets on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from exchanges.events import Event, FeedStatus, Price
from exchanges.feed import Feed
from exchanges.succession import Succession
from exchanges.supervisor import Sink, Supervisor
from tests.exchanges.doubles import ScriptedLink, StillClock, Watch
from tests.exchanges.test_supervisor import NAME, LocalRest, LocalVenue


class Desk:
    """A succession, its venue, and what came out of it."""

    def __init__(self, url: str, watch: Watch, venue: LocalVenue) -> None:
        self.watch, self.venue = watch, venue
        self.clock = StillClock(watch=watch)
        self.events: list[Event] = []

        def make(connections: int, sink: Sink, succeed: Callable[[str], None]) -> Supervisor:
            feed = Feed(lambda: ScriptedLink(url), NAME, random=lambda: 0.5, succeeds=True, connections=connections)
            return Supervisor(feed, LocalRest(watch), sink, self.clock, succeed=succeed)

        self.succession = Succession(make, self._take)

    def _take(self, events: object) -> None:
        self.events += events  # type: ignore[operator]
        self.watch.poke()

    def states(self) -> list[str]:
        return [event.state for event in self.events if isinstance(event, FeedStatus)]

    def prices(self) -> list[str]:
        return [event.value for event in self.events if isinstance(event, Price)]


async def test_the_successor_is_live_before_the_predecessor_goes_and_nobody_sees_a_gap() -> None:
    watch = Watch()
    venue = LocalVenue(watch)
    async with serve(venue.serve, "127.0.0.1", 0, ping_interval=None, close_timeout=0.2) as server:
        desk = Desk(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws", watch, venue)
        task = asyncio.ensure_future(desk.succession.run())
        await watch.until(lambda: desk.states()[-1:] == ["live"])
        first = venue.newest
        await first.send("price BTC 1; upgrade; price BTC 2")
        await watch.until(lambda: venue.newest is not first and desk.succession.status().reconnects == 1)
        await venue.newest.send("price BTC 3")
        await watch.until(lambda: desk.prices()[-1:] == ["3"])
        await first.wait_closed()
        assert desk.prices() == ["1", "2", "3"]
        after = desk.states()[desk.states().index("live") :]
        assert set(after) == {"live"}  # never stale, never down
        assert desk.succession.feed.state == "live"
        assert desk.succession.statistics().reconnects == 1
        assert desk.succession.statistics().received == 8  # of both connections
        desk.succession.stop()
        async with asyncio.timeout(1.0):
            await task
        assert desk.states()[-1] == "down"


async def test_a_predecessor_that_is_closed_before_the_successor_is_live_comes_back_by_itself() -> None:
    watch = Watch()
    venue = LocalVenue(watch)
    async with serve(venue.serve, "127.0.0.1", 0, ping_interval=None, close_timeout=0.2) as server:
        desk = Desk(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws", watch, venue)
        task = asyncio.ensure_future(desk.succession.run())
        await watch.until(lambda: desk.states()[-1:] == ["live"])
        first = venue.newest
        await first.send("upgrade")
        await first.close()
        # Whoever is live first stays; the other one goes, and the feed is live again.
        await watch.until(lambda: "down" in desk.states() or desk.succession.status().reconnects == 1)
        desk.clock.advance(30_000)
        await watch.until(lambda: desk.succession.feed.state == "live" and desk.states()[-1] == "live")
        for connection in venue.connections:
            with contextlib.suppress(ConnectionClosed):
                await connection.send("price BTC 9")
        await watch.until(lambda: "9" in desk.prices())
        desk.succession.stop()
        async with asyncio.timeout(1.0):
            await task
