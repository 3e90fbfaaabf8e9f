"""Who is subscribed to what, and who gets which bytes when: groups of equal selection, cursors, no queue per client.

A subscriber is *in sync* when it was given every frame of its group; it then shares the group's next frame, encoded once.
One whose socket is full leaves the in-sync set, keeps only a number, its cursor, and is brought to the group's last flush
by one frame of whole rows when its socket has drained. So what a slow client costs does not grow.

The hub runs between the writer's turns, in one thread; nothing here awaits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.core.group import Group
from gateway.core.protocol import PING_FRAME, Limits, Since, heartbeat, text_frame
from gateway.core.tables import Selection, Tables

# Heartbeats of all connections are spread over this many moments, so that none of them is a burst.
_BEATS = 16

Write = Callable[[bytes], None]


class Timer(Protocol):
    """What ``call_later`` returns."""

    def cancel(self) -> None:
        """Forget the call."""


CallLater = Callable[[float, Callable[[], None]], Timer]


class Member(Protocol):
    """What the hub asks of a connection. It must tell the hub: ``enter``, ``pause``, ``resume``, ``leave``."""

    subscriptions: dict[str, Subscription]
    paused: bool

    @property
    def write(self) -> Write:
        """Give frames to the socket. May call ``Hub.pause`` before it returns."""

    def beat(self, now: float) -> bool:
        """Check that the client lives; False when it was closed."""


class Channel:
    """A group and its subscribers. ``in_sync`` holds the writers of those who were given every frame."""

    __slots__ = ("flushed_at", "group", "in_sync", "interval_s", "subscribers", "timer")

    def __init__(self, group: Group) -> None:
        self.group = group
        self.interval_s = group.selection.min_interval_ms / 1000
        self.in_sync: dict[Member, Write] = {}
        self.subscribers = 0
        self.timer: Timer | None = None
        self.flushed_at = float("-inf")


class Subscription:
    """One connection's place in a group: in sync, or complete up to ``cursor`` (None: it needs a snapshot)."""

    __slots__ = ("channel", "cursor")

    def __init__(self, channel: Channel, cursor: int | None) -> None:
        self.channel, self.cursor = channel, cursor


class HubStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub holds now and did since its start."""

    connections: int
    groups: int
    subscriptions: int
    lagging: int
    frames: int
    deliveries: int
    delivered_bytes: int
    catch_ups: int
    snapshots: int
    pauses: int
    closed: dict[str, int]


class Hub:
    """All groups and connections of this process.

    Args:
        tables: What is served. ``flush`` must be called after each of their commits, before anything awaits.
        call_later: The loop's: (delay in s, callback).
        clock: Monotonic seconds.
    """

    def __init__(self, tables: Tables, limits: Limits, *, call_later: CallLater, clock: Callable[[], float]) -> None:
        self.tables, self.limits = tables, limits
        self.call_later, self.clock = call_later, clock
        self._channels: dict[Selection, Channel] = {}
        self._beats: list[set[Member]] = [set() for _ in range(_BEATS)]
        self._beat_of: dict[Member, int] = {}
        self._entered = 0
        self._beat = 0
        self._heartbeats: Timer | None = None
        self._frames = self._deliveries = self._bytes = self._catch_ups = self._snapshots = self._pauses = 0
        self.closed: Counter[str] = Counter()  # connections that we closed, by reason

    @classmethod
    def on(cls, loop: asyncio.AbstractEventLoop, tables: Tables, limits: Limits) -> Hub:
        """Return a hub whose time is the loop's."""
        return cls(tables, limits, call_later=loop.call_later, clock=loop.time)

    # --- The writer's side ------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what changed: call it right after each commit. Groups with an interval follow when it is over."""
        for channel in self._channels.values():
            if not channel.in_sync or not channel.group.touched:
                continue  # without anybody in sync the group stands still until somebody catches up
            if channel.interval_s:
                self._flush_in_time(channel)
            else:
                self._flush(channel)

    def _flush_in_time(self, channel: Channel) -> None:
        if channel.timer is not None:
            return
        wait_s = channel.flushed_at + channel.interval_s - self.clock()
        if wait_s <= 0:
            self._flush(channel)
        else:
            channel.timer = self.call_later(wait_s, lambda: self._due(channel))

    def _due(self, channel: Channel) -> None:
        channel.timer = None
        self._flush(channel)

    def _flush(self, channel: Channel) -> None:
        channel.flushed_at = self.clock()
        frame = channel.group.flush(encode=bool(channel.in_sync))
        if frame is None:
            return
        # A write may find the socket full and call ``pause``, which takes the member out of ``in_sync``: walk over a copy.
        writers = list(channel.in_sync.values())
        for write in writers:
            write(frame)
        self._frames += 1
        self._deliveries += len(writers)
        self._bytes += len(writers) * len(frame)

    # --- The connections' side --------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._beat_of)

    def enter(self, member: Member) -> None:
        """Take a connection in: it gets heartbeats from now on."""
        self._entered += 1
        self._beat_of[member] = number = self._entered % _BEATS
        self._beats[number].add(member)

    def leave(self, member: Member) -> None:
        """Forget a connection and its subscriptions. Calling it again does nothing."""
        number = self._beat_of.pop(member, None)
        if number is None:
            return
        self._beats[number].discard(member)
        for sub in list(member.subscriptions):
            self.unsubscribe(member, sub)

    def subscribe(self, member: Member, selection: Selection, since: Since | None) -> tuple[str, bool]:
        """Note a subscription, from where the client stands; ``deliver`` must follow.

        Asking again for the same selection moves the client's place to what it now says.

        Returns:
            The ``sub``, and whether its rows are recovered: what follows is a delta, not a snapshot.
        """
        channel = self._channels.get(selection)
        if channel is None:
            channel = self._channels[selection] = Channel(Group(selection, self.tables))
        group = channel.group
        channel.in_sync.pop(member, None)
        if channel.in_sync:
            group.settle()
        else:
            group.flush(encode=False)
        # What a client stands at must be of this life of the counter and of the very same selection.
        same = since is not None and (since.epoch, since.sub) == (self.tables.epoch, group.sub)
        cursor = since.seq if since is not None and same and group.reaches(since.seq) else None
        if group.sub not in member.subscriptions:
            channel.subscribers += 1
        member.subscriptions[group.sub] = Subscription(channel, cursor)
        return group.sub, cursor is not None

    def deliver(self, member: Member, sub: str) -> None:
        """Bring a subscription to its group's last flush and put it in sync. While the member is paused this waits."""
        if member.paused:
            return
        subscription = member.subscriptions[sub]
        channel = subscription.channel
        group = channel.group
        if not channel.in_sync:
            group.flush(encode=False)
        cursor = subscription.cursor
        if cursor is not None and not group.reaches(cursor):
            cursor = None
        frames = group.catch_up(cursor)
        # In sync before the write: if that fills the socket, ``pause`` takes the member out again.
        channel.in_sync[member] = member.write
        self._catch_ups += 1
        self._snapshots += cursor is None
        self._bytes += len(frames)
        member.write(frames)

    def unsubscribe(self, member: Member, sub: str) -> bool:
        """End a subscription; False where there is none. A group without subscribers is dropped."""
        subscription = member.subscriptions.pop(sub, None)
        if subscription is None:
            return False
        channel = subscription.channel
        channel.in_sync.pop(member, None)
        channel.subscribers -= 1
        if not channel.subscribers:
            if channel.timer is not None:
                channel.timer.cancel()
            del self._channels[channel.group.selection]
        return True

    def pause(self, member: Member) -> None:
        """The member's socket is full: it leaves every in-sync set and keeps its place."""
        self._pauses += 1
        for subscription in member.subscriptions.values():
            if subscription.channel.in_sync.pop(member, None) is not None:
                # Not ``base``: the client's own cursor may be behind it where nothing changed, and ``prev`` must not be ahead.
                subscription.cursor = subscription.channel.group.sent

    def resume(self, member: Member) -> None:
        """The member's socket has drained: bring each of its subscriptions up, as far as the socket takes it."""
        for sub, subscription in list(member.subscriptions.items()):
            channel = subscription.channel
            if member.paused or member in channel.in_sync:
                continue
            if not channel.in_sync:
                channel.group.flush(encode=False)
            if subscription.cursor is not None and subscription.cursor >= channel.group.sent:
                channel.in_sync[member] = (
                    member.write
                )  # it missed no frame; an empty one would only fill its socket again
            else:
                self.deliver(member, sub)

    # --- Heartbeats -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the heartbeats."""
        self._heartbeats = self.call_later(self.limits.heartbeat_ms / 1000 / _BEATS, self._next_beat)

    def stop(self) -> None:
        """Stop all timers."""
        if self._heartbeats is not None:
            self._heartbeats.cancel()
            self._heartbeats = None
        for channel in self._channels.values():
            if channel.timer is not None:
                channel.timer.cancel()
                channel.timer = None

    def _next_beat(self) -> None:
        self.start()
        self._beat = (self._beat + 1) % _BEATS
        self.beat(list(self._beats[self._beat]))

    def beat(self, members: list[Member]) -> None:
        """Ping these connections; those that have everything also learn up to which seq that is."""
        complete = text_frame(heartbeat(self.tables.seq)) + PING_FRAME
        now = self.clock()
        for member in members:
            if member.beat(now) and not member.paused:
                member.write(complete if self._is_complete(member) else PING_FRAME)

    def _is_complete(self, member: Member) -> bool:
        return all(
            member in subscription.channel.in_sync and subscription.channel.group.settle()
            for subscription in member.subscriptions.values()
        )

    def statistics(self) -> HubStatistics:
        """Return a frozen count of everything."""
        subscriptions = sum(channel.subscribers for channel in self._channels.values())
        in_sync = sum(len(channel.in_sync) for channel in self._channels.values())
        return HubStatistics(
            connections=len(self._beat_of),
            groups=len(self._channels),
            subscriptions=subscriptions,
            lagging=subscriptions - in_sync,
            frames=self._frames,
            deliveries=self._deliveries,
            delivered_bytes=self._bytes,
            catch_ups=self._catch_ups,
            snapshots=self._snapshots,
            pauses=self._pauses,
            closed=dict(self.closed),
        )
