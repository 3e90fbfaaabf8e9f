from __future__ import annotations

import asyncio
from typing import Any

import pytest

from exchanges.backoff import Backoff
from gateway.client import Client, Refused, Replica, View, Want
from gateway.core.protocol import Limits
from gateway.hub import Hub
from gateway.web.server import Server
from gateway.web.state import ServerState
from tests.gateway.toy import ACCOUNTS, Toy
from tests.gateway.web.serving import gateway

AT_ONCE = Backoff(base_s=0.01, cap_s=0.01)


def client(url: str, *wants: Want) -> Client:
    return Client(url, *wants, backoff=AT_ONCE, proxy=None)


def snapshot(rows: dict[str, Any], seq: int = 5, **more: Any) -> dict[str, Any]:
    return {"type": "snapshot", "sub": "k", "epoch": "e", "seq": seq, "rows": rows, **more}


def delta(prev: int, seq: int, **more: Any) -> dict[str, Any]:
    return {"type": "delta", "sub": "k", "prev": prev, "seq": seq, **more}


def replica_at_five() -> tuple[Replica, View]:
    replica = Replica(Want("positions"))
    (command,) = replica.receive({"type": "hello", "heartbeat_ms": 1})
    replica.receive({"type": "subscribed", "id": command["id"], "sub": "k", "recovered": False})
    replica.receive(snapshot({"a": {"x": 1}}))
    return replica, replica.views[0]


def test_rows_then_patch_then_cursor() -> None:
    replica, view = replica_at_five()
    assert replica.receive(delta(5, 6, rows={"b": {"y": 1}}, patch={"a": {"x": None, "z": 2}, "b": {"y": 2}})) == []
    assert (view.rows, view.cursor) == ({"a": {"z": 2}, "b": {"y": 2}}, 6)
    replica.receive(delta(4, 7, patch={"a": None, "gone long ago": None}))
    assert (view.rows, view.cursor) == ({"b": {"y": 2}}, 7)


def test_a_gap_is_never_applied_but_asked_again_from_the_cursor() -> None:
    replica, view = replica_at_five()
    (command,) = replica.receive(delta(7, 8, rows={"a": {"x": 9}}))
    assert command["since"] == {"epoch": "e", "seq": 5, "sub": "k"}
    assert (view.rows, view.cursor, view.gaps) == ({"a": {"x": 1}}, 5, 1)


def test_a_frame_in_pieces_counts_with_its_last() -> None:
    replica, view = replica_at_five()
    replica.receive(snapshot({"a": {}}, seq=9, more=True))
    assert not replica.complete
    assert view.since() is None, "half a snapshot is no place to go on from"
    replica.receive({"type": "heartbeat", "seq": 12})
    assert view.cursor == 9
    replica.receive(delta(9, 9, rows={"b": {}}))
    assert replica.complete
    assert set(view.rows) == {"a", "b"}


def test_what_is_not_known_is_ignored() -> None:
    replica, view = replica_at_five()
    assert replica.receive({"type": "news", "x": 1}) == []
    assert replica.receive({**delta(5, 6), "sub": "another"}) == []
    assert view.cursor == 5


def test_what_may_be_seen_changed() -> None:
    replica, view = replica_at_five()
    replica.receive({"type": "subscribed", "sub": "n", "was": "k", "recovered": False})
    assert not replica.complete
    replica.receive({**snapshot({"c": {}}), "sub": "n"})
    assert (set(view.rows), view.sub, replica.complete) == ({"c"}, "n", True)


async def test_a_replica_follows_the_tables() -> None:
    async with gateway() as running, client(running.stream, Want("positions"), Want("summary")) as replica:
        await replica.wait_for(lambda c: c.replica.complete)
        assert replica.tables == {"positions": running.toy.rows, "summary": {}}
        running.toy.put("main:A", x=2)
        running.toy.drop("main:B")
        running.turn()
        await replica.wait_for(lambda c: c.replica.views[0].cursor == 2)
        assert replica.tables["positions"] == running.toy.rows


async def test_heartbeats_bring_the_cursor_of_a_quiet_selection_along() -> None:
    quiet = Want("positions", accounts=("other",))
    async with gateway(Limits(heartbeat_ms=80)) as running, client(running.stream, quiet) as replica:
        await replica.wait_for(lambda c: c.replica.complete)
        running.toy.put("main:A", x=2)
        running.turn()
        await replica.wait_for(lambda c: c.cursor == 2)
        assert replica.replica.views[0].deltas == 0


async def test_it_comes_back_and_goes_on_from_its_cursor() -> None:
    toy = Toy()
    toy.put("main:A", x=1)
    toy.put("main:B", x=1)
    toy.commit()
    hub = Hub.on(asyncio.get_running_loop(), toy.tables, Limits())
    first, second = Server(), Server()
    await first.start("127.0.0.1", 0, ServerState(hub=hub, version="1", accounts=lambda: ACCOUNTS))
    async with client(f"ws://127.0.0.1:{first.port}/v1/stream", Want("positions")) as replica:
        await replica.wait_for(lambda c: c.replica.complete)
        await first.stop()
        toy.put("main:A", x=2)
        toy.drop("main:B")
        toy.commit()
        hub.flush()
        await second.start("127.0.0.1", first.port, ServerState(hub=hub, version="1", accounts=lambda: ACCOUNTS))
        await replica.wait_for(lambda c: c.cursor == 2)
        view = replica.replica.views[0]
        assert (replica.connections, replica.replica.recovered, view.snapshots) == (2, 1, 1)
        assert replica.tables["positions"] == {"main:A": {"x": 2}}
        await second.stop()


async def test_a_new_life_of_the_gateway_replaces_everything() -> None:
    port = 0
    async with gateway() as running:
        port = running.server.port
        replica = client(running.stream, Want("positions"))
        await replica.__aenter__()
        await replica.wait_for(lambda c: c.replica.complete)
    toy = Toy("e2")
    toy.put("other:Z", x=1)
    toy.commit()
    hub, server = Hub.on(asyncio.get_running_loop(), toy.tables, Limits()), Server()
    await server.start("127.0.0.1", port, ServerState(hub=hub, version="1", accounts=lambda: ACCOUNTS))
    await replica.wait_for(lambda c: c.replica.views[0].epoch == "e2" and c.replica.complete)
    assert replica.tables["positions"] == toy.rows
    assert replica.replica.recovered == 0
    await replica.__aexit__(None, None, None)
    await server.stop()


async def test_a_silent_gateway_is_left() -> None:
    """Two heartbeats missed: the connection is open but dead."""
    async with gateway(Limits(heartbeat_ms=60)) as running, client(running.stream, Want("positions")) as replica:
        await replica.wait_for(lambda c: c.replica.complete)
        running.hub.stop()
        await replica.wait_for(lambda c: c.connections >= 2)


async def test_what_is_refused_is_told() -> None:
    async with gateway() as running, client(running.stream, Want("nonsense")) as replica:
        with pytest.raises(Refused, match="nonsense"):
            await replica.wait_for(lambda c: c.replica.complete)


async def test_who_is_told_not_to_come_back_does_not() -> None:
    async with (
        gateway(Limits(max_connections_per_principal=0)) as running,
        client(running.stream, Want("positions")) as replica,
    ):
        with pytest.raises(Refused, match="4103"):
            await replica.wait_for(lambda c: c.replica.complete)


async def test_waiting_has_an_end() -> None:
    async with gateway() as running, client(running.stream, Want("positions")) as replica:
        with pytest.raises(TimeoutError):
            await replica.wait_for(lambda c: False, timeout_s=0.05)
