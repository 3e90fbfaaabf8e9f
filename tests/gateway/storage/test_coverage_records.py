"""What a start gets back of the day: fills beyond the newest, payments of open positions, and since when they are whole."""

from __future__ import annotations

import time

import msgspec

from exchanges.events import Fill, FundingPayment
from gateway.core.records import Covered
from gateway.storage import restore
from gateway.storage.checkpoint import Checkpoint
from gateway.storage.mirror import StoredAccount
from gateway.storage.postgres import Database
from tests.gateway.events_of import position

DAY_MS = 86_400_000


async def test_todays_records_and_payments_of_open_positions_come_back(dsn: str) -> None:
    today = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS
    count = restore.NEWEST_FILLS + 20
    fill = Fill(account="main", id="", symbol="BTC", order_id="1", side="buy", size="1", price="1", at=today)
    fills = [msgspec.structs.replace(fill, id=f"{n:04}", at=today + n) for n in range(count)]
    paid = FundingPayment(account="main", id="", symbol="BTC", amount="-0.1", ccy="USDT", at=today)
    opened = today - 3 * DAY_MS
    payments = [
        msgspec.structs.replace(paid, id=str(n), symbol=symbol, at=at)
        for n, (symbol, at) in enumerate(
            [("BTC", opened - 1), ("BTC", opened), ("ETH", today - 1), ("STATED", today - 1), ("ETH", today)]
        )
    ]
    first = Checkpoint(Database(dsn), "e1", flush_interval_s=0.01, jitter=lambda: 0.05)
    assert await first.load() is not None
    first.put_account(StoredAccount(name="main", venue="okx", env="live"))
    first.put_position(position("BTC", "main", opened_at=opened), 1)
    first.put_position(position("STATED", "main", opened_at=opened, funding="-3"), 1)
    for one in fills:
        first.put_fill(one)
    for payment in payments:
        first.put_funding(payment)
    covered = Covered(id="main", account="main", since=opened, at=today)
    first.put_covered(covered)
    first.put_covered(msgspec.structs.replace(covered, until=today + 5))
    assert await first.drain(10)

    reader = Checkpoint(Database(dsn), "reader", flush_interval_s=0.01, jitter=lambda: 0.05)
    restored = await reader.load()
    assert restored is not None
    await reader.drain(10)
    assert restored.fills == tuple(fills)
    assert [payment.id for payment in restored.funding] == ["1", "4"]
    assert restored.covered == (msgspec.structs.replace(covered, until=today + 5),)
    assert restored.unreadable == 0
