"""From the venues' books to ``perpwire verify``: simulator, gateway, Postgres, untouched and tampered with, on every venue."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

from gateway.core.verified import unexplained
from tests.books.simulated import lived
from tests.system.desk import Desk
from tests.system.programs import Ended, ended
from tests.system.written import written

ACCOUNTS = ("okx-main", "bybit-main", "hl-main", "aster-main")
ROUNDED = Decimal("1e-16")  # each is told to 18 decimals
PARTS = ("realized", "unrealized", "transfers", "interest", "revaluation", "findings", "unexplained")


async def test_books_agree_and_balance_and_what_was_done_to_them_is_said_exactly(dsn: str, folder: Path) -> None:
    said: list[Ended] = []

    async def command(running: Desk, since: int, until: int) -> None:
        path = written(running.gateway.config, running.gateway.specs, folder)
        path.write_text(json.dumps({**json.loads(path.read_text()), "storage": {"dsn": dsn}}))
        said.append(await ended("verify", "--config", path, "--from", str(since), "--to", str(until)))

    outcome = await lived(dsn, folder, 1, 1, ACCOUNTS, command)
    for name, rows in outcome.rows.items():
        assert not unexplained(rows), name
        classes = Counter(finding.cls for row in rows for finding in row.findings)
        assert "before_history" not in classes, name
        assert sum(row.compared for row in rows if row.symbol) >= 5, name
        (books,) = [row for row in rows if row.symbol is None]
        assert books.balance, name
        for one in books.balance:
            parts = sum(Decimal(getattr(one, part)) for part in PARTS)
            assert abs(parts - Decimal(one.equity)) < ROUNDED, (name, one)
            assert one.ccy == "USD" or abs(Decimal(one.unexplained)) <= Decimal(one.bound), (name, one)
    assert {row.kind for row in outcome.touched} == {"fill deleted", "fee altered", "funding doubled"}
    assert len(outcome.touched) == 3 * len(ACCOUNTS)
    assert outcome.exact(), outcome.tampered
    untouched, tampered = said
    assert untouched.status == 0, untouched
    assert "\nunexplained: " not in untouched.out
    assert tampered.status == 1
    told = [line for line in tampered.out.splitlines() if line.startswith("unexplained: ")]
    assert len(told) == len(outcome.touched)
    for row in outcome.touched:
        assert any(line.startswith(f"unexplained: {row.account}: ") and f" {row.symbol}: " in line for line in told), (
            row
        )
