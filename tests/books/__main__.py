"""``python -m tests.books [--seed N] [--rounds N]``: books of recordings and of the simulator, untouched and tampered with.

Ends with one line of JSON; status 1 where untouched books have something unexplained, or a fault is not exactly one line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from gateway.core.verified import unexplained
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.migrate import upgrade
from tests.books.captured import compared
from tests.books.simulated import Outcome, lived


async def simulated(seed: int, rounds: int) -> Outcome:
    """Live on a database of its own."""
    with tempfile.TemporaryDirectory(prefix="perpwire-books-") as made:
        folder = Path(made)
        postgres = EmbeddedPostgres(folder / "database")
        try:
            dsn = await postgres.start()
            await upgrade(dsn)
            (folder / "gateway").mkdir(mode=0o700)
            return await lived(dsn, folder / "gateway", seed, rounds)
        finally:
            await postgres.stop()


def main() -> None:
    """Verify and print."""
    parser = argparse.ArgumentParser(prog="make verify-books", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    captures = compared()
    for venue, one in captures.items():
        print(f"captured {venue}: n = {one.n}, {dict(one.classes) or 'nothing was captured that could be compared'}")
    outcome = asyncio.run(simulated(given.seed, given.rounds))
    lines = classes(outcome)
    for venue, found in lines.items():
        accounts = sum(of == venue for of in outcome.venues.values())
        print(f"simulated {venue}: {accounts} accounts, n = {sum(found.values())}, {dict(found)}")
    print(f"happened: {dict(outcome.done)}")
    left = [(name, one) for name, rows in outcome.rows.items() for one in unexplained(rows)]
    for name, finding in left:
        print(f"unexplained: {name} {finding.symbol or 'balance'}: {finding.what} {finding.differences}")
    for row in outcome.touched:
        print(f"tampered: {row.kind}: {row.account} {row.symbol} {row.id}")
    for name, finding in outcome.tampered:
        print(f"found: {name} {finding.symbol or 'balance'}: {finding.what} {finding.differences}")
    captured_left = sum(one.classes["unexplained"] for one in captures.values())
    exact = outcome.exact()
    summary = {
        "passed": not left and not captured_left and exact, "seed": given.seed, "rounds": given.rounds,
        "captured": {venue: one.n for venue, one in captures.items()},
        "compared": {venue: sum(found.values()) for venue, found in lines.items()},
        "unexplained": len(left) + captured_left, "tampered": len(outcome.touched), "found": len(outcome.tampered),
    }  # fmt: skip
    print(json.dumps(summary))
    sys.exit(not summary["passed"])


def classes(outcome: Outcome) -> dict[str, Counter[str]]:
    """Return by venue how many comparisons, balances among them, came to which class."""
    found: dict[str, Counter[str]] = {}
    for name, rows in outcome.rows.items():
        mine = found.setdefault(outcome.venues[name], Counter())
        for row in rows:
            mine["equal"] += row.equal
            mine["balances"] += row.compared if row.symbol is None else 0
            mine["equal"] -= row.equal if row.symbol is None else 0
            mine.update(finding.cls for finding in row.findings)
    return found


if __name__ == "__main__":
    main()
