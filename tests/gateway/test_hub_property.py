"""Any interleaving of changes, slow clients, joiners, resumes, restarts and forgotten tombstones, over the real tables, hub
and sessions: a replica that is complete always holds exactly its selection as of its cursor, and in the end all of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.client import Replica, View, Want
from gateway.core.tables import Row, Selection
from tests.gateway.toy import ACCOUNTS, HandTurnedClock, Pipe, Toy, drain_into, make_hub

WANTS = (
    (Want("positions"),),
    (Want("positions", accounts=("main",)),),
    (Want("positions", symbols=("A", "B")), Want("positions", accounts=("other",), min_interval_ms=250)),
    (Want("positions", min_interval_ms=1_000), Want("summary")),
)
peer_numbers = st.integers(0, 2 * len(WANTS) - 1)
ids = st.builds("{}:{}".format, st.sampled_from(ACCOUNTS), st.sampled_from("ABC"))
scalars = st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from(["", "x"]))
values = st.one_of(scalars, st.dictionaries(st.sampled_from("mn"), scalars, max_size=2), st.lists(scalars, max_size=2))
rows = st.dictionaries(st.sampled_from("xyz"), values, max_size=3)


def selection_of(want: Want) -> Selection:
    return Selection(want.table, want.accounts, want.symbols)


class Peer:
    """A client with its replica; ``pipe`` is None while it is away."""

    def __init__(self, wants: tuple[Want, ...]) -> None:
        self.replica = Replica(*wants)
        self.pipe: Pipe | None = None
        self.high = 1 << 20


class Serving(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.epoch = 0
        # Two of each, so that groups are shared: what one does must never show in what the other holds.
        self.peers = [Peer(wants) for wants in WANTS + WANTS]
        self.clock = HandTurnedClock()
        self._gateway({f"{account}:{symbol}": {"x": 1} for account in ACCOUNTS for symbol in "ABC"})
        for number in range(len(self.peers)):
            self.connects(number, True)

    def _gateway(self, rows: dict[str, Row]) -> None:
        self.epoch += 1
        self.toy = Toy(f"e{self.epoch}", max_tombstones=2)
        self.hub = make_hub(
            self.toy, self.clock, heartbeat_ms=2_000, dead_after_ms=10**9, drain_ms=10**9, commands_per_s=10**6
        )
        for id_, row in rows.items():
            self.toy.put(id_, **row)
        self.toy.commit()
        self.views: dict[int, dict[str, Row]] = {0: {}, self.toy.tables.seq: dict(self.toy.rows)}

    @rule(changes=st.lists(st.tuples(ids, st.one_of(st.none(), rows)), min_size=1, max_size=4))
    def turn(self, changes: list[tuple[str, Row | None]]) -> None:
        for id_, row in changes:
            if row is not None:
                self.toy.put(id_, **row)
            elif id_ in self.toy.rows:
                self.toy.drop(id_)
        self.toy.commit()
        self.views[self.toy.tables.seq] = dict(self.toy.rows)
        self.hub.flush()

    @rule(account=st.sampled_from(ACCOUNTS), number=peer_numbers, away=st.booleans())
    def everything_closes(self, account: str, number: int, away: bool) -> None:
        """More removals in one turn than tombstones are kept."""
        if away:
            self.connection_breaks(number)
        self.turn([(f"{account}:{symbol}", None) for symbol in "ABC"])
        self.connects(number, True)

    @rule(figure=st.integers(0, 3))
    def turn_of_another_table(self, figure: int) -> None:
        self.toy.put_summary("joe", figure=figure)
        self.toy.commit()
        self.views[self.toy.tables.seq] = dict(self.toy.rows)
        self.hub.flush()

    @rule(number=peer_numbers, high=st.sampled_from([0, 100, 300, 1 << 20]))
    def reads_slowly(self, number: int, high: int) -> None:
        peer = self.peers[number]
        peer.high = high
        if peer.pipe is not None:
            peer.pipe.high = high

    @rule(number=peer_numbers)
    def reads(self, number: int) -> None:
        peer = self.peers[number]
        if peer.pipe is not None:
            drain_into(peer.pipe, peer.replica)

    @rule(number=peer_numbers)
    def connection_breaks(self, number: int) -> None:
        peer = self.peers[number]
        if peer.pipe is not None:
            peer.pipe.session.lost()
            peer.pipe = None  # with all that it did not read

    @rule(number=peer_numbers, reads=st.booleans())
    def connects(self, number: int, reads: bool) -> None:
        peer = self.peers[number]
        if peer.pipe is None:
            peer.replica.connected()
            peer.pipe = Pipe(self.hub, high=peer.high)
            if reads:
                drain_into(peer.pipe, peer.replica)

    @rule(number=peer_numbers, index=st.integers(0, 1))
    def asks_again(self, number: int, index: int) -> None:
        peer = self.peers[number]
        view = peer.replica.views[index % len(peer.replica.views)]
        if peer.pipe is not None and not peer.pipe.reading_held:
            drain_into(peer.pipe, peer.replica)
            peer.pipe.send(**peer.replica._subscribe(view))

    @rule(seconds=st.sampled_from([0.1, 0.25, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def heartbeat(self) -> None:
        self.hub.beat([peer.pipe.session for peer in self.peers if peer.pipe is not None])

    @rule(keep=st.booleans())
    def gateway_restarts(self, keep: bool) -> None:
        self.hub.stop()
        for peer in self.peers:
            peer.pipe = None
        self._gateway(dict(self.toy.rows) if keep else {})

    def _of(self, view: View, seq: int) -> dict[str, Any]:
        rows = self.toy.rows
        try:
            self.toy.rows = self.views[seq]
            return self.toy.chosen(selection_of(view.want))
        finally:
            self.toy.rows = rows

    def _check(self, view: View) -> None:
        if view.want.table == "positions" and view.complete and view.epoch == self.toy.tables.epoch:
            assert view.cursor is not None
            assert view.rows == self._of(view, view.cursor)

    @invariant()
    def every_cursor_tells_the_truth(self) -> None:
        for peer in getattr(self, "peers", ()):
            for view in peer.replica.views:
                self._check(view)

    def teardown(self) -> None:
        if not hasattr(self, "peers"):
            return
        self.clock.advance(2)
        for number in range(len(self.peers)):
            self.reads_slowly(number, 1 << 20)
            self.connects(number, True)
            self.reads(number)
        self.heartbeat()
        for peer in self.peers:
            assert peer.pipe is not None
            drain_into(peer.pipe, peer.replica)
            assert peer.replica.complete
            for view in peer.replica.views:
                assert view.cursor == self.toy.tables.seq
                assert view.gaps == 0, "the server never leaves a gap within a connection"
                if view.want.table == "positions":
                    assert view.rows == self.toy.chosen(selection_of(view.want))
                else:
                    assert view.rows == self.toy.users


TestServing = Serving.TestCase
TestServing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


VALUES = (None, True, 0, 1, "x", {"m": 1}, {"n": 0, "m": None}, {"n": 2, "m": 1}, [1], [True, None], {})


@pytest.mark.parametrize("seed", range(150))
def test_long_random_lives(seed: int) -> None:
    """The same machine on long plain-random lives, which a search for small examples seldom takes."""
    chance = random.Random(seed)
    machine = Serving()
    machine.start()

    def change() -> tuple[str, Row | None]:
        row: Row = {field: chance.choice(VALUES) for field in "xyz" if chance.random() < 0.6}
        return f"{chance.choice(ACCOUNTS)}:{chance.choice('ABC')}", None if chance.random() < 0.3 else row

    steps: list[tuple[int, Callable[[int], None]]] = [
        (9, lambda _: machine.turn([change() for _ in range(chance.randint(1, 3))])),
        (3, lambda _: machine.turn_of_another_table(chance.randint(0, 3))),
        (4, lambda number: machine.reads_slowly(number, chance.choice([0, 100, 300, 1 << 20]))),
        (9, machine.reads),
        (2, machine.connection_breaks),
        (3, lambda number: machine.connects(number, chance.random() < 0.5)),
        (2, lambda number: machine.asks_again(number, chance.randint(0, 1))),
        (3, lambda _: machine.time_passes(chance.choice([0.1, 0.25, 1.0]))),
        (2, lambda _: machine.heartbeat()),
        (1, lambda number: machine.everything_closes(chance.choice(ACCOUNTS), number, chance.random() < 0.5)),
    ]
    weights, actions = zip(*steps, strict=True)
    for _ in range(200):
        chance.choices(actions, weights)[0](chance.randrange(len(machine.peers)))
        if chance.random() < 0.005:
            machine.gateway_restarts(chance.random() < 0.5)
        machine.every_cursor_tells_the_truth()
    machine.teardown()
