"""Clients that stay through everything: their replicas, and whether ``seq`` ever went back within an epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.client import Client, Frame, Replica, View, Want

TABLES = ("positions", "accounts", "feeds", "fills", "closed", "orders", "alerts", "summary", "reconciliations")
# What changes though nothing happens.
_RESTLESS: Mapping[str, frozenset[str]] = {
    "feeds": frozenset({"last_message_at", "lag_ms"}),
    "summary": frozenset({"last_sync_at"}),
}


class Watching(Replica):
    """A replica that remembers how far it was in each epoch.

    Attributes:
        went_back: What must never be, in words.
        epochs: All epochs, in the order of their coming.
    """

    def __init__(self, *wants: Want) -> None:
        super().__init__(*wants)
        self.went_back: list[str] = []
        self.epochs: list[str] = []
        self.frames = 0
        self._furthest: dict[tuple[str, str], int] = {}  # epoch, table or "" for the whole → seq

    def receive(self, frame: Frame) -> list[Frame]:
        """Judge a frame before it is applied."""
        self.frames += 1
        kind = frame["type"]
        if kind == "hello":
            if self.epochs[-1:] != [frame["epoch"]]:
                if frame["epoch"] in self.epochs:
                    self.went_back.append(f"epoch {frame['epoch']} came back after {self.epochs[-1]}")
                self.epochs.append(frame["epoch"])
            self._further(frame, [""])
        elif kind == "heartbeat":
            self._further(frame, [view.want.table for view in self.views if view.sub is not None])
        elif kind in ("snapshot", "delta"):
            if frame.get("epoch", self.epochs[-1]) != self.epochs[-1]:
                self.went_back.append(f"a {kind} of epoch {frame['epoch']} after the hello of {self.epochs[-1]}")
            self._further(frame, [frame["table"]])
        return super().receive(frame)

    def _further(self, frame: Frame, names: Sequence[str]) -> None:
        epoch, seq = self.epochs[-1], frame["seq"]
        for name in names:
            known = self._furthest.get((epoch, name), 0)
            if seq < known:
                self.went_back.append(f"{frame['type']} of {name or 'the gateway'} says {seq} after {known} in {epoch}")
            # Whoever connects anew is told of everything that was said before, by whichever table.
            for key in {(epoch, name), (epoch, "")}:
                self._furthest[key] = max(self._furthest.get(key, 0), seq)


def client(url: str, *, min_interval_ms: int = 0) -> tuple[Client, Watching]:
    """Return a client of all tables, not connected yet, and its replica."""
    wants = [Want(table, min_interval_ms=min_interval_ms) for table in TABLES]
    made, replica = Client(url, proxy=None), Watching(*wants)
    made.replica = replica
    return made, replica


def unequal(replica: Replica, snapshot: Mapping[str, Any]) -> list[str]:
    """Return where a replica differs from ``GET /v1/snapshot``, but for what never rests."""
    if not replica.complete:
        return ["the replica is not complete"]
    return [difference for view in replica.views for difference in _unequal(view, snapshot)]


def _unequal(view: View, snapshot: Mapping[str, Any]) -> list[str]:
    name = view.want.table
    if view.epoch != snapshot["epoch"]:
        return [f"{name}: the replica is of epoch {view.epoch}, the snapshot of {snapshot['epoch']}"]
    theirs, restless = snapshot[name], _RESTLESS.get(name, frozenset())
    found = [f"{name}: {id_} is in one alone" for id_ in sorted(theirs.keys() ^ view.rows.keys())]
    for id_ in sorted(theirs.keys() & view.rows.keys()):
        ours, true = view.rows[id_], theirs[id_]
        fields = [key for key in ours.keys() | true.keys() if ours.get(key) != true.get(key) and key not in restless]
        found += [f"{name}: {id_} {key} {ours.get(key)}, in the snapshot {true.get(key)}" for key in sorted(fields)]
    return found
