"""Position history in a real database: the stored cycles are those of one pass over all records, however they came."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from decimal import Decimal
from itertools import permutations

import asyncpg
import msgspec
import pytest

from exchanges.events import AccountMode, ClosedPnl, Event, Fill, FundingPayment, Instrument, PositionState, Transfer
from gateway.core.chains import Chain, Evidence, Item
from gateway.core.folding import fold
from gateway.core.records import Backfill, ClosedCycle, Covered, PastPosition, PositionChange
from gateway.core.round_trips import contract_of
from gateway.storage import chain_rows, history, tables
from gateway.storage.batch import AccountRow, Batch, ContractRow, RecordRow
from tests.gateway.core.chain_worlds import ACCOUNT, LINEAR, POSITION, SYMBOL, T0, Trade, fill, fills_of, payment
from tests.gateway.storage.states import instrument, position

HOUR = 3_600_000
KINDS: dict[type[Event], str] = {
    Fill: "fills",
    FundingPayment: "funding",
    Transfer: "transfers",
    ClosedCycle: "closed_cycles",
    PositionChange: "position_changes",
    ClosedPnl: "pnl_records",
    Covered: "coverage",
    Backfill: "backfills",
}
CONTRACT: Instrument = instrument(SYMBOL)


@pytest.fixture
async def db(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database that holds one account and one contract, and no record."""
    connection = await asyncpg.connect(dsn)
    names = [*(f"{kind}" for kind in tables.RECORDS), "position_history", "open_cycles", "accounts", "contracts"]
    await connection.execute(f"TRUNCATE {', '.join(names)}")
    mode = AccountMode(account=ACCOUNT, mode="net_mode", hedge=False)
    account = AccountRow(ACCOUNT, "alice", "okx", "live", None, "live", mode, T0)
    contract = ContractRow("okx", "live", SYMBOL, CONTRACT, None, T0)
    await tables.write(connection, Batch(accounts=[account], contracts=[contract]), row_by_row=False)
    yield connection
    await connection.close()


def batch_of(records: Iterable[Event], at: int = T0) -> Batch:
    """Return a batch of records; each came by the journal entry of its own moment."""
    rows: dict[str, list[RecordRow]] = {}
    for one in records:
        moment = one.closed_at if isinstance(one, ClosedCycle) else one.at  # type: ignore[attr-defined]
        row = RecordRow(one.id, ACCOUNT, moment, one, "alice", moment - T0)  # type: ignore[attr-defined]
        rows.setdefault(KINDS[type(one)], []).append(row)
    return Batch(epoch="e", revision=1, at=at, records=rows)


async def write(db: asyncpg.Connection, *records: Event, at: int = T0) -> None:
    """Write records as a checkpoint does."""
    batch = batch_of(records, at)
    async with db.transaction():
        await tables.write(db, batch, row_by_row=False)
        await history.derive(db, batch)


async def stored(db: asyncpg.Connection) -> list[PastPosition]:
    rows = await db.fetch("SELECT state FROM position_history ORDER BY at, id")
    return [msgspec.json.decode(row["state"], type=PastPosition) for row in rows]


def expected(items: list[Item], **known: object) -> list[PastPosition]:
    evidence = Evidence(contract_of(CONTRACT), **({"covered": T0, "hedge": False} | known))  # type: ignore[arg-type]
    chain = Chain(account=ACCOUNT, symbol=SYMBOL)
    found = {one.id: one for ended in fold(chain, items, evidence) for one in ended.cycles}
    return sorted(found.values(), key=lambda one: (one.at, one.id))


def covered(since: int = T0) -> Covered:
    return Covered(id=ACCOUNT, account=ACCOUNT, since=since, at=T0)


def trades(count: int, seed: int) -> list[Trade]:
    dice = random.Random(seed)
    sizes = [one for one in range(-4, 5) if one]
    return [
        Trade(dice.choice((0, 1, 900, 5_000)), dice.choice(sizes), dice.randint(9_000, 11_000)) for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(12))
async def test_records_in_any_order_and_any_batches_come_to_the_same(db: asyncpg.Connection, seed: int) -> None:
    dice = random.Random(seed)
    fills = fills_of(trades(40, seed), states_start=seed % 2 == 0, realized=seed % 3 == 0)
    items: list[Item] = [*fills, *(payment(n, f"-0.{n}1", one.at + 300) for n, one in enumerate(fills))]
    ends = expected([*fills])
    items += {one.closed_at: gone(one.closed_at + 5, since=one.opened_at) for one in ends[::3]}.values()
    shuffled = items * 2
    dice.shuffle(shuffled)
    await write(db, covered())
    while shuffled:
        count = dice.choice((1, 2, 5, 20))
        await write(db, *dict.fromkeys(shuffled[:count]))
        shuffled = shuffled[count:]
    assert await stored(db) == expected(items)
    (state,) = await db.fetch("SELECT state, late, behind FROM open_cycles")
    chain = Chain(account=ACCOUNT, symbol=SYMBOL)
    list(fold(chain, items, Evidence(contract_of(CONTRACT), covered=T0)))
    assert (msgspec.json.decode(state["state"], type=Chain).legs, state["late"], state["behind"]) == (
        chain.legs,
        None,
        False,
    )


def gone(at: int, since: int = T0, **fields: object) -> ClosedCycle:
    known: dict[str, object] = {"reason": "trade", "side": "long", "size": "2", "id": f"{POSITION}@c{at}"} | fields
    return ClosedCycle(account=ACCOUNT, position=POSITION, symbol=SYMBOL, closed_at=at, since=since, **known)  # type: ignore[arg-type]


async def test_a_cycle_names_its_user_and_the_entry_that_ended_it(db: asyncpg.Connection) -> None:
    await write(db, covered(), fill(1, 2, "100", T0, realized="0"))
    assert await stored(db) == []
    await write(db, fill(2, -2, "110", T0 + HOUR, realized="0.2"))
    (row,) = await db.fetch("SELECT * FROM position_history")
    named = (row["user_name"], row["journal"], row["at"], row["position"], row["reason"], row["opened_at"])
    assert named == ("alice", HOUR, T0 + HOUR, POSITION, "trade", T0)
    assert (row["entry_price"], row["exit_price"], row["realized_pnl"]) == (Decimal(100), Decimal(110), Decimal("0.2"))
    assert msgspec.json.decode(row["state"], type=PastPosition).complete


async def test_the_usual_record_reads_no_other(db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    await write(db, covered(), fill(1, 2, "100", T0, start="0"))

    async def never(*_: object) -> None:
        raise AssertionError("stored records were read")

    for name in ("page", "go_back", "first_words", "opened"):
        monkeypatch.setattr(chain_rows, name, never)
    await write(db, fill(2, 1, "101", T0 + 1, start="2"), payment(1, "1", T0 + 2))
    await write(db, fill(3, -3, "102", T0 + 3, start="3"))
    assert [one.complete for one in await stored(db)] == [True]


async def test_a_fill_that_is_told_again_with_its_money_changes_its_cycle(db: asyncpg.Connection) -> None:
    await write(db, covered(), fill(1, 2, "100", T0, fee=None), fill(2, -2, "110", T0 + 1), fill(3, 1, "9", T0 + HOUR))
    assert [one.fees for one in await stored(db)] == [None]
    await write(db, fill(1, 2, "100", T0, fee="-0.5"))
    assert [one.fees for one in await stored(db)] == ["-0.508"]


async def test_a_position_found_closed_is_in_the_history_until_its_fill_comes(db: asyncpg.Connection) -> None:
    await write(db, covered(), fill(1, 2, "100", T0, realized="0"))
    await write(db, gone(T0 + HOUR, reason="reconciled"))
    (found,) = await stored(db)
    assert (found.reason, found.complete, found.closed_at) == ("reconciled", False, T0 + HOUR)
    await write(db, fill(2, -2, "90", T0 + 60_000, cause="liquidation"))
    (found,) = await stored(db)
    assert (found.reason, found.complete, found.closed_at) == ("liquidated", True, T0 + 60_000)


async def test_a_position_without_any_fill_is_in_the_history(db: asyncpg.Connection) -> None:
    await write(db, gone(T0 + HOUR, reason="reconciled"))
    (found,) = await stored(db)
    assert (found.fills, found.complete, found.realized_net) == (0, False, None)


async def test_what_is_traded_on_the_spot_is_no_position(db: asyncpg.Connection) -> None:
    spot = [
        msgspec.structs.replace(fill(n, size, "100", T0 + n), symbol="BTC-USDT", id=f"s{n}", position=None)
        for n, size in enumerate((1, -1))
    ]
    await write(db, covered(), *spot)
    assert await db.fetchval("SELECT count(*) FROM open_cycles") == 0


# --- where positions begin --------------------------------------------------------------------------------------------------


def change(at: int, size: str | None, **fields: object) -> PositionChange:
    state: PositionState | None = None
    if size is not None:
        known = {"venue_at": at, "entry_price": "100"} | fields
        state = msgspec.structs.replace(position(SYMBOL, ACCOUNT, size, **known), id=POSITION)
    return PositionChange(
        id=f"{at}:{POSITION}", account=ACCOUNT, position=POSITION, symbol=SYMBOL, at=at, changed=("size",), state=state
    )


async def test_what_was_held_before_is_closed_by_its_size(db: asyncpg.Connection) -> None:
    await write(db, change(T0, "2", opened_at=T0 - HOUR))
    await write(db, fill(1, -2, "110", T0 + HOUR, realized="0.2"))
    (found,) = await stored(db)
    assert (found.opened_at, found.size, found.entry_price, found.complete) == (T0 - HOUR, "2", "100", False)
    assert (found.own_pnl, found.realized_pnl) == ("0.2", "0.2")


async def test_what_was_held_before_counts_for_a_late_fill_that_names_no_position(db: asyncpg.Connection) -> None:
    await write(db, change(T0, "2", opened_at=T0 - HOUR))
    await write(db, gone(T0 + HOUR))
    await write(db, fill(1, -2, "110", T0 + HOUR - 5_000, realized="0.2", position=None))
    (found,) = await stored(db)
    assert (found.opened_at, found.closed_at, found.fills) == (T0 - HOUR, T0 + HOUR - 5_000, 1)


async def test_what_was_found_closed_is_not_what_was_opened_in_its_place_since(db: asyncpg.Connection) -> None:
    """Nobody listened for an hour: closed, and opened again the other way round."""
    flip = [fill(n, -2, "110", T0 + 60_000, realized=brought) for n, brought in ((1, "0.2"), (2, "0"))]
    await write(db, covered(), change(T0, "2", opened_at=T0 - HOUR))
    await write(db, gone(T0 + HOUR))
    await write(db, *flip)
    assert [(one.side, one.closed_at, one.fills) for one in await stored(db)] == [("long", T0 + 60_000, 1)]
    await write(db, fill(3, 2, "100", T0 + 2 * HOUR, realized="0.2"))
    assert [(one.side, one.fills, one.complete) for one in await stored(db)] == [("long", 1, False), ("short", 2, True)]


@pytest.mark.parametrize("order", list(permutations(range(4))))
async def test_a_flip_that_was_found_by_asking_is_what_its_late_fills_say(
    db: asyncpg.Connection, order: tuple[int, ...]
) -> None:
    """One fill closed the long and opened the short while nobody listened (Hyperliquid)."""
    await write(db, covered(), fill(1, 2, "100", T0, start="0"))
    found = gone(T0 + 60_000, since=T0, reason="reconciled")
    await write(db, found)
    assert [(one.reason, one.complete) for one in await stored(db)] == [("reconciled", False)]
    late = [
        fill(2, 1, "104", T0 + 10_000, start="2"),
        fill(3, -5, "110", T0 + 20_000, start="3"),
        fill(4, -1, "111", T0 + 20_000, start="-2"),
        fill(5, 1, "100", T0 + 30_000, start="-3"),
    ]
    for index in order:
        await write(db, late[index])
    assert await stored(db) == expected([fill(1, 2, "100", T0, start="0"), *late])
    assert [(one.side, one.fills, one.reason, one.complete) for one in await stored(db)] == [("long", 3, "trade", True)]
    await write(db, fill(6, 2, "100", T0 + HOUR, start="-2"))
    assert [(one.side, one.fills, one.complete) for one in await stored(db)] == [("long", 3, True), ("short", 4, True)]


async def test_two_positions_of_a_symbol_are_two_legs_where_the_mode_does_not_say_it(db: asyncpg.Connection) -> None:
    """The long one is closed and opened again while the short one is held; no fill names its leg."""
    await db.execute("UPDATE accounts SET mode = jsonb_set(mode, '{hedge}', 'null')")
    legs = []
    for name, side in (("1", "long"), ("2", "short")):
        held = change(T0, "2", opened_at=T0 - HOUR)
        assert held.state is not None
        id_ = f"{ACCOUNT}:linear:{SYMBOL}:{name}"
        state = msgspec.structs.replace(held.state, id=id_, side=side)
        legs.append(msgspec.structs.replace(held, id=f"{T0}:{name}", position=id_, state=state))
    await write(db, covered(), *legs)
    sizes = ((-2, "0.2"), (2, "0"), (-2, "0.1"))
    at = [T0 + n * 60_000 for n in (1, 2, 3)]
    await write(db, *(fill(n, size, "110", at[n], realized=pnl, position=None) for n, (size, pnl) in enumerate(sizes)))
    found = [(one.side, one.closed_at, one.fills) for one in await stored(db)]
    assert found == [("long", at[0], 1), ("long", at[2], 2)]


async def test_a_flip_within_a_moment_closes_first_whatever_its_ids_are(db: asyncpg.Connection) -> None:
    await write(db, covered(), change(T0, "2", opened_at=T0 - HOUR))
    opening, closing = fill(1, -2, "110", T0 + HOUR, realized="0"), fill(2, -2, "110", T0 + HOUR, realized="0.2")
    await write(db, opening, closing, fill(3, 2, "100", T0 + 2 * HOUR, realized="0.2"))
    assert [(one.side, one.fills) for one in await stored(db)] == [("long", 1), ("short", 2)]


async def test_the_venues_opening_time_proves_a_beginning_whenever_it_comes(db: asyncpg.Connection) -> None:
    trip = [fill(1, 2, "100", T0, realized="0"), fill(2, -2, "110", T0 + HOUR, realized="0.2")]
    await write(db, *trip)
    assert [one.complete for one in await stored(db)] == [False]
    await write(db, record("positions-history", T0 + HOUR, opened_at=T0 + 100))
    assert [one.complete for one in await stored(db)] == [True]


async def test_a_beginning_in_doubt_is_judged_anew_once_the_account_is_whole(db: asyncpg.Connection) -> None:
    await write(db, fill(1, 2, "100", T0, realized="0"))
    await write(db, covered(T0 + HOUR))
    await write(db, fill(2, -2, "110", T0 + 2 * HOUR, realized="0.2"))
    assert [one.complete for one in await stored(db)] == [False]
    await write(db, covered(T0 - HOUR))
    assert [one.complete for one in await stored(db)] == [True]


async def test_the_first_word_of_a_position_may_come_after_its_fill(db: asyncpg.Connection) -> None:
    await write(db, fill(1, 2, "100", T0, realized="0"))
    await write(db, change(T0 + 40, "2"))
    await write(db, fill(2, -2, "110", T0 + 900, realized="0.2"))
    await write(db, change(T0 + 910, None))
    assert [one.complete for one in await stored(db)] == [True]


# --- late, and much of it -----------------------------------------------------------------------------------------------------


async def test_late_records_wait_for_the_end_of_a_backfill(db: asyncpg.Connection) -> None:
    def read(done: int, error: str | None = None) -> Backfill:
        return Backfill(id="b", account=ACCOUNT, at=T0 + HOUR, since=T0, until=T0 + HOUR, done=done, error=error)

    await write(db, covered(), read(T0), fill(8, 2, "100", T0 + HOUR), at=T0 + HOUR)
    await write(db, fill(1, 1, "100", T0), read(T0 + 100), at=T0 + HOUR)
    await write(db, fill(9, -2, "110", T0 + HOUR + 1), at=T0 + HOUR)  # the live stream goes on meanwhile
    assert [one.fills for one in await stored(db)] == [2]
    assert await db.fetchval("SELECT late FROM open_cycles") == T0
    await write(db, fill(2, -1, "100", T0 + 200), read(T0 + HOUR), at=T0 + HOUR)
    assert [one.fills for one in await stored(db)] == [2, 2]
    assert await db.fetchval("SELECT late FROM open_cycles") is None


async def test_a_backfill_that_died_holds_nothing_up(db: asyncpg.Connection) -> None:
    dead = Backfill(id="b", account=ACCOUNT, at=T0, since=T0, until=T0 + HOUR, done=T0, error="refused")
    await write(db, covered(), dead, fill(8, 2, "100", T0 + HOUR), fill(1, 1, "100", T0))
    await write(db, fill(2, -1, "100", T0 + 200))
    assert [one.fills for one in await stored(db)] == [2]


async def test_much_is_worked_through_in_pieces(db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_rows, "CHUNK", 10)
    monkeypatch.setattr(history, "_PAGES", 2)
    fills = fills_of(trades(120, 7), states_start=True)
    await write(db, covered(), *fills[1:])
    await write(db, fills[0])
    assert await db.fetchval("SELECT behind FROM open_cycles")
    pieces = 0
    while await db.fetchval("SELECT behind FROM open_cycles"):
        await write(db)
        pieces += 1
    assert pieces >= 3
    assert await stored(db) == expected([*fills])


async def test_a_history_is_made_anew_from_the_stored_rows(db: asyncpg.Connection) -> None:
    fills = fills_of(trades(60, 3), states_start=True, realized=True)
    ended = {one.closed_at: gone(one.closed_at, one.opened_at) for one in expected([*fills])}
    await write(db, covered(), *fills, *ended.values())
    before = await stored(db)
    await db.execute(
        "DELETE FROM position_history; UPDATE open_cycles SET late = -1, error = 'x', retry_at = 1::bigint << 62"
    )
    await write(db)
    assert await stored(db) == []
    await history.rebuild(db, ACCOUNT)
    await write(db)
    assert await stored(db) == before
    assert await db.fetchval("SELECT error FROM open_cycles") is None


# --- beside the venue's own records -------------------------------------------------------------------------------------------


def record(source: str, at: int, **fields: object) -> ClosedPnl:
    known: dict[str, object] = {"id": f"{source}:{at}", "position": POSITION, "side": "long", "ccy": "USDT"} | fields
    return ClosedPnl(account=ACCOUNT, source=source, symbol=SYMBOL, at=at, **known)  # type: ignore[arg-type]


TRIP = [
    fill(1, 2, "100", T0, realized="0", fee="-0.5"),
    payment(1, "-0.25", T0 + 60_000),
    fill(2, -2, "110", T0 + HOUR, realized="0.2", fee="-0.3"),
]
SAID = {
    "opened_at": T0, "entry_price": "100", "exit_price": "110", "realized_pnl": "0.2", "fees": "-0.80", "funding": "-0.25",
    "realized_net": "-0.85",
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "differs"),
    [
        (SAID, {}),
        (SAID | {"fees": "-0.9", "exit_price": "111"}, {"fees": "-0.9", "exit_price": "111"}),
        (SAID | {"liquidation_fee": "-1.00"}, {"liquidation_fee": "-1.00"}),
        (SAID | {"fees": "-0.8000001"}, {}),  # its rounding
        (SAID | {"side": "short", "fees": "-7"}, {}),  # another leg's
    ],
)
@pytest.mark.parametrize("first", [True, False])
async def test_what_okx_says_otherwise_is_noted(
    db: asyncpg.Connection, said: dict[str, str], differs: dict[str, str], *, first: bool
) -> None:
    own = record("positions-history", T0 + HOUR + 3, **said)
    parts: list[list[Event]] = [[covered(), *TRIP], [own]]
    for part in parts if first else reversed(parts):
        await write(db, *part)
    (found,) = await stored(db)
    assert found.differs == differs
    (column,) = await db.fetch("SELECT realized_net FROM position_history")
    assert column["realized_net"] == Decimal("-0.85")


async def test_what_bybit_says_of_each_closing_is_added_up(db: asyncpg.Connection) -> None:
    trip = [*TRIP[:2], fill(2, -1, "110", T0 + HOUR, fee="-0.1"), fill(3, -1, "110", T0 + 2 * HOUR, fee="-0.1")]
    nets = ["-0.25", "-0.25"]
    await write(db, covered(), *trip)
    for number, net in enumerate(nets, 1):
        await write(db, record("closed-pnl", T0 + number * HOUR + 9, realized_net=net))
    (found,) = await stored(db)
    assert (found.realized_pnl, found.fees, found.differs) == ("0.2", "-0.7", {})
    await write(db, record("closed-pnl", T0 + HOUR + 9, realized_net="-1"))
    assert [one.differs for one in await stored(db)] == [{"realized_net": "-1.25"}]


def test_the_contract_is_the_one_of_the_plain_tests() -> None:
    assert contract_of(CONTRACT) == LINEAR


async def test_a_late_record_takes_back_no_cycle_that_only_its_funding_came_after(db: asyncpg.Connection) -> None:
    """The first cycle's funding is booked after the second ended; then comes what was between, and the payment goes elsewhere."""
    hour = T0 + HOUR
    first = [fill(1, 1, "100", T0), fill(2, -1, "100", hour + 500)]
    second = [fill(3, 2, "100", hour + 1_000), fill(4, -2, "100", hour + 1_500)]
    between = [fill(5, 3, "100", hour + 1_600), fill(6, -3, "100", hour + 1_700)]
    paid = payment(1, "-7", hour + 2_000, size="3")
    await write(db, covered(), *first, *second, at=hour)
    await write(db, paid, at=hour)
    assert [one.funding for one in await stored(db)] == ["-7", "0"]
    await write(db, *between, at=hour)
    assert [one.funding for one in await stored(db)] == ["0", "0", "-7"]
    assert await stored(db) == expected([*first, *second, *between, paid])
