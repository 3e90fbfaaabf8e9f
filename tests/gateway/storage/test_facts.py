"""A fact that is told again: what is known of it stays known, whichever way its tellings come."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import msgspec
import pytest

from exchanges.events import Fill, Transfer
from gateway.core.facts import completed
from tests.gateway.core.chain_worlds import T0, fill
from tests.gateway.storage.test_durability import Harness

_STREAM = fill(
    1, 2, "100", T0, realized="0", role="maker", fee=None, cause="liquidation", category="partial_liquidation"
)
_BOOKS = msgspec.structs.replace(
    _STREAM, position=None, role=None, realized_pnl="5", fee="-0.5", cause="trade", category="subType 3"
)
_BOTH = msgspec.structs.replace(_STREAM, realized_pnl="5", fee="-0.5")


def test_what_is_known_stays_and_what_is_newer_stands() -> None:
    assert completed(_STREAM, _BOOKS) == _BOTH
    assert completed(_STREAM, _STREAM) == _STREAM


@pytest.mark.parametrize(
    ("former", "newer", "stands"),
    [
        (("trade", ""), ("trade", "normal"), ("trade", "normal")),
        (("trade", "twap"), ("trade", "subType 1"), ("trade", "twap")),
        (("trade", "twap"), ("trade", ""), ("trade", "twap")),
        (("trade", "subType 1"), ("adl", "adl"), ("adl", "adl")),
        (("adl", "adl"), ("trade", "subType 1"), ("adl", "adl")),
        (("adl", "adl"), ("adl", "subType 126"), ("adl", "adl")),
        (("adl", "adl"), ("liquidation", "subType 104"), ("liquidation", "subType 104")),
        (("adl", "adl"), ("liquidation", ""), ("liquidation", "adl")),
    ],
)
def test_a_specific_category_never_becomes_a_poorer_one(
    former: tuple[str, str], newer: tuple[str, str], stands: tuple[str, str]
) -> None:
    told = fill(1, 2, "100", T0, cause=former[0], category=former[1])
    again = msgspec.structs.replace(told, cause=newer[0], category=newer[1])
    found = completed(told, again)
    assert isinstance(found, Fill)
    assert (found.cause, found.category) == stands


def test_kind_of_a_transfer_stays_known() -> None:
    told = Transfer(account="main", id="main:1", kind="rebate", ccy="USDT", amount="1", at=T0, what="rebate 9")
    assert completed(told, msgspec.structs.replace(told, kind="other", what="")) == told
    assert completed(told, msgspec.structs.replace(told, kind="bonus")).kind == "bonus"  # type: ignore[union-attr]


@pytest.mark.parametrize("way", ["together", "directly", "through the spool", "beside a row at fault"])
async def test_every_way_ends_with_all_that_was_told(
    dsn: str, sql: asyncpg.Connection, tmp_path: Path, way: str
) -> None:
    harness = Harness(dsn, tmp_path)
    await harness.start()
    harness.checkpoint.put_fill(_STREAM)
    if way != "together":
        harness.away = way == "through the spool"
        assert await harness.flush()
    if way == "beside a row at fault":
        harness.checkpoint.put_fill(msgspec.structs.replace(_BOOKS, id="main:\0"))
        harness.checkpoint.put_fill(msgspec.structs.replace(_BOOKS, id="main:\ud800"))
    harness.checkpoint.put_fill(_BOOKS)
    assert await harness.flush()
    await harness.settle()
    (row,) = await sql.fetch("SELECT position, state FROM fills")
    assert row["position"] == _STREAM.position
    assert msgspec.json.decode(row["state"], type=Fill) == _BOTH
    assert harness.checkpoint.status.rows_refused == (2 if way == "beside a row at fault" else 0)
    assert await harness.checkpoint.drain(10)


async def test_history_is_worked_out_from_all_that_was_told(dsn: str, sql: asyncpg.Connection, tmp_path: Path) -> None:
    """The books leave open which position a fill was of: it is the one that the stream named."""
    harness = Harness(dsn, tmp_path)
    await harness.start()
    opened, closed = fill(1, 2, "100", T0, realized="0"), fill(2, -2, "101", T0 + 1, realized="2")
    for told in (opened, closed):
        harness.checkpoint.put_fill(told)
    assert await harness.flush()
    for told in (opened, closed):
        harness.checkpoint.put_fill(msgspec.structs.replace(told, position=None, realized_pnl=None))
    assert await harness.flush()
    (row,) = await sql.fetch("SELECT position, state ->> 'realized_pnl' AS pnl FROM position_history")
    assert (row["position"], row["pnl"]) == (opened.position, "2")
    assert await harness.checkpoint.drain(10)
