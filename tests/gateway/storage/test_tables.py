"""Rows in SQL: exact columns for readers, and one row at fault never holds up the rest."""

from __future__ import annotations

from decimal import Decimal

import asyncpg
import msgspec
import pytest

from gateway.storage import tables
from gateway.storage.mirror import Mirror, StoredAccount
from tests.gateway.storage.states import balance, instrument, position, tiers


@pytest.fixture
def mirror() -> Mirror:
    mirror = Mirror()
    mirror.put_account(StoredAccount(name="main", venue="okx", env="live", region="eea", user="ann"), 5)
    mirror.put_position(position(), 7, 8)
    mirror.put_instrument(instrument(), 9)
    mirror.put_tiers(tiers())
    mirror.put_balance(balance(), 10)
    return mirror


async def test_columns_hold_the_digits_that_were_sent(sql: asyncpg.Connection, mirror: Mirror) -> None:
    assert await tables.write(sql, mirror.take()[0], row_by_row=False) == []
    row = await sql.fetchrow("SELECT * FROM current_positions")
    assert row["size"].as_tuple() == Decimal("1.50").as_tuple()
    assert str(row["mark_price"]) == "64000.00000000000000000001"
    assert (row["leverage"], row["account"], row["venue"], row["env"]) == (Decimal(10), "main", "okx", "live")
    assert (row["side"], row["margin_mode"], row["updated_seq"], row["updated_at"]) == ("long", "cross", 7, 8)
    assert row["fence"] == "[1763683200123, 9007199254740993]"
    assert row["venue_at"] == 1763683200123
    assert row["opened_at"] is None
    assert row["take_profit"] is None, "not a number: in state alone"
    assert row["stop_loss"] is None
    contract = await sql.fetchrow("SELECT *, tiers -> 0 -> 'tiers' -> 0 ->> 'rate' AS rate FROM contracts")
    assert (str(contract["contract_size"]), str(contract["tick_size"])) == ("0.0100", "0.10")
    assert (contract["kind"], contract["rate"], contract["last_sync"]) == ("perp", "0.0040", 9)
    coin = await sql.fetchrow("SELECT * FROM balance_coins")
    assert (coin["account"], coin["ccy"], str(coin["total"])) == ("main", "USDT", "1000.10")
    assert (await sql.fetchrow("SELECT * FROM accounts"))["user_name"] == "ann"


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "1e999999", "0x10", "", " 1", "1,5", "9" * 201])
async def test_odd_figure_is_no_number_and_no_failure(sql: asyncpg.Connection, figure: str) -> None:
    mirror = Mirror()
    mirror.put_position(position(entry_price=figure), 1, 1)
    assert await tables.write(sql, mirror.take()[0], row_by_row=False) == []
    row = await sql.fetchrow("SELECT entry_price, state ->> 'entry_price' AS sent FROM current_positions")
    assert (row["entry_price"], row["sent"]) == (None, figure)


@pytest.mark.parametrize(
    "fields",
    [
        {"entry_price": "1\0"},
        {"entry_price": "\ud800"},
        {"venue_at": 2**63},
        {"id": "main:" + "".join(str(number) for number in range(4000))},
    ],
    ids=["nul", "half a surrogate pair", "time out of range", "key too long to index"],
)
async def test_row_at_fault_is_left_out_and_named(sql: asyncpg.Connection, fields: dict[str, object]) -> None:
    mirror = Mirror()
    for number in range(9):
        mirror.put_position(position(f"GOOD-{number}"), 1, 1)
    bad = msgspec.structs.replace(position("BAD"), **fields)
    mirror.put_position(bad, 1, 1)
    batch, _ = mirror.take()
    with pytest.raises(tables.ROW_FAULTS):
        async with sql.transaction():
            await tables.write(sql, batch, row_by_row=False)
    async with sql.transaction():
        refused = await tables.write(sql, batch, row_by_row=True)
    assert refused[0][:2] == ("current_positions", (bad.id,))
    assert {row.table for row in refused} <= {"current_positions", "position_changes"}, (
        "what it is made of, elsewhere too"
    )
    assert all(row.reason and row.key[0].endswith(bad.id) for row in refused)
    assert await sql.fetchval("SELECT count(*) FROM current_positions") == 9


async def test_more_rows_than_one_statement_takes(sql: asyncpg.Connection) -> None:
    mirror = Mirror()
    for number in range(1001):
        mirror.put_position(position(f"S-{number}"), 1, 1)
    await tables.write(sql, mirror.take()[0], row_by_row=False)
    assert await sql.fetchval("SELECT count(*) FROM current_positions") == 1001


async def test_pruning_deletes_unknown_rows_of_the_named_accounts_alone(sql: asyncpg.Connection) -> None:
    old = Mirror()
    for state in (position("A"), position("B"), position("A", account="other")):
        old.put_position(state, 1, 1)
    await tables.write(sql, old.take()[0], row_by_row=False)
    new = Mirror()
    new.put_position(position("B"), 2, 2)
    new.prune({position("B").id}, {"main"}, 2)
    await tables.write(sql, new.take()[0], row_by_row=False)
    left = {row["id"] for row in await sql.fetch("SELECT id FROM current_positions")}
    assert left == {position("B").id, position("A", account="other").id}
