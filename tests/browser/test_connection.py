"""static/connection.js with a socket, a clock and dice of the test's own: nothing here waits."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

# A gateway by hand: the test says what is sent, when time passes, and reads what the connection does.
STAGE = """
const { Connection, backoff, mayReturn } = await import('/connection.js');
const stage = { now: 1_000_000, sockets: [], timers: [], changed: [] };
stage.open = (url) => {
    const socket = { url, sent: [], closed: false };
    socket.send = (text) => socket.sent.push(JSON.parse(text));
    socket.close = () => { socket.closed = true; };
    stage.sockets.push(socket);
    return socket;
};
const connection = new Connection({
    url: 'ws://here/v1/stream',
    subscriptions: [{ table: 'positions', min_interval_ms: 250 }, { table: 'feeds' }],
    onChange: (table) => stage.changed.push(table),
    onState: () => {},
    now: () => stage.now,
    random: () => 0.5,
    later: (callback, ms) => stage.timers.push({ callback, ms }) && stage.timers.at(-1),
    forget: (timer) => { timer.callback = null; },
    open: stage.open,
});
const socket = () => stage.sockets.at(-1);
const say = (...frames) => frames.forEach((frame) => socket().onmessage({ data: JSON.stringify(frame) }));
const hello = (epoch = 'e') => say({ type: 'hello', protocol: 1, server: 'perpwire/0', epoch, seq: 1, heartbeat_ms: 15000 });
const answer = (table, sub, recovered = false) => say({ type: 'subscribed', id: table, sub, recovered });
const snapshot = (table, sub, seq, rows) => say({ type: 'snapshot', table, sub, epoch: 'e', seq, rows });
const fire = () => { const timer = stage.timers.pop(); stage.now += timer.ms; timer.callback(); };
const live = () => {
    connection.start();
    hello();
    answer('positions', 'p'); snapshot('positions', 'p', 5, { a: { x: 1 } });
    answer('feeds', 'f'); snapshot('feeds', 'f', 5, {});
};
"""


async def play(page: Page, scene: str) -> Any:
    """Run a scene on the stage and return what it returns."""
    return await page.evaluate(f"async () => {{{STAGE}{scene}}}")


async def test_every_table_is_asked_for_and_live_is_when_all_have_come(modules: Page) -> None:
    found = await play(
        modules,
        """
        connection.start();
        const states = [connection.state.name];
        hello(); states.push(connection.state.name);
        answer('positions', 'p'); snapshot('positions', 'p', 5, { a: { x: 1 } }); states.push(connection.state.name);
        answer('feeds', 'f'); snapshot('feeds', 'f', 5, {}); states.push(connection.state.name);
        return { states, sent: socket().sent, changed: stage.changed };
        """,
    )
    assert found["states"] == ["connecting", "connecting", "connecting", "live"]
    assert found["sent"] == [
        {"op": "subscribe", "id": "positions", "table": "positions", "min_interval_ms": 250},
        {"op": "subscribe", "id": "feeds", "table": "feeds"},
    ]
    assert found["changed"] == ["positions", "feeds"]


async def test_a_lost_connection_is_resumed_from_the_cursor(modules: Page) -> None:
    found = await play(
        modules,
        """
        live();
        say({ type: 'heartbeat', seq: 9 });
        socket().onclose({ code: 1006, reason: '' });
        const lost = [connection.state.name, connection.replica('positions').rows.size];
        fire();
        hello();
        const asked = socket().sent[0].since;
        answer('positions', 'p', true);
        say({ type: 'delta', sub: 'p', table: 'positions', prev: 9, seq: 11, patch: { a: { x: 2 } } });
        answer('feeds', 'f', true);
        say({ type: 'delta', sub: 'f', table: 'feeds', prev: 9, seq: 11 });
        return { lost, asked, state: connection.state.name, x: connection.replica('positions').rows.get('a').x };
        """,
    )
    assert found["lost"] == ["reconnecting", 1]
    assert found["asked"] == {"epoch": "e", "seq": 9, "sub": "p"}
    assert found["state"] == "live"
    assert found["x"] == 2


async def test_a_heartbeat_speaks_only_of_what_is_subscribed_on_this_connection(modules: Page) -> None:
    """One that comes before the resumption was answered must not move the place that the next resumption starts from."""
    found = await play(
        modules,
        """
        live();
        socket().onclose({ code: 1006, reason: '' });
        fire(); hello();
        say({ type: 'heartbeat', seq: 50 });
        socket().onclose({ code: 1006, reason: '' });
        fire(); hello();
        return socket().sent[0].since.seq;
        """,
    )
    assert found == 5


async def test_a_heartbeat_completes_a_resumption_without_news(modules: Page) -> None:
    found = await play(
        modules,
        """
        live();
        socket().onclose({ code: 1006, reason: '' });
        fire(); hello();
        answer('positions', 'p', true); answer('feeds', 'f', false);
        say({ type: 'heartbeat', seq: 9 });
        const before = connection.state.name;
        snapshot('feeds', 'f', 9, {});
        return [before, connection.state.name, connection.replica('positions').since().seq];
        """,
    )
    assert found == ["reconnecting", "live", 9]


async def test_a_gap_is_asked_for_again(modules: Page) -> None:
    found = await play(
        modules,
        """
        live();
        say({ type: 'delta', sub: 'p', table: 'positions', prev: 7, seq: 8, rows: { b: {} } });
        return socket().sent.slice(2);
        """,
    )
    assert [(sent["table"], sent["since"]["seq"]) for sent in found] == [("positions", 5)]


async def test_silence_for_two_heartbeats_is_a_loss(modules: Page) -> None:
    found = await play(
        modules,
        """
        live();
        stage.now += 30_000; connection.check();
        const before = connection.state.name;
        stage.now += 1; connection.check();
        return { before, after: connection.state.name, closed: socket().closed, waiting: stage.timers.length };
        """,
    )
    assert found == {"before": "live", "after": "reconnecting", "closed": True, "waiting": 1}


async def test_who_is_told_not_to_come_back_does_not(modules: Page) -> None:
    found = await play(
        modules,
        """
        live();
        socket().onclose({ code: 4104, reason: 'forbidden origin' });
        connection.check(); connection.hurry();
        return { state: connection.state, waiting: stage.timers.length, sockets: stage.sockets.length,
                 codes: [1000, 1006, 4000, 4099, 4100, 4199, 4200].map(mayReturn) };
        """,
    )
    assert found["state"] == {"name": "stopped", "reason": "forbidden origin (4104)"}
    assert (found["waiting"], found["sockets"]) == (0, 1)
    assert found["codes"] == [True, True, True, True, False, False, True]


async def test_another_protocol_is_not_guessed_at(modules: Page) -> None:
    found = await play(
        modules,
        """
        connection.start();
        say({ type: 'hello', protocol: 2, server: 'x', epoch: 'e', seq: 1, heartbeat_ms: 1 });
        return { name: connection.state.name, sent: socket().sent.length, closed: socket().closed };
        """,
    )
    assert found == {"name": "stopped", "sent": 0, "closed": True}


async def test_a_refused_table_is_said_and_the_others_live(modules: Page) -> None:
    found = await play(
        modules,
        """
        connection.start(); hello();
        answer('positions', 'p'); snapshot('positions', 'p', 5, {});
        say({ type: 'error', id: 'feeds', code: 'unknown_table', message: 'no such table', retry: false });
        return { name: connection.state.name, refused: [...connection.refused] };
        """,
    )
    assert found == {"name": "live", "refused": [["feeds", "no such table (unknown_table)"]]}


async def test_a_refusal_for_now_is_tried_again(modules: Page) -> None:
    found = await play(
        modules,
        """
        connection.start(); hello();
        say({ type: 'error', id: 'feeds', code: 'not_ready', message: 'wait', retry: true });
        return { closed: stage.sockets[0].closed, waiting: stage.timers.length };
        """,
    )
    assert found == {"closed": True, "waiting": 1}


async def test_a_selection_that_changes_its_name_keeps_its_table(modules: Page) -> None:
    found = await play(
        modules,
        """
        live();
        say({ type: 'subscribed', sub: 'q', was: 'p', recovered: false });
        snapshot('positions', 'q', 6, { z: {} });
        return { rows: [...connection.replica('positions').rows.keys()], since: connection.replica('positions').since() };
        """,
    )
    assert found == {"rows": ["z"], "since": {"epoch": "e", "seq": 6, "sub": "q"}}


async def test_waits_grow_to_a_cap_and_start_anew_after_a_good_connection(modules: Page) -> None:
    found = await play(
        modules,
        """
        live();
        stage.now += 11_000;
        const waits = [];
        for (let i = 0; i < 9; i += 1) {
            socket().onclose({ code: 1006, reason: '' });
            waits.push(stage.timers.at(-1).ms);
            fire();
        }
        hello();
        stage.now += 11_000;
        socket().onclose({ code: 1006, reason: '' });
        return { waits, last: stage.timers.at(-1).ms, bounds: [backoff(0, 0), backoff(0, 1), backoff(99, 1)] };
        """,
    )
    assert found["waits"] == [125, 250, 500, 1000, 2000, 4000, 5000, 5000, 5000]
    assert found["last"] == 125
    assert found["bounds"] == [0, 250, 10_000]


async def test_when_the_network_is_back_nobody_waits(modules: Page) -> None:
    found = await play(
        modules,
        """
        live();
        connection.hurry();
        const idle = stage.sockets.length;
        socket().onclose({ code: 1006, reason: '' });
        connection.hurry();
        return { idle, sockets: stage.sockets.length, forgotten: stage.timers[0].callback === null };
        """,
    )
    assert found == {"idle": 1, "sockets": 2, "forgotten": True}


async def test_the_gateways_clock_is_told_by_the_least_delayed_delta(modules: Page) -> None:
    found = await play(
        modules,
        """
        live();
        for (const late of [900, 20, 300]) {
            say({ type: 'delta', sub: 'p', table: 'positions', prev: 5, seq: 5, at: stage.now + 60_000 - late });
        }
        return connection.skew;
        """,
    )
    assert found == 59_980
